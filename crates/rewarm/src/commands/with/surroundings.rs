//! The variables that lead a command's downloads through the proxy. Pure.

use std::ffi::OsString;
use std::path::Path;

use crate::settings::Caller;

/// Variables that name a proxy; programs read either case.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Variables that name hosts to be reached directly.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables that name a proxy for one program, and win over its configuration files.
const OWN_PROXIES: [&str; 2] = ["npm_config_proxy", "npm_config_https_proxy"];

/// Variables that would lead one program past the proxy, if they are set.
const DETOURS: [&str; 2] = ["PIP_PROXY", "CARGO_HTTP_PROXY"];

/// Variables that name a file of certificates to trust: OpenSSL and uv; requests and conda; curl;
/// pip; Node.js; npm; git; cargo; conda; Deno.
pub(super) const BUNDLES: [&str; 10] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "CONDA_SSL_VERIFY",
    "DENO_CERT",
];

/// What to set for a command, given the proxy's URL and the certificates to trust.
pub(super) fn changes(
    caller: &Caller,
    proxy: &str,
    bundle: &Path,
) -> Vec<(&'static str, OsString)> {
    let detours = DETOURS.into_iter().filter(|name| caller.get(name).is_some());
    let proxies = PROXIES.into_iter().chain(OWN_PROXIES).chain(detours);
    let proxies = proxies.map(|name| (name, OsString::from(proxy)));
    let exceptions = EXCEPTIONS.into_iter().map(|name| (name, OsString::new()));
    let bundles = BUNDLES.into_iter().map(|name| (name, bundle.as_os_str().to_owned()));
    proxies.chain(exceptions).chain(bundles).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_past_the_proxy_is_closed() {
        let variables = [("PIP_PROXY", "http://other"), ("NO_PROXY", "*")];
        let caller = Caller {
            cwd: "/".into(),
            variables: variables.map(|(name, value)| (name.into(), value.into())).into(),
        };
        let changes = changes(&caller, "http://p", Path::new("/b"));
        let of = |wanted: &str| {
            let mut found = changes.iter().filter(|(name, _)| *name == wanted);
            found.next().map(|(_, value)| value.to_str().expect("text"))
        };
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "PIP_PROXY", "npm_config_proxy"] {
            assert_eq!(of(name), Some("http://p"), "{name}");
        }
        assert_eq!((of("NO_PROXY"), of("no_proxy")), (Some(""), Some("")));
        assert_eq!((of("CARGO_HTTP_PROXY"), of("SSL_CERT_FILE")), (None, Some("/b")));
    }
}
