//! A certificate authority that exists for one run of one command.
//!
//! Its key and those of the certificates it signs are made here and never leave the memory of this
//! process; only its certificate is shown, to be trusted by the programs of that run. It can sign
//! for servers and for nothing below them (`pathlen` 0).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Clocks of the programs that check may be behind.
const BEFORE: Duration = Duration::from_secs(60 * 60);

/// Longer than any command runs.
const AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Certificates for more hosts than this are made anew.
const HOSTS: usize = 1024;

/// RFC 7301 names, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Keys or certificates cannot be made or signed.
    #[error("cannot make a certificate for `{host}`")]
    Sign {
        /// For whom.
        host: String,
        /// What the cryptography says.
        source: rcgen::Error,
    },
    /// What was made cannot be used.
    #[error("cannot use the certificate for `{host}`")]
    Use {
        /// For whom.
        host: String,
        /// What the TLS layer says.
        source: rustls::Error,
    },
}

/// Signs certificates for hosts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// One key for all hosts; it is as secret as the authority's own.
    key: KeyPair,
    now: SystemTime,
    hosts: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// A new authority, valid for some days around `now`.
    pub fn new(now: SystemTime) -> Result<Self, AuthorityError> {
        let name = "rewarm, for one run";
        let fail = |source| AuthorityError::Sign { host: name.to_owned(), source };
        let mut params = valid(Vec::new(), now).map_err(fail)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (own, key) = (KeyPair::generate(), KeyPair::generate());
        let (own, key) = (own.map_err(fail)?, key.map_err(fail)?);
        let certificate = params.self_signed(&own).map_err(fail)?;
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        let issuer = Issuer::new(params, own);
        Ok(Self { issuer, certificate, pem, key, now, hosts: Mutex::default() })
    }

    /// The certificate to trust, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// TLS as the server of a host, a name or an address without brackets.
    pub(crate) fn server(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let host = host.to_ascii_lowercase();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(&host) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(self.make(&host)?);
        if hosts.len() >= HOSTS {
            hosts.clear();
        }
        hosts.insert(host, Arc::clone(&made));
        Ok(made)
    }

    fn make(&self, host: &str) -> Result<ServerConfig, AuthorityError> {
        let fail = |source| AuthorityError::Sign { host: host.to_owned(), source };
        let mut params = valid(vec![host.to_owned()], self.now).map_err(fail)?;
        params.distinguished_name.push(DnType::OrganizationName, "rewarm, for one run");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Strict readers want it (RFC 5280 section 4.2.1.1).
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.issuer).map_err(fail)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let fail = |source| AuthorityError::Use { host: host.to_owned(), source };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(fail)?;
        let mut config =
            builder.with_no_client_auth().with_single_cert(chain, key).map_err(fail)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

fn valid(names: Vec<String>, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + AFTER).into();
    Ok(params)
}

impl fmt::Debug for Authority {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}
