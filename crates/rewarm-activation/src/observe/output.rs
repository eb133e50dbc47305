//! Taking in what a run prints, until it has ended or used up its time.
//!
//! A pipe is read as long as somebody may write to it, but a run is over when its processes are:
//! a descriptor that is held elsewhere keeps nobody waiting. What exceeds the limit is read and
//! thrown away, so that a talkative script goes on.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{ObserveError, Run};

/// What was printed.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// What the end of a wait was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Something arrived on the channel.
    Notice(u8),
    /// Nobody holds the channel any more.
    Closed,
    /// The time is over.
    Deadline,
}

/// The reading ends of a run, and the channel over which its end is told.
pub(super) struct Taking {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    limit: u64,
    /// A byte or the end of it tells how far the run is.
    channel: PipeReader,
    pub(super) collected: Collected,
}

impl Taking {
    pub(super) fn new(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        limit: u64,
        channel: PipeReader,
    ) -> Self {
        Self { stdout, stderr, limit, channel, collected: Collected::default() }
    }

    /// Reads until something is told, or until the deadline.
    pub(super) fn until(&mut self, deadline: Option<Instant>) -> io::Result<End> {
        loop {
            let remaining = deadline.map(|time| time.saturating_duration_since(Instant::now()));
            let ready = self.wait(remaining)?;
            self.read(ready)?;
            if ready[2] {
                let mut notice = [0];
                return Ok(match self.channel.read(&mut notice)? {
                    0 => End::Closed,
                    _ => End::Notice(notice[0]),
                });
            }
            if remaining == Some(Duration::ZERO) {
                return Ok(End::Deadline);
            }
        }
    }

    /// Reads what is already there.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        loop {
            let ready = self.wait(Some(Duration::ZERO))?;
            if !ready[0] && !ready[1] {
                return Ok(());
            }
            self.read(ready)?;
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<[bool; 3]> {
        let streams: [Option<BorrowedFd<'_>>; 3] = [
            self.stdout.as_ref().map(AsFd::as_fd),
            self.stderr.as_ref().map(AsFd::as_fd),
            Some(self.channel.as_fd()),
        ];
        let (places, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = streams
            .into_iter()
            .enumerate()
            .filter_map(|(place, fd)| {
                fd.map(|fd| (place, PollFd::from_borrowed_fd(fd, PollFlags::IN)))
            })
            .unzip();
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut ready = [false; 3];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        }
        for (place, fd) in places.into_iter().zip(&fds) {
            ready[place] = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    fn read(&mut self, ready: [bool; 3]) -> io::Result<()> {
        if ready[0] && !take(self.stdout.as_mut(), &mut self.collected.stdout, self.limit)? {
            self.stdout = None;
        }
        if ready[1] && !take(self.stderr.as_mut(), &mut self.collected.stderr, self.limit)? {
            self.stderr = None;
        }
        Ok(())
    }
}

/// Takes what is there; `false` at the end.
fn take(from: Option<&mut impl Read>, into: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    let Some(from) = from else { return Ok(false) };
    let mut buffer = [0; 16 * 1024];
    let read = match from.read(&mut buffer) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(error) => return Err(error),
    };
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(into.len());
    into.extend_from_slice(&buffer[..read.min(room)]);
    Ok(read > 0)
}

/// Runs the script without looking, in a process group that can be ended as one.
pub(super) fn plain(run: &Run) -> Result<(ExitStatus, Collected), ObserveError> {
    let watch = |source| ObserveError::Watch { script: run.script.to_owned(), source };
    let mut child = Command::new(run.program)
        .arg(run.script)
        .env_clear()
        .envs(run.environment)
        .current_dir(run.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| ObserveError::Start { program: run.program.to_owned(), source })?;
    let group = rustix::process::Pid::from_child(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (channel, told) = io::pipe().map_err(watch)?;
    let waiting = std::thread::spawn(move || {
        let status = child.wait();
        drop(told);
        status
    });
    let mut taking = Taking::new(stdout, stderr, run.limits.output, channel);
    let end = taking.until(Instant::now().checked_add(run.limits.time)).map_err(watch)?;
    if end == End::Deadline {
        // Gone already, if it fails.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    taking.drain().map_err(watch)?;
    let status = waiting.join().expect("waiting does not panic").map_err(watch)?;
    match end {
        End::Deadline => {
            Err(ObserveError::TimedOut { script: run.script.to_owned(), limit: run.limits.time })
        }
        _ => Ok((status, taking.collected)),
    }
}
