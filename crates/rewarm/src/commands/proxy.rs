//! `rewarm proxy`: serves HTTP clients through the cache until it is told to stop.
//!
//! The first SIGINT or SIGTERM closes the socket and lets what is under way finish, the second ends
//! at once. Which requests stand for what is `rewarm-proxy`'s business.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rewarm_http::{Client, ClientConfig, Clock};
use rewarm_proxy::packages::Upstreams;
use rewarm_proxy::{Limits, Mode, Proxy, ProxyConfig, ProxyError, Served, Token, Watch};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::commands::{fetch, packages, print};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::network;

/// The variable with the token that clients have to know.
const TOKEN: &str = "REWARM_PROXY_TOKEN";

pub(crate) fn run(context: &Context<'_>, args: &args::Proxy) -> Outcome {
    let mode = match &args.upstream {
        Some(upstream) => Mode::Upstream(fetch::parse(upstream)?),
        None => Mode::Packages(packages::open(context, args)?),
    };
    let upstreams = match &mode {
        Mode::Packages(packages) => packages.upstreams().clone(),
        Mode::Upstream(_) | Mode::Forward(_) => Upstreams::none(),
    };
    let key = Key::of(context, args)?;
    let client = network::client_config(&context.settings, std::env::temp_dir());
    let client = ClientConfig { shared: args.shared, ..client };
    let client = Client::new(context.store()?.clone(), client, Clock::new(now));
    let (watch, mut log) = watch();
    let config = ProxyConfig {
        listen: args.listen,
        client: client.clone(),
        limits: Limits { connections: args.max_connections.into(), ..Limits::default() },
        token: key.token.clone(),
        watch,
    };
    let proxy = Proxy::bind(config, mode).map_err(failure)?;
    announce(context, &key.root(reachable(proxy.address())), &proxy, &upstreams)?;
    let served = context.serve(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut stop = Some(stop);
        let mut serving = std::pin::pin!(async {
            proxy.serve(async { drop(stopped.await) }).await?;
            client.finish().await;
            Ok(())
        });
        loop {
            tokio::select! {
                result = &mut serving => {
                    // What was served last may have been told only now.
                    while let Ok(line) = log.try_recv() {
                        context.ui.detail(&line);
                    }
                    return result.map_err(failure);
                }
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
                Some(line) = log.recv() => {
                    context.ui.detail(&line);
                    continue;
                }
            }
            match stop.take() {
                Some(stop) => drop(stop.send(())),
                None => return Ok(()),
            }
        }
    })?;
    context.sweep_in_passing();
    served.map(|()| 0)
}

/// One line per request, for whoever wants to read it.
fn watch() -> (Watch, tokio::sync::mpsc::Receiver<String>) {
    let (lines, log) = tokio::sync::mpsc::channel(64);
    let watch = Watch::new(move |served| {
        // Nobody waits for a log.
        let _ = lines.try_send(describe(served));
    });
    (watch, log)
}

fn describe(served: &Served) -> String {
    let Served { method, url, status, reuse, bytes, complete } = served;
    let url = url.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let reuse = reuse.as_ref().map_or("answered here", fetch::reuse_word);
    let end = if *complete { "" } else { ", cut" };
    format!("{method} `{url}`: {}, {reuse}, {bytes} bytes{end}", status.as_u16())
}

/// What clients have to know.
struct Key {
    token: Option<Token>,
    /// Whether the user has never seen it.
    is_new: bool,
}

impl Key {
    /// Whoever can reach an address that is not loopback is not known to be this user.
    fn of(context: &Context<'_>, args: &args::Proxy) -> Result<Self, Failure> {
        let given = context.settings.caller.text(TOKEN);
        let given = given.map(Token::new).transpose();
        let token = given.map_err(|error| Failure::usage(format!("`{TOKEN}`: {error}")))?;
        if args.listen.ip().is_loopback() || token.is_some() {
            return Ok(Self { token, is_new: false });
        }
        context.ui.warn(&format!(
            "`{}` can be reached from other machines; whoever has the token can use the proxy",
            args.listen
        ));
        Ok(Self { token: Some(Token::random().map_err(Failure::world)?), is_new: true })
    }

    /// The URL of the proxy as clients have to write it, without the final slash. A token that the
    /// user knows is not repeated.
    fn root(&self, address: SocketAddr) -> String {
        match &self.token {
            None => format!("http://{address}"),
            Some(token) if self.is_new => format!("http://rewarm:{}@{address}", token.reveal()),
            Some(_) => format!("http://rewarm:${TOKEN}@{address}"),
        }
    }
}

/// The address that clients connect to. Where the proxy listens on all of this machine's, that is the
/// one which stands for it in its network, or the loopback of a machine without one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    // A datagram socket that is connected sends nothing, but is given the address it would send from;
    // the other end is one that is reserved for documentation.
    let outside = |from: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        let own = socket.local_addr().ok()?.ip();
        (!own.is_unspecified()).then_some(own)
    };
    let v4 = || outside(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    let v6 = || {
        let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        outside(Ipv6Addr::UNSPECIFIED.into(), to.into())
    };
    let ip = match address {
        SocketAddr::V4(_) => v4().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => v6().unwrap_or(Ipv6Addr::LOCALHOST.into()),
    };
    SocketAddr::new(ip, address.port())
}

/// Says where the proxy listens and how to use it.
fn announce(context: &Context<'_>, root: &str, proxy: &Proxy, upstreams: &Upstreams) -> Outcome {
    context.ui.note(&format!("serving `{root}/`; Ctrl-C ends it"));
    for line in packages::advice(upstreams, root) {
        context.ui.note(&line);
    }
    if !context.settings.json {
        return Ok(0);
    }
    let line = json!({
        "address": proxy.address().to_string(),
        "url": format!("{root}/"),
        "upstreams": packages::places(upstreams, root),
    });
    print(format!("{line}\n").as_bytes())
}

pub(super) fn failure(error: ProxyError) -> Failure {
    let taken = |error: &(dyn Error + 'static)| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    let is_taken = error.source().is_some_and(taken);
    let failure = Failure::world(error);
    match is_taken {
        true => failure.hint("name another place with `--listen`; port 0 takes a free one"),
        false => failure,
    }
}
