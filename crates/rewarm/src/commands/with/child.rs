//! Runs a command to its end, standing aside.
//!
//! The command shares the terminal, its process group and its job control with us. What the
//! terminal sends goes to both: we only wait. SIGTERM and SIGHUP are handed on. A signal that was
//! ignored stays ignored, for the command as well.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// What the signals are to be handed to, and those that came before it was there.
#[derive(Debug, Default)]
struct State {
    child: Option<Pid>,
    early: Vec<i32>,
}

/// Runs a command to its end.
pub(super) fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let ignored = ignored();
    let is_handled = |signal: &i32| ignored & 1 << (signal - 1) == 0;
    let handled = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(is_handled);
    let mut signals = Signals::new(handled)?;
    let handle = signals.handle();
    let state: Arc<Mutex<State>> = Arc::default();
    let seen = Arc::clone(&state);
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            let mut state = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match state.child {
                Some(child) => hand_on(child, signal),
                None => state.early.push(signal),
            }
        }
    })?;
    let ended = command.spawn().and_then(|mut child| {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.child = pid;
            let early = std::mem::take(&mut state.early);
            pid.iter().for_each(|&pid| early.iter().for_each(|&signal| hand_on(pid, signal)));
        }
        child.wait()
    });
    handle.close();
    // It has nothing left to wait for.
    let _ = thread.join();
    ended
}

/// What the terminal sends has come to the command already.
fn hand_on(child: Pid, signal: i32) {
    let signal = match signal {
        SIGTERM => Signal::TERM,
        SIGHUP => Signal::HUP,
        _ => return,
    };
    // It may have ended by itself.
    let _ = kill_process(child, signal);
}

/// The signals that this process ignores, one bit each; none where that cannot be told.
pub(crate) fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The exit code that tells a shell how the command ended.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
