//! One exchange: a request as it will be sent, its keys, and what all its stages share.

use std::time::SystemTime;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, IF_RANGE, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_store::{Digest, Flight, Hasher, Leftover};

use crate::client::Client;
use crate::config::CREDENTIALS;
use crate::error::{ErrorKind, FetchError};
use crate::flight::FlightHead;
use crate::leading::{Leading, Sink};
use crate::policy::Role;
use crate::policy::decide::RequestHead;
use crate::policy::preconditions::TERMS;
use crate::policy::range;
use crate::policy::storing::{merge_not_modified, storable, storable_fields};
use crate::record::{self, Variant, vary_names, vary_of};
use crate::request::{Event, Events, Request};
use crate::resume::{announced_total, content_range, is_the_rest, range_from};
use crate::transport::{Answer, Attempts, Outgoing};
use crate::url::Url;
use crate::verify;

/// What the caller wants of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Every byte.
    Read,
    /// The body in the store; its bytes only where that fails.
    Keep,
}

/// One exchange.
pub(crate) struct Call<'e> {
    pub(crate) client: Client,
    pub(crate) request: Request,
    /// All fields to be sent, but for those in `terms`.
    pub(crate) headers: HeaderMap,
    /// The client's own conditions and ranges, of a GET or HEAD.
    pub(crate) terms: HeaderMap,
    pub(crate) key: Digest,
    pub(crate) flight_key: Digest,
    pub(crate) asked: SystemTime,
    pub(crate) events: Events<'e>,
    pub(crate) attempts: Attempts,
    pub(crate) purpose: Purpose,
}

/// What came of asking the origin.
pub(crate) enum Asked {
    /// The rest of a body whose beginning was there.
    Rest(Box<Leading>),
    /// A whole answer, and the flight under which it came.
    Whole(Box<Answer>, Option<Flight>),
}

impl<'e> Call<'e> {
    pub(crate) fn new(
        client: &Client,
        request: &Request,
        purpose: Purpose,
        events: Events<'e>,
    ) -> Result<Self, FetchError> {
        let mut headers = request.headers.clone();
        // Responses may vary by it, so it is set here, not on the way out.
        let agent = HeaderValue::from_str(&client.config().user_agent);
        if let (Ok(agent), false) = (agent, headers.contains_key(USER_AGENT)) {
            headers.insert(USER_AGENT, agent);
        }
        // Files are stored as they come; a coding would make them vary.
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        if !headers.contains_key(CREDENTIALS)
            && let Some(value) = client.credentials(&request.url)?.authorization(&request.url)
        {
            headers.insert(CREDENTIALS, value);
        }
        let terms = take_terms(&request.method, &mut headers);
        let key = match client.config().shared {
            true => record::shared_key(&request.url),
            false => record::key(&request.url, &headers),
        };
        let flight_key = record::flight_key(&key, &headers);
        // Whoever reads along sees the status, and decides.
        let attempts = Attempts::new(client.config().retries, purpose == Purpose::Keep);
        let (client, request, asked) = (client.clone(), request.clone(), client.now());
        Ok(Self {
            client,
            request,
            headers,
            terms,
            key,
            flight_key,
            asked,
            events,
            attempts,
            purpose,
        })
    }

    /// The part that policies look at.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead { method: &self.request.method, headers: &self.headers, role: self.role() }
    }

    /// Whom the cache serves.
    pub(crate) fn role(&self) -> Role {
        if self.client.config().shared { Role::Shared } else { Role::Private }
    }

    /// Under what this request finds responses that were given to nobody in particular, if it shows
    /// cookies: what does not vary by them, and was given without, is for those who have some, too.
    pub(crate) fn common_key(&self) -> Option<Digest> {
        let only_cookies =
            self.headers.contains_key(COOKIE) && !self.headers.contains_key(AUTHORIZATION);
        let is_private = self.role() == Role::Private;
        (is_private && only_cookies).then(|| record::key(&self.request.url, &HeaderMap::new()))
    }

    /// Under what responses of a URL may be stored that this request can make worthless: those for
    /// everybody and those for who asks.
    pub(crate) fn keys_of(&self, url: &Url) -> [Digest; 3] {
        let everybody = record::key(url, &HeaderMap::new());
        [record::key(url, &self.headers), everybody, record::shared_key(url)]
    }

    /// The digest that the body of an answer of this status must have.
    pub(crate) fn expected(&self, status: StatusCode) -> Option<Digest> {
        self.request.expected.filter(|_| status.is_success())
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> FetchError {
        FetchError::new(&self.request.url, self.attempts.made, kind)
    }

    pub(crate) fn store_error(&self, source: std::io::Error) -> FetchError {
        FetchError::caused(&self.request.url, self.attempts.made, ErrorKind::Store, source)
    }

    /// The body is not what was read of it before.
    pub(crate) fn changed(&self) -> FetchError {
        let cause = "the body changed at the server while it was being read";
        let (url, made) = (&self.request.url, self.attempts.made);
        FetchError::caused(url, made, ErrorKind::Broken, cause)
    }

    pub(crate) fn progress(&self, position: u64, total: Option<u64>) {
        (self.events)(Event::Progress { url: &self.request.url, position, total });
    }

    /// Sends the request with more fields.
    pub(crate) async fn send(&mut self, more: &HeaderMap) -> Result<Answer, FetchError> {
        let mut headers = self.headers.clone();
        headers.extend(more.clone());
        let outgoing = Outgoing { request: &self.request, headers };
        self.client.transport().send(outgoing, &mut self.attempts, self.events).await
    }

    /// The fields that ask for the rest of a body from `from` on; `None` if that would not be safe.
    pub(crate) fn rest_of(&self, head: &FlightHead, from: u64) -> Option<HeaderMap> {
        let mut more = HeaderMap::new();
        match head.if_range() {
            _ if from == 0 || head.variant.status() != StatusCode::OK => return None,
            Some(validator) => drop(more.insert(IF_RANGE, validator)),
            // The digest of the whole will tell.
            None if self.expected(head.variant.status()).is_some() => {}
            None => return None,
        }
        more.insert(RANGE, range_from(from));
        Some(more)
    }

    /// Asks the origin: for the rest if an earlier download left a beginning, else with the given
    /// conditions.
    pub(crate) async fn ask(
        &mut self,
        flight: Option<Flight>,
        conditions: &HeaderMap,
    ) -> Result<Asked, FetchError> {
        let leftover = match &flight {
            Some(flight) if conditions.is_empty() => self.leftover(flight).await,
            _ => None,
        };
        let (flight, (leftover, hasher, range)) = match (flight, leftover) {
            (Some(flight), Some(leftover)) => (flight, leftover),
            (flight, _) => {
                let answer = self.send(conditions).await?;
                return Ok(Asked::Whole(Box::new(answer), flight));
            }
        };
        let answer = self.send(&range).await?;
        let (from, head) = (leftover.len(), leftover.head.clone());
        let fits = || is_the_rest(&answer.headers, from, head.length, &head.headers());
        match answer.status {
            StatusCode::PARTIAL_CONTENT if fits() => {
                let head = renewed(self.role(), head, &answer);
                let Ok(writer) = flight.resume(leftover, hasher, &head) else {
                    // The cache cannot be written, so what it has is of no use: the whole, beside it.
                    let answer = self.send(&HeaderMap::new()).await?;
                    return Ok(Asked::Whole(Box::new(answer), None));
                };
                let leading = Leading::new(head, Sink::Partial(writer), answer.body);
                Ok(Asked::Rest(Box::new(leading)))
            }
            // The origin's ranges cannot be used: the whole, then.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let _ = flight.discard();
                let answer = self.send(&HeaderMap::new()).await?;
                Ok(Asked::Whole(Box::new(answer), Some(flight)))
            }
            _ => Ok(Asked::Whole(Box::new(answer), Some(flight))),
        }
    }

    /// What an earlier download left, if it is sound and the rest of it can be asked for.
    async fn leftover(&self, flight: &Flight) -> Option<(Leftover<FlightHead>, Hasher, HeaderMap)> {
        let leftover = flight.leftover::<FlightHead>().ok()??;
        if !leftover.head.variant.matches(&self.headers) {
            return None;
        }
        let range = self.rest_of(&leftover.head, leftover.len())?;
        let (leftover, hasher) = verify::prefix(leftover).await.ok()??;
        Some((leftover, hasher, range))
    }

    /// The response as it would be stored, its body not known yet.
    pub(crate) fn variant(&self, answer: &Answer) -> Variant {
        let headers = storable_fields(self.role(), &answer.headers);
        let vary = vary_of(vary_names(&headers).unwrap_or_default(), &self.headers);
        let (sent, came) = (answer.request_time, answer.response_time);
        Variant { vary, ..Variant::bare(answer.status, &headers, sent, came) }
    }

    /// Starts to take the body of a whole answer: into the store if it may be and can be stored.
    pub(crate) fn begin(&self, answer: Answer, flight: Option<Flight>) -> Leading {
        self.begin_as(&self.request.method, answer, flight)
    }

    /// The one range that was asked for, if the answer is a part that says which it is.
    pub(crate) fn asked_part(&self, answer: &Answer) -> Option<&HeaderValue> {
        let is_part = answer.status == StatusCode::PARTIAL_CONTENT
            && self.request.method == Method::GET
            && content_range(&answer.headers).is_some();
        range::wanted(&self.terms).filter(|_| is_part)?;
        self.terms.get(RANGE)
    }

    /// Starts to take the body of what answers a request of this method.
    pub(crate) fn begin_as(
        &self,
        method: &Method,
        answer: Answer,
        flight: Option<Flight>,
    ) -> Leading {
        let head = RequestHead { method, ..self.head() };
        let mut variant = self.variant(&answer);
        let mut status = answer.status;
        if let Some(range) = self.asked_part(&answer) {
            variant.make_part(range);
            status = StatusCode::OK;
        }
        let allowed = storable(head, status, &answer.headers);
        // What a HEAD announces does not come.
        let has_body = self.request.method != http::Method::HEAD;
        let length = answer.body.length().filter(|_| has_body);
        let head = FlightHead { variant, length };
        let sink = match (allowed, flight) {
            (Ok(()), Some(_)) if !has_end(&answer) && self.expected(answer.status).is_none() => {
                Sink::none("the response does not say where it ends".to_owned())
            }
            (Ok(()), Some(flight)) => match flight.start(&head) {
                Ok(writer) => Sink::Partial(writer),
                Err(error) => Sink::none(format!("the cache cannot be written: {error}")),
            },
            (Ok(()), None) => Sink::none("the cache cannot be written".to_owned()),
            (Err(reason), flight) => {
                let _ = flight.map(|flight| flight.discard());
                Sink::none(reason.to_string())
            }
        };
        Leading::new(head, sink, answer.body)
    }
}

/// Whether a connection that breaks can be told from the end of the body; some statuses have none.
fn has_end(answer: &Answer) -> bool {
    let has_none = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&answer.status);
    has_none || answer.body.is_delimited()
}

/// Takes the terms of a GET or HEAD out of the fields to be sent.
fn take_terms(method: &Method, headers: &mut HeaderMap) -> HeaderMap {
    let mut terms = HeaderMap::new();
    if ![Method::GET, Method::HEAD].contains(method) {
        return terms;
    }
    for name in TERMS {
        for value in headers.get_all(&name) {
            terms.append(name.clone(), value.clone());
        }
        headers.remove(name);
    }
    terms
}

/// The head of a body whose rest came just now: the fields of the newer answer count (RFC 9111
/// section 3.4), those about the bytes excepted.
fn renewed(role: Role, head: FlightHead, part: &Answer) -> FlightHead {
    let length = head.length.or_else(|| announced_total(&part.headers));
    let mut variant = head.variant;
    let update = storable_fields(role, &part.headers);
    merge_not_modified(&mut variant, &update, part.request_time, part.response_time);
    FlightHead { variant, length }
}
