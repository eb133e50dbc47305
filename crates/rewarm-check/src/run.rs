//! Starting mypy and collecting what came of it.
//!
//! mypy runs in the environment's interpreter under the driver, which behaves as the console script
//! does. Output goes to files in a scratch directory, so nothing is lost when the process dies.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rewarm_store::{Digest, PrivateDir, Store};

use crate::configuration::variable;
use crate::observed::Observed;
use crate::request::{CheckError, Event, Request};
use crate::worker::{Served, Worker};

/// Classes first, then the program.
pub(crate) const DRIVER: &str = concat!(
    include_str!("driver/start.py"),
    include_str!("driver/tie.py"),
    "tied = None if sys.argv[1] == '--worker' else tie()\n",
    include_str!("driver/entries.py"),
    include_str!("driver/pack.py"),
    include_str!("driver/symbols.py"),
    include_str!("driver/carry.py"),
    include_str!("driver/hints.py"),
    include_str!("driver/orders.py"),
    include_str!("driver/reasons.py"),
    include_str!("driver/circumstances.py"),
    include_str!("driver/sequence.py"),
    include_str!("driver/contexts.py"),
    include_str!("driver/worker.py"),
    include_str!("driver/observer.py"),
    include_str!("driver/passes.py"),
    include_str!("driver/main.py"),
);

/// What one argument of a program may have on Linux (`MAX_ARG_STRLEN`), its end included.
const LONGEST_ARGUMENT: usize = 128 << 10;
const _: () = assert!(DRIVER.len() < LONGEST_ARGUMENT);

/// What comes before a console script's own lines.
const SCRIPT: &str = "import os, sys
sys.argv[:] = sys.argv[1:]
if not getattr(sys.flags, 'safe_path', False):
    sys.path[0] = os.path.dirname(sys.argv[0])
";

/// mypy's.
const CONSOLE: &str = "from mypy.__main__ import console_entry
sys.exit(console_entry())
";

/// Ties a run to its starter; needs what [`capture_tied`] gives it.
const TIE: &str = concat!(include_str!("driver/tie.py"), "tie()\ndel tie\n");

/// Says what mypy would check.
const TARGETS: &str = include_str!("driver/targets.py");

/// Options for runs that write nothing.
const NOTHING_WRITTEN: [&str; 2] = ["--cache-dir", "/dev/null"];

/// What a run of mypy left.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit_code: i32,
    /// Absent if the driver did not come to its end.
    pub(crate) observed: Option<Observed>,
}

impl Finished {
    /// What a run without the driver left.
    fn of(output: Output) -> Self {
        let exit_code = code(output.status);
        Self { stdout: output.stdout, stderr: output.stderr, exit_code, observed: None }
    }

    /// Whether there is a traceback that goes back to the driver. Messages may have these words too.
    fn names_driver(&self) -> bool {
        let is_in = |text| {
            contains(text, b"Traceback (most recent call last)")
                && contains(text, b"File \"<string>\", line ")
        };
        is_in(&self.stderr) || self.exit_code > 1 && is_in(&self.stdout)
    }
}

/// A directory that is gone when the run is over.
#[derive(Debug)]
pub(crate) enum Scratch {
    Store(PrivateDir),
    /// Where the store cannot be written.
    Temporary(PathBuf),
}

impl Scratch {
    /// Makes one in the store, or else where the child's variables put temporary files. The store's
    /// refusal comes with it.
    pub(crate) fn new(
        store: &Store,
        request: &Request,
    ) -> Result<(Self, Option<io::Error>), CheckError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let refusal = match store.slot("scratch", &Digest::of("")).private(|_| true) {
            Ok(private) => return Ok((Self::Store(private), None)),
            Err(error) => error,
        };
        let parent = variable(request, OsStr::new("TMPDIR")).map_or("/tmp".as_ref(), Path::new);
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("rewarm-check-{}-{count}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok((Self::Temporary(path), Some(refusal))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(CheckError::Scratch { path: parent.to_owned(), source }),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Store(private) => private.path(),
            Self::Temporary(path) => path,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Self::Temporary(path) = self {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Runs mypy under the driver, with `cache` as its cache directory or without any; `None` if a
/// worker was lost meanwhile, so that neither directory is fit for another run.
pub(crate) fn observed(
    request: &Request,
    worker: Option<&Worker<'_>>,
    scratch: &Path,
    cache: Option<&Path>,
    events: &dyn Fn(Event),
) -> Result<Option<Finished>, CheckError> {
    // The child has another working directory.
    let absolute = |path: &Path| std::path::absolute(path).map_err(|source| error(request, source));
    let (scratch, cache) = (absolute(scratch)?, cache.map(absolute).transpose()?);
    let script = script(request);
    let mut arguments =
        vec![scratch.as_os_str(), cache.as_deref().unwrap_or("".as_ref()).as_os_str()];
    arguments.extend([script.as_os_str(), request.default_target.as_deref().unwrap_or_default()]);
    arguments.extend(request.arguments.iter().map(OsString::as_os_str));
    let output = match worker.map_or(Served::Not, |w| w.run(DRIVER, &arguments, events)) {
        Served::Done(output) => output,
        Served::Lost => return Ok(None),
        Served::Not => {
            let mut command = command(request, DRIVER);
            command.args(&arguments);
            capture_tied(command, events).map_err(|source| error(request, source))?
        }
    };
    if !scratch.join("0.out").exists() && output.status.signal().is_none() {
        // The driver could not start a pass.
        return without_driver(request, events).map(Some);
    }
    let report = fs::read(scratch.join("report")).ok();
    let observed = report.and_then(|bytes| Observed::parse(&bytes));
    let is_whole = observed.as_ref().is_some_and(|observed| !observed.cut);
    if !is_whole && output.status.signal().is_none() {
        // Most likely a full disk. The other way nothing is written.
        return without_driver(request, events).map(Some);
    }
    let answer = observed.as_ref().map_or("0", |observed| observed.answer.as_str());
    let stream = |end: &str, before: Vec<u8>| {
        let mut bytes = before;
        bytes.extend(fs::read(scratch.join(format!("{answer}.{end}"))).unwrap_or_default());
        bytes
    };
    let finished = Finished {
        stdout: stream("out", output.stdout),
        stderr: stream("err", output.stderr),
        exit_code: code(output.status),
        observed,
    };
    if script.is_file() && finished.names_driver() {
        return without_target(request, |request| itself(request, events)).map(Some);
    }
    Ok(Some(finished))
}

/// Runs mypy's own script, with nothing written. Nothing ends it with this process if that is killed.
fn itself(request: &Request, events: &dyn Fn(Event)) -> Result<Finished, CheckError> {
    let mut command = python(request);
    command.arg(script(request)).args(NOTHING_WRITTEN).args(&request.arguments);
    let output = capture(command, events).map_err(|source| error(request, source))?;
    Ok(Finished::of(output))
}

/// Runs mypy without the driver, with some options before the request's own.
pub(crate) fn plain(
    request: &Request,
    options: &[&str],
    events: &dyn Fn(Event),
) -> Result<Finished, CheckError> {
    let mut command = command(request, &[SCRIPT, TIE, CONSOLE].concat());
    command.arg(script(request)).args(options).args(&request.arguments);
    let output = capture_tied(command, events).map_err(|source| error(request, source))?;
    Ok(Finished::of(output))
}

/// What the driver would have come to, without its help and with nothing written.
fn without_driver(request: &Request, events: &dyn Fn(Event)) -> Result<Finished, CheckError> {
    without_target(request, |request| plain(request, &NOTHING_WRITTEN, events))
}

/// Runs mypy as `run` does, and again with the default target if it lacks one.
fn without_target(
    request: &Request,
    run: impl Fn(&Request) -> Result<Finished, CheckError>,
) -> Result<Finished, CheckError> {
    let finished = run(request)?;
    let lacks_target = contains(&finished.stderr, b": error: Missing target module");
    match &request.default_target {
        Some(target) if finished.exit_code == 2 && lacks_target => {
            let mut request = request.clone();
            request.arguments.push(target.clone());
            run(&request)
        }
        _ => Ok(finished),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Has mypy say what it would check, in `file`. Whether it did.
pub(crate) fn targets(
    request: &Request,
    file: &Path,
    events: &dyn Fn(Event),
) -> Result<bool, CheckError> {
    let file = std::path::absolute(file).map_err(|source| error(request, source))?;
    let mut command = command(request, TARGETS);
    command.arg(file).arg(script(request));
    command.arg(request.default_target.as_deref().unwrap_or_default());
    command.args(&request.arguments);
    let output = capture(command, events).map_err(|source| error(request, source))?;
    Ok(output.status.success())
}

/// Runs mypy as it is, on this process's own streams.
pub(crate) fn interactive(request: &Request) -> Result<Finished, CheckError> {
    let mut command = command(request, &[SCRIPT, CONSOLE].concat());
    let status = command.arg(script(request)).args(&request.arguments).status();
    let exit_code = code(status.map_err(|source| error(request, source))?);
    Ok(Finished { exit_code, ..Finished::default() })
}

/// Runs a command to its end, apart from the terminal.
pub(crate) fn capture(mut command: Command, events: &dyn Fn(Event)) -> io::Result<Output> {
    command.stdin(Stdio::null());
    wait(command, events)
}

/// The same for a program that ends itself when its standard input does; it does not outlive this
/// process then, even if that is killed.
fn capture_tied(mut command: Command, events: &dyn Fn(Event)) -> io::Result<Output> {
    let (reader, writer) = io::pipe()?;
    command.stdin(reader);
    let output = wait(command, events);
    drop(writer);
    output
}

fn wait(mut command: Command, events: &dyn Fn(Event)) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn()?;
    events(Event::Started { group: child.id() });
    child.wait_with_output()
}

fn command(request: &Request, program: &str) -> Command {
    let mut command = python(request);
    command.args(["-c", program]);
    command
}

fn python(request: &Request) -> Command {
    let mut command = Command::new(&request.python);
    command.env_clear().current_dir(&request.cwd);
    command.envs(request.variables.iter().map(|(name, value)| (name, value)));
    command
}

/// Where the console script is, or would be.
fn script(request: &Request) -> PathBuf {
    request.python.with_file_name("mypy")
}

fn error(request: &Request, source: io::Error) -> CheckError {
    CheckError::Interpreter { path: request.python.clone(), source }
}

/// The exit code, as a shell gives it for signals.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
