//! The client: look up, ask, store, hand on.
//!
//! [`Client::open`] answers with a head and a streaming body, [`Client::fetch`] with the whole body
//! verified in the store. Both decide by `policy`, let one request fly at a time for all processes
//! that share the store, and follow redirects hop by hop, each hop cached in its own right.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use http::Method;
use http::header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use rewarm_store::{Digest, Flight, Hasher, Store, Witness};
use tokio::task::JoinSet;

use crate::alone::Alone;
use crate::body::Response;
use crate::broadcast::Broadcasts;
use crate::call::{Call, Purpose};
use crate::config::{ClientConfig, Clock, Credentials};
use crate::error::{ErrorKind, FetchError};
use crate::request::{Content, Events, Fetched, Request, Reuse};
use crate::spill::Spill;
use crate::transport::Transport;
use crate::url::Url;
use crate::{asking, exchange};

/// More redirects than this are a loop.
const MAX_REDIRECTS: usize = 10;

/// Bodies of redirects and errors are read so far.
const SHORT_BODY: u64 = 64 * 1024;

/// Fetches through the cache. Cheap to clone; all clones share connections and background tasks.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    config: ClientConfig,
    clock: Clock,
    transport: Transport,
    credentials: OnceLock<Credentials>,
    broadcasts: Broadcasts,
    alone: Alone,
    tasks: Mutex<JoinSet<()>>,
}

impl Client {
    /// A client on a store. Opens no connection and reads no certificate until it has to.
    pub fn new(store: Store, config: ClientConfig, clock: Clock) -> Self {
        let transport = Transport::new(config.clone(), clock);
        let inner = Inner {
            store,
            config,
            clock,
            transport,
            credentials: OnceLock::new(),
            broadcasts: Broadcasts::default(),
            alone: Alone::default(),
            tasks: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Client {
    /// Fetches a body whole: at the end it is in the store, verified (or, where that is impossible,
    /// in a nameless file). A status that is no success is an error, and so is a
    /// part.
    pub async fn fetch(
        &self,
        request: &Request,
        events: Events<'_>,
    ) -> Result<Fetched, FetchError> {
        let response = self.open_for(request, Purpose::Keep, events).await?;
        match self.keep(response).await {
            // What an earlier download left may have been of another version: once more, whole.
            Err((FetchError { kind: ErrorKind::Digest { .. }, .. }, Reuse::Resumed { .. })) => {
                let response = self.open_for(request, Purpose::Keep, events).await?;
                self.keep(response).await.map_err(|(error, _)| error)
            }
            result => result.map_err(|(error, _)| error),
        }
    }

    /// Asks for a response; its body comes as it arrives and is stored in passing.
    pub async fn open<'e>(
        &self,
        request: &Request,
        events: Events<'e>,
    ) -> Result<Response<'e>, FetchError> {
        self.open_for(request, Purpose::Read, events).await
    }

    /// Waits for what goes on in the background: the renewal of responses that were served stale,
    /// and downloads.
    pub async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    async fn open_for<'e>(
        &self,
        request: &Request,
        purpose: Purpose,
        events: Events<'e>,
    ) -> Result<Response<'e>, FetchError> {
        let mut request = request.clone();
        for _ in 0..=MAX_REDIRECTS {
            let call = Call::new(self, &request, purpose, events)?;
            let mut response = exchange::run(call).await?;
            let Some(next) = redirected(&request, &response)? else { return Ok(response) };
            response.body.drain(SHORT_BODY).await;
            request = next;
        }
        let text = format!("more than {MAX_REDIRECTS} redirects");
        Err(FetchError::new(&request.url, 0, ErrorKind::Redirect(text)))
    }

    /// Reads a body to its end, beside the store where it does not go into it.
    async fn keep(&self, mut response: Response<'_>) -> Result<Fetched, (FetchError, Reuse)> {
        if let Err(error) = response.expect_whole() {
            response.body.drain(SHORT_BODY).await;
            return Err((error, Reuse::Downloaded));
        }
        let body = &mut response.body;
        let mut spill = None;
        loop {
            let next = body.next().await.map_err(|error| (error, body.reuse().clone()))?;
            let bytes = next.as_deref().unwrap_or_default();
            if !body.is_stored() {
                let spilled = self.spill(&mut spill, body.salvage(), bytes);
                spilled
                    .map_err(|e| (body.store_error(self.unspilled(&e)), body.reuse().clone()))?;
            }
            if next.is_none() {
                break;
            }
        }
        let content = match (body.stored(), spill) {
            (Some(stored), _) => Ok(Content::Stored(stored.blob())),
            (None, Some(spill)) => {
                spill.finish().map(|(file, blob)| Content::Spilled { file, blob })
            }
            (None, None) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        };
        let content = content.map_err(|e| (body.store_error(e), body.reuse().clone()))?;
        let reuse = body.reuse().clone();
        let Response { url, status, headers, explanation, .. } = response;
        Ok(Fetched { url, status, headers, content, reuse, explanation })
    }

    /// Adds bytes to the nameless file, after what had been stored before storing ended.
    fn unspilled(&self, error: &std::io::Error) -> std::io::Error {
        let dir = self.config().spill_dir.display();
        std::io::Error::new(error.kind(), format!("cannot write in `{dir}`: {error}"))
    }

    fn spill(
        &self,
        spill: &mut Option<Spill>,
        salvage: Option<rewarm_store::PartialWriter>,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let file = match spill {
            Some(file) => file,
            None => spill.insert(Spill::create(&self.config().spill_dir)?),
        };
        if let Some(writer) = salvage {
            let mut buffer = vec![0; 64 * 1024];
            let mut offset = 0;
            while offset < writer.size() {
                let count = writer.read_at(&mut buffer, offset)?;
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                file.write(&buffer[..count])?;
                offset += count as u64;
            }
            drop(writer.discard());
        }
        file.write(bytes)
    }

    /// Renews a response in the background.
    pub(crate) fn renew_later(&self, request: &Request) {
        self.spawn(asking::renew(self.clone(), request.clone()));
    }

    /// Has something go on in the background.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Downloads that this client leads.
    pub(crate) fn broadcasts(&self) -> &Broadcasts {
        &self.inner.broadcasts
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// Which responses were of no use to others lately.
    pub(crate) fn alone(&self) -> &Alone {
        &self.inner.alone
    }

    /// The time, as its clock says.
    pub fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    /// Reads the netrc text when it is first needed.
    pub(crate) fn credentials(&self, url: &Url) -> Result<&Credentials, FetchError> {
        if let Some(known) = self.inner.credentials.get() {
            return Ok(known);
        }
        let file = self.config().netrc.as_ref();
        let parsed = file.map_or(Ok(Credentials::default()), Credentials::parse);
        let parsed = parsed.map_err(|error| FetchError::new(url, 0, ErrorKind::Config(error)))?;
        Ok(self.inner.credentials.get_or_init(|| parsed))
    }

    /// A flight that nobody else knows, for a caller that goes its own way.
    pub(crate) fn flight_of_its_own(&self, key: &Digest) -> Option<Flight> {
        static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut hasher = Hasher::new("http flight of its own, 1");
        hasher.field(key.as_bytes());
        hasher.field(std::process::id().to_le_bytes()).field(count.to_le_bytes());
        self.store().try_flight(&hasher.finish()).ok().flatten()
    }

    /// Whether a witness taken now would show every later change.
    pub(crate) fn settled(&self, witness: Witness) -> Option<Witness> {
        witness.is_settled(self.now()).then_some(witness)
    }
}

/// The request that a redirect asks for (RFC 9110 section 15.4); `None` if the response is none.
fn redirected(request: &Request, response: &Response<'_>) -> Result<Option<Request>, FetchError> {
    let is_redirect = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let readable = [Method::GET, Method::HEAD].contains(&request.method);
    let location = response.headers.get(LOCATION).filter(|_| is_redirect && readable);
    let (Some(location), true) = (location, request.follow) else { return Ok(None) };
    let fail = |text: String| FetchError::new(&request.url, 0, ErrorKind::Redirect(text));
    let text = std::str::from_utf8(location.as_bytes());
    let text = text.map_err(|_| fail("the redirect's target is not text".into()))?;
    let url = request.url.join(text).map_err(|error| fail(format!("bad redirect: {error}")))?;
    if request.url.is_secure() && !url.is_secure() {
        return Err(fail(format!("refusing to be redirected from https to `{url}`")));
    }
    let mut next = Request { url, ..request.clone() };
    if !next.url.same_origin(&request.url) {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            next.headers.remove(name);
        }
    }
    Ok(Some(next))
}
