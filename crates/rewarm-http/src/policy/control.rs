//! `Cache-Control` and its kin, parsed (RFC 9111 sections 5.2 and 5.4, RFC 5861, RFC 8246, RFC 9213).
//!
//! What only concerns a shared cache is resolved here: others see one `max_age` and one
//! `must_revalidate`. Parsing never fails: what cannot be understood is read in the way that reuses less. Unknown
//! directives are ignored, as section 5.2.3 asks.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Role, targeted};

/// The largest delta-seconds; greater numbers count as this one (RFC 9111 section 1.2.2).
const MAX_DELTA: u64 = 1 << 31;

/// `max-stale`, with or without a limit (RFC 9111 section 5.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// Stale by no more than this.
    Limit(Duration),
}

/// The directives that matter to a cache, of a request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`; zero if it is malformed, the least if it is repeated (sections 4.2.1, 5.2.2.1). For
    /// a shared cache `s-maxage`, if there is one (section 5.2.2.10).
    pub max_age: Option<Duration>,
    /// Whether a shared cache may store the response to a request with credentials: `public`,
    /// `s-maxage` or `must-revalidate` (section 3.5).
    pub shareable: bool,
    /// Whether the directives come from a field that is meant for this cache only, which `Expires`
    /// cannot add to (RFC 9213 section 2.2).
    pub targeted: bool,
    /// `min-fresh` (section 5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// `max-stale` (section 5.2.1.2).
    pub max_stale: Option<MaxStale>,
    /// `no-store` (sections 5.2.1.5, 5.2.2.5).
    pub no_store: bool,
    /// `no-cache` without field names (sections 5.2.1.4, 5.2.2.4).
    pub no_cache: bool,
    /// Lower-case fields that `no-cache="…"` names.
    pub no_cache_fields: Vec<String>,
    /// `only-if-cached` (section 5.2.1.7).
    pub only_if_cached: bool,
    /// `must-revalidate` (section 5.2.2.2); for a shared cache also `proxy-revalidate` and `s-maxage`
    /// (sections 5.2.2.8 and 5.2.2.10).
    pub must_revalidate: bool,
    /// `must-understand` (section 5.2.2.3).
    pub must_understand: bool,
    /// `public` (section 5.2.2.9).
    pub public: bool,
    /// `private` without field names (section 5.2.2.7).
    pub private: bool,
    /// Lower-case fields that `private="…"` names.
    pub private_fields: Vec<String>,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// The directives of a response, as they are for a cache of this role.
    pub fn of_response(role: Role, headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if role == Role::Shared
            && let Some(directives) = targeted::directives(headers)
        {
            control.targeted = true;
            control.add_all(role, &directives);
            return control;
        }
        control.add_all(role, &lines(headers, &CACHE_CONTROL));
        control
    }

    /// The directives of a request. `Pragma: no-cache` counts when there is no `Cache-Control`
    /// (RFC 9111 section 5.4).
    pub fn of_request(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        control.add_all(Role::Private, &lines(headers, &CACHE_CONTROL));
        if !headers.contains_key(CACHE_CONTROL) {
            control.no_cache = lines(headers, &PRAGMA).iter().any(|(name, _)| name == "no-cache");
        }
        control
    }

    fn add_all(&mut self, role: Role, directives: &[Directive]) {
        for (name, value) in directives {
            self.add(name, value.as_deref());
        }
        self.shareable = self.public || self.must_revalidate;
        if role == Role::Private {
            return;
        }
        let mut shared = Self::default();
        for (name, value) in directives {
            match name.as_str() {
                "s-maxage" => shared.add("max-age", value.as_deref()),
                "proxy-revalidate" => shared.must_revalidate = true,
                _ => {}
            }
        }
        self.shareable |= shared.max_age.is_some();
        self.must_revalidate |= shared.must_revalidate || shared.max_age.is_some();
        self.max_age = shared.max_age.or(self.max_age);
    }

    /// Names are compared without case (section 5.2); both the token and the quoted form of an
    /// argument are understood.
    fn add(&mut self, name: &str, value: Option<&str>) {
        let least = |present: Option<Duration>| {
            let new = value.and_then(delta).unwrap_or(Duration::ZERO);
            Some(present.map_or(new, |present| present.min(new)))
        };
        match name {
            "max-age" => self.max_age = least(self.max_age),
            "min-fresh" => {
                let new = value.and_then(delta).unwrap_or(Duration::from_secs(MAX_DELTA));
                self.min_fresh = Some(self.min_fresh.map_or(new, |present| present.max(new)));
            }
            "max-stale" => {
                let new = match value {
                    None => MaxStale::Any,
                    Some(value) => MaxStale::Limit(delta(value).unwrap_or(Duration::ZERO)),
                };
                self.max_stale = Some(match (self.max_stale, new) {
                    (Some(MaxStale::Limit(a)), MaxStale::Limit(b)) => MaxStale::Limit(a.min(b)),
                    (Some(limit @ MaxStale::Limit(_)), MaxStale::Any) => limit,
                    (_, new) => new,
                });
            }
            "no-store" => self.no_store = true,
            "no-cache" => match names(value) {
                named if named.is_empty() => self.no_cache = true,
                named => self.no_cache_fields.extend(named),
            },
            "only-if-cached" => self.only_if_cached = true,
            "must-revalidate" => self.must_revalidate = true,
            "must-understand" => self.must_understand = true,
            "public" => self.public = true,
            "private" => match names(value) {
                named if named.is_empty() => self.private = true,
                named => self.private_fields.extend(named),
            },
            "immutable" => self.immutable = true,
            "stale-while-revalidate" => {
                self.stale_while_revalidate = least(self.stale_while_revalidate);
            }
            "stale-if-error" => self.stale_if_error = least(self.stale_if_error),
            _ => {}
        }
    }
}

/// A directive: its lower-case name and its unquoted argument.
pub type Directive = (String, Option<String>);

/// The directives in all lines of a field.
fn lines(headers: &HeaderMap, name: &HeaderName) -> Vec<Directive> {
    let lines = headers.get_all(name).iter();
    lines.map(HeaderValue::as_bytes).flat_map(directives).collect()
}

/// The lower-case field names in an argument.
fn names(value: Option<&str>) -> Vec<String> {
    let names = value.unwrap_or_default().split(',');
    names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
}

/// Delta-seconds (RFC 9111 section 1.2.2): digits only, capped.
pub(super) fn delta(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Only digits: the one way to fail is overflow.
    Some(Duration::from_secs(text.parse::<u64>().unwrap_or(MAX_DELTA).min(MAX_DELTA)))
}

/// Splits one field line into lower-case names and unquoted arguments.
///
/// A quote that does not end takes the rest of the line, so that nothing inside it is mistaken for
/// a directive.
pub fn directives(line: &[u8]) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (item, after) = split_item(rest);
        rest = after;
        let (name, value) = match item.iter().position(|&byte| byte == b'=') {
            Some(at) => (&item[..at], Some(&item[at + 1..])),
            None => (item, None),
        };
        let trimmed = name.trim_ascii();
        if trimmed.is_empty() {
            continue;
        }
        let name_text = String::from_utf8_lossy(trimmed).to_ascii_lowercase();
        // Blanks around `=` are not allowed, so such an argument is no number.
        let blank = |bytes: Option<&u8>| bytes.is_some_and(u8::is_ascii_whitespace);
        let spaced = value.is_some() && blank(name.last()) || blank(value.and_then(<[u8]>::first));
        let value = value.map(|value| if spaced { String::from("?") } else { unquote(value) });
        found.push((name_text, value));
    }
    found
}

/// Up to the next comma outside quotes, and what follows it.
fn split_item(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&bytes[..at], &bytes[at + 1..]),
            _ => {}
        }
    }
    (bytes, &[])
}

/// The content of a quoted string (RFC 9110 section 5.6.4), or the token itself.
fn unquote(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    let Some(inner) = bytes.strip_prefix(b"\"") else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut text = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &byte in inner {
        if byte == b'\\' && !escaped {
            escaped = true;
        } else {
            text.push(byte);
            escaped = false;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn control(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).expect("a field value"));
        }
        CacheControl::of_response(Role::Private, &headers)
    }

    fn max_age(line: &str) -> Option<u64> {
        control(&[line]).max_age.map(|age| age.as_secs())
    }

    #[test]
    fn rfc9111_5_2_names_are_compared_without_case() {
        assert_eq!(max_age("MaX-aGe=5"), Some(5));
        assert!(control(&["NO-STORE"]).no_store);
    }

    #[test]
    fn rfc9111_5_2_token_and_quoted_arguments_mean_the_same() {
        assert_eq!(max_age("max-age=\"5\""), Some(5));
        assert_eq!(max_age("a=\"x, max-age=9\", max-age=5"), Some(5));
        assert_eq!(max_age("a=\"x\\\", max-age=9\", max-age=5"), Some(5));
    }

    #[test]
    fn rfc9111_4_2_1_the_least_of_repeated_values_counts() {
        assert_eq!(max_age("max-age=5, max-age=9"), Some(5));
        assert_eq!(control(&["max-age=9", "max-age=5"]).max_age, Some(Duration::from_secs(5)));
    }

    #[test]
    fn rfc9111_4_2_1_invalid_freshness_is_stale() {
        for bad in ["max-age", "max-age=", "max-age=x", "max-age=-1", "max-age=1.5", "max-age =5"] {
            assert_eq!(max_age(bad), Some(0), "{bad}");
        }
        assert_eq!(max_age("max-age= 5"), Some(0));
        assert_eq!(max_age("max-age='5'"), Some(0));
    }

    #[test]
    fn rfc9111_1_2_2_overflow_counts_as_the_largest_delta() {
        assert_eq!(max_age("max-age=99999999999"), Some(MAX_DELTA));
        assert_eq!(max_age(&format!("max-age={}", "9".repeat(400))), Some(MAX_DELTA));
    }

    #[test]
    fn rfc9111_5_2_2_4_no_cache_may_name_fields() {
        let with = control(&["no-cache=\"Set-Cookie, X-a\""]);
        assert!(!with.no_cache);
        assert_eq!(with.no_cache_fields, ["set-cookie", "x-a"]);
        assert!(control(&["no-cache"]).no_cache);
        assert!(control(&["no-cache=\"\""]).no_cache);
    }

    #[test]
    fn rfc9111_5_2_3_unknown_directives_are_ignored() {
        assert_eq!(max_age("foo, bar=\"b,az\",, ;;, max-age=7"), Some(7));
        assert_eq!(max_age("xmax-age=7"), None);
    }

    #[test]
    fn rfc9111_5_4_pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(PRAGMA, HeaderValue::from_static("x, No-Cache"));
        assert!(CacheControl::of_request(&headers).no_cache);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!CacheControl::of_request(&headers).no_cache);
    }

    #[test]
    fn rfc9111_5_2_1_2_max_stale_keeps_the_tighter_limit() {
        assert_eq!(control(&["max-stale"]).max_stale, Some(MaxStale::Any));
        let five = Some(MaxStale::Limit(Duration::from_secs(5)));
        assert_eq!(control(&["max-stale, max-stale=5"]).max_stale, five);
        assert_eq!(control(&["max-stale=5, max-stale=9"]).max_stale, five);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(0_u8..=255, 0..200)) {
            for (name, _) in directives(&bytes) {
                assert!(!name.is_empty());
            }
        }
    }
}
