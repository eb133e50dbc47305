//! Whether a check may use a worker, and where workers are found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rewarm_check::WorkerOptions;

use crate::args::Check;
use crate::context::Context;
use crate::environment::Workspace;

/// How long a worker waits for the next check.
const IDLE: Duration = Duration::from_secs(600);

/// How long a worker is waited for. A fresh mypy is there within a second.
pub(in crate::commands) const PATIENCE: Duration = Duration::from_secs(2);

/// The directory of the workers' sockets, below the cache that they work for.
pub(in crate::commands) fn directory(cache: &Path) -> PathBuf {
    cache.join("workers")
}

/// Ends the workers of this cache, or only those of an environment that is about to go. One that cannot
/// be told ends by itself when it finds its files gone.
pub(in crate::commands) fn end(context: &Context<'_>, environment: Option<&Path>) {
    let directory = directory(&context.settings.cache_dir);
    if let Err(error) = rewarm_check::end_workers(&directory, environment, PATIENCE) {
        let shown = directory.display();
        context.ui.detail(&format!("could not end the workers in `{shown}`: {error}"));
    }
}

/// Workers are for those who check again and again: not for CI, nor with a cache that is gone after
/// this check.
pub(super) fn options(
    context: &Context<'_>,
    workspace: &Workspace,
    args: &Check,
) -> Option<WorkerOptions> {
    let settings = &context.settings;
    let configured = workspace.config.check.worker.or(settings.user.check.worker);
    let wanted = configured.unwrap_or(!settings.caller.is_on("CI")) && !args.no_worker;
    let is_kept = context.store().is_ok_and(|store| store.root() == settings.cache_dir);
    (wanted && is_kept).then(|| WorkerOptions {
        directory: directory(&settings.cache_dir),
        idle: IDLE,
        patience: PATIENCE,
    })
}
