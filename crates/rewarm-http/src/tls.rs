//! Secure connections: which certificates are trusted, and what is said when one is not.
//!
//! Reading the system's certificates takes tens of milliseconds, so the settings are made when the
//! first `https` connection is, off the async threads.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config;

/// RFC 7301 names, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Settings for connections to origins, and for those to proxies.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Offers HTTP/2.
    pub(crate) origin: Arc<ClientConfig>,
    /// HTTP/1.1 only.
    pub(crate) proxy: Arc<ClientConfig>,
}

/// Reads the certificates. The error is a sentence for the user.
pub(crate) fn settings(config: &config::ClientConfig) -> Result<Tls, String> {
    let fail = |error: rustls::Error| format!("secure connections cannot be set up: {error}");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fail)?;
    let certificates = certificates(config)?;
    let builder = if certificates.is_empty() {
        builder.with_platform_verifier().map_err(fail)?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err("none of the certificates to be trusted can be read".to_owned());
        }
        builder.with_root_certificates(roots)
    };
    let proxy = builder.with_no_client_auth();
    let mut origin = proxy.clone();
    origin.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Tls { origin: Arc::new(origin), proxy: Arc::new(proxy) })
}

/// The certificates to trust instead of the system's.
fn certificates(config: &config::ClientConfig) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut found = Vec::new();
    if let Some(path) = &config.cert_file {
        let bytes = std::fs::read(path)
            .map_err(|error| format!("certificates in `{}`: {error}", path.display()))?;
        let parsed = parse(&bytes).filter(|parsed| !parsed.is_empty());
        found.extend(parsed.ok_or_else(|| format!("no PEM certificates in `{}`", path.display()))?);
    }
    if let Some(dir) = &config.cert_dir {
        let entries = std::fs::read_dir(dir)
            .map_err(|error| format!("certificates in `{}`: {error}", dir.display()))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            // Such directories hold other files, too.
            let parsed = std::fs::read(path).ok().and_then(|bytes| parse(&bytes));
            found.extend(parsed.into_iter().flatten());
        }
    }
    Ok(found)
}

fn parse(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()
}

/// The name that the certificate must have; brackets of an IPv6 address are no part of it.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).ok()
}

/// What the TLS layer has against the peer; `None` if the connection just broke.
pub(crate) fn refusal(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What users meet most, in words; `None` for the rest.
pub(crate) fn explain(host: &str, error: &rustls::Error) -> Option<String> {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(certificate) = error else { return None };
    let trouble = match certificate {
        E::UnknownIssuer => "was issued by nobody that is trusted here",
        E::NotValidForName | E::NotValidForNameContext { .. } => "is for another host",
        E::Expired | E::ExpiredContext { .. } => "has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet",
        E::Revoked => "was revoked",
        _ => return None,
    };
    Some(format!("the certificate of `{host}` {trouble}"))
}
