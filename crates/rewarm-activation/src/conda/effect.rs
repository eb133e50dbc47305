//! What a run of scripts did, as operations that hold for other callers too, and what it was made
//! from, as inputs.
//!
//! A variable that scripts name is an input, with one exception: where all they do with it is to
//! put text around its value (`PATH="$X/bin:$PATH"`), the operation is that text, whatever the
//! value. What a shell keeps for itself (`PWD`, `SHLVL`, …) stays the caller's. What cannot be
//! proven is said, and keeps the activation from being stored.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rewarm_store::Witness;

use crate::builder::Builder;
use crate::conda::mentions::{assigned, names, only_extends};
use crate::conda::script::{self, Outcome, configures_bash};
use crate::conda::{CondaRequest, Maker, ScriptShell, Step};
use crate::delta::{Change, Op, changes, is_list, split};
use crate::error::ActivateError;
use crate::input::is_of_shell;
use crate::observe::{HostFact, Names, Observation, SeenFile, Use};

impl Maker<'_> {
    /// Does steps in a shell, and makes what they did part of the activation.
    pub(crate) fn run(
        &mut self,
        steps: &[Step],
        request: &CondaRequest,
        shell: &ScriptShell<'_>,
    ) -> Result<(), ActivateError> {
        self.builder.look(shell.bash)?;
        let mut before = self.builder.delta.apply(self.builder.caller.clone());
        before.retain(|name, _| !configures_bash(name) && !is_of_shell(name));
        before.insert("PWD".into(), request.workspace_root.clone().into_os_string());
        let mut texts = vec![self.text_of(steps)?];
        let outcome = script::run(steps, &texts[0], &before, &request.workspace_root, shell)?;
        for path in &outcome.failed {
            let text = "ended with a status other than 0";
            self.warnings.push(format!("activation script `{}` {text}", path.display()));
        }
        let mut changes = changes(&before, &outcome.after);
        changes.retain(|change| !is_of_shell(&change.name));
        self.prove(&outcome, &changes);
        texts.extend(self.files(&outcome.observation, request, shell)?);
        let on_path = self.commands(&outcome.observation, request);
        let extended = self.variables(&outcome, &texts, &changes, request, on_path);
        for change in changes {
            let is_extended = extended.contains(&change.name);
            self.builder.delta.push(operation(change, is_extended));
        }
        Ok(())
    }

    /// All that is known of what the steps say before they are run.
    fn text_of(&mut self, steps: &[Step]) -> Result<Vec<u8>, ActivateError> {
        let mut text = Vec::new();
        for step in steps {
            match step {
                Step::Source(path) => text.extend(self.builder.read(path)?.unwrap_or_default()),
                Step::Literal { name, .. } => text.extend([name.as_bytes(), b"="].concat()),
                Step::Expand { name, text: value, .. } => {
                    let value = value.replace('"', "\\\"");
                    let line = [b"export ", name.as_bytes(), b"=\"", value.as_bytes(), b"\""];
                    text.extend(line.concat());
                }
            }
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Says what stands against keeping the result.
    fn prove(&mut self, outcome: &Outcome, changes: &[Change]) {
        let observation = &outcome.observation;
        self.unproven.extend(observation.unprovable.iter().map(ToString::to_string));
        if !observation.complete {
            self.unproven.push("what scripts do cannot be watched here".to_owned());
        }
        let place = outcome.dir.as_os_str().as_bytes();
        for Change { name, after, .. } in changes {
            let value = after.as_deref().unwrap_or_default().as_bytes();
            if value.windows(place.len()).any(|part| part == place) {
                let text = "holds the path of a temporary directory";
                self.unproven.push(format!("variable `{}` {text}", name.display()));
            }
        }
    }

    /// Makes inputs of the files that were used. Returns the texts that were read.
    fn files(
        &mut self,
        observation: &Observation,
        request: &CondaRequest,
        shell: &ScriptShell<'_>,
    ) -> Result<Vec<Vec<u8>>, ActivateError> {
        let mut texts = Vec::new();
        let bash = shell.bash.canonicalize().ok();
        let is_wanted = |file: &&SeenFile| {
            // The shell looks at each directory on the way to the one it starts in; that they are
            // there is proven by all that lies below. It is itself an input by the other name.
            let is_above =
                file.how == Use::Looked && request.workspace_root.starts_with(&file.path);
            !is_above && Some(&file.path) != bash.as_ref()
        };
        let mut files: Vec<&SeenFile> = observation.files.iter().filter(is_wanted).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for SeenFile { path, how, witness } in files {
            let error = |source| ActivateError::Read { path: path.clone(), source };
            let observed = &mut self.builder.observed;
            if *how == Use::Looked {
                observed.kind(path).map_err(error)?;
                continue;
            }
            // What was looked at before the run cannot have been newer in it.
            let is_known = observed.has(path);
            let is_settled = observed.is_settled(*witness);
            if !is_known && (Witness::of(path).ok() != Some(*witness) || !is_settled) {
                let text = "was written just before it was read";
                self.unproven.push(format!("`{}` {text}", path.display()));
            }
            if path.is_dir() {
                observed.path(path).map_err(error)?;
            } else if let Some(bytes) = observed.read(path).map_err(error)?
                && *how == Use::Read
                && !bytes.contains(&0)
            {
                texts.push(bytes);
            }
        }
        for fact in &observation.facts {
            // Where the run starts is always the root of the workspace.
            if *fact != HostFact::WorkingDirectory {
                self.builder.observed.fact(fact.name(), fact.value(Path::new("/")));
            }
        }
        Ok(texts)
    }

    /// Makes inputs of where programs were found. Says whether that holds for any `PATH`.
    ///
    /// Whoever searches the caller's directories has looked into the prefix just before, as long as
    /// `PATH` is only extended; what lies there and was not looked for so was named by its path.
    fn commands(&mut self, observation: &Observation, request: &CondaRequest) -> bool {
        let bin = request.prefix.join("bin");
        let caller = self.builder.caller;
        let mut is_certain = true;
        for command in &observation.commands {
            let path = self.builder.observed.program(&command.name, &bin, caller);
            is_certain &= path == command.path;
        }
        let path = caller.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
        let dirs: Vec<&Path> = split(path, b':').into_iter().map(Path::new).collect();
        let is_searched = |file: &SeenFile| {
            let name = file.path.file_name().unwrap_or_default();
            let is_command = observation.commands.iter().any(|command| command.name == name);
            let is_there = file.path.parent().is_some_and(|dir| dirs.contains(&dir));
            let in_prefix = bin.join(name);
            is_there && !is_command && observation.files.iter().any(|it| it.path == in_prefix)
        };
        is_certain
            && dirs.iter().all(|dir| dir.is_absolute())
            && !observation.files.iter().any(is_searched)
    }

    /// Makes inputs of the variables that were read or set. Returns those that were only extended.
    fn variables(
        &mut self,
        outcome: &Outcome,
        texts: &[Vec<u8>],
        changes: &[Change],
        request: &CondaRequest,
        on_path: bool,
    ) -> BTreeSet<OsString> {
        let mut extended = BTreeSet::new();
        let mut wanted: BTreeSet<OsString> = match &outcome.observation.variables {
            Names::All { .. } if !request.config.pure => {
                self.builder.observed.all_variables(self.builder.caller);
                return extended;
            }
            Names::All { .. } => BTreeSet::new(),
            Names::Named(names) => names.clone(),
        };
        let caller = self.builder.caller;
        for text in texts {
            wanted.extend(assigned(text));
            let has = |name: &&&OsStr| caller.contains_key(**name);
            wanted.extend(names(text).iter().filter(has).map(|name| (*name).to_owned()));
        }
        wanted.extend(changes.iter().map(|change| change.name.clone()));
        if !on_path {
            self.builder.depend("PATH".as_ref());
        }
        for name in wanted {
            if is_of_shell(&name) || configures_bash(&name) {
                continue;
            }
            if is_extended(&self.builder, &name, texts, changes) {
                self.builder.observed.present(&name);
                extended.insert(name);
            } else {
                self.builder.depend(&name);
            }
        }
        extended
    }
}

/// Whether all that became of a variable is that text was put around its value, and would be around
/// any other.
fn is_extended(builder: &Builder<'_>, name: &OsStr, texts: &[Vec<u8>], changes: &[Change]) -> bool {
    // Those are also read by the loader, the C library and the shell.
    const READ: &[&str] = &[
        "BASH_LOADABLES_PATH",
        "CDPATH",
        "GCONV_PATH",
        "LD_LIBRARY_PATH",
        "LD_ORIGIN_PATH",
        "LOCPATH",
        "NLSPATH",
    ];
    let is_kept = builder.caller.get(name).is_some_and(|value| !value.is_empty());
    let is_read = READ.iter().any(|read| name == *read);
    if !is_kept || is_read || !is_list(name) || builder.delta.replaces(name) {
        return false;
    }
    let own = changes.iter().find(|change| change.name == name);
    let is_around = own.is_none_or(|change| match (&change.before, &change.after) {
        (Some(before), Some(after)) => around(before, after).is_some(),
        _ => false,
    });
    let is_elsewhere = own.and_then(|change| change.before.as_ref()).is_some_and(|value| {
        let others = changes.iter().filter(|change| change.name != name);
        let mut values = others.filter_map(|change| change.after.as_ref());
        values
            .any(|other| other.as_bytes().windows(value.len()).any(|part| part == value.as_bytes()))
    });
    is_around && !is_elsewhere && texts.iter().all(|text| only_extends(text, name))
}

/// The operation that does to a variable what was done.
fn operation(change: Change, is_extended: bool) -> Op {
    let Change { name, before, after } = change;
    match (before, after) {
        (Some(before), Some(after)) if is_extended => match around(&before, &after) {
            Some((first, last)) => Op::Around { name, before: first, after: last },
            None => Op::Set { name, value: after },
        },
        (_, Some(value)) => Op::Set { name, value },
        (_, None) => Op::Unset { name },
    }
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
