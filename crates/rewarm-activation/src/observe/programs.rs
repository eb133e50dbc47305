//! What is known about programs: which ones are shells, which only read the variables that their
//! manuals name, and where a command is looked for.
//!
//! A program is known by its name and its place: one that only the system's administrator could
//! have put into a directory of the system. Everything else may read any variable.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is known about a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A POSIX shell: what it reads stands in the text that it runs.
    Shell,
    /// One of the table below.
    Tool,
    /// Anything else.
    Unknown,
}

/// Where the system's own programs lie.
const SYSTEM: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Tools that read the variables of [`EVERY_PROGRAM`], and these.
const TOOLS: [(&str, &[&str]); 47] = [
    ("[", &[]),
    ("arch", &[]),
    ("basename", &[]),
    ("cat", &[]),
    ("chmod", &[]),
    ("cmp", &[]),
    ("comm", &[]),
    ("cp", &["SIMPLE_BACKUP_SUFFIX", "VERSION_CONTROL"]),
    ("cut", &[]),
    ("dirname", &[]),
    ("echo", &[]),
    ("egrep", &["GREP_COLOR", "GREP_COLORS", "GREP_OPTIONS", "TERM"]),
    ("expr", &[]),
    ("false", &[]),
    ("fgrep", &["GREP_COLOR", "GREP_COLORS", "GREP_OPTIONS", "TERM"]),
    ("getconf", &["GETCONF_DIR"]),
    ("gawk", &["AWKPATH", "AWKLIBPATH", "GAWK_READ_TIMEOUT", "AWKBUFSIZE", "TMPDIR"]),
    ("grep", &["GREP_COLOR", "GREP_COLORS", "GREP_OPTIONS", "TERM"]),
    ("head", &["_POSIX2_VERSION"]),
    ("hostname", &[]),
    ("id", &[]),
    ("ln", &["SIMPLE_BACKUP_SUFFIX", "VERSION_CONTROL"]),
    (
        "ls",
        &[
            "BLOCK_SIZE",
            "BLOCKSIZE",
            "COLUMNS",
            "LS_BLOCK_SIZE",
            "LS_COLORS",
            "QUOTING_STYLE",
            "TABSIZE",
            "TERM",
            "TIME_STYLE",
        ],
    ),
    ("mawk", &["MAWKBINMODE", "MAWK_LONG_OPTIONS", "WHINY_USERS"]),
    ("mkdir", &[]),
    ("mv", &["SIMPLE_BACKUP_SUFFIX", "VERSION_CONTROL"]),
    ("nproc", &["OMP_NUM_THREADS", "OMP_THREAD_LIMIT"]),
    ("paste", &[]),
    ("pathchk", &[]),
    ("printf", &[]),
    ("pwd", &["PWD"]),
    ("readlink", &[]),
    ("realpath", &["PWD"]),
    ("rm", &[]),
    ("rmdir", &[]),
    ("sed", &["COLS"]),
    ("seq", &[]),
    ("sort", &["TMPDIR", "_POSIX2_VERSION", "OMP_NUM_THREADS"]),
    ("tail", &["_POSIX2_VERSION"]),
    ("tee", &[]),
    ("test", &[]),
    ("touch", &["_POSIX2_VERSION"]),
    ("tr", &[]),
    ("true", &[]),
    ("uname", &["UNAME_MACHINE"]),
    ("uniq", &["_POSIX2_VERSION"]),
    ("wc", &[]),
];

/// What the C library and its loader read in every program.
pub(super) const EVERY_PROGRAM: [&str; 26] = [
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NUMERIC",
    "LC_TIME",
    "LD_ASSUME_KERNEL",
    "LD_AUDIT",
    "LD_BIND_NOW",
    "LD_DEBUG",
    "LD_LIBRARY_PATH",
    "LD_ORIGIN_PATH",
    "LD_PRELOAD",
    "LD_PROFILE",
    "LD_SHOW_AUXV",
    "LOCPATH",
    "NLSPATH",
    "POSIXLY_CORRECT",
    "TZ",
    "TZDIR",
];

/// The absolute directories of a `PATH`; others are the business of the working directory.
pub(super) fn search_path(path: &OsStr) -> Vec<PathBuf> {
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|dir| PathBuf::from(OsStr::from_bytes(dir)))
        .filter(|dir| dir.is_absolute())
        .collect()
}

/// The first executable file of that name.
pub(super) fn find(name: &OsStr, directories: &[PathBuf]) -> Option<PathBuf> {
    directories.iter().map(|dir| dir.join(name)).find(|candidate| {
        candidate.is_file()
            && rustix::fs::access(candidate.as_path(), rustix::fs::Access::EXEC_OK).is_ok()
    })
}

fn name(program: &Path) -> &OsStr {
    program.file_name().unwrap_or_default()
}

/// What is known about the program behind a resolved path.
pub(super) fn kind(program: &Path) -> Kind {
    let name = name(program);
    if [OsStr::new("bash"), OsStr::new("dash"), OsStr::new("sh")].contains(&name) {
        return Kind::Shell;
    }
    let known = TOOLS.iter().any(|(tool, _)| name == *tool);
    match known && is_of_system(program) {
        true => Kind::Tool,
        false => Kind::Unknown,
    }
}

fn is_of_system(program: &Path) -> bool {
    let place = program.parent().is_some_and(|dir| SYSTEM.iter().any(|known| dir == *known));
    place && only_root_writes(program)
}

/// Whether only the administrator can change what is there.
pub(super) fn only_root_writes(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.uid() == 0 && data.mode() & 0o022 == 0)
}

/// The variables that a known tool reads, beside [`EVERY_PROGRAM`]; `None` if that cannot be told.
pub(super) fn tool_variables(
    program: &Path,
    arguments: &[OsString],
) -> Option<&'static [&'static str]> {
    let name = name(program);
    // Who asks for times of files gets another answer when they are only touched.
    let option = |letters: &[u8]| {
        arguments.iter().skip(1).any(|argument| {
            let text = argument.as_bytes();
            text.starts_with(b"-") && text.iter().any(|byte| letters.contains(byte))
        })
    };
    if (name == "ls" && option(b"lstucgnoi-"))
        || ((name == "test" || name == "[") && option(b"Not"))
    {
        return None;
    }
    let (_, variables) = TOOLS.iter().find(|(tool, _)| name == *tool)?;
    // Languages that can name variables themselves, in text that need not be an argument.
    let awk = name == "mawk" || name == "gawk";
    let reads = |argument: &OsString| {
        let text = argument.as_bytes();
        text.windows(7).any(|part| part == b"ENVIRON")
            || text.starts_with(b"-f")
            || text.starts_with(b"--")
            || [
                &b"getline"[..],
                b"system",
                b"srand",
                b"SYMTAB",
                b"systime",
                b"strftime",
                b"|",
                b"@",
            ]
            .iter()
            .any(|word| text.windows(word.len()).any(|part| part == *word))
    };
    (!awk || !arguments.iter().skip(1).any(reads)).then_some(variables)
}
