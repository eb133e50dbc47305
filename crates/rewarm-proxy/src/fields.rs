//! Fields that a proxy adds, reads and takes away, as pure functions.

use std::net::IpAddr;

use http::header::{CACHE_STATUS, FORWARDED, HOST, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Version};
use rewarm_http::CacheStatus;

/// The name under which this proxy stands in `Via` and `Cache-Status`.
pub(crate) const PSEUDONYM: &str = "rewarm";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Adds a member to the end of a list.
fn append(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.append(name, value);
    }
}

/// RFC 9110 section 7.6.3: the protocol in which a message came, and who received it.
pub(crate) fn add_via(headers: &mut HeaderMap, version: Version, received_by: &str) {
    let protocol = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    append(headers, VIA, &format!("{protocol} {received_by}"));
}

/// Whether a message has been received by `name` before.
pub(crate) fn passed(headers: &HeaderMap, name: &str) -> bool {
    let lines = headers.get_all(VIA).iter().filter_map(|line| line.to_str().ok());
    let mut members = lines.flat_map(|line| line.split(','));
    members.any(|member| member.split_whitespace().nth(1) == Some(name))
}

/// RFC 9211: how the cache treated a request.
pub(crate) fn add_cache_status(headers: &mut HeaderMap, status: &CacheStatus) {
    let text = format!("{PSEUDONYM}; {status}");
    append(headers, CACHE_STATUS, text.trim_end_matches("; "));
}

/// Says for whom a request is made (RFC 7239), also in the older form that many servers read.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, client: IpAddr, host: Option<&str>) {
    let node = match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = host.filter(|host| !host.contains(['"', '\\']));
    let shown = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    append(headers, FORWARDED, &format!("for={node}{shown};proto=http"));
    append(headers, X_FORWARDED_FOR, &client.to_string());
    if let Some(host) = host
        && let Ok(value) = HeaderValue::from_str(host)
    {
        headers.insert(X_FORWARDED_HOST, value);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// The host that a request names: that of its target, else its `Host`.
pub(crate) fn host_of(target: &http::Uri, headers: &HeaderMap) -> Option<String> {
    let authority = target.authority().map(|authority| authority.as_str().to_owned());
    authority.or_else(|| headers.get(HOST)?.to_str().ok().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_7_6_3_a_loop_shows_in_via() {
        let mut headers = HeaderMap::new();
        append(&mut headers, VIA, "1.0 fred, 1.1 rewarm-1 (x)");
        assert!(passed(&headers, "rewarm-1"));
        assert!(!passed(&headers, "rewarm"));
        add_via(&mut headers, Version::HTTP_2, "rewarm-2");
        assert!(passed(&headers, "rewarm-2"));
    }

    #[test]
    fn rfc7239_addresses_are_written_as_nodes() {
        let of = |address: &str, host| {
            let mut headers = HeaderMap::new();
            add_forwarded(&mut headers, address.parse().expect("an address"), host);
            headers[FORWARDED].to_str().expect("text").to_owned()
        };
        assert_eq!(of("127.0.0.1", Some("h:1")), "for=127.0.0.1;host=\"h:1\";proto=http");
        assert_eq!(of("::1", None), "for=\"[::1]\";proto=http");
        assert_eq!(of("::1", Some("a\"b")), "for=\"[::1]\";proto=http");
    }
}
