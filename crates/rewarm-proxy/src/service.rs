//! One request answered: what it stands for, what the cache says, and how that looks as HTTP.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use rewarm_http::policy::storing::end_to_end;
use rewarm_http::{NO_EVENTS, RequestBody};

use crate::config::{Limits, Mode, ProxyConfig, Served};
use crate::head::Refused;
use crate::inbound::{Fate, Inbound};
use crate::link::Link;
use crate::outgoing::{Account, Outgoing};
use crate::packages::{Asked, Packages, Page, PageError, Rewrite};
use crate::refusal::{Refusal, refuse_method};
use crate::{fields, reverse};

/// What the cache answered, and how its body is changed on the way.
struct Answer {
    response: rewarm_http::Response<'static>,
    rewrite: Option<Rewrite>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) peer: SocketAddr,
    pub(crate) link: Arc<Link>,
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

    /// Answers a request; what goes wrong is an answer, too.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        asker: Asker,
    ) -> Result<Response<Outgoing>, Infallible> {
        let version = request.version();
        let mut account = Account {
            served: Served::of(request.method().clone()),
            watch: self.config.watch.clone(),
            active: asker.link.begin(version == Version::HTTP_11),
            ends_with_connection: false,
        };
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
        Ok(response)
    }

    /// Asks the cache for what a request stands for.
    async fn forward(
        &self,
        request: Request<Incoming>,
        asker: &Asker,
        served: &mut Served,
    ) -> Result<Answer, Refusal> {
        if let Some(Refused { status, reason }) = asker.link.refused() {
            return Err(Refusal::new(status, reason));
        }
        let (mut head, body) = request.into_parts();
        if fields::passed(&head.headers, &self.name) {
            let text = "this request has been here before";
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, text));
        }
        refuse_method(&mut head)?;
        let (mut request, page) = self.meant(&head, asker)?;
        served.url = Some(request.url.clone());
        fields::add_via(&mut request.headers, head.version, &self.name);
        let link = Arc::clone(&asker.link);
        request.interim = Some(Arc::new(move |status, headers| {
            link.interim(status, &end_to_end(headers));
        }));
        let fate = Fate::default();
        if !body.is_end_stream() {
            let limit = self.limits().body_timeout;
            request.body = RequestBody::stream(Inbound::new(body, limit, fate.clone()));
        }
        let response = self.config.client.open(&request, NO_EVENTS).await;
        let refused = |error| fate.refusal().unwrap_or_else(|| Refusal::of(&error));
        let mut response = response.map_err(refused)?;
        let rewrite = match page {
            Some(page) => page.answer(&response.url, response.status, &mut response.headers),
            None => Ok(None),
        };
        let refused = |error: PageError| Refusal::new(StatusCode::BAD_GATEWAY, error.to_string());
        Ok(Answer { response, rewrite: rewrite.map_err(refused)? })
    }

    /// What to ask an origin, and the page it will answer with if links in it are to be changed.
    fn meant(
        &self,
        head: &Parts,
        asker: &Asker,
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
            Mode::Packages(packages) => routed(packages, head, host.as_deref()),
        }
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
    host: Option<&str>,
) -> Result<(rewarm_http::Request, Option<Page>), Refusal> {
    let root = format!("http://{}", host.unwrap_or("localhost"));
    let asked = Asked {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        root: &root,
    };
    let route = packages.route(&asked);
    let route = route.map_err(|refusal| Refusal::new(refusal.status(), refusal.to_string()))?;
    Ok((route.request, route.page))
}

/// The response of the cache or an origin as it goes to the client.
async fn respond(answer: Answer, version: Version, mut account: Account) -> Response<Outgoing> {
    let Answer { mut response, rewrite } = answer;
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
    head.map(|()| Outgoing::body((response.body, rewrite), length, account))
}
