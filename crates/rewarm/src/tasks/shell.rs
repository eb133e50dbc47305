//! pixi's shell: executes the script of a task in this process.
//!
//! The shell is `deno_task_shell`; it runs on a runtime of one thread that lives as long as the
//! script. A signal that asks for the end is handed to the command that runs, unless that has it
//! already, and the script ends after it.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use deno_task_shell::{KillSignal, SignalKind, parser};
use signal_hook::consts::{SIGCHLD, SIGHUP};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::error::{Failure, Outcome};
use crate::settings::Caller;
use crate::tasks::signals::{Caught, ENDS, Watch};

/// The hidden first argument of the process that executes one script.
const ENTRY: &str = "__shell";

/// Whom signals reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// This process alone, unless the terminal sends them.
    Process,
    /// Always the whole group.
    Group,
}

/// The hidden entry: `rewarm __shell process|group SCRIPT`, in the environment and the directory
/// of this process. `None` if the command line is another one.
pub(crate) fn entry(args: &[OsString]) -> Option<Outcome> {
    let [_, entry, audience, script] = args else { return None };
    if entry != ENTRY {
        return None;
    }
    let audience = if audience == "group" { Audience::Group } else { Audience::Process };
    let caller = match Caller::of_process() {
        Ok(caller) => caller,
        Err(error) => return Some(Err(error.into())),
    };
    let environment = caller.variables.into_iter().collect();
    Some(execute(&script.to_string_lossy(), environment, caller.cwd, audience))
}

/// The words that, followed by a script, execute it in a process of its own.
pub(super) fn command(audience: Audience) -> Vec<OsString> {
    // The file may be replaced while the command runs; the link leads to the one that runs.
    let own = PathBuf::from("/proc/self/exe");
    let program = match own.exists() {
        true => own,
        false => std::env::current_exe().unwrap_or_else(|_| "rewarm".into()),
    };
    let audience = if audience == Audience::Group { "group" } else { "process" };
    vec![program.into(), ENTRY.into(), audience.into()]
}

/// Executes a script to its end. Gives the exit code.
pub(crate) fn execute(
    script: &str,
    environment: HashMap<OsString, OsString>,
    cwd: PathBuf,
    audience: Audience,
) -> Outcome {
    let list = parser::parse(script.trim()).map_err(|error| {
        Failure::usage(format!("cannot parse a command for the shell: {error}"))
            .hint("pixi's shell knows lists, pipes, redirections, variables and globs; for anything else call `sh -c '…'`")
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, signals) = unbounded_channel();
    let watched = [ENDS.as_slice(), &[SIGCHLD]].concat();
    let _watch = Watch::new(&watched, move |caught| sender.send(caught).is_ok())?;
    let (kill, ended_by) = (KillSignal::default(), Rc::default());
    let local = tokio::task::LocalSet::new();
    local.spawn_local(listen(signals, kill.clone(), audience, Rc::clone(&ended_by)));
    let run = deno_task_shell::execute(list, environment, cwd, HashMap::new(), kill);
    let code = local.block_on(&runtime, run);
    drop(local);
    runtime.shutdown_background();
    match u8::try_from(ended_by.get()) {
        Ok(signal) if signal != 0 && code == 128 + i32::from(signal) => {
            Err(Failure::interrupted(signal))
        }
        _ => Ok(u8::try_from(code & 0xff).unwrap_or(1)),
    }
}

/// Ends the script when a signal asks for it. `ended_by` gets its number.
async fn listen(
    mut signals: UnboundedReceiver<Caught>,
    kill: KillSignal,
    audience: Audience,
    ended_by: Rc<Cell<i32>>,
) {
    // The signal with which to end the script once its command has ended.
    let mut pending = None;
    while let Some(caught) = signals.recv().await {
        if caught.number == SIGCHLD {
            pending.take().inspect(|number| kill.send(SignalKind::from(*number)));
            continue;
        }
        ended_by.set(caught.number);
        let has_got_it = audience == Audience::Group || caught.is_from_terminal;
        if has_got_it && has_children() {
            pending = Some(caught.number);
            continue;
        }
        kill.send(SignalKind::from(caught.number));
        if caught.number == SIGHUP {
            // That one is only handed on.
            kill.send(SignalKind::SIGTERM);
        }
    }
}

fn has_children() -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(rustix::io::Errno::CHILD))
}
