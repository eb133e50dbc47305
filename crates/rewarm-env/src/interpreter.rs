//! Finding a Python interpreter and learning what an installer has to know about it.
//!
//! An interpreter is asked once, by running an embedded script in it; the answer is a record keyed
//! by its path and proved by the stat data and the content of the binary behind that path. A
//! wrapper script (such as a version manager's shim) may lead anywhere, so what it answers is
//! never kept under its own path. The search order is that of the caller; nothing here reads the
//! environment.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Kind, Store};
use serde::{Deserialize, Serialize};
use uv_pep440::{Version, VersionSpecifiers};
use uv_pep508::{MarkerEnvironment, MarkerEnvironmentBuilder};
use uv_platform_tags::{Arch, Os, Platform, Tags, TagsOptions};

use crate::evidence::{Comparison, Evidence};

const SCRIPT: &str = include_str!("interpreter.py");

/// An interpreter, as it described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The path it calls itself by (`sys.executable`).
    pub executable: PathBuf,
    /// The one that a virtual environment of it is made from (`sys._base_executable`).
    pub base_executable: PathBuf,
    /// `sys.prefix`: the virtual environment's root, or the installation's.
    pub prefix: PathBuf,
    /// `sys.base_prefix`: the installation's root.
    pub base_prefix: PathBuf,
    /// Major, minor, micro.
    pub version: [u8; 3],
    markers: Markers,
    os: (String, u16, u16),
    arch: String,
    implementation_version: (u8, u8),
    gil_disabled: bool,
    debug: bool,
    manylinux_compatible: bool,
    pub(crate) scheme: RelativeScheme,
    pub(crate) activation: Vec<(String, String)>,
}

/// Where a virtual environment of the interpreter keeps things, relative to its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelativeScheme {
    pub(crate) purelib: String,
    pub(crate) platlib: String,
    pub(crate) scripts: String,
    pub(crate) include: String,
}

/// The values of the environment markers (dependency specifiers, "Environment Markers").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Markers {
    implementation_name: String,
    implementation_version: String,
    os_name: String,
    platform_machine: String,
    platform_python_implementation: String,
    platform_release: String,
    platform_system: String,
    platform_version: String,
    python_full_version: String,
    python_version: String,
    sys_platform: String,
}

/// Why an interpreter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// None of the candidates serves.
    #[error("no Python interpreter fits{}: {}", wanted_text(wanted.as_ref()), rejected_text(rejected))]
    NoneFits {
        /// What the project asks for.
        wanted: Option<VersionSpecifiers>,
        /// Each candidate with the reason why it does not serve.
        rejected: Vec<(PathBuf, String)>,
    },
    /// The program did not run.
    #[error("cannot run `{}`", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program ran, but is no Python interpreter that this version understands.
    #[error("`{}` is no usable Python interpreter: {reason}", path.display())]
    Answer {
        /// The program.
        path: PathBuf,
        /// The end of what it said.
        reason: String,
    },
}

fn wanted_text(wanted: Option<&VersionSpecifiers>) -> String {
    wanted.map_or_else(String::new, |wanted| format!(" `requires-python = \"{wanted}\"`"))
}

fn rejected_text(rejected: &[(PathBuf, String)]) -> String {
    if rejected.is_empty() {
        return "none was found on PATH".to_owned();
    }
    let items = rejected.iter().map(|(path, why)| format!("`{}` {why}", path.display()));
    items.collect::<Vec<_>>().join("; ")
}

/// What is remembered of an interpreter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InterpreterRecord {
    pub(crate) binary: PathBuf,
    evidence: Evidence,
    configuration: Evidence,
    interpreter: Interpreter,
}

impl Kind for InterpreterRecord {
    const NAME: &'static str = "interpreter";
    const VERSION: u16 = 1;
}

/// Where to look for an interpreter.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// One that the user named, by a path, by the name of a program (`python3.12`) or by a version
    /// (`3.12`); no other will do.
    pub explicit: Option<PathBuf>,
    /// The directories of `PATH`, in order.
    pub path: Vec<PathBuf>,
    /// What the version must satisfy.
    pub requires_python: Option<VersionSpecifiers>,
}

impl Interpreter {
    /// Describes the interpreter at `path`, from the store if it is known and unchanged.
    pub fn at(path: &Path, store: &Store, now: SystemTime) -> Result<Self, InterpreterError> {
        let run_error = |source| InterpreterError::Run { path: path.to_owned(), source };
        let key = record_key(path);
        if let Some(record) = store.read::<InterpreterRecord>(&key)
            && record.still_holds(path, store, &key, now)
        {
            return Ok(record.interpreter);
        }
        let binary = fs::canonicalize(path).map_err(run_error)?;
        let evidence = Evidence::take(&binary, now).map_err(run_error)?;
        let configuration = configuration_evidence(path, now).map_err(run_error)?;
        let interpreter = query(path)?;
        if !is_script(&binary) {
            let record = InterpreterRecord {
                binary,
                evidence,
                configuration,
                interpreter: interpreter.clone(),
            };
            // A store that cannot be written costs the next command the same query.
            let _ = store.write(&key, &record);
        }
        Ok(interpreter)
    }

    /// Finds the first interpreter that fits: the one named by the user, or the first on `PATH`
    /// directory by directory under the names `python3`, `python` and `python3.X` (newest first).
    pub fn find(search: &Search, store: &Store, now: SystemTime) -> Result<Self, InterpreterError> {
        let wanted = search.requires_python.as_ref();
        let mut rejected: Vec<(PathBuf, String)> = Vec::new();
        let candidates = match &search.explicit {
            Some(named) => explicit_candidates(named, &search.path),
            None => candidates(&search.path),
        };
        for path in candidates {
            match Self::at(&path, store, now) {
                Ok(found) if found.satisfies(wanted) => return Ok(found),
                Ok(found) => rejected.push((path, format!("is {}", found.full_version()))),
                Err(InterpreterError::Run { source, .. }) => {
                    rejected.push((path, format!("does not run ({source})")));
                }
                Err(error) => rejected.push((path, error_reason(error))),
            }
        }
        Err(InterpreterError::NoneFits { wanted: wanted.cloned(), rejected })
    }

    /// Whether the version lies within `requires-python`. As pip does, a pre-release of the
    /// interpreter counts as its release.
    pub fn satisfies(&self, wanted: Option<&VersionSpecifiers>) -> bool {
        let [major, minor, micro] = self.version.map(u64::from);
        wanted.is_none_or(|wanted| wanted.contains(&Version::new([major, minor, micro])))
    }

    /// For example `3.11.7`.
    pub fn full_version(&self) -> &str {
        &self.markers.python_full_version
    }

    /// For example `cpython`.
    pub fn implementation(&self) -> &str {
        &self.markers.implementation_name
    }

    /// The values of the environment markers.
    pub fn marker_environment(&self) -> Result<MarkerEnvironment, InterpreterError> {
        let markers = &self.markers;
        // Vendors may append text to the version that is no PEP 440.
        let full = markers.python_full_version.trim_end_matches('+');
        MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: &markers.implementation_name,
            implementation_version: &markers.implementation_version,
            os_name: &markers.os_name,
            platform_machine: &markers.platform_machine,
            platform_python_implementation: &markers.platform_python_implementation,
            platform_release: &markers.platform_release,
            platform_system: &markers.platform_system,
            platform_version: &markers.platform_version,
            python_full_version: full,
            python_version: &markers.python_version,
            sys_platform: &markers.sys_platform,
        })
        .map_err(|error| self.answer(error.to_string()))
    }

    /// The tags of the wheels that run here, best first (PEP 425, 600, 656).
    pub fn tags(&self) -> Result<Tags, InterpreterError> {
        let (name, major, minor) = &self.os;
        let (major, minor) = (*major, *minor);
        let os = match name.as_str() {
            "manylinux" => Os::Manylinux { major, minor },
            "musllinux" => Os::Musllinux { major, minor },
            "macos" => Os::Macos { major, minor },
            other => return Err(self.answer(format!("platform `{other}` is not supported"))),
        };
        let arch = self.arch.parse::<Arch>().map_err(|error| self.answer(error))?;
        let options = TagsOptions {
            manylinux_compatible: self.manylinux_compatible,
            gil_disabled: self.gil_disabled,
            debug_enabled: self.debug,
            is_cross: false,
        };
        let version = (self.version[0], self.version[1]);
        let platform = Platform::new(os, arch);
        Tags::from_env(
            platform,
            version,
            self.implementation(),
            self.implementation_version,
            options,
        )
        .map_err(|error| self.answer(error.to_string()))
    }

    /// What a wheel built by this interpreter depends on, besides its source.
    pub(crate) fn build_identity(&self) -> Digest {
        let mut hasher = Hasher::new("interpreter that builds, 1");
        hasher.field(&self.markers.implementation_name).field(self.full_version());
        hasher.field(&self.os.0).field(self.os.1.to_le_bytes()).field(self.os.2.to_le_bytes());
        hasher.field(&self.arch).field([u8::from(self.gil_disabled), u8::from(self.debug)]);
        hasher.field(self.base_prefix.as_os_str().as_bytes());
        hasher.finish()
    }

    fn answer(&self, reason: String) -> InterpreterError {
        InterpreterError::Answer { path: self.executable.clone(), reason }
    }
}

impl InterpreterRecord {
    /// Whether the path still leads to the binary that answered, and it is unchanged.
    fn still_holds(&self, path: &Path, store: &Store, key: &Digest, now: SystemTime) -> bool {
        if fs::canonicalize(path).ok().as_ref() != Some(&self.binary) {
            return false;
        }
        let binary = self.evidence.compare(&self.binary, now);
        let configuration = match configuration_path(path) {
            Some(file) => self.configuration.compare(&file, now),
            None => Comparison::Same,
        };
        match (binary, configuration) {
            (Comparison::Changed, _) | (_, Comparison::Changed) => false,
            (Comparison::Same, Comparison::Same) => true,
            (binary, configuration) => {
                let newer = |seen, old: &Evidence| match seen {
                    Comparison::Refreshed(fresh) => fresh,
                    _ => old.clone(),
                };
                let record = Self {
                    binary: self.binary.clone(),
                    evidence: newer(binary, &self.evidence),
                    configuration: newer(configuration, &self.configuration),
                    interpreter: self.interpreter.clone(),
                };
                let _ = store.write(key, &record);
                true
            }
        }
    }
}

/// Keyed by path, and by the kernel, whose release is one of the markers.
fn record_key(path: &Path) -> Digest {
    let mut hasher = Hasher::new("interpreter, 1");
    hasher.field(path.as_os_str().as_bytes()).field(SCRIPT);
    hasher.optional(fs::read("/proc/sys/kernel/osrelease").ok());
    hasher.optional(fs::read("/proc/sys/kernel/version").ok());
    hasher.finish()
}

/// The `pyvenv.cfg` that governs an interpreter in a `bin` directory.
fn configuration_path(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.parent()?.join("pyvenv.cfg"))
}

fn configuration_evidence(path: &Path, now: SystemTime) -> io::Result<Evidence> {
    Evidence::take(&configuration_path(path).unwrap_or_default(), now)
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    match File::open(path).and_then(|mut file| file.read_exact(&mut start)) {
        Ok(()) => &start == b"#!",
        Err(_) => true,
    }
}

/// How much of what an interpreter says about its failure is told, in characters.
const LONGEST_REASON: usize = 200;

/// Runs the script in the interpreter.
fn query(path: &Path) -> Result<Interpreter, InterpreterError> {
    let output = Command::new(path)
        .args(["-I", "-c", SCRIPT])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| InterpreterError::Run { path: path.to_owned(), source })?;
    let answer = |reason| InterpreterError::Answer { path: path.to_owned(), reason };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        // A program that is no interpreter may repeat the whole script.
        let last: String = last.trim().chars().take(LONGEST_REASON).collect();
        return Err(answer(format!("it ended with {}: {last}", output.status)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| answer(error.to_string()))
}

fn error_reason(error: InterpreterError) -> String {
    match error {
        InterpreterError::Answer { reason, .. } => format!("is not usable ({reason})"),
        other => other.to_string(),
    }
}

/// What a user's word for an interpreter can mean.
fn explicit_candidates(named: &Path, directories: &[PathBuf]) -> Vec<PathBuf> {
    if named.components().count() != 1 || named.is_absolute() {
        return vec![named.to_owned()];
    }
    let text = named.to_string_lossy();
    let name = match text.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("python{text}"),
        false => text.into_owned(),
    };
    let found: Vec<_> =
        directories.iter().map(|dir| dir.join(&name)).filter(|path| path.is_file()).collect();
    if found.is_empty() { vec![named.to_owned()] } else { found }
}

/// The interpreters in the directories of `PATH`, each binary once.
fn candidates(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for directory in directories.iter().filter(|directory| directory.is_absolute()) {
        let mut versioned = versioned_names(directory);
        versioned.sort_unstable_by_key(|(minor, _)| std::cmp::Reverse(*minor));
        let generic = ["python3", "python"].map(str::to_owned);
        for name in generic.into_iter().chain(versioned.into_iter().map(|(_, name)| name)) {
            let path = directory.join(name);
            let Ok(binary) = fs::canonicalize(&path) else { continue };
            // All shims of a version manager may be links to one script, so only binaries count.
            if binary.is_file() && (is_script(&binary) || !seen.contains(&binary)) {
                seen.push(binary);
                found.push(path);
            }
        }
    }
    found
}

/// The files named `python3.X` in a directory.
fn versioned_names(directory: &Path) -> Vec<(u8, String)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let minor = name.strip_prefix("python3.")?.parse().ok()?;
            Some((minor, name))
        })
        .collect()
}
