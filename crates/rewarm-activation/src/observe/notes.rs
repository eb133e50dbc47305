//! What a run was seen to do, gathered call by call and summed up at its end.
//!
//! What is looked at is looked at here first, before the process sees it, so that a later change
//! shows. What stands for something else is left out: the loader's and the locale's files of the
//! system for `/etc/ld.so.cache` and the programs that were run, a search on the caller's `PATH`
//! for the command that it found, and files that the run made for itself and removed again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;

use nix::libc;
use rewarm_store::Witness;

use super::names::{self, Names, Scan};
use super::output::Collected;
use super::programs::{self, Kind};
use super::{HostFact, Observation, Run, SeenCommand, SeenFile, Unprovable, Use};

/// Opens a file that has no name; the kernel's number of the flag on these platforms.
const O_TMPFILE: u64 = 0o20_000_000;

/// A shell's script is no longer than this; what is, may read everything.
const LONGEST_SCRIPT: u64 = 4 << 20;

/// All that was seen so far.
pub(super) struct Notes {
    files: HashMap<PathBuf, (Use, Option<Witness>)>,
    /// Whether something was there before it was changed.
    changed: HashMap<PathBuf, bool>,
    /// Files that the run made, and that were not there before.
    made: HashSet<PathBuf>,
    /// Texts that shells were given, beside those in files.
    texts: Vec<Vec<u8>>,
    /// Files that a shell has read.
    read_by_shell: BTreeSet<PathBuf>,
    variables: BTreeSet<OsString>,
    /// Why every variable counts.
    all: Option<String>,
    facts: BTreeSet<HostFact>,
    unprovable: BTreeSet<Unprovable>,
    start: PathBuf,
    own: Vec<PathBuf>,
    path: Vec<PathBuf>,
}

impl Notes {
    pub(super) fn new(run: &Run) -> Self {
        let path = run.environment.get(OsStr::new("PATH"));
        Self {
            files: HashMap::new(),
            changed: HashMap::new(),
            made: HashSet::new(),
            texts: vec![run.text.to_vec()],
            read_by_shell: BTreeSet::new(),
            variables: programs::EVERY_PROGRAM.into_iter().map(OsString::from).collect(),
            all: None,
            facts: BTreeSet::new(),
            unprovable: BTreeSet::new(),
            start: run.cwd.canonicalize().unwrap_or_else(|_| run.cwd.to_owned()),
            own: run.own.iter().map(|path| path.to_path_buf()).collect(),
            path: path.map(|path| programs::search_path(path)).unwrap_or_default(),
        }
    }

    pub(super) fn unprovable(&mut self, why: Unprovable) {
        self.unprovable.insert(why);
    }

    pub(super) fn fact(&mut self, fact: HostFact) {
        self.facts.insert(fact);
    }

    /// A program asked where it is.
    pub(super) fn entered(&mut self, directory: &Path) {
        if directory == self.start {
            self.facts.insert(HostFact::WorkingDirectory);
        }
    }

    /// A relative path was used. A shell looks at `.` when it starts, to prove `PWD`.
    pub(super) fn relative(&mut self, directory: &Path, path: &Path) {
        if path != Path::new(".") {
            self.entered(directory);
        }
    }

    /// A program was started.
    pub(super) fn program(&mut self, program: &Path, kind: Kind, arguments: &[OsString]) {
        if arguments.first().is_some_and(|name| self.is_own_link(Path::new(name), program)) {
            return;
        }
        self.note(program.to_owned(), Use::Executed);
        if let Ok(data) = fs::metadata(program)
            && data.mode() & 0o6000 != 0
        {
            self.unprovable.insert(Unprovable::Privileged { path: program.to_owned() });
        }
        match kind {
            Kind::Shell => self.shell(program, arguments),
            Kind::Tool => match programs::tool_variables(program, arguments) {
                Some(names) => self.variables.extend(names.iter().map(OsString::from)),
                None => self.may_read_all(program),
            },
            Kind::Unknown => self.may_read_all(program),
        }
    }

    fn may_read_all(&mut self, program: &Path) {
        self.all.get_or_insert_with(|| format!("`{}` may read any variable", program.display()));
    }

    fn shell(&mut self, program: &Path, arguments: &[OsString]) {
        if let [_, script] = arguments
            && self.is_own(Path::new(script))
        {
            return;
        }
        let text = arguments.get(1..).unwrap_or_default().join(OsStr::new("\n"));
        let options = |argument: &OsString| match argument.as_bytes() {
            [b'-' | b'+', options @ ..] => options.to_vec(),
            _ => Vec::new(),
        };
        let first = arguments.get(1).map(options);
        let plain = first.as_ref().is_some_and(|first| {
            first.contains(&b'c')
                || (first.iter().all(|option| b"aefuvx".contains(option))
                    && arguments[1..].iter().any(|argument| !argument.as_bytes().starts_with(b"-")))
        });
        if !plain {
            // Its text comes from standard input, or from files that it finds for itself.
            self.may_read_all(program);
        }
        self.texts.push(text.as_bytes().to_vec());
    }

    /// A file is about to be opened. Says whether that ends a program's start.
    pub(super) fn open(&mut self, path: PathBuf, flags: u64, by: Kind) -> bool {
        let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
        if by == Kind::Shell && path == Path::new("/dev/tty") && has(libc::O_NONBLOCK) {
            // What bash does when it starts, to learn whether there is one; redirections wait.
            return false;
        }
        if flags & O_TMPFILE == O_TMPFILE {
            // Without a name, until a link gives it one.
            return true;
        }
        if has(libc::O_WRONLY) || has(libc::O_RDWR) || has(libc::O_CREAT) || has(libc::O_TRUNC) {
            self.change(path);
        } else if has(libc::O_PATH) {
            self.look(path);
        } else if path.is_dir() {
            self.note(path, Use::Listed);
        } else {
            let begins = by == Kind::Shell && !is_of_library(&path);
            if begins {
                self.read_by_shell.insert(clean(&path));
            }
            self.note(path, Use::Read);
            return begins;
        }
        true
    }

    pub(super) fn look(&mut self, path: PathBuf) {
        self.note(path, Use::Looked);
    }

    pub(super) fn execute(&mut self, path: PathBuf) {
        self.note(path, Use::Executed);
    }

    /// Something is about to be made, changed or removed.
    pub(super) fn change(&mut self, path: PathBuf) {
        let path = clean(&path);
        if self.is_own(&path) || self.is_special(&path) {
            return;
        }
        let there = fs::symlink_metadata(&path).is_ok();
        if !there {
            self.made.insert(path.clone());
        }
        self.changed.entry(path).or_insert(there);
    }

    /// A directory is about to be made, or a name removed; what is as wanted is only looked at.
    pub(super) fn make_or_remove(&mut self, path: PathBuf, makes: bool) {
        let there = fs::symlink_metadata(&path).is_ok();
        match makes == there {
            true => self.look(path),
            false => self.change(path),
        }
    }

    fn is_own_link(&self, name: &Path, program: &Path) -> bool {
        self.is_own(name) && name.canonicalize().is_ok_and(|leads_to| leads_to == program)
    }

    fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path.starts_with(own))
    }

    fn note(&mut self, path: PathBuf, how: Use) {
        let path = clean(&path);
        if let Some((known, _)) = self.files.get_mut(&path) {
            *known = how.max(*known);
            return;
        }
        if self.is_own(&path) || is_of_loader(&path) || self.is_special(&path) {
            return;
        }
        if self.made.contains(&path) && !self.files.contains_key(&path) {
            return;
        }
        let data = fs::metadata(&path);
        if let Ok(data) = &data
            && !data.is_file()
            && !data.is_dir()
        {
            let kind = data.file_type();
            let lasting = kind.is_char_device() || kind.is_block_device();
            if how > Use::Looked || lasting {
                self.unprovable.insert(Unprovable::Device { path: path.clone() });
            }
        }
        let witness = data.ok().map(|data| Witness::of_metadata(&data));
        self.files.insert(path, (how, witness));
    }

    /// Whether a path is none of a file system's files; notes what that means.
    fn is_special(&mut self, path: &Path) -> bool {
        let text = path.as_os_str().as_bytes();
        if text.starts_with(b"/dev/") || text == b"/dev" {
            match text {
                b"/dev" | b"/dev/null" | b"/dev/zero" | b"/dev/full" | b"/dev/stdout"
                | b"/dev/stderr" => {}
                b"/dev/urandom" | b"/dev/random" => {
                    let program = path.to_owned();
                    self.unprovable.insert(Unprovable::Random { program });
                }
                _ if text.starts_with(b"/dev/fd") || text == b"/dev/stdin" => {
                    self.all.get_or_insert_with(|| "a script reads text from a pipe".to_owned());
                }
                _ => {
                    self.unprovable.insert(Unprovable::Device { path: path.to_owned() });
                }
            }
            return true;
        }
        if text.starts_with(b"/sys/devices/system/cpu") {
            self.facts.insert(HostFact::Processors);
            return true;
        }
        if text.starts_with(b"/proc") || text.starts_with(b"/sys/") {
            const CONSTANT: [&str; 5] = [
                "/proc/filesystems",
                "/proc/self/exe",
                "/proc/sys/kernel/ngroups_max",
                "/proc/sys/vm/overcommit_memory",
                "/proc/sys/kernel/cap_last_cap",
            ];
            if text.starts_with(b"/proc/self/fd/") {
                self.all.get_or_insert_with(|| "a script reads text from a pipe".to_owned());
            } else if !CONSTANT.iter().any(|known| path == *known) {
                self.unprovable.insert(Unprovable::Kernel { path: path.to_owned() });
            }
            return true;
        }
        false
    }

    /// Sums up, after all processes have ended.
    pub(super) fn finish(
        mut self,
        run: &Run,
        status: ExitStatus,
        collected: Collected,
    ) -> Observation {
        for (path, before) in &self.changed {
            if *before || fs::symlink_metadata(path).is_ok() {
                self.unprovable.insert(Unprovable::Effect { path: path.clone() });
            }
        }
        let variables = self.names(run);
        let commands = self.commands(run);
        let files = std::mem::take(&mut self.files);
        Observation {
            status,
            stdout: collected.stdout,
            stderr: collected.stderr,
            files: files
                .into_iter()
                .map(|(path, (how, witness))| SeenFile { path, how, witness })
                .collect(),
            commands,
            facts: self.facts,
            variables,
            unprovable: self.unprovable,
            complete: true,
        }
    }

    /// The variables that programs and texts may have read.
    fn names(&mut self, run: &Run) -> Names {
        for path in &self.read_by_shell {
            let known = self.files.contains_key(path) || self.is_own(path);
            if known && path != run.script {
                match fs::metadata(path) {
                    Ok(data) if data.len() > LONGEST_SCRIPT => {
                        return Names::All { why: format!("`{}` is very long", path.display()) };
                    }
                    Ok(data) if data.is_file() => {
                        self.texts.push(fs::read(path).unwrap_or_default());
                    }
                    _ => {}
                }
            }
        }
        let text = self.texts.join(&b'\n');
        names::volatile(&text, &mut self.unprovable);
        self.facts.extend(names::facts(&text));
        if let Some(why) = self.all.take() {
            return Names::All { why };
        }
        match Scan::of(&text).names(run.environment) {
            Names::All { why } => Names::All { why },
            Names::Named(mut names) => {
                names.append(&mut self.variables);
                Names::Named(names)
            }
        }
    }

    /// Whether a text names a file of that name in some directory, rather than the command.
    fn is_named_by_path(&self, name: &OsStr) -> bool {
        let path = [b"/", name.as_bytes()].concat();
        self.texts.iter().any(|text| text.windows(path.len()).any(|part| part == path))
    }

    /// Takes searches along the caller's `PATH` out of the files.
    ///
    /// A search looks for one name in each directory in turn, up to the first where it is. Only
    /// what was looked at in that way, and without a gap, is one.
    fn commands(&mut self, run: &Run) -> Vec<SeenCommand> {
        let search = run.environment.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let all_absolute = search.as_bytes().split(|byte| *byte == b':').count() == self.path.len();
        let Some(first) = self.path.first().filter(|_| all_absolute) else { return Vec::new() };
        let started: BTreeSet<OsString> = self
            .files
            .keys()
            .filter(|path| path.parent() == Some(first))
            .filter_map(|path| path.file_name().map(OsStr::to_owned))
            .collect();
        let mut commands = Vec::new();
        for name in started {
            let path = programs::find(&name, &self.path);
            if self.is_named_by_path(&name)
                || path.as_ref().is_some_and(|path| !self.files.contains_key(path))
            {
                continue;
            }
            let end = path.as_ref().and_then(|path| path.parent().map(Path::to_owned));
            let mut passed: Vec<PathBuf> = Vec::new();
            for dir in &self.path {
                if Some(dir) == end.as_ref() {
                    break;
                }
                passed.push(dir.join(&name));
            }
            if passed.iter().all(|path| self.files.get(path).is_some_and(|(_, was)| was.is_none()))
            {
                for path in passed {
                    self.files.remove(&path);
                }
                commands.push(SeenCommand { name, path });
            }
        }
        commands
    }
}

/// Without repeated slashes and single dots.
fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Whether a file is one that the C library opens in a shell, which is no text that runs.
fn is_of_library(path: &Path) -> bool {
    const FILES: [&str; 7] = [
        "/etc/group",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/usr/lib/locale/locale-archive",
        "/usr/share/locale/locale.alias",
    ];
    is_of_loader(path) || FILES.iter().any(|known| path == Path::new(known))
}

/// Whether a file is one of those that the loader and the C library of the system find for
/// themselves: shared libraries and locales, in directories of the system, that only the
/// administrator can change. Installing others changes `/etc/ld.so.cache`.
fn is_of_loader(path: &Path) -> bool {
    const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/libexec"];
    const DATA: [&str; 4] = [
        "/usr/lib/locale",
        "/usr/share/locale",
        "/usr/share/locale-langpack",
        "/usr/share/zoneinfo",
    ];
    let archive = Path::new("/usr/lib/locale/locale-archive");
    if path == archive {
        return false;
    }
    let name = path.file_name().unwrap_or_default().as_bytes();
    let library = name.ends_with(b".so")
        || name.windows(4).any(|part| part == b".so.")
        || path.components().any(|part| part.as_os_str() == "glibc-hwcaps")
        || path.components().any(|part| part.as_os_str() == "gconv");
    let ours = (library && LIBRARIES.iter().any(|dir| path.starts_with(dir)))
        || DATA.iter().any(|dir| path.starts_with(dir));
    ours && (!path.exists() || programs::only_root_writes(path))
}
