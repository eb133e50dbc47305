//! A signal that asks for the end while another program works for this one.
//!
//! The program is ended first, so that it does not go on alone, and the command then takes its
//! usual way out, on which temporary files go; a second signal kills what did not heed the first. Where
//! no program is named a signal does what it always does, except that a command may ask for some time
//! to notice it. SIGHUP is left alone, because `nohup` means it to be ignored.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

/// Watches for signals as long as it lives.
#[derive(Debug)]
pub(crate) struct Interrupt {
    state: Arc<State>,
    handle: Handle,
}

#[derive(Debug, Default)]
struct State {
    work: Mutex<Work>,
    /// Of a signal, and that one was noticed.
    told: Condvar,
    /// Zero stands for none.
    signal: AtomicI32,
    grace: Duration,
}

/// What this process is at.
#[derive(Debug, Default)]
struct Work {
    groups: Vec<Pid>,
    has_noticed: bool,
}

impl State {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what was named, or else this process unless somebody notices in time.
    fn arrived(self: &Arc<Self>, signal: i32) {
        let is_first = self.signal.swap(signal, Ordering::SeqCst) == 0;
        let force = if is_first { Signal::TERM } else { Signal::KILL };
        for group in &self.work().groups {
            // It may have ended by itself.
            let _ = kill_process_group(*group, force);
        }
        self.told.notify_all();
        if is_first && !self.grace.is_zero() {
            let state = Arc::clone(self);
            std::thread::spawn(move || state.end_unless_noticed(signal, state.grace));
        } else {
            self.end_unless_noticed(signal, Duration::ZERO);
        }
    }

    fn end_unless_noticed(&self, signal: i32, grace: Duration) {
        let ignored = |work: &mut Work| !work.has_noticed;
        let waited = self.told.wait_timeout_while(self.work(), grace, ignored);
        let (work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if work.groups.is_empty() && !work.has_noticed {
            drop(emulate_default_handler(signal));
        }
    }
}

impl Interrupt {
    /// Where nothing is to be ended first, a signal ends this process at once.
    pub(crate) fn watch() -> io::Result<Self> {
        Self::watch_with(Duration::ZERO)
    }

    /// The same, but the first signal is the caller's if that has it [`caught`](Self::caught) within
    /// `grace`.
    pub(crate) fn watch_with(grace: Duration) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM])?;
        let state = Arc::new(State { grace, ..State::default() });
        let (seen, handle) = (Arc::clone(&state), signals.handle());
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                seen.arrived(signal);
            }
        })?;
        Ok(Self { state, handle })
    }

    /// Names a process group that a signal ends from now on.
    pub(crate) fn ends(&self, group: u32) {
        let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
        let mut work = self.state.work();
        work.groups.push(group);
        if self.state.signal.load(Ordering::SeqCst) != 0 {
            // The signal came before.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// The programs that were named have ended.
    pub(crate) fn over(&self) {
        self.state.work().groups.clear();
    }

    /// Waits for a signal, or until the time is over.
    pub(crate) fn wait(&self, time: Duration) {
        let none = |_: &mut Work| self.state.signal.load(Ordering::SeqCst) == 0;
        drop(self.state.told.wait_timeout_while(self.state.work(), time, none));
    }

    /// The signal that came, which from now on is the caller's to heed.
    pub(crate) fn caught(&self) -> Option<u8> {
        let signal = u8::try_from(self.state.signal.load(Ordering::SeqCst)).ok();
        let signal = signal.filter(|signal| *signal != 0)?;
        self.state.work().has_noticed = true;
        self.state.told.notify_all();
        Some(signal)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.handle.close();
    }
}
