//! A client's own conditions, evaluated against a response that may be used (RFC 9110 section 13,
//! RFC 9111 section 4.3.2).
//!
//! `If-None-Match`, `If-Modified-Since` and `If-Range` are answered here. `If-Match` and
//! `If-Unmodified-Since` are not applicable to a cache: such requests go to the origin. Total on any
//! bytes; a date that cannot be read is no condition.

use http::header::{
    DATE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::date::{date, parse_date};

/// The fields with which a client sets terms of its own.
pub const TERMS: [HeaderName; 6] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// What the conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// The client has it already: 304.
    NotModified,
}

/// Whether the request has a condition that only the origin may evaluate (RFC 9111 section 4.3.2).
pub fn are_for_the_origin(request: &HeaderMap) -> bool {
    request.contains_key(IF_MATCH) || request.contains_key(IF_UNMODIFIED_SINCE)
}

/// Evaluates the conditions of a GET or HEAD against a stored success (RFC 9110 section 13.2.2):
/// `If-None-Match` counts, and only without it `If-Modified-Since`.
pub fn evaluate(request: &HeaderMap, stored: &HeaderMap) -> Outcome {
    let unmodified = if request.contains_key(IF_NONE_MATCH) {
        names_tag(request, stored.get(ETAG))
    } else {
        is_not_newer(request, stored).unwrap_or(false)
    };
    if unmodified { Outcome::NotModified } else { Outcome::Proceed }
}

/// Section 13.1.2: whether one of the tags is, weakly compared, the stored one, or is `*`.
pub fn names_tag(request: &HeaderMap, stored: Option<&HeaderValue>) -> bool {
    let stored = stored.map(|tag| opaque(tag.as_bytes().trim_ascii()));
    let lines = request.get_all(IF_NONE_MATCH);
    lines.iter().flat_map(|line| tags(line.as_bytes())).any(|tag| match tag {
        b"*" => true,
        tag => stored.is_some_and(|stored| stored == opaque(tag)),
    })
}

/// Section 13.1.3; a response without `Last-Modified` counts as made at its `Date` (RFC 9111 section
/// 4.3.2). `None` if there is no such condition, or not exactly one that can be read.
fn is_not_newer(request: &HeaderMap, stored: &HeaderMap) -> Option<bool> {
    let mut lines = request.get_all(IF_MODIFIED_SINCE).iter();
    let since = parse_date(lines.next()?.as_bytes()).filter(|_| lines.next().is_none())?;
    let modified = date(stored, &LAST_MODIFIED).or_else(|| date(stored, &DATE))?;
    Some(modified <= since)
}

/// Section 13.1.5: whether a `Range` may be answered from this response. Tags are compared strongly;
/// a date must be exactly the stored one, and that one a strong validator.
pub fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(IF_RANGE).iter();
    let Some(condition) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    // `if_range` gives only what is strong.
    crate::resume::if_range(stored).is_some_and(|validator| {
        let (asked, has) = (condition.as_bytes().trim_ascii(), validator.as_bytes().trim_ascii());
        asked == has && (has.starts_with(b"\"") || parse_date(has).is_some())
    })
}

/// The part of a tag that weak comparison looks at (section 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The members of a list of tags; commas inside quotes do not part them.
pub fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let members = line.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    });
    members.map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::header_map;

    fn unmodified(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        evaluate(&header_map(request), &header_map(stored)) == Outcome::NotModified
    }

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 08:49:37 GMT";

    #[test]
    fn rfc9110_13_1_2_if_none_match_compares_weakly() {
        let stored = [("etag", "\"a,b\"")];
        for tags in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", "*", "\"x\",, W/\"a,b\" ,\"y\""] {
            assert!(unmodified(&[("if-none-match", tags)], &stored), "{tags}");
        }
        assert!(unmodified(&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], &stored));
        for tags in ["\"a\"", "\"x\", \"y\"", "a,b", "w/\"a,b\"", ""] {
            assert!(!unmodified(&[("if-none-match", tags)], &stored), "{tags}");
        }
        assert!(!unmodified(&[("if-none-match", "\"a\"")], &[]));
        assert!(unmodified(&[("if-none-match", "*")], &[]));
    }

    #[test]
    fn rfc9110_13_2_2_if_none_match_beats_if_modified_since() {
        let stored = [("etag", "\"a\""), ("last-modified", OLD)];
        assert!(!unmodified(&[("if-none-match", "\"b\""), ("if-modified-since", NEW)], &stored));
        assert!(unmodified(&[("if-none-match", "\"a\""), ("if-modified-since", "x")], &stored));
    }

    #[test]
    fn rfc9110_13_1_3_if_modified_since_compares_dates() {
        assert!(unmodified(&[("if-modified-since", OLD)], &[("last-modified", OLD)]));
        assert!(unmodified(&[("if-modified-since", NEW)], &[("last-modified", OLD)]));
        assert!(!unmodified(&[("if-modified-since", OLD)], &[("last-modified", NEW)]));
        assert!(!unmodified(&[("if-modified-since", "x")], &[("last-modified", OLD)]));
        let twice = [("if-modified-since", NEW), ("if-modified-since", NEW)];
        assert!(!unmodified(&twice, &[("last-modified", OLD)]));
    }

    #[test]
    fn rfc9111_4_3_2_without_last_modified_the_date_counts() {
        assert!(unmodified(&[("if-modified-since", NEW)], &[("date", OLD)]));
        assert!(!unmodified(&[("if-modified-since", OLD)], &[("date", NEW)]));
        assert!(!unmodified(&[("if-modified-since", OLD)], &[]));
    }

    #[test]
    fn rfc9111_4_3_2_some_conditions_are_the_origins_business() {
        assert!(are_for_the_origin(&header_map(&[("if-match", "\"a\"")])));
        assert!(are_for_the_origin(&header_map(&[("if-unmodified-since", OLD)])));
        assert!(!are_for_the_origin(&header_map(&[("if-none-match", "\"a\"")])));
    }

    #[test]
    fn rfc9110_13_1_5_if_range_compares_strongly() {
        let applies = |condition: &str, stored: &[(&'static str, &str)]| {
            range_applies(&header_map(&[("if-range", condition)]), &header_map(stored))
        };
        assert!(applies("\"a\"", &[("etag", "\"a\"")]));
        assert!(!applies("\"b\"", &[("etag", "\"a\"")]));
        assert!(!applies("W/\"a\"", &[("etag", "W/\"a\"")]));
        assert!(!applies("W/\"a\"", &[("etag", "\"a\"")]));
        assert!(applies(OLD, &[("last-modified", OLD), ("date", NEW)]));
        assert!(!applies(OLD, &[("last-modified", OLD), ("date", OLD)]));
        assert!(!applies(NEW, &[("last-modified", OLD), ("date", NEW)]));
        assert!(!applies("x", &[("last-modified", "x"), ("date", NEW)]));
        assert!(range_applies(&HeaderMap::new(), &HeaderMap::new()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_evaluated_without_panic(
            tag in proptest::collection::vec(32_u8..=255, 0..40),
            stored in proptest::collection::vec(32_u8..=255, 0..40),
        ) {
            let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
            let (Some(tag), Some(stored)) = (value(&tag), value(&stored)) else { return Ok(()) };
            let mut request = HeaderMap::new();
            for name in TERMS {
                request.insert(name, tag.clone());
            }
            let mut response = HeaderMap::new();
            for name in [ETAG, LAST_MODIFIED, DATE] {
                response.insert(name, stored.clone());
            }
            evaluate(&request, &response);
            range_applies(&request, &response);
        }
    }
}
