//! What a run of scripts did to the environment, as operations that hold for other callers too.
//!
//! A variable that scripts mention is an input, with one exception: where all they do with it is to
//! put text around its value (`PATH="$X/bin:$PATH"`), the operation is that text, whatever the
//! value. What a shell keeps for itself (`PWD`, `SHLVL`, …) stays the caller's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::builder::Builder;
use crate::conda::script::{self, configures_bash};
use crate::conda::{CondaRequest, Maker, ScriptShell, Step};
use crate::delta::{Change, Op, Variables, changes};
use crate::error::ActivateError;
use crate::input::is_of_shell;

impl Maker<'_> {
    /// Does steps in a shell, and makes what they did part of the activation.
    pub(crate) fn run(
        &mut self,
        steps: &[Step],
        request: &CondaRequest,
        shell: &ScriptShell<'_>,
    ) -> Result<(), ActivateError> {
        self.builder.look(shell.bash)?;
        let given = self.builder.delta.apply(self.builder.caller.clone());
        let mut before: Variables = given.clone();
        before.retain(|name, _| !configures_bash(name) && !is_of_shell(name));
        before.insert("PWD".into(), request.workspace_root.clone().into_os_string());
        let outcome = script::run(steps, &before, &request.workspace_root, shell)?;
        for path in &outcome.failed {
            let text = "ended with a status other than 0";
            self.warnings.push(format!("activation script `{}` {text}", path.display()));
        }
        self.builder.observed.all_variables(self.builder.caller);
        for change in changes(&before, &outcome.after) {
            if !is_of_shell(&change.name) {
                push(&mut self.builder, change);
            }
        }
        Ok(())
    }
}

/// Adds what became of one variable.
fn push(builder: &mut Builder<'_>, change: Change) {
    let Change { name, before, after } = change;
    let op = match (before, after) {
        (Some(before), Some(after)) => match around(&before, &after) {
            Some((first, last)) => Op::Around { name, before: first, after: last },
            None => Op::Set { name, value: after },
        },
        (None, Some(value)) => Op::Set { name, value },
        (_, None) => Op::Unset { name },
    };
    builder.delta.push(op);
}

/// What stands before and behind `value` in `text`, if it is there just once.
fn around(value: &OsStr, text: &OsStr) -> Option<(OsString, OsString)> {
    let (value, text) = (value.as_bytes(), text.as_bytes());
    if value.is_empty() {
        return None;
    }
    let mut places = text.windows(value.len()).enumerate().filter(|(_, part)| *part == value);
    let (at, _) = places.next()?;
    if places.next().is_some() {
        return None;
    }
    let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Some((part(&text[..at]), part(&text[at + value.len()..])))
}
