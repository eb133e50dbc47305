//! `rewarm cache import pip`: takes over what pip has downloaded.
//!
//! pip's directory is only read. What is taken was checked to the last byte; what is not is named
//! with the reason. Doing it again takes only what is new.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rewarm_env::Project;
use rewarm_http::Url;
use rewarm_http::import::{Candidate, Hints, Skip, Skipped, Taken, pip};
use rewarm_store::{Count, LinkKind};
use serde_json::{Value, json};

use crate::args::Import;
use crate::commands::{fetch, json_path, print, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::ui::size;

/// What was taken, and what not.
#[derive(Default)]
struct Report {
    taken: Vec<(Candidate, Taken)>,
    skipped: Vec<Skipped>,
}

pub(super) fn run(context: &Context<'_>, args: &Import) -> Outcome {
    if args.trust_uv {
        return Err(Failure::usage("`--trust-uv` is for uv's cache"));
    }
    let dir = match &args.dir {
        Some(dir) => context.settings.caller.cwd.join(dir),
        None => default_dir(context)?,
    };
    if !pip::is_cache(&dir) {
        let text = format!("there is no HTTP cache of pip's in `{}`", dir.display());
        return Err(Failure::usage(text).hint("name the directory that `pip cache dir` prints"));
    }
    let found = {
        let _spinner = context.ui.spinner("reading the heads of pip's entries");
        pip::scan(&dir, &hints(context, args)?).map_err(|error| {
            let text = format!("cannot read `{}`: {error}", dir.display());
            Failure::world(std::io::Error::new(error.kind(), text))
        })?
    };
    let mut report = Report { skipped: found.skipped, ..Report::default() };
    // Looked at first: where nothing can be kept, nothing need be read.
    let store = if args.dry_run { None } else { Some(context.store_itself()?) };
    let total = found.candidates.iter().map(Candidate::size).sum();
    let bar = context.ui.bytes("importing", Some(total));
    let results: Vec<_> = found
        .candidates
        .into_par_iter()
        .map(|candidate| {
            let taken = match store {
                Some(store) => candidate.take(store),
                None => candidate.check(),
            };
            bar.advance(candidate.size());
            (candidate, taken)
        })
        .collect();
    drop(bar);
    let mut failed = None;
    for (candidate, taken) in results {
        match taken {
            Ok(taken) => report.taken.push((candidate, taken)),
            Err(reason) => {
                let Candidate { path, url, .. } = candidate;
                if matches!(reason, Skip::Store(_)) {
                    failed.get_or_insert_with(|| reason.to_string());
                }
                report.skipped.push(Skipped { path, url, reason });
            }
        }
    }
    tell(context, args, &dir, &report)?;
    match failed {
        Some(text) => Err(Failure::world(text).hint(
            "make room, for example with `rewarm cache prune`; what was taken so far is kept",
        )),
        None => Ok(0),
    }
}

/// Where pip keeps its cache unless told otherwise.
fn default_dir(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let caller = &context.settings.caller;
    let fallback = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    let given = caller.get("PIP_CACHE_DIR").map(|dir| caller.cwd.join(dir));
    let dir = given.or_else(|| caller.xdg("XDG_CACHE_HOME", fallback).map(|dir| dir.join("pip")));
    dir.ok_or_else(|| Failure::usage("no home directory is set").hint("name pip's cache directory"))
}

/// What may help to find the URLs of entries.
fn hints(context: &Context<'_>, args: &Import) -> Result<Hints, Failure> {
    let parse = |texts: &[String]| -> Result<Vec<Url>, Failure> {
        texts.iter().map(|text| fetch::parse(text)).collect()
    };
    let mut hints = Hints {
        indexes: parse(&args.index_url)?,
        urls: parse(&args.url)?,
        public: parse(&args.public)?,
    };
    let settings = &context.settings;
    let configured = settings.index_url(&settings.user).map_err(Failure::usage)?;
    hints.indexes.extend(Url::parse(configured.as_str()));
    if let Some(project) = Project::find(&settings.start) {
        for (name, _) in rewarm_env::LOCK_FILES {
            let text = std::fs::read_to_string(project.root.join(name)).unwrap_or_default();
            hints.urls.extend(urls_in(&text));
        }
    }
    Ok(hints)
}

/// Every URL that stands in a text between blanks, quotes and brackets.
fn urls_in(text: &str) -> impl Iterator<Item = Url> {
    let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ',' | ';');
    let words = text.split(is_end).filter(|word| word.contains("://"));
    words.filter_map(|word| Url::parse(word).ok())
}

fn tell(context: &Context<'_>, args: &Import, dir: &Path, report: &Report) -> Outcome {
    for (candidate, taken) in &report.taken {
        let how = match (taken.how, args.dry_run) {
            (_, true) => "would take",
            (Some(LinkKind::Reflink), _) => "cloned",
            (Some(_), _) => "copied",
            (None, _) => "had",
        };
        context.ui.detail(&format!("{how} {}, {}", name(candidate), size(taken.size)));
    }
    for Skipped { path, url, reason } in &report.skipped {
        let name = url.as_ref().map_or_else(|| path.display().to_string(), Url::to_string);
        context.ui.detail(&format!("skipped {name}: {reason}"));
    }
    if context.settings.json {
        return print_json(&describe(args, dir, report));
    }
    let mut rows: BTreeMap<(u8, String), Count> = BTreeMap::new();
    for (_, taken) in &report.taken {
        let row = match (taken.how, taken.is_response) {
            (None, _) if !args.dry_run => (2, "in the cache already".to_owned()),
            (_, true) => (0, "taken with their URLs".to_owned()),
            (_, false) => (1, "taken by their digests".to_owned()),
        };
        let count = rows.entry(row).or_default();
        (count.entries, count.bytes) = (count.entries + 1, count.bytes + taken.size);
    }
    for skipped in &report.skipped {
        let count = rows.entry((3, format!("skipped: {}", reason(&skipped.reason)))).or_default();
        count.entries += 1;
    }
    let mut text = String::new();
    for ((_, row), count) in &rows {
        let bytes = if count.bytes > 0 { size(count.bytes) } else { String::new() };
        text += &format!("{:>7} {bytes:>10}  {row}\n", count.entries);
    }
    print(text.as_bytes())?;
    if args.dry_run {
        context.ui.note("nothing was taken: this was a dry run");
    } else if !report.skipped.is_empty() {
        context.ui.note("`-v` names what was skipped");
    }
    Ok(0)
}

/// A reason without what differs from entry to entry.
fn reason(reason: &Skip) -> String {
    match reason {
        Skip::Length { .. } => "its body does not have the announced length".to_owned(),
        other => other.to_string(),
    }
}

fn name(candidate: &Candidate) -> String {
    candidate.url.as_ref().map_or_else(|| candidate.path.display().to_string(), Url::to_string)
}

fn describe(args: &Import, dir: &Path, report: &Report) -> Value {
    let url = |url: &Option<Url>| url.as_ref().map(Url::to_string);
    let taken = report.taken.iter().map(|(candidate, taken)| {
        json!({
            "path": json_path(&candidate.path),
            "url": url(&candidate.url),
            "sha256": taken.digest.to_string(),
            "bytes": taken.size,
            "as": if taken.is_response { "response" } else { "file" },
            "how": match taken.how {
                Some(LinkKind::Reflink) => "reflink",
                Some(_) => "copy",
                None => "present",
            },
        })
    });
    let skipped = report.skipped.iter().map(|skipped| {
        json!({
            "path": json_path(&skipped.path),
            "url": url(&skipped.url),
            "reason": skipped.reason.to_string(),
        })
    });
    json!({
        "directory": json_path(dir),
        "dry_run": args.dry_run,
        "taken": taken.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_in_lock_files_of_every_form() {
        let text = "wheels = [{ url = \"https://h/a.whl\", hash = \"sha256:00\" }]\n\
            a @ https://h/b.whl ; python_version < '3'\n--index-url 'https://h/simple' x://y";
        let found: Vec<_> = urls_in(text).map(|url| url.to_string()).collect();
        assert_eq!(found, ["https://h/a.whl", "https://h/b.whl", "https://h/simple"]);
    }
}
