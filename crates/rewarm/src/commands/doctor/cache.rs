//! Whether the cache can be used, and whether it is where it is of most use.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rewarm_store::Store;

use crate::commands::doctor::Finding;
use crate::context::Context;
use crate::error::Failure;
use crate::formats;
use crate::ui::size;

/// Less room than this will not do for long.
const LITTLE: u64 = 1 << 30;

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let dir = &context.settings.cache_dir;
    let store = match Store::open(dir) {
        Ok(store) => store,
        Err(error) => {
            let mend = "own that directory, or name another one: `--cache-dir`, `REWARM_CACHE_DIR`";
            let finding = Finding::failure("cache", &Failure::world(error).hint(mend));
            return vec![finding];
        }
    };
    let mut findings = vec![Finding::fine("cache", dir.display().to_string())];
    findings.extend(room(dir));
    findings.extend(other_device(dir, &context.settings.start));
    findings.extend(contents(context, &store));
    findings
}

fn room(dir: &Path) -> Option<Finding> {
    let statistics = rustix::fs::statvfs(dir).ok()?;
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let text = format!("{} free in its file system", size(free));
    (free < LITTLE).then(|| {
        Finding::slow(
            "cache",
            text,
            "make room, for example with `rewarm cache prune --max-size 1GiB`",
        )
    })
}

/// Files can be linked out of the cache within one file system only.
fn other_device(cache: &Path, project: &Path) -> Option<Finding> {
    let (cache, project) = (std::fs::metadata(cache).ok()?, std::fs::metadata(project).ok()?);
    (cache.dev() != project.dev()).then(|| {
        let text = "in another file system than the project: installing copies instead of linking";
        Finding::slow("cache", text, "set `REWARM_CACHE_DIR` to a directory beside your projects")
    })
}

fn contents(context: &Context<'_>, store: &Store) -> Vec<Finding> {
    let inventory = match store.inventory(&formats::known()) {
        Ok(inventory) => inventory,
        Err(error) => return vec![Finding::failure("cache", &Failure::world(error))],
    };
    let mut findings = Vec::new();
    let total: u64 = inventory.totals().values().map(|kind| kind.bytes).sum();
    let bound = context.settings.max_size;
    let text = format!("holds {} of at most {}", size(total), size(bound));
    findings.push(match total > bound {
        true => Finding::slow("cache", text, "`rewarm cache prune` brings it within its bounds"),
        false => Finding::fine("cache", text),
    });
    if inventory.records.iter().any(|record| !record.is_known) {
        let text = "also holds what other versions of rewarm wrote";
        let mend = "keep it if you use them, else `rewarm cache prune --old-formats`";
        findings.push(Finding::slow("cache", text, mend));
    }
    findings
}
