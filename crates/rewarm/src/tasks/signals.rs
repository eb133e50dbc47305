//! Signals that are to reach the commands of a task, and who they come from.
//!
//! What the terminal sends goes to everybody in the foreground, so a command there has it already;
//! what another process sends has come to us only. A signal that was ignored stays ignored, as
//! `nohup` means it.

use std::io;

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::exfiltrator::raw::WithRawSiginfo;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::emulate_default_handler;

use crate::commands::ignored_signals;

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caught {
    /// Its number.
    pub(super) number: i32,
    /// Whether the terminal sent it, to everybody in the foreground.
    pub(super) is_from_terminal: bool,
}

impl Caught {
    fn new(number: i32, origin: i32) -> Self {
        // What another process sends has a code that is not positive.
        let is_from_kernel = if cfg!(target_os = "linux") { origin > 0 } else { true };
        let is_of_terminal = [SIGINT, SIGQUIT, SIGTSTP].contains(&number);
        Self { number, is_from_terminal: is_from_kernel && is_of_terminal }
    }

    /// Whether it asks for the end.
    pub(super) fn is_end(self) -> bool {
        [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&self.number)
    }
}

/// Catches signals as long as it lives.
#[derive(Debug)]
pub(super) struct Watch {
    handle: Handle,
}

impl Watch {
    /// Hands every signal to `sink`, on a thread of its own, until that returns `false`.
    pub(super) fn new(
        numbers: &[i32],
        sink: impl Fn(Caught) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let ignored = ignored_signals();
        let is_handled = |number: &&i32| ignored & 1 << (**number - 1) == 0;
        let handled = numbers.iter().filter(is_handled);
        let mut signals: SignalsInfo<WithRawSiginfo> = SignalsInfo::new(handled)?;
        let handle = signals.handle();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for info in &mut signals {
                if !sink(Caught::new(info.si_signo, info.si_code)) {
                    break;
                }
            }
        })?;
        Ok(Self { handle })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// The signals that a run of several commands passes on.
pub(super) const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT];
/// Those that ask for the end.
pub(super) const ENDS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Sends a signal to a process, or to its whole group. It may have ended by itself.
pub(super) fn send(process: Pid, whole_group: bool, number: i32) {
    let Some(signal) = Signal::from_named_raw(number) else { return };
    let _ = match whole_group {
        true => rustix::process::kill_process_group(process, signal),
        false => rustix::process::kill_process(process, signal),
    };
}

/// Stops this process until it is continued.
pub(super) fn stop_here() {
    let _ = emulate_default_handler(SIGTSTP);
}
