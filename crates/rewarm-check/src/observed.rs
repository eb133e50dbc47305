//! What a run was seen to depend on beside its first key, and whether that still holds.
//!
//! The driver reports every path that mypy looked up. Sources below the project are part of the
//! first key; what remains are files elsewhere with their digests, the directories in which names
//! were looked up with their relevant names, and variables. All are stored under names that hold on
//! every machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rewarm_store::{Digest, Hasher, Witness};
use serde::{Deserialize, Serialize};

use crate::configuration::variable;
use crate::key::{Snapshot, Subject, is_keyed};
use crate::listing;
use crate::places::{Place, Places};
use crate::request::{Because, Module, Reuse};
use crate::witness::{Table, is_older};

/// The driver's report.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    files: Vec<PathBuf>,
    directories: BTreeMap<PathBuf, Lookup>,
    variables: Vec<Vec<u8>>,
    /// Why the run must not be stored.
    pub(crate) reasons: Vec<String>,
    /// When the first pass began.
    started: Option<SystemTime>,
    /// The pass whose output counts.
    pub(crate) answer: String,
    /// Whether the cache held something.
    pub(crate) seeded: bool,
    /// Modules checked again.
    pub(crate) rechecked: Option<usize>,
    /// Those by name, and why.
    pub(crate) modules: Vec<Module>,
    /// Modules whose results were carried over an edit.
    pub(crate) carried: Vec<String>,
    /// Names of the modules that were checked, whether they were exported or not.
    pub(crate) written: BTreeSet<Vec<u8>>,
    /// Names of the modules that were put into the cache.
    pub(crate) restored: BTreeSet<Vec<u8>>,
    /// Whether nothing is left of what the cache held.
    pub(crate) emptied: bool,
    /// Whether the cache may lack a part of a module.
    pub(crate) torn: bool,
    /// What mypy lacks for results of single modules; empty if nothing.
    pub(crate) lacks: String,
    /// Whether the output may lack its end.
    pub(crate) cut: bool,
}

/// How a directory was looked at; later ones say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Lookup {
    /// Single names were asked for.
    Probed,
    /// It was listed for imports.
    Listed,
    /// Every name may matter.
    All,
}

impl Observed {
    /// Reads a report; `None` if it is not whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0).collect();
        let mut found = Self::default();
        let (last, records) = fields.as_chunks::<2>().0.split_last()?;
        if last[0] != b"end" {
            return None;
        }
        for [tag, value] in records {
            let path = || PathBuf::from(OsStr::from_bytes(value));
            let text = || String::from_utf8_lossy(value).into_owned();
            match *tag {
                b"f" => found.files.push(path()),
                b"p" => found.look(path(), Lookup::Probed),
                b"l" => found.look(path(), Lookup::Listed),
                b"D" => found.look(path(), Lookup::All),
                b"v" => found.variables.push(value.to_vec()),
                b"x" => found.reasons.push(text()),
                b"answer" => found.answer = text(),
                b"seeded" => found.seeded = *value == b"1",
                b"lacks" => found.lacks = text(),
                b"torn" => found.torn = *value == b"1",
                b"cut" => found.cut = *value == b"1",
                b"emptied" => found.emptied = *value == b"1",
                b"w" => drop(found.written.insert(value.to_vec())),
                b"r" => drop(found.restored.insert(value.to_vec())),
                b"m" => found.modules.extend(module(&text())),
                b"c" => found.carried.push(text()),
                b"rechecked" => found.rechecked = text().parse().ok(),
                b"started" => {
                    let nanos = Duration::from_nanos(text().parse().ok()?);
                    found.started = Some(SystemTime::UNIX_EPOCH + nanos);
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// What a report says of the run.
    pub(crate) fn into_reuse(self, unstored: Option<String>) -> Reuse {
        let (mut modules, mut carried) = (self.modules, self.carried);
        modules.sort();
        carried.retain(|name| modules.iter().all(|module| module.name != *name));
        carried.sort();
        let (seeded, modules_rechecked) = (self.seeded, self.rechecked);
        Reuse::Ran { seeded, modules_rechecked, modules, carried, unstored }
    }

    fn look(&mut self, directory: PathBuf, lookup: Lookup) {
        let known = self.directories.entry(directory).or_insert(lookup);
        *known = lookup.max(*known);
    }
}

/// Reads what the driver says of a module that was checked again.
fn module(text: &str) -> Option<Module> {
    let mut lines = text.splitn(3, '\n');
    let (why, name, about) = (lines.next()?, lines.next()?.to_owned(), lines.next()?.to_owned());
    let because = match why {
        "new" => Some(Because::New),
        "source" => Some(Because::Source),
        "options" => Some(Because::Options),
        "imports" => Some(Because::Imports),
        "interface" => Some(Because::Interface(about)),
        _ => None,
    };
    Some(Module { name, because })
}

/// The second part of what an answer depends on.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    files: Vec<(Place, Option<Digest>)>,
    directories: Vec<(Place, Lookup, Option<Digest>)>,
    variables: Vec<(Vec<u8>, Digest)>,
    /// Set if the answer holds for this directory only.
    pinned: Option<Digest>,
}

impl Inputs {
    /// Takes what was observed apart from `snapshot`. `Err` names an input that cannot be vouched
    /// for, because it changed while mypy ran.
    pub(crate) fn of(
        observed: &Observed,
        snapshot: &Snapshot,
        subject: &Subject<'_>,
        table: &mut Table,
    ) -> Result<Self, String> {
        let started = observed.started.ok_or("mypy ended without a report of what it read")?;
        let gather = Gather { snapshot, subject, started };
        let mut inputs = Self::default();
        for path in &observed.files {
            gather.file(path, &mut inputs, table)?;
        }
        let mut directories = BTreeMap::new();
        for (path, lookup) in &observed.directories {
            gather.directory(path, *lookup, &mut directories, &mut inputs)?;
        }
        for (path, lookup) in directories {
            let digest = gather.names(&path, lookup, table)?;
            inputs.directories.push((subject.places.name(&path), lookup, digest));
        }
        for name in observed.variables.iter().filter(|name| !is_keyed(name)) {
            inputs.variables.push((name.clone(), value(name, subject)));
        }
        Ok(inputs)
    }

    /// Makes the answer one for this directory only.
    pub(crate) fn pin(&mut self, subject: &Subject<'_>) {
        self.pinned = Some(here(subject));
    }

    /// Whether everything is still as it was; `Err` names the first input that is not.
    pub(crate) fn verify(&self, subject: &Subject<'_>, table: &mut Table) -> Result<(), String> {
        if self.pinned.is_some_and(|pinned| pinned != here(subject)) {
            return Err("directory of the project".to_owned());
        }
        for (name, digest) in &self.variables {
            if value(name, subject) != *digest {
                return Err(format!("variable `{}`", String::from_utf8_lossy(name)));
            }
        }
        for (place, digest) in &self.files {
            let found = subject.places.path(place).map(|path| file(place, &path, table));
            if !matches!(found, Some(Ok(found)) if found == *digest) {
                return Err(format!("file `{}`", place.display()));
            }
        }
        for (place, lookup, digest) in &self.directories {
            let path = subject.places.path(place);
            let found = path.map(|path| names(&subject.places, &path, *lookup, table));
            if !matches!(found, Some(Ok(found)) if found == *digest) {
                return Err(format!("directory `{}`", place.display()));
            }
        }
        Ok(())
    }
}

struct Gather<'a> {
    snapshot: &'a Snapshot,
    subject: &'a Subject<'a>,
    started: SystemTime,
}

impl Gather<'_> {
    fn file(&self, path: &Path, inputs: &mut Inputs, table: &mut Table) -> Result<(), String> {
        let listed = |relative: &Path| {
            self.snapshot.listing.files.contains_key(relative.as_os_str().as_bytes())
        };
        if path.strip_prefix(&self.subject.root).is_ok_and(listed) {
            return Ok(());
        }
        self.settled(path)?;
        let place = self.subject.places.name(path);
        let digest = file(&place, path, table).map_err(|error| unreadable(path, &error))?;
        inputs.files.push((place, digest));
        Ok(())
    }

    /// Adds a directory, or what stands for it: what is not there cannot be listed, but the nearest
    /// directory that is there shows that it is missing.
    fn directory(
        &self,
        path: &Path,
        lookup: Lookup,
        found: &mut BTreeMap<PathBuf, Lookup>,
        inputs: &mut Inputs,
    ) -> Result<(), String> {
        let root = &self.subject.root;
        let nearest = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let above = root.starts_with(nearest) && nearest != root;
        if nearest != path && (above || lookup == Lookup::All) {
            if lookup > Lookup::Probed {
                inputs.files.push((self.subject.places.name(path), None));
            }
            return Ok(());
        }
        if above {
            // Only `__init__.py` is asked for above the project, which the first key covers. What
            // was listed there depends on where the project lies.
            if lookup == Lookup::Probed {
                return Ok(());
            }
            inputs.pin(self.subject);
        }
        let lookup = if nearest == path { lookup } else { Lookup::Probed };
        let in_key = |relative: &Path| {
            self.snapshot.listing.directories.contains(relative.as_os_str().as_bytes())
        };
        let keyed = nearest.strip_prefix(root).is_ok_and(in_key)
            || self.subject.interpreter.sites.iter().any(|site| site == nearest);
        if keyed && lookup < Lookup::All {
            return Ok(());
        }
        let known = found.entry(nearest.to_owned()).or_insert(lookup);
        *known = lookup.max(*known);
        Ok(())
    }

    fn names(
        &self,
        path: &Path,
        lookup: Lookup,
        table: &mut Table,
    ) -> Result<Option<Digest>, String> {
        self.settled(path)?;
        let names = names(&self.subject.places, path, lookup, table);
        names.map_err(|error| unreadable(path, &error))
    }

    /// Whether a path was as it is now when the run began.
    fn settled(&self, path: &Path) -> Result<(), String> {
        match std::fs::metadata(path) {
            Ok(found) if !is_older(&Witness::of_metadata(&found), self.started) => {
                let name = self.subject.places.name(path).display();
                Err(format!("`{name}` changed while mypy ran"))
            }
            _ => Ok(()),
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("`{}` cannot be read: {error}", path.display())
}

/// The digest of a file's content; `None` if there is no file.
fn file(place: &Place, path: &Path, table: &mut Table) -> io::Result<Option<Digest>> {
    match stat(path)? {
        Some(found) if found.is_file() => {
            table.file(place.clone(), Witness::of_metadata(&found), path).map(Some)
        }
        Some(_) => Ok(Some(Digest::of("not a file"))),
        None => Ok(None),
    }
}

/// The digest of a directory's names; `None` if there is no directory.
fn names(
    places: &Places,
    path: &Path,
    lookup: Lookup,
    table: &mut Table,
) -> io::Result<Option<Digest>> {
    let Some(found) = stat(path)?.filter(Metadata::is_dir) else { return Ok(None) };
    let all = lookup == Lookup::All;
    let mut derived = path.as_os_str().to_owned();
    derived.push(if all { "#all" } else { "#names" });
    let witness = Witness::of_metadata(&found);
    let digest = table.digest(places.name(Path::new(&derived)), witness, || {
        let mut hasher = Hasher::new("names");
        for (name, directory) in listing::names(path, all)? {
            hasher.field(name).field([u8::from(directory)]);
        }
        Ok(hasher.finish())
    });
    digest.map(Some)
}

fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

/// What a variable was found to be; `*` stands for all of them.
fn value(name: &[u8], subject: &Subject<'_>) -> Digest {
    let mut hasher = Hasher::new("variable");
    if name == b"*" {
        let mut all: Vec<_> = subject.request.variables.iter().collect();
        all.sort();
        for (name, value) in all {
            hasher.field(name.as_bytes()).field(subject.places.neutral(value.as_bytes()));
        }
    } else {
        let value = variable(subject.request, OsStr::from_bytes(name));
        hasher.optional(value.map(|value| subject.places.neutral(value.as_bytes())));
    }
    hasher.finish()
}

/// Stands for the directories of this machine that an answer can name.
fn here(subject: &Subject<'_>) -> Digest {
    let mut hasher = Hasher::new("check directories");
    for path in [&subject.root, &subject.interpreter.prefix, &subject.interpreter.base] {
        hasher.field(path.as_os_str().as_bytes());
    }
    hasher.finish()
}
