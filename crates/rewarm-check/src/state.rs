//! What a check would look at first, without asking it: for whoever checks again and again.
//!
//! Two equal states mean that nothing of what is known before a run has changed, and that no source was
//! so much as touched. What a run was observed to read beside that is not part of it, so a state
//! decides only whether an answer that cannot be kept is worth another run, and names what has changed.

use std::time::SystemTime;

use rewarm_store::{Digest, Hasher, Store, Witness};

use crate::environment::Facet;
use crate::key::{Snapshot, Subject};
use crate::replay::{DIFFERENCES, Trace};
use crate::request::{CheckError, Request};
use crate::tools::{self, Program};
use crate::witness::Table;

/// The inputs of a check that are known before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    facets: Vec<Facet>,
    /// Of the sources' witnesses: a change that was taken back shows here.
    moment: Digest,
}

impl State {
    /// Looks at the inputs of [`check`](crate::check), or with a program of
    /// [`check_with`](crate::check_with). Fails where these would fail before a run.
    pub fn of(
        store: &Store,
        program: Option<&Program>,
        request: &Request,
        now: SystemTime,
    ) -> Result<Self, CheckError> {
        let mut request = request.clone();
        request.python = std::path::absolute(&request.python)
            .map_err(|source| CheckError::Interpreter { path: request.python.clone(), source })?;
        if let Some(program) = program {
            return tools::state(store, program, &request, now);
        }
        let subject = Subject::new(store, &request)?;
        let mut table = Table::load(store, &subject.root, now);
        let snapshot = Snapshot::take(&subject, &mut table)?;
        Ok(Self::new(snapshot.all_facets(), snapshot.listing.files.values()))
    }

    /// A state of these inputs, among them sources with these witnesses.
    pub(crate) fn new<'a>(
        facets: Vec<Facet>,
        witnesses: impl Iterator<Item = &'a Witness>,
    ) -> Self {
        let mut moment = Hasher::new("moment");
        for Witness { size, mtime, ctime, inode } in witnesses {
            moment.field(size.to_le_bytes()).field(inode.to_le_bytes());
            moment.field(mtime.to_le_bytes()).field(ctime.to_le_bytes());
        }
        Self { facets, moment: moment.finish() }
    }

    /// The names of the inputs that are not as they were, the first ones only.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let mut names = Trace { facets: earlier.facets.clone() }.differences(&self.facets);
        names.truncate(DIFFERENCES);
        names
    }
}
