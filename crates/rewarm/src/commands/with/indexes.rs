//! The other way to lead a command's downloads through the cache: by its index settings.
//!
//! What the caller's variables name today becomes upstreams of package mode, with their credentials,
//! and the variables name the proxy instead. Pure. Settings in files of the command are not seen
//! here, and neither are links to other places than an index.

use std::ffi::OsString;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rewarm_proxy::packages::{Kind, Upstream, UpstreamError, Upstreams};

use crate::settings::Caller;

/// Settings that name one place each: the variable, those that mean the same to the same program,
/// its kind, the name that its upstream gets, and what counts where none is set.
const SINGLE: [Single; 4] = [
    Single {
        variable: "PIP_INDEX_URL",
        older: &[],
        kind: Kind::Index,
        name: "pip",
        default: "https://pypi.org/simple/",
    },
    Single {
        variable: "UV_DEFAULT_INDEX",
        older: &["UV_INDEX_URL"],
        kind: Kind::Index,
        name: "uv",
        default: "https://pypi.org/simple/",
    },
    Single {
        variable: "npm_config_registry",
        older: &["NPM_CONFIG_REGISTRY"],
        kind: Kind::Npm,
        name: "npm",
        default: "https://registry.npmjs.org/",
    },
    Single {
        variable: "CONDA_CHANNEL_ALIAS",
        older: &[],
        kind: Kind::Conda,
        name: "conda",
        default: "https://conda.anaconda.org/",
    },
];

/// Settings that list further indexes, separated by blanks, and the names of their upstreams.
const LISTS: [(&str, &str); 3] =
    [("PIP_EXTRA_INDEX_URL", "pip"), ("UV_INDEX", "uv"), ("UV_EXTRA_INDEX_URL", "uv-extra")];

struct Single {
    variable: &'static str,
    older: &'static [&'static str],
    kind: Kind,
    name: &'static str,
    default: &'static str,
}

/// Upstreams, and the variables that lead to them.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    upstreams: Upstreams,
    /// Each variable with what it lists: what stands before a URL, and the upstream.
    uses: Vec<(&'static str, Vec<(String, Upstream)>)>,
    /// Variables that would say otherwise.
    removed: Vec<&'static str>,
}

impl Indexes {
    /// What the caller's variables name.
    pub(super) fn of(caller: &Caller) -> Result<Self, UpstreamError> {
        let mut indexes = Self::default();
        for single in &SINGLE {
            let names = std::iter::once(&single.variable).chain(single.older);
            let url = names.filter_map(|name| caller.text(name)).next().unwrap_or(single.default);
            let upstream = Upstream::new(single.name, single.kind, url)?;
            indexes.uses.push((single.variable, vec![(String::new(), upstream)]));
            indexes.removed.extend(single.older);
        }
        for (variable, name) in LISTS {
            let Some(list) = caller.text(variable) else { continue };
            let mut listed = Vec::new();
            for (nth, word) in list.split_whitespace().enumerate() {
                let (label, url) = split_label(word);
                let url = with_credentials(caller, label, url);
                let upstream = Upstream::new(&format!("{name}-{}", nth + 1), Kind::Index, &url)?;
                listed.push((label.map(|label| format!("{label}=")).unwrap_or_default(), upstream));
            }
            indexes.uses.push((variable, listed));
        }
        for (_, upstream) in indexes.uses.iter().flat_map(|(_, listed)| listed) {
            indexes.upstreams.set(upstream.clone());
        }
        Ok(indexes)
    }

    /// Where package mode finds them.
    pub(super) fn upstreams(&self) -> &Upstreams {
        &self.upstreams
    }

    /// Variables to set, given where the proxy is and its token.
    pub(super) fn changes(&self, address: SocketAddr, token: &str) -> Vec<(String, OsString)> {
        let place = |upstream: &Upstream| match upstream.kind() {
            // conda takes user information in a channel for something else.
            Kind::Conda => format!("http://{address}/{token}{}", upstream.mount()),
            _ => format!("http://rewarm:{token}@{address}{}", upstream.mount()),
        };
        let value = |listed: &[(String, Upstream)]| {
            let words =
                listed.iter().map(|(label, upstream)| format!("{label}{}", place(upstream)));
            words.collect::<Vec<_>>().join(" ").into()
        };
        let uses =
            self.uses.iter().map(|(variable, listed)| ((*variable).to_owned(), value(listed)));
        // npm asks for tarballs without what its registry's URL says of the user.
        let credentials = STANDARD.encode(format!("rewarm:{token}"));
        let npm = (format!("npm_config_//{address}/:_auth"), credentials.into());
        uses.chain([npm]).collect()
    }

    /// Variables to remove.
    pub(super) fn removed(&self) -> &[&'static str] {
        &self.removed
    }
}

/// uv writes `NAME=URL`.
fn split_label(word: &str) -> (Option<&str>, &str) {
    let is_name = |name: &str| !name.contains([':', '/', '?', '@']);
    match word.split_once('=') {
        Some((name, url)) if is_name(name) => (Some(name), url),
        _ => (None, word),
    }
}

/// uv takes the credentials of an index with a name from variables with that name.
fn with_credentials(caller: &Caller, label: Option<&str>, url: &str) -> String {
    let of = |what: &str| {
        let capital =
            |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let label: String = label?.chars().map(capital).collect();
        caller.text(&format!("UV_INDEX_{label}_{what}"))
    };
    let (user, password) = (of("USERNAME"), of("PASSWORD"));
    let Ok(mut parsed) = url::Url::parse(url) else { return url.to_owned() };
    if user.is_none() && password.is_none() {
        return url.to_owned();
    }
    // These fail only for URLs without a host, which are refused later.
    let _ = parsed.set_username(user.unwrap_or_default());
    let _ = parsed.set_password(password);
    parsed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Indexes {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let caller = Caller { cwd: "/".into(), variables: variables.collect() };
        Indexes::of(&caller).expect("sound URLs")
    }

    fn value(indexes: &Indexes, wanted: &str) -> Option<String> {
        let changes = indexes.changes(([127, 0, 0, 1], 7).into(), "t");
        let found = changes.into_iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.into_string().expect("text"))
    }

    #[test]
    fn without_settings_the_public_places_are_meant() {
        let indexes = of(&[]);
        assert_eq!(
            value(&indexes, "PIP_INDEX_URL").as_deref(),
            Some("http://rewarm:t@127.0.0.1:7/pip/simple/")
        );
        assert_eq!(
            value(&indexes, "npm_config_registry").as_deref(),
            Some("http://rewarm:t@127.0.0.1:7/npm/")
        );
        let conda = value(&indexes, "CONDA_CHANNEL_ALIAS");
        assert_eq!(conda.as_deref(), Some("http://127.0.0.1:7/t/conda/"));
        assert_eq!(value(&indexes, "PIP_EXTRA_INDEX_URL"), None);
        let pypi = indexes.upstreams().get("uv").expect("it is there").url();
        assert_eq!(pypi.as_wire(), "https://pypi.org/simple/");
    }

    #[test]
    fn further_indexes_keep_their_names_and_their_credentials_stay_upstream() {
        let indexes = of(&[
            ("PIP_EXTRA_INDEX_URL", "https://a:b@h/1 https://h/2"),
            ("UV_INDEX", "my-own=https://h/3"),
            ("UV_INDEX_MY_OWN_USERNAME", "u"),
            ("UV_INDEX_MY_OWN_PASSWORD", "p"),
            ("UV_INDEX_URL", "https://h/4"),
        ]);
        let root = "http://rewarm:t@127.0.0.1:7";
        let extra = format!("{root}/pip-1/simple/ {root}/pip-2/simple/");
        assert_eq!(value(&indexes, "PIP_EXTRA_INDEX_URL"), Some(extra));
        let named = format!("my-own={root}/uv-1/simple/");
        assert_eq!(value(&indexes, "UV_INDEX"), Some(named));
        let user = |name: &str| {
            let url = indexes.upstreams().get(name).expect("it is there").url();
            url.user().map(|(user, password)| format!("{user}:{password}"))
        };
        assert_eq!(user("pip-1").as_deref(), Some("a:b"));
        assert_eq!(user("uv-1").as_deref(), Some("u:p"));
        let uv = indexes.upstreams().get("uv").expect("it is there").url();
        assert_eq!(uv.as_wire(), "https://h/4/");
        assert!(indexes.removed().contains(&"UV_INDEX_URL"));
    }
}
