//! How old a stored response is, and how long it may be used (RFC 9111 section 4.2).
//!
//! Clocks are not trusted: a stored response that seems to come from the future counts as old by as
//! much, so that a clock set back makes entries stale, not eternal.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::control::{CacheControl, delta};
use super::date::{date, parse_date};
use crate::record::Variant;

/// The longest that a response without explicit expiration is used (section 4.2.2 leaves it open).
const HEURISTIC_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a response may be used without asking the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Counted from when the origin made the response.
    pub duration: Duration,
    /// The field that says so: `max-age`, `Expires`, a heuristic, or nothing.
    pub source: Source,
}

/// Where a lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `Cache-Control: max-age`.
    MaxAge,
    /// `Expires` minus `Date`.
    Expires,
    /// A tenth of the time since `Last-Modified`.
    Heuristic,
    /// No field says anything: usable only after validation.
    None,
}

impl Source {
    /// Whether the origin stated it.
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::MaxAge | Self::Expires)
    }

    /// As it is named in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxAge => "max-age",
            Self::Expires => "Expires",
            Self::Heuristic => "a tenth of its age when fetched",
            Self::None => "no expiration given",
        }
    }
}

/// The statuses that may be stored without explicit expiration (RFC 9110 section 15.1), without
/// 206, which is never stored as an entry.
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The freshness lifetime (section 4.2.1).
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &CacheControl,
    response_time: SystemTime,
) -> Lifetime {
    if let Some(duration) = control.max_age {
        return Lifetime { duration, source: Source::MaxAge };
    }
    let date = date(headers, &DATE).unwrap_or(response_time);
    if headers.contains_key(EXPIRES) && !control.targeted {
        return Lifetime { duration: expires(headers, date), source: Source::Expires };
    }
    let modified = super::date::date(headers, &LAST_MODIFIED);
    let applicable = is_heuristically_cacheable(status) || control.public;
    match modified.and_then(|modified| date.duration_since(modified).ok()) {
        Some(since) if applicable => {
            let duration = Duration::from_secs(since.as_secs() / 10).min(HEURISTIC_LIMIT);
            Lifetime { duration, source: Source::Heuristic }
        }
        _ => Lifetime { duration: Duration::ZERO, source: Source::None },
    }
}

/// The earliest `Expires`; an invalid one, such as `0`, is in the past (section 5.3).
fn expires(headers: &HeaderMap, date: SystemTime) -> Duration {
    headers
        .get_all(EXPIRES)
        .iter()
        .map(|value| parse_date(value.as_bytes()))
        .map(|at| at.and_then(|at| at.duration_since(date).ok()).unwrap_or_default())
        .min()
        .unwrap_or_default()
}

/// The age of a stored response (section 4.2.3).
pub fn current_age(variant: &Variant, headers: &HeaderMap, now: SystemTime) -> Duration {
    let distance =
        |a: SystemTime, b: SystemTime| a.duration_since(b).unwrap_or_else(|error| error.duration());
    let response_time = variant.response_time;
    let date = date(headers, &DATE).unwrap_or(response_time);
    let apparent = response_time.duration_since(date).unwrap_or_default();
    let delay = response_time.duration_since(variant.request_time).unwrap_or_default();
    let corrected = age_value(headers) + delay;
    apparent.max(corrected) + distance(now, response_time)
}

/// The `Age` field: the first member counts, an invalid one is ignored (section 5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    let text = headers.get(AGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').next().and_then(|first| delta(first.trim())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Role;
    use crate::record::Variant;
    use crate::testing::header_map;

    const DAY: u64 = 24 * 60 * 60;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
    }

    fn on(seconds: u64) -> String {
        httpdate::fmt_http_date(at(seconds))
    }

    fn life(fields: &[(&'static str, String)]) -> u64 {
        let headers = header_map(fields);
        let control = CacheControl::of_response(Role::Private, &headers);
        lifetime(StatusCode::OK, &headers, &control, at(0)).duration.as_secs()
    }

    fn age(fields: &[(&'static str, String)], request: u64, response: u64, now: u64) -> u64 {
        let headers = header_map(fields);
        let variant = Variant::bare(StatusCode::OK, &headers, at(request), at(response));
        current_age(&variant, &headers, at(now)).as_secs()
    }

    #[test]
    fn rfc9111_4_2_1_max_age_beats_expires() {
        let fields = [("cache-control", "max-age=5".into()), ("expires", on(100))];
        assert_eq!(life(&fields), 5);
    }

    #[test]
    fn rfc9111_4_2_1_s_maxage_is_not_for_private_caches() {
        assert_eq!(life(&[("cache-control", "s-maxage=5, max-age=9".into())]), 9);
    }

    #[test]
    fn rfc9111_5_2_2_10_s_maxage_is_what_counts_for_shared_caches() {
        let headers = header_map(&[("cache-control", "s-maxage=5, max-age=9")]);
        let control = CacheControl::of_response(Role::Shared, &headers);
        let found = lifetime(StatusCode::OK, &headers, &control, at(0));
        assert_eq!(found.duration, Duration::from_secs(5));
        assert!(control.must_revalidate && control.shareable);
    }

    #[test]
    fn rfc9111_5_3_expires_counts_from_date() {
        assert_eq!(life(&[("date", on(10)), ("expires", on(100))]), 90);
        assert_eq!(life(&[("expires", on(100))]), 100);
        assert_eq!(life(&[("expires", on(100)), ("expires", on(50))]), 50);
    }

    #[test]
    fn rfc9111_5_3_invalid_expires_is_in_the_past() {
        assert_eq!(life(&[("expires", "0".into()), ("last-modified", on(0))]), 0);
        assert_eq!(life(&[("expires", on(100)), ("expires", "x".into())]), 0);
    }

    #[test]
    fn rfc9111_4_2_2_heuristic_is_a_tenth_up_to_a_day() {
        assert_eq!(life(&[("date", on(1000)), ("last-modified", on(0))]), 100);
        assert_eq!(life(&[("date", on(100 * DAY)), ("last-modified", on(0))]), DAY);
        assert_eq!(life(&[("date", on(0)), ("last-modified", on(1000))]), 0);
    }

    #[test]
    fn rfc9111_4_2_2_heuristic_needs_a_status_that_allows_it() {
        let headers = header_map(&[("date", on(1000)), ("last-modified", on(0))]);
        let found = |status, control: &CacheControl| {
            lifetime(status, &headers, control, at(0)).duration.as_secs()
        };
        let none = CacheControl::default();
        let public = CacheControl { public: true, ..CacheControl::default() };
        assert_eq!(found(StatusCode::NOT_FOUND, &none), 100);
        assert_eq!(found(StatusCode::CREATED, &none), 0);
        assert_eq!(found(StatusCode::CREATED, &public), 100);
    }

    #[test]
    fn rfc9111_4_2_3_age_is_the_worse_of_apparent_and_corrected() {
        assert_eq!(age(&[("date", on(0))], 10, 12, 20), 12 + 8);
        assert_eq!(age(&[("date", on(12)), ("age", "30".into())], 10, 12, 20), 32 + 8);
        assert_eq!(age(&[], 12, 12, 20), 8);
    }

    #[test]
    fn rfc9111_5_1_a_malformed_age_is_ignored_and_a_list_gives_its_first() {
        assert_eq!(age(&[("age", "x".into())], 0, 0, 1), 1);
        assert_eq!(age(&[("age", "-5".into())], 0, 0, 1), 1);
        assert_eq!(age(&[("age", "7, 100".into())], 0, 0, 1), 8);
        assert_eq!(age(&[("age", "9".repeat(30))], 0, 0, 0), 1 << 31);
    }

    #[test]
    fn a_response_from_the_future_is_old() {
        assert_eq!(age(&[], 500, 500, 0), 500);
    }
}
