//! The beginning of a traced process: waits until it is seized, installs the filter, becomes the
//! shell.
//!
//! It runs in a process of its own, behind a hidden entry of the program, because a filter can be
//! installed only by the process that it is for, between `fork` and `exec`. One byte on standard
//! input says that the tracer is there. Whatever fails ends the process before the shell has
//! started, which the tracer sees.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{ENTRY, calls};

/// Status of a process that did not become the shell.
const FAILED: u8 = 125;

/// Waits for the tracer and becomes the command in `args`, which follow [`ENTRY`].
///
/// `None` if the arguments are not for this entry. Returns only if something failed: the exit
/// status. It is meant to come first in `main`, before anything is opened or started.
pub fn become_traced(args: &[OsString]) -> Option<u8> {
    let [_, entry, program, script] = args else { return None };
    (entry == ENTRY).then(|| match start(program, script) {
        Ok(never) => match never {},
        Err(_) => FAILED,
    })
}

fn start(program: &OsStr, script: &OsStr) -> io::Result<std::convert::Infallible> {
    io::stdin().lock().read_exact(&mut [0])?;
    seccompiler::apply_filter(&calls::filter()).map_err(io::Error::other)?;
    Err(Command::new(program).arg(script).stdin(Stdio::null()).exec())
}
