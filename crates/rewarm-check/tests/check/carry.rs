//! Edits that move code and change none of it carry the old result over, and only those do.

use rewarm_check::Reuse;

use crate::support::Bench;

/// One module in the middle of a cycle, with messages on many lines.
const MODULE: &str = "\
\"\"\"What this is.\"\"\"
import pkg.b as b
import nowhere
import yaml  # type: ignore

def use(x: int,
        y: str) -> int:
    return (b.value +
            y)

text: int = f\"\"\"{1 +
    ''}
# not a comment\"\"\"
unused = 1  # type: ignore
reveal_type(b)
";

fn cycle() -> Bench {
    let mut bench = Bench::new();
    bench.write("pkg/__init__.py", "");
    bench.write("pkg/a.py", MODULE);
    bench.write("pkg/b.py", "import pkg.a as a\n\nvalue: int = a.use('', 1)\n");
    bench.write("pkg/c.py", "import pkg.a\n\nx: str = pkg.a.unused\n");
    bench.arguments.push("--warn-unused-ignores".into());
    bench
}

/// The answer is right after `pkg/a.py` became this text, and as many modules were checked.
#[track_caller]
fn edited(bench: &Bench, text: &str, rechecked: impl Fn(usize) -> bool) {
    bench.write("pkg/a.py", text);
    let report = bench.checked();
    let Reuse::Ran { modules_rechecked: Some(count), .. } = report.reuse else {
        panic!("{:?} after\n{text}", report.reuse);
    };
    assert!(rechecked(count), "{count} modules checked after\n{text}");
}

#[test]
fn comments_and_blank_lines_cost_no_check() {
    let bench = cycle();
    bench.miss("nothing is known");
    let mut text = format!("# a comment\n\n{MODULE}# the end\n");
    edited(&bench, &text, |count| count == 0);
    for (old, new) in [
        ("        y: str", "# between arguments\n\n        y: str"),
        ("unused = 1", "\n\n    # indented otherwise\nunused = 1"),
        ("            y)", "            # in an expression\n            y)  # behind one"),
        ("import nowhere\n", "import nowhere  # noqa\n#type\n"),
        ("# a comment\n\n", ""),
    ] {
        text = text.replace(old, new);
        edited(&bench, &text, |count| count == 0);
    }
    bench.write("pkg/c.py", "import pkg.a\n\nx: str = pkg.a.text\n");
    bench.miss("another module was edited after all that");
    edited(&bench, MODULE, |count| count == 0);
}

#[test]
fn comments_with_a_meaning_are_checked() {
    let bench = cycle();
    bench.miss("nothing is known");
    for text in [
        MODULE.replace("unused = 1  # type: ignore", "unused = 1\n# type: ignore"),
        MODULE.replace("  # type: ignore", ""),
        format!("# type: ignore\n{MODULE}"),
        format!("# mypy: ignore-errors\n{MODULE}"),
        MODULE.replace("unused = 1  # type: ignore", "unused = 1  # type: ignore[misc]"),
        MODULE.replace("unused = 1", "unused = 1 # type: str"),
        MODULE.replace("# not a comment", "# mypy: ignore-errors"),
        MODULE.replace("What this is", "What this was"),
    ] {
        edited(&bench, &text, |count| count > 0);
    }
}

#[test]
fn code_that_moves_within_its_line_is_checked() {
    let mut bench = cycle();
    bench.arguments.push("--show-column-numbers".into());
    bench.miss("nothing is known");
    for text in [
        MODULE.replace("x: int,\n        y", "x: int, y"),
        MODULE.replace("            y)", "          y)"),
        MODULE.replace("unused = 1 ", "unused  = 1 "),
    ] {
        edited(&bench, &text, |count| count > 0);
    }
}

#[test]
fn module_whose_result_names_a_line_is_checked() {
    let bench = cycle();
    for addition in [
        "class Outer:\n    def make(self, x: int) -> None:\n        class Inner: ...\n        self.made = Inner()\n",
        "def local() -> object:\n    class Inner: ...\n    reveal_type(Inner())\n    return 1\n",
        "def twice() -> None: ...\nclass twice: ...\n",
        "import dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int = 1\n",
    ] {
        bench.write("pkg/a.py", &format!("{MODULE}{addition}"));
        bench.miss(addition);
        edited(&bench, &format!("# moved\n{MODULE}{addition}"), |count| count > 0);
    }
}

#[test]
fn plugins_may_read_comments() {
    let bench = cycle();
    bench.write("pyproject.toml", "[tool.mypy]\nplugins = ['plugin.py']\n");
    bench.write(
        "plugin.py",
        "from mypy.plugin import Plugin\ndef plugin(version):\n    return Plugin\n",
    );
    bench.miss("nothing is known");
    edited(&bench, &format!("# moved\n{MODULE}"), |count| count > 0);
}

#[test]
fn context_of_messages_names_lines_of_other_modules() {
    let mut bench = cycle();
    bench.arguments.push("--show-error-context".into());
    bench.miss("nothing is known");
    edited(&bench, &format!("# moved\n\n{MODULE}"), |_| true);
}
