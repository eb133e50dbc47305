//! What a command works with: the settings, the voice, the store, the network and the clock.
//!
//! The store is opened on first use. One that cannot be written is laid under a temporary one, so
//! that what it holds is still of use and the command goes through; that is said once. The
//! asynchronous runtime is made on first use as well, and entered here only.

use std::future::Future;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use rewarm_http::{Client, Clock};
use rewarm_store::{Limits, OpenError, ScratchDir, Store};

use crate::error::Failure;
use crate::settings::Settings;
use crate::ui::Ui;
use crate::{formats, network};

/// Everything around a command.
pub(crate) struct Context<'a> {
    pub(crate) settings: Settings,
    pub(crate) ui: &'a Ui,
    store: OnceLock<Store>,
    // Removed with the context.
    scratch: OnceLock<ScratchDir>,
    client: OnceLock<Client>,
    runtime: OnceLock<tokio::runtime::Runtime>,
}

/// The clock of this process.
pub(crate) fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    SystemTime::now()
}

fn unusable(error: OpenError) -> Failure {
    Failure::world(error)
        .hint("run it as the owner of that directory, or name another with `--cache-dir`")
}

impl<'a> Context<'a> {
    pub(crate) fn new(settings: Settings, ui: &'a Ui) -> Self {
        Self {
            settings,
            ui,
            store: OnceLock::new(),
            scratch: OnceLock::new(),
            client: OnceLock::new(),
            runtime: OnceLock::new(),
        }
    }

    /// The store; a temporary one over it if it cannot be written.
    pub(crate) fn store(&self) -> Result<&Store, Failure> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = match Store::open(&self.settings.cache_dir) {
            Ok(store) => store,
            Err(error) => self.temporary_store(&Failure::world(error))?,
        };
        Ok(self.store.get_or_init(|| store))
    }

    /// The store, to change what is in it: never a temporary one.
    pub(crate) fn store_itself(&self) -> Result<&Store, Failure> {
        let store = Store::open(&self.settings.cache_dir).map_err(unusable)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// The store, to look through it, also where it cannot be written.
    pub(crate) fn store_to_read(&self) -> Result<&Store, Failure> {
        let path = &self.settings.cache_dir;
        let store = Store::open(path).or_else(|e| Store::open_to_read(path).map_err(|_| e));
        let store = store.map_err(unusable)?;
        Ok(self.store.get_or_init(|| store))
    }

    /// Does some work, and does it once more with a temporary store if the cache turns out to be full.
    pub(crate) fn or_beside_full_cache<T>(
        &self,
        work: impl Fn(&Context<'a>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match work(self) {
            Err(failure) if failure.is_out_of_space() => match self.beside_full_cache(&failure)? {
                Some(other) => work(&other),
                None => Err(failure),
            },
            result => result,
        }
    }

    /// The same surroundings, with another directory to start in.
    pub(crate) fn in_directory(&self, start: PathBuf) -> Result<Self, Failure> {
        let other = Self::new(Settings { start, ..self.settings.clone() }, self.ui);
        let store = self.store()?.clone();
        other.store.get_or_init(|| store);
        Ok(other)
    }

    /// The same surroundings with a temporary store over the cache; `None` if the store is a
    /// temporary one already.
    fn beside_full_cache(&self, failure: &Failure) -> Result<Option<Self>, Failure> {
        if self.scratch.get().is_some() {
            return Ok(None);
        }
        let other = Self::new(self.settings.clone(), self.ui);
        let store = other.temporary_store(failure)?;
        other.store.get_or_init(|| store);
        Ok(Some(other))
    }

    fn temporary_store(&self, failure: &Failure) -> Result<Store, Failure> {
        let dir = std::env::temp_dir();
        let scratch = ScratchDir::create(&dir).map_err(|error| {
            let text = format!("cannot write in `{}`: {error}", dir.display());
            Failure::world(std::io::Error::new(error.kind(), text))
                .hint("set `TMPDIR` to a directory that can be written, or `--cache-dir`")
        })?;
        self.ui.warn(&format!("{failure}; nothing will be kept for the next time"));
        let store = Store::over(scratch.path(), &self.settings.cache_dir);
        let store = store.map_err(Failure::world)?;
        drop(self.scratch.set(scratch));
        Ok(store)
    }

    /// How much the cache may hold.
    pub(crate) fn limits(&self) -> Limits {
        let max_bytes = Some(self.settings.max_size);
        Limits { max_bytes, max_age: self.settings.max_age, ..Limits::default() }
    }

    /// Keeps the cache within its bounds; once a day, and never the command's concern.
    pub(crate) fn sweep_in_passing(&self) {
        if let Some(store) = self.store.get()
            && let Some(report) = store.sweep_in_passing(&formats::known(), &self.limits(), now())
        {
            let total = report.total();
            self.ui.detail(&format!("swept {} entries, {} bytes", total.entries, total.bytes));
        }
    }

    /// The HTTP cache.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let config = network::client_config(&self.settings, std::env::temp_dir());
        let client = Client::new(self.store()?.clone(), config, Clock::new(now));
        Ok(self.client.get_or_init(|| client))
    }

    /// Runs a future to its end, and what it spawns on several threads: for servers.
    pub(crate) fn serve<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        Ok(runtime.map_err(Failure::world)?.block_on(future))
    }

    /// Does some work while what `serve` makes runs on other threads. That is told to stop when the
    /// work is done, and waited for.
    pub(crate) fn beside<F, T>(
        &self,
        serve: impl FnOnce(tokio::sync::oneshot::Receiver<()>) -> F,
        work: impl FnOnce() -> T,
    ) -> Result<T, Failure>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::world)?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = runtime.spawn(serve(stopped));
        let done = work();
        drop(stop);
        runtime.block_on(serving).map_err(Failure::world)?;
        Ok(done)
    }

    /// Runs a future to its end, on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Failure> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime.block_on(future));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::world)?;
        Ok(self.runtime.get_or_init(|| runtime).block_on(future))
    }
}
