//! `--watch`: the same question again and again, and an answer whenever there is another one.
//!
//! A look is a check, which is a replay while nothing changes, so whatever a check depends on is
//! noticed, the environment and the configuration included. An answer that cannot be kept would run
//! the checker at every look; it is asked for again only if an input that is known before a run has
//! changed. A first look that fails ends the command, a later one is shown like an answer. Nothing is
//! drawn unless both streams are a terminal.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rewarm_check::output::Severity;
use rewarm_check::{Reuse, State};
use signal_hook::consts::SIGINT;

use crate::args::Check;
use crate::commands::check::output::{Outputs, findings};
use crate::commands::check::told::{self, Answered, Section};
use crate::commands::check::{Answer, Prepared, ask, failure, prepare, tell, time, verdict};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::interrupt::Interrupt;

/// The least time from one look to the next.
const INTERVAL: Duration = Duration::from_millis(400);
/// The same after a failure: it may have asked the network.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// However long a look takes, the next one comes after this.
const LONGEST: Duration = Duration::from_secs(10);
/// Looks, and runs that nothing known called for, take at most one part in so many of the time.
const SHARE: u32 = 10;
/// How long a look may go on when a signal asks for the end; a second one ends it at once.
const GRACE: Duration = Duration::from_secs(10);

/// What is on the screen.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Answers(Vec<(Vec<u8>, Vec<u8>, i32)>),
    Failure(Vec<String>),
}

/// The last time that the checkers were asked.
struct Asked {
    /// What they were asked about.
    states: Vec<State>,
    answered: Answered,
    /// From when on they are asked again although nothing known has changed; `None` stands for never.
    again: Option<Instant>,
}

struct Watch<'a> {
    context: &'a Context<'a>,
    args: Check,
    interrupt: Interrupt,
    is_terminal: bool,
    asked: Option<Asked>,
    shown: Option<Shown>,
    /// The inputs of the last answer that was shown.
    states: Vec<State>,
    /// The exit code of what is shown.
    code: Option<u8>,
}

pub(super) fn run(context: &Context<'_>, args: &Check) -> Outcome {
    for (is_given, name) in
        [(context.settings.json, "--json"), (!args.output.is_empty(), "--output")]
    {
        if is_given {
            return Err(Failure::usage(format!("`{name}` writes one answer, and `--watch` many"))
                .hint(format!("leave out `{name}` or `--watch`")));
        }
    }
    let mut watch = Watch {
        context,
        args: args.clone(),
        interrupt: Interrupt::watch_with(GRACE)?,
        is_terminal: std::io::stdout().is_terminal() && std::io::stderr().is_terminal(),
        asked: None,
        shown: None,
        states: Vec::new(),
        code: None,
    };
    loop {
        let rest = watch.turn()?;
        watch.interrupt.wait(rest);
        if let Some(signal) = watch.interrupt.caught() {
            return watch.end(signal);
        }
    }
}

impl Watch<'_> {
    /// Looks once, shows what is new, and says how long to wait.
    fn turn(&mut self) -> Result<Duration, Failure> {
        let (begun, cost) = (Instant::now(), spent());
        self.context.ui.hold();
        let looked = self.look(begun);
        let said = self.context.ui.release();
        let took = begun.elapsed();
        let cost = spent().zip(cost).map_or(took, |(after, before)| after.saturating_sub(before));
        let rest = rest(cost, took);
        if self.interrupt.caught().is_some() {
            return Ok(Duration::ZERO);
        }
        let has_run = match looked {
            Ok(has_run) => has_run,
            Err(failure) if self.shown.is_none() => {
                said.iter().for_each(|line| self.context.ui.explain(line));
                return Err(failure);
            }
            Err(failure) => {
                self.show_failure(&failure, &said)?;
                return Ok(rest.max(AFTER_FAILURE));
            }
        };
        let Some(mut asked) = self.asked.take() else { return Ok(rest) };
        asked.answered.said = said;
        match &asked.answered.answers {
            Ok(answers) => self.show(&asked, answers, has_run)?,
            Err(failure) => self.show_failure(failure, &asked.answered.said)?,
        }
        self.asked = Some(asked);
        Ok(if has_run { INTERVAL } else { rest })
    }

    /// Asks, unless that would be a run for nothing. Whether a checker ran.
    fn look(&mut self, begun: Instant) -> Result<bool, Failure> {
        let prepared = prepare(self.context, &self.args)?;
        // What changes during a run is another state at the next look.
        let states = self.states(&prepared)?;
        if self.interrupt.caught().is_some() {
            return Ok(false);
        }
        let before = self.asked.as_ref().filter(|asked| asked.states == states);
        if before.is_some_and(|asked| asked.again.is_none_or(|again| begun < again)) {
            return Ok(false);
        }
        let mut answers = match ask(self.context, &prepared, begun, &self.interrupt) {
            Err(failure) if self.shown.is_none() => return Err(failure),
            answers => answers,
        };
        let (mut has_run, mut is_kept) = (answers.is_err(), true);
        for answer in answers.iter_mut().flatten() {
            if prepared.variants.len() > 1 {
                answer.partition = Some(told::name(here(), &answer.variant));
            }
            if let Reuse::Ran { unstored, .. } = &answer.report.reuse {
                has_run = true;
                is_kept &= unstored.is_none();
            }
        }
        let ended = Instant::now();
        let pause = ended.duration_since(begun).saturating_mul(SHARE - 1);
        let again = match &answers {
            Err(_) => Some(ended + pause.max(AFTER_FAILURE)),
            Ok(_) if !is_kept => None,
            Ok(_) if has_run && before.is_some() => Some(ended + pause),
            Ok(_) => Some(ended),
        };
        self.args.force = false;
        let (way, said) = (here().to_owned(), Vec::new());
        let answered = Answered { way, said, prepared: Some(prepared), answers };
        self.asked = Some(Asked { states, answered, again });
        Ok(has_run)
    }

    fn states(&self, prepared: &Prepared) -> Result<Vec<State>, Failure> {
        let store = self.context.store()?;
        let states = prepared.questions.iter().map(|question| {
            let program = question.found.as_ref().map(|found| &found.program);
            State::of(store, program, &question.request, now()).map_err(failure)
        });
        states.collect()
    }

    fn show(
        &mut self,
        Asked { states, answered, .. }: &Asked,
        answers: &[Answer],
        has_run: bool,
    ) -> Result<(), Failure> {
        let parts = answers.iter().map(|Answer { report, .. }| {
            (report.stdout.clone(), report.stderr.clone(), report.exit_code)
        });
        let new = Shown::Answers(parts.collect());
        let is_news = has_run || self.shown.as_ref() != Some(&new);
        if !is_news {
            return Ok(());
        }
        let ui = self.context.ui;
        self.begin(&heading(&changed(&self.states, states, answers)))?;
        let outputs = Outputs::parse(&[], &self.context.settings.caller.cwd)?;
        match (Section::of(answered).as_slice(), &answered.prepared) {
            ([_], Some(prepared)) => {
                outputs.write(answers)?;
                answered.said.iter().for_each(|line| ui.explain(line));
                tell(self.context, &self.args, prepared, answers);
            }
            (sections, _) => sections
                .iter()
                .try_for_each(|section| section.tell(self.context, &self.args, &outputs))?,
        }
        if self.is_terminal {
            ui.note(&self.status(answers));
        }
        self.states.clone_from(states);
        self.shown = Some(new);
        self.code = Some(verdict(answers));
        self.context.sweep_in_passing();
        Ok(())
    }

    fn show_failure(&mut self, failure: &Failure, said: &[String]) -> Result<(), Failure> {
        let new = Shown::Failure(failure.chain());
        if self.shown.as_ref() == Some(&new) {
            return Ok(());
        }
        let ui = self.context.ui;
        self.begin("--- no answer")?;
        said.iter().for_each(|line| ui.explain(line));
        ui.failure(failure);
        if self.is_terminal {
            ui.note("watching · no answer · Ctrl-C ends");
        }
        self.shown = Some(new);
        self.code = Some(failure.kind.code());
        Ok(())
    }

    /// Makes room on a terminal, and elsewhere sets a block apart from the one before.
    fn begin(&self, heading: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        if self.is_terminal {
            write!(stdout, "\x1b[H\x1b[2J")?;
        } else if self.shown.is_some() {
            writeln!(stdout, "{heading}")?;
        }
        Ok(stdout.flush()?)
    }

    /// The line below an answer on a terminal.
    fn status(&self, answers: &[Answer]) -> String {
        let files = answers.iter().map(|answer| answer.report.files).max().unwrap_or(0);
        let findings = findings(&answers.iter().collect::<Vec<_>>());
        let all = findings.iter().flat_map(|findings| &findings.diagnostics);
        let errors = all.filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        let seconds = answers.iter().map(|answer| answer.seconds).fold(0.0, f64::max);
        let clock = self.clock().map(|clock| format!(" {clock}")).unwrap_or_default();
        format!(
            "watching {} · {} · checked{clock} in {} · Ctrl-C ends",
            count(files, "file"),
            count(errors, "error"),
            time(seconds)
        )
    }

    /// The time of day where the user is, which only the system's library knows.
    fn clock(&self) -> Option<String> {
        let program = self.context.settings.caller.program("date")?;
        let output = Command::new(program).arg("+%H:%M:%S").stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    fn end(&self, signal: u8) -> Outcome {
        match self.code {
            Some(code) if i32::from(signal) == SIGINT => Ok(code),
            _ => Err(Failure::interrupted(signal)),
        }
    }
}

/// The way to the one project that is watched.
fn here() -> &'static Path {
    Path::new(".")
}

/// How long to wait after a look without a run. What it `took` may be others' work.
fn rest(cost: Duration, took: Duration) -> Duration {
    cost.saturating_mul(SHARE - 1).max(took).clamp(INTERVAL, LONGEST)
}

/// The processor time of this process and of those that it has waited for, if the system tells.
fn spent() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold anything. The four times are the 12th field after it, and the next.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>().ok()?;
    // Linux tells hundredths of a second, whatever its own clock has.
    Some(Duration::from_millis(ticks.saturating_mul(10)))
}

/// The inputs that changed from one shown answer to the next. Those of which only the run knows are
/// in the report.
fn changed(before: &[State], after: &[State], answers: &[Answer]) -> Vec<String> {
    let known = after.iter().zip(before).flat_map(|(after, before)| after.differences(before));
    let mut names: Vec<String> = known.collect();
    if names.is_empty() {
        names = answers.iter().flat_map(|answer| answer.report.differs.iter().cloned()).collect();
    }
    let plain = |name: &String| {
        let file = name.strip_prefix("file `").and_then(|rest| rest.strip_suffix('`'));
        file.unwrap_or(name).to_owned()
    };
    let names: BTreeSet<String> = names.iter().map(plain).collect();
    names.into_iter().collect()
}

fn heading(changed: &[String]) -> String {
    match changed {
        [] => "--- changed".to_owned(),
        names => format!("--- changed: {}", names.join(", ")),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
