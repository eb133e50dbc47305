//! One request answered: what it stands for, what the cache says, and how that looks as HTTP.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rewarm_http::NO_EVENTS;
use rewarm_http::policy::storing::end_to_end;

use crate::config::{Limits, Mode, ProxyConfig, Served, Watch};
use crate::outgoing::Outgoing;
use crate::packages::{Asked, Packages, Page, PageError, Rewrite};
use crate::refusal::{Refusal, refuse_method};
use crate::{fields, reverse};

/// What the cache answered, and how its body is changed on the way.
struct Answer {
    response: rewarm_http::Response<'static>,
    rewrite: Option<Rewrite>,
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
        peer: SocketAddr,
    ) -> Result<Response<Outgoing>, Infallible> {
        let (version, method) = (request.version(), request.method().clone());
        let mut served = Served {
            method,
            url: None,
            status: StatusCode::OK,
            reuse: None,
            bytes: 0,
            complete: false,
        };
        let watch = self.config.watch.clone();
        let mut response = match self.forward(request, peer, &mut served).await {
            Ok(answer) => {
                served.status = answer.response.status;
                respond(answer, served, watch).await
            }
            Err(refusal) => {
                served.status = refusal.status;
                refusal.response(|text| Outgoing::text(text, served, watch))
            }
        };
        fields::add_via(response.headers_mut(), version, fields::PSEUDONYM);
        Ok(response)
    }

    /// Asks the cache for what a request stands for.
    async fn forward(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        served: &mut Served,
    ) -> Result<Answer, Refusal> {
        let (mut head, body) = request.into_parts();
        if fields::passed(&head.headers, &self.name) {
            return Err(Refusal::new(
                StatusCode::LOOP_DETECTED,
                "this request has been here before",
            ));
        }
        refuse_method(&mut head)?;
        let host = fields::host_of(&head.uri, &head.headers);
        let (mut request, page) = match &self.mode {
            Mode::Upstream(upstream) => {
                let url = reverse::target(upstream, &head.uri)
                    .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
                let mut request = rewarm_http::Request::get(url);
                request.headers = end_to_end(&head.headers);
                for name in [HOST, EXPECT, CONTENT_LENGTH] {
                    request.headers.remove(name);
                }
                fields::add_forwarded(&mut request.headers, peer.ip(), host.as_deref());
                request.method = head.method;
                request.follow = false;
                (request, None)
            }
            Mode::Packages(packages) => routed(packages, &head, host.as_deref())?,
        };
        served.url = Some(request.url.clone());
        fields::add_via(&mut request.headers, head.version, &self.name);
        let collected = body.collect().await.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
        })?;
        request.body = rewarm_http::RequestBody::Whole(collected.to_bytes());
        let response = self.config.client.open(&request, NO_EVENTS).await;
        let mut response = response.map_err(|error| Refusal::of(&error))?;
        let rewrite = match page {
            Some(page) => page.answer(&response.url, response.status, &mut response.headers),
            None => Ok(None),
        };
        let refused = |error: PageError| Refusal::new(StatusCode::BAD_GATEWAY, error.to_string());
        Ok(Answer { response, rewrite: rewrite.map_err(refused)? })
    }
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
async fn respond(answer: Answer, mut served: Served, watch: Watch) -> Response<Outgoing> {
    let Answer { mut response, rewrite } = answer;
    let mut head = Response::new(());
    *head.status_mut() = response.status;
    *head.headers_mut() = end_to_end(&response.headers);
    fields::add_cache_status(head.headers_mut(), response.body.reuse());
    let has_no_body = served.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status);
    if has_no_body {
        // Nobody would ask it whether it has ended.
        served.complete = response.body.next().await.is_ok();
        served.reuse = Some(response.body.reuse().clone());
        return head.map(|()| Outgoing::text(String::new(), served, watch));
    }
    served.reuse = Some(response.body.reuse().clone());
    let length = fields::content_length(head.headers());
    head.map(|()| Outgoing::body((response.body, rewrite), length, served, watch))
}
