//! The command itself: look the answer up, else run mypy and keep what it said.
//!
//! Whatever goes wrong with the store on the way costs speed. An answer is stored only if mypy came
//! to an end of its own (exit code 0 or 1), everything it depended on was seen, and nothing of that
//! changed while it ran.

use std::time::{Instant, SystemTime};

use rewarm_store::{Digest, Hasher, Kind, RecordError, Store};
use serde::{Deserialize, Serialize};

use crate::arguments::{Class, classify};
use crate::entries::Entries;
use crate::environment::Facet;
use crate::key::{Snapshot, Subject};
use crate::observed::{Inputs, Observed};
use crate::progress;
use crate::request::{CheckError, Event, Report, Request, Reuse, Timing};
use crate::run::{self, DRIVER, Finished, Scratch};
use crate::seal::Seal;
use crate::witness::Table;
use crate::worker::Worker;

/// Answers under one first key, the latest first. They differ by what they were observed to read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
}

/// One answer of mypy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    inputs: Inputs,
    pub(crate) stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit_code: u8,
}

impl Kind for Answers {
    const NAME: &'static str = "check";
    const VERSION: u16 = 1;
}

/// How many answers one first key may have.
const ANSWERS: usize = 4;

/// The facets of the last run of a request in this checkout, to say what differs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    pub(crate) facets: Vec<Facet>,
}

impl Kind for Trace {
    const NAME: &'static str = "check-trace";
    const VERSION: u16 = 1;
}

impl Trace {
    /// The names of the facets that differ.
    pub(crate) fn differences(&self, after: &[Facet]) -> Vec<String> {
        let map = |facets: &[Facet]| -> std::collections::BTreeMap<_, _> {
            facets.iter().cloned().collect()
        };
        let (old, new) = (map(&self.facets), map(after));
        let changed = after.iter().filter(|(name, digest)| old.get(name) != Some(digest));
        let gone = self.facets.iter().filter(|(name, _)| !new.contains_key(name));
        changed.chain(gone).map(|(name, _)| name.clone()).collect()
    }
}

/// How many differences a report names.
pub(crate) const DIFFERENCES: usize = 10;

/// Answers a request as a cold run of mypy would, from the store where that is certain.
///
/// `now` is the time at which the caller began; `events` hears what happens meanwhile.
pub fn check(
    store: &Store,
    request: &Request,
    now: SystemTime,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Report, CheckError> {
    let mut request = request.clone();
    request.python = std::path::absolute(&request.python)
        .map_err(|source| CheckError::Interpreter { path: request.python.clone(), source })?;
    let begin = Instant::now();
    let subject = Subject::new(store, &request)?;
    let check = Check { store, subject, now, events, begin };
    match classify(&request.arguments) {
        Class::Replayable => check.replay_or_run(),
        Class::Plain(reason) => Ok(check.unstored(run::plain(&request, &[], events)?, reason)),
        Class::Interactive(reason) => Ok(check.unstored(run::interactive(&request)?, reason)),
    }
}

struct Check<'a> {
    store: &'a Store,
    subject: Subject<'a>,
    now: SystemTime,
    events: &'a (dyn Fn(Event) + Sync),
    begin: Instant,
}

impl Check<'_> {
    fn replay_or_run(&self) -> Result<Report, CheckError> {
        let mut table = Table::load(self.store, &self.subject.root, self.now);
        let snapshot = Snapshot::take(&self.subject, &mut table)?;
        let key = snapshot.key();
        let mut differs = Vec::new();
        if !self.subject.request.force {
            match self.lookup(&key, &mut table) {
                Ok(answer) => {
                    self.note("the table of file states", table.save(self.store));
                    self.store.touch::<Answers>(&key, self.now);
                    return Ok(self.replayed(answer, &snapshot));
                }
                Err(second) => differs = second,
            }
        }
        differs.extend(self.compare(&snapshot));
        differs.truncate(DIFFERENCES);
        let lookup = self.begin.elapsed();
        let files = snapshot.listing.sources();
        (self.events)(Event::Running { files });
        let (finished, reuse) = self.run(&snapshot, &key, &mut table)?;
        self.note("the table of file states", table.save(self.store));
        self.note("the inputs of this run", self.leave_trace(&snapshot));
        let timing = Timing { lookup, run: self.begin.elapsed().saturating_sub(lookup) };
        let Finished { stdout, stderr, exit_code, .. } = finished;
        Ok(Report { stdout, stderr, exit_code, reuse, differs, files, timing })
    }

    /// An answer whose inputs all hold; otherwise what each of the known ones failed on.
    fn lookup(&self, key: &Digest, table: &mut Table) -> Result<Answer, Vec<String>> {
        let known: Answers = self.store.read(key).unwrap_or_default();
        let mut differs = Vec::new();
        for answer in known.answers {
            match answer.inputs.verify(&self.subject, table) {
                Ok(()) => return Ok(answer),
                Err(input) => differs.push(input),
            }
        }
        Err(differs)
    }

    /// Runs mypy, stores what may be stored, and says how it went.
    fn run(
        &self,
        snapshot: &Snapshot,
        key: &Digest,
        table: &mut Table,
    ) -> Result<(Finished, Reuse), CheckError> {
        let since = self.now + self.begin.elapsed();
        let mut worker = Worker::of(self.store, &self.subject, DRIVER, since);
        loop {
            if let Some(done) = self.run_in(worker.as_ref(), snapshot, key, table)? {
                return Ok(done);
            }
            worker = None;
        }
    }

    /// The same with a worker if there is one; `None` if that was lost.
    fn run_in(
        &self,
        worker: Option<&Worker<'_>>,
        snapshot: &Snapshot,
        key: &Digest,
        table: &mut Table,
    ) -> Result<Option<(Finished, Reuse)>, CheckError> {
        let request = self.subject.request;
        let (scratch, refusal) = Scratch::new(self.store, request)?;
        if let Some(error) = refusal {
            self.uncached("a private directory", &error);
        }
        let slot = self.store.slot("mypy", &snapshot.namespace(&self.subject));
        // Packs are never changed (see `driver/pack.py`); what else there is may be.
        let in_place = |path: &std::path::Path| path.extension().is_none_or(|end| end != "pack");
        let private = slot.private(in_place).and_then(|private| {
            let seal = Seal::check(private.path())?;
            Ok((private, seal))
        });
        let private = private.map_err(|error| self.uncached("mypy's cache", &error)).ok();
        let cache = private.as_ref().map(|(private, _)| private.path());
        let entries = Entries {
            store: self.store,
            subject: &self.subject,
            listing: &snapshot.listing,
            namespace: snapshot.everything_global(),
            now: self.now,
        };
        let supplied = cache.map(|cache| entries.supply(cache, scratch.path(), table)).transpose();
        let supplied = supplied.map_err(|error| self.uncached("known modules", &error));
        let supplied = supplied.ok().flatten().unwrap_or_default();
        let finished = progress::during(scratch.path(), self.events, || {
            run::observed(request, worker, scratch.path(), cache, self.events)
        })?;
        let Some(mut finished) = finished else { return Ok(None) };
        let observed = finished.observed.take();
        if let Some(lacks) = observed.as_ref().map(|o| o.lacks.clone()).filter(|l| !l.is_empty()) {
            (self.events)(Event::Whole { lacks });
        }
        let unstored = self.store_answer(&finished, observed.as_ref(), (snapshot, key), table)?;
        if let Some((private, seal)) = private
            && unstored.may_seed
            && let Some(observed) = observed.as_ref().filter(|observed| !observed.torn)
        {
            let run = (supplied, observed);
            let taken = entries.take_in(private.path(), scratch.path(), run, table);
            if let Err(error) =
                taken.and_then(|()| seal.renew(private.path())).and_then(|()| private.publish())
            {
                self.uncached("mypy's cache", &error);
            }
        }
        let reuse = observed.unwrap_or_default().into_reuse(unstored.reason);
        Ok(Some((finished, reuse)))
    }

    /// Stores an answer if it is certain what it depends on.
    fn store_answer(
        &self,
        finished: &Finished,
        observed: Option<&Observed>,
        (snapshot, key): (&Snapshot, &Digest),
        table: &mut Table,
    ) -> Result<Unstored, CheckError> {
        let crashed = || Unstored::because("mypy did not come to an end of its own", false);
        let Some(exit_code) = u8::try_from(finished.exit_code).ok().filter(|code| *code < 2) else {
            return Ok(crashed());
        };
        let Some(observed) = observed else { return Ok(crashed()) };
        let later = Snapshot::take(&self.subject, table)?;
        if !snapshot.is_same_moment(&later) {
            return Ok(Unstored::because("an input changed while mypy ran", false));
        }
        if let Some(reason) = observed.reasons.first() {
            return Ok(Unstored::because(reason, true));
        }
        let mut inputs = match Inputs::of(observed, snapshot, &self.subject, table) {
            Ok(inputs) => inputs,
            Err(reason) => return Ok(Unstored::because(&reason, false)),
        };
        let Finished { stdout, stderr, .. } = finished;
        if [stdout, stderr].iter().any(|text| self.subject.places.names_any(text)) {
            inputs.pin(&self.subject);
        }
        let (stdout, stderr) = (stdout.clone(), stderr.clone());
        let answer = Answer { inputs, stdout, stderr, exit_code };
        self.note("the answer", self.add(key, answer));
        Ok(Unstored { reason: None, may_seed: true })
    }

    /// Puts an answer in front of the others under its key.
    fn add(&self, key: &Digest, answer: Answer) -> Result<(), RecordError> {
        // Without the lock another process's answer may be lost, not damaged.
        let _lock = self.store.lock("check", key);
        let mut known: Answers = self.store.read(key).unwrap_or_default();
        known.answers.retain(|other| other.inputs != answer.inputs);
        known.answers.insert(0, answer);
        known.answers.truncate(ANSWERS);
        self.store.write(key, &known)
    }

    /// The inputs that differ from the last run with these arguments.
    fn compare(&self, snapshot: &Snapshot) -> Vec<String> {
        let Some(trace) = self.store.read::<Trace>(&self.trace_key()) else { return Vec::new() };
        trace.differences(&snapshot.all_facets())
    }

    fn leave_trace(&self, snapshot: &Snapshot) -> Result<(), RecordError> {
        self.store.write(&self.trace_key(), &Trace { facets: snapshot.all_facets() })
    }

    /// One trace for each checkout, working directory and list of arguments.
    fn trace_key(&self) -> Digest {
        let mut hasher = Hasher::new("check trace 1");
        hasher.field(self.subject.root.as_os_str().as_encoded_bytes());
        hasher.field(self.subject.cwd.as_os_str().as_encoded_bytes());
        hasher.list(self.subject.request.arguments.iter().map(|a| a.as_encoded_bytes()));
        hasher.finish()
    }

    fn replayed(&self, answer: Answer, snapshot: &Snapshot) -> Report {
        Report {
            stdout: answer.stdout,
            stderr: answer.stderr,
            exit_code: i32::from(answer.exit_code),
            reuse: Reuse::Replayed,
            differs: Vec::new(),
            files: snapshot.listing.sources(),
            timing: Timing { lookup: self.begin.elapsed(), ..Timing::default() },
        }
    }

    /// The report of a run that is not meant to be stored.
    fn unstored(&self, finished: Finished, reason: String) -> Report {
        Report {
            stdout: finished.stdout,
            stderr: finished.stderr,
            exit_code: finished.exit_code,
            reuse: Observed::default().into_reuse(Some(reason)),
            differs: Vec::new(),
            files: 0,
            timing: Timing { run: self.begin.elapsed(), ..Timing::default() },
        }
    }

    fn note<E: std::error::Error>(&self, what: &str, result: Result<(), E>) {
        if let Err(error) = result {
            self.uncached(what, &error);
        }
    }

    fn uncached(&self, what: &str, error: &dyn std::error::Error) {
        let mut reason = format!("cannot store {what}: {error}");
        if let Some(source) = error.source() {
            reason.push_str(&format!(": {source}"));
        }
        (self.events)(Event::Uncached { reason });
    }
}

/// Why an answer was not stored, if it was not.
struct Unstored {
    reason: Option<String>,
    /// Whether mypy's own cache is sound all the same.
    may_seed: bool,
}

impl Unstored {
    fn because(reason: &str, may_seed: bool) -> Self {
        Self { reason: Some(reason.to_owned()), may_seed }
    }
}
