//! Runs of mypy by a process that has it imported already.
//!
//! Importing mypy is most of what a small edit costs. A worker imports it once and forks for every
//! run; the first run starts it and goes through it, so nothing is imported twice. It serves the runs
//! that would otherwise have been started exactly as it was: see `key` for what that means.
//! Wherever a worker is not to be had, is not the right one, or goes away, a fresh process runs. A
//! worker ends by itself when nobody asks for long or the files that it was made from change.

mod key;
mod wire;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewarm_store::{Digest, Store};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::key::Subject;
use crate::request::Event;
use crate::worker::wire::{Conversation, Sockets};

/// Whether and where runs may use workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The directory of their sockets. It is made if its parent is there; one that others may enter
    /// is not used.
    pub directory: PathBuf,
    /// How long a worker waits for the next run before it ends.
    pub idle: Duration,
    /// How long a worker is given to answer before a fresh process runs instead.
    pub patience: Duration,
}

/// A worker that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its process.
    pub pid: u32,
    /// The environment whose mypy it has imported.
    pub environment: PathBuf,
    /// When it was started.
    pub since: SystemTime,
    /// How many runs it has served.
    pub runs: u64,
    /// Its resident memory in bytes, including what it shares with its runs.
    pub memory: u64,
}

/// No more workers than this are kept; the oldest goes.
const MOST: usize = 4;

/// What a run with a worker came to.
#[derive(Debug)]
pub(crate) enum Served {
    /// It ran to its end. Its own output is in the scratch directory, in `driver.out` and
    /// `driver.err`.
    Done(Output),
    /// Nothing has begun.
    Not,
    /// It may have begun and left something unfinished behind.
    Lost,
}

/// The worker for one request, whether it is there or not.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    options: &'a WorkerOptions,
    store: &'a Store,
    subject: &'a Subject<'a>,
    sockets: Sockets,
    key: Digest,
    name: String,
    /// A time after which this worker would be started.
    since: SystemTime,
}

impl<'a> Worker<'a> {
    /// The worker for a request to the driver `program`, at the time `since`; `None` if there is to
    /// be none.
    pub(crate) fn of(
        store: &'a Store,
        subject: &'a Subject<'a>,
        program: &str,
        since: SystemTime,
    ) -> Option<Self> {
        let options = subject.request.worker.as_ref()?;
        let key = key::key(subject, program)?;
        let sockets = Sockets::make(&options.directory).ok()?;
        let name = format!("{}.sock", &key.to_string()[..32]);
        Some(Self { options, store, subject, sockets, key, name, since })
    }

    /// Runs the driver `program` as a fresh process with these arguments would: scratch and cache
    /// directory first, then the script.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[&OsStr],
        events: &dyn Fn(Event),
    ) -> Served {
        let Some((mut conversation, group)) = self.begin(program, arguments) else {
            return Served::Not;
        };
        events(Event::Started { group: group.as_raw_nonzero().get().unsigned_abs() });
        let status = conversation.go().ok().and_then(|line| number(line.strip_prefix(b"done ")?));
        let Some(status) = status else {
            // What is left of it must not go on beside the run that takes its place.
            let _ = kill_process_group(group, Signal::KILL);
            return Served::Lost;
        };
        let scratch = Path::new(arguments[0]);
        let read = |name| fs::read(scratch.join(name)).unwrap_or_default();
        let (stdout, stderr) = (read("driver.out"), read("driver.err"));
        Served::Done(Output { status: ExitStatus::from_raw(status), stdout, stderr })
    }

    /// Has a worker ready to run, and the process group in which it will.
    fn begin(&self, program: &str, arguments: &[&OsStr]) -> Option<(Conversation, Pid)> {
        if let Ok(stream) = self.sockets.connect(&self.name) {
            let mut conversation = Conversation::new(stream, self.options.patience).ok()?;
            match self.request(&mut conversation, arguments) {
                Ok(line) if line != b"stale" => {
                    return self.group(&line).map(|group| (conversation, group));
                }
                Err(error) if is_silence(&error) => {
                    // It ends when it finds its name gone, and makes room for another at once.
                    let _ = self.sockets.remove(&self.name);
                    return None;
                }
                _ => {}
            }
        }
        // Whoever comes second does not wait for the first.
        let lock = self.store.try_lock("worker", &self.key).ok()??;
        let mut conversation = self.start(program).ok()??;
        drop(lock);
        let line = self.request(&mut conversation, arguments).ok()?;
        self.group(&line).map(|group| (conversation, group))
    }

    fn request(
        &self,
        conversation: &mut Conversation,
        arguments: &[&OsStr],
    ) -> io::Result<Vec<u8>> {
        let request = self.subject.request;
        let [scratch, cache, _script, default, rest @ ..] = arguments else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (key, count) = (self.key.to_string(), rest.len().to_string());
        let head = [b"run", key.as_bytes(), scratch.as_bytes(), cache.as_bytes()];
        let cwd = request.cwd.as_os_str().as_bytes();
        let mut fields: Vec<Vec<u8>> = head.map(<[u8]>::to_vec).to_vec();
        fields.extend([default.as_bytes(), cwd, count.as_bytes()].map(<[u8]>::to_vec));
        fields.extend(rest.iter().map(|argument| argument.as_bytes().to_vec()));
        let variables = request.variables.iter();
        fields
            .extend(variables.map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'=')));
        conversation.ask(fields)
    }

    /// The process group that a worker with the right key has named.
    fn group(&self, line: &[u8]) -> Option<Pid> {
        let ready = format!("ready {} ", self.key);
        number(line.strip_prefix(ready.as_bytes())?).and_then(Pid::from_raw)
    }

    /// Starts a worker, and gives the first place in its queue.
    fn start(&self, program: &str) -> io::Result<Option<Conversation>> {
        let names = self.sockets.names();
        let others: Vec<_> = names.iter().filter(|name| **name != self.name).collect();
        for name in others.iter().take((others.len() + 1).saturating_sub(MOST)) {
            let _ = end(&self.sockets, name, self.options.patience);
        }
        let listener = self.sockets.bind(&self.name)?;
        let first = self.sockets.connect(&self.name)?;
        let request = self.subject.request;
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut command = Command::new(&request.python);
        command.args(["-c", program, "--worker", &self.key.to_string()]);
        command.arg(request.python.with_file_name("mypy")).arg(since.to_string());
        command.arg(self.options.idle.as_secs_f64().to_string());
        command.arg(std::path::absolute(&self.sockets.path)?).arg(&self.name);
        command.env_clear().envs(request.variables.iter().map(|(name, value)| (name, value)));
        // What an interpreter or mypy's import says would be missing in the answers of its runs.
        let output = command.current_dir("/").stdin(OwnedFd::from(listener)).output()?;
        if !output.status.success() || !output.stdout.is_empty() || !output.stderr.is_empty() {
            self.sockets.remove(&self.name)?;
            return Ok(None);
        }
        Conversation::new(first, self.options.patience).map(Some)
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn number<N: std::str::FromStr>(bytes: &[u8]) -> Option<N> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Asks a worker to end and takes its name away, which ends it too.
fn end(sockets: &Sockets, name: &str, patience: Duration) -> io::Result<()> {
    if let Ok(stream) = sockets.connect(name) {
        // It says nothing to this.
        let _ = Conversation::new(stream, patience)?.ask(["end"]);
    }
    sockets.remove(name)
}

/// The workers whose sockets are in a directory, the oldest first. One that does not answer within
/// `patience` is left out.
pub fn workers(directory: &Path, patience: Duration) -> Vec<WorkerInfo> {
    let Ok(sockets) = Sockets::open(directory) else { return Vec::new() };
    let names = sockets.names();
    names.iter().filter_map(|name| describe(&sockets, name, patience)).collect()
}

/// Ends the workers whose sockets are in a directory, or only those that have imported the mypy of one
/// environment. Runs that they serve go on to their end.
pub fn end_workers(
    directory: &Path,
    environment: Option<&Path>,
    patience: Duration,
) -> io::Result<()> {
    let sockets = match Sockets::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let found = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let environment = environment.map(found);
    let is_meant = |name: &&String| match &environment {
        None => true,
        Some(environment) => describe(&sockets, name, patience)
            .is_some_and(|worker| found(&worker.environment) == *environment),
    };
    sockets.names().iter().filter(is_meant).try_for_each(|name| end(&sockets, name, patience))
}

fn describe(sockets: &Sockets, name: &str, patience: Duration) -> Option<WorkerInfo> {
    let stream = sockets.connect(name).ok()?;
    let line = Conversation::new(stream, patience).ok()?.ask(["status"]).ok()?;
    let fields: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let [pid, since, runs, memory, environment] = fields[..] else { return None };
    Some(WorkerInfo {
        pid: number(pid)?,
        environment: OsStr::from_bytes(environment).into(),
        since: UNIX_EPOCH + Duration::try_from_secs_f64(number(since)?).ok()?,
        runs: number(runs)?,
        memory: number(memory)?,
    })
}
