//! Carrying out a [`Plan`]: trees are made ready without the prefix's lock, then the plan is made
//! again under it, because another process may have been at work meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rattler::install::{InstallDriver, InstallOptions, PythonInfo, link_package_sync};
use rattler_conda_types::prefix::Prefix;
use rattler_conda_types::{PackageRecord, PrefixRecord, RepoDataRecord};
use rayon::prelude::*;
use rewarm_store::{Digest, Store};

use super::archive::unpack;
use super::content::Info;
use super::link::{Means, Prepared, remove_empty_directories, remove_file, unlink, write_record};
use super::marker::{Marker, PrefixLock, Progress, fingerprint};
use super::plan::{Everything, InstallPlan, python};
use super::{Event, InstallError, Plan, Records, Report, Target, local};

/// Packages whose trees are at hand, by name.
type Ready = BTreeMap<String, Prepared>;

impl Plan {
    /// Makes the prefix match. All [downloads](Plan::downloads) are in the store; if one is found
    /// damaged there, the error [says so](InstallError::wants_download) and the same plan can be
    /// carried out once it was fetched again.
    pub fn execute(
        &self,
        store: &Store,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Report, InstallError> {
        let prefix = &self.target.prefix;
        let files = self.install.to_install().filter_map(|wanted| self.digest_of(wanted));
        // Taken before the trees are looked for: what is found then, stays. A store that cannot be
        // written is not swept either.
        let _lease = store.lease(files).ok();
        let mut ready = Ready::new();
        self.make_ready(store, &self.install, &mut ready, on_event)?;
        let lock = match PrefixLock::acquire(prefix) {
            Ok(lock) => lock,
            // A prefix that is right need not be writable.
            Err(_) if self.is_empty() => return Ok(Report::of(&self.install)),
            Err(error) => return Err(InstallError::io(prefix)(error)),
        };
        let present = Records::read(prefix).map_err(InstallError::io(prefix))?;
        let everything = match lock.found {
            Progress::Unfinished => Some(Everything::Unfinished),
            _ => self.everything(),
        };
        let install = InstallPlan::new(
            prefix,
            &self.target.packages,
            present,
            self.target.platform,
            (self.options.depth, everything),
        );
        self.make_ready(store, &install, &mut ready, on_event)?;
        ready.retain(|name, _| install.to_install().any(|wanted| name_of(wanted) == name));
        if !install.is_empty() || lock.found == Progress::Unfinished {
            let begin = || lock.begin().and_then(|()| Marker::remove(prefix));
            begin().map_err(InstallError::io(prefix))?;
            self.change(&install, &ready, lock.found, on_event)?;
        }
        self.finish(&lock, !install.is_empty())?;
        Ok(Report::of(&install))
    }

    /// Brings the trees of all packages that a plan installs to hand, in parallel.
    fn make_ready(
        &self,
        store: &Store,
        install: &InstallPlan,
        ready: &mut Ready,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(), InstallError> {
        let missing: Vec<&RepoDataRecord> =
            install.to_install().filter(|wanted| !ready.contains_key(name_of(wanted))).collect();
        let prepared: Vec<Prepared> = missing
            .par_iter()
            .map(|wanted| {
                let blob = self.blob(store, wanted)?;
                let tree = unpack(store, &blob, &wanted.identifier.to_string())?;
                let info = Info::read(&tree.path, wanted)?;
                on_event(Event::Prepared(name_of(wanted).to_owned()));
                Ok(Prepared { wanted: (*wanted).clone(), tree, info })
            })
            .collect::<Result<_, InstallError>>()?;
        ready.extend(prepared.into_iter().map(|one| (name_of(&one.wanted).to_owned(), one)));
        Ok(())
    }

    /// The blob of a package that was downloaded or lies on this machine.
    fn blob(&self, store: &Store, wanted: &RepoDataRecord) -> Result<Digest, InstallError> {
        let known = self.digest_of(wanted);
        match (local(wanted), known) {
            (Some(path), _) => self.import(store, &path, wanted),
            (None, Some(digest)) => Ok(digest),
            (None, None) => {
                Err(InstallError::NotSupplied { package: wanted.identifier.to_string() })
            }
        }
    }

    /// Removes and links, in an order in which each step can be the last.
    fn change(
        &self,
        install: &InstallPlan,
        ready: &Ready,
        found: Progress,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(), InstallError> {
        let root = &self.target.prefix;
        let error = |source| InstallError::io(root)(source);
        let prefix = Prefix::create(root.clone()).map_err(error)?;
        let python = python(
            self.target.packages.iter().map(|one| &one.package_record),
            self.target.platform,
        );
        if found == Progress::Unfinished {
            // Which file stands for which may be half noted; all are linked again.
            let clobbers = root.join("__clobbers__");
            match fs::remove_dir_all(&clobbers) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(InstallError::io(&clobbers)(error));
                }
                _ => {}
            }
        }
        let driver = InstallDriver::builder()
            .with_prefix_records(install.keep.iter().chain(&install.remove))
            .finish();
        for record in &install.remove {
            driver.clobber_registry().unregister_paths(record);
        }
        install.damaged.iter().try_for_each(|path| remove_file(path)).map_err(error)?;
        install.remove.par_iter().try_for_each(|record| unlink(root, record)).map_err(error)?;
        for record in install.to_remove() {
            on_event(Event::Removed(record.name().as_normalized().to_owned()));
        }
        remove_empty_directories(root, &install.remove, &install.keep);
        announce(root, ready, python.as_ref()).map_err(error)?;
        clear_the_way(root, install, ready, python.as_ref()).map_err(error)?;
        let registry = Arc::new(Mutex::new(driver.clobber_registry().clone()));
        let options = self.link_options(ready, python);
        let linked: Vec<PrefixRecord> = ready
            .par_iter()
            .map(|(name, package)| {
                let failed = |source| InstallError::link(&package.wanted, source);
                let tree = &package.tree.path;
                let (paths, link_type) =
                    link_package_sync(tree, &prefix, Arc::clone(&registry), options.clone())
                        .map_err(failed)?;
                let record = package.record(paths, link_type);
                write_record(root, &record).map_err(error)?;
                skipped_script(&record, on_event);
                on_event(Event::Installed(name.clone()));
                Ok(record)
            })
            .collect::<Result<_, InstallError>>()?;
        let mut all: Vec<&PrefixRecord> = install.keep.iter().chain(&linked).collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        let sorted = PackageRecord::sort_topologically(all);
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let clobbered = registry.unclobber(&sorted, root).map_err(|source| {
            InstallError::Clobber { prefix: root.clone(), source: source.into() }
        })?;
        let mut shared: Vec<_> = clobbered.into_iter().collect();
        shared.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, owners) in shared {
            let others = owners.other_packages.iter().map(|name| name.as_normalized().to_owned());
            on_event(Event::Shared {
                path,
                from: owners.package.as_normalized().to_owned(),
                others: others.collect(),
            });
        }
        Ok(())
    }

    fn link_options(&self, ready: &Ready, python: Option<PythonInfo>) -> InstallOptions {
        let first = ready.values().next();
        let means =
            first.map(|package| Means::find(self.options.link_mode, &self.target.prefix, package));
        InstallOptions {
            allow_symbolic_links: Some(true),
            allow_hard_links: means.map(|means| means.hard_links),
            allow_ref_links: means.map(|means| means.reflinks),
            platform: Some(self.target.platform),
            python_info: python,
            ..InstallOptions::default()
        }
    }

    /// Notes that the prefix is as it should be.
    fn finish(&self, lock: &PrefixLock, is_changed: bool) -> Result<(), InstallError> {
        let Target { prefix, packages, .. } = &self.target;
        let digits = fingerprint(packages);
        match lock.found {
            Progress::Finished(found) if found == digits && !is_changed => return Ok(()),
            _ => {}
        }
        match lock.finish(&digits) {
            Err(error) if is_changed => Err(InstallError::io(prefix)(error)),
            // Nothing was changed; the next check costs what this one did.
            _ => Ok(()),
        }
    }
}

fn name_of(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}

/// Writes the records of what is about to come.
fn announce(prefix: &Path, ready: &Ready, python: Option<&PythonInfo>) -> std::io::Result<()> {
    ready.par_iter().try_for_each(|(_, one)| write_record(prefix, &one.announcement(python)))
}

/// Removes files that no record lists from where files are about to come.
fn clear_the_way(
    prefix: &Path,
    install: &InstallPlan,
    ready: &Ready,
    python: Option<&PythonInfo>,
) -> std::io::Result<()> {
    let owned: HashSet<&Path> = install
        .keep
        .iter()
        .flat_map(|record| &record.paths_data.paths)
        .map(|entry| entry.relative_path.as_path())
        .collect();
    let targets: Vec<PathBuf> = ready
        .par_iter()
        .flat_map_iter(|(_, package)| package.targets(python))
        .map(|(_, target)| target)
        .filter(|target| !owned.contains(target.as_path()))
        .collect();
    targets.par_iter().try_for_each(|target| remove_file(&prefix.join(target)))
}

/// Scripts that packages bring to be run at installation are not run, as in pixi.
fn skipped_script(record: &PrefixRecord, on_event: &(dyn Fn(Event) + Sync)) {
    let name = record.name().as_normalized();
    for when in ["pre-link", "post-link"] {
        let script = PathBuf::from(format!("bin/.{name}-{when}.sh"));
        if record.files.contains(&script) {
            on_event(Event::ScriptSkipped { package: name.to_owned(), script });
        }
    }
}
