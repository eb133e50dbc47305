//! The one run of bash behind an activation: its script, and the environment that comes out.
//!
//! Nothing that scripts print, define or leave behind can disturb the result: it is handed over
//! in a file of a private directory, by `env -0`, which takes the place of the shell. Before each step the shell
//! makes a file with the step's number, so that a run that ends early says where. What a caller
//! has set to configure bash itself (`BASH_ENV`, `SHELLOPTS`, exported functions) is kept from it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rewarm_store::ScratchDir;

use crate::conda::assign::double_quoted;
use crate::conda::{ScriptShell, Step};
use crate::delta::{Variables, variables};
use crate::error::ActivateError;
use crate::hook::posix_quoted;
use crate::observe::{Limits, Observation, ObserveError, Run, observe};

/// What came of a run.
pub(crate) struct Outcome {
    /// All exported variables at the end.
    pub(crate) after: Variables,
    /// Scripts that returned a status other than 0.
    pub(crate) failed: Vec<PathBuf>,
    /// What it was seen to do.
    pub(crate) observation: Observation,
    /// Where it took place. Nothing is there any more.
    pub(crate) dir: PathBuf,
}

/// Messages of scripts are shown when something fails; this is more than enough of them.
const OUTPUT: u64 = 1 << 20;

/// What a caller may have set to make bash do something else than what scripts say.
pub(crate) fn configures_bash(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "BASHOPTS",
        "BASH_COMPAT",
        "BASH_ENV",
        "BASH_XTRACEFD",
        "ENV",
        "POSIXLY_CORRECT",
        "SHELLOPTS",
    ];
    NAMES.iter().any(|own| name == *own) || name.as_bytes().starts_with(b"BASH_FUNC_")
}

/// Does `steps` in a bash that starts with the variables `before` in the directory `cwd`. `texts`
/// is all that the steps say, as far as it is known before.
pub(crate) fn run(
    steps: &[Step],
    texts: &[u8],
    before: &Variables,
    cwd: &Path,
    shell: &ScriptShell<'_>,
) -> Result<Outcome, ActivateError> {
    let failed = |source| ActivateError::Shell { bash: shell.bash.to_owned(), source };
    let scratch = ScratchDir::create(shell.temp).map_err(failed)?;
    let dir = scratch.path().canonicalize().map_err(failed)?;
    let script = dir.join("activate.sh");
    fs::write(&script, text(steps, &dir)).map_err(failed)?;
    let programs = ["/usr/bin/env", "/bin/env"].map(Path::new);
    let program = programs.into_iter().find(|path| path.exists()).unwrap_or(programs[0]);
    symlink(program, dir.join("dump")).map_err(failed)?;
    // A umask that a script sets must not keep us from reading it.
    File::create(dir.join("variables")).map_err(failed)?;
    let observed = observe(&Run {
        program: shell.bash,
        script: &script,
        environment: before,
        cwd,
        limits: Limits { time: shell.time_limit, output: OUTPUT },
        tracer: shell.tracer,
        text: texts,
        own: &[&dir],
    });
    let reached = (0..steps.len()).take_while(|index| dir.join(index.to_string()).exists());
    let step = reached.last().map_or("the shell".to_owned(), |index| steps[index].describe());
    let observation = match observed {
        Ok(observation) => observation,
        Err(ObserveError::TimedOut { limit, .. }) => {
            return Err(ActivateError::Hangs { step, seconds: limit.as_secs() });
        }
        Err(source) => {
            let bash = shell.bash.to_owned();
            return Err(ActivateError::Shell { bash, source: std::io::Error::other(source) });
        }
    };
    let status = observation.status.to_string();
    let output = last_lines(&observation.stderr);
    if !dir.join("end").exists() {
        return Err(ActivateError::Ended { step, status, output });
    }
    let bytes = fs::read(dir.join("variables")).unwrap_or_default();
    if !observation.status.success() || !bytes.ends_with(b"\0") {
        return Err(ActivateError::Dump { status, output });
    }
    let failed = steps.iter().enumerate().filter_map(|(index, step)| match step {
        Step::Source(path) if dir.join(format!("{index}-failed")).exists() => Some(path.clone()),
        _ => None,
    });
    Ok(Outcome { after: parse(&bytes), failed: failed.collect(), observation, dir })
}

/// The text that bash runs.
fn text(steps: &[Step], dir: &Path) -> Vec<u8> {
    let file = |name: &str| OsString::from_vec(posix_quoted(dir.join(name).as_os_str().as_bytes()));
    let mut text: Vec<u8> = Vec::new();
    let mut line = |parts: &[&OsStr]| {
        parts.iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
        text.push(b'\n');
    };
    for (index, step) in steps.iter().enumerate() {
        line(&[">".as_ref(), &file(&index.to_string())]);
        match step {
            Step::Source(path) => {
                let path = OsString::from_vec(posix_quoted(path.as_os_str().as_bytes()));
                line(&[". ".as_ref(), &path]);
                let failed = file(&format!("{index}-failed"));
                line(&["case $? in 0) ;; *) >".as_ref(), &failed, " ;; esac".as_ref()]);
            }
            Step::Literal { name, value } => {
                let value = OsString::from_vec(posix_quoted(value.as_bytes()));
                line(&["export ".as_ref(), name, "=".as_ref(), &value]);
            }
            Step::Expand { name, text, .. } => {
                line(&["export ".as_ref(), name, "=".as_ref(), &double_quoted(text)]);
            }
        }
    }
    line(&[">".as_ref(), &file("end")]);
    line(&["exec ".as_ref(), &file("dump"), " -0 >|".as_ref(), &file("variables")]);
    text
}

/// Reads `NAME=value`, each ended by a zero byte.
fn parse(bytes: &[u8]) -> Variables {
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        // An equals sign in front belongs to the name.
        let at = entry.iter().skip(1).position(|byte| *byte == b'=')? + 1;
        let (name, value) = (&entry[..at], &entry[at + 1..]);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
    });
    variables(entries)
}

/// The end of what a shell said, for a message: at most 10 lines.
fn last_lines(messages: &[u8]) -> String {
    let text = String::from_utf8_lossy(&messages[messages.len().saturating_sub(4096)..]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(":\n{}", lines[lines.len().saturating_sub(10)..].join("\n"))
}
