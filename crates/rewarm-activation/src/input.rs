//! What an activation was made from, and whether all of that still holds.
//!
//! Each file is remembered with a cheap witness (stat data) and a proof (digest). A witness that
//! was settled when it was taken decides alone; otherwise digests are compared, so a file that was
//! only touched is no difference. Values of variables are kept as digests, never in clear. The
//! witness is always taken before the content is read: a write in between shows the next time.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Witness};
use serde::{Deserialize, Serialize};

use crate::delta::Variables;

/// One thing that an activation depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Something that is neither file nor variable, such as the platform.
    Fact {
        /// What it is, in words.
        name: String,
        /// What it was.
        value: String,
    },
    /// A variable of the caller.
    Variable {
        /// Its name.
        name: OsString,
        /// Of its value; `None` if it was not set.
        digest: Option<Digest>,
    },
    /// The content of a file.
    File {
        /// An absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
        /// What was there.
        seen: Seen,
    },
    /// The names in a directory, without `__pycache__`, which any import may add; of installed
    /// packages also the `RECORD`.
    Directory {
        /// An absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
        /// What was there.
        seen: Seen,
    },
}

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Of the content, or of the sorted names; `None` if nothing was there.
    digest: Option<Digest>,
    /// Taken before the content was read.
    witness: Option<Witness>,
    /// Whether an equal witness proves equal content.
    settled: bool,
}

impl Seen {
    /// Of the content, or of the sorted names; `None` if nothing was there.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

/// Serde for paths that need not be UTF-8.
pub(crate) mod os_path {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(from).map(PathBuf::from)
    }
}

impl Input {
    /// Whether both prove the same, whatever their witnesses.
    pub(crate) fn proves_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path: a, seen: x }, Self::File { path: b, seen: y })
            | (Self::Directory { path: a, seen: x }, Self::Directory { path: b, seen: y }) => {
                a == b && x.digest == y.digest
            }
            _ => self == other,
        }
    }

    /// Facts and variables cost nothing to check, so they come first.
    fn rank(&self) -> u8 {
        match self {
            Self::Fact { .. } => 0,
            Self::Variable { .. } => 1,
            Self::File { .. } | Self::Directory { .. } => 2,
        }
    }
}

/// Digest of one value of a variable.
fn digest_of_value(name: &OsStr, value: Option<&OsStr>) -> Option<Digest> {
    let value = value?;
    let mut hasher = Hasher::new("value of a variable");
    hasher.field(name.as_bytes()).field(value.as_bytes());
    Some(hasher.finish())
}

/// Collects the inputs of an activation while they are being used.
///
/// Whatever decides over the result must be looked at through this value, and before it is used:
/// what is read first and noted later could change in between and then be proven wrongly.
#[derive(Debug, Clone)]
pub struct Observed {
    now: SystemTime,
    inputs: Vec<Input>,
}

impl Observed {
    /// Starts with nothing; `now` lies before the first look.
    pub fn new(now: SystemTime) -> Self {
        Self { now, inputs: Vec::new() }
    }

    /// The content of a file, `None` if there is none; either way it becomes an input.
    pub fn read(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let (seen, bytes) = look_at_file(path, self.now)?;
        self.add(Input::File { path: path.to_owned(), seen });
        Ok(bytes)
    }

    /// Makes the content of a file, or its absence, an input; of a directory the names in it.
    pub fn path(&mut self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            let seen = look_at_directory(path, self.now)?;
            self.add(Input::Directory { path: path.to_owned(), seen });
            return Ok(());
        }
        self.read(path).map(drop)
    }

    /// Makes the value of a caller's variable, or its absence, an input.
    pub fn variable(&mut self, name: &OsStr, value: Option<&OsStr>) {
        let digest = digest_of_value(name, value);
        self.add(Input::Variable { name: name.to_owned(), digest });
    }

    /// Makes something else an input. It must be among the facts of every later check.
    pub fn fact(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.add(Input::Fact { name: name.into(), value: value.into() });
    }

    fn add(&mut self, input: Input) {
        if !self.inputs.contains(&input) {
            self.inputs.push(input);
        }
    }

    /// All inputs, the cheap ones first.
    pub(crate) fn into_inputs(mut self) -> Vec<Input> {
        self.inputs.sort_by_key(Input::rank);
        self.inputs
    }
}

fn look_at_file(path: &Path, now: SystemTime) -> io::Result<(Seen, Option<Vec<u8>>)> {
    let Some(metadata) = metadata_of(path)? else { return Ok((Seen::new(None, None, now), None)) };
    if !metadata.is_file() {
        // Reading a pipe or a device might never end, and could not be repeated for a proof.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let bytes = fs::read(path)?;
    let witness = Witness::of_metadata(&metadata);
    Ok((Seen::new(Some(witness), Some(Digest::of(&bytes)), now), Some(bytes)))
}

fn metadata_of(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn look_at_directory(path: &Path, now: SystemTime) -> io::Result<Seen> {
    let witness = Witness::of(path)?;
    let digest = match witness {
        Some(_) => Some(digest_of_names(path)?),
        None => None,
    };
    Ok(Seen::new(witness, digest, now))
}

/// Names, and for a `.dist-info` directory (an installed package) also its `RECORD`, which holds
/// the hashes of its files: the same version may have been installed again from another wheel.
fn digest_of_names(path: &Path) -> io::Result<Digest> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "__pycache__" {
            continue;
        }
        let record = match name.as_bytes().ends_with(b".dist-info") {
            true => fs::read(entry.path().join("RECORD")).ok().map(Digest::of),
            false => None,
        };
        entries.push((name, record));
    }
    entries.sort();
    let mut hasher = Hasher::new("entries of a directory");
    for (name, record) in &entries {
        hasher.field(name.as_bytes()).optional(record.as_ref().map(Digest::as_bytes));
    }
    Ok(hasher.finish())
}

impl Seen {
    fn new(witness: Option<Witness>, digest: Option<Digest>, now: SystemTime) -> Self {
        let settled = witness.is_none_or(|witness| witness.is_settled(now));
        Self { digest, witness, settled }
    }

    /// Whether this witness proves that nothing changed.
    fn holds_for(&self, witness: Option<Witness>) -> bool {
        self.settled && self.witness == witness
    }
}

/// The world in which inputs are checked.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The caller's environment.
    pub caller: &'a Variables,
    /// Names and values of all facts that are known.
    pub facts: &'a [(&'static str, String)],
    /// The time, taken before the check.
    pub now: SystemTime,
}

/// Inputs that still hold.
#[derive(Debug)]
pub struct Still {
    /// The inputs with new witnesses, where files were touched or have settled since.
    pub renewed: Option<Vec<Input>>,
}

/// Compares inputs with the world, in their order, up to the first that differs.
pub fn check(inputs: &[Input], situation: &Situation) -> Result<Still, Difference> {
    let mut renewed = None;
    for (index, input) in inputs.iter().enumerate() {
        if let Some(input) = check_one(input, situation)? {
            renewed.get_or_insert_with(|| inputs.to_vec())[index] = input;
        }
    }
    Ok(Still { renewed })
}

/// `Some` if the input holds but should be remembered with a new witness.
fn check_one(input: &Input, situation: &Situation) -> Result<Option<Input>, Difference> {
    match input {
        Input::Fact { name, value } => {
            let known = situation.facts.iter().find(|(known, _)| known == name);
            match known.map(|(_, value)| value) {
                Some(now) if now == value => Ok(None),
                now => Err(Difference::Fact {
                    name: name.clone(),
                    before: value.clone(),
                    now: now.cloned(),
                }),
            }
        }
        Input::Variable { name, digest } => {
            let value = situation.caller.get(name).map(OsString::as_os_str);
            match How::between(digest.as_ref(), digest_of_value(name, value).as_ref()) {
                None => Ok(None),
                Some(how) => Err(Difference::Variable { name: name.clone(), how }),
            }
        }
        Input::File { path, seen } => {
            let seen = check_path(path, seen, situation.now, |path, now| {
                look_at_file(path, now).map(|(seen, _)| seen)
            })?;
            Ok(seen.map(|seen| Input::File { path: path.clone(), seen }))
        }
        Input::Directory { path, seen } => {
            let seen = check_path(path, seen, situation.now, look_at_directory)?;
            Ok(seen.map(|seen| Input::Directory { path: path.clone(), seen }))
        }
    }
}

fn check_path(
    path: &Path,
    seen: &Seen,
    now: SystemTime,
    look: impl Fn(&Path, SystemTime) -> io::Result<Seen>,
) -> Result<Option<Seen>, Difference> {
    let differs = |how| Difference::Path { path: path.to_owned(), how };
    let witness = Witness::of(path).map_err(|_| differs(How::Unreadable))?;
    if seen.holds_for(witness) {
        return Ok(None);
    }
    let current = look(path, now).map_err(|_| differs(How::Unreadable))?;
    match How::between(seen.digest.as_ref(), current.digest.as_ref()) {
        Some(how) => Err(differs(how)),
        None => Ok((current != *seen).then_some(current)),
    }
}

/// In which way something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is there, as it was, but not the same.
    Changed,
    /// It was not there.
    Appeared,
    /// It is not there any more.
    Vanished,
    /// It cannot be compared.
    Unreadable,
}

impl How {
    fn between(before: Option<&Digest>, now: Option<&Digest>) -> Option<Self> {
        match (before, now) {
            (Some(before), Some(now)) => (before != now).then_some(Self::Changed),
            (None, Some(_)) => Some(Self::Appeared),
            (Some(_), None) => Some(Self::Vanished),
            (None, None) => None,
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "changed",
            Self::Appeared => "appeared",
            Self::Vanished => "vanished",
            Self::Unreadable => "cannot be read",
        })
    }
}

/// The first input that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A fact.
    Fact {
        /// Which one.
        name: String,
        /// What it was.
        before: String,
        /// What it is, if that is known.
        now: Option<String>,
    },
    /// A variable of the caller.
    Variable {
        /// Its name.
        name: OsString,
        /// In which way.
        how: How,
    },
    /// A file or a directory.
    Path {
        /// Where.
        path: PathBuf,
        /// In which way.
        how: How,
    },
}

impl Difference {
    /// How far a check came before it met this difference.
    pub(crate) fn progress(&self) -> u8 {
        match self {
            Self::Fact { .. } => 0,
            Self::Variable { .. } => 1,
            Self::Path { .. } => 2,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fact { name, before, now: Some(now) } => {
                write!(f, "{name} changed from `{before}` to `{now}`")
            }
            Self::Fact { name, .. } => write!(f, "{name} is not known"),
            Self::Variable { name, how } => {
                write!(f, "variable `{}` {how}", Path::new(name).display())
            }
            Self::Path { path, how } => write!(f, "`{}` {how}", path.display()),
        }
    }
}
