//! Who may use a proxy: whoever knows its token, and asks for it under one of its names.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use crate::refusal::Refusal;

/// A secret that clients have to know. Never shown.
#[derive(Clone)]
pub struct Token(String);

/// No token can be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text could be guessed, or does not fit into a URL.
    #[error("a token has at least 16 characters, all of them letters, digits, `-` or `_`")]
    Text,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Token {
    /// Text that fits a URL and is too long to be guessed.
    pub fn new(text: impl Into<String>) -> Result<Self, TokenError> {
        let text = text.into();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || [b'-', b'_'].contains(&byte);
        if text.len() < 16 || !text.bytes().all(fits) {
            return Err(TokenError::Text);
        }
        Ok(Self(text))
    }

    /// A token that nobody can guess.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; 16];
        let source = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        source.fill(&mut bytes).map_err(|_| TokenError::Random)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The text, for those who are to know it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Takes as long for every text of the same length.
    fn is(&self, text: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(text).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differences) == 0 && own.len() == text.len()
    }

    /// Whether credentials (RFC 7617) have it as their password, whatever the user name.
    pub(crate) fn is_in(&self, credentials: Option<&HeaderValue>) -> bool {
        let password = || {
            let (scheme, encoded) = credentials?.to_str().ok()?.split_once(' ')?;
            let decoded = STANDARD.decode(encoded.trim()).ok()?;
            let colon = decoded.iter().position(|&byte| byte == b':')?;
            scheme.eq_ignore_ascii_case("basic").then(|| decoded[colon + 1..].to_vec())
        };
        password().is_some_and(|password| self.is(&password))
    }

    /// The rest of a path that begins with it.
    pub(crate) fn strip_from<'a>(&self, path: &'a str) -> Option<&'a str> {
        let inner = path.strip_prefix('/')?;
        let end = inner.find(['/', '?']).unwrap_or(inner.len());
        self.is(&inner.as_bytes()[..end]).then(|| &inner[end..])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Takes the token out of a request, from its credentials or the beginning of its path; what led the
/// path is given back.
pub(crate) fn admit(token: &Token, head: &mut Parts) -> Result<String, Refusal> {
    if token.is_in(head.headers.get(AUTHORIZATION)) {
        head.headers.remove(AUTHORIZATION);
        return Ok(String::new());
    }
    let asked = head.uri.path_and_query().map_or("/", |asked| asked.as_str());
    if let Some(rest) = token.strip_from(asked) {
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        head.uri = rest.parse().map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "the request's target is malformed")
        })?;
        return Ok(format!("/{}", token.reveal()));
    }
    let text = "this proxy wants its token, as the password of any user or before the path";
    let challenge = HeaderValue::from_static("Basic realm=\"rewarm\"");
    Err(Refusal::new(StatusCode::UNAUTHORIZED, text).header(WWW_AUTHENTICATE, challenge))
}

/// Whether a `Host` names this machine as seen from itself. Any other name may have been made to
/// point here by a page in a browser.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_password_of_any_user() {
        let token = Token::new("0123456789abcdef").expect("it is long enough");
        let is_in = |text: &str| {
            let text = format!("Basic {}", STANDARD.encode(text));
            token.is_in(Some(&HeaderValue::from_str(&text).expect("ASCII")))
        };
        assert!(is_in("any:0123456789abcdef") && is_in(":0123456789abcdef"));
        for wrong in ["0123456789abcdef:", "any:0123456789abcde", "any:0123456789abcdef0", "any:"] {
            assert!(!is_in(wrong), "{wrong}");
        }
        assert!(!token.is_in(None));
        assert!(!token.is_in(Some(&HeaderValue::from_static("Bearer 0123456789abcdef"))));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_token_may_lead_a_path() {
        let token = Token::random().expect("the system has random bytes");
        let text = token.reveal();
        assert_eq!(token.strip_from(&format!("/{text}/a/b?c")), Some("/a/b?c"));
        assert_eq!(token.strip_from(&format!("/{text}")), Some(""));
        assert_eq!(token.strip_from(&format!("/{text}x/a")), None);
        assert_eq!(token.strip_from("/a/b"), None);
    }

    #[test]
    fn short_and_odd_tokens_are_refused() {
        for text in ["", "short", "0123456789abcde/", "0123456789abcdé f"] {
            assert_eq!(Token::new(text).err(), Some(TokenError::Text), "{text}");
        }
    }

    #[test]
    fn only_the_machine_itself_is_loopback() {
        for own in
            ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.1.2.3", "[::1]:80", "localhost."]
        {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "1.2.3.4", ""]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
