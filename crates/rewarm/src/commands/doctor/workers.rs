//! Which processes keep mypy in memory for the next check.

use crate::commands::check::worker::{PATIENCE, directory};
use crate::commands::doctor::Finding;
use crate::context::{Context, now};
use crate::ui::size;

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let workers = rewarm_check::workers(&directory(&context.settings.cache_dir), PATIENCE);
    let now = now();
    let texts = workers.iter().map(|worker| {
        let minutes = now.duration_since(worker.since).unwrap_or_default().as_secs() / 60;
        format!(
            "process {} keeps mypy of `{}`: {minutes} min old, {}, runs served: {}",
            worker.pid,
            worker.environment.display(),
            size(worker.memory),
            worker.runs,
        )
    });
    texts.map(|text| Finding::fine("worker", text)).collect()
}
