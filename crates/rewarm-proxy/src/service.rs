//! One request answered: what it stands for, what the cache says, and how that looks as HTTP.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};
use rewarm_http::policy::storing::end_to_end;
use rewarm_http::{NO_EVENTS, RequestBody};

use crate::config::{Limits, Mode, ProxyConfig, Served};
use crate::head::Refused;
use crate::inbound::{Fate, Inbound};
use crate::link::Link;
use crate::outgoing::{Account, Outgoing};
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
        link: Arc<Link>,
    ) -> Result<Response<Outgoing>, Infallible> {
        let version = request.version();
        let mut account = Account {
            served: Served::of(request.method().clone()),
            watch: self.config.watch.clone(),
            active: link.begin(version == Version::HTTP_11),
            ends_with_connection: false,
        };
        let asked = self.forward(request, peer, &link, &mut account.served).await;
        link.interims_are_gone().await;
        let mut response = match asked {
            Ok(response) => respond(response, version, account).await,
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
        peer: SocketAddr,
        link: &Arc<Link>,
        served: &mut Served,
    ) -> Result<rewarm_http::Response<'static>, Refusal> {
        if let Some(Refused { status, reason }) = link.refused() {
            return Err(Refusal::new(status, reason));
        }
        let (mut head, body) = request.into_parts();
        if fields::passed(&head.headers, &self.name) {
            let text = "this request has been here before";
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, text));
        }
        refuse_method(&mut head)?;
        let Mode::Upstream(upstream) = &self.mode;
        let url = reverse::target(upstream, &head.uri)
            .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        served.url = Some(url.clone());
        let mut request = rewarm_http::Request::get(url);
        request.headers = end_to_end(&head.headers);
        for name in [HOST, EXPECT, CONTENT_LENGTH] {
            request.headers.remove(name);
        }
        let host = fields::host_of(&head.uri, &head.headers);
        fields::add_forwarded(&mut request.headers, peer.ip(), host.as_deref());
        fields::add_via(&mut request.headers, head.version, &self.name);
        request.method = head.method;
        request.follow = false;
        let interims = Arc::clone(link);
        request.interim = Some(Arc::new(move |status, headers| {
            interims.interim(status, &end_to_end(headers));
        }));
        let fate = Fate::default();
        if !body.is_end_stream() {
            let limit = self.limits().body_timeout;
            request.body = RequestBody::stream(Inbound::new(body, limit, fate.clone()));
        }
        let response = self.config.client.open(&request, NO_EVENTS).await;
        response.map_err(|error| fate.refusal().unwrap_or_else(|| Refusal::of(&error)))
    }
}

/// The response of the cache or an origin as it goes to the client.
async fn respond(
    mut response: rewarm_http::Response<'static>,
    version: Version,
    mut account: Account,
) -> Response<Outgoing> {
    let mut head = Response::new(());
    *head.status_mut() = response.status;
    *head.headers_mut() = end_to_end(&response.headers);
    let served = &mut account.served;
    served.status = response.status;
    served.reuse = Some(response.body.reuse().clone());
    fields::add_cache_status(head.headers_mut(), response.body.reuse());
    let has_no_body = served.method == Method::HEAD
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status);
    if has_no_body {
        // Nobody would ask it whether it has ended.
        served.complete = response.body.next().await.is_ok();
        served.reuse = Some(response.body.reuse().clone());
        return head.map(|()| Outgoing::text(String::new(), account));
    }
    let length = response.body.length();
    match length {
        Some(length) => drop(head.headers_mut().insert(CONTENT_LENGTH, length.into())),
        None => drop(head.headers_mut().remove(CONTENT_LENGTH)),
    }
    account.ends_with_connection = length.is_none() && version == Version::HTTP_10;
    head.map(|()| Outgoing::body(response.body, length, account))
}
