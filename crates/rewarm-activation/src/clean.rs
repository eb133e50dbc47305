//! The few variables that survive into a clean environment.

use std::ffi::OsStr;

use crate::delta::Variables;

/// The names that `pixi run --clean-env` keeps.
const KEPT: &[&str] = &[
    "DISPLAY",
    "HOME",
    "HOSTNAME",
    "LC_ALL",
    "LC_MEASUREMENT",
    "LC_NUMERIC",
    "LC_TIME",
    "LOGNAME",
    "SHELL",
    "USER",
    "USERNAME",
    #[cfg(target_os = "macos")]
    "TMPDIR",
    #[cfg(target_os = "macos")]
    "XPC_FLAGS",
    #[cfg(target_os = "macos")]
    "XPC_SERVICE_NAME",
];

/// Where the system keeps its own programs. A virtual environment has none of them, not even the
/// shell that runs a task, so a clean `PATH` ends with these.
pub(crate) const SYSTEM_PATH: [&str; 2] = ["/usr/bin", "/bin"];

/// What is left of a caller's environment when a clean one is asked for.
pub fn clean_env(caller: &Variables) -> Variables {
    let kept = |name: &OsStr| KEPT.iter().any(|kept| name == *kept);
    let pairs = caller.iter().filter(|(name, _)| kept(name));
    pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
}
