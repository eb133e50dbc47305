//! Request fields as they are compared when a response varies by them (RFC 9111 section 4.1).
//!
//! Only what cannot change the meaning is evened out: lines of one field are combined, blanks around
//! the members of a list do not count, and for the fields that list acceptable languages, codings and
//! types neither case nor, where no weights are given, order does. Total on any bytes.

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, DATE, FROM,
    HOST, HeaderName, PROXY_AUTHORIZATION, REFERER, USER_AGENT, VIA,
};

/// Fields that are no lists, or whose commas may stand in comments: they are compared as they are.
const NO_LISTS: [HeaderName; 9] =
    [AUTHORIZATION, COOKIE, DATE, FROM, HOST, PROXY_AUTHORIZATION, REFERER, USER_AGENT, VIA];

/// Fields whose members are acceptable alternatives, without case.
const ALTERNATIVES: [HeaderName; 4] = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE];

/// The value that stands for a request field in comparisons; `None` if the field is absent.
pub fn normalised(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|v| v.as_bytes().trim_ascii()).collect();
    if lines.is_empty() {
        return None;
    }
    let combined = lines.join(b", ".as_slice());
    if NO_LISTS.contains(name) {
        return Some(combined);
    }
    let members = split(&combined, b',').filter(|member| !member.is_empty());
    if !ALTERNATIVES.contains(name) {
        return Some(members.collect::<Vec<_>>().join(&b','));
    }
    let parameters = |member: &[u8]| split(member, b';').collect::<Vec<_>>().join(&b';');
    let mut members: Vec<Vec<u8>> = members.map(parameters).collect();
    // Weights make the order explicit; other parameters may have values in which case counts.
    if !combined.contains(&b';') {
        members.iter_mut().for_each(|member| member.make_ascii_lowercase());
        members.sort_unstable();
        members.dedup();
    }
    Some(members.join(&b','))
}

/// The parts between separators outside quoted strings, without the blanks around them.
fn split(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = bytes.split(move |&byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' if quoted => {
            escaped = true;
            false
        }
        b'"' => {
            quoted = !quoted;
            false
        }
        byte => byte == separator && !quoted,
    });
    parts.map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).expect("a field value"));
        }
        let value = normalised(&headers, &HeaderName::from_static(name)).expect("there is one");
        String::from_utf8(value).expect("text")
    }

    #[test]
    fn rfc9111_4_1_lines_are_combined_and_blanks_in_lists_do_not_count() {
        assert_eq!(of("foo", &["1, 2"]), of("foo", &["1", "2"]));
        assert_eq!(of("foo", &["1,2"]), of("foo", &[" 1 ,  2 "]));
        assert_ne!(of("foo", &["1,2"]), of("foo", &["2,1"]));
        assert_ne!(of("foo", &["a"]), of("foo", &["A"]));
        assert_ne!(of("foo", &["\"1,2\""]), of("foo", &["\"1, 2\""]));
        assert_eq!(normalised(&HeaderMap::new(), &ACCEPT), None);
    }

    #[test]
    fn rfc9111_4_1_alternatives_have_no_case_and_without_weights_no_order() {
        for name in ["accept", "accept-charset", "accept-encoding", "accept-language"] {
            assert_eq!(of(name, &["en, de"]), of(name, &["De,eN"]), "{name}");
            assert_eq!(of(name, &["en, de, en"]), of(name, &["de", "en"]), "{name}");
            assert_eq!(of(name, &["en ; q=1, de"]), of(name, &["en;q=1,de"]), "{name}");
            assert_ne!(of(name, &["en;q=0.5, de"]), of(name, &["de;q=0.5, en"]), "{name}");
            assert_ne!(of(name, &["en"]), of(name, &["en, de"]), "{name}");
        }
    }

    #[test]
    fn rfc9111_4_1_fields_that_are_no_lists_are_compared_as_they_are() {
        assert_ne!(of("user-agent", &["x (a, b)"]), of("user-agent", &["x (a,b)"]));
        assert_ne!(of("cookie", &["a=1, b"]), of("cookie", &["a=1,b"]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_normalised_once_and_for_all(
            bytes in proptest::collection::vec(32_u8..=255, 0..60),
        ) {
            for name in [ACCEPT, USER_AGENT, HeaderName::from_static("foo")] {
                let Ok(value) = HeaderValue::from_bytes(&bytes) else { continue };
                let once = normalised(&HeaderMap::from_iter([(name.clone(), value)]), &name);
                let value = HeaderValue::from_bytes(&once.clone().expect("there is one"));
                let Ok(value) = value else { continue };
                let twice = normalised(&HeaderMap::from_iter([(name.clone(), value)]), &name);
                assert_eq!(once, twice);
            }
        }
    }
}
