//! A workspace with a conda prefix, activated as a command does it, and the same in a real bash.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rewarm_activation::{
    self as activation, ActivateError, Activation, ActivationConfig, Computed, CondaRequest, Hit,
    Miss, Observed, Scope, ScriptShell, Variables,
};
use rewarm_store::Store;

use crate::support::now;

/// A workspace in a temporary directory.
pub(crate) struct CondaWorkspace {
    dir: tempfile::TempDir,
    /// Its canonical path.
    pub(crate) root: PathBuf,
    /// The store that holds its activations.
    pub(crate) store: Store,
    /// What is asked for; each part that the manifest would hold is also written there.
    pub(crate) request: CondaRequest,
    /// How long scripts may take.
    pub(crate) time_limit: Duration,
    /// Whether what scripts do is watched.
    pub(crate) is_watched: bool,
}

impl CondaWorkspace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let base = dir.path().canonicalize().expect("it exists");
        let root = base.join("work");
        let prefix = root.join(".pixi/envs/default");
        let store = Store::open(&base.join("cache")).expect("the store can be made");
        fs::create_dir(base.join("tmp")).expect("directories can be made");
        let request = CondaRequest {
            workspace_root: root.clone(),
            environment: "default".to_owned(),
            prefix,
            clean_env: false,
            scripts: Vec::new(),
            env: Vec::new(),
            metadata: Vec::new(),
            config: ActivationConfig::default(),
            tasks: Vec::new(),
            observed: Observed::new(now()),
        };
        let time_limit = Duration::from_secs(60);
        let workspace = Self { dir, root, store, request, time_limit, is_watched: true };
        workspace.write("pixi.toml", "[workspace]\n");
        workspace.write("pixi.lock", "version: 6\n");
        workspace.in_prefix("conda-meta/.pixi-environment-fingerprint", "0123456789abcdef");
        workspace.in_prefix("conda-meta/pixi", "{}");
        workspace.in_prefix("conda-meta/six-1.0-0.json", "{}");
        workspace.in_prefix("etc/conda/activate.d/.keep", "");
        workspace
    }

    /// Writes a file, and makes it look old.
    pub(crate) fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).expect("directories can be made");
        fs::write(path, text).expect("files can be written");
    }

    pub(crate) fn in_prefix(&self, path: &str, text: impl AsRef<[u8]>) {
        self.write(self.request.prefix.join(path), text);
    }

    /// A script of a package.
    pub(crate) fn script(&self, name: &str, text: impl AsRef<[u8]>) {
        self.in_prefix(&format!("etc/conda/activate.d/{name}"), text);
    }

    /// `[activation.env]` of the manifest.
    pub(crate) fn env(&mut self, pairs: &[(&str, &str)]) {
        self.request.env = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.write("pixi.toml", format!("[workspace]\n# {pairs:?}\n"));
    }

    /// `[activation] scripts` of the manifest.
    pub(crate) fn manifest_scripts(&mut self, names: &[&str]) {
        self.request.scripts = names.iter().map(PathBuf::from).collect();
        self.write("pixi.toml", format!("[workspace]\n# {names:?}\n"));
    }

    pub(crate) fn temp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            workspace_root: &self.request.workspace_root,
            environment: &self.request.environment,
            clean_env: self.request.clean_env,
        }
    }

    /// Later than the last write by enough for it to be settled.
    fn later() -> SystemTime {
        now() + Duration::from_secs(60)
    }

    pub(crate) fn compute(&self, caller: &Variables) -> Result<Computed, ActivateError> {
        let mut observed = Observed::new(Self::later());
        for path in [
            self.root.join("pixi.toml"),
            self.root.join("pixi.lock"),
            self.root.join("rewarm.toml"),
            self.root.join("pyproject.toml"),
            self.request.prefix.join("conda-meta/.pixi-environment-fingerprint"),
        ] {
            observed.path(&path).expect("files can be read");
        }
        let temp = self.temp();
        let shell = ScriptShell {
            bash: Path::new("/bin/bash"),
            temp: &temp,
            time_limit: self.time_limit,
            tracer: self.is_watched.then_some(Path::new(env!("CARGO_BIN_EXE_rewarm-observe"))),
        };
        activation::activate_conda(
            CondaRequest { observed, ..self.request.clone() },
            caller,
            &shell,
        )
    }

    pub(crate) fn lookup(&self, caller: &Variables) -> Result<Hit, Miss> {
        activation::lookup(&self.store, &self.scope(), caller, Self::later())
    }

    /// As a command does: looks, computes on a miss, saves what is new. Says why it missed.
    pub(crate) fn run(&self, caller: &Variables) -> (Activation, Option<Miss>) {
        match self.lookup(caller) {
            Ok(hit) => {
                if hit.renewed {
                    activation::save(&self.store, &hit.activation).expect("the store is writable");
                }
                (hit.activation, None)
            }
            Err(miss) => {
                let computed = self.compute(caller).expect("the workspace is right");
                activation::save(&self.store, &computed.activation).expect("the store is writable");
                (computed.activation, Some(miss))
            }
        }
    }

    #[track_caller]
    pub(crate) fn assert_hit(&self, caller: &Variables) -> Variables {
        let (activation, miss) = self.run(caller);
        assert_eq!(miss, None);
        activation.environment_for(caller)
    }

    /// The reason of a miss, as `--explain` shows it, and the environment.
    #[track_caller]
    pub(crate) fn miss(&self, caller: &Variables) -> (String, Variables) {
        let (activation, miss) = self.run(caller);
        let miss = miss.expect("nothing that is stored may be used").to_string();
        (miss, activation.environment_for(caller))
    }

    /// What a miss gives and a hit gives again, without what every prefix sets.
    #[track_caller]
    pub(crate) fn own(&self, caller: &Variables) -> BTreeMap<OsString, OsString> {
        let (_, first) = self.miss(caller);
        assert_eq!(self.assert_hit(caller), first, "a hit differs from its miss");
        changed(caller, first)
    }

    #[track_caller]
    pub(crate) fn error(&self, caller: &Variables) -> String {
        let error = self.compute(caller).map(|computed| computed.activation);
        let text = error.expect_err("this cannot be activated").to_string();
        let left = fs::read_dir(self.temp()).expect("it exists").count();
        assert_eq!(left, 0, "something was left behind");
        text
    }
}

/// What differs from the caller, without what every prefix sets.
pub(crate) fn changed(caller: &Variables, mut result: Variables) -> BTreeMap<OsString, OsString> {
    for name in ["CONDA_PREFIX", "CONDA_SHLVL"] {
        result.remove(&OsString::from(name));
    }
    result.retain(|name, value| caller.get(name) != Some(value));
    result
}
