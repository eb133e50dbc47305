//! Following a shell and all that it starts, from stop to stop.
//!
//! One thread does it all, because only the thread that seized a process may ask about it: it
//! starts the run, waits for events of its own children and tracees only (other threads' children
//! are left alone), and ends when no process is left. Another thread takes in the output, watches
//! the time and kills. Should this process die, the kernel kills what it traced.

use std::collections::{HashMap, HashSet};
use std::io::{self, PipeWriter, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::process::{WaitOptions, WaitStatus};

use super::calls::{self, At, Call};
use super::memory::{self, Registers};
use super::notes::Notes;
use super::output::{End, Taking};
use super::programs;
use super::{ENTRY, Observation, ObserveError, Run, Unprovable};

/// How long processes may go on after the shell before they count as left behind: those that are
/// about to end anyway, such as the writers of a pipe that was read to its end.
const GRACE: Duration = Duration::from_millis(500);

/// Every kind of child, but only of this thread.
fn wait_options() -> WaitOptions {
    WaitOptions::from_bits_retain((libc::__WALL | libc::__WNOTHREAD).cast_unsigned())
}

/// What both threads know.
#[derive(Debug, Default)]
struct Shared {
    /// Processes and threads that have not been waited for.
    alive: Mutex<HashSet<i32>>,
    /// Whatever is still started has to be killed as well.
    killing: AtomicBool,
}

impl Shared {
    fn alive(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill_all(&self) {
        self.killing.store(true, Ordering::SeqCst);
        for pid in self.alive().iter() {
            kill(*pid);
        }
    }
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Runs the script traced; `None` if tracing is not possible here, and nothing has been run.
pub(super) fn traced(run: &Run, tracer: &Path) -> Result<Option<Observation>, ObserveError> {
    let watch = |source| ObserveError::Watch { script: run.script.to_owned(), source };
    let (channel, told) = io::pipe().map_err(watch)?;
    let (send, started) = sync_channel(1);
    let shared = Arc::new(Shared::default());
    std::thread::scope(|scope| {
        let on_thread = Arc::clone(&shared);
        let following = scope.spawn(move || {
            let (mut child, streams) = start(run, tracer)?;
            let _ = send.send(streams);
            drop(send);
            follow(run, &mut child, &on_thread, told).map_err(watch)
        });
        let Ok((stdout, stderr)) = started.recv() else {
            return following.join().expect("following does not panic").map(|_| None);
        };
        let mut taking = Taking::new(stdout, stderr, run.limits.output, channel);
        let ended = attend(run, &mut taking, &shared);
        if ended.is_err() {
            shared.kill_all();
        }
        let followed = following.join().expect("following does not panic")?;
        let Some((status, mut notes)) = followed else { return Ok(None) };
        match ended.map_err(watch)? {
            Attended::TimedOut => {
                return Err(ObserveError::TimedOut {
                    script: run.script.to_owned(),
                    limit: run.limits.time,
                });
            }
            Attended::LeftBehind => notes.unprovable(Unprovable::Background),
            Attended::Ended => {}
        }
        taking.drain().map_err(watch)?;
        Ok(Some(notes.finish(run, status, taking.collected)))
    })
}

enum Attended {
    Ended,
    LeftBehind,
    TimedOut,
}

/// Takes in the output until all processes have ended, and sees to it that they do.
fn attend(run: &Run, taking: &mut Taking, shared: &Shared) -> io::Result<Attended> {
    let deadline = Instant::now().checked_add(run.limits.time);
    let attended = match taking.until(deadline)? {
        End::Closed => return Ok(Attended::Ended),
        End::Deadline => Attended::TimedOut,
        End::Notice(_) => match taking.until(Instant::now().checked_add(GRACE))? {
            End::Deadline => Attended::LeftBehind,
            _ => return Ok(Attended::Ended),
        },
    };
    shared.kill_all();
    while taking.until(None)? != End::Closed {}
    Ok(attended)
}

type Streams = (Option<std::process::ChildStdout>, Option<std::process::ChildStderr>);

fn start(run: &Run, tracer: &Path) -> Result<(Child, Streams), ObserveError> {
    let mut child = Command::new(tracer)
        .arg(ENTRY)
        .arg(run.program)
        .arg(run.script)
        .env_clear()
        .envs(run.environment)
        .current_dir(run.cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ObserveError::Start { program: tracer.to_owned(), source })?;
    let streams = (child.stdout.take(), child.stderr.take());
    Ok((child, streams))
}

/// Seizes the process and follows it to its end; `None` if the shell was never started.
fn follow(
    run: &Run,
    child: &mut Child,
    shared: &Shared,
    told: PipeWriter,
) -> io::Result<Option<(ExitStatus, Notes)>> {
    let root = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    let go = child.stdin.take();
    if ptrace::seize(root, options).is_err() {
        // It reads the end of its input and gives up.
        drop(go);
        child.wait()?;
        return Ok(None);
    }
    shared.alive().insert(root.as_raw());
    if let Some(mut go) = go {
        // If it is dead already, waiting tells.
        let _ = go.write_all(b"g");
    }
    let mut follower = Follower {
        root,
        shared,
        told,
        processes: HashMap::new(),
        notes: Notes::new(run),
        started: false,
        status: None,
    };
    follower.run()?;
    let Follower { started, status, notes, .. } = follower;
    Ok(status.filter(|_| started).map(|status| (status, notes)))
}

/// What is known of one process.
#[derive(Debug, Clone)]
struct Process {
    program: PathBuf,
    kind: programs::Kind,
    /// Whether it is past what the C library and the shell do by themselves when they start.
    begun: bool,
}

struct Follower<'a> {
    root: Pid,
    shared: &'a Shared,
    told: PipeWriter,
    processes: HashMap<i32, Process>,
    notes: Notes,
    /// Whether the shell has been started.
    started: bool,
    status: Option<ExitStatus>,
}

impl Follower<'_> {
    /// Until no child is left.
    fn run(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(wait_options()) {
                Ok(Some((pid, status))) => self.event(Pid::from_raw(pid.as_raw_pid()), status)?,
                Ok(None) => {}
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn event(&mut self, pid: Pid, status: WaitStatus) -> io::Result<()> {
        if status.exited() || status.signaled() {
            self.shared.alive().remove(&pid.as_raw());
            self.processes.remove(&pid.as_raw());
            if pid == self.root {
                self.status = Some(ExitStatus::from_raw(status.as_raw()));
                // Nobody reads it if the other thread gave up.
                let _ = self.told.write_all(b"e");
            }
            return Ok(());
        }
        let raw = status.as_raw();
        let signal = (raw >> 8) & 0xff;
        self.shared.alive().insert(pid.as_raw());
        if self.shared.killing.load(Ordering::SeqCst) {
            kill(pid.as_raw());
        }
        let deliver = match raw >> 16 {
            0 => signal,
            libc::PTRACE_EVENT_SECCOMP => {
                let asked = self.call(pid);
                self.asked(pid, asked);
                0
            }
            libc::PTRACE_EVENT_EXEC => {
                let asked = self.executed(pid);
                self.asked(pid, asked);
                0
            }
            // Of a new process, or of one that was stopped: it goes on.
            _ => 0,
        };
        let deliver = match deliver {
            0 => None,
            number => match Signal::try_from(number) {
                Ok(signal) => Some(signal),
                Err(_) => {
                    // A real-time signal, which cannot be handed on from here.
                    self.notes.unprovable(Unprovable::Background);
                    self.shared.kill_all();
                    None
                }
            },
        };
        match ptrace::cont(pid, deliver) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A process has become another program.
    fn executed(&mut self, pid: Pid) -> io::Result<()> {
        let arguments = memory::arguments(pid)?;
        if !self.started && arguments.get(1).is_some_and(|entry| entry == ENTRY) {
            // The tracing program itself, which may be seized when it has hardly begun.
            return Ok(());
        }
        // Another thread of the process may have done it, whose number ends here.
        let before = i32::try_from(ptrace::getevent(pid)?).map_err(io::Error::other)?;
        if before != pid.as_raw() {
            self.shared.alive().remove(&before);
        }
        self.started = true;
        memory::hide_kernel_code(pid, memory::registers(pid)?.stack)?;
        let program = memory::program(pid)?;
        let kind = programs::kind(&program);
        // The last step of a caller's script: what it hands over is what the run has left.
        if pid != self.root || arguments.get(1..) != Some(&["-0".into()]) {
            self.notes.program(&program, kind, &arguments);
        }
        self.processes.insert(pid.as_raw(), Process { program, kind, begun: false });
        Ok(())
    }

    /// What cannot be looked into may have done anything.
    fn asked(&mut self, pid: Pid, asked: io::Result<()>) {
        if asked.is_err_and(|error| !is_harmless(&error)) {
            let program = memory::program(pid).unwrap_or_default();
            self.notes.unprovable(Unprovable::Unwatched { program });
        }
    }

    fn process(&mut self, pid: Pid) -> io::Result<&mut Process> {
        match self.processes.entry(pid.as_raw()) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let program = memory::program(pid)?;
                let kind = programs::kind(&program);
                Ok(new.insert(Process { program, kind, begun: true }))
            }
        }
    }

    /// A process is about to make a system call.
    fn call(&mut self, pid: Pid) -> io::Result<()> {
        let mark = ptrace::getevent(pid)?;
        let registers = memory::registers(pid)?;
        let process = self.process(pid)?.clone();
        let program = || process.program.clone();
        if mark == calls::FOREIGN {
            self.notes.unprovable(Unprovable::Unwatched { program: program() });
            return Ok(());
        }
        let Some(call) = calls::call(registers.call) else {
            self.notes.unprovable(Unprovable::Call { program: program(), call: "clone" });
            return Ok(());
        };
        let shell = process.kind == programs::Kind::Shell;
        let known = process.kind != programs::Kind::Unknown;
        let at_start = !process.begun;
        match call {
            Call::Socket => self.notes.unprovable(Unprovable::Network { program: program() }),
            Call::Connect => self.connect(pid, &registers, &process)?,
            Call::Send(at, header) => {
                let to = match header {
                    true => memory::word(pid, registers.arguments[at])?,
                    false => registers.arguments[at],
                };
                if to != 0 {
                    self.notes.unprovable(Unprovable::Network { program: program() });
                }
            }
            // A shell does it when it starts, for `$SECONDS` and `$RANDOM`.
            Call::Clock if shell && at_start => {}
            Call::Clock => self.notes.unprovable(Unprovable::Clock { program: program() }),
            Call::Random if at_start && is_of_library(&registers) => self.begin(pid, shell)?,
            Call::Random => self.notes.unprovable(Unprovable::Random { program: program() }),
            // What a shell asks for when it starts shows in its text when it is used.
            Call::Fact(_) | Call::WorkingDirectory if shell => {}
            Call::Fact(fact) => self.notes.fact(fact),
            Call::WorkingDirectory => self.notes.entered(&memory::directory(pid, None)?),
            Call::Harmless(_) if known => {}
            Call::Harmless(call) | Call::Other(call) => {
                self.notes.unprovable(Unprovable::Call { program: program(), call });
            }
            _ => self.file(pid, call, &registers, process.kind)?,
        }
        Ok(())
    }

    /// The C library asks for random numbers once; a shell is past its start when it opens text.
    fn begin(&mut self, pid: Pid, shell: bool) -> io::Result<()> {
        self.process(pid)?.begun = !shell;
        Ok(())
    }

    /// A name service that is not there is only looked for.
    fn connect(&mut self, pid: Pid, registers: &Registers, process: &Process) -> io::Result<()> {
        let network = Unprovable::Network { program: process.program.clone() };
        let family = memory::word(pid, registers.arguments[1])? & 0xffff;
        let path = memory::text(pid, registers.arguments[1] + 2)?.unwrap_or_default();
        let path = PathBuf::from(path);
        if family == u64::from(libc::AF_UNIX.cast_unsigned())
            && path.is_absolute()
            && !path.try_exists()?
        {
            self.notes.look(path);
        } else {
            self.notes.unprovable(network);
        }
        Ok(())
    }

    /// A call that names a file.
    fn file(
        &mut self,
        pid: Pid,
        call: Call,
        registers: &Registers,
        by: programs::Kind,
    ) -> io::Result<()> {
        let arguments = &registers.arguments;
        match call {
            Call::Open(at, flags) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    self.open(pid, path, arguments[flags], by)?;
                }
            }
            Call::OpenHow(at, how) => {
                let flags = memory::word(pid, arguments[how])?;
                if memory::word(pid, arguments[how] + 16)? != 0 {
                    // The path may be resolved in another way.
                    let program = self.process(pid)?.program.clone();
                    self.notes.unprovable(Unprovable::Call { program, call: "openat2" });
                }
                if let Some(path) = self.path(pid, at, registers)? {
                    self.open(pid, path, flags, by)?;
                }
            }
            Call::Execute(at) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    self.notes.execute(path);
                }
            }
            Call::Change(at) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    self.notes.change(path);
                }
            }
            Call::Change2(from, to) => {
                for at in [from, to] {
                    if let Some(path) = self.path(pid, at, registers)? {
                        self.notes.change(path);
                    }
                }
            }
            Call::Directory(at) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    let makes = registers.call == libc::SYS_mkdirat || is_old_mkdir(registers.call);
                    self.notes.make_or_remove(path, makes);
                }
            }
            Call::Look(at) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    self.notes.look(path);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, pid: Pid, path: PathBuf, flags: u64, by: programs::Kind) -> io::Result<()> {
        if self.notes.open(path, flags, by) {
            self.process(pid)?.begun = true;
        }
        Ok(())
    }

    /// The absolute path that the arguments name; `None` if they name something already open.
    fn path(&mut self, pid: Pid, at: At, registers: &Registers) -> io::Result<Option<PathBuf>> {
        let Some(text) = memory::text(pid, registers.arguments[at.path])? else { return Ok(None) };
        let path = PathBuf::from(text);
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        if path.is_absolute() {
            return Ok(Some(path));
        }
        let directory = at.dir.map(|index| registers.arguments[index]);
        let directory = memory::directory(pid, directory)?;
        self.notes.relative(&directory, &path);
        Ok(Some(directory.join(path)))
    }
}

#[cfg(target_arch = "x86_64")]
fn is_old_mkdir(call: libc::c_long) -> bool {
    call == libc::SYS_mkdir
}

#[cfg(not(target_arch = "x86_64"))]
fn is_old_mkdir(_: libc::c_long) -> bool {
    false
}

/// Whether this is what the C library asks for once, to protect its memory.
fn is_of_library(registers: &Registers) -> bool {
    let [_, length, flags, ..] = registers.arguments;
    length == 8 && flags == u64::from(libc::GRND_NONBLOCK)
}

/// Whether an error only says that a process ended, or that its call will fail anyway.
fn is_harmless(error: &io::Error) -> bool {
    // A missing file is one of the process's own directory in `/proc`.
    matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EFAULT))
        || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
