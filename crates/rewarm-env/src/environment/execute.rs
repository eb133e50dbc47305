//! Carrying out a [`Plan`]: packages are made ready without the environment's lock, then the plan
//! is made again under it, because another process may have been at work meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use rewarm_store::{Digest, Store, Witness};

use super::{Context, Environment, Mend, Plan, Report};
use crate::build::Builder;
use crate::evidence::Evidence;
use crate::install::{
    EnvironmentLock, Event, InstallError, Installation, Prepared, import, prepare_wheel,
};
use crate::lock::{Location, RemoteFile, Source, Wanted};
use crate::plan::{INSTALLER, InstallPlan, source_identity};
use crate::present::{Installed, scan};
use crate::state::{PackageState, State};
use crate::venv;

/// Packages whose trees are at hand, by name.
type Ready = BTreeMap<String, Prepared>;

impl Plan {
    /// Makes the environment match. All [downloads](Plan::downloads) are in the store; if one is
    /// found damaged there, the error [says so](InstallError::wants_download) and the same plan can
    /// be carried out once it was fetched again.
    pub fn execute(
        &self,
        store: &Store,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Report, InstallError> {
        // Taken before the trees are looked for: what is found then, stays. A store that cannot be
        // written is not swept either.
        let files = self.install.to_install().filter_map(|wanted| wanted.source.file());
        let _lease = store.lease(files.filter_map(|file| self.digest_of(file))).ok();
        let mut ready = Ready::new();
        self.make_ready(store, &self.install, &mut ready, on_event)?;
        let root = &self.context.root;
        let _lock = match EnvironmentLock::acquire(root) {
            Ok(lock) => lock,
            // An environment that is right need not be writable.
            Err(_) if self.is_empty() => return Ok(self.report(&self.install)),
            Err(error) => return Err(InstallError::io(root)(error)),
        };
        let before = State::read(root);
        self.context.mend(on_event)?;
        let installation = Installation {
            root,
            layout: venv::layout(root, &self.context.interpreter),
            link_mode: self.context.options.link_mode,
            installer: self.context.options.installer.as_deref().unwrap_or(INSTALLER),
            on_event,
        };
        if let Some(state) = &before {
            installation.clean_up(store, &state.pending)?;
        }
        let known = self.context.known(before.as_ref());
        let present = scan(&self.context.site_packages()).map_err(InstallError::io(root))?;
        let install = InstallPlan::new(&self.wanted, &present, &known, self.context.options.exact);
        self.make_ready(store, &install, &mut ready, on_event)?;
        ready.retain(|name, _| install.to_install().any(|wanted| wanted.name.as_str() == name));
        if !install.is_empty() {
            self.context.begin(before.as_ref(), &install, &ready)?;
            self.remove(&installation, &install, &present)?;
            let packages: Vec<&Prepared> = ready.values().collect();
            installation.link(&packages)?;
            self.install_editables(store, &install, on_event)?;
        }
        match self.context.finish(before, &install, &ready) {
            Err(error) if !install.is_empty() => return Err(error),
            // Nothing was changed; the next check costs what this one did.
            _ => {}
        }
        Ok(self.report(&install))
    }

    fn report(&self, done: &InstallPlan) -> Report {
        let root = self.context.root.clone();
        Report {
            environment: Environment { python: venv::python(&root), root },
            installed: done.to_install().count(),
            removed: done.remove.len(),
            kept: done.keep.len(),
        }
    }

    /// Brings the trees of all packages that a plan installs to hand: wheels in parallel, then
    /// what has to be built, one after the other.
    fn make_ready(
        &self,
        store: &Store,
        install: &InstallPlan,
        ready: &mut Ready,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(), InstallError> {
        let missing: Vec<&Wanted> = install
            .to_install()
            .filter(|wanted| !ready.contains_key(wanted.name.as_str()))
            .collect();
        let wheels: Vec<_> = missing
            .iter()
            .filter_map(|wanted| match &wanted.source {
                Source::Wheel { file, .. } => Some((*wanted, file)),
                _ => None,
            })
            .collect();
        let wheels = on_own_threads(&wheels, |(wanted, file)| {
            let blob = self.blob(store, file)?;
            let prepared = prepare_wheel(store, wanted, (&file.filename, blob), Some(blob))?;
            on_event(Event::Prepared(wanted.name.clone()));
            Ok(prepared)
        })?;
        for prepared in wheels {
            ready.insert(prepared.wanted.name.to_string(), prepared);
        }
        let mut builder = None;
        for wanted in missing {
            if let Some(prepared) = self.build(store, wanted, &mut builder, on_event)? {
                on_event(Event::Prepared(wanted.name.clone()));
                ready.insert(wanted.name.to_string(), prepared);
            }
        }
        Ok(())
    }

    /// Builds a package that is no wheel; nothing for one that is installed in place.
    fn build<'a>(
        &'a self,
        store: &'a Store,
        wanted: &Wanted,
        builder: &mut Option<Builder<'a>>,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Option<Prepared>, InstallError> {
        if !matches!(
            wanted.source,
            Source::Sdist { .. } | Source::Directory { editable: false, .. }
        ) {
            return Ok(None);
        }
        if builder.is_none() {
            let found = Builder::new(store, &self.context.interpreter, wanted.name.as_str())?;
            *builder = Some(found);
        }
        let builder = builder.as_ref().expect("set above");
        let on_start = || on_event(Event::Building(wanted.name.clone()));
        let ((wheel, blob), origin) = match &wanted.source {
            Source::Sdist { file, subdirectory, .. } => {
                let source = self.blob(store, file)?;
                let sdist = (file.filename.as_str(), &source);
                (builder.build_sdist(sdist, subdirectory.as_deref(), &on_start)?, Some(source))
            }
            Source::Directory { path, .. } => {
                on_start();
                (builder.build_directory(path)?, None)
            }
            _ => return Ok(None),
        };
        prepare_wheel(store, wanted, (&wheel, blob), origin).map(Some)
    }

    /// The blob of a file that was downloaded or lies on this machine.
    fn blob(&self, store: &Store, file: &RemoteFile) -> Result<Digest, InstallError> {
        match &file.location {
            Location::Path(path) => import(store, path, file),
            Location::Url(_) => self
                .digest_of(file)
                .ok_or_else(|| InstallError::NotSupplied { file: file.filename.clone() }),
        }
    }

    /// Removes what has no place any more, and what gets a successor.
    fn remove(
        &self,
        installation: &Installation<'_>,
        install: &InstallPlan,
        present: &[Installed],
    ) -> Result<(), InstallError> {
        for installed in &install.remove {
            installation.remove(installed)?;
            (installation.on_event)(Event::Removed(installed.name.clone()));
        }
        let replaced: Vec<_> = install.to_install().map(|wanted| &wanted.name).collect();
        present
            .par_iter()
            .filter(|installed| replaced.contains(&&installed.name))
            .try_for_each(|installed| installation.remove(installed))
    }

    fn install_editables(
        &self,
        store: &Store,
        install: &InstallPlan,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(), InstallError> {
        let python = venv::python(&self.context.root);
        for wanted in install.to_install() {
            let Source::Directory { path, editable: true, .. } = &wanted.source else { continue };
            on_event(Event::Building(wanted.name.clone()));
            let builder = Builder::new(store, &self.context.interpreter, wanted.name.as_str())?;
            builder.install_editable(&python, path)?;
            on_event(Event::Installed(wanted.name.clone()));
        }
        Ok(())
    }
}

impl Context {
    /// Brings the environment itself into order.
    fn mend(&self, on_event: &(dyn Fn(Event) + Sync)) -> Result<(), InstallError> {
        let root = &self.root;
        let create = || venv::create(root, &self.interpreter, &self.prompt);
        match &self.mend {
            Mend::Nothing => {}
            // Another process may have made it meanwhile.
            Mend::Create if venv::inspect(root)? != venv::Condition::Absent => create()?,
            Mend::Create => {
                create()?;
                on_event(Event::Created(root.clone()));
            }
            Mend::Relink => {
                venv::relink(root, &self.interpreter)?;
                on_event(Event::Repaired(root.clone(), "its interpreter was gone".to_owned()));
            }
            Mend::Relocate(from) => {
                venv::relocate(root, from)?;
                let reason = format!("it was copied or moved from `{}`", from.display());
                on_event(Event::Repaired(root.clone(), reason));
            }
            Mend::Recreate(reason) => {
                venv::clear(root)?;
                create()?;
                on_event(Event::Recreated(root.clone(), reason.clone()));
            }
        }
        Ok(())
    }

    /// Notes what is about to be changed.
    fn begin(
        &self,
        before: Option<&State>,
        install: &InstallPlan,
        ready: &Ready,
    ) -> Result<(), InstallError> {
        let mut pending = before.map(|state| state.pending.clone()).unwrap_or_default();
        for wanted in install.to_install() {
            let name = wanted.name.to_string();
            let tree = ready.get(&name).map(|prepared| prepared.blob);
            pending.entry(name).or_default().extend(tree);
        }
        for installed in &install.remove {
            pending.entry(installed.name.to_string()).or_default();
        }
        let packages = before.map(|state| state.packages.clone()).unwrap_or_default();
        let state = State {
            root: self.root.clone(),
            request: self.request,
            asked: super::asked(&self.options),
            inputs: Vec::new(),
            outputs: Vec::new(),
            interpreter: None,
            packages,
            pending,
        };
        state.write(&self.root).map_err(InstallError::io(&self.root))
    }

    /// Notes that the environment is as it should be.
    fn finish(
        &self,
        before: Option<State>,
        install: &InstallPlan,
        ready: &Ready,
    ) -> Result<(), InstallError> {
        let mut known = before.map(|state| state.packages).unwrap_or_default();
        let mut packages = BTreeMap::new();
        for wanted in &install.keep {
            let name = wanted.name.to_string();
            if let Some(state) = known.remove(&name) {
                packages.insert(name, state);
            }
        }
        for wanted in install.to_install() {
            let name = wanted.name.to_string();
            let (version, file) = match ready.get(&name) {
                Some(prepared) => (prepared.version(), prepared.origin),
                None => (wanted.version.as_ref().map(ToString::to_string), None),
            };
            let source = source_identity(&wanted.source);
            let version = version.unwrap_or_default();
            packages.insert(name, PackageState { version, source, file });
        }
        let take = |path: PathBuf| {
            let evidence = Evidence::take(&path, self.checked).map_err(InstallError::io(&path))?;
            Ok((path, evidence))
        };
        let mut outputs = vec![self.root.join("pyvenv.cfg")];
        outputs.extend(self.site_packages());
        let python = venv::python(&self.root);
        let state = State {
            root: self.root.clone(),
            request: self.request,
            asked: super::asked(&self.options),
            inputs: self.inputs.clone(),
            outputs: outputs.into_iter().map(take).collect::<Result<_, InstallError>>()?,
            interpreter: Witness::of(&python).map_err(InstallError::io(&python))?,
            packages,
            pending: BTreeMap::new(),
        };
        state.write(&self.root).map_err(InstallError::io(&self.root))
    }
}

/// Does the work for each item, several at once, until one fails.
///
/// The threads are not those of the pool that unpacks. One of these, while it waits for files of its
/// wheel, could begin another wheel, and wait for a process that waits for the first one.
fn on_own_threads<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, InstallError> + Sync,
) -> Result<Vec<R>, InstallError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let one_thread = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed)
            && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
        {
            done.push(work(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?);
        }
        Ok(done)
    };
    let count = rayon::current_num_threads().min(items.len());
    let results: Vec<Result<Vec<R>, InstallError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(one_thread)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for result in results {
        all.extend(result?);
    }
    Ok(all)
}
