//! Asking for the rest of a body (RFC 9110 sections 13.1.5 and 14), as pure functions.

use http::header::{CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use crate::policy::date::date;

/// The `If-Range` that makes resuming safe: a strong entity tag, else a `Last-Modified` that is
/// strong because the response was made at least a second after it (RFC 9110 section 8.8.2.2).
pub(crate) fn if_range(response: &HeaderMap) -> Option<HeaderValue> {
    if let Some(tag) = response.get(ETAG) {
        let strong = tag.as_bytes().starts_with(b"\"");
        return strong.then(|| tag.clone());
    }
    let (modified, made) = (date(response, &LAST_MODIFIED)?, date(response, &DATE)?);
    let strong = made.duration_since(modified).is_ok_and(|since| since.as_secs() >= 1);
    response.get(LAST_MODIFIED).filter(|_| strong).cloned()
}

/// `Range` for everything from `start` on.
pub(crate) fn range_from(start: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes={start}-")).expect("digits are a field value")
}

/// Whether a 206 carries exactly the rest that was asked for: from `start` to the end of a body of
/// `total` bytes, of the representation that `stored` describes.
pub fn is_the_rest(part: &HeaderMap, start: u64, total: Option<u64>, stored: &HeaderMap) -> bool {
    let Some((first, last, length)) = content_range(part) else { return false };
    let same_tag = match (part.get(ETAG), stored.get(ETAG)) {
        (Some(new), Some(old)) => new == old,
        _ => true,
    };
    let whole = length.is_none_or(|length| last + 1 == length);
    let agreed = match (length, total) {
        (Some(length), Some(total)) => length == total,
        (None, Some(total)) => last + 1 == total,
        (Some(_), None) => true,
        (None, None) => false,
    };
    first == start && first <= last && whole && agreed && same_tag
}

/// The total that a 206 announces.
pub(crate) fn announced_total(part: &HeaderMap) -> Option<u64> {
    content_range(part)?.2
}

/// First byte, last byte, total (RFC 9110 section 14.4); `None` if there is not exactly one such field.
pub fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let mut values = headers.get_all(CONTENT_RANGE).iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(number(total)?) };
    let last = number(last).filter(|&last| last < total.unwrap_or(u64::MAX))?;
    let first = number(first).filter(|&first| first <= last)?;
    Some((first, last, total))
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::header_map;

    #[test]
    fn rfc9110_13_1_5_only_strong_validators_resume() {
        let text = |fields: &[(&'static str, &'static str)]| {
            if_range(&header_map(fields)).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(text(&[("etag", "\"a\"")]).as_deref(), Some("\"a\""));
        assert_eq!(text(&[("etag", "W/\"a\"")]), None);
        let old = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(&[old]), None);
        assert_eq!(text(&[old, ("date", "Sun, 06 Nov 1994 08:49:37 GMT")]), None);
        assert!(text(&[old, ("date", "Sun, 06 Nov 1994 08:49:38 GMT")]).is_some());
        assert_eq!(
            text(&[("etag", "W/\"a\""), old, ("date", "Mon, 07 Nov 1994 08:49:38 GMT")]),
            None
        );
    }

    #[test]
    fn rfc9110_14_4_a_part_beyond_the_whole_is_no_part() {
        let of = |text: &'static str| content_range(&header_map(&[("content-range", text)]));
        assert_eq!(of("bytes 0-9/10"), Some((0, 9, Some(10))));
        assert_eq!(of("bytes 0-9/*"), Some((0, 9, None)));
        for wrong in ["bytes 0-9/9", "bytes 0-9/0", "bytes 9-0/10", "bytes 0-+9/10", "bytes -9/10"]
        {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rfc9110_14_4_only_the_exact_rest_is_accepted() {
        let none = HeaderMap::new();
        let fits = |text: &'static str, total| {
            is_the_rest(&header_map(&[("content-range", text)]), 5, total, &none)
        };
        assert!(fits("bytes 5-9/10", Some(10)));
        assert!(fits("bytes 5-9/10", None));
        assert!(fits("bytes 5-9/*", Some(10)));
        assert!(!fits("bytes 5-9/*", None));
        assert!(!fits("bytes 5-8/10", Some(10)));
        assert!(!fits("bytes 6-9/10", Some(10)));
        assert!(!fits("bytes 5-9/11", Some(10)));
        assert!(!fits("bytes */10", Some(10)));
        assert!(!fits("bytes 5-18446744073709551615/*", Some(10)));
        assert!(!fits("bytes +5-9/10", Some(10)));
        assert!(!fits("5-9/10", Some(10)));
        assert!(!is_the_rest(&none, 5, Some(10), &none));
        let part = header_map(&[("content-range", "bytes 5-9/10"), ("etag", "\"b\"")]);
        assert!(!is_the_rest(&part, 5, Some(10), &header_map(&[("etag", "\"a\"")])));
    }
}
