//! Asks the checkers of one or several projects, as many at once as the machine can bear.
//!
//! A question for each core is worked on. A checker that has to run waits for memory: its peak is
//! estimated from the number of sources, and the sum of estimates stays below what was available when
//! the first one began, except that one may always run. A replay needs no such thing and waits for nobody. The
//! answers come in the order of the questions.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::time::Instant;

use rewarm_check::{CheckError, Event};

use crate::commands::check::limit::Limit;
use crate::commands::check::memory::{Memory, available, estimate};
use crate::commands::check::{Answer, Prepared, Question};
use crate::context::{Context, now};
use crate::error::Failure;
use crate::interrupt::Interrupt;
use crate::ui::Bar;

/// Asks every tool about one project.
pub(super) fn ask(
    context: &Context<'_>,
    prepared: &Prepared,
    started: Instant,
    interrupt: &Interrupt,
) -> Result<Vec<Answer>, Failure> {
    let asked = ask_all(context, &[prepared], started, interrupt)?;
    asked.into_iter().next().unwrap_or_else(|| Ok(Vec::new()))
}

/// Asks every tool about every project. Fails as a whole only if it is interrupted, or if there is
/// nowhere to work.
pub(super) fn ask_all(
    context: &Context<'_>,
    projects: &[&Prepared],
    started: Instant,
    interrupt: &Interrupt,
) -> Result<Vec<Result<Vec<Answer>, Failure>>, Failure> {
    let store = context.store()?;
    let now = now();
    let limits: Vec<Limit> = projects
        .iter()
        .map(|prepared| Limit::new(prepared.workspace.config.check.timeout))
        .collect();
    let units: Vec<(usize, &Question)> = projects
        .iter()
        .enumerate()
        .flat_map(|(index, prepared)| prepared.questions.iter().map(move |one| (index, one)))
        .collect();
    // A replay does not need to know.
    let memory = LazyLock::new(|| Memory::new(available(Path::new("/"))));
    let progress = Progress { context, projects, units: units.len(), bar: OnceLock::new() };
    let answer = |(project, question): (usize, &Question)| {
        let begun = if projects.len() == 1 { started } else { Instant::now() };
        let share = OnceLock::new();
        let tell = |event| match event {
            Event::Started { group } => {
                interrupt.ends(group);
                limits[project].watches(group);
            }
            Event::Running { files } => {
                share.get_or_init(|| memory.take(estimate(files)));
                progress.runs(files);
            }
            Event::Progress { modules, of } => progress.is_at(modules, of),
            Event::Whole { lacks } => context.ui.note(&format!(
                "answers are replayed as a whole only: this mypy lacks `{lacks}` of 2.0 to 2.4"
            )),
            Event::Uncached { reason } => context.ui.warn(&format!("nothing was kept: {reason}")),
            _ => {}
        };
        let Question { tool, variant, found, request } = question;
        let report = match found {
            None => rewarm_check::check(store, request, now, &tell),
            Some(found) => rewarm_check::check_with(store, &found.program, request, now, &tell),
        };
        progress.ends();
        let workspace = &projects[project].workspace;
        report.map(|report| Answer {
            tool: *tool,
            variant: variant.clone(),
            partition: None,
            report,
            project: workspace.root.clone(),
            cwd: request.cwd.clone(),
            environment: workspace.prefix.clone(),
            seconds: begun.elapsed().as_secs_f64(),
        })
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let answers = in_turn(cores, &units, || interrupt.caught().is_some(), answer);
    drop(progress);
    interrupt.over();
    if let Some(signal) = interrupt.caught() {
        return Err(Failure::interrupted(signal));
    }
    let mut sorted: Vec<_> = limits.iter().map(|limit| (limit, Ok(Vec::new()))).collect();
    for ((project, _), answer) in units.iter().zip(answers) {
        let (limit, answers) = &mut sorted[*project];
        take_in(answers, answer.map_err(failure), limit);
    }
    Ok(sorted.into_iter().map(|(_, answers)| answers).collect())
}

/// Adds an answer to those of its project; the first failure stands for all.
fn take_in(
    answers: &mut Result<Vec<Answer>, Failure>,
    answer: Result<Answer, Failure>,
    limit: &Limit,
) {
    let Ok(known) = answers else { return };
    let answer = answer.and_then(|answer| {
        limit.check(answer.tool.name(), &answer.report)?;
        Ok(answer)
    });
    match answer {
        Ok(answer) => known.push(answer),
        Err(failure) => *answers = Err(failure),
    }
}

/// What is wrong with a project, with what mends it.
pub(super) fn failure(error: CheckError) -> Failure {
    match error {
        CheckError::NoMypy { .. } => Failure::usage(error)
            .hint("add `mypy` to the project's development dependencies and lock again"),
        CheckError::OldMypy { .. } => {
            Failure::usage(error).hint("require `mypy>=2` in the project and lock again")
        }
        CheckError::Glob { .. } => Failure::usage(error).hint("mend `tool.rewarm.check.inputs`"),
        other => Failure::world(other),
    }
}

/// Does some work for each unit, on several threads that take one after the other. Gives the results in
/// the order of the units; those that were not begun when `is_over` are missing at the end.
fn in_turn<U: Copy + Sync, T: Send + Sync>(
    threads: usize,
    units: &[U],
    is_over: impl Fn() -> bool + Sync,
    work: impl Fn(U) -> T + Sync,
) -> Vec<T> {
    let results: Vec<OnceLock<T>> = units.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take_turns = || {
        while !is_over() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(unit), Some(result)) = (units.get(index), results.get(index)) else { break };
            result.get_or_init(|| work(*unit));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(units.len()) {
            scope.spawn(take_turns);
        }
        take_turns();
    });
    results.into_iter().map_while(OnceLock::into_inner).collect()
}

/// How far it is, on a terminal.
struct Progress<'a> {
    context: &'a Context<'a>,
    projects: &'a [&'a Prepared],
    units: usize,
    bar: OnceLock<Bar>,
}

impl Progress<'_> {
    /// A checker runs.
    fn runs(&self, files: usize) {
        self.bar.get_or_init(|| match self.projects {
            [one] => {
                let names: Vec<_> = one.questions.iter().map(|one| one.tool.name()).collect();
                let verb = if names.len() == 1 { "is" } else { "are" };
                let label = format!("{} {verb} checking {files} files", names.join(", "));
                self.context.ui.modules(&label)
            }
            several => {
                let label = format!("checking {} projects", several.len());
                self.context.ui.count(&label, self.units)
            }
        });
    }

    /// mypy has checked so many modules. Where several projects are checked they are what counts.
    fn is_at(&self, modules: u64, of: Option<u64>) {
        if let Some(bar) = self.bar.get().filter(|_| self.projects.len() == 1) {
            bar.at(modules);
            bar.total(of.unwrap_or_default());
        }
    }

    /// A question is answered.
    fn ends(&self) {
        if let Some(bar) = self.bar.get().filter(|_| self.projects.len() > 1) {
            bar.advance(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_units_and_two_are_worked_on_at_once() {
        let both = Barrier::new(2);
        let work = |unit: usize| {
            both.wait();
            unit * 10
        };
        assert_eq!(in_turn(2, &[1, 2, 3, 4], || false, work), [10, 20, 30, 40]);
    }

    #[test]
    fn nothing_is_begun_after_the_end() {
        let is_over = AtomicUsize::new(0);
        let work = |unit: usize| {
            is_over.store(1, Ordering::SeqCst);
            unit
        };
        let over = || is_over.load(Ordering::SeqCst) == 1;
        assert_eq!(in_turn(1, &[1, 2, 3], over, work), [1]);
    }
}
