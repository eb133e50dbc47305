//! What the lock files of a project say of the files that a command will ask for.
//!
//! They only help: one that cannot be read says nothing here, and the command itself will tell. Which
//! project it is follows from where the command starts, and from what its own arguments say of that.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rewarm_env::{Lock, LockFormat, Project};
use rewarm_http::Url;
use rewarm_proxy::packages::KnownFiles;

/// How a program is told to work in another directory, and on a project elsewhere.
struct Flags {
    program: &'static str,
    directory: &'static [&'static str],
    project: &'static [&'static str],
}

/// Programs that write lock files which are read here.
const PROGRAMS: [Flags; 2] = [
    Flags { program: "uv", directory: &["--directory"], project: &["--project"] },
    Flags { program: "poetry", directory: &["--directory", "-C"], project: &["--project", "-P"] },
];

/// Where the project of a command is looked for, which would be `start` by itself; what its arguments
/// say is relative to `cwd`.
pub(super) fn place(start: &Path, cwd: &Path, command: &[OsString]) -> PathBuf {
    let [program, arguments @ ..] = command else { return start.to_owned() };
    let name = Path::new(program).file_name().unwrap_or_default();
    let Some(flags) = PROGRAMS.iter().find(|flags| name == flags.program) else {
        return start.to_owned();
    };
    let directory = value(arguments, flags.directory).map(|dir| cwd.join(dir));
    match value(arguments, flags.project) {
        Some(project) => directory.as_deref().unwrap_or(cwd).join(project),
        None => directory.unwrap_or_else(|| start.to_owned()),
    }
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

/// The files that are pinned, with URL and digest, by the lock files of the project around a
/// directory.
pub(super) fn pinned(start: &Path) -> KnownFiles {
    let known = KnownFiles::default();
    let Some(project) = Project::find(start) else { return known };
    let names_files = |format| matches!(format, LockFormat::Pylock | LockFormat::Uv);
    let locks = project.lock.iter().chain(&project.other_locks);
    for lock in locks.filter(|lock| names_files(lock.format)).filter_map(|it| Lock::read(it).ok()) {
        for (url, digest) in lock.pinned_files() {
            if let Ok(url) = Url::parse(url.as_str()) {
                known.note(&url, digest);
            }
        }
    }
    known
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
            (&["uv"], "/start"),
            (&[], "/start"),
        ] {
            assert_eq!(of(command), Path::new(expected), "{command:?}");
        }
    }
}
