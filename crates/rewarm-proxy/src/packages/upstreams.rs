//! The indexes, channels and registries that package mode stands in front of, each under a name.
//!
//! The name is the first segment of the paths that clients ask for. A base URL may carry
//! credentials; they are sent to its own origin only, and never shown.

use std::fmt;

use rewarm_http::Url;

/// PyPI's simple index.
const PYPI: &str = "https://pypi.org/simple/";
/// Where conda channels are that have no URL of their own.
const CONDA: &str = "https://conda.anaconda.org/";
/// The public npm registry.
const NPM: &str = "https://registry.npmjs.org/";

/// Longer names are a mistake.
const MAX_NAME: usize = 64;

/// What an upstream speaks, hence which of its answers hold links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A simple index of Python packages (PEP 503, PEP 691).
    Index,
    /// A place of conda channels.
    Conda,
    /// An npm registry.
    Npm,
}

/// One upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    name: String,
    kind: Kind,
    base: url::Url,
    keeps_links: bool,
}

/// An upstream that cannot be used. What may be secret in a URL is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The name would not do as the first segment of a path.
    #[error("`{name}` is no name for an upstream: use letters, digits, `.`, `-` and `_`")]
    Name {
        /// The name given.
        name: String,
    },
    /// The URL cannot be fetched from.
    #[error("the URL of upstream `{name}` cannot be used")]
    Url {
        /// Whose URL it is.
        name: String,
        /// Why.
        source: rewarm_http::ParseUrlError,
    },
    /// A query would have to go in the middle of every URL.
    #[error("the URL of upstream `{name}` has a query, which cannot be kept")]
    Query {
        /// Whose URL it is.
        name: String,
    },
}

impl Upstream {
    /// An upstream. A base without a final slash is a directory all the same; a fragment is dropped.
    pub fn new(name: &str, kind: Kind, base: &str) -> Result<Self, UpstreamError> {
        let owned = || name.to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(UpstreamError::Name { name: owned() });
        }
        let fail = |source| UpstreamError::Url { name: owned(), source };
        Url::parse(base).map_err(fail)?;
        let malformed = |e: url::ParseError| {
            fail(rewarm_http::ParseUrlError::Malformed { reason: e.to_string() })
        };
        let mut base = url::Url::parse(base).map_err(malformed)?;
        if base.query().is_some() {
            return Err(UpstreamError::Query { name: owned() });
        }
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { name: owned(), kind, base, keeps_links: false })
    }

    /// The first segment of its paths.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it speaks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its URL, which shows no secrets when printed. Ends with a slash.
    pub fn url(&self) -> Url {
        Url::parse(self.base.as_str()).expect("it was checked when the upstream was made")
    }

    /// The same, with links left as they are: for clients that put the proxy in their place themselves.
    #[must_use]
    pub fn keeping_links(mut self) -> Self {
        self.keeps_links = true;
        self
    }

    /// Whether links are left as they are. Those of the public npm registry are: npm itself puts the
    /// configured registry in its place, and the registry's name into lock files.
    pub fn keeps_links(&self) -> bool {
        self.keeps_links || self.is_public_registry()
    }

    /// Whether npm takes this registry for any that is configured.
    pub(super) fn is_public_registry(&self) -> bool {
        self.kind == Kind::Npm && self.base.host_str() == Some("registry.npmjs.org")
    }

    /// The base, credentials included.
    pub(super) fn base(&self) -> &url::Url {
        &self.base
    }

    /// The first part of the paths at the proxy that stand for what is below the base: with slashes
    /// around. An index keeps the segment `simple`, by which people know one.
    pub fn mount(&self) -> String {
        match self.kind {
            Kind::Index => format!("/{}/simple/", self.name),
            Kind::Conda | Kind::Npm => format!("/{}/", self.name),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.kind, self.name, self.url())
    }
}

/// All upstreams, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upstreams(Vec<Upstream>);

impl Upstreams {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// `pypi`, `conda` and `npm`, at their public places.
    pub fn public() -> Self {
        let make = |(name, kind, base)| {
            Upstream::new(name, kind, base).expect("the public upstreams have sound URLs")
        };
        let public =
            [("pypi", Kind::Index, PYPI), ("conda", Kind::Conda, CONDA), ("npm", Kind::Npm, NPM)];
        Self(public.map(make).into())
    }

    /// Adds an upstream, in place of another of its name.
    pub fn set(&mut self, upstream: Upstream) {
        match self.0.iter_mut().find(|known| known.name == upstream.name) {
            Some(known) => *known = upstream,
            None => self.0.push(upstream),
        }
    }

    /// The upstream of this name.
    pub fn get(&self, name: &str) -> Option<&Upstream> {
        self.0.iter().find(|upstream| upstream.name == name)
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_directory() {
        let upstream = Upstream::new("a", Kind::Index, "https://h/simple#x").unwrap();
        assert_eq!(upstream.base().as_str(), "https://h/simple/");
        assert_eq!(upstream.mount(), "/a/simple/");
    }

    #[test]
    fn credentials_are_kept_and_never_shown() {
        let upstream = Upstream::new("a", Kind::Npm, "https://bob:s3cr3t@h/").unwrap();
        assert_eq!(upstream.base().password(), Some("s3cr3t"));
        assert!(!format!("{upstream:?} {}", upstream.url()).contains("s3cr3t"));
        let error = Upstream::new("b", Kind::Npm, "ftp://bob:s3cr3t@h/").unwrap_err();
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }

    #[test]
    fn names_that_paths_could_not_carry_are_refused() {
        for name in ["", "-files", ".", "..", "-a", "a/b", "a b", "ä", "a%2f", &"x".repeat(65)] {
            let made = Upstream::new(name, Kind::Conda, "https://h/");
            assert!(matches!(made, Err(UpstreamError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn a_second_upstream_of_a_name_takes_the_place_of_the_first() {
        let mut upstreams = Upstreams::public();
        upstreams.set(Upstream::new("pypi", Kind::Index, "https://mirror/simple").unwrap());
        assert_eq!(upstreams.iter().count(), 3);
        assert_eq!(upstreams.get("pypi").unwrap().url().host(), "mirror");
    }
}
