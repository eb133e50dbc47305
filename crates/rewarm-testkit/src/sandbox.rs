//! Runs the binary as a user would, with nothing of the machine showing through.
//!
//! Every [`Sandbox`] has a home, a project and a cache of its own, and commands see only the
//! variables that are given here. What a command printed is compared as text in which the sandbox's
//! own paths are replaced by `[HOME]`, `[PROJECT]` and `[CACHE]`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A home, a project and a cache, removed when dropped.
#[derive(Debug)]
pub struct Sandbox {
    dir: tempfile::TempDir,
    program: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output, paths replaced.
    pub stdout: String,
    /// Standard error, paths replaced.
    pub stderr: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("signal".to_owned(), |code| code.to_string());
        write!(f, "exit: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

impl Output {
    /// Insists on an exit code, showing everything if it is another one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

impl Sandbox {
    /// An empty sandbox for the binary at `program`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let sandbox = Self { dir, program: program.into() };
        for dir in [sandbox.home(), sandbox.project()] {
            std::fs::create_dir(dir).expect("a directory can be made in a new one");
        }
        sandbox
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The directory in which commands start.
    pub fn project(&self) -> PathBuf {
        self.root().join("project")
    }

    /// Where the cache will be.
    pub fn cache(&self) -> PathBuf {
        self.root().join("cache")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("the directory was just made")
    }

    /// Writes a file of the project, and the directories above it.
    pub fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.project().join(path);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent).expect("directories can be made");
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A command of the binary, to be changed before it is run with [`output`](Self::output).
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.prepared(&self.program);
        command.args(args);
        command
    }

    /// A line for `sh`, in the same surroundings.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = self.prepared("sh".as_ref());
        command.args(["-c", line]);
        command
    }

    fn prepared(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.project()).env_clear().stdin(Stdio::null());
        for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "LANG", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", self.home()).env("REWARM_CACHE_DIR", self.cache());
        command
    }

    /// Runs the binary with these arguments.
    #[track_caller]
    #[must_use]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        self.output(&mut self.command(args))
    }

    /// Runs a prepared command.
    #[track_caller]
    #[must_use]
    pub fn output(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Output {
            stdout: self.shown(&output.stdout),
            stderr: self.shown(&output.stderr),
            code: output.status.code(),
        }
    }

    fn shown(&self, bytes: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        let places =
            [(self.home(), "[HOME]"), (self.project(), "[PROJECT]"), (self.cache(), "[CACHE]")];
        for (path, name) in places {
            text = text.replace(&*path.to_string_lossy(), name);
        }
        text
    }
}
