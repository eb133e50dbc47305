//! Answering with a checker that is run as a program: replay, or run and keep.
//!
//! An answer is kept if the checker came to an end of its own with exit code 0 or 1 and no input
//! was so much as touched while it ran.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Instant, SystemTime};

use rewarm_store::{Digest, Hasher, Kind, RecordError, Store};
use serde::{Deserialize, Serialize};

use crate::key::{Subject, globs};
use crate::observed::Observed;
use crate::replay::{DIFFERENCES, Trace};
use crate::request::{CheckError, Event, Report, Request, Reuse, Timing};
use crate::run;
use crate::state::State;
use crate::tools::Program;
use crate::tools::key::{Question, Snapshot, child_variables};
use crate::witness::Table;

/// What a checker said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit_code: u8,
}

impl Kind for Told {
    const NAME: &'static str = "check-tool";
    const VERSION: u16 = 1;
}

/// A script in an environment of the checker's own is started with the interpreter there: the
/// environment may have been made in another place.
fn command(program: &Program) -> Command {
    let Some(home) = &program.home else { return Command::new(&program.executable) };
    let mut start = [0; 2];
    let read = File::open(&program.executable).and_then(|mut file| file.read_exact(&mut start));
    if read.is_err() || start != *b"#!" {
        return Command::new(&program.executable);
    }
    let mut command = Command::new(home.join("bin/python"));
    command.arg(&program.executable);
    command
}

/// Answers a request as a run of `program` would, from the store where that is certain.
///
/// The request's arguments are the checker's; its `default_target` is not used. `now` is the time
/// at which the caller began; `events` hears what happens meanwhile.
pub fn check_with(
    store: &Store,
    program: &Program,
    request: &Request,
    now: SystemTime,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Report, CheckError> {
    let begin = Instant::now();
    let mut request = request.clone();
    request.python = std::path::absolute(&request.python)
        .map_err(|source| CheckError::Interpreter { path: request.python.clone(), source })?;
    let subject = subject(store, program, &request)?;
    let globs = globs(&request.extra_inputs)?;
    let question = Question { subject: &subject, program, globs };
    let mut table = Table::load_for(store, program.checker.name(), &subject.root, now);
    let snapshot = Snapshot::take(&question, &mut table)?;
    let check = Check { store, question: &question, snapshot: &snapshot, now, events, begin };
    let report = check.answer(&mut table);
    check.note("the table of file states", table.save(store));
    report
}

/// The state of all inputs.
pub(crate) fn state(
    store: &Store,
    program: &Program,
    request: &Request,
    now: SystemTime,
) -> Result<State, CheckError> {
    let subject = subject(store, program, request)?;
    let globs = globs(&request.extra_inputs)?;
    let question = Question { subject: &subject, program, globs };
    let mut table = Table::load_for(store, program.checker.name(), &subject.root, now);
    let snapshot = Snapshot::take(&question, &mut table)?;
    Ok(State::new(snapshot.all_facets(), snapshot.witnesses()))
}

fn subject<'a>(
    store: &Store,
    program: &Program,
    request: &'a Request,
) -> Result<Subject<'a>, CheckError> {
    let mut subject = Subject::new(store, request)?;
    if let Some(home) = &program.home {
        subject.places.add("tool", home);
    }
    Ok(subject)
}

struct Check<'a> {
    store: &'a Store,
    question: &'a Question<'a>,
    snapshot: &'a Snapshot,
    now: SystemTime,
    events: &'a (dyn Fn(Event) + Sync),
    begin: Instant,
}

impl Check<'_> {
    fn answer(&self, table: &mut Table) -> Result<Report, CheckError> {
        let subject = self.question.subject;
        let key = self.snapshot.key();
        if self.snapshot.open.is_none() && !subject.request.force {
            for key in [key, self.here(&key)] {
                if let Some(told) = self.store.read::<Told>(&key) {
                    self.store.touch::<Told>(&key, self.now);
                    return Ok(self.report(told, Reuse::Replayed, Vec::new()));
                }
            }
        }
        let differs = self.compare();
        let lookup = self.begin.elapsed();
        (self.events)(Event::Running { files: self.snapshot.sources(subject) });
        let output = self.run()?;
        let run = self.begin.elapsed().saturating_sub(lookup);
        let exit_code = run::code(output.status);
        let unstored = self.keep(&key, &output, exit_code, table)?;
        self.note("the inputs of this run", self.leave_trace());
        let reuse = Observed::default().into_reuse(unstored);
        let (stdout, stderr) = (output.stdout, output.stderr);
        let mut report = self.report(Told { stdout, stderr, exit_code: 0 }, reuse, differs);
        report.exit_code = exit_code;
        report.timing = Timing { lookup, run };
        Ok(report)
    }

    fn run(&self) -> Result<Output, CheckError> {
        let (subject, program) = (self.question.subject, self.question.program);
        let request = subject.request;
        let mut command = command(program);
        command.args(program.checker.subcommand()).args(&request.arguments);
        command.current_dir(&subject.cwd).env_clear();
        command.envs(child_variables(&request.variables, &self.snapshot.referred));
        let path = program.executable.clone();
        run::capture(command, self.events).map_err(|source| CheckError::Program { path, source })
    }

    /// Keeps an answer, or says why not.
    fn keep(
        &self,
        key: &Digest,
        output: &Output,
        exit_code: i32,
        table: &mut Table,
    ) -> Result<Option<String>, CheckError> {
        if let Some(reason) = &self.snapshot.open {
            return Ok(Some(reason.clone()));
        }
        let name = self.question.program.checker.name();
        let Some(exit_code) = u8::try_from(exit_code).ok().filter(|code| *code < 2) else {
            return Ok(Some(format!("{name} did not come to an end of its own")));
        };
        if *self.snapshot != Snapshot::take(self.question, table)? {
            return Ok(Some(format!("an input changed while {name} ran")));
        }
        let places = &self.question.subject.places;
        let is_bound = [&output.stdout, &output.stderr].iter().any(|text| places.names_any(text));
        let key = if is_bound { self.here(key) } else { *key };
        let (stdout, stderr) = (output.stdout.clone(), output.stderr.clone());
        self.note("the answer", self.store.write(&key, &Told { stdout, stderr, exit_code }));
        Ok(None)
    }

    /// The key of an answer that holds in these directories only.
    fn here(&self, key: &Digest) -> Digest {
        let subject = self.question.subject;
        let mut hasher = Hasher::new("check tool here 1");
        hasher.field(key.as_bytes());
        let interpreter = &subject.interpreter;
        for path in [&subject.root, &subject.cwd, &interpreter.prefix, &interpreter.base] {
            hasher.field(path.as_os_str().as_bytes());
        }
        let home = self.question.program.home.as_deref().map(Path::as_os_str);
        hasher.optional(home.map(|path| path.as_bytes()));
        let user = crate::configuration::variable(subject.request, "HOME".as_ref());
        hasher.optional(user.map(|path| path.as_bytes()));
        hasher.finish()
    }

    /// The inputs that differ from the last run with these arguments.
    fn compare(&self) -> Vec<String> {
        let trace = self.store.read::<Trace>(&self.trace_key());
        let facets = || self.snapshot.all_facets();
        let mut differs = trace.map(|trace| trace.differences(&facets())).unwrap_or_default();
        differs.truncate(DIFFERENCES);
        differs
    }

    fn leave_trace(&self) -> Result<(), RecordError> {
        self.store.write(&self.trace_key(), &Trace { facets: self.snapshot.all_facets() })
    }

    /// One trace for each checker, checkout, working directory and list of arguments.
    fn trace_key(&self) -> Digest {
        let subject = self.question.subject;
        let mut hasher = Hasher::new("check tool trace 1");
        hasher.field(self.question.program.checker.name());
        hasher.field(subject.root.as_os_str().as_bytes());
        hasher.field(subject.cwd.as_os_str().as_bytes());
        hasher.list(subject.request.arguments.iter().map(|a: &OsString| a.as_bytes()));
        hasher.finish()
    }

    fn report(&self, told: Told, reuse: Reuse, differs: Vec<String>) -> Report {
        Report {
            stdout: told.stdout,
            stderr: told.stderr,
            exit_code: i32::from(told.exit_code),
            reuse,
            differs,
            files: self.snapshot.sources(self.question.subject),
            timing: Timing { lookup: self.begin.elapsed(), ..Timing::default() },
        }
    }

    fn note<E: std::error::Error>(&self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            let mut reason = format!("cannot store {what}: {error}");
            if let Some(source) = error.source() {
                reason.push_str(&format!(": {source}"));
            }
            (self.events)(Event::Uncached { reason });
        }
    }
}
