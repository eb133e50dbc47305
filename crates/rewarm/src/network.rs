//! The HTTP cache as the commands use it: its configuration, its messages, and many downloads at
//! once under one progress bar.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::Mutex;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use rewarm_http::{
    ClientConfig, Content, ErrorKind, Event, FetchError, Fetched, NetrcFile, Proxies, Request,
};

use rewarm_store::Blob;

use crate::context::Context;
use crate::error::Failure;
use crate::settings::Settings;
use crate::ui::Ui;

/// Downloads at once; more gain nothing on one server and cost memory.
const CONNECTIONS: usize = 8;

/// What mends a miss where the network may not be used.
const ONLINE: &str = "run once without `--offline` to bring it into the cache";

/// What the user's environment says about networks.
pub(crate) fn client_config(settings: &Settings, spill_dir: PathBuf) -> ClientConfig {
    let caller = &settings.caller;
    let netrc = match caller.get("NETRC") {
        Some(path) => Some(PathBuf::from(path)),
        None => caller.home().map(|home| home.join(".netrc")),
    };
    ClientConfig {
        offline: settings.offline,
        cert_file: caller.get("SSL_CERT_FILE").map(PathBuf::from),
        cert_dir: caller.get("SSL_CERT_DIR").map(PathBuf::from),
        netrc: netrc.and_then(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            Some(NetrcFile { path, text })
        }),
        proxies: Proxies::Environment,
        ..ClientConfig::new(spill_dir)
    }
}

/// A failed fetch, with what the user can do about it.
pub(crate) fn failure(error: FetchError) -> Failure {
    let hint = match &error.kind {
        ErrorKind::Offline => Some(ONLINE),
        ErrorKind::Dns | ErrorKind::Connect => {
            Some("check the network, and `HTTPS_PROXY` if there is a proxy in between")
        }
        ErrorKind::Tls => Some("set `SSL_CERT_FILE` to the certificates your network needs"),
        ErrorKind::Status(status) if matches!(status.as_u16(), 401 | 403 | 407) => {
            Some("put the credentials for this host into `~/.netrc`, or name a file with `NETRC`")
        }
        ErrorKind::Digest { .. } => {
            Some("the file is not the one that was promised; nothing was kept of it")
        }
        ErrorKind::Store => {
            Some("free some space, or name another place with `--cache-dir` or `TMPDIR`")
        }
        _ => None,
    };
    let failure = match &error.kind {
        ErrorKind::Config(_) => Failure::usage(error),
        _ => Failure::world(error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tells the user what takes time.
pub(crate) fn tell(ui: &Ui, event: &Event<'_>) {
    match event {
        Event::Retrying { url, attempt, delay, reason } => ui.warn(&format!(
            "`{url}`: {reason}; trying again in {:.1} s (attempt {attempt})",
            delay.as_secs_f64()
        )),
        Event::Following { url } => {
            ui.detail(&format!("another process is downloading `{url}`; reading along"));
        }
        Event::Progress { .. } => {}
    }
}

/// Fetches all, several at once, under one bar; `size` is what they have together, if known.
pub(crate) fn fetch_all(
    context: &Context<'_>,
    label: &str,
    size: Option<u64>,
    requests: Vec<Request>,
) -> Result<Vec<Fetched>, Failure> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    let bar = context.ui.bytes(label, size);
    let positions: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let events = |event: Event<'_>| match event {
        Event::Progress { url, position, .. } => {
            let mut positions = positions.lock().expect("no thread panics while it counts");
            positions.insert(url.to_string(), position);
            bar.at(positions.values().sum());
        }
        other => tell(context.ui, &other),
    };
    let client = context.client()?;
    let all =
        stream::iter(&requests).map(|request| client.fetch(request, &events)).buffered(CONNECTIONS);
    if context.settings.offline {
        // Nothing takes long, and all that is missing can be told at once.
        return complete(context.block_on(all.collect())?);
    }
    context.block_on(all.try_collect::<Vec<Fetched>>())?.map_err(failure)
}

/// All of the files, or a failure that names every one that the cache lacks.
fn complete(results: Vec<Result<Fetched, FetchError>>) -> Result<Vec<Fetched>, Failure> {
    let (mut fetched, mut missing) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(file) => fetched.push(file),
            Err(error) if error.kind == ErrorKind::Offline => missing.push(error),
            Err(error) => return Err(failure(error)),
        }
    }
    if missing.len() > 1 {
        let mut text = format!("{} files are {}:", missing.len(), ErrorKind::Offline);
        missing.iter().for_each(|error| text += &format!("\n  {}", error.url));
        return Err(Failure::world(text).hint(ONLINE));
    }
    missing.pop().map_or(Ok(fetched), |error| Err(failure(error)))
}

/// The blob of a fetched body; a body that could not be stored is written into the temporary store.
pub(crate) fn into_store(context: &Context<'_>, fetched: &Fetched) -> Result<Blob, Failure> {
    match &fetched.content {
        Content::Stored(blob) => Ok(*blob),
        Content::Spilled { file, blob } => {
            let store = context.store()?;
            let mut file = file;
            let copied = store.blob_writer().and_then(|mut writer| {
                file.rewind()?;
                std::io::copy(&mut file, &mut writer)?;
                Ok(writer)
            });
            let writer = copied.map_err(|source| {
                let place = store.root().display();
                let text =
                    format!("cannot keep `{}` in the cache `{place}`: {source}", fetched.url);
                Failure::world(std::io::Error::new(source.kind(), text)).hint_at_space()
            })?;
            let kept = writer.commit(Some(&blob.digest));
            kept.map_err(|error| Failure::world(error).hint_at_space())
        }
    }
}

/// A small body as a whole.
pub(crate) fn read(context: &Context<'_>, fetched: &Fetched) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match &fetched.content {
        Content::Stored(blob) => {
            let gone = || std::io::Error::other(format!("`{}` left the cache", fetched.url));
            let mut reader = context.store()?.open_blob(&blob.digest)?.ok_or_else(gone)?;
            reader.read_to_end(&mut bytes)?;
        }
        Content::Spilled { file, .. } => {
            let mut file = file;
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes)
}
