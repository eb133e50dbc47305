//! What clients of packages are told so that they come to a proxy: their settings as they are, turned
//! into upstreams and the variables that point at them.
//!
//! Pure. What a user has configured decides: an index that was the default stays it, extra ones stay
//! extra ones, in their order and under their names, and credentials stay in the upstreams, where the
//! proxy uses them and the client does not see them.

use super::upstreams::{Kind, Upstream, UpstreamError, Upstreams};

/// What a user has configured: variables, and what configuration files say where a variable is not
/// set. Everything is as it stands there.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// `PIP_INDEX_URL`, or pip's `index-url`.
    pub pip_index: Option<String>,
    /// `PIP_EXTRA_INDEX_URL`, or pip's `extra-index-url`: URLs parted by blanks.
    pub pip_extra: Option<String>,
    /// `UV_DEFAULT_INDEX`, `UV_INDEX_URL`, or the default index of `uv.toml`.
    pub uv_default: Option<String>,
    /// `UV_INDEX`: URLs, or `NAME=URL`, parted by blanks.
    pub uv_indexes: Option<String>,
    /// `UV_EXTRA_INDEX_URL`: URLs parted by blanks.
    pub uv_extra: Option<String>,
    /// `npm_config_registry`, or npm's `registry`.
    pub npm_registry: Option<String>,
    /// `CONDA_CHANNEL_ALIAS`, or conda's `channel_alias`.
    pub conda_alias: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
}

/// What to serve, and the variables that point clients at it.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The upstreams.
    pub upstreams: Upstreams,
    /// Variables to set, in order.
    pub variables: Vec<(&'static str, String)>,
    /// Variables to remove: older spellings that would count as well.
    pub removed: Vec<&'static str>,
}

/// Upstreams as they are found, each URL under one name.
struct Names {
    upstreams: Upstreams,
    root: String,
}

impl Names {
    /// The URL at the proxy for an upstream's; `name` is what it would be called.
    fn serve(&mut self, name: &str, kind: Kind, url: &str) -> Result<String, UpstreamError> {
        let wanted = Upstream::new(name, kind, url)?;
        let is_same = |known: &&Upstream| known.kind() == kind && known.base() == wanted.base();
        let same = self.upstreams.iter().find(is_same).map(Upstream::mount);
        if let Some(mount) = same {
            return Ok(self.root.clone() + &mount);
        }
        let mut upstream = wanted;
        for number in 2.. {
            if self.upstreams.get(upstream.name()).is_none() {
                break;
            }
            upstream = Upstream::new(&format!("{name}-{number}"), kind, url)?;
        }
        let place = self.root.clone() + &upstream.mount();
        self.upstreams.set(upstream);
        Ok(place)
    }

    /// The same for several URLs, parted by blanks, each of which may have a name before it.
    fn serve_all(&mut self, urls: Option<&str>) -> Result<Option<String>, UpstreamError> {
        let mut served = Vec::new();
        for word in urls.unwrap_or_default().split_ascii_whitespace() {
            let named = word.split_once('=').filter(|(name, _)| !name.contains(['/', ':']));
            served.push(match named {
                Some((name, url)) => {
                    format!("{name}={}", self.serve(&sound(name), Kind::Index, url)?)
                }
                None => self.serve("extra", Kind::Index, word)?,
            });
        }
        Ok((!served.is_empty()).then(|| served.join(" ")))
    }
}

/// A name for an upstream, made of one of uv's.
fn sound(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    format!("index-{}", name.chars().map(letter).take(40).collect::<String>())
}

/// Upstreams for what a user has configured, and what to tell clients that are to find them at
/// `root`, a URL without final slash. Fails on URLs that no client could use either.
pub fn client_settings(
    configured: &Configured,
    root: &str,
) -> Result<ClientSettings, UpstreamError> {
    let public = Upstreams::public();
    let at = |name: &str| {
        let upstream = public.get(name).expect("the public upstreams are known");
        upstream.url().as_wire().to_owned()
    };
    let or = |url: &Option<String>, name: &str| url.clone().unwrap_or_else(|| at(name));
    let mut names = Names { upstreams: Upstreams::none(), root: root.to_owned() };
    let mut variables = Vec::new();
    let pip = or(&configured.pip_index, "pypi");
    variables.push(("PIP_INDEX_URL", names.serve("pypi", Kind::Index, &pip)?));
    let uv = or(&configured.uv_default, "pypi");
    variables.push(("UV_DEFAULT_INDEX", names.serve("pypi", Kind::Index, &uv)?));
    for (variable, urls) in [
        ("PIP_EXTRA_INDEX_URL", &configured.pip_extra),
        ("UV_INDEX", &configured.uv_indexes),
        ("UV_EXTRA_INDEX_URL", &configured.uv_extra),
    ] {
        variables.extend(names.serve_all(urls.as_deref())?.map(|urls| (variable, urls)));
    }
    let conda = or(&configured.conda_alias, "conda");
    variables.push(("CONDA_CHANNEL_ALIAS", names.serve("conda", Kind::Conda, &conda)?));
    let npm = or(&configured.npm_registry, "npm");
    variables.push(("npm_config_registry", names.serve("npm", Kind::Npm, &npm)?));
    if let Some(registry) = names.upstreams.get("npm").filter(|npm| !npm.is_public_registry()) {
        // npm then puts the proxy in its place by itself, and keeps it in lock files.
        variables.push(("npm_config_replace_registry_host", registry.url().host().to_owned()));
        names.upstreams.set(registry.clone().keeping_links());
    }
    let mut direct = configured.no_proxy.clone().unwrap_or_default();
    direct += if direct.is_empty() { "" } else { "," };
    direct += "127.0.0.1,localhost";
    variables.extend([("NO_PROXY", direct.clone()), ("no_proxy", direct)]);
    Ok(ClientSettings { upstreams: names.upstreams, variables, removed: vec!["UV_INDEX_URL"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "http://127.0.0.1:1";

    fn settings(configured: &Configured) -> ClientSettings {
        client_settings(configured, ROOT).expect("sound URLs")
    }

    fn variable<'s>(settings: &'s ClientSettings, name: &str) -> Option<&'s str> {
        let mut found = settings.variables.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    fn base(settings: &ClientSettings, name: &str) -> String {
        settings.upstreams.get(name).expect("an upstream").base().to_string()
    }

    #[test]
    fn without_configuration_the_public_places_are_served() {
        let settings = settings(&Configured::default());
        for (name, value) in [
            ("PIP_INDEX_URL", "http://127.0.0.1:1/pypi/simple/"),
            ("UV_DEFAULT_INDEX", "http://127.0.0.1:1/pypi/simple/"),
            ("npm_config_registry", "http://127.0.0.1:1/npm/"),
            ("CONDA_CHANNEL_ALIAS", "http://127.0.0.1:1/conda/"),
            ("NO_PROXY", "127.0.0.1,localhost"),
        ] {
            assert_eq!(variable(&settings, name), Some(value));
        }
        assert_eq!(settings.upstreams, Upstreams::public());
        assert_eq!(variable(&settings, "PIP_EXTRA_INDEX_URL"), None);
        assert_eq!(variable(&settings, "npm_config_replace_registry_host"), None);
    }

    #[test]
    fn indexes_keep_their_order_their_names_and_their_credentials() {
        let settings = settings(&Configured {
            pip_index: Some("https://bob:s3cr3t@corp/simple".into()),
            pip_extra: Some(
                "https://a/simple/  https://b/simple https://bob:s3cr3t@corp/simple/".into(),
            ),
            uv_indexes: Some("pytorch=https://p/whl/cu121 https://a/simple".into()),
            no_proxy: Some("corp".into()),
            ..Configured::default()
        });
        assert_eq!(base(&settings, "pypi"), "https://bob:s3cr3t@corp/simple/");
        assert_eq!(base(&settings, "pypi-2"), "https://pypi.org/simple/");
        assert_eq!(
            variable(&settings, "UV_DEFAULT_INDEX"),
            Some("http://127.0.0.1:1/pypi-2/simple/")
        );
        assert_eq!(
            variable(&settings, "PIP_EXTRA_INDEX_URL"),
            Some(
                "http://127.0.0.1:1/extra/simple/ http://127.0.0.1:1/extra-2/simple/ http://127.0.0.1:1/pypi/simple/"
            )
        );
        assert_eq!(
            variable(&settings, "UV_INDEX"),
            Some(
                "pytorch=http://127.0.0.1:1/index-pytorch/simple/ http://127.0.0.1:1/extra/simple/"
            )
        );
        assert_eq!(base(&settings, "index-pytorch"), "https://p/whl/cu121/");
        assert_eq!(variable(&settings, "NO_PROXY"), Some("corp,127.0.0.1,localhost"));
        assert!(settings.variables.iter().all(|(_, value)| !value.contains("s3cr3t")));
        assert!(!format!("{settings:?}").contains("s3cr3t"));
    }

    #[test]
    fn another_registry_stays_in_lock_files() {
        let registry = Some("https://corp/npm".to_owned());
        let settings = settings(&Configured { npm_registry: registry, ..Configured::default() });
        assert_eq!(variable(&settings, "npm_config_replace_registry_host"), Some("corp"));
        assert!(settings.upstreams.get("npm").is_some_and(Upstream::keeps_links));
    }

    #[test]
    fn a_url_that_no_client_could_use_is_an_error() {
        let wrong = Some("s3cr3t://x".to_owned());
        let error =
            client_settings(&Configured { pip_index: wrong, ..Configured::default() }, ROOT);
        assert!(matches!(error, Err(UpstreamError::Url { .. })));
    }
}
