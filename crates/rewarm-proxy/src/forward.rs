//! A forward proxy's idea of a request: it names its origin itself, or comes through a tunnel to it.
//!
//! A tunnel ends here: inside it this proxy speaks TLS as the host that was asked for, with a
//! certificate that only those trust who were told to. The request goes on through the cache, over
//! a connection of our own, whose certificate is verified.

use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rewarm_http::Url;

use crate::access::Token;
use crate::authority::Authority;
use crate::packages::KnownFiles;
use crate::refusal::Refusal;

/// Settings of a forward proxy.
#[derive(Debug, Clone)]
pub struct Forward {
    /// What clients prove themselves with, as the password in `Proxy-Authorization`.
    pub token: Token,
    /// Signs for the hosts that tunnels lead to.
    pub authority: Arc<Authority>,
    /// Files whose digest is known. Those that index pages name are added as the pages pass by.
    pub known: KnownFiles,
}

/// The origin at the end of a tunnel.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match (host.contains(':'), port) {
            (true, 443) => write!(f, "[{host}]"),
            (true, _) => write!(f, "[{host}]:{port}"),
            (false, 443) => f.write_str(host),
            (false, _) => write!(f, "{host}:{port}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Whoever does not know the token gets nothing (RFC 9110 section 11.7).
pub(crate) fn authenticate(token: &Token, headers: &HeaderMap) -> Result<(), Refusal> {
    if token.is_in(headers.get(PROXY_AUTHORIZATION)) {
        return Ok(());
    }
    let text = "this proxy is for the command that it was started with";
    let refusal = Refusal::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, text);
    let challenge = HeaderValue::from_static("Basic realm=\"rewarm\"");
    Err(refusal.header(PROXY_AUTHENTICATE, challenge))
}

/// Where a CONNECT leads (RFC 9110 section 9.3.6).
pub(crate) fn tunnel(head: &Parts) -> Result<Target, Refusal> {
    let authority = head.uri.authority();
    let target = authority.and_then(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Some(Target { host: host.to_ascii_lowercase(), port: authority.port_u16()? })
    });
    target.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "`CONNECT` wants a host and a port"))
}

/// The URL of a request that did not come through a tunnel: all of it is in its target.
pub(crate) fn absolute(head: &Parts) -> Result<Url, Refusal> {
    if head.uri.scheme_str() != Some("http") {
        let text = "this is a proxy: it wants whole `http` URLs, and `CONNECT` for `https`";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
    }
    parse(&head.uri.to_string())
}

/// The URL of a request that came through a tunnel, whose end it has to name (RFC 9110 section
/// 7.4).
pub(crate) fn inside(target: &Target, head: &Parts) -> Result<Url, Refusal> {
    let asked = head.uri.path_and_query().map_or("/", |asked| asked.as_str());
    let url = parse(&format!("https://{target}{asked}"))?;
    let named = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let Some(named) = named.filter(|named| !named.is_empty()) else { return Ok(url) };
    match parse(&format!("https://{named}/")) {
        Ok(named) if named.same_origin(&url) => Ok(url),
        _ => {
            let text = format!("the tunnel leads to `{target}`, the request to another host");
            Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, text))
        }
    }
}

fn parse(text: &str) -> Result<Url, Refusal> {
    Url::parse(text).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// No other protocol is spoken here, and its client is better told so than left to guess.
pub(crate) fn refuse_upgrade(head: &Parts) -> Result<(), Refusal> {
    let mut protocols = head.headers.get_all(UPGRADE).iter();
    let is_other = protocols.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"));
    let is_asked = head.headers.contains_key(CONNECTION) && head.method == Method::GET;
    if is_other && is_asked {
        let text = "no other protocol, such as WebSocket, is passed on";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, host: &str) -> Parts {
        let request = http::Request::builder().method(method).uri(uri).header(HOST, host);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_tunnel_leads_to_one_origin_only() {
        let target = Target { host: "h.org".to_owned(), port: 443 };
        let of = |uri, host| {
            let url = inside(&target, &head("GET", uri, host));
            url.map(|url| url.as_wire().to_owned()).map_err(|refusal| refusal.status)
        };
        assert_eq!(of("/a?b", "H.org"), Ok("https://h.org/a?b".to_owned()));
        assert_eq!(of("/a", "h.org:443"), Ok("https://h.org/a".to_owned()));
        assert_eq!(of("https://h.org/a", "h.org"), Ok("https://h.org/a".to_owned()));
        assert_eq!(of("/a", "other.org"), Err(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(of("/a", "h.org:8443"), Err(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(of("https://other.org/a", "h.org"), Err(StatusCode::MISDIRECTED_REQUEST));
    }

    #[test]
    fn targets_of_tunnels_have_a_host_and_a_port() {
        let of = |uri| tunnel(&head("CONNECT", uri, "h")).ok();
        let target = |host: &str, port| Some(Target { host: host.to_owned(), port });
        assert_eq!(of("H.org:8443"), target("h.org", 8443));
        assert_eq!(of("[::1]:443"), target("::1", 443));
        assert_eq!(of("/x"), None);
        assert_eq!(Target { host: "::1".to_owned(), port: 443 }.to_string(), "[::1]");
    }

    #[test]
    fn without_a_tunnel_only_whole_http_urls_are_understood() {
        let of = |uri| absolute(&head("GET", uri, "h")).map(|url| url.as_wire().to_owned()).ok();
        assert_eq!(of("http://h:81/a?b"), Some("http://h:81/a?b".to_owned()));
        assert_eq!(of("/a"), None);
        assert_eq!(of("https://h/a"), None);
    }
}
