//! The certificates that a command is told to trust, as files that exist as long as it runs.
//!
//! The command gets those of the system, those that the caller's variables name already, and that
//! of the run's own authority. Where the caller names some for single programs, the proxy has to
//! trust these as well, because it asks in the place of those programs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::commands::with::scratch::Scratch;
use crate::commands::with::surroundings::BUNDLES;
use crate::settings::Caller;

/// The files; removed when dropped.
#[derive(Debug)]
pub(super) struct Trust {
    bundle: PathBuf,
    upstream: Option<PathBuf>,
    _dir: Scratch,
}

impl Trust {
    /// Writes the files into a private directory below `temp`.
    pub(super) fn write(caller: &Caller, temp: &Path, authority: &str) -> io::Result<Self> {
        let dir = Scratch::new(temp)?;
        let mut all = system();
        let named = named(caller);
        for path in &named {
            // A program that cannot read its own file would say so; here the others go on.
            let text = fs::read_to_string(path).unwrap_or_default();
            all.push_str(&text);
            all.push('\n');
        }
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes()).map(|()| path)
        };
        let upstream = match named.is_empty() {
            true => None,
            false => Some(write("upstream.pem", &all)?),
        };
        let bundle = write("bundle.pem", &(all + authority))?;
        Ok(Self { bundle, upstream, _dir: dir })
    }

    /// For the command.
    pub(super) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// For the proxy, if the usual certificates are not all.
    pub(super) fn upstream(&self) -> Option<&Path> {
        self.upstream.as_deref()
    }
}

/// Files that the caller's variables name, besides what stands for the system's.
fn named(caller: &Caller) -> BTreeSet<PathBuf> {
    let names = BUNDLES.into_iter().filter(|name| *name != "SSL_CERT_FILE");
    let paths = names.filter_map(|name| caller.get(name)).map(|path| caller.cwd.join(path));
    paths.filter(|path| path.is_file()).collect()
}

/// The system's certificates, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Where there are none
/// the command has no need of them: it trusts the proxy, which says what is wrong.
fn system() -> String {
    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(&certificate).as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
