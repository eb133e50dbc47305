//! Which worker may serve a request.
//!
//! A run in a worker must not differ from a fresh process. What a process gets from whoever starts it
//! and cannot be given later (user, limits, masks, namespaces, ignored signals, the variables
//! that steer an interpreter) is therefore part of the worker's key. The files that a
//! worker was made from are not: it compares them itself at each request.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rewarm_store::{Digest, Hasher};

use crate::key::{Subject, is_keyed};
use crate::request::Request;

/// The lines of `/proc/self/status` that a child inherits.
const INHERITED: [&str; 15] = [
    "Umask:",
    "Uid:",
    "Gid:",
    "Groups:",
    "SigIgn:",
    "CapInh:",
    "CapPrm:",
    "CapEff:",
    "CapBnd:",
    "CapAmb:",
    "NoNewPrivs:",
    "Seccomp:",
    "Seccomp_filters:",
    "Cpus_allowed:",
    "Mems_allowed:",
];

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The key of the worker for a request to the driver `program`; `None` if only a fresh process will
/// do.
pub(super) fn key(subject: &Subject<'_>, program: &str) -> Option<Digest> {
    let request = subject.request;
    if names_open_files(request) || has_relative_path(request) {
        return None;
    }
    let mut key = Hasher::new("check worker 1");
    key.field(env!("CARGO_PKG_VERSION")).field(program);
    let interpreter = &subject.interpreter;
    key.field(request.python.as_os_str().as_bytes()).field(&interpreter.identity);
    key.list([&interpreter.prefix, &interpreter.base].map(|path| path.as_os_str().as_bytes()));
    key.list(interpreter.sites.iter().map(|path| path.as_os_str().as_bytes()));
    let steering: BTreeMap<&OsString, &OsString> = request
        .variables
        .iter()
        .filter(|(name, _)| is_steering(name.as_bytes()))
        .map(|(name, value)| (name, value))
        .collect();
    for (name, value) in steering {
        key.field(name.as_bytes()).field(value.as_bytes());
    }
    inherited(&mut key)?;
    Some(key.finish())
}

/// Adds what this process hands down to its children.
fn inherited(key: &mut Hasher) -> Option<()> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    for line in status.lines() {
        if INHERITED.iter().any(|name| line.starts_with(name)) {
            key.field(line);
        }
    }
    for name in ["limits", "cgroup", "oom_score_adj"] {
        key.optional(fs::read(format!("/proc/self/{name}")).ok());
    }
    for name in NAMESPACES {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).ok();
        key.optional(link.as_ref().map(|path| path.as_os_str().as_bytes()));
    }
    let root = fs::read_link("/proc/self/root").ok()?;
    key.field(root.as_os_str().as_bytes());
    // The command's name may hold anything; the nice value is the 17th field after it.
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    key.field(stat.rsplit_once(')')?.1.split_whitespace().nth(16)?);
    Some(())
}

/// Variables that an interpreter, the C library or mypy's import read before a run sets its own. A
/// worker also compares those that it saw being read.
fn is_steering(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 6] = [b"LD_", b"MALLOC_", b"GLIBC_", b"GCONV_", b"ASAN_", b"_PYTHON"];
    const NAMES: [&[u8]; 8] = [
        b"HOME",
        b"PATH",
        b"TZ",
        b"TZDIR",
        b"LOCPATH",
        b"XDG_CONFIG_HOME",
        b"__PYVENV_LAUNCHER__",
        b"POSIXLY_CORRECT",
    ];
    is_keyed(name) || NAMES.contains(&name) || PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether a file may be meant that only this process and its children have open.
fn names_open_files(request: &Request) -> bool {
    const PLACES: [&[u8]; 4] = [b"/dev/fd/", b"/dev/std", b"/proc/self", b"/proc/thread-self"];
    let names = |text: &OsStr| {
        let text = text.as_bytes();
        PLACES.iter().any(|place| text.windows(place.len()).any(|window| window == *place))
    };
    let values = request.variables.iter().map(|(_, value)| value);
    request.arguments.iter().chain(values).any(|text| names(text))
}

/// Whether the interpreter's search path depends on the working directory.
fn has_relative_path(request: &Request) -> bool {
    let mut paths = request.variables.iter().filter(|(name, _)| name == "PYTHONPATH");
    paths.any(|(_, value)| {
        let value = value.as_bytes();
        !value.is_empty() && value.split(|byte| *byte == b':').any(|dir| !dir.starts_with(b"/"))
    })
}
