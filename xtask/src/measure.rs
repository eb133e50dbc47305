//! Runs one command in a process of its own and reports what it cost.
//!
//! `cargo xtask measure REPORT -- CMD…` is that process: the kernel adds up what a process's
//! children used, so one measuring process per command keeps the figures apart. Memory is the
//! largest resident set of any process of the command; bytes written are those passed to `write`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};

use crate::steps::Result;

/// What a command cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Bytes.
    pub(crate) peak: u64,
    /// Bytes.
    pub(crate) written: u64,
    pub(crate) success: bool,
}

/// A command to be measured.
pub(crate) struct Measured {
    command: Command,
    report: tempfile::NamedTempFile,
}

impl Measured {
    /// Measures `program` with `args`.
    pub(crate) fn new<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let report = tempfile::NamedTempFile::new().map_err(|e| format!("no report file: {e}"))?;
        let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
        let mut command = Command::new(this);
        command.arg("measure").arg(report.path()).arg("--").arg(program).args(args);
        command
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self { command, report })
    }

    /// To set variables and the directory.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Result<Cost> {
        self.command.status().map_err(|e| format!("cannot measure: {e}"))?;
        self.read()
    }

    /// Starts it; [`Running::finish`] waits for its end.
    pub(crate) fn spawn(mut self) -> Result<Running> {
        let child = self.command.spawn().map_err(|e| format!("cannot measure: {e}"))?;
        Ok(Running { child, measured: self })
    }

    fn read(&self) -> Result<Cost> {
        let text = std::fs::read_to_string(self.report.path()).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|_| format!("{:?} could not be run", self.command))?;
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        Ok(Cost {
            wall: Duration::from_micros(number("wall_us")),
            cpu: Duration::from_micros(number("cpu_us")),
            peak: number("peak"),
            written: number("written"),
            success: value["success"].as_bool().unwrap_or_default(),
        })
    }
}

/// A command under way.
pub(crate) struct Running {
    child: std::process::Child,
    measured: Measured,
}

impl Running {
    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Result<Cost> {
        self.child.wait().map_err(|e| format!("cannot wait: {e}"))?;
        self.measured.read()
    }
}

/// The measuring process: `REPORT -- CMD…`.
pub(crate) fn main(args: &[OsString]) -> Result<()> {
    let [report, dashes, program, rest @ ..] = args else {
        return Err("usage: cargo xtask measure REPORT -- CMD…".to_owned());
    };
    if dashes != "--" {
        return Err("`--` is missing".to_owned());
    }
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(rest)
        .spawn()
        .map_err(|e| format!("cannot run `{}`: {e}", program.display()))?;
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
        .map_err(|e| format!("cannot wait: {e}"))?;
    let wall = started.elapsed();
    let written = written(child.id());
    let status = child.wait().map_err(|e| format!("cannot wait: {e}"))?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    let value = json!({
        "wall_us": u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        "cpu_us": micros(usage.user_time()) + micros(usage.system_time()),
        "peak": usage.max_rss() * 1024,
        "written": written,
        "success": status.success(),
    });
    std::fs::write(Path::new(report), value.to_string()).map_err(|e| e.to_string())
}

/// What the ended but not yet reaped process, and its reaped children, passed to `write`.
fn written(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}
