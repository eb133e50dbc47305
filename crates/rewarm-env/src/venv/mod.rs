//! Virtual environments (PEP 405): what condition one is in, and making and mending one.
//!
//! An environment made by another tool is used as it is. What is mended is what no longer works:
//! links to an interpreter that is gone, and scripts that name the directory the environment was
//! copied or moved from. `pyvenv.cfg` is written last: a directory that has rewarm's lock file but no
//! `pyvenv.cfg` was being made when its maker died, and is finished.

mod scripts;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rewarm_store::publish_file;
use uv_install_wheel::Layout;
use uv_pypi_types::Scheme;

use crate::interpreter::Interpreter;

/// A directory that could not be made into a virtual environment, or is none.
#[derive(Debug, thiserror::Error)]
pub enum VenvError {
    /// There is something else.
    #[error("`{}` is not a virtual environment, nor an empty directory that could become one; move it away", path.display())]
    NotAnEnvironment {
        /// The directory.
        path: PathBuf,
    },
    /// It works, but not for this project, and rewarm did not make it.
    #[error("`{}` has Python {found}, which does not fit{wanted}; remove it, or choose another environment", path.display())]
    Unsuitable {
        /// The environment.
        path: PathBuf,
        /// Its Python version.
        found: String,
        /// What is asked for.
        wanted: String,
    },
    /// Scripts could not name it.
    #[error("`{}` is not UTF-8, so no script in it can name its interpreter", path.display())]
    NotUtf8 {
        /// The environment.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot write to the environment at `{}`", path.display())]
    Io {
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl VenvError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What is at the path of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing, an empty directory, or an environment that rewarm did not finish making.
    Absent,
    /// An environment whose interpreter is there.
    Sound,
    /// An environment that names another directory as its own: it was copied or moved.
    Moved {
        /// The directory its scripts name.
        from: PathBuf,
    },
    /// An environment whose interpreter is gone.
    NoInterpreter,
}

/// Names in an environment's directory that rewarm uses for itself.
pub(crate) const LOCK_NAME: &str = ".rewarm-lock";
const CONFIGURATION: &str = "pyvenv.cfg";

/// Looks at the directory of an environment, with a few system calls.
pub fn inspect(root: &Path) -> Result<Condition, VenvError> {
    if !root.join(CONFIGURATION).is_file() {
        let mut entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            // A link that leads nowhere is not nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !root.is_symlink() => {
                return Ok(Condition::Absent);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(VenvError::NotAnEnvironment { path: root.to_owned() });
            }
            Err(error) => return Err(VenvError::io(root)(error)),
        };
        return if entries.next().is_none() || root.join(LOCK_NAME).is_file() {
            Ok(Condition::Absent)
        } else {
            Err(VenvError::NotAnEnvironment { path: root.to_owned() })
        };
    }
    if !python(root).exists() {
        return Ok(Condition::NoInterpreter);
    }
    match scripts::activated_root(root) {
        Some(from) if from != root && fs::canonicalize(root).ok().as_ref() != Some(&from) => {
            Ok(Condition::Moved { from })
        }
        _ => Ok(Condition::Sound),
    }
}

/// The interpreter of the environment at `root`.
pub(crate) fn python(root: &Path) -> PathBuf {
    root.join("bin/python")
}

/// Makes an environment at `root` with `interpreter`, or completes one.
pub(crate) fn create(
    root: &Path,
    interpreter: &Interpreter,
    prompt: &str,
) -> Result<(), VenvError> {
    if root.to_str().is_none() {
        return Err(VenvError::NotUtf8 { path: root.to_owned() });
    }
    let executable = stable_executable(interpreter);
    let home = executable.parent().unwrap_or(Path::new("/"));
    let configuration = format!(
        "home = {}\ninclude-system-site-packages = false\nversion = {}\nexecutable = {}\nprompt = {}\n",
        home.display(),
        interpreter.full_version(),
        executable.display(),
        prompt.replace(['\n', '\r'], " "),
    );
    let write = |name: &str, text: &[u8], mode: u32| {
        let path = root.join(name);
        publish_file(&path, text, mode).map_err(VenvError::io(&path))
    };
    make_dir(root)?;
    write(".gitignore", b"*\n", 0o666)?;
    let layout = layout(root, interpreter);
    for dir in [&layout.scheme.scripts, &layout.scheme.purelib, &layout.scheme.platlib] {
        make_dir(dir)?;
    }
    make_dir(&root.join("include"))?;
    // Python makes this directory at the first import of a top-level module; made here, that
    // import does not change the listing of the package directory.
    make_dir(&layout.scheme.purelib.join("__pycache__"))?;
    if cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        link(Path::new("lib"), &root.join("lib64"))?;
    }
    link_interpreter(root, &executable, interpreter)?;
    scripts::write_activation(root, interpreter, prompt)?;
    write(CONFIGURATION, configuration.as_bytes(), 0o666)
}

/// Points the links in `bin` at an interpreter.
fn link_interpreter(
    root: &Path,
    executable: &Path,
    interpreter: &Interpreter,
) -> Result<(), VenvError> {
    let bin = root.join("bin");
    let [major, minor, _] = interpreter.version;
    link(executable, &bin.join("python"))?;
    link(Path::new("python"), &bin.join("python3"))?;
    link(Path::new("python"), &bin.join(format!("python{major}.{minor}")))
}

/// The path of the interpreter that survives an update of the system: `python3.11` rather than
/// `python3`, where both are the same file.
fn stable_executable(interpreter: &Interpreter) -> PathBuf {
    let base = &interpreter.base_executable;
    let [major, minor, _] = interpreter.version;
    let exact = base.with_file_name(format!("python{major}.{minor}"));
    match (fs::canonicalize(base), fs::canonicalize(&exact)) {
        (Ok(a), Ok(b)) if a == b => exact,
        _ => base.clone(),
    }
}

/// Puts a symbolic link in place, whatever was there; a directory stays.
fn link(target: &Path, path: &Path) -> Result<(), VenvError> {
    if fs::read_link(path).is_ok_and(|present| present == target) {
        return Ok(());
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(path).map_err(VenvError::io(path))?,
        Err(_) => {}
    }
    symlink(target, path).map_err(VenvError::io(path))
}

fn make_dir(path: &Path) -> Result<(), VenvError> {
    fs::create_dir_all(path).map_err(VenvError::io(path))
}

/// Mends an environment whose interpreter is gone: the links and the configuration.
pub(crate) fn relink(root: &Path, interpreter: &Interpreter) -> Result<(), VenvError> {
    let executable = stable_executable(interpreter);
    let path = root.join(CONFIGURATION);
    let text = fs::read_to_string(&path).map_err(VenvError::io(&path))?;
    let home = executable.parent().unwrap_or(Path::new("/")).display().to_string();
    let version = interpreter.full_version();
    let mut mended = String::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        mended += &match key {
            "home" => format!("home = {home}"),
            "version" | "version_info" => format!("{key} = {version}"),
            "executable" | "base-executable" => format!("{key} = {}", executable.display()),
            _ => line.to_owned(),
        };
        mended.push('\n');
    }
    publish_file(&path, mended.as_bytes(), 0o666).map_err(VenvError::io(&path))?;
    make_dir(&root.join("bin"))?;
    link_interpreter(root, &executable, interpreter)
}

/// Mends an environment that was copied or moved here: every script that names the old place.
pub(crate) fn relocate(root: &Path, from: &Path) -> Result<(), VenvError> {
    if root.to_str().is_none() {
        return Err(VenvError::NotUtf8 { path: root.to_owned() });
    }
    scripts::relocate(root, from)
}

/// Empties an environment that rewarm made, but for its lock.
pub(crate) fn clear(root: &Path) -> Result<(), VenvError> {
    for entry in fs::read_dir(root).map_err(VenvError::io(root))? {
        let entry = entry.map_err(VenvError::io(root))?;
        if entry.file_name() == OsStr::new(LOCK_NAME) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(VenvError::io(&path))?;
    }
    Ok(())
}

/// The Python version that the configuration of an environment names, for example `3.11`.
pub(crate) fn configured_version(root: &Path) -> Option<(u8, u8)> {
    let text = fs::read_to_string(root.join(CONFIGURATION)).ok()?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        ["version", "version_info"].contains(&key.trim()).then(|| value.trim())
    })?;
    let mut parts = value.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Where wheels go in the environment at `root`.
pub(crate) fn layout(root: &Path, interpreter: &Interpreter) -> Layout {
    let scheme = &interpreter.scheme;
    Layout {
        sys_executable: python(root),
        python_version: (interpreter.version[0], interpreter.version[1]),
        os_name: "posix".to_owned(),
        scheme: Scheme {
            purelib: root.join(&scheme.purelib),
            platlib: root.join(&scheme.platlib),
            scripts: root.join(&scheme.scripts),
            data: root.to_owned(),
            include: root.join(&scheme.include),
        },
    }
}
