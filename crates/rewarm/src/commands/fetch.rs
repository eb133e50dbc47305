//! `rewarm fetch`: downloads through the cache.
//!
//! A file goes to its place by link where that is possible, so a warm fetch writes nothing; to
//! standard output it is streamed while it arrives, and a body that turns out wrong at its end is a
//! failure even though its bytes were seen.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use rewarm_http::{Content, Event, Fetched, Request, Reuse, Url};
use rewarm_store::{LinkKind, Store};
use serde_json::json;

use crate::args::Fetch;
use crate::commands::{json_path, print_json};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::network;
use crate::ui::{Bar, Ui, size};

/// Files outside the cache are as readable as the umask allows.
const MODE: u32 = 0o666;

pub(crate) fn run(context: &Context<'_>, args: &Fetch) -> Outcome {
    if args.hash.is_some() && args.urls.len() > 1 {
        return Err(Failure::usage("`--hash` goes with a single URL"));
    }
    if context.settings.json && args.output.as_deref().is_some_and(is_stdout) {
        return Err(Failure::usage("`--json` and `-o -` both write to standard output")
            .hint("name a file with `-o PATH`"));
    }
    let mut results = Vec::new();
    let mut failed: Option<Failure> = None;
    for (url, target) in plan(args)? {
        match one(context, args, url, target) {
            Ok(result) => results.extend(result),
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            // The others are fetched all the same; the last failure is for the caller to tell.
            Err(failure) => {
                let earlier = failed.replace(failure);
                earlier.iter().for_each(|earlier| context.ui.failure(earlier));
            }
        }
    }
    context.sweep_in_passing();
    if context.settings.json {
        print_json(&json!(results))?;
    }
    failed.map_or(Ok(0), Err)
}

/// Fetches one body; says what came of it if it is not on standard output.
fn one(
    context: &Context<'_>,
    args: &Fetch,
    url: Url,
    target: Option<PathBuf>,
) -> Result<Option<serde_json::Value>, Failure> {
    let mut request = Request::get(url);
    request.expected = args.hash;
    let Some(target) = target else {
        return stream(context, &request, args.explain).map(|()| None);
    };
    let mut fetched = fetch(context, &request)?;
    if is_gone(context, &fetched)? {
        // Somebody emptied the cache just now.
        fetched = fetch(context, &request)?;
    }
    let placed = place(context, &fetched, target)?;
    report(context, args, &fetched, &placed);
    Ok(Some(describe(&fetched, &placed)))
}

/// Whether the body has left the cache since it came.
fn is_gone(context: &Context<'_>, fetched: &Fetched) -> Result<bool, Failure> {
    let Content::Stored(blob) = &fetched.content else { return Ok(false) };
    Ok(context.store()?.blob_path(&blob.digest).is_none())
}

/// What to fetch and where to put it; no file is to be written twice.
fn plan(args: &Fetch) -> Result<Vec<(Url, Option<PathBuf>)>, Failure> {
    let mut planned: Vec<(Url, Option<PathBuf>)> = Vec::new();
    for url in &args.urls {
        let url = parse(url)?;
        let target = target(&url, args)?;
        if let Some(path) = &target
            && let Some((other, _)) = planned.iter().find(|(_, to)| to.as_ref() == Some(path))
        {
            let path = path.display();
            let text = format!("`{other}` and `{url}` would both be written to `{path}`");
            return Err(Failure::usage(text).hint("fetch one at a time, each with its own `-o`"));
        }
        planned.push((url, target));
    }
    Ok(planned)
}

/// What cannot be read is shown only where no part of it can be a secret.
pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|error| {
        let is_scheme = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let scheme = text.split(':').next().filter(is_scheme).unwrap_or_default();
        let shown = match text.contains(['@', '?', '#']) {
            true => format!("{scheme}:…"),
            false => text.to_owned(),
        };
        Failure::usage(format!("cannot read the URL `{shown}`: {error}"))
            .hint("a URL starts with `https://` or `http://`, then comes a host")
    })
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Where the body goes; `None` is standard output.
fn target(url: &Url, args: &Fetch) -> Result<Option<PathBuf>, Failure> {
    let name =
        || match url.file_name() {
            "" | "." | ".." => Err(Failure::usage(format!("`{url}` ends in no file name"))
                .hint("name one with `-o PATH`")),
            name => Ok(name),
        };
    match &args.output {
        Some(path) if is_stdout(path) => Ok(None),
        Some(path) if args.urls.len() > 1 || path.is_dir() => Ok(Some(path.join(name()?))),
        Some(path) => Ok(Some(path.clone())),
        None => Ok(Some(PathBuf::from(name()?))),
    }
}

fn fetch(context: &Context<'_>, request: &Request) -> Result<Fetched, Failure> {
    let bar = context.ui.bytes(&request.url.to_string(), None);
    let client = context.client()?;
    let events = |event: Event<'_>| show(context.ui, &bar, &event);
    let fetched = context.block_on(async {
        let fetched = client.fetch(request, &events).await;
        client.finish().await;
        fetched
    })?;
    fetched.map_err(network::failure)
}

/// Writes the body to standard output while it arrives. Whoever reads it may be slow: only the writing
/// waits then, not the download, which others may share.
fn stream(
    context: &Context<'_>,
    request: &Request,
    wants_explanation: bool,
) -> Result<(), Failure> {
    let client = context.client()?;
    let events = |event: Event<'_>| network::tell(context.ui, &event);
    context.block_on(async {
        let mut response = client.open(request, &events).await.map_err(network::failure)?;
        if wants_explanation {
            context.ui.explain(&format!("`{}`: {}", request.url, response.explanation));
        }
        response.expect_whole().map_err(network::failure)?;
        while let Some(bytes) = response.body.next().await.map_err(network::failure)? {
            aside(move || io::stdout().write_all(&bytes)).await.map_err(unwritable_stdout)?;
        }
        aside(|| io::stdout().flush()).await.map_err(unwritable_stdout)?;
        drop(response);
        client.finish().await;
        Ok(())
    })?
}

/// Does what may block on another thread.
async fn aside(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn unwritable_stdout(error: io::Error) -> Failure {
    let text = format!("cannot write to standard output: {error}");
    Failure::world(io::Error::new(error.kind(), text))
}

fn show(ui: &Ui, bar: &Bar, event: &Event<'_>) {
    match event {
        Event::Progress { position, total, .. } => {
            if let Some(total) = total {
                bar.total(*total);
            }
            bar.at(*position);
        }
        other => network::tell(ui, other),
    }
}

/// Puts the body where it was asked for; what was there stays until the new file is whole.
fn place(context: &Context<'_>, fetched: &Fetched, path: PathBuf) -> Result<Placed, Failure> {
    let absolute = context.settings.caller.cwd.join(&path);
    let store = context.store()?;
    let placed = match &fetched.content {
        content if is_special(&absolute) => write_into(store, content, &absolute),
        Content::Stored(blob) => match store.place_blob(&blob.digest, &absolute, MODE) {
            Ok(LinkKind::Reflink) => Ok("cloned from the cache"),
            Ok(LinkKind::Hardlink) => Ok("linked to the cache"),
            Ok(LinkKind::Copy) => Ok("copied from the cache"),
            Err(error) => Err(error),
        },
        Content::Spilled { file, .. } => {
            rewarm_store::publish_copy(file, &absolute, MODE).map(|()| "written")
        }
    };
    match placed {
        Ok(how) => Ok(Placed { path, how }),
        Err(error) => {
            let text = format!("cannot write `{}`: {error}", path.display());
            Err(Failure::world(io::Error::new(error.kind(), text)))
        }
    }
}

/// Whether a path leads to a device, a pipe or a socket: such a file is written to, never replaced.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

fn write_into(store: &Store, content: &Content, path: &Path) -> io::Result<&'static str> {
    let mut target = File::options().write(true).open(path)?;
    match content {
        Content::Stored(blob) => {
            let gone = || io::Error::other(format!("{} left the cache", blob.digest));
            io::copy(&mut store.open_blob(&blob.digest)?.ok_or_else(gone)?, &mut target)?;
        }
        Content::Spilled { file, .. } => {
            let mut file = file;
            file.rewind()?;
            io::copy(&mut file, &mut target)?;
        }
    }
    Ok("written")
}

/// Where a body is now, and how it got there.
struct Placed {
    path: PathBuf,
    how: &'static str,
}

fn report(context: &Context<'_>, args: &Fetch, fetched: &Fetched, placed: &Placed) {
    let blob = fetched.content.blob();
    let path = placed.path.display();
    let origin = match &fetched.reuse {
        Reuse::Fresh => "from the cache".to_owned(),
        Reuse::Stale => "from the cache, stale".to_owned(),
        Reuse::Revalidated => "from the cache, validated".to_owned(),
        Reuse::Downloaded => "downloaded".to_owned(),
        Reuse::Resumed { from } => format!("download carried on at {}", size(*from)),
        Reuse::Followed => "downloaded together with another process".to_owned(),
        Reuse::NotStored(reason) => format!("downloaded, not kept: {reason}"),
    };
    let how = placed.how;
    context.ui.note(&format!("`{path}`: {}, {origin}, {how}", size(blob.size)));
    if args.explain {
        context.ui.explain(&format!("`{}`: {}", fetched.url, fetched.explanation));
    }
}

fn describe(fetched: &Fetched, placed: &Placed) -> serde_json::Value {
    let blob = fetched.content.blob();
    json!({
        "url": fetched.url.to_string(),
        "status": fetched.status.as_u16(),
        "path": json_path(&placed.path),
        "sha256": blob.digest.to_string(),
        "bytes": blob.size,
        "reuse": reuse_word(&fetched.reuse),
        "explanation": fetched.explanation,
    })
}

pub(super) fn reuse_word(reuse: &Reuse) -> &'static str {
    match reuse {
        Reuse::Fresh => "fresh",
        Reuse::Stale => "stale",
        Reuse::Revalidated => "revalidated",
        Reuse::Downloaded => "downloaded",
        Reuse::Resumed { .. } => "resumed",
        Reuse::Followed => "followed",
        Reuse::NotStored(_) => "not-stored",
    }
}
