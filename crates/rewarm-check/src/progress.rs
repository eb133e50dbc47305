//! How far a run of mypy is: the driver adds a byte to a file for each module that mypy is done with,
//! and whoever waits for the run is told its length now and then.

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
                let modules = fs::metadata(&file).map_or(0, |metadata| metadata.len());
                if modules > told {
                    told = modules;
                    events(Event::Progress { modules });
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
