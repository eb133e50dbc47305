//! Building source distributions and directories with the real `pip`, once.
//!
//! `pip wheel --no-deps` builds in an isolated environment of its own; what it fetches for that
//! and from where is governed by the user's pip configuration. The wheel becomes a blob, and a
//! record says which source, interpreter, platform and pip made it. The pip is that of the
//! interpreter, or the one that it carries for `ensurepip`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rewarm_store::{Digest, Hasher, Kind, Store};
use serde::{Deserialize, Serialize};

use crate::interpreter::Interpreter;

const FIND_PIP: &str = include_str!("find_pip.py");
/// How much of pip's output an error repeats.
const TAIL_LINES: usize = 20;

/// Why a wheel could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no pip to build with.
    #[error("`{}` has neither pip nor ensurepip to build `{what}` with", interpreter.display())]
    NoPip {
        /// The interpreter.
        interpreter: PathBuf,
        /// The source.
        what: String,
    },
    /// pip said no.
    #[error("building `{what}` failed ({status}); pip's last lines were:\n{tail}")]
    Failed {
        /// The source.
        what: String,
        /// How pip ended.
        status: String,
        /// The end of what it said.
        tail: String,
    },
    /// pip ended well, but made no wheel.
    #[error("building `{what}` made {count} wheels instead of one")]
    NoWheel {
        /// The source.
        what: String,
        /// How many there are.
        count: usize,
    },
    /// pip could not be run, or its work not be kept.
    #[error("cannot build `{what}`")]
    Io {
        /// The source.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The wheel could not be stored.
    #[error("cannot keep the wheel built from `{what}`")]
    Store {
        /// The source.
        what: String,
        /// Why not.
        source: rewarm_store::CommitError,
    },
}

/// A wheel that was built before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuiltWheel {
    pub(crate) filename: String,
    blob: Digest,
}

impl Kind for BuiltWheel {
    const NAME: &'static str = "built-wheel";
    const VERSION: u16 = 1;

    fn references(&self) -> Vec<Digest> {
        vec![self.blob]
    }
}

/// A pip that can build.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    store: &'a Store,
    interpreter: &'a Interpreter,
    /// What follows the interpreter on the command line.
    pip: Vec<String>,
    identity: String,
}

impl<'a> Builder<'a> {
    /// Finds the pip of an interpreter; `what` is to be built.
    pub(crate) fn new(
        store: &'a Store,
        interpreter: &'a Interpreter,
        what: &str,
    ) -> Result<Self, BuildError> {
        let output = Command::new(&interpreter.base_executable)
            .args(["-I", "-c", FIND_PIP])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| BuildError::Io { what: what.to_owned(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let (Some(location), Some(identity)) = (lines.next(), lines.next()) else {
            let interpreter = interpreter.base_executable.clone();
            return Err(BuildError::NoPip { interpreter, what: what.to_owned() });
        };
        let pip = match location {
            "module" => vec!["-I".to_owned(), "-m".to_owned(), "pip".to_owned()],
            wheel => vec!["-I".to_owned(), format!("{wheel}/pip")],
        };
        Ok(Self { store, interpreter, pip, identity: identity.to_owned() })
    }

    /// Builds the wheel of a source distribution that is in the store; `on_start` is called unless
    /// that was done before.
    pub(crate) fn build_sdist(
        &self,
        (filename, blob): (&str, &Digest),
        subdirectory: Option<&Path>,
        on_start: &dyn Fn(),
    ) -> Result<(String, Digest), BuildError> {
        let io_error = |source| BuildError::Io { what: filename.to_owned(), source };
        let mut hasher = Hasher::new("built wheel, 1");
        hasher.field(blob.as_bytes());
        hasher.optional(subdirectory.map(|path| path.to_string_lossy().into_owned()));
        hasher.field(self.interpreter.build_identity().as_bytes()).field(&self.identity);
        let key = hasher.finish();
        // Two processes that need the same wheel build it once.
        let _lock = self.store.lock("build", &key).map_err(io_error)?;
        if let Some(known) = self.store.read::<BuiltWheel>(&key)
            && self.store.blob_path(&known.blob).is_some()
        {
            return Ok((known.filename, known.blob));
        }
        on_start();
        let scratch = tempfile::tempdir().map_err(io_error)?;
        let source = scratch.path().join(filename);
        self.copy_out(blob, &source).map_err(io_error)?;
        let mut argument = source.into_os_string();
        if let Some(subdirectory) = subdirectory {
            let text = argument.to_string_lossy().into_owned();
            let url = url::Url::from_file_path(text)
                .map_err(|()| io_error(io::ErrorKind::InvalidInput.into()))?;
            argument = format!("{url}#subdirectory={}", subdirectory.display()).into();
        }
        let built = self.run(filename, scratch.path(), Path::new(&argument))?;
        let record = BuiltWheel { filename: built.0.clone(), blob: built.1 };
        // A store that cannot keep the record costs another build.
        let _ = self.store.write(&key, &record);
        Ok(built)
    }

    /// Builds the wheel of a directory; what is in it can change at any time, so nothing is
    /// remembered.
    pub(crate) fn build_directory(&self, path: &Path) -> Result<(String, Digest), BuildError> {
        let what = path.display().to_string();
        let scratch =
            tempfile::tempdir().map_err(|source| BuildError::Io { what: what.clone(), source })?;
        self.run(&what, scratch.path(), path)
    }

    /// Installs a directory in place (PEP 660) into the environment of `python`.
    pub(crate) fn install_editable(&self, python: &Path, path: &Path) -> Result<(), BuildError> {
        let what = path.display().to_string();
        let mut command = self.command();
        command.arg("--python").arg(python).args(["install", "--no-deps", "--editable"]).arg(path);
        let output =
            command.output().map_err(|source| BuildError::Io { what: what.clone(), source })?;
        succeeded(&what, &output)
    }

    fn copy_out(&self, blob: &Digest, target: &Path) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "it is not in the cache");
        let mut reader = self.store.open_blob(blob)?.ok_or_else(missing)?;
        io::copy(&mut reader, &mut fs::File::create(target)?).map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.interpreter.base_executable);
        command.args(&self.pip).args(["--disable-pip-version-check", "--no-input"]);
        for name in ["PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"] {
            command.env_remove(name);
        }
        command.env_remove("PIP_REQUIRE_VIRTUALENV").stdin(Stdio::null());
        command
    }

    /// Runs `pip wheel` and stores what it makes.
    fn run(
        &self,
        what: &str,
        scratch: &Path,
        source: &Path,
    ) -> Result<(String, Digest), BuildError> {
        let io_error = |source| BuildError::Io { what: what.to_owned(), source };
        let out = scratch.join("wheels");
        let mut command = self.command();
        command.args(["wheel", "--no-deps", "--no-cache-dir", "--wheel-dir"]).arg(&out).arg(source);
        let output = command.current_dir(scratch).output().map_err(io_error)?;
        succeeded(what, &output)?;
        let mut wheels = Vec::new();
        for entry in fs::read_dir(&out).map_err(io_error)? {
            wheels.push(entry.map_err(io_error)?.path());
        }
        let [wheel] = wheels.as_slice() else {
            return Err(BuildError::NoWheel { what: what.to_owned(), count: wheels.len() });
        };
        let mut writer = self.store.blob_writer().map_err(io_error)?;
        io::copy(&mut fs::File::open(wheel).map_err(io_error)?, &mut writer).map_err(io_error)?;
        let blob = writer
            .commit(None)
            .map_err(|source| BuildError::Store { what: what.to_owned(), source })?;
        let filename = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((filename, blob.digest))
    }
}

fn succeeded(what: &str, output: &Output) -> Result<(), BuildError> {
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
    Err(BuildError::Failed { what: what.to_owned(), status: output.status.to_string(), tail })
}
