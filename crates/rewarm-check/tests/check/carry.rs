//! Edits that move code and change none of it carry the old result over, and only those do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rewarm_check::Reuse;
use rewarm_store::Store;

use crate::support::{Bench, answer, now, packs};

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

/// Symbols and messages in the private directory of a store, by name.
fn kept(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in packs(directory) {
        let bytes = fs::read(path).expect("pack");
        let (rest, begin) = bytes.split_last_chunk().expect("its last field");
        let begin = usize::try_from(u64::from_le_bytes(*begin)).expect("a small pack");
        let index = String::from_utf8_lossy(&rest[begin..]).into_owned();
        let fields: Vec<_> = index.split_terminator('\0').collect();
        let mut contents = bytes.as_slice();
        for [name, length] in fields.as_chunks::<2>().0 {
            let length = length.parse().unwrap_or_default();
            let (content, rest) = contents.split_at(length);
            contents = rest;
            if name.ends_with(".data.ff") || name.ends_with(".meta_ex.ff") {
                found.insert((*name).to_owned(), content.to_owned());
            }
        }
    }
    found
}

/// What is kept after an edit is what a cold run leaves, to the byte.
#[track_caller]
fn is_as_cold(bench: &Bench) {
    let empty = tempfile::tempdir_in(bench.base()).expect("directory");
    let cold = Store::open(empty.path()).expect("store");
    rewarm_check::check(&cold, &bench.request(), now(), &|_| {}).expect("an answer");
    let [carried, cold] = [bench.store.root(), cold.root()].map(kept);
    let differ = cold.iter().filter(|(name, content)| carried.get(*name) != Some(*content));
    let differ: Vec<_> = differ.map(|(name, _)| name).collect();
    assert!(cold.len() > 20 && differ.is_empty(), "{differ:?} of {}", cold.len());
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

/// Classes in functions, some in types of attributes, texts that look like them, and fields.
const NAMES: &str = "\
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypedDict

class Outer:
    def __init__(self) -> None:
        class Inner:
            x = 1
        class Z: ...
        self.made, self.more = Inner(), Z()

def made() -> object:
    A = NamedTuple('A', [('x', int)])
    class Z(TypedDict):
        a: A
    return Z

text: Final = 'M@9'
other: Literal['Inner@22'] = 'Inner@22'

@dataclass
class Data:
    line: int = 1

@dataclass
class More(Data):
    y: str = 'a@1'

def twice() -> None: ...
class twice: ...
";

#[test]
fn names_and_fields_with_a_line_move_with_the_code() {
    let bench = cycle();
    bench.write("pkg/a.py", &format!("{MODULE}{NAMES}"));
    bench.write("pkg/d.py", "import pkg.a\n\nmade = pkg.a.Outer().made\n");
    bench.write("pkg/e.py", "import pkg.d\n\nx: int = pkg.d.made.x\n");
    let fields = "@dataclasses.dataclass\nclass Most(pkg.a.Data):\n    z: int = 1\n";
    bench.write("pkg/f.py", &format!("import dataclasses\nimport pkg.a\n\n{fields}"));
    bench.miss("nothing is known");
    // One of two classes `Z` comes to a line of three digits, which changes their order.
    for lines in [75, 1] {
        edited(&bench, &format!("{}{MODULE}{NAMES}", "# \n".repeat(lines)), |n| n == 0);
        is_as_cold(&bench);
    }
    bench.write("pkg/e.py", "import pkg.d\n\nx: str = pkg.d.made.x\n");
    bench.miss("a module that depends on one that was carried along");
}

/// A class with docstrings, and a message.
const DOCUMENTED: &str = "\
class A:
    '''One
    line.'''
    x: int = ''
    'What x is.'
    def f(self) -> None:
        'Does nothing.'
";

#[test]
fn docstrings_may_differ() {
    let bench = cycle();
    let mut text = format!("{MODULE}{DOCUMENTED}");
    bench.write("pkg/a.py", &text);
    bench.miss("nothing is known");
    for (old, new) in [
        ("What this is.", "What this\nwas.\n"),
        ("One\n    line.", "One line."),
        ("What x is.", ""),
        ("Does nothing", ":type: nothing"),
    ] {
        text = text.replace(old, new);
    }
    edited(&bench, &text, |count| count == 0);
    is_as_cold(&bench);
    for (old, new) in [
        ("'''One line.'''", "b'''One line.'''"),
        ("One line.", "One\\\\line."),
        ("What this\nwas", "What this\n# mypy: ignore-errors\nwas"),
        ("x: int = ''", "x: int = '1'"),
    ] {
        edited(&bench, &text.replace(old, new), |count| count > 0);
    }
}

#[test]
fn message_that_ends_with_a_docstring_is_checked() {
    let bench = cycle();
    let text = format!("{MODULE}def use() -> None:\n    'Again.'\n");
    bench.write("pkg/a.py", &text);
    bench.miss("nothing is known");
    edited(&bench, &text.replace("Again", "And again"), |_| true);
    is_as_cold(&bench);
}

#[test]
fn texts_and_fields_that_may_name_a_line_are_checked() {
    let bench = cycle();
    let name = "class C:\n    def f(self) -> None:\n        class I: ...\n        self.i = I()\n";
    let data = "import dataclasses\n@dataclasses.dataclass\nclass Data:\n    x: int = 1\n";
    // A field of the same name at the same place.
    let same = data.replace("class Data", "class More(pkg.a.Data)");
    let same = format!("{}import pkg.a, {}", "\n".repeat(MODULE.lines().count()), &same[7..]);
    for (addition, other) in [
        (format!("{name}reveal_type(C().i)\n"), String::new()),
        (name.to_owned(), "import pkg.a\nreveal_type(pkg.a.C().i)\n".to_owned()),
        (data.to_owned(), same),
    ] {
        bench.write("pkg/a.py", &format!("{MODULE}{addition}"));
        bench.write("pkg/d.py", &other);
        bench.miss(&addition);
        edited(&bench, &format!("# moved\n{MODULE}{addition}"), |count| count > 0);
    }
}

#[test]
fn package_may_name_a_line_of_its_submodule() {
    let bench = cycle();
    bench.write("pkg/__init__.py", "from pkg.a import use\ndef use() -> None: ...\n");
    bench.miss("nothing is known");
    edited(&bench, &format!("# moved\n{MODULE}"), |_| true);
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
fn context_of_messages_in_their_module_moves_with_it() {
    let mut bench = cycle();
    bench.arguments.push("--show-error-context".into());
    bench.miss("nothing is known");
    edited(&bench, &format!("# moved\n\n{MODULE}"), |count| count == 0);
    is_as_cold(&bench);
    let text = MODULE.replace("return (b.value", "return ('' +\n            b.value");
    edited(&bench, &text, |count| count < 5);
}

#[test]
fn context_of_messages_names_lines_of_other_modules() {
    let mut bench = cycle();
    bench.arguments = vec!["pkg/a.py".into(), "--show-error-context".into()];
    let report = bench.miss("nothing is known");
    assert!(answer(&report).0.contains("pkg/a.py:2: note: In module imported here:"));
    edited(&bench, &format!("# moved\n\n{MODULE}"), |_| true);
    edited(&bench, &MODULE.replace("import pkg.b as b", "import pkg.c\nimport pkg.b as b"), |_| {
        true
    });
    bench.arguments[0] = ".".into();
    bench.miss("nobody imports a target first");
    bench.arguments[0] = "pkg/c.py".into();
    bench.miss("somebody else imports them first");
}
