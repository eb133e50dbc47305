//! One request answered: what it stands for, what the cache says, and how that looks as HTTP.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rewarm_http::NO_EVENTS;
use rewarm_http::policy::storing::end_to_end;

use crate::config::{Limits, Mode, ProxyConfig, Served, Watch};
use crate::outgoing::Outgoing;
use crate::refusal::{Refusal, refuse_method};
use crate::{fields, reverse};

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
            Ok(response) => {
                served.status = response.status;
                respond(response, served, watch).await
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
    ) -> Result<rewarm_http::Response<'static>, Refusal> {
        let (mut head, body) = request.into_parts();
        if fields::passed(&head.headers, &self.name) {
            return Err(Refusal::new(
                StatusCode::LOOP_DETECTED,
                "this request has been here before",
            ));
        }
        refuse_method(&mut head)?;
        let Mode::Upstream(upstream) = &self.mode;
        let url = reverse::target(upstream, &head.uri)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        served.url = Some(url.clone());
        let mut headers = end_to_end(&head.headers);
        for name in [HOST, EXPECT, CONTENT_LENGTH] {
            headers.remove(name);
        }
        let host = fields::host_of(&head.uri, &head.headers);
        fields::add_forwarded(&mut headers, peer.ip(), host.as_deref());
        fields::add_via(&mut headers, head.version, &self.name);
        let collected = body.collect().await.map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
        })?;
        let mut request = rewarm_http::Request::get(url);
        request.method = head.method;
        request.headers = headers;
        request.body = rewarm_http::RequestBody::Whole(collected.to_bytes());
        request.follow = false;
        self.config.client.open(&request, NO_EVENTS).await.map_err(|error| Refusal::of(&error))
    }
}

/// The response of the cache or an origin as it goes to the client.
async fn respond(
    mut response: rewarm_http::Response<'static>,
    mut served: Served,
    watch: Watch,
) -> Response<Outgoing> {
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
    head.map(|()| Outgoing::body(response.body, length, served, watch))
}
