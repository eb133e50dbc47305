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
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rewarm_activation::{self as activation, Activation, Hit, Miss, Scope, Variables};
use rewarm_store::Store;
use rewarm_task::{Found, TaskTable};

use crate::exec::exec;
use crate::settings::Caller;

/// The environment that is meant when none is named.
const DEFAULT_ENVIRONMENT: &str = "default";

/// Runs the command if this can be done from what is stored; returns only if it failed to start,
/// or if the command line or the situation needs the long way (`None`).
pub(crate) fn try_run(args: &[OsString]) -> Option<u8> {
    let plain = Plain::parse(args)?;
    let caller = Caller::of_process().ok()?;
    if caller.variables.keys().any(|name| is_setting(name)) {
        return None;
    }
    let cache_dir = caller.cache_dir()?;
    let hit = stored(&cache_dir, &plain, &caller)?;
    if hit.renewed
        && let Ok(store) = Store::open(&cache_dir)
    {
        // Not being able to write costs speed only.
        let _ = activation::save(&store, &hit.activation);
    }
    let error = become_command(&hit.activation, plain.command, &caller)?;
    eprintln!("error: {}", error.with_cause());
    Some(error.code())
}

/// The stored activation of the workspace that the caller is in.
///
/// Where that begins is not searched for: a record says so, and what it was made from is checked
/// anyway. Only if that does not settle it, the files that mark a workspace are looked for.
fn stored(cache_dir: &Path, plain: &Plain<'_>, caller: &Caller) -> Option<Hit> {
    #[expect(clippy::disallowed_methods, reason = "the short path reads the clock once, here")]
    let now = SystemTime::now();
    let store = Store::for_lookup(cache_dir);
    for dir in caller.cwd.ancestors() {
        let named = plain.environment.or_else(|| environment_in_use(caller, dir));
        let environment = named.unwrap_or(DEFAULT_ENVIRONMENT);
        let scope = Scope { workspace_root: dir, environment, clean_env: false };
        match activation::lookup(&store, &scope, &caller.variables, now) {
            Ok(hit) => {
                let is_settled = dir == caller.cwd && is_marked(&hit.activation);
                let is_root = is_settled || rewarm_env::project_root(&caller.cwd) == Some(dir);
                // Which other environment is meant is decided anew each time.
                return (is_root && is_own(&hit.activation)).then_some(hit);
            }
            Err(Miss::NotStored) => {}
            Err(Miss::Differs { .. }) => return None,
        }
    }
    None
}

/// The environment of a workspace that the caller is in already, if any.
pub(crate) fn environment_in_use<'a>(caller: &'a Caller, workspace_root: &Path) -> Option<&'a str> {
    let is_of = caller.get("PIXI_PROJECT_ROOT").map(Path::new) == Some(workspace_root);
    caller.text("PIXI_ENVIRONMENT_NAME").filter(|_| is_of)
}

/// Whether a file that makes a directory a workspace, whatever is above it, is an input.
fn is_marked(activation: &Activation) -> bool {
    let markers = ["pixi.toml", "pyproject.toml", "rewarm.toml"];
    markers.iter().any(|name| activation.saw(&activation.workspace_root.join(name)))
}

/// Whether the environment lies where a workspace has its own, unless the caller brings another.
fn is_own(activation: &Activation) -> bool {
    let Ok(below) = activation.prefix.strip_prefix(&activation.workspace_root) else {
        return false;
    };
    below == Path::new(".venv") || below.starts_with(".pixi/envs")
}

/// `rewarm run [-e ENV] [--] CMD…`, without any other flag of rewarm's own.
#[derive(Debug, PartialEq)]
struct Plain<'a> {
    environment: Option<&'a str>,
    command: &'a [OsString],
}

impl<'a> Plain<'a> {
    fn parse(args: &'a [OsString]) -> Option<Self> {
        let [_, run, rest @ ..] = args else { return None };
        if run != "run" {
            return None;
        }
        let (environment, rest) = match rest {
            [flag, name, rest @ ..] if flag == "-e" || flag == "--environment" => {
                (Some(name.to_str().filter(|name| !name.starts_with('-'))?), rest)
            }
            rest => (None, rest),
        };
        let command = match rest {
            [dashes, command @ ..] if dashes == "--" => command,
            command => command,
        };
        let first = command.first()?.as_bytes();
        // A single word with blanks may be a line for the shell.
        let is_line = command.len() == 1 && first.iter().any(u8::is_ascii_whitespace);
        let is_plain = !first.is_empty() && !first.starts_with(b"-") && !is_line;
        is_plain.then_some(Self { environment, command })
    }
}

/// Whether a variable configures rewarm in a way that only the long way understands.
fn is_setting(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"REWARM_") && name != "REWARM_CACHE_DIR"
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
        Found::NoTask => Some(replace_process(command, &activated, None)),
        Found::Direct(step) => {
            let environment = step.environment(activated, &caller.cwd);
            Some(replace_process(&step.argv, &environment, Some(&step.cwd)))
        }
    }
}

/// Does not return unless the program cannot be started.
pub(crate) fn replace_process(
    argv: &[OsString],
    environment: &Variables,
    cwd: Option<&Path>,
) -> RunError {
    let error = match cwd.map(std::env::set_current_dir) {
        Some(Err(error)) => error,
        None | Some(Ok(())) => exec(argv, environment),
    };
    start_error(argv, cwd, error)
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

    fn plain(words: &[&str]) -> Option<(Option<String>, Vec<OsString>)> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        let Plain { environment, command } = Plain::parse(&args)?;
        Some((environment.map(str::to_owned), command.to_vec()))
    }

    #[test]
    fn only_the_plain_shape_takes_the_short_path() {
        let of = |environment: Option<&str>, words: &[&str]| {
            Some((environment.map(str::to_owned), words.iter().map(OsString::from).collect()))
        };
        assert_eq!(plain(&["rewarm", "run", "a", "-b"]), of(None, &["a", "-b"]));
        assert_eq!(plain(&["rewarm", "run", "--", "a"]), of(None, &["a"]));
        assert_eq!(plain(&["rewarm", "run", "a", "--"]), of(None, &["a", "--"]));
        assert_eq!(plain(&["rewarm", "run", "-e", "b", "a"]), of(Some("b"), &["a"]));
        assert_eq!(
            plain(&["rewarm", "run", "--environment", "b", "--", "a"]),
            of(Some("b"), &["a"])
        );
        for words in [
            &["rewarm"][..],
            &["rewarm", "run"],
            &["rewarm", "run", "--"],
            &["rewarm", "run", ""],
            &["rewarm", "run", "-e", "b"],
            &["rewarm", "run", "-e"],
            &["rewarm", "run", "-e", "--", "a"],
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
