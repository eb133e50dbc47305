//! Becoming another program, as `execvp` does it (POSIX, `exec`).
//!
//! The standard library can do that too, but first sets a signal back that it may have changed, and
//! asks for a directory that stands twice on `PATH` twice. Here the program inherits what the caller
//! of rewarm had, and each directory is tried once. Only what `execve` says decides, so nothing is
//! looked at before that could change meanwhile.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rewarm_activation::Variables;

/// Where programs are looked for if there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// What runs a file that is executable and of no known format.
const SHELL: &str = "/bin/sh";

/// Replaces this process by a program with these arguments, the first of which names it, and exactly
/// these variables. Returns why that was not possible.
pub(crate) fn exec(argv: &[OsString], environment: &Variables) -> io::Error {
    match try_exec(argv, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_exec(argv: &[OsString], environment: &Variables) -> io::Result<Infallible> {
    let program = argv.first().ok_or(io::ErrorKind::InvalidInput)?;
    let variables = environment.iter().map(|(name, value)| {
        let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
        CString::new(bytes)
    });
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    let words = argv.iter().map(|word| CString::new(word.as_bytes()));
    let words = words.collect::<Result<Vec<_>, _>>()?;
    let mut denied = false;
    for file in candidates(program, environment.get(OsStr::new("PATH"))) {
        let file = CString::new(file.into_os_string().into_vec())?;
        let Err(error) = nix::unistd::execve(&file, &words, &variables);
        match error {
            Errno::ENOEXEC => {
                let script = [CString::new(SHELL)?, file];
                let words: Vec<_> = script.iter().chain(words.iter().skip(1)).collect();
                let Err(error) = nix::unistd::execve(&script[0], &words, &variables);
                return Err(error.into());
            }
            other if program.as_bytes().contains(&b'/') => return Err(other.into()),
            Errno::EACCES => denied = true,
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
            other => return Err(other.into()),
        }
    }
    Err(if denied { Errno::EACCES } else { Errno::ENOENT }.into())
}

/// The files that the name of a program may mean, the first one first.
fn candidates(program: &OsStr, path: Option<&OsString>) -> Vec<PathBuf> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let mut dirs: Vec<&[u8]> = Vec::new();
    for dir in path.as_bytes().split(|byte| *byte == b':') {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    // An empty entry is the working directory.
    dirs.into_iter().map(|dir| Path::new(OsStr::from_bytes(dir)).join(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_is_tried_once_in_order() {
        let of = |program: &str, path: Option<&str>| {
            let path = path.map(OsString::from);
            let files = candidates(program.as_ref(), path.as_ref());
            files.into_iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("a", Some("/x:/y/:/x:/z")), ["/x/a", "/y/a", "/z/a"]);
        assert_eq!(of("a", Some(":/x")), ["a", "/x/a"]);
        assert_eq!(of("a", Some("")), ["a"]);
        assert_eq!(of("a", None), ["/bin/a", "/usr/bin/a"]);
        assert_eq!(of("./a", Some("/x")), ["./a"]);
        assert!(of("", Some("/x")).is_empty());
    }
}
