//! One request answered: what it stands for, what the cache says, and how that looks as HTTP.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use rewarm_http::policy::storing::end_to_end;
use rewarm_http::{Cause, NO_EVENTS, RequestBody};

use crate::config::{Limits, Mode, ProxyConfig, Served};
use crate::connection::{Asker, Place, Tunnel};
use crate::forward::{self, Target, refuse_upgrade};
use crate::head::Refused;
use crate::inbound::{Fate, Inbound};
use crate::outgoing::{Account, Flow, Outgoing};
use crate::packages::{Asked, Observer, Packages, Page, PageError, Rewrite, settle_coding};
use crate::refusal::{Refusal, refuse_method};
use crate::{access, fields, reverse};

/// What the cache answered, and how its body is changed on the way.
struct Answer {
    response: rewarm_http::Response<'static>,
    rewrite: Option<Rewrite>,
    /// Reads it on the way.
    observer: Option<Observer>,
}

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Service {
    config: ProxyConfig,
    mode: Mode,
    /// In `Via` of requests: this proxy, and no other.
    name: String,
}

impl Service {
    pub(crate) fn new(config: ProxyConfig, mode: Mode) -> Self {
        let id = RandomState::new().build_hasher().finish();
        Self { config, mode, name: format!("{}-{id:016x}", fields::PSEUDONYM) }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.config.client.now()
    }

    /// Answers a request; what goes wrong is an answer, too.
    pub(crate) async fn answer<B>(
        self: Arc<Self>,
        request: Request<B>,
        asker: Asker,
    ) -> Result<Response<Outgoing>, Infallible>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
    {
        let version = request.version();
        let mut account = Account {
            served: Served::of(request.method().clone()),
            watch: self.config.watch.clone(),
            active: asker.link.begin(version == Version::HTTP_11),
            ends_with_connection: false,
        };
        let wants_tunnel = account.served.method == Method::CONNECT;
        let answer = self.forward(request, &asker, &mut account.served).await;
        asker.link.interims_are_gone().await;
        let mut response = match answer {
            Ok(answer) => respond(answer, version, account).await,
            Err(refusal) => {
                account.served.status = refusal.status;
                account.served.complete = true;
                refusal.response(|text| Outgoing::text(text, account))
            }
        };
        fields::add_via(response.headers_mut(), version, fields::PSEUDONYM);
        if wants_tunnel && !response.status().is_success() {
            // What the client sends next may be meant for the tunnel.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Asks the cache for what a request stands for.
    async fn forward<B>(
        &self,
        request: Request<B>,
        asker: &Asker,
        served: &mut Served,
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Send + Unpin + 'static,
    {
        if let Some(Refused { status, reason }) = asker.link.refused() {
            return Err(Refusal::new(status, reason));
        }
        let (mut head, body) = request.into_parts();
        let prefix = self.admit(&mut head, asker)?;
        if fields::passed(&head.headers, &self.name) {
            let text = "this request has been here before";
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, text));
        }
        if matches!(self.mode, Mode::Forward(_)) && head.method == Method::CONNECT {
            return Err(grant(head, asker));
        }
        refuse_method(&mut head)?;
        refuse_upgrade(&head)?;
        let (mut request, page) = self.meant(&head, asker, &prefix)?;
        served.url = Some(request.url.clone());
        fields::add_via(&mut request.headers, head.version, &self.name);
        let told = asker.clone();
        request.interim = Some(Arc::new(move |status, headers| {
            told.interim(status, end_to_end(headers));
        }));
        let fate = Fate::default();
        if !body.is_end_stream() {
            let limit = self.limits().body_timeout;
            request.body = RequestBody::stream(Inbound::new(body, limit, fate.clone()));
        }
        let response = self.config.client.open(&request, NO_EVENTS).await;
        let refused = |error| fate.refusal().unwrap_or_else(|| Refusal::of(&error));
        let mut response = response.map_err(refused)?;
        if matches!(self.mode, Mode::Packages(_)) {
            // It is for whoever the credentials of the upstream belong to, which is not the client.
            response.headers.remove(SET_COOKIE);
        }
        let rewrite = match page {
            Some(page) => page.answer(&response.url, response.status, &mut response.headers),
            None => Ok(None),
        };
        let refused = |error: PageError| Refusal::new(StatusCode::BAD_GATEWAY, error.to_string());
        let rewrite = rewrite.map_err(refused)?;
        let observer = match &self.mode {
            Mode::Forward(forward) => {
                Observer::of(&forward.known, &request, (response.status, &response.headers))
            }
            Mode::Packages(_) | Mode::Upstream(_) => None,
        };
        Ok(Answer { response, rewrite, observer })
    }

    /// Whether the client may ask. A token that leads the path is taken out of it, and given back
    /// as what leads the paths of links to this proxy.
    fn admit(&self, head: &mut Parts, asker: &Asker) -> Result<String, Refusal> {
        let config = &self.config;
        match (&self.mode, &asker.place, &config.token) {
            (Mode::Forward(_), Place::Tunnel(_), _) => {}
            (Mode::Forward(forward), Place::Door(_), _) => {
                forward::authenticate(&forward.token, &head.headers)?;
            }
            (_, _, Some(token)) => return access::admit(token, head),
            (Mode::Packages(_), _, None) => {
                let host = fields::host_of(&head.uri, &head.headers).unwrap_or_default();
                if !access::is_loopback(&host) {
                    let text = "the request is for another host than this one";
                    return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, text));
                }
            }
            (Mode::Upstream(_), _, None) => {}
        }
        Ok(String::new())
    }

    /// What to ask an origin, and the page it will answer with if links in it are to be changed.
    fn meant(
        &self,
        head: &Parts,
        asker: &Asker,
        prefix: &str,
    ) -> Result<(rewarm_http::Request, Option<Page>), Refusal> {
        let host = fields::host_of(&head.uri, &head.headers);
        match &self.mode {
            Mode::Upstream(upstream) => {
                let url = reverse::target(upstream, &head.uri)
                    .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
                let mut request = passed_on(url, head);
                fields::add_forwarded(&mut request.headers, asker.peer.ip(), host.as_deref());
                Ok((request, None))
            }
            Mode::Packages(packages) => {
                let root = format!("http://{}{prefix}", host.as_deref().unwrap_or("localhost"));
                routed(packages, head, &root)
            }
            Mode::Forward(forward) => {
                let url = match &asker.place {
                    Place::Door(_) => forward::absolute(head)?,
                    Place::Tunnel(target) => forward::inside(target, head)?,
                };
                let mut request = passed_on(url, head);
                settle_coding(&mut request);
                forward.known.expect(&mut request);
                Ok((request, None))
            }
        }
    }

    /// TLS as the server of a host.
    pub(crate) fn certificate(&self, target: &Target) -> Option<Arc<rustls::ServerConfig>> {
        match &self.mode {
            // A host that no certificate can be made for gets none, and the client says so.
            Mode::Forward(forward) => forward.authority.server(&target.host).ok(),
            _ => None,
        }
    }
}

/// Leaves a tunnel at the door, and says so.
fn grant(mut head: Parts, asker: &Asker) -> Refusal {
    let refuse = |text| Refusal::new(StatusCode::NOT_IMPLEMENTED, text);
    if head.version == Version::HTTP_2 {
        return refuse("no tunnels through HTTP/2");
    }
    let (Place::Door(granted), Some(upgrade)) =
        (&asker.place, head.extensions.remove::<OnUpgrade>())
    else {
        return refuse("no tunnels through this connection");
    };
    match forward::tunnel(&head) {
        Ok(target) => {
            let mut granted = granted.lock().unwrap_or_else(PoisonError::into_inner);
            *granted = Some(Tunnel { target, upgrade });
            Refusal::new(StatusCode::OK, "")
        }
        Err(refusal) => refusal,
    }
}

/// The request of a client as it goes to an origin.
fn passed_on(url: rewarm_http::Url, head: &Parts) -> rewarm_http::Request {
    let mut request = rewarm_http::Request::get(url);
    request.headers = end_to_end(&head.headers);
    for name in [HOST, EXPECT, CONTENT_LENGTH] {
        request.headers.remove(name);
    }
    request.method = head.method.clone();
    request.follow = false;
    request
}

/// What to ask an upstream of packages.
fn routed(
    packages: &Packages,
    head: &Parts,
    root: &str,
) -> Result<(rewarm_http::Request, Option<Page>), Refusal> {
    let asked = Asked {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        root,
    };
    let route = packages.route(&asked);
    let route = route.map_err(|refusal| Refusal::new(refusal.status(), refusal.to_string()))?;
    Ok((route.request, route.page))
}

/// The response of the cache or an origin as it goes to the client.
async fn respond(answer: Answer, version: Version, mut account: Account) -> Response<Outgoing> {
    let Answer { mut response, rewrite, observer } = answer;
    let mut head = Response::new(());
    *head.status_mut() = response.status;
    *head.headers_mut() = end_to_end(&response.headers);
    fields::add_cache_status(head.headers_mut(), &response.cache_status);
    let served = &mut account.served;
    served.status = response.status;
    served.reuse = Some(response.body.reuse().clone());
    let has_no_body = served.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status);
    if has_no_body {
        // Nobody would ask it whether it has ended.
        served.complete = response.body.next().await.is_ok();
        served.reuse = Some(response.body.reuse().clone());
        return head.map(|()| Outgoing::text(String::new(), account));
    }
    let length = response.body.length().filter(|_| rewrite.is_none());
    match length {
        Some(length) => drop(head.headers_mut().insert(CONTENT_LENGTH, length.into())),
        None => drop(head.headers_mut().remove(CONTENT_LENGTH)),
    }
    account.ends_with_connection = length.is_none() && version == Version::HTTP_10;
    let flow = Flow { body: response.body, rewrite, observer, left: length };
    head.map(|()| Outgoing::body(flow, account))
}
