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
    /// Random numbers that were asked for since it started.
    random: u32,
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
                ignore_dead(self.call(pid))?;
                0
            }
            libc::PTRACE_EVENT_EXEC => {
                ignore_dead(self.executed(pid))?;
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
        self.started = true;
        memory::hide_kernel_code(pid, memory::registers(pid)?.stack)?;
        let program = memory::program(pid)?;
        let kind = programs::kind(&program);
        self.notes.program(&program, kind, &arguments);
        self.processes.insert(pid.as_raw(), Process { program, kind, random: 0 });
        Ok(())
    }

    fn process(&mut self, pid: Pid) -> io::Result<&mut Process> {
        match self.processes.entry(pid.as_raw()) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let program = memory::program(pid)?;
                let kind = programs::kind(&program);
                Ok(new.insert(Process { program, kind, random: 1 }))
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
            self.notes.unprovable(Unprovable::Foreign { program: program() });
            return Ok(());
        }
        let Some(call) = calls::call(registers.call) else {
            self.notes.unprovable(Unprovable::Call { program: program(), call: "clone" });
            return Ok(());
        };
        let own = process.kind != programs::Kind::Unknown;
        match call {
            Call::Connect | Call::Socket => {
                self.connect(pid, &registers, &process)?;
            }
            // Shells look at the clock for `$SECONDS` and `$RANDOM`, which their text shows.
            Call::Clock if process.kind == programs::Kind::Shell => {}
            Call::Clock => self.notes.unprovable(Unprovable::Clock { program: program() }),
            Call::Random => self.random(pid, &registers)?,
            Call::Fact(_) if process.kind == programs::Kind::Shell => {}
            Call::Fact(fact) => self.notes.fact(fact),
            Call::WorkingDirectory if process.kind == programs::Kind::Shell => {}
            Call::WorkingDirectory => self.notes.entered(&memory::directory(pid, None)?),
            Call::Other(
                "statfs" | "getpid" | "getppid" | "getpgid" | "getsid" | "getpgrp" | "sysinfo"
                | "getrusage",
            ) if own => {}
            Call::Other(call) => {
                self.notes.unprovable(Unprovable::Call { program: program(), call });
            }
            _ => self.file(pid, call, &registers, process.kind)?,
        }
        Ok(())
    }

    /// What the C library asks for when a program starts decides over nothing.
    fn random(&mut self, pid: Pid, registers: &Registers) -> io::Result<()> {
        let [_, length, flags, ..] = registers.arguments;
        let process = self.process(pid)?;
        process.random += 1;
        let at_start =
            process.random == 1 && length == 8 && flags == u64::from(libc::GRND_NONBLOCK);
        if !at_start && process.kind != programs::Kind::Shell {
            let program = process.program.clone();
            self.notes.unprovable(Unprovable::Random { program });
        }
        Ok(())
    }

    /// A name service that is not there is only looked for.
    fn connect(&mut self, pid: Pid, registers: &Registers, process: &Process) -> io::Result<()> {
        let network = Unprovable::Network { program: process.program.clone() };
        if registers.call != libc::SYS_connect {
            self.notes.unprovable(network);
            return Ok(());
        }
        let family = memory::word(pid, registers.arguments[1])? & 0xffff;
        let path = memory::text(pid, registers.arguments[1] + 2)?.unwrap_or_default();
        let path = PathBuf::from(path);
        if family == u64::from(libc::AF_UNIX.cast_unsigned())
            && path.is_absolute()
            && !path.try_exists()?
        {
            self.notes.look(path, process.kind);
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
                    self.notes.open(path, arguments[flags], by);
                }
            }
            Call::OpenHow(at, how) => {
                let flags = memory::word(pid, arguments[how])?;
                if let Some(path) = self.path(pid, at, registers)? {
                    self.notes.open(path, flags, by);
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
                    self.notes.make_or_remove(path, makes, by);
                }
            }
            Call::Look(at) => {
                if let Some(path) = self.path(pid, at, registers)? {
                    self.notes.look(path, by);
                }
            }
            _ => {}
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

/// A process may be killed while it is being asked.
fn ignore_dead(asked: io::Result<()>) -> io::Result<()> {
    match asked {
        Err(error)
            if error.raw_os_error() == Some(libc::ESRCH)
                || error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        other => other,
    }
}
