//! The activation of a virtual environment, computed without any shell.
//!
//! Sets what `bin/activate` sets, then what `.env` files and the configuration say. A virtual
//! environment that the caller is in already is left first, so that nested shells do not stack
//! their `bin` directories. Every variable and file that is read on the way becomes an input.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::builder::Builder;
use crate::clean::{SYSTEM_PATH, clean_env};
use crate::config::ActivationRequest;
use crate::delta::{List, Op, Variables};
use crate::error::ActivateError;
use crate::record::Activation;

/// Computes the activation of a virtual environment for this caller.
pub fn activate(
    request: ActivationRequest,
    caller: &Variables,
) -> Result<Activation, ActivateError> {
    let cleaned = request.clean_env.then(|| clean_env(caller));
    let caller = cleaned.as_ref().unwrap_or(caller);
    let mut builder = Builder::new(request.observed.clone(), caller);
    builder.leave_other(&request);
    builder.enter(&request)?;
    builder.configured(&request.config, &request.workspace_root)?;
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
        unproven: Vec::new(),
        inputs: observed.into_inputs(),
    })
}

impl Builder<'_> {
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
