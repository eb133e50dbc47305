//! Every input of the key, changed one by one, is a miss; everything else is a hit.

use crate::support::{Bench, write};

/// Each step changes one thing; the answer before it is known.
type Step = (&'static str, fn(&mut Bench));

fn each_is_a_miss(bench: &mut Bench, steps: &[Step]) {
    bench.miss("nothing is known");
    for (claim, change) in steps {
        change(bench);
        bench.miss(claim);
        bench.hit_again(claim);
    }
}

fn each_is_a_hit(bench: &mut Bench, steps: &[Step]) {
    bench.miss("nothing is known");
    for (claim, change) in steps {
        change(bench);
        bench.hit(claim);
    }
}

#[test]
fn change_of_a_source_is_a_miss() {
    each_is_a_miss(
        &mut Bench::sample(),
        &[
            ("a source is edited", |b| b.write("pkg/d.py", "y: int = ''\n")),
            ("a source of equal size is edited", |b| b.write("pkg/d.py", "y: int = 11\n")),
            ("a module is added", |b| b.write("pkg/e.py", "from pkg.d import y\ny + ''\n")),
            ("a module is removed", |b| b.remove("pkg/d.py")),
            ("a stub appears beside a module", |b| {
                b.write("pkg/a.pyi", "def one() -> str: ...\n");
            }),
            ("an import finds a module", |b| b.write("pkg/d.pyi", "y: str\n")),
            ("a directory becomes a namespace package", |b| b.write("space/m/.keep", "")),
            ("a marker is added", |b| b.write("pkg/py.typed", "")),
            ("another environment with a module in it", |b| {
                b.write("venv2/pyvenv.cfg", "");
                b.write("venv2/bin/tool.py", "x: int = ''\n");
            }),
            ("a module becomes a package", |b| {
                b.remove("pkg/e.py");
                b.write("pkg/e/__init__.py", "z: int = ''\n");
            }),
        ],
    );
}

#[test]
fn generated_stub_is_an_input_wherever_it_appears() {
    let mut bench = Bench::sample();
    bench.write("pyproject.toml", "[tool.mypy]\nstrict = true\nmypy_path = 'typings'\n");
    each_is_a_miss(
        &mut bench,
        &[
            ("beside a module", |b| b.write("pkg/b.pyi", "def two() -> int: ...\n")),
            ("for an installed package", |b| {
                b.write("typings/third/__init__.pyi", "def f(x: int) -> int: ...\n");
            }),
            ("again, of the same size", |b| {
                b.write("typings/third/__init__.pyi", "def f(x: str) -> int: ...\n");
            }),
            ("gone", |b| b.remove("typings/third")),
        ],
    );
}

#[test]
fn marker_that_names_a_version_of_python_changes_nothing() {
    each_is_a_miss(
        &mut Bench::sample(),
        &[
            ("a dependency with a marker", |b| {
                let project = "[project]\nname = 'x'\nversion = '1'\n\
                    dependencies = [\"third; python_version < '3.8'\"]\n";
                b.write("pyproject.toml", &format!("{project}[tool.mypy]\nstrict = true\n"));
                b.write("pkg/d.py", "import sys\nif sys.version_info < (3, 8):\n    1 + ''\n");
            }),
            ("the setting of that name", |b| {
                b.write("pyproject.toml", "[tool.mypy]\npython_version = '3.13'\n");
                b.write("pkg/d.py", "import sys\nif sys.version_info < (3, 13):\n    1 + ''\n");
            }),
            ("the setting changes", |b| {
                b.write("pyproject.toml", "[tool.mypy]\npython_version = '3.12'\n");
            }),
        ],
    );
}

#[test]
fn patch_of_the_interpreter_is_a_miss() {
    let bench = Bench::sample();
    bench.miss("nothing is known");
    // An interpreter that says it is another patch, as `sitecustomize` lets it.
    let text = "import sys\nsys.version = sys.version.replace('.', '.9', 1)\n";
    write(&bench.site().join("sitecustomize.py"), text);
    // Told apart by the binary or by what lies beside it; an upgrade touches both.
    let configuration = bench.venv.join("pyvenv.cfg");
    let known = std::fs::read_to_string(&configuration).expect("pyvenv.cfg");
    write(&configuration, &format!("{known}note = upgraded\n"));
    let report = bench.miss("another patch");
    assert!(report.differs.iter().any(|name| name == "interpreter"), "{:?}", report.differs);
}

#[test]
fn path_file_that_prints_does_not_hide_the_interpreter() {
    let bench = Bench::sample();
    write(&bench.site().join("noisy.pth"), "import sys; print('hello'); sys.stdout.flush()\n");
    bench.miss("a path file that prints");
    bench.hit_again("a path file that prints");
}

#[test]
fn change_of_configuration_is_a_miss() {
    each_is_a_miss(
        &mut Bench::sample(),
        &[
            ("pyproject.toml", |b| b.write("pyproject.toml", "[tool.mypy]\npretty = true\n")),
            ("setup.cfg, though unused", |b| b.write("setup.cfg", "[mypy]\nstrict = True\n")),
            (".mypy.ini", |b| b.write(".mypy.ini", "[mypy]\nshow_column_numbers = True\n")),
            ("mypy.ini", |b| b.write("mypy.ini", "[mypy]\ndisallow_untyped_defs = True\n")),
            ("none", |b| {
                for name in ["mypy.ini", ".mypy.ini", "setup.cfg", "pyproject.toml"] {
                    b.remove(name);
                }
            }),
            ("the user's own", |b| {
                write(&b.base().join("home/.mypy.ini"), "[mypy]\npretty = True\n");
            }),
            ("the user's, by XDG", |b| {
                write(&b.base().join("xdg/mypy/config"), "[mypy]\nshow_error_end = True\n");
                let xdg = b.base().join("xdg");
                b.set("XDG_CONFIG_HOME", xdg);
            }),
            ("one that is named", |b| {
                b.write("conf/my.ini", "[mypy]\nhide_error_codes = True\n");
                b.arguments.splice(0..0, ["--config-file".into(), "conf/my.ini".into()]);
            }),
            ("the named one, edited", |b| {
                b.write("conf/my.ini", "[mypy]\nfiles = ${WHICH}/c.py\n");
                b.set("WHICH", "pkg");
                b.arguments.truncate(2);
            }),
            ("a variable that it refers to", |b| {
                b.write("other/c.py", "x: int = ''\n");
                b.miss("a module is added");
                b.set("WHICH", "other");
            }),
        ],
    );
}

#[test]
fn change_of_the_request_is_a_miss() {
    each_is_a_miss(
        &mut Bench::sample(),
        &[
            ("an argument", |b| b.arguments.push("--show-column-numbers".into())),
            ("order of arguments", |b| b.arguments.reverse()),
            ("MYPYPATH", |b| b.set("MYPYPATH", b.project.join("stubs"))),
            ("a forced colour", |b| {
                b.set("TERM", "xterm");
                b.set("FORCE_COLOR", "1");
            }),
            ("a file that is ignored", |b| {
                b.arguments.push("--exclude-gitignore".into());
                b.write("sub/x.py", "x: int = ''\n");
                b.miss("ignore files count from now on");
                b.write("sub/.gitignore", "x.py\n");
            }),
            ("the width", |b| {
                b.arguments.push("--pretty".into());
                b.set("COLUMNS", "60");
            }),
            ("the working directory", |b| {
                b.arguments = vec!["c.py".into()];
                b.cwd = b.project.join("pkg");
            }),
        ],
    );
}

#[test]
fn change_of_the_environment_is_a_miss() {
    each_is_a_miss(
        &mut Bench::sample(),
        &[
            ("a distribution is added", |b| b.install("more", "1", &[("more/__init__.py", "")])),
            ("a distribution is upgraded", |b| {
                std::fs::remove_dir_all(b.site().join("third-1.0.dist-info")).expect("removed");
                b.install("third", "1.1", &[("third/__init__.py", "def f(x: str) -> int: ...\n")]);
            }),
            ("a third-party file is edited behind the installer's back", |b| {
                write(&b.site().join("third/__init__.py"), "def f(x: int) -> int: ...\n");
            }),
            ("a third-party module is shadowed", |b| {
                write(&b.site().join("third/__init__.pyi"), "def f(x: bytes) -> int: ...\n");
            }),
            ("a stub package appears", |b| {
                write(&b.site().join("third-stubs/__init__.pyi"), "def f(x: None) -> int: ...\n");
            }),
            ("a distribution is removed", |b| {
                for name in ["third", "third-stubs", "third-1.1.dist-info"] {
                    std::fs::remove_dir_all(b.site().join(name)).expect("removed");
                }
            }),
            ("a path file leads to a module", |b| {
                write(&b.base().join("editable/third/__init__.py"), "def f(x: int) -> int: ...\n");
                write(&b.base().join("editable/third/py.typed"), "");
                let target = b.base().join("editable");
                write(&b.site().join("e.pth"), &format!("{}\n", target.display()));
            }),
            ("the module it leads to is edited", |b| {
                write(&b.base().join("editable/third/__init__.py"), "def f(x: str) -> int: ...\n");
            }),
        ],
    );
}

#[test]
fn change_of_a_plugin_is_a_miss() {
    let mut bench = Bench::sample();
    bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['tools/plugin.py']\n");
    bench.write("tools/plugin.py", PLUGIN);
    bench.write("tools/helper.py", "NAME = 'builtins.int'\n");
    bench.write("tools/table.json", "{}");
    each_is_a_miss(
        &mut bench,
        &[
            ("a module that a plugin imports", |b| {
                b.write("tools/helper.py", "NAME = 'builtins.str'\n");
            }),
            ("a file that a plugin reads", |b| b.write("tools/table.json", r#"{"on": true}"#)),
            ("a variable that a plugin reads", |b| b.set("PLUGIN_NAME", "builtins.bytes")),
            ("the plugin itself", |b| {
                b.write("tools/plugin.py", &PLUGIN.replace("third.f", "pkg.a.one"));
            }),
        ],
    );
}

/// Gives `third.f` another result, from what it imports, reads and asks for.
const PLUGIN: &str = r#"
import json
import os
import sys
from mypy.plugin import Plugin
sys.path.insert(0, os.path.dirname(__file__))
import helper

class P(Plugin):
    def get_function_hook(self, fullname):
        with open(os.path.join(os.path.dirname(__file__), "table.json")) as file:
            table = json.load(file)
        if fullname == "third.f":
            name = os.environ.get("PLUGIN_NAME") or ("builtins.object" if table else helper.NAME)
            return lambda context: context.api.named_generic_type(name, [])
        return None

def plugin(version):
    return P
"#;

#[test]
fn change_of_anything_else_is_a_hit() {
    each_is_a_hit(
        &mut Bench::sample(),
        &[
            ("a source is touched", |b| {
                let file = std::fs::File::options().append(true).open(b.project.join("pkg/d.py"));
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
                file.and_then(|file| file.set_modified(time)).expect("touched");
            }),
            ("a source is written anew", |b| b.write("pkg/d.py", "y: int = 1\n")),
            ("an unrelated file", |b| b.write("README.md", "text\n")),
            ("a hidden directory", |b| b.write(".hidden/x.py", "x: int = ''\n")),
            ("an unrelated variable", |b| b.set("UNRELATED", "1")),
            ("order of variables", |b| b.variables.reverse()),
            ("an installer's note", |b| {
                write(&b.site().join("third-1.0.dist-info/direct_url.json"), "{}");
            }),
            ("bytecode", |b| write(&b.project.join("pkg/__pycache__/d.pyc"), "")),
            ("another checkout", |b| b.moved("elsewhere")),
        ],
    );
}
