//! How long a checker may take: `timeout` in `[tool.rewarm.check]`.
//!
//! A plugin can wait for ever, and mypy has no limit of its own. When the time is over the checker's
//! process group is asked to end, and killed if it does not. What it had found by then is not kept.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rewarm_check::Report;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Failure;

/// How long a checker that was asked to end may still take.
const GRACE: Duration = Duration::from_secs(2);

/// Watches over checkers as long as it lives.
#[derive(Debug)]
pub(super) struct Limit {
    time: Option<Duration>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    over: Mutex<bool>,
    told: Condvar,
    expired: AtomicBool,
}

impl Limit {
    /// A limit in seconds, or none.
    pub(super) fn new(seconds: Option<u64>) -> Self {
        Self { time: seconds.map(Duration::from_secs), state: Arc::default() }
    }

    /// A process group's time begins.
    pub(super) fn watches(&self, group: u32) {
        let Some(time) = self.time else { return };
        let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || {
            for (time, signal) in [(time, Signal::TERM), (GRACE, Signal::KILL)] {
                let over = state.over.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = state.told.wait_timeout_while(over, time, |over| !*over);
                let (over, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if *over {
                    return;
                }
                state.expired.store(true, Ordering::SeqCst);
                // It may have ended by itself.
                let _ = kill_process_group(group, signal);
            }
        });
    }

    /// The failure if a checker was ended, with the place where it was if that is known.
    pub(super) fn check(&self, name: &str, report: &Report) -> Result<(), Failure> {
        let Some(time) = self.time.filter(|_| self.state.expired.load(Ordering::SeqCst)) else {
            return Ok(());
        };
        if report.exit_code <= 128 {
            return Ok(());
        }
        let place = place(&String::from_utf8_lossy(&report.stderr));
        let place = place.map(|place| format!("; it was at {place}")).unwrap_or_default();
        let text = format!("{name} did not come to its end within {} s{place}", time.as_secs());
        Err(Failure::world(std::io::Error::other(text))
            .hint("raise `timeout` in `[tool.rewarm.check]`, or take it out"))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        *self.state.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.told.notify_all();
    }
}

/// The innermost line of Python in a traceback of the interpreter's fault handler that is neither
/// the driver's nor the library's.
fn place(traceback: &str) -> Option<String> {
    let lines = traceback.lines().filter_map(|line| line.trim_start().strip_prefix("File "));
    let mut lines = lines.filter(|line| !line.contains("\"<") && !line.contains("/lib/python"));
    lines.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_the_innermost_line_outside_the_library() {
        let text = "Current thread 0x0 (most recent call first):\n  \
            File \"/usr/lib/python3.11/socket.py\", line 2 in recv\n  \
            File \"/p/plugin.py\", line 7 in hook\n  File \"<string>\", line 1 in __init__\n";
        assert_eq!(place(text).as_deref(), Some("\"/p/plugin.py\", line 7 in hook"));
        assert_eq!(place("Terminated\n"), None);
    }
}
