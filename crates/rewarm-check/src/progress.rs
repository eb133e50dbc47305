//! How far a run of mypy is: the driver adds a dot to a file for each module that mypy is done with,
//! before the first one a line with their number if all have to be checked, and whoever waits for the
//! run is told now and then.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::request::Event;

/// From one look at the file to the next.
const INTERVAL: Duration = Duration::from_millis(100);

/// Does the work of a run whose driver has the directory `scratch`, and reports its progress
/// meanwhile. Where the file cannot be made there is nothing to report.
pub(crate) fn during<T>(
    scratch: &Path,
    events: &(dyn Fn(Event) + Sync),
    work: impl FnOnce() -> T,
) -> T {
    let file = scratch.join("progress");
    if fs::File::create(&file).is_err() {
        return work();
    }
    std::thread::scope(|scope| {
        let (working, ended) = channel::<()>();
        scope.spawn(move || {
            let mut told = 0;
            let mut tell = || {
                let (modules, of) = counted(&fs::read(&file).unwrap_or_default());
                if modules > told {
                    told = modules;
                    events(Event::Progress { modules, of });
                }
            };
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                tell();
            }
            tell();
        });
        let result = work();
        drop(working);
        result
    })
}

/// Modules that are done, and all of them, if their number is known. A run that begins anew goes
/// on in the same file.
fn counted(told: &[u8]) -> (u64, Option<u64>) {
    let (mut done, mut all, mut number) = (0, None, 0_u64);
    for byte in told {
        match byte {
            b'.' => done += 1,
            b'0'..=b'9' => {
                number = number.saturating_mul(10).saturating_add(u64::from(byte - b'0'))
            }
            _ => all = Some(done + std::mem::take(&mut number)).filter(|all| *all > done),
        }
    }
    (done, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_counted_over_all_runs() {
        assert_eq!(counted(b""), (0, None));
        assert_eq!(counted(b"..."), (3, None));
        assert_eq!(counted(b"12\n.."), (2, Some(12)));
        assert_eq!(counted(b"..12\n..."), (5, Some(14)));
        assert_eq!(counted(b"0\n."), (1, None));
        // The line is being written.
        assert_eq!(counted(b"1"), (0, None));
    }
}
