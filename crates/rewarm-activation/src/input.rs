//! What an activation was made from, and whether all of that still holds.
//!
//! Each file is remembered with a cheap witness (stat data) and a proof (digest). A witness that
//! was settled when it was taken decides alone; otherwise digests are compared, so a file that was
//! only touched is no difference. Values of variables are kept as digests, never in clear. The
//! witness is always taken before the content is read: a write in between shows the next time.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Witness};
use serde::{Deserialize, Serialize};

use crate::delta::{Variables, split};
use crate::difference::{Difference, How};
use crate::observe::HostFact;

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
    /// packages also the `RECORD`. Of `conda-meta` the records of packages and nothing else.
    Directory {
        /// An absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
        /// What was there.
        seen: Seen,
    },
    /// A variable of the caller that has to be set and not empty, whatever its value.
    Present {
        /// Its name.
        name: OsString,
    },
    /// No variables of the caller but these, and those that a shell keeps for itself.
    Only {
        /// The names, sorted.
        names: Vec<OsString>,
    },
    /// Where a program is found in a directory or else on the caller's `PATH`.
    Program {
        /// Its name, without a slash.
        name: OsString,
        /// The directory that comes before those of `PATH`.
        first: OsString,
        /// The file, `None` if there is none.
        found: Option<OsString>,
    },
    /// What kind of thing is at a path, and who may use it how.
    Kind {
        /// An absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
        /// Type and permissions.
        mode: u32,
    },
    /// A directory that several other inputs were missing from: no input itself, but while its
    /// witness is the same, they are still missing.
    Anchor {
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
            (Self::Anchor { path: a, .. }, Self::Anchor { path: b, .. }) => a == b,
            _ => self == other,
        }
    }

    /// Whether it is a file at that path, which was there.
    pub(crate) fn is_present(&self, at: &Path) -> bool {
        matches!(self, Self::File { path, seen } if path == at && seen.digest.is_some())
    }

    /// Facts and variables cost nothing to check, so they come first.
    fn rank(&self) -> u8 {
        match self {
            Self::Fact { .. } => 0,
            Self::Variable { .. } | Self::Present { .. } | Self::Only { .. } => 1,
            Self::Program { .. } | Self::Kind { .. } => 2,
            // A directory that is as it was proves that what it lacked it still lacks.
            Self::Directory { .. } | Self::Anchor { .. } => 3,
            Self::File { seen, .. } if seen.digest.is_some() => 4,
            Self::File { .. } => 5,
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
        match bytes {
            Some(_) => self.add(Input::File { path: path.to_owned(), seen }),
            None => self.missing(path),
        }
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

    /// Whether the content at a path is an input already.
    pub(crate) fn has(&self, at: &Path) -> bool {
        self.inputs.iter().any(|input| match input {
            Input::File { path, .. } | Input::Directory { path, .. } => path == at,
            _ => false,
        })
    }

    /// Whether a later write than the one that `witness` is of would show in it.
    pub(crate) fn is_settled(&self, witness: Option<Witness>) -> bool {
        witness.is_none_or(|witness| witness.is_settled(self.now))
    }

    /// Makes it an input that a variable is set and not empty.
    pub fn present(&mut self, name: &OsStr) {
        self.add(Input::Present { name: name.to_owned() });
    }

    /// Makes the names and values of all variables inputs.
    pub fn all_variables(&mut self, caller: &Variables) {
        let all = caller.iter().filter(|(name, _)| !is_of_shell(name));
        for (name, value) in all.clone() {
            self.variable(name, Some(value));
        }
        self.add(Input::Only { names: all.map(|(name, _)| name.clone()).collect() });
    }

    /// Makes it an input where a program is found: in the directory `first`, or else on the caller's
    /// `PATH`. Says where that is.
    pub fn program(&mut self, name: &OsStr, first: &Path, caller: &Variables) -> Option<PathBuf> {
        let first = first.as_os_str();
        let found = find_program(name, first, caller);
        let path = found.as_ref().map(PathBuf::from);
        self.add(Input::Program { name: name.to_owned(), first: first.to_owned(), found });
        path
    }

    /// Makes it an input what kind of thing is at a path, but not its content.
    pub fn kind(&mut self, path: &Path) -> io::Result<()> {
        match mode_of(path)? {
            Some(mode) => self.add(Input::Kind { path: path.to_owned(), mode }),
            // Of what is missing there is no more to know.
            None => self.missing(path),
        }
        Ok(())
    }

    /// Nothing is below what does not exist: of a directory that is missing it is enough to know
    /// that, and it may stand for several files.
    fn missing(&mut self, path: &Path) {
        let is_missing = |path: &&Path| matches!(metadata_of(path), Ok(None));
        let highest = path.ancestors().take_while(is_missing).last().unwrap_or(path);
        self.add(Input::File { path: highest.to_owned(), seen: Seen::missing(highest) });
    }

    /// Directories that more than one file is missing from, and that are no inputs.
    ///
    /// Each was looked at before now, so it may have gained one of the files since; but then the
    /// witness is not settled.
    fn anchors(&self) -> Vec<PathBuf> {
        let mut places: Vec<&Path> = self.inputs.iter().filter_map(missing_from).collect();
        places.sort();
        let is_input = |place: &Path| {
            let mut inputs = self.inputs.iter();
            inputs.any(|input| matches!(input, Input::Directory { path, .. } if path == place))
        };
        let mut anchors: Vec<PathBuf> = places
            .windows(2)
            .filter(|pair| pair[0] == pair[1] && !is_input(pair[0]))
            .map(|pair| pair[0].to_owned())
            .collect();
        anchors.dedup();
        anchors
    }

    fn add(&mut self, input: Input) {
        if !self.inputs.contains(&input) {
            self.inputs.push(input);
        }
    }

    /// All inputs, the cheap ones first.
    pub(crate) fn into_inputs(mut self) -> Vec<Input> {
        for path in self.anchors() {
            if let Ok(witness) = Witness::of(&path) {
                self.add(Input::Anchor { path, seen: Seen::new(witness, None, self.now) });
            }
        }
        self.inputs.sort_by_key(Input::rank);
        self.inputs
    }
}

/// What scripts may have asked of the machine or the user.
fn fact_of_host(name: &str) -> Option<String> {
    let facts = [HostFact::System, HostFact::User, HostFact::Processors];
    facts.into_iter().find(|fact| fact.name() == name).map(|fact| fact.value(Path::new("/")))
}

/// What every shell sets for itself; an activation neither sees nor changes the caller's.
pub(crate) fn is_of_shell(name: &OsStr) -> bool {
    name == "_" || name == "OLDPWD" || name == "PWD" || name == "SHLVL"
}

/// The first executable file of that name. Relative directories are passed over: what they mean
/// depends on where one is.
fn find_program(name: &OsStr, first: &OsStr, caller: &Variables) -> Option<OsString> {
    let path = caller.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
    let dirs = std::iter::once(first).chain(split(path, b':')).map(Path::new);
    let mut files = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    let is_program = |file: &PathBuf| {
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    };
    files.find(is_program).map(PathBuf::into_os_string)
}

fn mode_of(path: &Path) -> io::Result<Option<u32>> {
    Ok(metadata_of(path)?.map(|metadata| metadata.mode()))
}

/// The place of a file that was missing.
fn missing_from(input: &Input) -> Option<&Path> {
    match input {
        Input::File { path, seen } if seen.is_absent() => path.parent(),
        _ => None,
    }
}

fn look_at_file(path: &Path, now: SystemTime) -> io::Result<(Seen, Option<Vec<u8>>)> {
    let Some(metadata) = metadata_of(path)? else {
        return Ok((Seen::missing(path), None));
    };
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

/// Of `conda-meta`, the records of installed packages: tools leave marks of their own beside them.
/// Of any other directory the names, and for a `.dist-info` directory (an installed package) also its `RECORD`, which holds
/// the hashes of its files: the same version may have been installed again from another wheel.
fn digest_of_names(path: &Path) -> io::Result<Digest> {
    let is_conda_meta = path.file_name().is_some_and(|name| name == "conda-meta");
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_record = name.as_bytes().ends_with(b".json");
        if name == "__pycache__" || is_conda_meta && !is_record {
            continue;
        }
        let record = match name.as_bytes().ends_with(b".dist-info") {
            true => fs::read(entry.path().join("RECORD")).ok().map(Digest::of),
            false if is_conda_meta => Some(Digest::of(fs::read(entry.path())?)),
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
    /// Nothing.
    fn missing(path: &Path) -> Self {
        // What a link points to may appear without a trace in the directory of the link.
        let settled = fs::symlink_metadata(path).is_err();
        Self { digest: None, witness: None, settled }
    }

    fn new(witness: Option<Witness>, digest: Option<Digest>, now: SystemTime) -> Self {
        let settled = witness.is_none_or(|witness| witness.is_settled(now));
        Self { digest, witness, settled }
    }

    /// Whether nothing was there, not even a link to nothing.
    fn is_absent(&self) -> bool {
        self.digest.is_none() && self.witness.is_none() && self.settled
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
    let mut unchanged: Vec<&Path> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        if missing_from(input).is_some_and(|place| unchanged.contains(&place)) {
            continue;
        }
        if let Input::Anchor { path, seen } = input {
            let witness = Witness::of(path).ok().flatten();
            let current = Seen::new(witness, None, situation.now);
            if seen.holds_for(witness) {
                unchanged.push(path);
            } else if !seen.settled && current.settled {
                // Too young when it was taken; what is missing is looked for after this.
                let anchor = Input::Anchor { path: path.clone(), seen: current };
                renewed.get_or_insert_with(|| inputs.to_vec())[index] = anchor;
            }
            continue;
        }
        match (check_one(input, situation)?, input) {
            (Some(input), _) => {
                renewed.get_or_insert_with(|| inputs.to_vec())[index] = input;
            }
            (None, Input::Directory { path, seen }) if seen.settled => unchanged.push(path),
            (None, _) => {}
        }
    }
    Ok(Still { renewed })
}

/// `Some` if the input holds but should be remembered with a new witness.
fn check_one(input: &Input, situation: &Situation) -> Result<Option<Input>, Difference> {
    match input {
        Input::Fact { name, value } => {
            let known = situation.facts.iter().find(|(known, _)| known == name);
            let now = known.map(|(_, value)| value.clone()).or_else(|| fact_of_host(name));
            if now.as_ref() == Some(value) {
                return Ok(None);
            }
            Err(Difference::Fact { name: name.clone(), before: value.clone(), now })
        }
        Input::Variable { name, digest } => {
            let value = situation.caller.get(name).map(OsString::as_os_str);
            match How::between(digest.as_ref(), digest_of_value(name, value).as_ref()) {
                None => Ok(None),
                Some(how) => Err(Difference::Variable { name: name.clone(), how }),
            }
        }
        Input::Present { name } => match situation.caller.get(name) {
            Some(value) if !value.is_empty() => Ok(None),
            _ => Err(Difference::Empty { name: name.clone() }),
        },
        Input::Only { names } => {
            let is_new =
                |name: &&OsString| !is_of_shell(name) && names.binary_search(name).is_err();
            match situation.caller.keys().find(is_new) {
                None => Ok(None),
                Some(name) => Err(Difference::Variable { name: name.clone(), how: How::Appeared }),
            }
        }
        Input::Program { name, first, found } => {
            let now = find_program(name, first, situation.caller);
            if now == *found {
                return Ok(None);
            }
            let path = |found: Option<OsString>| found.map(PathBuf::from);
            let (before, now) = (path(found.clone()), path(now));
            Err(Difference::Program { name: name.clone(), before, now })
        }
        // Proves others, and is looked at by the one who checks them all.
        Input::Anchor { .. } => Ok(None),
        Input::Kind { path, mode } => {
            let differs = |how| Difference::Path { path: path.clone(), how };
            let now = mode_of(path).map_err(|_| differs(How::Unreadable))?;
            match now {
                Some(now) if now == *mode => Ok(None),
                Some(_) => Err(differs(How::Changed)),
                None => Err(differs(How::Vanished)),
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
