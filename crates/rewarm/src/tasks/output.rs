//! What the commands of a graph write, on its way to our own standard streams.
//!
//! Several commands that run at once would mix their lines; so each line is marked with its task,
//! or all that a task writes comes out in one piece at its end. One thread per command reads both
//! of its streams, so that they stay in the order in which they were written, as far as two pipes
//! can tell.

use std::io::{self, PipeReader, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rewarm_task::Stream;
use rustix::event::{PollFd, PollFlags, poll};

/// How the output of commands that may run at once is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputMode {
    /// Every line is marked with its task
    Prefix,
    /// What a task writes comes out at its end, in one piece
    Group,
    /// As it comes
    Raw,
}

/// Our own streams, used by one thread at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Screen {
    lock: Arc<Mutex<()>>,
}

impl Screen {
    /// Writes to one of them. That nobody reads it is no failure of the command.
    pub(super) fn write(&self, stream: Stream, bytes: &[u8]) {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        write(stream, bytes);
    }

    fn write_all(&self, pieces: &[(Stream, Vec<u8>)]) {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.iter().for_each(|(stream, bytes)| write(*stream, bytes));
    }
}

fn write(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
    };
}

/// A line may be this long until it is broken up.
const LONGEST: usize = 64 * 1024;

/// What becomes of the output of one command.
#[derive(Debug)]
pub(super) struct Sink {
    mode: OutputMode,
    screen: Screen,
    prefix: Vec<u8>,
    /// The started line of each stream; or all of it, in order.
    lines: [Vec<u8>; 2],
    group: Vec<(Stream, Vec<u8>)>,
}

impl Sink {
    pub(super) fn new(mode: OutputMode, screen: Screen, label: &str) -> Self {
        let prefix = format!("[{label}] ").into_bytes();
        Self { mode, screen, prefix, lines: Default::default(), group: Vec::new() }
    }

    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) {
        match self.mode {
            OutputMode::Raw => self.screen.write(stream, bytes),
            OutputMode::Group => match self.group.last_mut() {
                Some((last, all)) if *last == stream => all.extend_from_slice(bytes),
                _ => self.group.push((stream, bytes.to_vec())),
            },
            OutputMode::Prefix => self.mark(stream, bytes),
        }
    }

    fn mark(&mut self, stream: Stream, bytes: &[u8]) {
        let mut marked = Vec::with_capacity(bytes.len() + self.prefix.len());
        let line = &mut self.lines[usize::from(stream == Stream::Stderr)];
        for &byte in bytes {
            line.push(byte);
            if byte == b'\n' || line.len() >= LONGEST {
                marked.extend_from_slice(&self.prefix);
                marked.append(line);
                if byte != b'\n' {
                    marked.push(b'\n');
                }
            }
        }
        if !marked.is_empty() {
            self.screen.write(stream, &marked);
        }
    }

    /// Lets out what was held back.
    pub(super) fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.lines[usize::from(stream == Stream::Stderr)].is_empty() {
                self.mark(stream, b"\n");
            }
        }
        self.screen.write_all(&std::mem::take(&mut self.group));
    }
}

/// Reads both streams to their end.
pub(super) fn pump(
    stdout: PipeReader,
    stderr: PipeReader,
    mut take: impl FnMut(Stream, &[u8]),
) -> io::Result<()> {
    let mut open = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
    let mut buffer = vec![0; 64 * 1024];
    while !open.is_empty() {
        let mut wanted: Vec<PollFd<'_>> =
            open.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut wanted, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let ready: Vec<bool> = wanted.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut failure = None;
        open.retain_mut(|(stream, pipe)| {
            if !ready.next().unwrap_or_default() {
                return true;
            }
            match pipe.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    take(*stream, &buffer[..count]);
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(())
}
