//! Watching one run of a shell: what it and every process it starts really read.
//!
//! [`observe`] runs a script and returns, with its output, the files it read or looked for, the
//! facts of the host it asked for, the variables it may have read, and whatever makes the result
//! unprovable. On Linux (x86-64, arm64) the kernel tells: a seccomp filter stops the few system
//! calls that matter, and ptrace reads their arguments; `docs/observation.md` has the rules. Where
//! that is impossible the script is run plainly, and the observation says that it is not complete.
//!
//! The shell's standard input is `/dev/null`, so reading it is no input. Nothing of a traced run
//! outlives it, not even when this process is killed. Which files are proven how, and what is
//! done about an unprovable run, is left to the caller.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rewarm_store::Witness;

use crate::delta::Variables;

#[cfg(traceable)]
mod calls;
#[cfg(traceable)]
mod entry;
#[cfg(traceable)]
mod memory;
mod names;
#[cfg(traceable)]
mod notes;
mod output;
mod programs;
#[cfg(traceable)]
mod trace;

#[cfg(traceable)]
pub use entry::become_traced;
pub use names::{Names, variables_read};

/// The first argument that leads to [`become_traced`].
pub const ENTRY: &str = "__observe";

/// There is nothing to trace with on this platform: never the entry's arguments.
#[cfg(not(traceable))]
pub fn become_traced(_: &[OsString]) -> Option<u8> {
    None
}

/// One run of a shell over a script.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The shell: bash, dash or another POSIX shell.
    pub program: &'a Path,
    /// The script, its only argument.
    pub script: &'a Path,
    /// All variables of the run.
    pub environment: &'a Variables,
    /// Where it starts.
    pub cwd: &'a Path,
    /// What it may use up.
    pub limits: Limits,
    /// The program that has [`become_traced`] behind [`ENTRY`]; without it nothing is observed.
    pub tracer: Option<&'a Path>,
    /// What is searched for variables in place of the script, which whoever wrote it knows.
    pub text: &'a [u8],
    /// Files and directories of the caller's own, such as the script: neither inputs nor effects.
    /// What a program reads that is run through a link there does not count either.
    pub own: &'a [&'a Path],
}

/// What a run may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// After this the whole tree of processes is killed.
    pub time: Duration,
    /// Bytes that are kept of each of the two outputs; what comes after them is thrown away.
    pub output: u64,
}

/// What a run did.
#[derive(Debug)]
pub struct Observation {
    /// How the shell ended.
    pub status: ExitStatus,
    /// The first bytes of its output.
    pub stdout: Vec<u8>,
    /// The first bytes of its messages.
    pub stderr: Vec<u8>,
    /// Files of which the result may be made, in no particular order, each path once.
    pub files: Vec<SeenFile>,
    /// Names that were looked up on the `PATH` of the run, and where they were found there. The files
    /// that were missing from directories before that one are not among `files`.
    pub commands: Vec<SeenCommand>,
    /// What was asked of the host; [`HostFact::value`] tells whether it still holds.
    pub facts: BTreeSet<HostFact>,
    /// The variables of the caller that may have been read.
    pub variables: Names,
    /// Why the result cannot be proven from all this; empty if it can.
    pub unprovable: BTreeSet<Unprovable>,
    /// Whether the run was traced. If not, only `variables` says more than the output, and only
    /// for the script itself.
    pub complete: bool,
}

/// A file or directory that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFile {
    /// An absolute path, as the process named it.
    pub path: PathBuf,
    /// The strongest use that was made of it.
    pub how: Use,
    /// Taken before the process saw it; `None` if nothing was there.
    pub witness: Option<Witness>,
}

/// What was done with a file, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Asked for its properties: whether it is there, of what kind, with which permissions, of
    /// which size, where a link leads. Times do not count.
    Looked,
    /// A directory: its names were listed.
    Listed,
    /// Its content was read.
    Read,
    /// It was run as a program; its content counts.
    Executed,
}

/// A command that was looked for in the directories of the `PATH` of [`Run::environment`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenCommand {
    /// Its name, without a slash.
    pub name: OsString,
    /// The first executable file of that name; `None` if there was none.
    pub path: Option<PathBuf>,
}

/// Something that is the same for a whole machine or user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostFact {
    /// What `uname` says: system, host name, release, version, machine.
    System,
    /// User and group numbers of the process.
    User,
    /// How many processors the process may use.
    Processors,
    /// The directory in which the run started.
    WorkingDirectory,
}

/// Why a result cannot be proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unprovable {
    /// A socket, other than one that leads nowhere.
    #[error("`{}` uses the network or a service", program.display())]
    Network {
        /// Which program did.
        program: PathBuf,
    },
    /// The time of day, or a clock.
    #[error("`{}` reads the clock", program.display())]
    Clock {
        /// Which program did.
        program: PathBuf,
    },
    /// Random numbers.
    #[error("`{}` reads random numbers", program.display())]
    Random {
        /// Which program did.
        program: PathBuf,
    },
    /// A device, a terminal, a pipe with a name.
    #[error("`{}` is a device or a pipe", path.display())]
    Device {
        /// Where it is.
        path: PathBuf,
    },
    /// A file that the kernel makes up when it is read.
    #[error("`{}` is the state of the running system", path.display())]
    Kernel {
        /// Where it is.
        path: PathBuf,
    },
    /// Memory that other processes may share, message queues, numbers of processes, and other
    /// system calls whose answer is not made of files.
    #[error("`{}` calls `{call}`", program.display())]
    Call {
        /// Which program did.
        program: PathBuf,
        /// The system call.
        call: &'static str,
    },
    /// A program of another architecture, such as one of 32 bits, or one that is protected.
    #[error("`{}` cannot be watched", program.display())]
    Unwatched {
        /// Which program.
        program: PathBuf,
    },
    /// Something was changed that is still there after the run.
    #[error("`{}` is written, moved or removed", path.display())]
    Effect {
        /// What was changed.
        path: PathBuf,
    },
    /// A program that runs with the rights of its owner.
    #[error("`{}` runs with the rights of its owner", path.display())]
    Privileged {
        /// Where it is.
        path: PathBuf,
    },
    /// A process went on when the shell had ended.
    #[error("a process is left in the background")]
    Background,
    /// Something in the text that gives another answer each time.
    #[error("a script uses `{what}`")]
    Text {
        /// What, as it is written there.
        what: String,
    },
}

/// Why a run could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The shell, or the tracing program, cannot be started.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The run took too long, and was ended with all its processes.
    #[error("`{}` was still running after {} s", script.display(), limit.as_secs_f64())]
    TimedOut {
        /// Which script.
        script: PathBuf,
        /// How long it might run.
        limit: Duration,
    },
    /// The operating system refused something that it grants to everybody.
    #[error("cannot watch `{}`", script.display())]
    Watch {
        /// Which script.
        script: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HostFact {
    /// What it is called among the facts of an activation.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system and host name",
            Self::User => "user",
            Self::Processors => "processors",
            Self::WorkingDirectory => "working directory",
        }
    }

    /// What it is now, for a caller whose working directory is `cwd`.
    pub fn value(self, cwd: &Path) -> String {
        match self {
            Self::System => {
                let uname = rustix::system::uname();
                let parts = [
                    uname.sysname(),
                    uname.nodename(),
                    uname.release(),
                    uname.version(),
                    uname.machine(),
                ];
                parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
            }
            Self::User => {
                let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
                let (euser, egroup) = (rustix::process::geteuid(), rustix::process::getegid());
                let groups = rustix::process::getgroups().unwrap_or_default();
                let groups: Vec<u32> = groups.into_iter().map(|group| group.as_raw()).collect();
                format!("{user:?} {euser:?} {group:?} {egroup:?} {groups:?}")
            }
            Self::Processors => {
                std::thread::available_parallelism().map_or(0, usize::from).to_string()
            }
            Self::WorkingDirectory => format!("{:?}", cwd.as_os_str()),
        }
    }
}

/// Runs the script and tells what it did.
///
/// A failing script is no error: its status and messages are in the observation. A run that would
/// have gone otherwise without being watched (a process left behind, a program with the rights of
/// its owner) is made once more, plainly, and the observation is of both.
pub fn observe(run: &Run) -> Result<Observation, ObserveError> {
    #[cfg(traceable)]
    if let Some(tracer) = run.tracer
        && let Some(observation) = trace::traced(run, tracer)?
    {
        if !observation.unprovable.iter().any(Unprovable::is_disturbed) {
            return Ok(observation);
        }
        let plain = plainly(run)?;
        let Observation { status, stdout, stderr, .. } = plain;
        return Ok(Observation { status, stdout, stderr, ..observation });
    }
    plainly(run)
}

impl Unprovable {
    /// Whether watching may have changed what happened.
    fn is_disturbed(&self) -> bool {
        matches!(self, Self::Background | Self::Privileged { .. })
    }
}

/// Runs the script without looking.
fn plainly(run: &Run) -> Result<Observation, ObserveError> {
    let (status, collected) = output::plain(run)?;
    let mut unprovable = BTreeSet::new();
    names::volatile(run.text, &mut unprovable);
    Ok(Observation {
        status,
        stdout: collected.stdout,
        stderr: collected.stderr,
        files: Vec::new(),
        commands: Vec::new(),
        facts: BTreeSet::new(),
        variables: variables_read(run.text, run.environment),
        unprovable,
        complete: false,
    })
}
