//! A workspace with a virtual environment, and the run of lookup, activation and saving.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_activation::{
    self as activation, Activation, ActivationConfig, ActivationRequest, Hit, Miss, Observed,
    Scope, Variables,
};
use rewarm_store::Store;

/// A workspace in a temporary directory.
pub(crate) struct Workspace {
    _dir: Option<tempfile::TempDir>,
    /// Its canonical path.
    pub(crate) root: PathBuf,
    /// The store that holds its activations.
    pub(crate) store: Store,
    /// What is asked for.
    pub(crate) config: ActivationConfig,
    /// Its tasks.
    pub(crate) tasks: Vec<u8>,
    /// Which environment is asked for.
    pub(crate) environment: String,
    /// Whether a clean one is.
    pub(crate) clean_env: bool,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let base = dir.path().canonicalize().expect("it exists");
        let workspace = Self { _dir: Some(dir), ..Self::at(&base.join("work")) };
        workspace.write(".venv/pyvenv.cfg", "home = /usr/bin\n");
        workspace.write(".venv/bin/python", "");
        workspace.write(".venv/lib/site-packages/six-1.0.dist-info/METADATA", "");
        workspace.write("pylock.toml", "lock-version = '1.0'\n");
        workspace.write("pyproject.toml", "[project]\n");
        workspace
    }

    /// A workspace that another process made.
    pub(crate) fn at(root: &Path) -> Self {
        let cache = root.with_file_name("cache");
        Self {
            _dir: None,
            root: root.to_owned(),
            store: Store::open(&cache).expect("the store can be made"),
            config: ActivationConfig::default(),
            tasks: Vec::new(),
            environment: "default".to_owned(),
            clean_env: false,
        }
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.root.join(".venv")
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        let parent = path.parent().expect("a file is in a directory");
        fs::create_dir_all(parent).expect("directories can be made");
        fs::write(path, text).expect("files can be written");
    }

    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope {
            workspace_root: &self.root,
            environment: &self.environment,
            clean_env: self.clean_env,
        }
    }

    pub(crate) fn lookup(&self, caller: &Variables) -> Result<Hit, Miss> {
        activation::lookup(&self.store, &self.scope(), caller, now())
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
                let activation = self.activate(caller);
                activation::save(&self.store, &activation).expect("the store is writable");
                (activation, Some(miss))
            }
        }
    }

    pub(crate) fn activate(&self, caller: &Variables) -> Activation {
        activation::activate(self.request(), caller).expect("the configuration is right")
    }

    pub(crate) fn request(&self) -> ActivationRequest {
        let mut observed = Observed::new(now());
        for path in ["pixi.toml", "rewarm.toml", "pyproject.toml", "pylock.toml"] {
            observed.path(&self.root.join(path)).expect("files can be read");
        }
        let packages = self.prefix().join("lib/site-packages");
        observed.path(&packages).expect("directories can be read");
        let mut request = ActivationRequest::new(self.root.clone(), self.prefix(), observed);
        request.environment = self.environment.clone();
        request.clean_env = self.clean_env;
        request.config = self.config.clone();
        request.tasks = self.tasks.clone();
        request
    }

    #[track_caller]
    pub(crate) fn assert_hit(&self, caller: &Variables) -> Activation {
        let (activation, miss) = self.run(caller);
        assert_eq!(miss, None);
        activation
    }

    /// The reason of a miss, as `--explain` shows it.
    #[track_caller]
    pub(crate) fn assert_miss(&self, caller: &Variables) -> String {
        let (_, miss) = self.run(caller);
        miss.expect("nothing that is stored may be used").to_string()
    }
}

/// The wall clock: tests stand in for the binary, which is the one to read it.
#[expect(clippy::disallowed_methods, reason = "a test is a program of its own")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn env(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

pub(crate) fn get<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    let value = variables.get(&OsString::from(name))?;
    Some(value.to_str().expect("the test's value is UTF-8"))
}

pub(crate) fn set_times(path: &Path, time: SystemTime) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("directories can be read") {
            set_times(&entry.expect("directories can be read").path(), time);
        }
    }
    let file = fs::File::open(path).expect("files can be opened");
    file.set_modified(time).expect("the owner can set times");
}
