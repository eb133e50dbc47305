//! A signal that asks for the end while another program works for this one.
//!
//! The program is ended first, so that it does not go on alone, and the command then takes its
//! usual way out, on which temporary files go. Until a program is named a signal does what it
//! always does. SIGHUP is left alone, because `nohup` means it to be ignored.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    groups: Mutex<Vec<Pid>>,
    /// Zero stands for none.
    signal: AtomicI32,
}

impl State {
    fn groups(&self) -> std::sync::MutexGuard<'_, Vec<Pid>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt {
    pub(crate) fn watch() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM])?;
        let (state, handle) = (Arc::new(State::default()), signals.handle());
        let seen = Arc::clone(&state);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                seen.signal.store(signal, Ordering::SeqCst);
                let groups = seen.groups();
                if groups.is_empty() {
                    drop(emulate_default_handler(signal));
                }
                for group in groups.iter() {
                    // It may have ended by itself.
                    let _ = kill_process_group(*group, Signal::TERM);
                }
            }
        })?;
        Ok(Self { state, handle })
    }

    /// Names a process group that a signal ends from now on.
    pub(crate) fn ends(&self, group: u32) {
        self.state.groups().extend(i32::try_from(group).ok().and_then(Pid::from_raw));
    }

    /// The signal that was caught.
    pub(crate) fn caught(&self) -> Option<u8> {
        u8::try_from(self.state.signal.load(Ordering::SeqCst)).ok().filter(|signal| *signal != 0)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.handle.close();
    }
}
