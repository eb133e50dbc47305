//! Actions: commands whose outputs and messages are kept, and come back instead of running.
//!
//! A task that names its `inputs` or `outputs` is an action. [`Action::look_up`] finds what is kept
//! under the key of this moment; the caller then either has it [restored](Entry::restore), or runs
//! the command and [publishes](Action::publish) what came of it. Only a success is to be published,
//! and only if no input changed while the command ran. Outputs are copies: nobody who edits one can
//! reach the store. What is damaged or incomplete is a miss, found before anything is restored.

mod files;
mod key;
mod log;
mod place;
mod record;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_activation::Variables;
use rewarm_store::{Digest, Lock, RecordError, Store, Witness};

use crate::action::files::{Files, PatternError, Patterns};
use crate::action::key::{Part, Surroundings};
use crate::action::record::{Content, Known, LastRun, Output, TaskRecord};
use crate::node::Node;

pub use log::Stream;
pub use record::{describe, formats};

/// Where an action runs, and in what.
#[derive(Debug, Clone)]
pub struct Place {
    /// The canonical path of the workspace.
    pub root: PathBuf,
    /// Where what it makes is kept.
    pub store: Store,
    /// The platform, as conda writes it.
    pub platform: String,
    /// Of all that is installed in its environment and that the environment sets.
    pub packages: Digest,
    /// The variables of its environment.
    pub variables: Variables,
}

/// A command that need not run if nothing that it depends on has changed.
#[derive(Debug)]
pub struct Action {
    node: Node,
    place: Place,
    inputs: Option<Patterns>,
    outputs: Option<Patterns>,
}

/// An action that cannot be looked up, restored or kept.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// A pattern cannot be used.
    #[error("task `{task}`: {what}: {message}")]
    Pattern {
        /// The task.
        task: String,
        /// `inputs` or `outputs`.
        what: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A file cannot be read or listed.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file, or the directory below which it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An output cannot be put back.
    #[error("cannot restore `{}`", path.display())]
    Restore {
        /// The output.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An output lies outside the workspace, by way of a link.
    #[error("`{}` leads out of the workspace", path.display())]
    Outside {
        /// The output.
        path: PathBuf,
    },
    /// What a command made cannot be kept.
    #[error("cannot keep `{}`", path.display())]
    Keep {
        /// The output, or the store.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The record cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What is known about an action at one moment.
#[derive(Debug)]
pub struct Lookup {
    /// What it made and wrote under the same circumstances; `None` is a miss.
    pub entry: Option<Entry>,
    /// The first thing that differs from the last run, or why else nothing is found, in words.
    pub reason: String,
    /// What is odd about its patterns.
    pub warnings: Vec<String>,
    key: Digest,
    parts: Vec<Part>,
    table: Table,
    is_complete: bool,
}

/// What a command once made and wrote.
#[derive(Debug)]
pub struct Entry {
    /// What it wrote, in order.
    pub log: Vec<(Stream, Vec<u8>)>,
    record: TaskRecord,
}

/// Digests of files with the witnesses that stand for them.
#[derive(Debug, Default)]
struct Table {
    known: BTreeMap<OsString, (Witness, Digest)>,
    used: BTreeMap<OsString, (Witness, Digest)>,
}

impl Table {
    fn of(last: &LastRun) -> Self {
        let known = last.files.iter();
        let known = known.map(|file| (file.path.clone(), (file.witness, file.digest))).collect();
        Self { known, used: BTreeMap::new() }
    }

    /// The digest of a file's content, which is read only if its witness moved.
    fn digest(&mut self, root: &Path, path: &OsStr, now: SystemTime) -> io::Result<Digest> {
        let full = root.join(path);
        let witness = Witness::of(&full)?.ok_or(io::ErrorKind::NotFound)?;
        let known = self.used.get(path).or_else(|| self.known.get(path));
        let digest = match known {
            Some((old, digest)) if *old == witness => *digest,
            _ => place::hash(&full)?,
        };
        if witness.is_settled(now) {
            self.used.insert(path.to_owned(), (witness, digest));
        } else {
            self.used.remove(path);
            self.known.remove(path);
        }
        Ok(digest)
    }

    fn files(&self) -> Vec<Known> {
        let known = |(path, (witness, digest)): (&OsString, &(Witness, Digest))| Known {
            path: path.clone(),
            witness: *witness,
            digest: *digest,
        };
        self.used.iter().map(known).collect()
    }
}

impl Action {
    /// The command as an action, or why it has to run each time in any case; `None` if it is none.
    pub fn new(node: &Node, place: Place) -> Result<Option<Result<Self, String>>, ActionError> {
        if node.inputs.is_none() && node.outputs.is_none() {
            return Ok(None);
        }
        if let Some((name, _)) = node.env.iter().find(|(_, value)| key::runs_something(value)) {
            return Ok(Some(Err(format!("variable `{name}` is made by running something"))));
        }
        let patterns = |what, patterns: &Option<Vec<String>>| match patterns {
            None => Ok(None),
            Some(patterns) => Patterns::new(&place.root, patterns).map(Some).map_err(|error| {
                let message = match &error {
                    PatternError::Syntax { source, .. } => format!("{error}: {source}"),
                    PatternError::Outside(_) => error.to_string(),
                };
                ActionError::Pattern { task: node.task.clone(), what, message }
            }),
        };
        let inputs = patterns("`inputs`", &node.inputs)?;
        let outputs = patterns("`outputs`", &node.outputs)?;
        Ok(Some(Ok(Self { node: node.clone(), place, inputs, outputs })))
    }

    fn last_key(&self) -> Digest {
        LastRun::key(&self.place.root, &self.node)
    }

    /// Looks up what is kept for the state of this moment. Nothing is changed but what was found
    /// damaged in the store.
    pub fn look_up(&self, now: SystemTime) -> Result<Lookup, ActionError> {
        let last: Option<LastRun> = self.place.store.read(&self.last_key());
        let mut table = last.as_ref().map(Table::of).unwrap_or_default();
        let parts = self.parts(&mut table, now)?;
        let key = key::digest(&parts);
        let is_complete = self.inputs.is_none() || parts.iter().any(|p| p.label.starts_with('`'));
        let mut warnings = Vec::new();
        if !is_complete {
            let task = &self.node.task;
            warnings
                .push(format!("task `{task}`: no file matches `inputs`; nothing is kept of it"));
        }
        let record = self.place.store.read_used::<TaskRecord>(&key, now).filter(|_| is_complete);
        let had_record = record.is_some();
        let entry = record.and_then(|record| place::load(&self.place, record, &mut table, now));
        let reason = match last.map(|last| key::difference(&last.parts, &parts)) {
            _ if entry.is_some() => "no input has changed".to_owned(),
            _ if had_record => "what it made is no longer whole in the store".to_owned(),
            None => "it has not run here before".to_owned(),
            Some(Some(difference)) => difference,
            Some(None) => "what it made is not in the store".to_owned(),
        };
        Ok(Lookup { entry, reason, warnings, key, parts, table, is_complete })
    }

    fn parts(&self, table: &mut Table, now: SystemTime) -> Result<Vec<Part>, ActionError> {
        let around = Surroundings {
            packages: &self.place.packages,
            platform: &self.place.platform,
            variables: &self.place.variables,
        };
        let mut parts = key::parts(&self.node, around);
        let Some(inputs) = &self.inputs else { return Ok(parts) };
        let files = self.list(inputs.inputs())?;
        for (path, metadata) in files {
            let path = path.into_os_string();
            let content = match place::kind(&metadata) {
                place::FileKind::Regular => match table.digest(&self.place.root, &path, now) {
                    // It was removed since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    digest => digest.map_err(|source| self.unreadable(&path, source))?,
                },
                place::FileKind::Link => {
                    let target = std::fs::read_link(self.place.root.join(&path));
                    let target = target.map_err(|source| self.unreadable(&path, source))?;
                    Digest::of(target.as_os_str().as_bytes())
                }
                // To read from it would change it, or wait for ever.
                place::FileKind::Other => Digest::of("neither file nor link"),
            };
            parts.push(key::file_part(&path, place::is_executable(&metadata), &content));
        }
        Ok(parts)
    }

    fn list(&self, found: io::Result<Files>) -> Result<Files, ActionError> {
        found.map_err(|source| self.unreadable(OsStr::new(""), source))
    }

    fn unreadable(&self, path: &OsStr, source: io::Error) -> ActionError {
        ActionError::Read { path: self.place.root.join(path), source }
    }

    /// Keeps others from running the same at the same time; `None` if somebody does.
    pub fn try_lock(&self, lookup: &Lookup) -> io::Result<Option<Lock>> {
        self.place.store.try_lock("task", &lookup.key)
    }

    /// Notes what a hit was made from, for the next lookup. Costs speed only if it cannot.
    pub fn remember(&self, lookup: &Lookup) -> Result<(), ActionError> {
        let last = LastRun {
            about: format!("task {} of {}", self.node.task, self.place.root.display()),
            parts: lookup.parts.clone(),
            files: lookup.table.files(),
        };
        let key = self.last_key();
        if self.place.store.read::<LastRun>(&key).as_ref() != Some(&last) {
            self.place.store.write(&key, &last)?;
        }
        Ok(())
    }

    /// Keeps what the command made and wrote after the lookup, which was a miss. Says why not if
    /// it is not to be kept.
    pub fn publish(
        &self,
        lookup: Lookup,
        log: &[(Stream, Vec<u8>)],
        now: SystemTime,
    ) -> Result<Option<String>, ActionError> {
        if !lookup.is_complete {
            return Ok(None);
        }
        let mut lookup = lookup;
        let parts = self.parts(&mut lookup.table, now)?;
        if let Some(difference) = key::difference(&lookup.parts, &parts) {
            return Ok(Some(format!("{difference} while it ran")));
        }
        let mut outputs = Vec::new();
        if let Some(patterns) = &self.outputs {
            for (path, metadata) in self.list(patterns.outputs())? {
                let Some(output) = place::keep(&self.place, &path, &metadata)? else {
                    return Ok(Some(format!("`{}` is no file", path.display())));
                };
                outputs.push(output);
            }
            if outputs.is_empty() {
                return Ok(Some("no file matches `outputs`".to_owned()));
            }
        }
        let task = self.node.task.clone();
        let log = place::keep_bytes(&self.place.store, &log::encode(log))?;
        self.place.store.write(&lookup.key, &TaskRecord { task, outputs, log })?;
        self.remember(&lookup)?;
        Ok(None)
    }
}

impl Entry {
    /// Puts back what is missing or different. Gives how many outputs that were.
    pub fn restore(&self, place: &Place, now: SystemTime) -> Result<usize, ActionError> {
        let mut count = 0;
        for output in &self.record.outputs {
            count += usize::from(place::restore(place, output, now)?);
        }
        Ok(count)
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.record.outputs.len()
    }
}

/// Text in which absolute paths below these directories no longer tell where they are.
pub fn without_paths(text: &str, directories: &[&Path]) -> String {
    directories.iter().enumerate().fold(text.to_owned(), |text, (index, directory)| {
        text.replace(&*directory.to_string_lossy(), &format!("\0{index}"))
    })
}

/// Reads a blob to its end; `None` if it is not there or damaged.
fn read_blob(store: &Store, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open_blob(digest).ok()??.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Writes bytes into a writer of the store.
fn write_blob(store: &Store, mut from: impl Read) -> io::Result<Digest> {
    let mut writer = store.blob_writer()?;
    io::copy(&mut from, &mut writer)?;
    writer.flush()?;
    Ok(writer.commit(None).map_err(io::Error::other)?.digest)
}
