//! Entity tags of rewritten pages.
//!
//! A page with other links is another representation than upstream's, so it has another tag:
//! upstream's with a suffix that stands for everything else that decides its bytes. A tag that comes
//! back without the suffix is of something else and is not asked about (RFC 9110 sections 8.8.3,
//! 13.1.2).

use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};

/// Parts suffix and tag.
const MARK: &str = "+";

/// Gives the tag of an answer the suffix; a malformed one goes.
pub(super) fn mark(headers: &mut HeaderMap, suffix: &str) {
    let Some(tag) = headers.remove(ETAG) else { return };
    let text = tag.to_str().ok().map(str::trim);
    let open = text.filter(|text| is_tag(text)).and_then(|text| text.strip_suffix('"'));
    let marked = open.map(|open| format!("{open}{MARK}{suffix}\""));
    if let Some(value) = marked.and_then(|marked| HeaderValue::from_str(&marked).ok()) {
        headers.insert(ETAG, value);
    }
}

/// The condition to send upstream for a client's `If-None-Match`; `None` if it has none that could
/// be met.
pub(super) fn upstream_tags(headers: &HeaderMap, suffix: &str) -> Option<HeaderValue> {
    let ending = format!("{MARK}{suffix}\"");
    let mut tags = Vec::new();
    for value in headers.get_all(IF_NONE_MATCH) {
        for tag in members(value.to_str().ok()?) {
            match tag.strip_suffix(&*ending) {
                Some(open) if is_tag(tag) => tags.push(format!("{open}\"")),
                _ if tag == "*" => tags.push(tag.to_owned()),
                _ => {}
            }
        }
    }
    let is_any = !tags.is_empty();
    HeaderValue::from_str(&tags.join(", ")).ok().filter(|_| is_any)
}

/// The members of a list of tags; commas inside of quotes part nothing.
fn members(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(str::trim)
}

/// `[W/]"…"` without a quote inside.
fn is_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"') && !inner.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(tag: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, HeaderValue::from_static(tag));
        mark(&mut headers, "s");
        headers.get(ETAG).map(|value| value.to_str().unwrap().to_owned())
    }

    fn back(tags: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for tag in tags {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(tag));
        }
        upstream_tags(&headers, "s").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn rfc9110_8_8_3_strong_stays_strong_and_weak_weak() {
        assert_eq!(marked("\"a\"").as_deref(), Some("\"a+s\""));
        assert_eq!(marked("W/\"a\"").as_deref(), Some("W/\"a+s\""));
        assert_eq!(marked("\"\"").as_deref(), Some("\"+s\""));
        for malformed in ["a", "\"a", "\"a\"b\"", "w/\"a\"", "\"", ""] {
            assert_eq!(marked(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn rfc9110_13_1_2_only_tags_of_this_page_are_asked_about() {
        assert_eq!(back(&["\"a+s\""]).as_deref(), Some("\"a\""));
        assert_eq!(back(&["W/\"a+s\", \"b\"", "\"c,d+s\""]).as_deref(), Some("W/\"a\", \"c,d\""));
        assert_eq!(back(&["\"a\", \"b+t\""]), None);
        assert_eq!(back(&["*"]).as_deref(), Some("*"));
        assert_eq!(back(&[]), None);
    }
}
