//! `rewarm cache show`: everything that is known about one URL, and what a request for it would be
//! given now.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue};
use rewarm_http::inspect::{self, Action, Audience, Entry, Judgement, Standing};
use rewarm_http::{Request, Url};
use rewarm_store::Store;
use serde_json::{Value, json};

use super::{age, epoch, inventory};
use crate::args::Show;
use crate::commands::{fetch, print, print_json};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::network;
use crate::ui::size;

/// So many URLs are named when the one asked for is not known.
const NEAREST: usize = 5;

pub(super) fn run(context: &Context<'_>, args: &Show) -> Outcome {
    let url = fetch::parse(&args.url)?;
    let store = context.store_to_read()?;
    let all = inspect::entries(store, &inventory(context, store)?);
    let shown = url.to_string();
    let judged = context.client()?.judge(&request(&url, &args.header)?);
    let judged = judged.map_err(network::failure)?;
    let mut found: Vec<&Entry> = all.iter().filter(|entry| entry.record.url == shown).collect();
    if found.is_empty() {
        let known = all.iter().map(|entry| entry.record.url.as_str());
        return unknown(context, &shown, &inspect::nearest(&shown, known, NEAREST));
    }
    found.sort_by_key(|entry| entry.info.key != judged.key);
    let now = now();
    if context.settings.json {
        let entries: Vec<_> =
            found.iter().map(|entry| describe(store, &url, entry, &judged, now)).collect();
        return print_json(&json!({
            "url": shown,
            "entries": entries,
            "request": { "action": judged.action.name(), "why": judged.why },
        }));
    }
    let mut text = format!("{shown}\n");
    for entry in found {
        text += &paragraph(store, &url, entry, &judged, now);
    }
    text += &format!("\n  now: {}\n", words(&judged));
    print(text.as_bytes())
}

/// A plain GET with the fields that were given as `NAME: VALUE`.
fn request(url: &Url, fields: &[String]) -> Result<Request, Failure> {
    let mut request = Request::get(url.clone());
    for field in fields {
        // What cannot be read may be a secret, and is not repeated.
        let bad = || Failure::usage("a header is given as `NAME: VALUE`");
        let (name, value) = field.split_once(':').ok_or_else(bad)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| bad())?;
        let value = HeaderValue::try_from(value.trim()).map_err(|_| bad())?;
        request = request.header(name, value);
    }
    Ok(request)
}

fn unknown(context: &Context<'_>, shown: &str, nearest: &[&str]) -> Outcome {
    if context.settings.json {
        print_json(&json!({ "url": shown, "entries": [], "nearest": nearest }))?;
        return Ok(1);
    }
    let mut text = format!("`{shown}` is not in the cache");
    if !nearest.is_empty() {
        text += "; nearest to it are";
        nearest.iter().for_each(|url| text += &format!("\n  {url}"));
    }
    context.ui.explain(&text);
    Ok(1)
}

fn paragraph(
    store: &Store,
    url: &Url,
    entry: &Entry,
    judged: &Judgement,
    now: SystemTime,
) -> String {
    let is_asked = entry.info.key == judged.key;
    let unused = now.duration_since(entry.info.last_used).unwrap_or_default();
    let mut text = format!("\n  key {}\n", entry.info.key);
    text += &format!("    {}; last used {} ago\n", audience(url, entry), age(unused));
    for (index, standing) in entry.standings(store, now).into_iter().enumerate() {
        let mark = if is_asked && judged.response == Some(index) { "*" } else { " " };
        text += &response(mark, &standing, now);
    }
    if !is_asked {
        text += "    not for this request, which is somebody else's\n";
    }
    text
}

/// Whose requests an entry is for.
fn audience(url: &Url, entry: &Entry) -> &'static str {
    match Audience::of(url, &entry.info.key) {
        Audience::Anonymous => "for requests without credentials",
        Audience::Everybody => "for everybody, in a shared cache",
        Audience::Other if entry.record.url.contains("****") => {
            "for requests with credentials, or with another secret in the URL"
        }
        Audience::Other => "for requests with credentials",
    }
}

fn response(mark: &str, standing: &Standing, now: SystemTime) -> String {
    let Standing { status, digest, size: bytes, .. } = standing;
    let gone = if standing.has_body { "" } else { ", no longer in the cache" };
    let mut text = format!("  {mark} {status}, {}, sha256:{digest}{gone}\n", size(*bytes));
    let state = if standing.is_fresh() { "fresh" } else { "stale" };
    let since = now.duration_since(standing.response_time).unwrap_or_default();
    let answered = inspect::http_date(standing.response_time);
    text += &format!("      {:<14} {answered}, {} ago\n", "answered", age(since));
    let (old, life) = (age(standing.age), age(standing.lifetime));
    let source = standing.lifetime_source;
    text += &format!("      {:<14} {old} old of {life}: {state} ({source})\n", "age");
    if !standing.vary.is_empty() {
        let given = |is_given: bool| if is_given { "given" } else { "absent" };
        let names: Vec<_> =
            standing.vary.iter().map(|(name, is)| format!("{name} ({})", given(*is))).collect();
        text += &format!("      {:<14} {}\n", "varies by", names.join(", "));
    }
    for (name, value) in &standing.fields {
        text += &format!("      {name:<14} {}\n", printable(value));
    }
    text
}

/// Text of an origin, which must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn words(judged: &Judgement) -> String {
    let what = match judged.action {
        Action::Serve => "served from the cache without asking",
        Action::ServeAndRenew => "served from the cache, and renewed in the background",
        Action::Validate => "the origin is asked whether it is still right",
        Action::Fetch => "downloaded",
        Action::Refuse => "refused",
    };
    format!("{what}: {}", judged.why)
}

fn describe(store: &Store, url: &Url, entry: &Entry, judged: &Judgement, now: SystemTime) -> Value {
    let is_asked = entry.info.key == judged.key;
    let responses = entry.standings(store, now).into_iter().enumerate().map(|(index, standing)| {
        let vary = standing.vary.iter().map(|(name, is)| json!({ "name": name, "given": is }));
        let fields = standing.fields.iter().map(|(name, value)| json!([name, value]));
        json!({
            "status": standing.status,
            "bytes": standing.size,
            "sha256": standing.digest.to_string(),
            "has_body": standing.has_body,
            "vary": vary.collect::<Vec<_>>(),
            "request_time": epoch(standing.request_time),
            "response_time": epoch(standing.response_time),
            "age": standing.age.as_secs(),
            "lifetime": standing.lifetime.as_secs(),
            "lifetime_source": standing.lifetime_source,
            "fresh": standing.is_fresh(),
            "fields": fields.collect::<Vec<_>>(),
            "selected": is_asked && judged.response == Some(index),
        })
    });
    json!({
        "key": entry.info.key.to_string(),
        "audience": Audience::of(url, &entry.info.key).name(),
        "for_this_request": is_asked,
        "last_used": epoch(entry.info.last_used),
        "record_bytes": entry.info.bytes,
        "responses": responses.collect::<Vec<_>>(),
    })
}
