//! The activation of a virtual environment, computed without any shell.
//!
//! Sets what `bin/activate` sets, then what `.env` files and the configuration say. A virtual
//! environment that the caller is in already is left first, so that nested shells do not stack
//! their `bin` directories. Every variable and file that is read on the way becomes an input.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::clean::{SYSTEM_PATH, clean_env};
use crate::config::ActivationRequest;
use crate::delta::{Delta, List, Op, Variables, is_list, split};
use crate::dotenv;
use crate::input::Observed;
use crate::record::Activation;
use crate::template::{self, Escapes, Part};

/// An activation that could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// A file that decides over it cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of a `.env` file is not understood.
    #[error("`{}` line {line}: {message}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        message: &'static str,
    },
    /// A variable in the configuration is not understood.
    #[error("variable `{name}` of the activation: {message}")]
    Env {
        /// The variable.
        name: String,
        /// What is wrong with its name or value.
        message: &'static str,
    },
}

/// Computes the activation of a virtual environment for this caller.
pub fn activate(
    request: ActivationRequest,
    caller: &Variables,
) -> Result<Activation, ActivateError> {
    let cleaned = request.clean_env.then(|| clean_env(caller));
    let caller = cleaned.as_ref().unwrap_or(caller);
    let mut builder =
        Builder { delta: Delta::default(), observed: request.observed.clone(), caller };
    for (name, value) in crate::facts() {
        builder.observed.fact(name, value);
    }
    builder.leave_other(&request);
    builder.enter(&request)?;
    for file in &request.config.env_files {
        builder.env_file(&request.workspace_root.join(file))?;
    }
    for (name, value) in &request.config.env {
        builder.env(name, value)?;
    }
    for path in &request.config.watch {
        let path = request.workspace_root.join(path);
        let looked = builder.observed.path(&path);
        looked.map_err(|source| ActivateError::Read { path, source })?;
    }
    for name in &request.config.watch_env {
        builder.caller_value(OsStr::new(name));
    }
    let Builder { delta, observed, .. } = builder;
    Ok(Activation {
        workspace_root: request.workspace_root,
        environment: request.environment,
        prefix: request.prefix,
        clean_env: request.clean_env,
        delta,
        scripts: Vec::new(),
        tasks: request.tasks,
        volatile: request.config.volatile,
        inputs: observed.into_inputs(),
    })
}

struct Builder<'a> {
    delta: Delta,
    observed: Observed,
    caller: &'a Variables,
}

impl Builder<'_> {
    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.delta.push(Op::Set { name: name.into(), value: value.into() });
    }

    fn read(&mut self, path: &Path) -> Result<Option<Vec<u8>>, ActivateError> {
        let read = self.observed.read(path);
        read.map_err(|source| ActivateError::Read { path: path.to_owned(), source })
    }

    /// Takes a virtual environment that the caller is in out of its `PATH`.
    fn leave_other(&mut self, request: &ActivationRequest) {
        let Some(other) = self.caller_value("VIRTUAL_ENV".as_ref()) else { return };
        if !other.is_empty() && Path::new(&other) != request.prefix {
            let bin = Path::new(&other).join("bin").into_os_string();
            self.delta.push(Op::Remove(List::path_like("PATH", [bin])));
        }
    }

    fn enter(&mut self, request: &ActivationRequest) -> Result<(), ActivateError> {
        let settings = self.read(&request.prefix.join("pyvenv.cfg"))?.unwrap_or_default();
        let prompt = setting(&settings, "prompt")
            .map(|prompt| OsStr::from_bytes(unquoted(prompt)))
            .or(request.prefix.file_name())
            .unwrap_or_default();
        self.set("VIRTUAL_ENV", &request.prefix);
        self.set("VIRTUAL_ENV_PROMPT", prompt);
        self.delta.push(Op::Unset { name: "PYTHONHOME".into() });
        self.delta.push(Op::Prepend(List::path_like("PATH", [request.bin()])));
        if request.clean_env {
            let system = SYSTEM_PATH.map(OsString::from);
            self.delta.push(Op::Append(List::path_like("PATH", system)));
        }
        Ok(())
    }

    /// Sets what a `.env` file says, if there is one.
    fn env_file(&mut self, path: &Path) -> Result<(), ActivateError> {
        let Some(text) = self.read(path)? else { return Ok(()) };
        let assignments = dotenv::parse(&text).map_err(|error| ActivateError::EnvFile {
            path: path.to_owned(),
            line: error.line,
            message: error.message,
        })?;
        for assignment in assignments {
            self.assign(&assignment.name, &assignment.value);
        }
        Ok(())
    }

    /// Sets one variable of the configuration.
    fn env(&mut self, name: &str, value: &str) -> Result<(), ActivateError> {
        let error = |message| ActivateError::Env { name: name.to_owned(), message };
        if !template::is_name(name.as_ref()) {
            return Err(error("a name consists of letters, digits and `_`"));
        }
        if value.contains('\0') {
            return Err(error("a value cannot hold a NUL byte"));
        }
        let parts = template::parse(value.as_bytes(), Escapes::Dollar).map_err(error)?;
        self.assign(name.as_ref(), &parts);
        Ok(())
    }

    /// `PATH=first:$PATH:last` becomes operations on a list, so that it fits every caller; all else
    /// is expanded here and now.
    fn assign(&mut self, name: &OsStr, parts: &[Part]) {
        let Some((first, last)) = around_itself(name, parts) else {
            let value = self.expand(parts);
            self.delta.push(Op::Set { name: name.to_owned(), value });
            return;
        };
        let (first, last) = (self.expand(&first), self.expand(&last));
        if !first.is_empty() {
            self.delta.push(Op::Prepend(entries(name, &first)));
        }
        if !last.is_empty() {
            self.delta.push(Op::Append(entries(name, &last)));
        }
    }

    fn expand(&mut self, parts: &[Part]) -> OsString {
        template::expand(parts, &mut |name| self.value(name))
    }

    /// The value of a variable so far.
    fn value(&mut self, name: &OsStr) -> Option<OsString> {
        let before = match self.delta.replaces(name) {
            true => None,
            false => self.caller_value(name),
        };
        self.delta.value(name, before.as_deref())
    }

    /// The caller's value, which becomes an input.
    fn caller_value(&mut self, name: &OsStr) -> Option<OsString> {
        let value = self.caller.get(name).cloned();
        self.observed.variable(name, value.as_deref());
        value
    }
}

/// What a value puts before and after the list that it is assigned to; `None` if it does anything
/// else to it.
fn around_itself(name: &OsStr, parts: &[Part]) -> Option<(Vec<Part>, Vec<Part>)> {
    let is_itself = |part: &Part| match part {
        Part::Variable { name: read, default: None, .. } => read == name,
        _ => false,
    };
    let at = parts.iter().position(is_itself).filter(|_| is_list(name))?;
    let (mut first, mut last) = (parts[..at].to_vec(), parts[at + 1..].to_vec());
    match first.last_mut() {
        None => {}
        Some(Part::Literal(text)) if text.ends_with(b":") => drop(text.pop()),
        Some(_) => return None,
    }
    match last.first_mut() {
        None => {}
        Some(Part::Literal(text)) if text.starts_with(b":") => drop(text.remove(0)),
        Some(_) => return None,
    }
    Some((first, last)).filter(|(_, last)| !last.iter().any(is_itself))
}

fn entries(name: &OsStr, value: &OsStr) -> List {
    List::path_like(name, split(value, b':').into_iter().map(OsStr::to_owned))
}

/// The value of `key = value` in a `pyvenv.cfg` (PEP 405).
fn setting<'a>(text: &'a [u8], key: &str) -> Option<&'a [u8]> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(equals);
        name.trim_ascii().eq_ignore_ascii_case(key.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

/// `python -m venv` writes the prompt as a Python string, other tools as it is.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        value => value,
    }
}
