//! How a response that may be used answers a request: whole, in part, or by saying that the client
//! has it (RFC 9110 sections 13.2.2, 14.2 and 15).

use std::ops::Range;

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
    HeaderName,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::preconditions::{Outcome, evaluate, range_applies};
use super::range::{self, Selected};

/// What is sent of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// These bytes, at least one: 206.
    Part(Range<u64>),
    /// Only that the client has it already: 304.
    NotModified,
    /// That there are no such bytes: 416.
    Unsatisfiable,
}

/// How a response with these fields and a body of `size` bytes answers a request with these terms.
pub fn shape(
    method: &Method,
    terms: &HeaderMap,
    (status, fields): (StatusCode, &HeaderMap),
    size: u64,
) -> Shape {
    // Section 13.2.1: conditions count only where the answer would be a success.
    if !status.is_success() {
        return Shape::Whole;
    }
    if evaluate(terms, fields) == Outcome::NotModified {
        return Shape::NotModified;
    }
    let wanted = range::wanted(terms).filter(|_| method == Method::GET && status == StatusCode::OK);
    match wanted.filter(|_| range_applies(terms, fields)).map(|spec| spec.select(size)) {
        None | Some(Selected::Whole) => Shape::Whole,
        Some(Selected::Part(part)) => Shape::Part(part),
        Some(Selected::Unsatisfiable) => Shape::Unsatisfiable,
    }
}

impl Shape {
    /// The status to answer with, and the fields made from those of the whole response.
    pub fn head(
        &self,
        status: StatusCode,
        mut fields: HeaderMap,
        size: u64,
    ) -> (StatusCode, HeaderMap) {
        match self {
            Self::Whole => (status, fields),
            Self::Part(part) => {
                let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                fields.insert(CONTENT_RANGE, text(&range));
                fields.insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
                (StatusCode::PARTIAL_CONTENT, fields)
            }
            Self::NotModified => (StatusCode::NOT_MODIFIED, not_modified_fields(fields)),
            Self::Unsatisfiable => {
                let mut answer = HeaderMap::new();
                if let Some(date) = fields.remove(DATE) {
                    answer.insert(DATE, date);
                }
                answer.insert(CONTENT_RANGE, text(&format!("bytes */{size}")));
                answer.insert(CONTENT_LENGTH, HeaderValue::from(0));
                (StatusCode::RANGE_NOT_SATISFIABLE, answer)
            }
        }
    }
}

/// Section 15.4.5: without what only describes the bytes that are not sent.
fn not_modified_fields(mut fields: HeaderMap) -> HeaderMap {
    const ABOUT_BYTES: [HeaderName; 5] =
        [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE];
    for name in ABOUT_BYTES {
        fields.remove(name);
    }
    fields
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and ASCII are a field value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::header_map;

    fn of(method: &Method, status: u16, terms: &[(&'static str, &'static str)]) -> Shape {
        let stored = header_map(&[("etag", "\"a\"")]);
        let status = StatusCode::from_u16(status).expect("a status");
        shape(method, &header_map(terms), (status, &stored), 10)
    }

    const RANGE: (&str, &str) = ("range", "bytes=1-2");

    #[test]
    fn rfc9110_13_2_2_conditions_come_before_ranges() {
        let get = Method::GET;
        assert_eq!(of(&get, 200, &[RANGE, ("if-none-match", "\"a\"")]), Shape::NotModified);
        assert_eq!(of(&get, 200, &[RANGE, ("if-none-match", "\"b\"")]), Shape::Part(1..3));
        assert_eq!(of(&get, 200, &[RANGE, ("if-range", "\"a\"")]), Shape::Part(1..3));
        assert_eq!(of(&get, 200, &[RANGE, ("if-range", "\"b\"")]), Shape::Whole);
        assert_eq!(of(&get, 200, &[("range", "bytes=10-")]), Shape::Unsatisfiable);
        assert_eq!(of(&get, 200, &[("if-range", "\"b\"")]), Shape::Whole);
    }

    #[test]
    fn rfc9110_13_2_1_conditions_count_for_successes_only() {
        assert_eq!(of(&Method::GET, 404, &[("if-none-match", "\"a\"")]), Shape::Whole);
        assert_eq!(of(&Method::GET, 404, &[RANGE]), Shape::Whole);
    }

    #[test]
    fn rfc9110_14_2_ranges_are_for_get() {
        assert_eq!(of(&Method::HEAD, 200, &[RANGE]), Shape::Whole);
        assert_eq!(of(&Method::HEAD, 200, &[("if-none-match", "\"a\"")]), Shape::NotModified);
    }

    #[test]
    fn rfc9110_15_fields_of_partial_and_empty_answers() {
        let stored =
            || header_map(&[("etag", "\"a\""), ("content-length", "10"), ("content-type", "x")]);
        let (status, fields) = Shape::Part(1..3).head(StatusCode::OK, stored(), 10);
        assert_eq!(status, 206);
        assert_eq!(fields["content-range"], "bytes 1-2/10");
        assert_eq!(fields["content-length"], "2");
        let (status, fields) = Shape::NotModified.head(StatusCode::OK, stored(), 10);
        assert_eq!((status.as_u16(), fields), (304, header_map(&[("etag", "\"a\"")])));
        let (status, fields) = Shape::Unsatisfiable.head(StatusCode::OK, stored(), 10);
        assert_eq!(status, 416);
        assert_eq!(fields, header_map(&[("content-range", "bytes */10"), ("content-length", "0")]));
    }
}
