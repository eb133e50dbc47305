//! The test bench: a virtual environment with mypy, a small project, and the plain mypy to compare
//! with.
//!
//! The environment is made once, from hash-pinned wheels, under `target/`, unless `REWARM_TEST_VENV`
//! names one with a mypy of some other version. Each bench gets its own by symbolic links, so that it can be changed.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;

use rewarm_check::{CheckError, Report, Request, Reuse, WorkerOptions};
use rewarm_store::Store;

/// Runs a command to its end and insists on success.
pub(crate) fn must(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The shared environment with mypy.
pub(crate) fn venv() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(rewarm_testkit::tools::environment)
}

/// Directory, environment, store and variables of one test.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
    pub(crate) project: PathBuf,
    pub(crate) venv: PathBuf,
    pub(crate) cwd: PathBuf,
    pub(crate) store: Store,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) variables: Vec<(OsString, OsString)>,
    pub(crate) force: bool,
    pub(crate) worker: Option<WorkerOptions>,
    /// What plain mypy said last.
    answer: RefCell<Answer>,
}

/// Standard output, standard error, exit code.
pub(crate) type Answer = (String, String, i32);

impl Bench {
    /// An empty project with an environment.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let base = fs::canonicalize(directory.path()).expect("temporary directory");
        let project = base.join("project");
        fs::create_dir_all(base.join("home")).expect("home");
        fs::create_dir_all(&project).expect("project");
        fs::create_dir_all(project.join(".git")).expect("end of the search for configuration");
        let store = Store::open(&base.join("store")).expect("store");
        let variables = [
            ("HOME", base.join("home").into_os_string()),
            ("PATH", OsString::from("/usr/bin:/bin")),
        ];
        let variables = variables.map(|(name, value)| (OsString::from(name), value)).to_vec();
        let venv = base.join("venv");
        clone_venv(&venv);
        let cwd = project.clone();
        let arguments = vec![".".into()];
        Self {
            directory,
            project,
            venv,
            cwd,
            store,
            arguments,
            variables,
            force: false,
            worker: None,
            answer: RefCell::default(),
        }
    }

    /// A package with a cycle and a third-party import, and one error.
    pub(crate) fn sample() -> Self {
        let bench = Self::new();
        bench.install("third", "1.0", &[("third/__init__.py", "def f(x: int) -> str: ...\n")]);
        bench.write("pkg/__init__.py", "");
        bench.write("pkg/a.py", "from pkg import b\n\ndef one() -> int:\n    return b.two()\n");
        bench.write("pkg/b.py", "from pkg import a\n\ndef two() -> int:\n    return 2\n");
        bench.write("pkg/c.py", "import third\nfrom pkg.a import one\n\nx: int = third.f(one())\n");
        bench.write("pkg/d.py", "y: int = 1\n");
        bench.write("pyproject.toml", "[tool.mypy]\nstrict = true\n");
        bench
    }

    pub(crate) fn base(&self) -> &Path {
        self.venv.parent().expect("the environment lies in the bench")
    }

    /// Writes a file below the project, making directories.
    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.project.join(path), text);
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.project.join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("directory removed");
        } else {
            fs::remove_file(path).expect("file removed");
        }
    }

    pub(crate) fn site(&self) -> PathBuf {
        site(&self.venv)
    }

    /// Installs a typed distribution.
    pub(crate) fn install(&self, name: &str, version: &str, files: &[(&str, &str)]) {
        let site = self.site();
        let info = format!("{name}-{version}.dist-info");
        let mut record = String::new();
        let marker = (format!("{name}/py.typed"), "");
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), *text)).chain([marker]);
        for (path, text) in files {
            write(&site.join(&path), text);
            let digest = rewarm_store::Digest::of(text);
            record.push_str(&format!("{path},sha256={digest},{}\n", text.len()));
        }
        write(&site.join(&info).join("METADATA"), &format!("Name: {name}\nVersion: {version}\n"));
        record.push_str(&format!("{info}/INSTALLER,,\n{info}/RECORD,,\n"));
        write(&site.join(&info).join("RECORD"), &record);
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            project_root: self.project.clone(),
            cwd: self.cwd.clone(),
            arguments: self.arguments.clone(),
            default_target: None,
            python: self.venv.join("bin/python"),
            variables: self.variables.clone(),
            force: self.force,
            extra_inputs: Vec::new(),
            worker: self.worker.clone(),
        }
    }

    /// Checks, without a comparison.
    pub(crate) fn check(&self) -> Report {
        self.try_check().expect("an answer")
    }

    /// Checks, and may fail.
    pub(crate) fn try_check(&self) -> Result<Report, CheckError> {
        rewarm_check::check(&self.store, &self.request(), now(), &|_| {})
    }

    /// The answer of plain mypy on an empty cache.
    pub(crate) fn plain(&self) -> Answer {
        let cache = tempfile::tempdir_in(self.base()).expect("cache");
        let output = Command::new(self.venv.join("bin/mypy"))
            .arg("--cache-dir")
            .arg(cache.path())
            .args(&self.arguments)
            .current_dir(&self.cwd)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("mypy starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("mypy ends by itself");
        (text(&output.stdout), text(&output.stderr), code)
    }

    /// Checks and compares with plain mypy.
    #[track_caller]
    pub(crate) fn checked(&self) -> Report {
        let report = self.check();
        let plain = self.plain();
        assert_eq!(answer(&report), plain, "rewarm's answer, then mypy's");
        self.answer.replace(plain);
        report
    }

    /// The answer is right and was known.
    #[track_caller]
    pub(crate) fn hit(&self, claim: &str) {
        let report = self.checked();
        assert_eq!(report.reuse, Reuse::Replayed, "{claim}");
    }

    /// Nothing changed since mypy was asked last; the answer is still right and was known.
    #[track_caller]
    pub(crate) fn hit_again(&self, claim: &str) {
        let report = self.check();
        assert_eq!(report.reuse, Reuse::Replayed, "{claim}");
        assert_eq!(answer(&report), *self.answer.borrow(), "{claim}");
    }

    /// The answer is right and was not known; it is now.
    #[track_caller]
    pub(crate) fn miss(&self, claim: &str) -> Report {
        let report = self.checked();
        match &report.reuse {
            Reuse::Replayed => panic!("{claim}: replayed"),
            Reuse::Ran { unstored, .. } => assert_eq!(*unstored, None, "{claim}"),
        }
        report
    }

    /// Sets a variable of the child.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.unset(name);
        self.variables.push((name.into(), value.into()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.retain(|(other, _)| other != name);
    }

    /// Moves project and environment to another directory, as a second checkout is.
    pub(crate) fn moved(&mut self, name: &str) {
        let base = self.directory.path().canonicalize().expect("bench").join(name);
        fs::create_dir_all(&base).expect("second place");
        must(Command::new("cp").arg("-r").arg(&self.project).arg(base.join("project")));
        let venv = base.join("venv");
        make_venv(&venv, &self.site());
        (self.project, self.venv) = (base.join("project"), venv);
        self.cwd = self.project.clone();
    }
}

/// How often a test of the long sort goes round: `few` times, or as `REWARM_TORTURE_ROUNDS` says.
pub(crate) fn rounds(few: usize) -> usize {
    #[expect(clippy::disallowed_methods, reason = "a longer run is asked for by variable")]
    let rounds = std::env::var("REWARM_TORTURE_ROUNDS").ok();
    rounds.map_or(few, |text| text.parse().expect("a number of rounds"))
}

/// The time, for a library that has no clock.
#[expect(clippy::disallowed_methods, reason = "a test stands for the binary")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// What a report says, as [`Bench::plain`] gives it.
pub(crate) fn answer(report: &Report) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&report.stdout), text(&report.stderr), report.exit_code)
}

/// Changes the byte in the middle of a file.
pub(crate) fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(path, bytes).expect("a file");
}

/// All files below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut below = vec![directory.to_owned()];
    while let Some(directory) = below.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("entry").path();
            if path.is_dir() { below.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The packs below a directory, by their numbers.
pub(crate) fn packs(directory: &Path) -> Vec<PathBuf> {
    let mut found = files(directory);
    found.retain(|path| path.extension().is_some_and(|end| end == "pack"));
    found.sort_by_key(|path| {
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        number.expect("a number")
    });
    found
}

/// Writes a file as an editor does: a new one in place of the old.
pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file in a directory")).expect("directory");
    let _ = fs::remove_file(path);
    fs::write(path, text).expect("file");
}

fn site(venv: &Path) -> PathBuf {
    let mut lib = fs::read_dir(venv.join("lib")).expect("library directory");
    lib.next().expect("one version").expect("entry").path().join("site-packages")
}

fn clone_venv(target: &Path) {
    make_venv(target, &site(venv()));
}

/// An environment whose packages are links to those in `packages`.
fn make_venv(target: &Path, packages: &Path) {
    let source = venv();
    let version = packages.parent().and_then(Path::file_name).expect("lib/pythonX.Y");
    let lib = target.join("lib").join(version);
    fs::create_dir_all(target.join("bin")).expect("bin");
    fs::create_dir_all(&lib).expect("lib");
    let python = fs::canonicalize(source.join("bin/python")).expect("interpreter");
    std::os::unix::fs::symlink(python, target.join("bin/python")).expect("link");
    fs::copy(source.join("pyvenv.cfg"), target.join("pyvenv.cfg")).expect("pyvenv.cfg");
    fs::create_dir_all(lib.join("site-packages")).expect("site-packages");
    for entry in fs::read_dir(packages).expect("packages") {
        let entry = entry.expect("entry");
        let path = lib.join("site-packages").join(entry.file_name());
        // Hard links would change the times of files that other tests are looking at.
        if packages.starts_with(source) && entry.path().is_dir() {
            std::os::unix::fs::symlink(entry.path(), path).expect("link");
        } else {
            must(Command::new("cp").arg("-a").arg(entry.path()).arg(path));
        }
    }
    let script = format!(
        "#!{}\nimport sys\nfrom mypy.__main__ import console_entry\nsys.exit(console_entry())\n",
        target.join("bin/python").display()
    );
    let path = target.join("bin/mypy");
    write(&path, &script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).expect("mode");
}
