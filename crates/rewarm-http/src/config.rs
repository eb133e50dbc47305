//! Settings of a client, as plain values.
//!
//! The binary reads the environment and files of the user and fills a [`ClientConfig`]; nothing
//! here looks for itself. Secrets stay out of `Debug`.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use netrc::Netrc;

use crate::url::Url;

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub struct Clock(fn() -> SystemTime);

impl Clock {
    /// A clock that calls `now`.
    pub fn new(now: fn() -> SystemTime) -> Self {
        Self(now)
    }

    /// The time.
    pub fn now(self) -> SystemTime {
        (self.0)()
    }
}

/// How to reach origins.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxies {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` of the process, in either case.
    Environment,
    /// These URLs.
    Given {
        /// For `http` URLs.
        http: Option<String>,
        /// For `https` URLs.
        https: Option<String>,
        /// For both, where the others say nothing.
        all: Option<String>,
        /// Hosts to be reached directly, as `NO_PROXY` lists them.
        no_proxy: Option<String>,
    },
    /// Directly.
    None,
}

/// A netrc file as it was read.
#[derive(Clone)]
pub struct NetrcFile {
    /// Named in messages.
    pub path: PathBuf,
    /// Never shown.
    pub text: String,
}

/// Settings of a [`Client`](crate::Client).
#[derive(Clone)]
pub struct ClientConfig {
    /// `User-Agent`.
    pub user_agent: String,
    /// Never use the network.
    pub offline: bool,
    /// Follow the rules for a cache that serves several users (RFC 9111 section 1), and share with
    /// them what may be shared. Entries are kept apart from those of a private cache.
    pub shared: bool,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For the next bytes to come.
    pub read_timeout: Duration,
    /// How often a failed request is sent again.
    pub retries: u32,
    /// Before the first retry; doubles with each.
    pub retry_delay: Duration,
    /// How long another process's download may stand still before this one goes its own way.
    pub patience: Duration,
    /// Certificates to trust instead of the system's: a PEM file (`SSL_CERT_FILE`).
    pub cert_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's: a directory of PEM files (`SSL_CERT_DIR`).
    pub cert_dir: Option<PathBuf>,
    /// Where credentials are looked up that a URL does not carry.
    pub netrc: Option<NetrcFile>,
    /// How to reach origins.
    pub proxies: Proxies,
    /// Speak HTTP/2 to `http` origins without asking (RFC 9113 section 3.3). `https` origins choose
    /// between HTTP/2 and HTTP/1.1 while the connection is made.
    pub http2_prior_knowledge: bool,
    /// Where bodies go that cannot be stored; files there have no name.
    pub spill_dir: PathBuf,
}

impl ClientConfig {
    /// Defaults, with bodies that cannot be stored going to `spill_dir`.
    pub fn new(spill_dir: PathBuf) -> Self {
        Self {
            user_agent: concat!("rewarm/", env!("CARGO_PKG_VERSION")).to_owned(),
            offline: false,
            shared: false,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            retries: 3,
            retry_delay: Duration::from_millis(500),
            patience: Duration::from_secs(10),
            cert_file: None,
            cert_dir: None,
            netrc: None,
            proxies: Proxies::Environment,
            http2_prior_knowledge: false,
            spill_dir,
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("user_agent", &self.user_agent)
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .field("has_netrc", &self.netrc.is_some())
            .finish_non_exhaustive()
    }
}

/// User names and passwords by host.
#[derive(Default)]
pub(crate) struct Credentials(Option<Netrc>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads a netrc file. The error names a line, never its content.
    pub(crate) fn parse(file: &NetrcFile) -> Result<Self, String> {
        let netrc = file.text.parse::<Netrc>().map_err(|error| {
            // The parser's message may quote the offending token; only the line is told.
            let text = error.to_string();
            let line = text.rsplit_once("(line ").and_then(|(_, rest)| rest.strip_suffix(')'));
            let (path, line) = (file.path.display(), line.unwrap_or("?"));
            format!("the credentials in `{path}` cannot be read near line {line}")
        })?;
        Ok(Self(Some(netrc)))
    }

    /// The `Authorization` for a URL: what the URL itself says, else the netrc entry of its host.
    pub(crate) fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        if let Some((name, password)) = url.user() {
            return basic(name, password);
        }
        let hosts = &self.0.as_ref()?.hosts;
        let entry = hosts.get(url.host()).or_else(|| hosts.get("default"))?;
        basic(&entry.login, &entry.password)
    }
}

/// RFC 7617. The value is marked sensitive, which keeps it out of `Debug`.
fn basic(name: &str, password: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!(
        "Basic {}",
        base64(format!("{name}:{password}").as_bytes())
    ))
    .ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, &byte| group << 8 | u32::from(byte));
        let group = group << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = group >> (18 - 6 * place) & 63;
            let letter = char::from(ALPHABET[index as usize]);
            text.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// The name under which credentials travel.
pub(crate) const CREDENTIALS: http::header::HeaderName = AUTHORIZATION;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4648_base64_of_every_length() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    fn file(text: &str) -> NetrcFile {
        NetrcFile { path: "/home/a/.netrc".into(), text: text.to_owned() }
    }

    #[test]
    fn the_url_beats_netrc_and_netrc_goes_by_host() {
        let credentials =
            Credentials::parse(&file("machine h.org login a password b\n")).expect("a netrc text");
        let of = |text: &str| {
            let value = credentials.authorization(&Url::parse(text).expect("a URL"));
            value.map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(of("http://h.org/x"), Some("Basic YTpi".to_owned()));
        assert_eq!(of("http://c:d@h.org/x"), Some("Basic Yzpk".to_owned()));
        assert_eq!(of("http://other/x"), None);
    }

    #[test]
    fn a_malformed_netrc_is_named_without_its_content() {
        let file = file("machine h\nlogin a hunter2\n");
        let error = Credentials::parse(&file).expect_err("an error");
        assert!(error.contains("`/home/a/.netrc`") && error.contains("line"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
