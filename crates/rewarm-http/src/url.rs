//! URLs that can be printed.
//!
//! A [`Url`] is an absolute `http` or `https` URL without a fragment. Its user information is kept
//! apart and never shown; `Display` and `Debug` also hide query values and path segments that look
//! like secrets. Errors, events and records name URLs through this type only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What stands for a secret in text.
const HIDDEN: &str = "****";

/// Parts of query names that announce a secret value.
const SECRET_NAMES: [&str; 10] = [
    "token",
    "secret",
    "password",
    "passwd",
    "signature",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "auth",
];

/// Query names that are too short to be looked for inside others.
const SECRET_WORDS: [&str; 5] = ["key", "sig", "pwd", "pass", "code"];

/// An absolute http(s) URL, canonical as the WHATWG URL standard writes it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    url: url::Url,
    user: Option<(String, String)>,
}

/// Text that is no URL to fetch from. The text is shown only as far as it cannot be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUrlError {
    /// Not a URL at all.
    #[error("not a URL: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// A URL of another scheme.
    #[error("cannot fetch a `{scheme}:` URL, only http and https")]
    Scheme {
        /// The scheme found.
        scheme: String,
    },
}

impl Url {
    /// Parses an absolute URL; the fragment is dropped, user information set aside.
    pub fn parse(text: &str) -> Result<Self, ParseUrlError> {
        let parsed = url::Url::parse(text);
        Self::from_parsed(parsed.map_err(|e| ParseUrlError::Malformed { reason: e.to_string() })?)
    }

    /// Resolves a reference (RFC 3986 section 5), for example a `Location`, against this URL. User
    /// information is kept within the origin.
    pub fn join(&self, reference: &str) -> Result<Self, ParseUrlError> {
        let joined = self.0.url.join(reference);
        let joined = joined.map_err(|e| ParseUrlError::Malformed { reason: e.to_string() })?;
        let mut joined = Self::from_parsed(joined)?;
        if joined.0.user.is_none() && self.0.user.is_some() && joined.same_origin(self) {
            let (url, user) = (joined.0.url.clone(), self.0.user.clone());
            joined = Self(Arc::new(Parts { url, user }));
        }
        Ok(joined)
    }

    fn from_parsed(mut url: url::Url) -> Result<Self, ParseUrlError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ParseUrlError::Scheme { scheme: url.scheme().to_owned() });
        }
        let decode = |text: &str| {
            url::form_urlencoded::parse(format!("u={}", text.replace('+', "%2B")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        let user =
            has_user.then(|| (decode(url.username()), decode(url.password().unwrap_or_default())));
        url.set_fragment(None);
        // These fail only for URLs that cannot have a host, and http URLs always have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self(Arc::new(Parts { url, user })))
    }

    /// The full URL without user information: what goes on the wire and into keys. May contain
    /// secrets in its query; not for messages.
    pub fn as_wire(&self) -> &str {
        self.0.url.as_str()
    }

    /// User name and password from the URL, decoded.
    pub fn user(&self) -> Option<(&str, &str)> {
        self.0.user.as_ref().map(|(name, password)| (name.as_str(), password.as_str()))
    }

    /// The host, lower case; IPv6 addresses in brackets.
    pub fn host(&self) -> &str {
        self.0.url.host_str().unwrap_or_default()
    }

    /// Whether the scheme is https.
    pub fn is_secure(&self) -> bool {
        self.0.url.scheme() == "https"
    }

    /// Scheme, host and port are those of `other` (RFC 9110 section 4.3.1).
    pub fn same_origin(&self, other: &Self) -> bool {
        self.0.url.origin() == other.0.url.origin()
    }

    /// Scheme, host and port as text, the port left out where it is the scheme's own.
    pub fn origin(&self) -> String {
        self.0.url.origin().ascii_serialization()
    }

    /// The last path segment, percent-encoded as it stands; empty for a directory.
    pub fn file_name(&self) -> &str {
        self.0.url.path().rsplit('/').next().unwrap_or_default()
    }

    /// Whether showing the URL hides something.
    pub fn has_secret(&self) -> bool {
        self.0.user.is_some() || self.to_string() != self.as_wire()
    }

    fn shown_path(&self) -> String {
        let mut after_t = false;
        let mut hide = |segment: &str| {
            // Conda channels carry tokens as `/t/<token>/channel`.
            let hidden = std::mem::replace(&mut after_t, segment == "t") && !segment.is_empty();
            if hidden { HIDDEN.to_owned() } else { segment.to_owned() }
        };
        self.0.url.path().split('/').map(&mut hide).collect::<Vec<_>>().join("/")
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
        || name.split(['-', '_', '.']).any(|word| SECRET_WORDS.contains(&word))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.0.url.scheme())?;
        if self.0.user.is_some() {
            write!(f, "{HIDDEN}@")?;
        }
        f.write_str(self.host())?;
        if let Some(port) = self.0.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.shown_path())?;
        let Some(query) = self.0.url.query() else { return Ok(()) };
        for (index, pair) in query.split('&').enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((name, value)) if is_secret_name(name) && !value.is_empty() => {
                    write!(f, "{name}={HIDDEN}")?;
                }
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl FromStr for Url {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Url::parse(text).expect("a URL").to_string()
    }

    #[test]
    fn secrets_are_hidden_in_text() {
        assert_eq!(shown("https://bob:s3cr3t@h.org/a?b=c#d"), "https://****@h.org/a?b=c");
        assert_eq!(shown("https://h.org/?X-Amz-Signature=abc&v=1"), {
            "https://h.org/?X-Amz-Signature=****&v=1"
        });
        assert_eq!(shown("https://h.org/?key=abc&monkey=1"), "https://h.org/?key=****&monkey=1");
        assert_eq!(shown("https://h.org/t/tk-123/main/"), "https://h.org/t/****/main/");
        let url = Url::parse("https://bob:s3cr3t@h.org/").expect("a URL");
        assert_eq!(format!("{url:?}"), "`https://****@h.org/`");
        assert!(url.has_secret());
        assert_eq!(url.user(), Some(("bob", "s3cr3t")));
    }

    #[test]
    fn user_information_is_percent_decoded() {
        let url = Url::parse("http://a%40b:p%2Fw+x@h/").expect("a URL");
        assert_eq!(url.user(), Some(("a@b", "p/w+x")));
    }

    #[test]
    fn rfc3986_5_2_2_user_information_stays_with_its_authority() {
        let base = Url::parse("http://a:b@h/x/").expect("a URL");
        let user = |reference| {
            let joined = base.join(reference).expect("a URL");
            joined.user().map(|(name, password)| (name.to_owned(), password.to_owned()))
        };
        let own = Some(("a".to_owned(), "b".to_owned()));
        assert_eq!(user("../y"), own);
        assert_eq!(user("http://h:80/y"), own);
        assert_eq!(user("http://c:d@h/y"), Some(("c".to_owned(), "d".to_owned())));
        for elsewhere in ["http://i/y", "https://h/y", "http://h:1/y"] {
            assert_eq!(user(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn plain_urls_are_shown_as_they_are() {
        for text in ["http://h.org:8080/a%20b/?q=1&r", "https://[::1]:1/x", "http://h/"] {
            assert_eq!(shown(text), text);
            assert!(!Url::parse(text).expect("a URL").has_secret());
        }
    }

    #[test]
    fn equal_urls_have_one_canonical_form() {
        let parse = |text| Url::parse(text).expect("a URL");
        assert_eq!(parse("HTTP://H.org:80").as_wire(), parse("http://h.org/#x").as_wire());
        assert!(parse("https://h/a").same_origin(&parse("https://h:443/b")));
        assert!(!parse("https://h/a").same_origin(&parse("http://h/a")));
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(matches!(Url::parse("file:///etc/passwd"), Err(ParseUrlError::Scheme { .. })));
        assert!(matches!(Url::parse("h.org/a"), Err(ParseUrlError::Malformed { .. })));
    }
}
