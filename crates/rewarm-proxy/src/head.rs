//! The head of an HTTP/1 request, read strictly: what it says of its framing, or why it is refused.
//!
//! Pure, on whole heads; where a head ends is `guard`'s concern. Every shape that two readers could
//! understand differently (RFC 9112 section 11.2) is an error here, whether or not one of them
//! would be right.

use http::StatusCode;

/// Why a request is refused. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What to answer.
    pub status: StatusCode,
    /// For people.
    pub reason: &'static str,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes of a body; none in most cases.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// Bytes of another protocol, if the request is granted.
    Tunnel,
}

pub(crate) fn bad(reason: &'static str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, reason }
}

fn too_large(reason: &'static str) -> Refused {
    Refused { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason }
}

/// What the fields say that matters here.
#[derive(Default)]
struct Found<'a> {
    host: Option<&'a str>,
    length: Option<u64>,
    chunked: bool,
}

/// Reads a head: request line and fields, each with its CRLF, without the empty line at the end.
/// That no CR or LF stands alone is checked already.
pub fn read(head: &[u8], max_fields: usize) -> Result<Framing, Refused> {
    let mut lines = lines(head);
    let line = lines.next().unwrap_or_default();
    let (method, target, is_1_1) = request_line(line)?;
    let mut found = Found::default();
    for (count, line) in lines.enumerate() {
        if count >= max_fields {
            return Err(too_large("the request has too many fields"));
        }
        let (name, value) = field(line)?;
        note(&mut found, name, value)?;
    }
    if is_1_1 && found.host.is_none() {
        return Err(bad("the request has no `Host`"));
    }
    if found.chunked && !is_1_1 {
        return Err(bad("`Transfer-Encoding` in HTTP/1.0"));
    }
    if found.chunked && found.length.is_some() {
        return Err(bad("`Content-Length` beside `Transfer-Encoding`"));
    }
    check_target(method, target, found.host)?;
    match (method, found.chunked) {
        (b"CONNECT", false) if found.length.unwrap_or(0) == 0 => Ok(Framing::Tunnel),
        (b"CONNECT", _) => Err(bad("`CONNECT` with a body")),
        (_, true) => Ok(Framing::Chunked),
        (_, false) => Ok(Framing::Length(found.length.unwrap_or(0))),
    }
}

/// The lines of a block, each of which ends in CRLF.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let block = block.strip_suffix(b"\r\n").unwrap_or(block);
    let is_empty = block.is_empty();
    let lines = block.split(|&byte| byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).skip(usize::from(is_empty))
}

/// Checks the fields after a chunked body (RFC 9112 section 7.1.2): none may say where a message
/// ends or whom it is for (RFC 9110 section 6.5.1).
pub(crate) fn read_trailers(block: &[u8], max_fields: usize) -> Result<(), Refused> {
    for (count, line) in lines(block).enumerate() {
        if count >= max_fields {
            return Err(too_large("the body is followed by too many fields"));
        }
        let (name, _) = field(line)?;
        let framing = ["content-length", "transfer-encoding", "host"];
        if framing.iter().any(|framing| name.eq_ignore_ascii_case(framing.as_bytes())) {
            return Err(bad("a framing field after the body"));
        }
    }
    Ok(())
}

/// RFC 9112 section 3: three words with one space between them.
fn request_line(line: &[u8]) -> Result<(&[u8], &str, bool), Refused> {
    let malformed = || bad("the request line is malformed");
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed());
    };
    let target = std::str::from_utf8(target).map_err(|_| malformed())?;
    let is_target = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !is_target {
        return Err(malformed());
    }
    match version {
        b"HTTP/1.1" => Ok((method, target, true)),
        b"HTTP/1.0" => Ok((method, target, false)),
        _ if version.starts_with(b"HTTP/") => Err(Refused {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            reason: "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here",
        }),
        _ => Err(malformed()),
    }
}

/// RFC 9112 section 5: a name, a colon right behind it, and a value on the same line.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    if line.first().is_some_and(|byte| [b' ', b'\t'].contains(byte)) {
        return Err(bad("a field is continued on another line"));
    }
    let colon = line.iter().position(|&byte| byte == b':');
    let colon = colon.ok_or_else(|| bad("a field has no colon"))?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.last().is_some_and(|byte| [b' ', b'\t'].contains(byte)) {
        return Err(bad("there is a blank before a field's colon"));
    }
    if !is_token(name) {
        return Err(bad("the name of a field is malformed"));
    }
    if value.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(bad("a field has a control character"));
    }
    Ok((name, value.trim_ascii()))
}

fn note<'a>(found: &mut Found<'a>, name: &[u8], value: &'a [u8]) -> Result<(), Refused> {
    if name.eq_ignore_ascii_case(b"content-length") {
        if found.length.is_some() {
            return Err(bad("several values of `Content-Length`"));
        }
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_number);
        let length = text.and_then(|text| text.parse().ok());
        found.length = Some(length.ok_or_else(|| bad("`Content-Length` is no single number"))?);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if found.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(bad("`Transfer-Encoding` is not `chunked` alone"));
        }
        found.chunked = true;
    } else if name.eq_ignore_ascii_case(b"host") {
        let is_host = |text: &&str| text.bytes().all(is_authority_byte);
        let host = std::str::from_utf8(value).ok().filter(is_host);
        let host = host.ok_or_else(|| bad("`Host` is malformed"))?;
        if found.host.replace(host).is_some() {
            return Err(bad("several values of `Host`"));
        }
    }
    Ok(())
}

/// RFC 9112 section 3.2: the four forms; where a target names a host, `Host` names the same.
fn check_target(method: &[u8], target: &str, host: Option<&str>) -> Result<(), Refused> {
    if method == b"CONNECT" {
        let (name, port) = split_port(target);
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if name.is_empty() || !is_port || !target.bytes().all(is_authority_byte) {
            return Err(bad("`CONNECT` wants a host and a port"));
        }
        // Some clients leave the port out of `Host` here.
        let same = host.is_none_or(|host| split_port(host).0.eq_ignore_ascii_case(name));
        return if same { Ok(()) } else { Err(bad("target and `Host` differ")) };
    }
    if target.starts_with('/') || (target == "*" && method == b"OPTIONS") {
        return Ok(());
    }
    let (scheme, rest) =
        target.split_once("://").ok_or_else(|| bad("the request's target is malformed"))?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return Err(bad("the request's target is no http URL")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || !authority.bytes().all(is_authority_byte) {
        return Err(bad("the request's target is malformed"));
    }
    let parts = |authority| {
        let (name, port) = split_port(authority);
        (name.to_ascii_lowercase(), if port.is_empty() { default } else { port }.to_owned())
    };
    match host {
        Some(host) if parts(host) != parts(authority) => Err(bad("target and `Host` differ")),
        _ => Ok(()),
    }
}

/// Host and port; the port may be empty.
fn split_port(authority: &str) -> (&str, &str) {
    let after = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[after..].rfind(':') {
        Some(colon) => (&authority[..after + colon], &authority[after + colon + 1..]),
        None => (authority, ""),
    }
}

/// RFC 3986 section 3.2, without user information, which has no place in requests.
fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_token_byte =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_token_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Framing, Refused> {
        read(text.as_bytes(), 8)
    }

    #[test]
    fn framing_follows_from_the_fields() {
        let host = "Host: h\r\n";
        assert_eq!(of(&format!("GET / HTTP/1.1\r\n{host}")), Ok(Framing::Length(0)));
        let length = format!("POST /a?b HTTP/1.1\r\n{host}Content-Length: 12 \r\n");
        assert_eq!(of(&length), Ok(Framing::Length(12)));
        let chunked = format!("POST / HTTP/1.1\r\ntransfer-encoding:\tChunked\r\n{host}");
        assert_eq!(of(&chunked), Ok(Framing::Chunked));
        assert_eq!(of("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n"), Ok(Framing::Tunnel));
        assert_eq!(of("GET / HTTP/1.0\r\n"), Ok(Framing::Length(0)));
    }

    #[test]
    fn rfc9112_3_2_targets_have_four_forms() {
        for good in [
            "GET http://H/x HTTP/1.1\r\nHost: h:80\r\n",
            "GET http://[::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n",
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n",
        ] {
            assert!(of(good).is_ok(), "{good}");
        }
        for wrong in [
            "GET http://h/ HTTP/1.1\r\nHost: other\r\n",
            "GET http://h:81/ HTTP/1.1\r\nHost: h\r\n",
            "GET http://user@h/ HTTP/1.1\r\nHost: h\r\n",
            "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n",
            "GET h/ HTTP/1.1\r\nHost: h\r\n",
            "GET * HTTP/1.1\r\nHost: h\r\n",
            "GET http:/// HTTP/1.1\r\nHost: h\r\n",
            "CONNECT h HTTP/1.1\r\nHost: h\r\n",
            "CONNECT h:1 HTTP/1.1\r\nHost: other:1\r\n",
            "CONNECT /x:1 HTTP/1.1\r\nHost: h\r\n",
        ] {
            assert_eq!(of(wrong).map_err(|e| e.status), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding : chunked\r\n",
            "X: 1\r\n Transfer-Encoding: chunked\r\n",
            "X: a\0b\r\n",
            "X: a\x7fb\r\n",
            "X y: 1\r\n",
            ": 1\r\n",
            "X\r\n",
            "Host: h\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}");
            assert_eq!(of(&head).map_err(|e| e.status), Err(StatusCode::BAD_REQUEST), "{head}");
        }
        for line in
            ["GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /", "G@T / HTTP/1.1"]
        {
            assert!(of(&format!("{line}\r\nHost: h\r\n")).is_err(), "{line}");
        }
        assert!(of("GET / HTTP/1.1\r\n").is_err());
        assert!(of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n").is_err());
        let version = of("GET / HTTP/3.0\r\nHost: h\r\n").map_err(|e| e.status);
        assert_eq!(version, Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
    }

    #[test]
    fn fields_are_counted() {
        let many = "X: 1\r\n".repeat(8);
        let refused = of(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}")).map_err(|e| e.status);
        assert_eq!(refused, Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
}
