//! What the environment's interpreter says about itself.
//!
//! Asking costs a start of Python, so the answer is kept in a record of this machine, under the
//! stat data of the binary and of `pyvenv.cfg` and the variables that steer the interpreter. The
//! record holds absolute paths and never leaves the machine; keys take from it what is the same
//! everywhere.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rewarm_store::{Digest, Hasher, Kind, Store, Witness};
use serde::{Deserialize, Serialize};

use crate::request::{CheckError, Request};

/// An interpreter, described.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interpreter {
    /// Implementation, full version and platform.
    pub(crate) identity: Vec<u8>,
    /// `sys.prefix`: the environment.
    pub(crate) prefix: PathBuf,
    /// `sys.base_prefix`: what the environment was made from.
    pub(crate) base: PathBuf,
    /// Directories of installed packages, whether or not they exist.
    pub(crate) sites: Vec<PathBuf>,
}

impl Kind for Interpreter {
    const NAME: &'static str = "check-interpreter";
    const VERSION: u16 = 1;
}

/// Prints identity, prefixes and directories of installed packages, each ended by a NUL, between two
/// marks: path files may print as well, before and after.
const DESCRIBE: &str = r"
import os, platform, site, sys, sysconfig
names = ('site-packages', 'dist-packages')
kind = [sys.implementation.name, sys.implementation.cache_tag, sys.version, sys.platform,
        sysconfig.get_platform(), platform.machine()]
sites = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
sites += site.getsitepackages()
sites += [os.path.abspath(p) for p in sys.path if os.path.basename(p) in names]
fields = ['\n'.join(map(str, kind)), sys.prefix, sys.base_prefix, *dict.fromkeys(sites)]
mark = b'\0interpreter\0'
sys.stdout.buffer.write(mark + b''.join(os.fsencode(f) + b'\0' for f in fields) + mark)
";

const MARK: &[u8] = b"\0interpreter\0";

impl Interpreter {
    /// Describes the request's interpreter, from the record if nothing moved since.
    pub(crate) fn of(store: &Store, request: &Request) -> Result<Self, CheckError> {
        let path = &request.python;
        let error = |source| CheckError::Interpreter { path: path.clone(), source };
        let key = Self::key(request).map_err(error)?;
        if let Some(known) = store.read(&key) {
            return Ok(known);
        }
        let output = Command::new(path)
            .args(["-c", DESCRIBE])
            .env_clear()
            .envs(request.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&request.cwd)
            .stdin(Stdio::null())
            .output()
            .map_err(error)?;
        let described = output.status.success().then(|| parse(&output.stdout)).flatten();
        let described = described.ok_or_else(|| CheckError::Identity {
            path: path.clone(),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })?;
        // Without the record the next check asks again, that is all.
        let _ = store.write(&key, &described);
        Ok(described)
    }

    /// Where the answer is kept: it changes with the binary, its configuration, the variables and
    /// the files that extend `sys.path`.
    fn key(request: &Request) -> std::io::Result<Digest> {
        let mut key = Hasher::new("check interpreter 1");
        let binary = std::fs::canonicalize(&request.python)?;
        key.field(request.python.as_os_str().as_encoded_bytes());
        key.field(binary.as_os_str().as_encoded_bytes());
        let prefix = request.python.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let beside = request.python.with_file_name("pyvenv.cfg");
        for path in [binary, prefix.join("pyvenv.cfg"), beside] {
            let witness = Witness::of(&path)?;
            key.optional(
                witness.map(|w| format!("{} {} {} {}", w.size, w.mtime, w.ctime, w.inode)),
            );
        }
        for (name, value) in &request.variables {
            let name = name.as_encoded_bytes();
            if name.starts_with(b"PYTHON") || name == b"HOME" {
                key.field(name).field(value.as_encoded_bytes());
            }
        }
        Ok(key.finish())
    }
}

fn parse(output: &[u8]) -> Option<Interpreter> {
    let find = |bytes: &[u8]| bytes.windows(MARK.len()).position(|window| window == MARK);
    let output = &output[find(output)? + MARK.len()..];
    let fields = output[..find(output)?].strip_suffix(b"\0")?.split(|byte| *byte == 0);
    let mut fields = fields.map(<[u8]>::to_vec);
    let identity = fields.next()?;
    let mut paths = fields.map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
    let (prefix, base) = (paths.next()?, paths.next()?);
    Some(Interpreter { identity, prefix, base, sites: paths.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_print_is_no_part_of_the_description() {
        let plain = b"\0interpreter\0cpython\0/e\0/usr\0/e/lib\0\0interpreter\0";
        let loud = [b"hello\n\0".as_slice(), plain, b"bye\n"].concat();
        for output in [plain.as_slice(), &loud] {
            let found = parse(output).expect("a description");
            assert_eq!(found.identity, b"cpython");
            assert_eq!(found.prefix, Path::new("/e"));
            assert_eq!(found.sites, [Path::new("/e/lib")]);
        }
        assert!(parse(b"\0interpreter\0cpython\0/e").is_none(), "it is cut");
    }
}
