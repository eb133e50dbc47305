//! A client's `Range`, and what of a body answers it (RFC 9110 section 14).
//!
//! Total on any bytes: what is no valid range is no range, and then the whole is the answer, as
//! section 14.2 allows for every range request.

use std::ops::Range;

use http::HeaderMap;
use http::header::RANGE;

/// One range as it was asked for (section 14.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// From a byte on, to a last one, both counted from 0, or to the end.
    From {
        /// The first byte.
        first: u64,
        /// The last byte, which is part of it.
        last: Option<u64>,
    },
    /// So many bytes at the end.
    Suffix(u64),
}

/// What of a body answers a `Range`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// All of it.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Nothing: 416.
    Unsatisfiable,
}

/// The one range that a request asks for; `None` if it asks for none, for several, or for something
/// that is no range of bytes.
pub fn wanted(request: &HeaderMap) -> Option<Spec> {
    let mut lines = request.get_all(RANGE).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse(line.as_bytes())
}

/// Parses a field value with exactly one range.
pub fn parse(value: &[u8]) -> Option<Spec> {
    let at = value.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = (&value[..at], &value[at + 1..]);
    if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // Empty members of a list do not count (section 5.6.1.2).
    let mut members = set.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|m| !m.is_empty());
    let member = members.next()?;
    if members.next().is_some() {
        return None;
    }
    let dash = member.iter().position(|&byte| byte == b'-')?;
    match (&member[..dash], &member[dash + 1..]) {
        (b"", suffix) => number(suffix).map(Spec::Suffix),
        (first, b"") => Some(Spec::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// Digits only; what is greater than any body counts as the greatest number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX))
}

impl Spec {
    /// What of a body of `total` bytes this is (section 14.1.2).
    pub fn select(self, total: u64) -> Selected {
        match self {
            Self::Suffix(0) => Selected::Unsatisfiable,
            // No `Content-Range` could describe a part of nothing.
            Self::Suffix(_) if total == 0 => Selected::Whole,
            Self::Suffix(count) => Selected::Part(total.saturating_sub(count)..total),
            Self::From { first, .. } if first >= total => Selected::Unsatisfiable,
            Self::From { first, last } => {
                let end = last.map_or(total, |last| last.saturating_add(1).min(total));
                Selected::Part(first..end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, total: u64) -> Option<Selected> {
        parse(text.as_bytes()).map(|spec| spec.select(total))
    }

    #[test]
    fn rfc9110_14_1_2_first_and_last_byte() {
        assert_eq!(of("bytes=0-1", 10), Some(Selected::Part(0..2)));
        assert_eq!(of("bytes=9-9", 10), Some(Selected::Part(9..10)));
        assert_eq!(of("bytes=5-100", 10), Some(Selected::Part(5..10)));
        assert_eq!(of("bytes=5-", 10), Some(Selected::Part(5..10)));
        assert_eq!(of("Bytes=5-", 10), Some(Selected::Part(5..10)));
        assert_eq!(of("bytes= ,5-,", 10), Some(Selected::Part(5..10)));
    }

    #[test]
    fn rfc9110_14_1_2_suffixes() {
        assert_eq!(of("bytes=-1", 10), Some(Selected::Part(9..10)));
        assert_eq!(of("bytes=-100", 10), Some(Selected::Part(0..10)));
        assert_eq!(of("bytes=-0", 10), Some(Selected::Unsatisfiable));
        assert_eq!(of("bytes=-5", 0), Some(Selected::Whole));
    }

    #[test]
    fn rfc9110_15_5_17_ranges_beyond_the_end_are_unsatisfiable() {
        assert_eq!(of("bytes=10-", 10), Some(Selected::Unsatisfiable));
        assert_eq!(of("bytes=10-20", 10), Some(Selected::Unsatisfiable));
        assert_eq!(of("bytes=0-", 0), Some(Selected::Unsatisfiable));
        let huge = format!("bytes={}-", "9".repeat(40));
        assert_eq!(of(&huge, 10), Some(Selected::Unsatisfiable));
        assert_eq!(of(&format!("bytes=0-{}", "9".repeat(40)), 10), Some(Selected::Part(0..10)));
    }

    #[test]
    fn rfc9110_14_2_what_is_no_single_range_of_bytes_is_ignored() {
        for text in [
            "bytes=0-1,3-4",
            "bytes=5-1",
            "bytes=",
            "bytes=-",
            "bytes=a-",
            "bytes=+1-",
            "bytes=1",
            "lines=0-1",
            "0-1",
            "",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_select_something_inside_the_body(
            bytes in proptest::collection::vec(0_u8..=255, 0..40),
            total in 0_u64..100,
        ) {
            if let Some(Selected::Part(part)) = parse(&bytes).map(|spec| spec.select(total)) {
                assert!(part.start < part.end && part.end <= total);
            }
        }

        #[test]
        fn any_numbers_select_something_inside_the_body(
            first in 0_u64.., last in 0_u64.., total in 0_u64..,
        ) {
            for text in [format!("bytes={first}-{last}"), format!("bytes=-{last}")] {
                if let Some(Selected::Part(part)) = of(&text, total) {
                    assert!(part.start < part.end && part.end <= total);
                }
            }
        }
    }
}
