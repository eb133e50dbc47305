//! What the lock files of a project say of the files that a command will ask for.
//!
//! They only help: one that cannot be read says nothing here, and the command itself will tell. Which
//! project it is follows from where the command starts, and from what its own arguments say of that.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rewarm_conda::lock::{LOCK_FILE, LockFile, PypiLocation};
use rewarm_env::{Lock, LockFormat, Project};
use rewarm_http::Url;
use rewarm_proxy::packages::KnownFiles;
use rewarm_store::Digest;

/// How a program is told to work in another directory, and on a project elsewhere.
struct Flags {
    program: &'static str,
    directory: &'static [&'static str],
    project: &'static [&'static str],
}

/// The program whose lock files take long to read, and are of use to no other.
const PIXI: &str = "pixi";

/// Programs that write lock files which are read here.
const PROGRAMS: [Flags; 3] = [
    Flags { program: "uv", directory: &["--directory"], project: &["--project"] },
    Flags { program: "poetry", directory: &["--directory", "-C"], project: &["--project", "-P"] },
    Flags { program: PIXI, directory: &[], project: &["--manifest-path", "-m"] },
];

/// Where the project of a command is looked for, which would be `start` by itself; what its arguments
/// say is relative to `cwd`.
pub(super) fn place(start: &Path, cwd: &Path, command: &[OsString]) -> PathBuf {
    let arguments = command.get(1..).unwrap_or_default();
    let Some(flags) = PROGRAMS.iter().find(|flags| is_program(command, flags.program)) else {
        return start.to_owned();
    };
    let directory = value(arguments, flags.directory).map(|dir| cwd.join(dir));
    match value(arguments, flags.project) {
        Some(project) => directory.as_deref().unwrap_or(cwd).join(project),
        None => directory.unwrap_or_else(|| start.to_owned()),
    }
}

fn is_program(command: &[OsString], name: &str) -> bool {
    command.first().and_then(|program| Path::new(program).file_name()).is_some_and(|it| it == name)
}

/// What the first of these flags says, before `--` and what follows it.
fn value(arguments: &[OsString], flags: &[&str]) -> Option<OsString> {
    let mut arguments = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = arguments.next() {
        if flags.iter().any(|flag| argument == flag) {
            return arguments.next().cloned();
        }
        let joined = |flag: &&str| {
            argument
                .as_bytes()
                .strip_prefix(flag.as_bytes())?
                .strip_prefix(b"=")
                .map(OsStr::from_bytes)
        };
        if let Some(value) = flags.iter().find_map(joined) {
            return Some(value.to_owned());
        }
    }
    None
}

/// The files that are pinned, with URL and digest, by the lock files of the project that a command
/// works on, which is looked for from `start`.
pub(super) fn pinned(start: &Path, command: &[OsString]) -> KnownFiles {
    let known = KnownFiles::default();
    if is_program(command, PIXI) {
        note_workspace(start, &known);
    }
    let Some(project) = Project::find(start) else { return known };
    let names_files = |format| matches!(format, LockFormat::Pylock | LockFormat::Uv);
    let locks = project.lock.iter().chain(&project.other_locks);
    for lock in locks.filter(|lock| names_files(lock.format)).filter_map(|it| Lock::read(it).ok()) {
        for (url, digest) in lock.pinned_files() {
            note(&known, url.as_str(), Some(digest));
        }
    }
    known
}

/// The packages of all environments of a workspace, of which `start` may be the manifest.
fn note_workspace(start: &Path, known: &KnownFiles) {
    let dir = if start.is_file() { start.parent().unwrap_or(start) } else { start };
    let manifest = rewarm_conda::manifest::find(dir);
    let root = manifest.as_deref().and_then(Path::parent);
    let Some(Ok(lock)) = root.map(|root| LockFile::load(&root.join(LOCK_FILE))) else { return };
    let platforms = |name| lock.platforms(name).unwrap_or_default().into_iter();
    let names = lock.environments().into_iter();
    let pairs = names.flat_map(|name| platforms(name).map(move |platform| (name, platform)));
    for wanted in pairs.filter_map(|(name, platform)| lock.wanted(name, &platform).ok()) {
        for package in &wanted.conda {
            let sha256 = package.record.package_record.sha256;
            note(
                known,
                package.record.url.as_str(),
                sha256.map(|it| Digest::from_bytes(it.into())),
            );
        }
        for package in &wanted.pypi {
            if let PypiLocation::Url(url) = &package.location {
                note(known, url.as_str(), package.sha256);
            }
        }
    }
}

fn note(known: &KnownFiles, url: &str, digest: Option<Digest>) {
    if let (Ok(url), Some(digest)) = (Url::parse(url), digest) {
        known.note(&url, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &[&str]) -> PathBuf {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        place(Path::new("/start"), Path::new("/cwd"), &command)
    }

    #[test]
    fn a_command_says_where_its_project_is() {
        for (command, expected) in [
            (&["uv", "sync", "--project", "a"][..], "/cwd/a"),
            (&["/usr/bin/uv", "--project=a/b", "sync"], "/cwd/a/b"),
            (&["uv", "--directory", "/d", "sync", "--project", "a"], "/d/a"),
            (&["uv", "--project", "a", "--directory=d", "sync"], "/cwd/d/a"),
            (&["uv", "--directory=d", "sync"], "/cwd/d"),
            (&["poetry", "-C", "d", "install"], "/cwd/d"),
            (&["poetry", "install", "-P", "/p"], "/p"),
            (&["uv", "run", "--", "x", "--project", "a"], "/start"),
            (&["uv", "sync", "--projects", "a"], "/start"),
            (&["uv", "sync", "--project"], "/start"),
            (&["pip", "install", "--project", "a"], "/start"),
            (&["pixi", "install", "--manifest-path", "a/pixi.toml"], "/cwd/a/pixi.toml"),
            (&["uv"], "/start"),
            (&[], "/start"),
        ] {
            assert_eq!(of(command), Path::new(expected), "{command:?}");
        }
    }
}
