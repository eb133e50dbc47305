//! Which upstreams `rewarm proxy` stands in front of, and what it tells people about them.
//!
//! Flags beat the project's configuration, that beats the user's, and what nobody names is at its
//! public place; for the index called `pypi` what pip and uv are configured with comes before that.
//! The secret that signs links is a record of the cache, so that links which clients keep hold over
//! restarts.

use std::net::SocketAddr;

use rewarm_env::Project;
use rewarm_proxy::packages::{Kind, Packages, Secret, Upstream, Upstreams};
use rewarm_store::{Digest, Format, Hasher, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::args;
use crate::config::{self, File, UpstreamKind};
use crate::context::{Context, now};
use crate::error::Failure;

/// What links are signed with.
#[derive(Serialize, Deserialize)]
struct LinkSecret([u8; 32]);

impl rewarm_store::Kind for LinkSecret {
    const NAME: &'static str = "link-secret";
    const VERSION: u16 = 1;
}

/// Every format of record that this module reads and writes.
pub(crate) fn formats() -> [Format; 1] {
    [Format::of::<LinkSecret>()]
}

/// What such a record is about.
pub(crate) fn describe(kind: &str) -> Option<String> {
    (kind == formats()[0].name).then(|| "what links of `rewarm proxy` are signed with".to_owned())
}

/// Package mode as flags and configuration want it.
pub(crate) fn open(context: &Context<'_>, args: &args::Proxy) -> Result<Packages, Failure> {
    let start = &context.settings.start;
    let root = Project::find(start).map_or(start.clone(), |project| project.root);
    let project = config::of_project(&root).map_err(Failure::usage)?;
    for unknown in &project.unknown {
        context.ui.warn(unknown);
    }
    let mut upstreams = Upstreams::public();
    let index = context.settings.index_url(&project).map_err(Failure::usage)?;
    if !is_at(&index, args.listen) {
        upstreams.set(upstream("pypi", Kind::Index, index.as_str())?);
    }
    configured(&mut upstreams, &context.settings.user)?;
    configured(&mut upstreams, &project)?;
    let flags = [(Kind::Index, &args.index), (Kind::Conda, &args.conda), (Kind::Npm, &args.npm)];
    for (kind, values) in flags {
        for value in values {
            let wrong = || Failure::usage("an upstream is given as `NAME=URL`");
            let (name, url) = value.split_once('=').ok_or_else(wrong)?;
            upstreams.set(upstream(name, kind, url)?);
        }
    }
    before(context, upstreams)
}

/// Package mode in front of these upstreams.
pub(crate) fn before(context: &Context<'_>, upstreams: Upstreams) -> Result<Packages, Failure> {
    Ok(Packages::new(upstreams, secret(context.store()?)?))
}

fn upstream(name: &str, kind: Kind, url: &str) -> Result<Upstream, Failure> {
    Upstream::new(name, kind, url).map_err(Failure::usage)
}

fn configured(upstreams: &mut Upstreams, file: &File) -> Result<(), Failure> {
    for (name, configured) in &file.proxy.upstreams {
        let kind = match configured.kind {
            UpstreamKind::Index => Kind::Index,
            UpstreamKind::Conda => Kind::Conda,
            UpstreamKind::Npm => Kind::Npm,
        };
        upstreams.set(upstream(name, kind, &configured.url)?);
    }
    Ok(())
}

/// Whether a URL leads to this proxy itself, because the shell was set up to use it.
fn is_at(url: &url::Url, listen: SocketAddr) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    is_local && url.port_or_known_default() == Some(listen.port())
}

/// The secret of this cache, made when it is first needed. Where it cannot be kept, links hold as
/// long as this process.
fn secret(store: &Store) -> Result<Secret, Failure> {
    let key: Digest = Hasher::new("link secret, 1").finish();
    let known = || store.read_used::<LinkSecret>(&key, now());
    if let Some(LinkSecret(bytes)) = known() {
        return Ok(Secret::new(bytes));
    }
    let _lock = store.lock("link-secret", &key);
    if let Some(LinkSecret(bytes)) = known() {
        return Ok(Secret::new(bytes));
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::world(std::io::Error::other(error.to_string())))?;
    drop(store.write(&key, &LinkSecret(bytes)));
    Ok(Secret::new(bytes))
}

/// How clients are told to use the proxy at `root`, a line for each upstream.
pub(crate) fn advice(upstreams: &Upstreams, root: &str) -> Vec<String> {
    let line = |upstream: &Upstream| {
        let (url, origin) = (place(upstream, root), upstream.url());
        match upstream.kind() {
            Kind::Index => {
                format!("`{origin}`: `PIP_INDEX_URL={url}`, `UV_DEFAULT_INDEX={url}`")
            }
            Kind::Conda => format!("`{origin}`: `CONDA_CHANNEL_ALIAS={url}`"),
            Kind::Npm => format!("`{origin}`: `npm_config_registry={url}`"),
        }
    };
    upstreams.iter().map(line).collect()
}

/// Where each upstream is at the proxy, by name.
pub(crate) fn places(upstreams: &Upstreams, root: &str) -> Map<String, Value> {
    let each = upstreams.iter();
    each.map(|upstream| (upstream.name().to_owned(), place(upstream, root).into())).collect()
}

fn place(upstream: &Upstream, root: &str) -> String {
    format!("{root}{}", upstream.mount())
}
