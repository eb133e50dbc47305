//! `rewarm run CMD` at the cost of a few system calls, and the last step of every `run`.
//!
//! [`try_run`] comes before argument parsing and configuration. It knows one plain shape of the
//! command line and answers only when a stored activation holds; whatever is unusual is left to
//! the command proper by returning `None`, with nothing done and nothing printed. Both end in
//! [`become_command`], which replaces this process, so that signals, terminal and exit status are
//! the command's own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use rewarm_activation::{self as activation, Activation, Scope, Variables};
use rewarm_store::Store;
use rewarm_task::{Found, TaskTable};

use crate::settings::Caller;

/// The environment that is meant when none is named.
const DEFAULT_ENVIRONMENT: &str = "default";

/// Runs the command if this can be done from what is stored; returns only if it failed to start,
/// or if the command line or the situation needs the long way (`None`).
pub(crate) fn try_run(args: &[OsString]) -> Option<u8> {
    let command = plain_command(args)?;
    let caller = Caller::of_process().ok()?;
    if caller.variables.keys().any(|name| is_setting(name)) {
        return None;
    }
    let workspace_root = rewarm_env::project_root(&caller.cwd)?;
    let cache_dir = caller.cache_dir()?;
    let scope = Scope { workspace_root, environment: DEFAULT_ENVIRONMENT, clean_env: false };
    #[expect(clippy::disallowed_methods, reason = "the short path reads the clock once, here")]
    let now = SystemTime::now();
    let store = Store::for_lookup(&cache_dir);
    let hit = activation::lookup(&store, &scope, &caller.variables, now).ok()?;
    if hit.activation.prefix != own_environment(workspace_root) {
        // Which other environment is meant is decided anew each time.
        return None;
    }
    if hit.renewed
        && let Ok(store) = Store::open(&cache_dir)
    {
        // Not being able to write costs speed only.
        let _ = activation::save(&store, &hit.activation);
    }
    let error = become_command(&hit.activation, command, &caller)?;
    eprintln!("error: {}", error.with_cause());
    Some(error.code())
}

/// `rewarm run CMD…` or `rewarm run -- CMD…`, without any flag of rewarm's own.
fn plain_command(args: &[OsString]) -> Option<&[OsString]> {
    let command = match args {
        [_, run, dashes, command @ ..] if run == "run" && dashes == "--" => command,
        [_, run, command @ ..] if run == "run" => command,
        _ => return None,
    };
    let first = command.first()?.as_bytes();
    // A single word with blanks may be a line for the shell.
    let is_line = command.len() == 1 && first.iter().any(u8::is_ascii_whitespace);
    (!first.is_empty() && !first.starts_with(b"-") && !is_line).then_some(command)
}

/// Whether a variable configures rewarm in a way that only the long way understands.
fn is_setting(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"REWARM_") && name != "REWARM_CACHE_DIR"
}

/// Where a workspace has its environment unless the caller brings another one.
fn own_environment(workspace_root: &Path) -> PathBuf {
    workspace_root.join(".venv")
}

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("`{program}` is neither a task nor a program on the activated `PATH`")]
    NotFound { program: String },
    #[error("cannot execute `{program}`")]
    NotExecutable { program: String, source: io::Error },
    #[error("cannot enter `{}`", path.display())]
    WorkingDirectory { path: PathBuf, source: io::Error },
}

impl RunError {
    /// The exit code, as `env` and POSIX shells have it.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::WorkingDirectory { .. } => 125,
        }
    }

    fn with_cause(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// Runs a task of one process, or else a program, in the activated environment.
///
/// Replaces this process and does not return, unless it cannot be started, or unless it takes more
/// than the activation to tell what is meant (`None`).
fn become_command(
    activation: &Activation,
    command: &[OsString],
    caller: &Caller,
) -> Option<RunError> {
    let activated = activation.environment_for(&caller.variables);
    let (name, arguments) = command.split_first()?;
    match TaskTable::find(&activation.tasks, name, arguments, &activation.workspace_root) {
        Found::Unknown => None,
        Found::NoTask => Some(replace_process(command, activated, None)),
        Found::Direct(step) => {
            let environment = step.environment(activated, &caller.cwd);
            Some(replace_process(&step.argv, environment, Some(&step.cwd)))
        }
    }
}

/// Does not return unless the program cannot be started.
pub(crate) fn replace_process(
    argv: &[OsString],
    environment: Variables,
    cwd: Option<&Path>,
) -> RunError {
    let error = process(argv, environment, cwd).exec();
    start_error(argv, cwd, error)
}

fn process(argv: &[OsString], environment: Variables, cwd: Option<&Path>) -> Command {
    let (program, arguments) = argv.split_first().expect("a command has a first word");
    let mut process = Command::new(program);
    process.args(arguments).env_clear().envs(environment);
    if let Some(cwd) = cwd {
        process.current_dir(cwd);
    }
    process
}

pub(crate) fn start_error(argv: &[OsString], cwd: Option<&Path>, source: io::Error) -> RunError {
    let program = argv[0].to_string_lossy().into_owned();
    if let Some(path) = cwd
        && let Err(source) = std::fs::read_dir(path)
    {
        return RunError::WorkingDirectory { path: path.to_owned(), source };
    }
    if source.kind() == io::ErrorKind::NotFound {
        return RunError::NotFound { program };
    }
    RunError::NotExecutable { program, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(words: &[&str]) -> Option<Vec<OsString>> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        plain_command(&args).map(<[OsString]>::to_vec)
    }

    #[test]
    fn only_the_plain_shape_takes_the_short_path() {
        assert_eq!(plain(&["rewarm", "run", "a", "-b"]), Some(vec!["a".into(), "-b".into()]));
        assert_eq!(plain(&["rewarm", "run", "--", "a"]), Some(vec!["a".into()]));
        assert_eq!(plain(&["rewarm", "run", "a", "--"]), Some(vec!["a".into(), "--".into()]));
        for words in [
            &["rewarm"][..],
            &["rewarm", "run"],
            &["rewarm", "run", "--"],
            &["rewarm", "run", ""],
            &["rewarm", "run", "--explain", "a"],
            &["rewarm", "-q", "run", "a"],
            &["rewarm", "shell"],
        ] {
            assert_eq!(plain(words), None, "{words:?}");
        }
    }

    #[test]
    fn only_the_cache_directory_may_be_set() {
        assert!(is_setting("REWARM_OFFLINE".as_ref()));
        assert!(!is_setting("REWARM_CACHE_DIR".as_ref()));
        assert!(!is_setting("PATH".as_ref()));
    }
}
