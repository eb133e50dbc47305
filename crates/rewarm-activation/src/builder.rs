//! Collects the operations of an activation and the inputs that decide over them.
//!
//! What virtual environments and conda prefixes have in common: `.env` files and the variables of
//! `[tool.rewarm.activation]`, which come last. Values are expanded here, without a shell, and each
//! variable of the caller that is looked at becomes an input.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::config::ActivationConfig;
use crate::delta::{Delta, List, Op, Variables, is_list, split};
use crate::dotenv;
use crate::error::ActivateError;
use crate::input::Observed;
use crate::template::{self, Escapes, Part};

/// An activation in the making.
pub(crate) struct Builder<'a> {
    pub(crate) delta: Delta,
    pub(crate) observed: Observed,
    pub(crate) caller: &'a Variables,
}

impl<'a> Builder<'a> {
    /// Starts with what was looked at so far, and the facts on which every activation depends.
    pub(crate) fn new(observed: Observed, caller: &'a Variables) -> Self {
        let mut builder = Self { delta: Delta::default(), observed, caller };
        for (name, value) in crate::facts() {
            builder.observed.fact(name, value);
        }
        builder
    }

    pub(crate) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.delta.push(Op::Set { name: name.into(), value: value.into() });
    }

    /// The content of a file, which becomes an input, present or not.
    pub(crate) fn read(&mut self, path: &Path) -> Result<Option<Vec<u8>>, ActivateError> {
        let read = self.observed.read(path);
        read.map_err(|source| ActivateError::Read { path: path.to_owned(), source })
    }

    /// Makes a file or directory, or its absence, an input.
    pub(crate) fn look(&mut self, path: &Path) -> Result<(), ActivateError> {
        let looked = self.observed.path(path);
        looked.map_err(|source| ActivateError::Read { path: path.to_owned(), source })
    }

    /// What `[tool.rewarm.activation]` adds: it comes last, and so has the last word.
    pub(crate) fn configured(
        &mut self,
        config: &ActivationConfig,
        workspace_root: &Path,
    ) -> Result<(), ActivateError> {
        for file in &config.env_files {
            self.env_file(&workspace_root.join(file))?;
        }
        for (name, value) in &config.env {
            self.env(name, value)?;
        }
        for path in &config.watch {
            self.look(&workspace_root.join(path))?;
        }
        for name in &config.watch_env {
            self.caller_value(OsStr::new(name));
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

    pub(crate) fn expand(&mut self, parts: &[Part]) -> OsString {
        template::expand(parts, &mut |name| self.value(name))
    }

    /// The value of a variable so far.
    pub(crate) fn value(&mut self, name: &OsStr) -> Option<OsString> {
        self.depend(name);
        self.delta.apply(self.caller.clone()).remove(name)
    }

    /// Makes inputs of those variables of the caller that decide what a variable is so far.
    pub(crate) fn depend(&mut self, name: &OsStr) {
        if let Some(from) = self.delta.copied(name).map(OsStr::to_owned) {
            self.caller_value(&from);
        }
        if !self.delta.replaces(name) {
            self.caller_value(name);
        }
    }

    /// The caller's value, which becomes an input.
    pub(crate) fn caller_value(&mut self, name: &OsStr) -> Option<OsString> {
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
