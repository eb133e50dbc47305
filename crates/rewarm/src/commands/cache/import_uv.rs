//! `rewarm cache import uv`: what uv has unpacked, on uv's word.
//!
//! Without that word nothing can be taken, and what there is is told with the reason. With it, each
//! wheel's files are checked against its `RECORD` to the last byte, and become a tree as if rewarm had
//! unpacked them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rewarm_http::import::uv::{self, Scan, Unpacked};
use serde_json::json;

use crate::args::Import;
use crate::commands::{json_path, print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};

const UNPROVEN: &str = "unpacked, so that nothing proves which wheel they are; \
    `--trust-uv` takes uv's word for it";
const NO_DIGEST: &str = "uv did not note the wheel's digest";
const OWN_PAGES: &str = "index pages are kept as uv's own data, not as they came";
const OWN_SOURCES: &str = "source distributions are kept unpacked, and builds have worked in them";

/// What became of one unpacked wheel.
enum Fate {
    Taken,
    Present,
    Skipped(String),
}

pub(super) fn run(context: &Context<'_>, args: &Import) -> Outcome {
    if !(args.url.is_empty() && args.index_url.is_empty() && args.public.is_empty()) {
        let text = "`--url`, `--index-url` and `--public` are for pip's cache";
        return Err(Failure::usage(text));
    }
    let dir = match &args.dir {
        Some(dir) => context.settings.caller.cwd.join(dir),
        None => default_dir(context)?,
    };
    if !uv::is_cache(&dir) {
        let text = format!("there is no cache of uv's in `{}`", dir.display());
        return Err(Failure::usage(text).hint("name the directory that `uv cache dir` prints"));
    }
    let found = uv::scan(&dir).map_err(|error| {
        let text = format!("cannot read `{}`: {error}", dir.display());
        Failure::world(std::io::Error::new(error.kind(), text))
    })?;
    let store = match args.dry_run {
        true => None,
        false => Some(context.store_itself()?),
    };
    let bar = context.ui.count("importing", found.unpacked.len());
    let fates: Vec<_> = found
        .unpacked
        .par_iter()
        .map(|wheel| {
            let fate = match (&wheel.sha256, store) {
                _ if !args.trust_uv => Fate::Skipped(UNPROVEN.to_owned()),
                (None, _) => Fate::Skipped(NO_DIGEST.to_owned()),
                (Some(_), None) => Fate::Taken,
                (Some(digest), Some(store)) => {
                    let Unpacked { dir, filename, .. } = wheel;
                    match rewarm_env::adopt_unpacked(store, dir, digest, filename) {
                        Ok(true) => Fate::Taken,
                        Ok(false) => Fate::Present,
                        Err(error) => Fate::Skipped(error.to_string()),
                    }
                }
            };
            bar.advance(1);
            fate
        })
        .collect();
    drop(bar);
    let fates: Vec<_> = found.unpacked.iter().zip(fates).collect();
    tell(context, args, &dir, &found, &fates)
}

/// Where uv keeps its cache unless told otherwise.
fn default_dir(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let caller = &context.settings.caller;
    let given = caller.get("UV_CACHE_DIR").map(|dir| caller.cwd.join(dir));
    let dir = given.or_else(|| caller.xdg("XDG_CACHE_HOME", ".cache").map(|dir| dir.join("uv")));
    dir.ok_or_else(|| Failure::usage("no home directory is set").hint("name uv's cache directory"))
}

fn tell(
    context: &Context<'_>,
    args: &Import,
    dir: &Path,
    found: &Scan,
    fates: &[(&Unpacked, Fate)],
) -> Outcome {
    let mut rows: BTreeMap<(u8, String), usize> = BTreeMap::new();
    for (wheel, fate) in fates {
        let (row, text) = match fate {
            Fate::Taken => ((0, "taken, unpacked as they are".to_owned()), "took".to_owned()),
            Fate::Present => ((1, "in the cache already".to_owned()), "had".to_owned()),
            Fate::Skipped(reason) => {
                let is_common = [UNPROVEN, NO_DIGEST].contains(&reason.as_str());
                let row = if is_common { reason } else { "not as their `RECORD` says" };
                ((2, format!("skipped: {row}")), format!("skipped ({reason})"))
            }
        };
        *rows.entry(row).or_default() += 1;
        context.ui.detail(&format!("{text}: {}", wheel.filename));
    }
    for skipped in &found.skipped {
        *rows.entry((2, format!("skipped: {}", skipped.reason))).or_default() += 1;
        context.ui.detail(&format!("skipped `{}`: {}", skipped.path.display(), skipped.reason));
    }
    for (count, reason) in [(found.pages, OWN_PAGES), (found.sources, OWN_SOURCES)] {
        if count > 0 {
            rows.insert((2, format!("skipped: {reason}")), count);
        }
    }
    if context.settings.json {
        return print_json(&describe(args, dir, found, fates));
    }
    let line = |((_, row), count): (&(u8, String), &usize)| format!("{count:>7}  {row}\n");
    print(rows.iter().map(line).collect::<String>().as_bytes())?;
    if args.dry_run {
        context.ui.note("nothing was taken: this was a dry run, which does not read the files");
    }
    Ok(0)
}

fn describe(
    args: &Import,
    dir: &Path,
    found: &Scan,
    fates: &[(&Unpacked, Fate)],
) -> serde_json::Value {
    let (mut taken, mut skipped) = (Vec::new(), Vec::new());
    for (wheel, fate) in fates {
        let how = match fate {
            Fate::Taken => "copy",
            Fate::Present => "present",
            Fate::Skipped(reason) => {
                let (path, wheel) = (json_path(&wheel.dir), &wheel.filename);
                skipped.push(json!({ "path": path, "wheel": wheel, "reason": reason }));
                continue;
            }
        };
        taken.push(json!({
            "path": json_path(&wheel.dir),
            "wheel": wheel.filename,
            "sha256": wheel.sha256.map(|digest| digest.to_string()),
            "as": "tree",
            "how": how,
        }));
    }
    for note in &found.skipped {
        let (path, reason) = (json_path(&note.path), note.reason.to_string());
        skipped.push(json!({ "path": path, "wheel": null, "reason": reason }));
    }
    json!({
        "directory": json_path(dir),
        "dry_run": args.dry_run,
        "taken": taken,
        "skipped": skipped,
        "index_pages": found.pages,
        "source_distributions": found.sources,
    })
}
