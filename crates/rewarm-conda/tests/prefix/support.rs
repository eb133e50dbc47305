//! A channel, a store and a prefix in one temporary directory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rattler_conda_types::{PrefixRecord, RepoDataRecord, Subdir};
use rewarm_conda::prefix::{
    Event, InstallError, Marker, Options, PIXI_VERSION, Plan, Report, Target, check,
};
use rewarm_store::Store;
use rewarm_testkit::conda::{CondaArchive, CondaPackage, Format, write_channel};
use tempfile::TempDir;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

pub(crate) struct Fixture {
    dir: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let store = Store::open(&dir.path().join("store"))?;
        Ok(Self { dir, store })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.path("work/.pixi/envs/default")
    }

    /// Puts the archives into the channel; gives the records of a lock file that names them.
    pub(crate) fn records(&self, archives: &[CondaArchive]) -> Result<Vec<RepoDataRecord>> {
        let channel = self.path("channel");
        write_channel(&channel, archives)?;
        records(archives, &format!("file://{}/", channel.display()))
    }

    pub(crate) fn target(&self, archives: &[CondaArchive]) -> Result<Target> {
        Ok(Target {
            prefix: self.prefix(),
            packages: self.records(archives)?,
            platform: Subdir::Linux64,
        })
    }

    pub(crate) fn marker(&self) -> Marker {
        Marker {
            manifest_path: self.path("work/pixi.toml"),
            environment_name: "default".to_owned(),
            pixi_version: PIXI_VERSION.to_owned(),
            environment_lock_file_hash: "1234567890abcdef".to_owned(),
            resolved_platform: None,
            minimum_supported_platform: None,
        }
    }

    pub(crate) fn plan(&self, archives: &[CondaArchive]) -> Result<Plan> {
        Ok(check(self.target(archives)?, Options::default())?)
    }

    pub(crate) fn install(&self, archives: &[CondaArchive]) -> Result<Report> {
        let report = execute(&self.plan(archives)?, &self.store)?.0;
        self.marker().write(&self.prefix())?;
        Ok(report)
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let path = self.prefix().join(path);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    /// Every file and link of the prefix but those in `conda-meta`, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        list(&self.prefix(), Path::new(""), &mut found)?;
        found.retain(|path| !path.starts_with("conda-meta/") && path != "CACHEDIR.TAG");
        found.sort();
        Ok(found)
    }

    /// The record of a package.
    pub(crate) fn record(&self, name: &str) -> Result<PrefixRecord> {
        let records: Vec<PrefixRecord> = PrefixRecord::collect_from_prefix(&self.prefix())?;
        let mut records = records.into_iter();
        Ok(records.find(|record| record.name().as_normalized() == name).ok_or("no record")?)
    }
}

pub(crate) fn execute(
    plan: &Plan,
    store: &Store,
) -> std::result::Result<(Report, Vec<Event>), InstallError> {
    let events = Mutex::new(Vec::new());
    let note = |event| {
        if let Ok(mut events) = events.lock() {
            events.push(event);
        }
    };
    let report = plan.execute(store, &note)?;
    Ok((report, events.into_inner().unwrap_or_default()))
}

pub(crate) fn records(archives: &[CondaArchive], channel: &str) -> Result<Vec<RepoDataRecord>> {
    let parse = |archive: &CondaArchive| Ok(serde_json::from_value(archive.record(channel))?);
    archives.iter().map(parse).collect()
}

fn list(root: &Path, below: &Path, found: &mut Vec<String>) -> Result {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
        } else {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// A Python that is only a script: the packages for it can be installed.
pub(crate) fn python(version: &str) -> CondaArchive {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    CondaPackage::new("python", version)
        .platform("linux-64")
        .program(&format!("bin/python{minor}"), "#!/bin/sh\nexit 0\n")
        .archive(Format::Conda)
}
