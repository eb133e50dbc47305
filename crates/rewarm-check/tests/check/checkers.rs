//! The other checkers: every input of a whole run, changed one by one, is a miss; everything else is
//! a hit; and the answer is what the checker says itself.

use std::process::Command;

use rewarm_check::{CheckError, Checker, Program, Report, Reuse};

use crate::support::{Bench, now, write};

/// A bench and a checker to use on it.
struct Desk {
    bench: Bench,
    program: Program,
}

/// Each step changes one thing; the answer before it is known.
type Step = (&'static str, fn(&mut Bench));

impl Desk {
    /// The sample project, with everything that the checkers could want.
    fn new(checker: Checker) -> Self {
        let mut bench = Bench::sample();
        bench.write("pyproject.toml", "[project]\nname = 'p'\nversion = '1'\n");
        bench.arguments.clear();
        let venv = bench.venv.clone();
        bench.set("VIRTUAL_ENV", venv.clone());
        let path = format!("{}:/usr/bin:/bin", venv.join("bin").display());
        bench.set("PATH", path);
        let home = rewarm_testkit::tools::checker(checker.name());
        let executable = home.join("bin").join(checker.name());
        Self { bench, program: Program { checker, executable, home: Some(home) } }
    }

    fn check(&self) -> Result<Report, CheckError> {
        let request = self.bench.request();
        rewarm_check::check_with(&self.bench.store, &self.program, &request, now(), &|_| {})
    }

    /// The answer of the checker itself, with all variables.
    fn plain(&self) -> (String, String, i32) {
        let subcommand = (self.program.checker != Checker::Pyright).then_some("check");
        let output = Command::new(&self.program.executable)
            .args(subcommand)
            .args(&self.bench.arguments)
            .current_dir(&self.bench.cwd)
            .env_clear()
            .envs(self.bench.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the checker starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("the checker ends by itself");
        (text(&output.stdout), text(&output.stderr), code)
    }

    /// Checks, and compares with the checker itself.
    #[track_caller]
    fn checked(&self, claim: &str) -> Report {
        let report = self.check().expect("an answer");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let answer = (text(&report.stdout), text(&report.stderr), report.exit_code);
        let is_slow = self.program.checker == Checker::Pyright;
        if is_slow && matches!(report.reuse, Reuse::Ran { .. }) && claim != "nothing is known" {
            // It takes seconds to start; what it says is compared on the first run and on replays.
            return report;
        }
        assert_eq!(answer, self.plain(), "{claim}: rewarm's answer, then the checker's");
        report
    }

    #[track_caller]
    fn miss(&self, claim: &str) -> Report {
        let report = self.checked(claim);
        match &report.reuse {
            Reuse::Replayed => panic!("{claim}: replayed"),
            Reuse::Ran { unstored, .. } => assert_eq!(*unstored, None, "{claim}"),
        }
        report
    }

    #[track_caller]
    fn hit(&self, claim: &str) {
        let report = self.checked(claim);
        let name = self.program.checker.name();
        assert_eq!(report.reuse, Reuse::Replayed, "{name}: {claim}");
    }

    fn each_is_a_miss(&mut self, steps: &[Step]) {
        self.miss("nothing is known");
        for (claim, change) in steps {
            change(&mut self.bench);
            let report = self.miss(claim);
            // Runs with other arguments, or from elsewhere, are not compared.
            let is_comparable = !matches!(*claim, "an argument" | "the working directory");
            assert_eq!(report.differs.is_empty(), !is_comparable, "{claim}: {report:?}");
            let again = self.check().expect("an answer");
            assert_eq!(again.reuse, Reuse::Replayed, "{claim}");
            assert_eq!(again.stdout, report.stdout, "{claim}");
        }
    }

    fn each_is_a_hit(&mut self, steps: &[Step]) {
        self.miss("nothing is known");
        for (claim, change) in steps {
            change(&mut self.bench);
            self.hit(claim);
        }
    }
}

/// What is an input of every checker.
const INPUTS: &[Step] = &[
    ("a source is edited", |b| b.write("pkg/d.py", "y: int = ''\n")),
    ("a source of equal size is edited", |b| b.write("pkg/d.py", "y: int = 11\n")),
    ("a module is added", |b| b.write("pkg/e.py", "from pkg.d import y\ny + ''\n")),
    ("a module is removed", |b| b.remove("pkg/d.py")),
    ("a stub appears beside a module", |b| b.write("pkg/a.pyi", "def one() -> str: ...\n")),
    ("a directory becomes a namespace package", |b| b.write("space/m/.keep", "")),
    ("a marker is added", |b| b.write("pkg/py.typed", "")),
    ("a module in a hidden directory", |b| b.write(".hidden/x.py", "x: int = ''\n")),
    ("a notebook", |b| b.write("n.ipynb", NOTEBOOK)),
    ("an ignore file", |b| b.write(".gitignore", "space/\n")),
    ("an ignore file of the repository alone", |b| b.write(".git/info/exclude", "n.ipynb\n")),
    ("git's configuration", |b| {
        write(&b.base().join("ignored"), "x.py\n");
        write(&b.base().join("home/.gitconfig"), "[core]\nexcludesFile = ~/../ignored\n");
    }),
    ("an ignore file that git's configuration names", |b| {
        write(&b.base().join("ignored"), "e.py\n");
    }),
    ("a configuration above the project", |b| {
        write(&b.base().join("mypy.ini"), "[mypy]\nstrict = True\n");
    }),
    ("an argument", |b| b.arguments.push("pkg".into())),
    ("a module in a namespace package", |b| b.write("space/pkg/z.py", "x: int = ''\n")),
    ("the working directory", |b| b.cwd = b.project.join("space")),
    ("a distribution is added", |b| b.install("more", "1", &[("more/__init__.py", "")])),
    ("a third-party file is edited behind the installer's back", |b| {
        write(&b.site().join("third/__init__.py"), "def f(x: int) -> int: ...\n");
    }),
    ("a stub package appears", |b| {
        write(&b.site().join("third-stubs/__init__.pyi"), "def f(x: None) -> int: ...\n");
    }),
    ("a path file", |b| write(&b.site().join("e.pth"), "/nowhere\n")),
    ("where a distribution came from", |b| {
        write(&b.site().join("third-1.0.dist-info/direct_url.json"), "{\"url\": \"x\"}");
    }),
    ("the environment's configuration", |b| {
        let path = b.venv.join("pyvenv.cfg");
        let text = std::fs::read_to_string(&path).expect("pyvenv.cfg");
        write(&path, &format!("{text}prompt = other\n"));
    }),
    ("a variable of the interpreter", |b| b.set("PYTHONPATH", "/nowhere")),
    ("a variable of the terminal", |b| b.set("COLUMNS", "60")),
    ("another interpreter on PATH", |b| b.set("PATH", "/usr/bin:/bin")),
    ("a link that leads nowhere", |b| {
        std::os::unix::fs::symlink("nothing.py", b.project.join("pkg/gone.py")).expect("link");
    }),
    ("a link that leads back", |b| {
        std::os::unix::fs::symlink("..", b.project.join("pkg/back")).expect("link");
    }),
];

const NOTEBOOK: &str = r#"{"cells":[{"cell_type":"code","source":["x: int = ''"],"metadata":{},
"outputs":[],"execution_count":null,"id":"a"}],"metadata":{"language_info":{"name":"python"}},
"nbformat":4,"nbformat_minor":5}"#;

/// What is no input of any checker.
const NO_INPUTS: &[Step] = &[
    ("a source is touched", |b| {
        let file = std::fs::File::options().append(true).open(b.project.join("pkg/d.py"));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.and_then(|file| file.set_modified(time)).expect("touched");
    }),
    ("a source is written anew", |b| b.write("pkg/d.py", "y: int = 1\n")),
    ("an unrelated file", |b| b.write("README.md", "text\n")),
    ("another tool's cache", |b| b.write(".mypy_cache/x.py", "x: int = ''\n")),
    ("an unrelated variable", |b| b.set("UNRELATED", "1")),
    ("another directory of temporary files", |b| b.set("TMPDIR", "/var/tmp")),
    ("order of variables", |b| b.variables.reverse()),
    ("bytecode", |b| write(&b.project.join("pkg/__pycache__/d.pyc"), "")),
    ("an installer's note", |b| write(&b.site().join("third-1.0.dist-info/INSTALLER"), "x\n")),
];

fn own_configuration(checker: Checker) -> &'static [Step] {
    match checker {
        Checker::Ty => &[
            ("ty.toml", |b| b.write("ty.toml", "[rules]\ninvalid-assignment = 'warn'\n")),
            ("a search path outside", |b| {
                write(&b.base().join("extra/nothing/__init__.py"), "");
                b.write("ty.toml", "[environment]\nextra-paths = ['../extra']\n");
                b.write("pkg/f.py", "import nothing.at_all\n");
            }),
            ("a module on it", |b| write(&b.base().join("extra/nothing/at_all.py"), "")),
            ("the user's", |b| {
                let path = b.base().join("home/.config/ty/ty.toml");
                write(&path, "[rules]\nunresolved-import = 'ignore'\n");
            }),
            ("a variable", |b| b.set("TY_OUTPUT_FORMAT", "concise")),
            ("a configuration that a variable names", |b| {
                write(&b.base().join("named.toml"), "[rules]\ninvalid-assignment = 'warn'\n");
                let path = b.base().join("named.toml");
                b.set("TY_CONFIG_FILE", path);
            }),
            ("the named one, edited", |b| {
                write(&b.base().join("named.toml"), "[rules]\ninvalid-assignment = 'ignore'\n");
            }),
        ],
        Checker::Zuban => &[
            ("mypy.ini", |b| b.write("mypy.ini", "[mypy]\nshow_column_numbers = True\n")),
            ("a search path outside", |b| {
                write(&b.base().join("extra/nothing/__init__.py"), "");
                b.write("mypy.ini", "[mypy]\nmypy_path = $MYPY_CONFIG_FILE_DIR/../extra\n");
                b.write("pkg/f.py", "import nothing.at_all\n");
            }),
            ("a module on it", |b| write(&b.base().join("extra/nothing/at_all.py"), "")),
            ("setup.cfg, though unused", |b| b.write("setup.cfg", "[mypy]\nstrict = True\n")),
        ],
        Checker::Pyrefly => &[
            ("pyrefly.toml", |b| b.write("pyrefly.toml", "python-version = '3.12'\n")),
            ("a search path outside", |b| {
                write(&b.base().join("extra/nothing/__init__.py"), "");
                b.write("pyrefly.toml", "search-path = ['../extra']\n");
                b.write("pkg/f.py", "import nothing.at_all\n");
            }),
            ("a module on it", |b| write(&b.base().join("extra/nothing/at_all.py"), "")),
        ],
        Checker::Pyright => &[
            ("pyrightconfig.json", |b| {
                b.write("pyrightconfig.json", "{\"reportAssignmentType\": \"warning\"}");
            }),
            ("a search path outside", |b| {
                write(&b.base().join("extra/nothing/__init__.py"), "");
                b.write("pyrightconfig.json", "{\"extraPaths\": [\"../extra\"]}");
                b.write("pkg/f.py", "import nothing.at_all\n");
            }),
            ("a module on it", |b| write(&b.base().join("extra/nothing/at_all.py"), "")),
        ],
    }
}

fn all_claims(checker: Checker) {
    Desk::new(checker).each_is_a_miss(INPUTS);
    Desk::new(checker).each_is_a_miss(own_configuration(checker));
    Desk::new(checker).each_is_a_hit(NO_INPUTS);
}

#[test]
fn inputs_of_ty_are_known() {
    all_claims(Checker::Ty);
}

#[test]
fn inputs_of_zuban_are_known() {
    all_claims(Checker::Zuban);
}

#[test]
fn inputs_of_pyrefly_are_known() {
    all_claims(Checker::Pyrefly);
}

#[test]
fn inputs_of_pyright_are_known() {
    all_claims(Checker::Pyright);
}

/// Another checkout is a hit, and an installation of the same files elsewhere is no difference.
#[test]
fn moved_checkout_is_a_hit() {
    for checker in [Checker::Ty, Checker::Zuban] {
        let mut desk = Desk::new(checker);
        desk.miss("nothing is known");
        desk.bench.moved("elsewhere");
        let venv = desk.bench.venv.clone();
        desk.bench.set("VIRTUAL_ENV", venv.clone());
        let path = format!("{}:/usr/bin:/bin", venv.join("bin").display());
        desk.bench.set("PATH", path);
        desk.hit("only the directory differs");
    }
}

#[test]
fn runs_that_depend_on_more_than_the_project_are_not_kept() {
    let steps: &[Step] = &[
        ("ty.toml`, above the project", |b| write(&b.base().join("ty.toml"), "")),
        ("is named as an input", |b| b.write("ty.toml", "[environment]\nroot = ['..']\n")),
        ("does more than give an answer", |b| b.arguments.push("--add-ignore".into())),
    ];
    for (reason, change) in steps {
        let mut desk = Desk::new(Checker::Ty);
        desk.bench.write("pkg/c.py", "");
        change(&mut desk.bench);
        for _ in 0..2 {
            let report = desk.check().expect("an answer");
            let Reuse::Ran { unstored: Some(told), .. } = report.reuse else {
                panic!("{reason}: {:?}", report.reuse);
            };
            assert!(told.contains(reason), "{told}");
        }
    }
}

#[test]
fn a_file_that_changes_while_the_checker_runs_is_noticed() {
    let desk = Desk::new(Checker::Ty);
    let request = desk.bench.request();
    let file = desk.bench.project.join("pkg/d.py");
    let edit = move |event| {
        if matches!(event, rewarm_check::Event::Started { .. }) {
            write(&file, "y: int = ''\n");
        }
    };
    let store = &desk.bench.store;
    let report = rewarm_check::check_with(store, &desk.program, &request, now(), &|_| {});
    assert_eq!(report.expect("an answer").exit_code, 1);
    desk.bench.write("pkg/d.py", "y: int = 2\n");
    let edited = rewarm_check::check_with(store, &desk.program, &request, now(), &edit);
    let Reuse::Ran { unstored: Some(told), .. } = edited.expect("an answer").reuse else {
        panic!("it has to run, and is not kept");
    };
    assert!(told.contains("changed while ty ran"), "{told}");
}
