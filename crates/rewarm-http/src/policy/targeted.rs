//! `CDN-Cache-Control`: directives for shared caches only (RFC 9213).
//!
//! The field is a structured dictionary (RFC 9651). If it can be parsed and is not empty, it stands in
//! place of `Cache-Control` and `Expires`; if not, it is as if it were not there.

use http::HeaderMap;

use super::control::Directive;

/// The one targeted field that a shared cache obeys.
const CDN_CACHE_CONTROL: &str = "cdn-cache-control";

/// The directives of the field; `None` if it is absent, empty, or no structured dictionary.
pub fn directives(headers: &HeaderMap) -> Option<Vec<Directive>> {
    let lines: Vec<_> = headers.get_all(CDN_CACHE_CONTROL).iter().map(|v| v.as_bytes()).collect();
    parse(&lines.join(&b',')).filter(|found| !found.is_empty())
}

/// Parses a dictionary (RFC 9651 section 4.2.2). Members whose type no directive has (section 2.1 of
/// RFC 9213: `max-age` with anything but an integer, say) are left out.
pub fn parse(field: &[u8]) -> Option<Vec<Directive>> {
    let mut input = Input(field.trim_ascii());
    let mut found: Vec<Directive> = Vec::new();
    while !input.0.is_empty() {
        let name = input.key()?;
        let value = if input.take(b'=') { input.member()? } else { Item::Flag(true) };
        input.parameters()?;
        // The last of several with one name counts.
        found.retain(|(present, _)| *present != name);
        let is_number = is_delta(&name);
        match value {
            Item::Integer(seconds) if is_number => found.push((name, Some(seconds))),
            Item::Text(names) if !is_number => found.push((name, Some(names))),
            Item::Flag(true) if !is_number => found.push((name, None)),
            _ => {}
        }
        input.blanks();
        if input.0.is_empty() {
            break;
        }
        if !input.take(b',') {
            return None;
        }
        input.blanks();
        // A comma at the end is an error.
        if input.0.is_empty() {
            return None;
        }
    }
    Some(found)
}

fn is_delta(name: &str) -> bool {
    matches!(name, "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error")
}

/// A value, as far as directives have use for it.
enum Item {
    Flag(bool),
    Integer(String),
    Text(String),
    Other,
}

/// What is left to be parsed.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn blanks(&mut self) {
        self.run(|byte| byte == b' ' || byte == b'\t');
    }

    /// The longest run of such bytes.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !belongs(byte)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn key(&mut self) -> Option<String> {
        let starts = self.0.first().is_some_and(|&b| b.is_ascii_lowercase() || b == b'*');
        let key = self.run(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        });
        starts.then(|| String::from_utf8_lossy(key).into_owned())
    }

    /// An item or an inner list.
    fn member(&mut self) -> Option<Item> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.run(|byte| byte == b' ');
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    /// Section 4.2.3.1.
    fn bare_item(&mut self) -> Option<Item> {
        match self.0.first()? {
            b'?' => {
                self.take(b'?');
                match (self.take(b'1'), self.take(b'0')) {
                    (true, false) => Some(Item::Flag(true)),
                    (false, true) => Some(Item::Flag(false)),
                    _ => None,
                }
            }
            b'"' => self.string(),
            b':' => {
                self.take(b':');
                self.run(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
                self.take(b':').then_some(Item::Other)
            }
            b'-' | b'@' | b'0'..=b'9' => self.number(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                let token =
                    self.run(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b));
                Some(Item::Text(String::from_utf8_lossy(token).into_owned()))
            }
            _ => None,
        }
    }

    /// An integer of up to 15 digits, a decimal or a date (sections 4.2.4 and 4.2.9).
    fn number(&mut self) -> Option<Item> {
        let is_date = self.take(b'@');
        let negative = self.take(b'-');
        let whole = self.run(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.run(|byte| byte.is_ascii_digit());
            let fits = (1..=3).contains(&fraction.len()) && whole.len() <= 12 && !is_date;
            return fits.then_some(Item::Other);
        }
        let digits = String::from_utf8_lossy(whole).into_owned();
        Some(if negative || is_date { Item::Other } else { Item::Integer(digits) })
    }

    fn string(&mut self) -> Option<Item> {
        self.take(b'"');
        let mut text = String::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(Item::Text(text)),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    if !b"\"\\".contains(&escaped) {
                        return None;
                    }
                    text.push(char::from(escaped));
                }
                b' '..=b'~' => text.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    /// Parameters mean nothing here, but must be well formed (section 4.2.3.2).
    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.run(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(field: &str) -> Option<String> {
        let found = parse(field.as_bytes())?;
        let show = |(name, value): &Directive| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        Some(found.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn rfc9213_2_1_directives_are_members_of_a_dictionary() {
        assert_eq!(text("max-age=60, no-store").as_deref(), Some("max-age=60 no-store"));
        assert_eq!(text("a;x=1;y, max-age=5;z").as_deref(), Some("a max-age=5"));
        assert_eq!(text("max-age=1,\tmax-age=2").as_deref(), Some("max-age=2"));
        assert_eq!(text("no-cache=?0, private=?1").as_deref(), Some("private"));
        assert_eq!(text("no-cache=\"a, b\"").as_deref(), Some("no-cache=a, b"));
        assert_eq!(
            text("x=(1 \"a\" b;c), y=:YQ==:, z=1.5, max-age=7").as_deref(),
            Some("max-age=7")
        );
    }

    #[test]
    fn rfc9213_2_1_directives_of_the_wrong_type_are_left_out() {
        assert_eq!(text("max-age=\"60\", no-store").as_deref(), Some("no-store"));
        assert_eq!(text("max-age=1.5").as_deref(), Some(""));
        assert_eq!(text("max-age=-1").as_deref(), Some(""));
        assert_eq!(text("max-age").as_deref(), Some(""));
    }

    #[test]
    fn rfc9213_2_2_what_is_no_dictionary_is_ignored_whole() {
        for field in [
            "max-age=60, &&&",
            "MaX-aGe=60",
            "max-age =60",
            "max-age= 60",
            "max-age=60,",
            "max-age=60 no-store",
            "a=\"x",
            "a=\"\\x\"",
            "a=(1",
            "a=1234567890123456",
            "a=?2",
            "é",
        ] {
            assert_eq!(parse(field.as_bytes()), None, "{field}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(0_u8..=255, 0..100)) {
            parse(&bytes);
        }

        #[test]
        fn anything_like_a_dictionary_is_parsed_without_panic(text in "[a-c=;,?01\"\\\\(). :-]{0,30}") {
            parse(text.as_bytes());
        }
    }
}
