//! Where the process begins.
//!
//! On Linux with glibc the program has a C `main` of its own: what the standard library does before
//! a Rust `main` costs about 25 system calls, a third of a whole `rewarm run`, and is of no use to
//! a process that becomes another one. What the long way needs of it, [`prepare`] does.
//! `docs/decisions/0001-start-up.md` has the figures.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
#[expect(unsafe_code, reason = "the C runtime finds the entry point by its name")]
// SAFETY: `main` is the C runtime's entry point, defined once, with the type that C gives it; it
// does not unwind, because `run` catches panics and the short path has none to throw across.
#[unsafe(no_mangle)]
extern "C" fn main(_: i32, _: *const *const std::ffi::c_char) -> i32 {
    std::panic::catch_unwind(super::run).map_or_else(|_| super::BUG.into(), i32::from)
}

/// What a program that stays may rely on: standard streams that are open, so that no file of ours
/// takes their numbers, and closed pipes that are errors rather than the end.
pub(crate) fn prepare() -> io::Result<()> {
    loop {
        let file = File::options().read(true).write(true).open("/dev/null")?;
        if file.as_raw_fd() > 2 {
            break;
        }
        std::mem::forget(file);
    }
    // A handler, unlike ignoring the signal, is not inherited by the programs that we start.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}
