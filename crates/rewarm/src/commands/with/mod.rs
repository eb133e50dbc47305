//! `rewarm with`: runs a command whose downloads go through the cache.
//!
//! A forward proxy lives in this process as long as the command. The command is told of it by
//! variables, with a token so that nobody else can use it, and to trust an authority that exists
//! for this run only. URLs, credentials and what is written into lock files stay as they are.

mod child;
mod report;
mod surroundings;
mod trust;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rewarm_http::{Client, ClientConfig, Clock};
use rewarm_proxy::{Authority, Forward, Limits, Mode, Proxy, ProxyConfig, Token};

use crate::args::With;
use crate::commands::proxy;
use crate::commands::with::report::Tally;
use crate::commands::with::trust::Trust;
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
    let authority = Authority::new(now()).map_err(Failure::world)?;
    let caller = &context.settings.caller;
    let trust = Trust::write(caller, authority.pem()).map_err(|source| {
        Failure::world(source).hint("set `TMPDIR` to a directory that can be written")
    })?;
    let token = Token::random().map_err(Failure::world)?;
    let client = client(context, &trust)?;
    let tally = Tally::default();
    let config = ProxyConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        client: client.clone(),
        limits: Limits { grace: GRACE, ..Limits::default() },
        token: None,
        watch: tally.watch(),
    };
    let forward = Forward { token: token.clone(), authority: Arc::new(authority) };
    let proxy = Proxy::bind(config, Mode::Forward(forward)).map_err(proxy::failure)?;
    let url = format!("http://rewarm:{}@{}", token.reveal(), proxy.address());
    let mut command = Command::new(program);
    command.args(arguments).envs(surroundings::changes(caller, &url, trust.bundle()));
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
            let text = format!("cannot run `{}`: {source}", program.to_string_lossy());
            context.ui.failure(&Failure::usage(text));
            Ok(code)
        }
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
