//! `rewarm fetch`: downloads through the cache.
//!
//! A file goes to its place by link where that is possible, so a warm fetch writes nothing; to
//! standard output it is streamed while it arrives, and a body that turns out wrong at its end is a
//! failure even though its bytes were seen.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rewarm_http::{Content, Event, Fetched, Request};
use rewarm_store::LinkKind;
use serde_json::json;

use crate::args::Fetch;
use crate::commands::print_json;
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::network;
use crate::ui::Progress;

/// Files outside the cache are as readable as the umask allows.
const MODE: u32 = 0o666;

pub(crate) fn run(context: &Context, args: &Fetch) -> Outcome {
    if args.hash.is_some() && args.urls.len() > 1 {
        return Err(Failure::usage("`--hash` goes with a single URL"));
    }
    let mut results = Vec::new();
    for url in &args.urls {
        let url = rewarm_http::Url::parse(url.as_str()).map_err(Failure::usage)?;
        let target = target(&url, args)?;
        let mut request = Request::get(url.clone());
        request.expected = args.hash;
        if target.is_none() {
            stream(context, &request, args.explain)?;
            continue;
        }
        let fetched = fetch(context, &request)?;
        let placed = target.map(|path| place(context, &fetched, path)).transpose()?;
        report(context, args, &fetched, placed.as_ref());
        results.push(describe(&fetched, placed.as_ref()));
    }
    context.sweep_in_passing();
    if context.settings.json {
        return print_json(&json!(results));
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the body goes; `None` is standard output.
fn target(url: &rewarm_http::Url, args: &Fetch) -> Result<Option<PathBuf>, Failure> {
    let name = || {
        let name = url.file_name().filter(|name| !matches!(&**name, "" | "." | ".."));
        name.ok_or_else(|| {
            Failure::usage(format!("`{url}` ends in no file name")).hint("name one with `-o PATH`")
        })
    };
    match &args.output {
        Some(path) if path.as_os_str() == "-" => Ok(None),
        Some(path) if args.urls.len() > 1 || path.is_dir() => Ok(Some(path.join(name()?))),
        Some(path) => Ok(Some(path.clone())),
        None => Ok(Some(PathBuf::from(name()?))),
    }
}

fn fetch(context: &Context, request: &Request) -> Result<Fetched, Failure> {
    let label = request.url.to_string();
    let bar = context.ui.bytes(&label, None);
    let client = context.client()?;
    let events = |event: Event<'_>| show(context, &bar, &event);
    let fetched = context.block_on(client.fetch(request, &events))?;
    drop(bar);
    fetched.map_err(network::failure)
}

fn show(context: &Context, bar: &Progress<'_>, event: &Event<'_>) {
    match event {
        Event::Progress { position, total, .. } => {
            if let Some(total) = total {
                bar.total(*total);
            }
            bar.at(*position);
        }
        other => network::tell(context.ui, other),
    }
}

/// Puts the body where it was asked for; what was there stays until the new file is whole.
fn place(
    context: &Context,
    fetched: &Fetched,
    path: PathBuf,
) -> Result<(PathBuf, Placed), Failure> {
    let absolute = context.settings.caller.cwd.join(&path);
    let place = || match &fetched.content {
        Content::Stored(blob) => {
            context.store_or_io()?.place_blob(&blob.digest, &absolute, MODE).map(Placed::Linked)
        }
        Content::Spilled { file, .. } => copy(file, &absolute).map(|()| Placed::Written),
    };
    let placed = place().map_err(|error| unwritable(&path, error))?;
    Ok((path, placed))
}

/// How a body got to its place.
#[derive(Debug, Clone, Copy)]
enum Placed {
    Linked(LinkKind),
    Written,
}

impl Placed {
    fn word(self) -> &'static str {
        match self {
            Self::Linked(LinkKind::Reflink) => "cloned",
            Self::Linked(LinkKind::Hardlink) => "linked",
            Self::Linked(LinkKind::Copy) => "copied",
            Self::Written => "written",
        }
    }
}
