//! Where a checker comes from: the project's environment, else one of its own in the cache.
//!
//! The latter is made from a list of pinned files that is part of rewarm, through the fetch cache,
//! once for each list and interpreter. It lies under a slot of the store, so that it is counted,
//! and swept when nobody used it for long; a lease keeps it while it is in use.

use std::path::{Path, PathBuf};

use rewarm_check::{Checker, Program};
use rewarm_store::{Digest, Hasher, Lease};

use crate::args::Install;
use crate::context::Context;
use crate::environment::Workspace;
use crate::error::Failure;
use crate::venv;

/// What a version of rewarm installs: a requirements file with versions and hashes.
const fn pins(checker: Checker) -> &'static str {
    match checker {
        Checker::Ty => include_str!("pins/ty.txt"),
        Checker::Pyright => include_str!("pins/pyright.txt"),
        Checker::Pyrefly => include_str!("pins/pyrefly.txt"),
        Checker::Zuban => include_str!("pins/zuban.txt"),
    }
}

/// A checker that can be run, and what keeps it from being swept meanwhile.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) program: Program,
    _lease: Option<Lease>,
}

/// Finds the checker, or installs it.
pub(super) fn find(
    context: &Context<'_>,
    prefix: &Path,
    checker: Checker,
) -> Result<Found, Failure> {
    let executable = prefix.join("bin").join(checker.name());
    if executable.exists() {
        return Ok(Found { program: Program { checker, executable, home: None }, _lease: None });
    }
    let store = context.store()?;
    let interpreter = std::fs::canonicalize(prefix.join("bin/python"))?;
    let mut key = Hasher::new("checker environment 1");
    key.field(pins(checker)).field(interpreter.as_os_str().as_encoded_bytes());
    let key = key.finish();
    // A cache that cannot be written is not swept either.
    let lease = store.lease([key]).ok();
    let slot = store.slot("checker", &key);
    let is_made = |root: &PathBuf| root.join("made").exists();
    let known = slot.directory()?.filter(is_made);
    let root = match known {
        Some(root) => root,
        None => {
            // Whoever comes second finds what the first has made.
            let _lock = store.lock("checker", &key);
            match slot.directory()?.filter(is_made) {
                Some(root) => root,
                None => install(context, checker, &key, &interpreter)?,
            }
        }
    };
    let home = root.join(".venv");
    let executable = home.join("bin").join(checker.name());
    Ok(Found { program: Program { checker, executable, home: Some(home) }, _lease: lease })
}

/// Makes the environment of a checker. Gives the directory that it lies in.
fn install(
    context: &Context<'_>,
    checker: Checker,
    key: &Digest,
    interpreter: &Path,
) -> Result<PathBuf, Failure> {
    let name = checker.name();
    context.ui.note(&format!("installing {name}, which the environment does not have"));
    let slot = context.store()?.slot("checker", key);
    let private = slot.private(|_| true)?;
    std::fs::write(private.path().join("requirements.txt"), pins(checker))?;
    let workspace = Workspace::of_lock(private.path());
    let python = interpreter.to_str().map(str::to_owned);
    let wish = Install { python, ..Install::default() };
    let options = venv::options(context, &workspace, &wish)?;
    let installed = venv::ensure(context, &workspace, &options).map_err(|failure| {
        failure.hint(format!("add `{name}` to the project to use its own version"))
    })?;
    if let Some(summary) = installed.summary() {
        context.ui.note(&summary);
    }
    std::fs::write(private.path().join("made"), "")?;
    private.publish()?;
    slot.directory()?.ok_or_else(|| {
        Failure::world(std::io::Error::other(format!("the environment of {name} left the cache")))
    })
}
