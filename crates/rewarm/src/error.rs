//! How a command fails: what kind of failure it was, its chain of causes, and how to mend it.
//!
//! The kind decides the exit code. Libraries know what went wrong; only the commands know what a
//! user can do about it, so hints are attached here.

use std::error::Error;
use std::fmt;

/// Whose fault a failure is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Usage, configuration, or a broken project: exit code 2.
    Usage,
    /// Network, disk, a lock that is held: exit code 3.
    World,
    /// A signal asked for the end: exit code 128 and the signal's number.
    Interrupted(u8),
}

impl Kind {
    /// The exit code of a command that failed like this.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::World => 3,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

/// What every command returns.
pub(crate) type Outcome = Result<u8, Failure>;

impl Failure {
    /// The project, its configuration or the command line is at fault.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Usage, error: error.into(), hints: Vec::new() }
    }

    /// The network or the machine is at fault.
    pub(crate) fn world(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::World, error: error.into(), hints: Vec::new() }
    }

    /// A signal asked for the end, and what was under way has been ended.
    pub(crate) fn interrupted(signal: u8) -> Self {
        let kind = Kind::Interrupted(signal);
        Self { kind, error: format!("ended by signal {signal}").into(), hints: Vec::new() }
    }

    /// Adds one line that names a command or a setting that mends it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says how to make room if that is what is missing.
    pub(crate) fn hint_at_space(self) -> Self {
        if !self.is_out_of_space() {
            return self;
        }
        self.hint("free some space, for example with `rewarm cache prune --max-size 1GiB`, or name another place with `--cache-dir`")
    }

    /// Whether the failure is only that nobody reads our output any more. A connection that broke
    /// below another error is no such thing.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let error = self.error.downcast_ref::<std::io::Error>();
        error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Whether a file system had no room.
    pub(crate) fn is_out_of_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self.io_kind(), Some(QuotaExceeded | StorageFull))
    }

    /// What the system said, if it was asked.
    fn io_kind(&self) -> Option<std::io::ErrorKind> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&*self.error);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                return Some(io.kind());
            }
            cause = error.source();
        }
        None
    }

    /// The error itself, if it is one of that type.
    pub(crate) fn cause<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// The hints, in the order in which they were given.
    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The message and its causes, outermost first, without the repetitions that wrapping makes.
    pub(crate) fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.error.to_string()];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !chain.iter().any(|earlier| earlier.ends_with(&text)) {
                chain.push(text);
            }
            cause = error.source();
        }
        chain
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

/// Output that cannot be written: the world's fault, or nobody's when a pipe was closed.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::world(error)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the connection broke")]
    struct Network(#[source] io::Error);

    #[test]
    fn only_our_own_output_may_break_quietly() {
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(Failure::from(broken()).is_broken_pipe());
        assert!(!Failure::world(Network(broken())).is_broken_pipe());
        assert!(!Failure::from(io::Error::other("full")).is_broken_pipe());
    }

    #[test]
    fn room_is_hinted_at_only_where_it_is_missing() {
        let hints = |kind: ErrorKind| {
            Failure::world(io::Error::new(kind, "cannot write `x`")).hint_at_space().hints().len()
        };
        assert_eq!(hints(ErrorKind::StorageFull), 1);
        assert_eq!(hints(ErrorKind::QuotaExceeded), 1);
        assert_eq!(hints(ErrorKind::PermissionDenied), 0);
    }
}
