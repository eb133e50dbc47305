//! Runs the commands of a graph: several at a time where they are independent.
//!
//! This thread decides and starts; one thread per command waits for it and reads what it writes;
//! one hears signals. All of them report to this one. Commands that may run at once have process
//! groups of their own and no standard input. The requested command comes last, when nothing else
//! runs: it has the terminal to itself. On the first signal that asks for the end nothing more is
//! started and everybody gets the signal; on the second, or when the grace is over, whoever is
//! left is killed.

use std::collections::HashMap;
use std::io::{self, PipeReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rewarm_activation::Variables;
use rewarm_store::{Digest, Store};
use rewarm_task::{Action, ActionError, Graph, Node, Place, Schedule, Step};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use signal_hook::consts::{SIGCONT, SIGKILL, SIGTSTP};

use crate::error::{Failure, Outcome};
use crate::hot::start_error;
use crate::tasks::action::{self, Log, Looked, Prepared};
use crate::tasks::output::{OutputMode, Screen, Sink, pump};
use crate::tasks::shell::{self, Audience};
use crate::tasks::signals::{self, Caught, PASSED_ON, Watch};
use crate::ui::Ui;

/// How a graph is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How many commands may run at once.
    pub(crate) jobs: usize,
    /// Whether what does not depend on a failed command goes on.
    pub(crate) keep_going: bool,
    /// How output is told apart.
    pub(crate) output: OutputMode,
    /// Whether tasks are to run whatever is kept of them.
    pub(crate) force: bool,
    /// Whether to say what was replayed, and why not.
    pub(crate) explain: bool,
}

/// What it is to be in an environment.
#[derive(Debug, Clone)]
pub(crate) struct Entered {
    /// All variables.
    pub(crate) variables: Variables,
    /// Of what is installed and set.
    pub(crate) packages: Digest,
}

/// Enters an environment, clean or not.
pub(crate) type Activate<'a> = dyn FnMut(&str, bool) -> Result<Entered, Failure> + 'a;

/// How long commands have to end by themselves.
const GRACE: Duration = Duration::from_secs(10);

enum Event {
    /// It has ended, and is still to be waited for, so that its number is nobody else's yet.
    Ended(usize, Child, Option<String>),
    Looked(usize, Result<Looked, ActionError>),
    Signal(Caught),
}

struct Running {
    index: usize,
    process: Pid,
    has_group: bool,
}

/// Everything that a run needs.
pub(crate) struct Runner<'a> {
    pub(crate) ui: &'a Ui,
    pub(crate) graph: &'a Graph,
    pub(crate) root: &'a Path,
    pub(crate) init_cwd: &'a Path,
    pub(crate) store: &'a Store,
    pub(crate) platform: &'a str,
    pub(crate) manner: Manner,
}

/// What is under way.
struct State {
    schedule: Schedule,
    running: Vec<Running>,
    /// How many actions are being looked up.
    looking: usize,
    /// The environments of those.
    entered: HashMap<usize, Entered>,
    given_up: Arc<AtomicBool>,
    sender: Sender<Event>,
    screen: Screen,
    /// The exit code of the first command that failed.
    failed: Option<u8>,
    /// The signal that asked for the end, and when patience ends.
    ending: Option<(i32, Instant)>,
}

impl Runner<'_> {
    /// Runs all of it. The outcome is that of the requested command, or of the first that failed.
    pub(crate) fn run(&self, activate: &mut Activate<'_>) -> Outcome {
        let (sender, events) = channel();
        let signals = sender.clone();
        let _watch = Watch::new(&PASSED_ON, move |c| signals.send(Event::Signal(c)).is_ok())?;
        let mut state = State {
            schedule: Schedule::new(self.graph, self.manner.jobs, self.manner.keep_going),
            running: Vec::new(),
            looking: 0,
            entered: HashMap::new(),
            given_up: Arc::default(),
            sender,
            screen: Screen::default(),
            failed: None,
            ending: None,
        };
        if let Err(failure) = self.drive(&mut state, &events, activate) {
            // What runs must not go on alone.
            state.give_up();
            state.running.iter().for_each(|child| child.send(SIGKILL));
            while !state.running.is_empty() || state.looking > 0 {
                // There has been a failure already, which is to be told.
                let _ = self.wait(&mut state, &events);
            }
            return Err(failure);
        }
        if let Some((signal, _)) = state.ending {
            return Err(Failure::interrupted(u8::try_from(signal).unwrap_or(1)));
        }
        if let Some(code) = state.failed {
            let left = state.schedule.left_out();
            if left > 0 {
                let plural = if left == 1 { "task was" } else { "tasks were" };
                self.ui.note(&format!("{left} {plural} not run"));
            }
            return Ok(code);
        }
        Ok(0)
    }

    fn drive(
        &self,
        state: &mut State,
        events: &Receiver<Event>,
        activate: &mut Activate<'_>,
    ) -> Result<(), Failure> {
        loop {
            while let Some(index) = state.schedule.start() {
                self.start(index, state, activate)?;
            }
            if state.schedule.running() == 0 {
                return Ok(());
            }
            self.wait(state, events)?;
        }
    }

    /// Waits for one thing to happen.
    fn wait(&self, state: &mut State, events: &Receiver<Event>) -> Result<(), Failure> {
        let event = match state.ending {
            Some((_, deadline)) => {
                let left = deadline.saturating_duration_since(Instant::now());
                events.recv_timeout(left)
            }
            None => events.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(Event::Ended(index, mut child, not_kept)) => {
                if let Some(reason) = not_kept {
                    let label = label(&self.graph.nodes()[index], self.graph);
                    self.ui.warn(&format!("task `{label}` is not kept: {reason}"));
                }
                self.ended(index, child.wait(), state);
            }
            Ok(Event::Looked(index, looked)) => return self.looked(index, looked, state),
            Ok(Event::Signal(caught)) => state.signal(caught),
            Err(_) => state.kill(),
        }
        Ok(())
    }

    fn start(
        &self,
        index: usize,
        state: &mut State,
        activate: &mut Activate<'_>,
    ) -> Result<(), Failure> {
        let node = &self.graph.nodes()[index];
        if node.command == rewarm_task::Command::None {
            state.schedule.finish(index, true);
            return Ok(());
        }
        let entered = activate(&node.environment, node.clean_env)?;
        let place = Place {
            root: self.root.to_owned(),
            store: self.store.clone(),
            platform: self.platform.to_owned(),
            packages: entered.packages,
            variables: entered.variables.clone(),
        };
        let action = match Action::new(node, place.clone()).map_err(Failure::usage)? {
            None => return self.spawn(index, &entered, None, state),
            Some(Ok(action)) => action,
            Some(Err(reason)) => {
                let label = label(node, self.graph);
                self.ui.warn(&format!("task `{label}` runs each time: {reason}"));
                return self.spawn(index, &entered, None, state);
            }
        };
        let (force, given_up) = (self.manner.force, Arc::clone(&state.given_up));
        let sender = state.sender.clone();
        std::thread::Builder::new().name("action".to_owned()).spawn(move || {
            let looked = action::look_up(action, &place, force, &given_up);
            // Nobody listens any more only if the run was given up.
            let _ = sender.send(Event::Looked(index, looked));
        })?;
        state.looking += 1;
        state.entered.insert(index, entered);
        Ok(())
    }

    fn looked(
        &self,
        index: usize,
        looked: Result<Looked, ActionError>,
        state: &mut State,
    ) -> Result<(), Failure> {
        state.looking -= 1;
        let entered = state.entered.remove(&index).expect("it was entered to be looked up");
        let node = &self.graph.nodes()[index];
        let label = label(node, self.graph);
        match looked.map_err(Failure::usage)? {
            // A signal came meanwhile: nothing is started any more.
            _ if state.ending.is_some() => state.schedule.finish(index, false),
            Looked::GivenUp => state.schedule.finish(index, false),
            Looked::Replayed { entry, warnings, restored } => {
                warnings.iter().for_each(|warning| self.ui.warn(warning));
                let outputs = entry.outputs();
                let said = format!("{label}: replayed; restored {restored} of {outputs} outputs");
                self.say(&said);
                let mut sink = Sink::new(self.mode(index), state.screen.clone(), &label);
                entry.log.iter().for_each(|(stream, bytes)| sink.take(*stream, bytes));
                sink.finish();
                state.schedule.finish(index, true);
            }
            Looked::Run(prepared) => {
                prepared.lookup.warnings.iter().for_each(|warning| self.ui.warn(warning));
                self.say(&format!("{label}: run, because {}", prepared.lookup.reason));
                return self.spawn(index, &entered, Some(*prepared), state);
            }
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        if self.manner.explain { self.ui.explain(text) } else { self.ui.detail(text) }
    }

    /// Whether nothing else can run beside a command, so that it has the terminal to itself.
    fn is_alone(&self, index: usize) -> bool {
        let is_last = index + 1 == self.graph.nodes().len();
        is_last || self.manner.output == OutputMode::Raw && self.manner.jobs == 1
    }

    fn mode(&self, index: usize) -> OutputMode {
        if self.is_alone(index) { OutputMode::Raw } else { self.manner.output }
    }

    fn spawn(
        &self,
        index: usize,
        entered: &Entered,
        prepared: Option<Prepared>,
        state: &mut State,
    ) -> Result<(), Failure> {
        let node = &self.graph.nodes()[index];
        let is_alone = self.is_alone(index);
        let audience = if is_alone { Audience::Process } else { Audience::Group };
        let step = node.step(self.root, &shell::command(audience)).expect("it has a command");
        let environment = step.environment(entered.variables.clone(), self.init_cwd);
        let label = label(node, self.graph);
        self.ui.detail(&format!("running {label}: {}", node.command_line()));
        let mut command = process(&step, environment);
        if is_alone && prepared.is_none() {
            let child = spawn(&mut command, &step)?;
            return watch(index, child, false, None, state);
        }
        let (stdout, stdout_end) = io::pipe()?;
        let (stderr, stderr_end) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(stdout_end).stderr(stderr_end);
        if !is_alone {
            command.process_group(0);
        }
        let child = spawn(&mut command, &step)?;
        // Its ends of the pipes, which would keep them open.
        drop(command);
        let sink = Sink::new(self.mode(index), state.screen.clone(), &label);
        let output = Captured { stdout, stderr, sink, prepared };
        watch(index, child, !is_alone, Some(output), state)
    }

    fn ended(&self, index: usize, status: io::Result<ExitStatus>, state: &mut State) {
        state.running.retain(|child| child.index != index);
        let code = status.map_or(1, code);
        state.schedule.finish(index, code == 0);
        if code == 0 {
            return;
        }
        let is_last = index + 1 == self.graph.nodes().len();
        if !is_last && state.ending.is_none() {
            let label = label(&self.graph.nodes()[index], self.graph);
            self.ui.note(&format!("task `{label}` failed with exit code {code}"));
        }
        state.failed.get_or_insert(code);
    }
}

impl State {
    /// Starts nothing any more, and waits for nobody else.
    fn give_up(&mut self) {
        self.schedule.stop();
        self.given_up.store(true, Ordering::SeqCst);
    }

    fn signal(&mut self, caught: Caught) {
        if caught.is_end() {
            self.give_up();
            if self.ending.is_some() {
                return self.kill();
            }
            self.ending = Some((caught.number, Instant::now() + GRACE));
        }
        for child in &self.running {
            if child.has_group || !caught.is_from_terminal {
                child.send(caught.number);
            }
        }
        if caught.number == SIGTSTP {
            signals::stop_here();
            self.running.iter().for_each(|child| child.send(SIGCONT));
        }
    }

    fn kill(&mut self) {
        self.running.iter().for_each(|child| child.send(SIGKILL));
        // They cannot refuse; there is nothing left to be impatient about.
        if let Some((_, deadline)) = &mut self.ending {
            *deadline = Instant::now() + GRACE;
        }
    }
}

impl Running {
    fn send(&self, signal: i32) {
        signals::send(self.process, self.has_group, signal);
    }
}

/// How a command is called in messages: by its task, and where there are several of it, by its
/// environment and arguments as well.
pub(super) fn label(node: &Node, graph: &Graph) -> String {
    let same = graph.nodes().iter().filter(|other| other.task == node.task);
    if same.count() == 1 { node.task.clone() } else { full_label(node) }
}

/// The task, its environment unless that is the default one, and its arguments.
pub(super) fn full_label(node: &Node) -> String {
    let mut label = node.task.clone();
    if node.environment != rewarm_task::DEFAULT_ENVIRONMENT {
        label += &format!("@{}", node.environment);
    }
    for (name, value) in node.arguments.named.iter().flatten() {
        label += &format!(" {name}={value}");
    }
    for argument in &node.arguments.extra {
        label += &format!(" {}", argument.display());
    }
    label
}

pub(super) fn process(step: &Step, environment: Variables) -> Command {
    let (program, arguments) = step.argv.split_first().expect("a command has a first word");
    let mut process = Command::new(program);
    process.args(arguments).env_clear().envs(environment).current_dir(&step.cwd);
    process
}

fn spawn(command: &mut Command, step: &Step) -> Result<Child, Failure> {
    command.spawn().map_err(|error| Failure::usage(start_error(&step.argv, Some(&step.cwd), error)))
}

/// The output of a command, and what is to become of it.
struct Captured {
    stdout: PipeReader,
    stderr: PipeReader,
    sink: Sink,
    prepared: Option<Prepared>,
}

/// Waits for a command on a thread of its own, and reads what it writes.
fn watch(
    index: usize,
    child: Child,
    has_group: bool,
    output: Option<Captured>,
    state: &mut State,
) -> Result<(), Failure> {
    let raw = i32::try_from(child.id()).expect("the system's process numbers are positive");
    let process = Pid::from_raw(raw).expect("a child has a number");
    state.running.push(Running { index, process, has_group });
    let sender = state.sender.clone();
    let waiter = std::thread::Builder::new().name("task".to_owned()).spawn(move || {
        let mut kept = None;
        if let Some(Captured { stdout, stderr, mut sink, prepared }) = output {
            let mut log = Log::default();
            let is_kept = prepared.is_some();
            let pumped = pump(stdout, stderr, |stream, bytes| {
                sink.take(stream, bytes);
                if is_kept {
                    log.take(stream, bytes);
                }
            });
            sink.finish();
            // Without its output the command still has a status.
            kept = prepared.filter(|_| pumped.is_ok()).map(|prepared| (prepared, log));
        }
        let is_success = wait_for(process);
        let not_kept = kept.filter(|_| is_success).and_then(|(prepared, log)| prepared.keep(log));
        // Nobody listens any more only if the run was given up.
        let _ = sender.send(Event::Ended(index, child, not_kept));
    });
    if let Err(error) = waiter {
        state.running.pop().iter().for_each(|child| child.send(SIGKILL));
        return Err(error.into());
    }
    Ok(())
}

/// Waits until a child has ended, and leaves it to be waited for. Says whether it succeeded.
fn wait_for(process: Pid) -> bool {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(process), ended) {
            Err(Errno::INTR) => {}
            result => return result.is_ok_and(|s| s.and_then(|s| s.exit_status()) == Some(0)),
        }
    }
}

/// The exit code that tells a shell how a command ended.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
