//! What stands between here and the indexes, without asking any of them.

use std::path::Path;

use crate::commands::doctor::Finding;
use crate::context::Context;

/// Variables that name a file or directory of certificates.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Variables that name a proxy.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn check(context: &Context<'_>) -> Vec<Finding> {
    let caller = &context.settings.caller;
    let mut findings = Vec::new();
    if context.settings.offline {
        let mend = "leave out `--offline`, unset `REWARM_OFFLINE`, or remove `offline` from the configuration";
        findings.push(Finding::slow("network", "offline: only what is stored is served", mend));
    }
    for name in CERTIFICATES {
        if let Some(path) = caller.get(name)
            && !Path::new(path).exists()
        {
            let text = format!("`{name}` names `{}`, which does not exist", path.display());
            findings.push(Finding::wrong("network", text, format!("unset `{name}`, or mend it")));
        }
    }
    for name in PROXIES {
        let Some(value) = caller.text(name) else { continue };
        // The value may hold a password, so it is not shown.
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        if url::Url::parse(&url).is_err() {
            let text = format!("`{name}` is no URL");
            let mend = format!("`{name}=http://HOST:PORT`");
            findings.push(Finding::wrong("network", text, mend));
        }
    }
    if let Err(error) = context.client() {
        findings.push(Finding::failure("network", &error));
    }
    if findings.is_empty() {
        findings.push(Finding::fine("network", "settings can be used; no server was asked"));
    }
    findings
}
