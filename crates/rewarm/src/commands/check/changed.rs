//! `--changed-since REF`: only what changed, and what depends on it.
//!
//! What changed is for git to say: files of the working tree that differ from the commit at which
//! `HEAD` and REF went separate ways, and files that git does not track and is not told to ignore.
//! What depends on them is for the import graph. The checker is then given these files and no
//! others, as if they had been named.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rewarm_check::{Change, How, ImportGraph, Request, Selection};

use crate::args::Check;
use crate::commands::check::failure;
use crate::commands::check::tool::Tool;
use crate::context::{Context, now};
use crate::error::Failure;

/// Puts the files that are to be checked in place of the paths, if only some are. `request` gives
/// what mypy would be asked. Says whether there is anything to check.
pub(super) fn narrow(
    context: &Context<'_>,
    args: &mut Check,
    tools: &[Tool],
    request: impl Fn(&Check) -> Request,
) -> Result<bool, Failure> {
    let Some(reference) = &args.changed_since else { return Ok(true) };
    refuse_others(args, tools)?;
    let changes = changes(&context.settings.start, reference)?;
    let graph = ImportGraph::of(context.store()?, &request(args), now(), &|_| {});
    // What mypy has against the arguments it says when it runs.
    let Some(graph) = graph.map_err(failure)? else { return Ok(true) };
    if args.explain {
        let shape = graph.shape();
        context.ui.explain(&format!(
            "imports: {} between {} files, {} in the largest cycle",
            shape.imports, shape.files, shape.largest_cycle
        ));
    }
    match graph.select(&changes) {
        Selection::All { because } => {
            context.ui.note(&format!("all files are to be checked: {because}"));
            Ok(true)
        }
        Selection::Files { targets, of, .. } if targets.is_empty() => {
            let text = "nothing to check: since `REF` none of FILES changed or depends on a change";
            let files = if of == 1 { "1 file".to_owned() } else { format!("{of} files") };
            context.ui.note(&text.replace("REF", reference).replace("FILES", &files));
            Ok(false)
        }
        Selection::Files { targets, changed, of } => {
            let depends = match targets.len() - changed {
                1 => "1 depends".to_owned(),
                count => format!("{count} depend"),
            };
            let chosen = targets.len();
            context
                .ui
                .note(&format!("{chosen} of {of} files: {changed} changed, {depends} on them"));
            if chosen < of {
                args.paths = targets.iter().map(|path| argument(path)).collect();
            }
            Ok(true)
        }
    }
}

/// A path that is no option, whatever it is called.
pub(super) fn argument(path: &Path) -> OsString {
    let is_option =
        [b'-', b'@'].iter().any(|mark| path.as_os_str().as_bytes().starts_with(&[*mark]));
    if is_option { Path::new(".").join(path).into() } else { path.into() }
}

/// Only mypy says what it would check, and only paths can be narrowed down.
fn refuse_others(args: &Check, tools: &[Tool]) -> Result<(), Failure> {
    if let Some(other) = tools.iter().find(|tool| **tool != Tool::Mypy) {
        let text = format!("`--changed-since` is for mypy, and {} is to check", other.name());
        return Err(Failure::usage(text).hint("name mypy alone: `--tool mypy`"));
    }
    let names = |argument: &&OsString| {
        let text = argument.to_string_lossy();
        ["-m", "-p", "-c"].iter().any(|short| text.starts_with(short))
            || ["--module", "--package", "--command"].iter().any(|long| {
                text.len() > 4 && long.starts_with(text.split('=').next().unwrap_or(""))
            })
    };
    match args.arguments.iter().find(names) {
        None => Ok(()),
        Some(argument) => {
            let argument = argument.to_string_lossy();
            let text = format!("`--changed-since` chooses what to check, and so does `{argument}`");
            Err(Failure::usage(text).hint("name paths instead, before `--`, to choose among them"))
        }
    }
}

/// What git says is different from the commit at which `reference` and `HEAD` parted.
fn changes(directory: &Path, reference: &str) -> Result<Vec<Change>, Failure> {
    let git = |directory: &Path, arguments: &[&str]| git(directory, arguments);
    let found = git(directory, &["rev-parse", "--show-toplevel"])?;
    let Some(top) = line(&found) else {
        let text = format!("`{}` is in no git repository: {}", directory.display(), said(&found));
        return Err(Failure::usage(text).hint("leave out `--changed-since` to check everything"));
    };
    let top = Path::new(top);
    let commit = format!("{reference}^{{commit}}");
    let found = git(top, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit])?;
    let Some(commit) = line(&found).and_then(OsStr::to_str) else {
        let text = format!("git knows no commit `{reference}`");
        return Err(Failure::usage(text).hint(missing(top, "fetch it, or name another one")?));
    };
    let found = git(top, &["merge-base", commit, "HEAD"])?;
    let Some(base) = line(&found).and_then(OsStr::to_str) else {
        let text = format!("`{reference}` and `HEAD` have no commit in common");
        return Err(Failure::usage(text).hint(missing(top, "name a commit of this history")?));
    };
    let options = ["--name-status", "-z", "--no-renames", "--no-relative", "--no-ext-diff"];
    let more = ["--no-textconv", "--ignore-submodules=none", base, "--"];
    let arguments = [&["diff"], &options[..], &more].concat();
    let tracked = succeed(git(top, &arguments)?, "diff")?;
    let others = ["ls-files", "-z", "--others", "--exclude-standard", "--full-name"];
    let untracked = succeed(git(top, &others)?, "ls-files")?;
    Ok(parse(top, &tracked.stdout, &untracked.stdout))
}

/// What to do about a commit that is not here.
fn missing(top: &Path, otherwise: &str) -> Result<String, Failure> {
    let found = git(top, &["rev-parse", "--is-shallow-repository"])?;
    Ok(match line(&found) {
        Some(answer) if answer == "true" => "this clone is shallow: `git fetch --unshallow`".into(),
        _ => otherwise.to_owned(),
    })
}

/// Reads `diff --name-status -z` and `ls-files -z`.
fn parse(top: &Path, tracked: &[u8], untracked: &[u8]) -> Vec<Change> {
    let path =
        |bytes: &[u8]| -> PathBuf { top.join(OsStr::from_bytes(bytes)).components().collect() };
    let fields = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
        let fields = bytes.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        fields.map(<[u8]>::to_vec).collect()
    };
    let mut changes = Vec::new();
    for [status, name] in fields(tracked).as_chunks::<2>().0 {
        let how = match status.as_slice() {
            b"A" => How::Came,
            b"D" => How::Went,
            _ => How::Edited,
        };
        changes.push(Change { path: path(name), how });
    }
    let came = |name: &Vec<u8>| Change { path: path(name), how: How::Came };
    changes.extend(fields(untracked).iter().map(came));
    changes
}

fn git(directory: &Path, arguments: &[&str]) -> Result<Output, Failure> {
    let mut command = Command::new("git");
    // Looking must not get into the way of whoever works in the repository.
    command.arg("-C").arg(directory).args(arguments).env("GIT_OPTIONAL_LOCKS", "0");
    command.output().map_err(|error| {
        let text = format!("cannot run `git`: {error}");
        Failure::usage(io::Error::new(error.kind(), text))
            .hint("install git, or leave out `--changed-since`")
    })
}

fn succeed(output: Output, what: &str) -> Result<Output, Failure> {
    match output.status.success() {
        true => Ok(output),
        false => {
            let text = format!("`git {what}` failed: {}", said(&output));
            Err(Failure::world(io::Error::other(text)))
        }
    }
}

/// The first line of a command that succeeded.
fn line(output: &Output) -> Option<&OsStr> {
    let line = output.stdout.split(|byte| *byte == b'\n').next().filter(|line| !line.is_empty())?;
    output.status.success().then(|| OsStr::from_bytes(line))
}

/// The first line of what a command had to complain about.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().next().unwrap_or("it says nothing").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_read_as_changes() {
        let tracked = b"M\0a b.py\0D\0gone.py\0A\0new.py\0T\0link.py\0";
        let found = parse(Path::new("/w"), tracked, b"un\ntracked.py\0nested/\0");
        let expected = [
            ("/w/a b.py", How::Edited),
            ("/w/gone.py", How::Went),
            ("/w/new.py", How::Came),
            ("/w/link.py", How::Edited),
            ("/w/un\ntracked.py", How::Came),
            ("/w/nested", How::Came),
        ];
        assert_eq!(found, expected.map(|(path, how)| Change { path: path.into(), how }));
    }
}
