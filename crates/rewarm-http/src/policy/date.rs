//! Dates as HTTP writes them (RFC 9110 section 5.6.7), read as a cache should (RFC 9111 section 4.2).
//!
//! All three forms are read, without regard to case, and the weekday is not held against the day.
//! Anything else is no date: what that means is the field's business. Total on any bytes, and what is
//! read lies between the years 1970 and 9999.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

/// `Sun, 06 Nov 1994 08:49:37 GMT`: `#` is a digit, `@` a letter.
const FIXDATE: &[u8] = b"@@@, ## @@@ #### ##:##:## gmt";

/// `Sun Nov  6 08:49:37 1994`: `_` is a digit or a blank.
const ASCTIME: &[u8] = b"@@@ @@@ _# ##:##:## ####";

/// `06-Nov-94 08:49:37 GMT`, which follows the weekday in full.
const RFC850: &[u8] = b"##-@@@-## ##:##:## gmt";

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

const WEEKDAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Two digits from here on are of the last century. With section 5.6.7 this would move with the
/// clock; a date that is then taken for an old one makes a response stale, never fresh.
const LAST_CENTURY: u32 = 70;

/// The date in a field.
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    headers.get(name).map(HeaderValue::as_bytes).and_then(parse_date)
}

/// A date in any of the three forms.
pub fn parse_date(value: &[u8]) -> Option<SystemTime> {
    let text = value.trim_ascii();
    // The longest is of a Wednesday with a year of two digits.
    let text = (text.len() <= b"wednesday, ".len() + RFC850.len()).then_some(text)?;
    let text = text.to_ascii_lowercase();
    let short = |name: &[u8]| WEEKDAYS.iter().any(|day| &day[..3] == name);
    if fits(&text, FIXDATE) && short(&text[..3]) {
        return time(number(&text[12..16]), &text[8..11], &text[5..7], &text[17..25]);
    }
    if fits(&text, ASCTIME) && short(&text[..3]) {
        return time(number(&text[20..24]), &text[4..7], &text[8..10], &text[11..19]);
    }
    let (weekday, rest) = text.split_at(text.iter().position(|&byte| byte == b',')?);
    let rest = rest.strip_prefix(b", ").filter(|rest| fits(rest, RFC850))?;
    WEEKDAYS.contains(&weekday).then_some(())?;
    let year = number(&rest[7..9]);
    let year = if year < LAST_CENTURY { 2000 + year } else { 1900 + year };
    time(year, &rest[3..6], &rest[..2], &rest[10..18])
}

fn fits(text: &[u8], pattern: &[u8]) -> bool {
    let fits = |(&byte, &wanted): (&u8, &u8)| match wanted {
        b'#' => byte.is_ascii_digit(),
        b'@' => byte.is_ascii_lowercase(),
        b'_' => byte.is_ascii_digit() || byte == b' ',
        wanted => byte == wanted,
    };
    text.len() == pattern.len() && text.iter().zip(pattern).all(fits)
}

/// What some digits, with blanks before them, say.
fn number(digits: &[u8]) -> u32 {
    let digits = digits.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum, &digit| sum * 10 + u32::from(digit - b'0'))
}

/// The time of these parts, the last of which is `hh:mm:ss`, if there is such a one.
fn time(year: u32, month: &[u8], day: &[u8], clock: &[u8]) -> Option<SystemTime> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let day = number(day);
    let divides = |by: u32| year.is_multiple_of(by);
    let is_leap = divides(4) && !divides(100) || divides(400);
    let length = match month {
        1 => 28 + u32::from(is_leap),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    let [hour, minute, second] = [&clock[..2], &clock[3..5], &clock[6..]].map(number);
    let is_sound = (1970..=9999).contains(&year)
        && (1..=length).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    is_sound.then_some(())?;
    // A leap second counts as the one before it.
    let seconds = hour * 3600 + minute * 60 + second.min(59);
    let days = days_before(year) + days_before_month(month, is_leap) + u64::from(day) - 1;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60 + u64::from(seconds)))
}

/// Days from the beginning of 1970 to that of a later year.
fn days_before(year: u32) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let year = u64::from(year);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

/// Days from the beginning of a year to that of a month, counted from 0.
fn days_before_month(month: usize, is_leap: bool) -> u64 {
    const DAYS: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    DAYS[month] + u64::from(is_leap && month > 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH);
        parse_date(text.as_bytes()).map(|time| since(time).expect("not before 1970").as_secs())
    }

    #[test]
    fn rfc9110_5_6_7_all_three_date_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
        assert_eq!(seconds("Wednesday, 01-Jan-69 00:00:00 GMT"), Some(3_124_224_000));
        assert_eq!(seconds("Thursday, 01-Jan-70 00:00:00 GMT"), Some(0));
    }

    #[test]
    fn rfc9111_4_2_case_and_a_wrong_weekday_do_not_count() {
        for text in [
            "SUN, 06 nov 1994 08:49:37 gmt",
            "sunDAY, 06-NOV-94 08:49:37 Gmt",
            "sun nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Mon Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Day, 06 Nov 1994 08:49:37 GMT",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Non 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:00:61 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_leap_second_is_never_after_the_last_year() {
        assert_eq!(
            seconds("Fri, 31 Dec 9999 23:59:60 GMT"),
            seconds("Fri, 31 Dec 9999 23:59:59 GMT")
        );
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_a_date_or_as_none(
            bytes in proptest::collection::vec(0_u8..=255, 0..40),
            text in "[A-Z][a-z]{2,8},? [0-9]{2}[ -][A-Z][a-z]{2}[ -][0-9]{2,4} [0-9:]{8} GMT",
        ) {
            parse_date(&bytes);
            parse_date(text.as_bytes());
        }

        #[test]
        fn written_dates_are_read_back(seconds in 0_u64..253_402_300_800) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(parse_date(httpdate::fmt_http_date(time).as_bytes()), Some(time));
        }

        #[test]
        fn what_a_strict_reader_takes_is_the_same_here(
            weekday in 0_usize..7, day in 0_u32..33, month in 0_usize..12, year in 0_u32..10_000,
            (hour, minute, second) in (0_u32..25, 0_u32..61, 0_u32..60),
        ) {
            let name = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                text[..1].to_uppercase() + &text[1..]
            };
            let (full, month) = (name(WEEKDAYS[weekday]), name(MONTHS[month]));
            let (short, clock) = (&full[..3], format!("{hour:02}:{minute:02}:{second:02}"));
            for text in [
                format!("{short}, {day:02} {month} {year:04} {clock} GMT"),
                format!("{full}, {day:02}-{month}-{:02} {clock} GMT", year % 100),
                format!("{short} {month} {day:2} {clock} {year:04}"),
            ] {
                if let Ok(time) = httpdate::parse_http_date(&text) {
                    prop_assert_eq!(parse_date(text.as_bytes()), Some(time), "{}", text);
                }
            }
        }
    }
}
