//! `rewarm with`: runs a command whose downloads go through the cache.
//!
//! A proxy lives in this process as long as the command, which is told of it by variables, with a
//! token so that nobody else can use it. It is a forward proxy, and the command is told to trust an
//! authority that exists for this run only: URLs, credentials and what is written into lock files
//! stay as they are. Files whose digest its lock files or the pages that pass by state are answered by
//! what is in the cache. With `--index` it is package mode, and the command's index settings name it.

pub(super) mod child;
mod indexes;
mod locks;
mod report;
mod scratch;
mod surroundings;
mod trust;

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rewarm_http::{Client, ClientConfig, Clock};
use rewarm_proxy::packages::KnownFiles;
use rewarm_proxy::{Authority, Forward, Limits, Mode, Proxy, ProxyConfig, Token};

use crate::args::With;
use crate::commands::with::indexes::Indexes;
use crate::commands::with::report::Tally;
use crate::commands::with::trust::Trust;
use crate::commands::{packages, proxy};
use crate::context::{Context, now};
use crate::error::{Failure, Outcome};
use crate::network;

/// For connections whose other end is gone with the command.
const GRACE: Duration = Duration::from_millis(500);

pub(crate) fn run(context: &Context<'_>, args: &With) -> Outcome {
    let [program, arguments @ ..] = &*args.command else {
        let failure = Failure::usage("there is no command to run");
        return Err(failure.hint("name one, for example `rewarm with -- pip install NAME`"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let tally = Tally::default();
    let ready = match args.index {
        true => by_index(context, &tally, &mut command)?,
        false => {
            let (start, cwd) = (&context.settings.start, &context.settings.caller.cwd);
            let known = locks::pinned(&locks::place(start, cwd, &args.command), &args.command);
            by_proxy(context, &tally, known, &mut command)?
        }
    };
    run_beside(context, ready, &tally, command)
}

/// Runs a command whose downloads go through the cache, and passes on its exit code.
pub(crate) fn through_cache(context: &Context<'_>, mut command: Command) -> Outcome {
    let tally = Tally::default();
    let program = std::iter::once(command.get_program());
    let words: Vec<_> = program.chain(command.get_args()).map(OsStr::to_owned).collect();
    let known = locks::pinned(&context.settings.start, &words);
    let ready = by_proxy(context, &tally, known, &mut command)?;
    run_beside(context, ready, &tally, command)
}

fn run_beside(context: &Context<'_>, ready: Ready, tally: &Tally, mut command: Command) -> Outcome {
    let (proxy, client, _trust) = ready;
    let ended = context.beside(
        |stopped| async move {
            // The listener of a started proxy does not fail.
            let _ = proxy.serve(async { drop(stopped.await) }).await;
            client.finish().await;
        },
        || child::run(&mut command),
    )?;
    context.sweep_in_passing();
    if let Some(line) = tally.summary() {
        context.ui.note(&line);
    }
    match ended {
        Ok(status) => Ok(child::code(status)),
        Err(source) => {
            let code = if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            let program = command.get_program().to_string_lossy();
            let text = format!("cannot run `{program}`: {source}");
            context.ui.failure(&Failure::usage(text));
            Ok(code)
        }
    }
}

/// A proxy, its client, and the files that its clients read.
type Ready = (Proxy, Client, Option<Trust>);

/// A forward proxy, for whatever the command asks for.
fn by_proxy(
    context: &Context<'_>,
    tally: &Tally,
    known: KnownFiles,
    command: &mut Command,
) -> Result<Ready, Failure> {
    let caller = &context.settings.caller;
    let authority = Authority::new(now()).map_err(Failure::world)?;
    let trust = Trust::write(caller, &std::env::temp_dir(), authority.pem()).map_err(|source| {
        Failure::world(source).hint("set `TMPDIR` to a directory that can be written")
    })?;
    let token = Token::random().map_err(Failure::world)?;
    let client = client(context, &trust)?;
    let forward = Forward { token: token.clone(), authority: Arc::new(authority), known };
    let config = config(&client, None, tally);
    let proxy = Proxy::bind(config, Mode::Forward(forward)).map_err(proxy::failure)?;
    let url = format!("http://rewarm:{}@{}", token.reveal(), proxy.address());
    command.envs(surroundings::changes(caller, &url, trust.bundle()));
    Ok((proxy, client, Some(trust)))
}

/// Package mode, for what the command's index settings name.
fn by_index(context: &Context<'_>, tally: &Tally, command: &mut Command) -> Result<Ready, Failure> {
    let indexes = Indexes::of(&context.settings.caller).map_err(Failure::usage)?;
    let token = Token::random().map_err(Failure::world)?;
    let client = context.client()?.clone();
    let mode = Mode::Packages(packages::before(context, indexes.upstreams().clone())?);
    let config = config(&client, Some(token.clone()), tally);
    let proxy = Proxy::bind(config, mode).map_err(proxy::failure)?;
    for name in indexes.removed() {
        command.env_remove(name);
    }
    command.envs(indexes.changes(proxy.address(), token.reveal()));
    Ok((proxy, client, None))
}

fn config(client: &Client, token: Option<Token>, tally: &Tally) -> ProxyConfig {
    ProxyConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        client: client.clone(),
        limits: Limits { grace: GRACE, ..Limits::default() },
        token,
        watch: tally.watch(),
    }
}

/// The client of the proxy. Credentials are the command's business, so that those of this user's
/// netrc are not added to what it asks for without any.
fn client(context: &Context<'_>, trust: &Trust) -> Result<Client, Failure> {
    let config = network::client_config(&context.settings, std::env::temp_dir());
    let (cert_file, cert_dir) = match trust.upstream() {
        Some(path) => (Some(path.to_owned()), None),
        None => (config.cert_file, config.cert_dir),
    };
    let config = ClientConfig { netrc: None, cert_file, cert_dir, ..config };
    Ok(Client::new(context.store()?.clone(), config, Clock::new(now)))
}
