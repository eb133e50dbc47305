//! Heads of answers that are refused, and what those that are not say of where their body ends.
//!
//! Pure. What two readers might take for two different things (RFC 9112 sections 6.1, 6.3 and 11.2)
//! is refused, whether or not one of them would be right; so is what was not asked for. A transfer
//! coding that nobody knows changes no byte: as in browsers, such a body is what comes until the
//! connection closes.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

/// Bytes that the head of an answer may have.
pub(crate) const HEAD_SIZE: usize = 64 * 1024;

/// Fields that the head of an answer may have.
pub(crate) const HEAD_FIELDS: usize = 256;

/// The names of codings that bytes may have gone through, in the registry of RFC 9112 section 7.3.
/// `identity` was withdrawn from it, and means that nothing was done.
const KNOWN: [&str; 5] = ["compress", "deflate", "gzip", "x-compress", "x-gzip"];

/// What `Transfer-Encoding` says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Nothing, or the answer has no body.
    None,
    /// The body comes in chunks.
    Chunked,
    /// It ends with the connection (RFC 9112 section 6.3).
    Unknown,
}

/// Checks the head of the answer to a request by `method`. The error is a sentence.
pub(crate) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Coding, &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("the server changes to another protocol without being asked");
    }
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > HEAD_SIZE || headers.len() > HEAD_FIELDS {
        return Err("the head of the answer is too large");
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(line) = lines.next() else { return Ok(Coding::None) };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err("the answer has both a `Content-Length` and a `Transfer-Encoding`");
    }
    if has_no_body(status, method) {
        return Ok(Coding::None);
    }
    let coding = lines.next().is_none().then(|| coding(line.as_bytes())).flatten();
    coding.ok_or("the answer has a `Transfer-Encoding` that is not understood")
}

/// Whether there is no body, whatever the fields say (RFC 9112 section 6.3).
pub(crate) fn has_no_body(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD || matches!(status.as_u16(), 204 | 304)
}

/// What a line with one coding means; `None` for several, for parameters, for codings that cannot
/// be undone here, and for what another reader could take for chunks.
fn coding(line: &[u8]) -> Option<Coding> {
    let name = std::str::from_utf8(line).ok()?.trim_ascii().to_ascii_lowercase();
    if name == "chunked" {
        return Some(Coding::Chunked);
    }
    let is_known = KNOWN.contains(&&*name) || name.contains("chunked");
    (is_token(&name) && !is_known).then_some(Coding::Unknown)
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// What these lines are taken for.
    fn of(lines: &[&str]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("a value");
            headers.append(TRANSFER_ENCODING, value);
        }
        check(StatusCode::OK, &headers, &Method::GET).ok()
    }

    #[test]
    fn rfc9112_6_3_one_coding_that_nobody_knows_ends_with_the_connection() {
        for line in ["abc", "ABC", "identity", "Identity", "br", "x-abc!1", " abc\t"] {
            assert_eq!(of(&[line]), Some(Coding::Unknown), "{line:?}");
        }
    }

    #[test]
    fn rfc9112_7_1_chunks_are_told_by_their_name_alone() {
        assert_eq!(of(&["chunked"]), Some(Coding::Chunked));
        assert_eq!(of(&[" Chunked\t"]), Some(Coding::Chunked));
        assert_eq!(of(&[]), Some(Coding::None));
    }

    #[test]
    fn rfc9112_11_2_all_other_codings_are_refused() {
        for line in [
            "",
            ",",
            "gzip",
            "GZIP",
            "x-gzip",
            "deflate",
            "compress",
            "x-compress",
            "abc, chunked",
            "chunked, abc",
            "gzip, chunked",
            "chunked, chunked",
            "abc, def",
            "abc,",
            ",abc",
            "abc;q=1",
            "chunked;q=1",
            "\"abc\"",
            "\"chunked\"",
            "'chunked'",
            "xchunked",
            "chunkedx",
            "x-Chunked-x",
            "chunked chunked",
            "abc def",
            "abc\u{e9}",
            "chun\u{212a}ed",
        ] {
            assert_eq!(of(&[line]), None, "{line:?}");
        }
        for lines in [["chunked", "chunked"], ["abc", "chunked"], ["abc", "abc"], ["abc", ""]] {
            assert_eq!(of(&lines), None, "{lines:?}");
        }
    }

    #[test]
    fn rfc9112_6_3_a_length_beside_a_coding_is_refused_whatever_the_coding() {
        for coding in ["chunked", "abc", "identity"] {
            let mut headers = HeaderMap::new();
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static(coding));
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
            for method in [Method::GET, Method::HEAD] {
                assert!(check(StatusCode::OK, &headers, &method).is_err(), "{coding} {method}");
            }
        }
    }

    #[test]
    fn rfc9112_6_3_what_has_no_body_may_name_any_coding() {
        let mut headers = HeaderMap::new();
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip, chunked"));
        assert_eq!(check(StatusCode::OK, &headers, &Method::HEAD), Ok(Coding::None));
        assert_eq!(check(StatusCode::NO_CONTENT, &headers, &Method::GET), Ok(Coding::None));
        assert_eq!(check(StatusCode::NOT_MODIFIED, &headers, &Method::GET), Ok(Coding::None));
        assert!(check(StatusCode::OK, &headers, &Method::GET).is_err());
    }
}
