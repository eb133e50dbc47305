//! A client of the proxy that believes nothing: one request on a connection of its own, and a body
//! counts only if its framing says that it is whole.

use std::net::SocketAddr;

use rewarm_http::{Client, Url};
use rewarm_proxy::{Limits, Mode, Proxy, ProxyConfig, Watch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks for `/file` through a proxy in front of `upstream`, which ends afterwards.
pub(crate) async fn through_proxy(client: Client, upstream: &str) -> Result<Vec<u8>, String> {
    let config = ProxyConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        client,
        limits: Limits::default(),
        watch: Watch::none(),
        token: None,
    };
    let mode = Mode::Upstream(Url::parse(upstream).expect("a URL"));
    let proxy = Proxy::bind(config, mode).expect("a free port");
    let address = proxy.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = proxy.serve(async { drop(stopped.await) });
    let asking = async {
        let answer = ask(address).await;
        drop(stop);
        answer
    };
    let (served, answer) = tokio::join!(serving, asking);
    served.expect("a listening socket");
    answer
}

/// One request for `/file`: the whole body of a success, or what is wrong.
pub(crate) async fn ask(address: SocketAddr) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| format!("the proxy does not answer: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(text)?;
    let request = format!("GET /file HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut bytes = Vec::new();
    // A connection that was reset had no proper end either.
    let ended = stream.read_to_end(&mut bytes).await;
    whole(&bytes).map_err(|error| format!("{error} ({ended:?})"))
}

/// The body of a message, if it is that of a success and its framing says that it is whole.
fn whole(message: &[u8]) -> Result<Vec<u8>, String> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no head")?;
    let head = std::str::from_utf8(&message[..end]).map_err(|_| "a head that is no text")?;
    let body = &message[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{status}: {}", String::from_utf8_lossy(body)));
    }
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    match (field("content-length"), field("transfer-encoding")) {
        (Some(length), None) if length.parse() == Ok(body.len()) => Ok(body.to_vec()),
        (Some(length), None) => Err(format!("{} of {length} bytes", body.len())),
        (None, Some("chunked")) => unchunked(body).ok_or("a body without its end".to_owned()),
        framing => panic!("the proxy's framing: {framing:?}"),
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[line + 2..];
        if size == 0 {
            return rest.ends_with(b"\r\n").then_some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
