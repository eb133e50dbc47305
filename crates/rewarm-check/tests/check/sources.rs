//! Sources that a history is made of: modules put together from parts, and small edits to any text.
//!
//! A part is a definition that other modules use, in several forms of which some are wrong; or a use
//! of another module's names, which shows what mypy made of them. Everything is drawn from one
//! generator, so equal seeds give equal sources.

/// A small generator (xorshift64*), so that histories are the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds are often small numbers; the generator needs bits everywhere, and never only zeros.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(value).expect("31 bits") % limit
    }

    pub(crate) fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Modules of the generated project; a few of them can stand in each other's way.
pub(crate) const PATHS: [&str; 13] = [
    "pkg/a.py",
    "pkg/b.py",
    "pkg/c.py",
    "pkg/sub/d.py",
    "pkg/sub/e.py",
    "pkg/__init__.py",
    "pkg/sub/__init__.py",
    "main.py",
    "pkg/a.pyi",
    "pkg/f.pyi",
    "pkg/b/__init__.py",
    "space/deep/g.py",
    "third.py",
];

const IMPORTS: [&str; 21] = [
    "import pkg.a as first",
    "import pkg.b as first",
    "from pkg import c as first",
    "from pkg import a as first, b as second",
    "from pkg.sub import d as first",
    "from .sub import e as first",
    "from pkg.sub.e import *",
    "from pkg.a import *",
    "from pkg.b import C, value as taken",
    "from pkg.c import Data as Data, wrap",
    "import space.deep.g as first",
    "import third as first",
    "from third import value as other",
    "import third.extra",
    "import nowhere",
    "import yaml",
    "import requests, pkg.b as first  # type: ignore",
    "import nowhere.sub  # type: ignore[import-not-found]",
    "from pkg import nothing",
    "if TYPE_CHECKING:\n    from pkg import d as first",
    "def late():\n    import pkg.sub.d as first\n    return first.use(1)",
];

/// What modules define under the same names, each in several forms.
const DEFINITIONS: [&[&str]; 14] = [
    &[
        "value: int = 1",
        "value: str = 'x'",
        "value = [1]",
        "value: int = ''",
        "value: 'C | None' = None",
    ],
    &[
        "def use(x: int, y: str = '') -> int:\n    return x",
        "def use(x: str) -> str:\n    return x + 1",
        "async def use(x: int) -> int:\n    return x",
        "def use(x):\n    return x",
        "@deprecated('no longer')\ndef use(x: int) -> int:\n    return x",
        "def use(x: int) -> Iterator[int]:\n    yield ''",
    ],
    &[
        "class C:\n    size: int = 1\n    def m(self) -> int:\n        return self.size",
        "class C:\n    @property\n    def m(self) -> int:\n        return ''",
        "class C(Generic[T]):\n    def __init__(self, x: T) -> None:\n        self.x = x\n    def m(self) -> T:\n        return self.x",
        "@final\nclass C:\n    __slots__ = ('x',)\n    def __init__(self) -> None:\n        self.x = 1\n        self.y = 2",
        "class C(ABC):\n    @abstractmethod\n    def m(self) -> int: ...",
        "class C:\n    def __getattr__(self, name: str) -> int: ...",
        "class C:\n    def make(self) -> None:\n        class Inner:\n            x: int = ''\n        self.made = Inner()",
    ],
    &[
        "@dataclass\nclass Data:\n    x: int\n    y: str = ''",
        "@dataclass(frozen=True, order=True)\nclass Data:\n    y: str\n    x: int = ''",
        "@dataclass(kw_only=True)\nclass Data:\n    x: list[int] = field(default_factory=list)",
        "class Data(NamedTuple):\n    x: int\n    y: str = ''",
        "Data = namedtuple('Data', 'x y')",
    ],
    &[
        "class Row(TypedDict):\n    x: int",
        "class Row(TypedDict, total=False):\n    x: str\n    y: NotRequired[int]",
        "Row = TypedDict('Row', {'x': int})",
    ],
    &[
        "class Proto(Protocol):\n    def m(self) -> int: ...",
        "@runtime_checkable\nclass Proto(Protocol[T_co]):\n    def m(self) -> T_co: ...",
    ],
    &[
        "@overload\ndef over(x: int) -> int: ...\n@overload\ndef over(x: str) -> str: ...\ndef over(x):\n    return x",
        "@overload\ndef over(x: int) -> int: ...\n@overload\ndef over(x: int) -> str: ...\ndef over(x: object) -> object:\n    return x",
    ],
    &[
        "class Color(Enum):\n    RED = 1\n    BLUE = 2",
        "class Color(Enum):\n    RED = auto()",
        "class Color(IntEnum):\n    BLUE = 'b'",
    ],
    &[
        "def wrap(f: Callable[P, T]) -> Callable[P, list[T]]:\n    return lambda *args, **kwargs: [f(*args, **kwargs)]",
        "def wrap(f: Callable[P, T]) -> Callable[Concatenate[int, P], T]:\n    return f",
        "def wrap(f: Callable[[T], S]) -> S:\n    return f(1)",
    ],
    &[
        "Alias = list[int]",
        "Alias: TypeAlias = 'dict[str, C]'",
        "Alias = NewType('Alias', int)",
        "Alias = Union[int, str]",
    ],
    &[
        "def local():\n    class Inner:\n        x: int = ''\n    return Inner()\nmade = local()",
        "made = lambda x: x",
        "made = C()",
    ],
    &[
        "__all__ = ['value', 'C', 'use']",
        "__all__ = ['made', 'absent']",
        "__all__ = ['Data'] + ['over']",
    ],
    &[
        "class Meta(type):\n    def __call__(cls) -> int:\n        return 1\nclass Odd(metaclass=Meta): ...",
        "class Odd:\n    def __get__(self, a: object, b: object) -> str: ...",
        "class Odd(dict[str, 'Odd']): ...",
    ],
    &["total: Final = 1", "total: ClassVar[int] = 1", "total: Literal['a'] = 'b'"],
];

const USES: [&str; 27] = [
    "reveal_type(first)",
    "reveal_type(first.value)",
    "reveal_type(first.use)",
    "reveal_type(first.C().m)",
    "reveal_type(first.Data(1, 'y').x)",
    "reveal_type(first.over(1))",
    "reveal_type(first.Color.RED)",
    "reveal_type(first.wrap(first.use))",
    "reveal_type(first.made)",
    "reveal_type(first.Odd().x)",
    "def calls() -> int:\n    return (first.value +\n            first.use('', z=2))",
    "def untyped(x):\n    return first.use(1, z=2)",
    "class D(first.C):\n    def m(self) -> bytes: ...",
    "class E(D, first.Data):\n    x = ''",
    "def takes(p: first.Proto) -> None: ...\ntakes(first.C())",
    "row: first.Row = {'x': 1, 'z': 2}",
    "items: first.Alias = ['']",
    "match first.Color.RED:\n    case first.Color.BLUE:\n        reveal_type(first.total)",
    "text: int = f'''{1}\n# mypy: strict\n'''",
    "ignored: int = ''  # type: ignore",
    "unused = 1  # type: ignore[misc]",
    "def twice() -> None: ...\ndef twice() -> int: ...",
    "first.C().made.x = ''",
    "for item in first.value:\n    reveal_type(item)",
    "cast(int, 1)",
    "x, *y = first.value, first.use",
    "if sys.platform == 'win32':\n    first.nothing()\nelif sys.version_info >= (3, 12):\n    first.nothing()",
];

const COMMENTS: [&str; 8] = [
    "# a comment",
    "",
    "    # indented",
    "#type",
    "# mypy: disable-error-code=attr-defined",
    "# type: ignore",
    "# fmt: off",
    "# mypy: strict, no-warn-unused-ignores",
];

const HEADER: &str = "\
import sys
from abc import ABC, abstractmethod
from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import *
from typing_extensions import deprecated
T = TypeVar('T')
S = TypeVar('S')
T_co = TypeVar('T_co', covariant=True)
P = ParamSpec('P')
";

/// A module that imports others, right or wrong in several ways.
pub(crate) fn module(random: &mut Random) -> String {
    let mut lines = Vec::new();
    if random.chance(30) {
        lines.push("'''What it is.'''");
    }
    lines.push(HEADER);
    for _ in 0..=random.below(3) {
        lines.push(random.one_of(&IMPORTS));
    }
    for forms in DEFINITIONS {
        if random.chance(45) {
            lines.push(random.one_of(forms));
        }
    }
    for _ in 0..=random.below(4) {
        lines.push(random.one_of(&USES));
    }
    format!("{}\n", lines.join("\n"))
}

/// Another form of a definition, a further use or a further import.
fn part(random: &mut Random) -> &'static str {
    match random.below(5) {
        0 => random.one_of(&USES),
        1 => random.one_of(&IMPORTS),
        _ => {
            let forms = DEFINITIONS[random.below(DEFINITIONS.len())];
            random.one_of(forms)
        }
    }
}

/// One edit of a text, and what it is called.
pub(crate) fn edited(text: &str, random: &mut Random) -> (&'static str, String) {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = random.below(lines.len() + 1);
    let what = match random.below(12) {
        0..3 => {
            for _ in 0..=random.below(3) {
                let at = random.below(lines.len() + 1);
                lines.insert(at, random.one_of(&COMMENTS).to_owned());
            }
            "comments"
        }
        3 => {
            lines.retain(|line| !COMMENTS.contains(&line.as_str()) || random.chance(40));
            "fewer comments"
        }
        4 => behind(&mut lines, at, random),
        5..8 => {
            lines.extend(part(random).lines().map(str::to_owned));
            "a part more"
        }
        8 => replaced(&mut lines, random),
        9 => {
            if at < lines.len() {
                lines.remove(at);
            }
            "a line less"
        }
        10 => spaced(&mut lines, at, random),
        _ => {
            lines.insert(0, random.one_of(&["'''Other words.'''", "x = 1", "# first", ""]).into());
            "another first line"
        }
    };
    (what, format!("{}\n", lines.join("\n")))
}

/// Something behind a line.
fn behind(lines: &mut [String], at: usize, random: &mut Random) -> &'static str {
    if let Some(line) = lines.get_mut(at) {
        line.push_str(random.one_of(&["  # noqa", "  # type: ignore", " ", "  # type: int", ";"]));
    }
    "behind a line"
}

/// A type becomes another, wherever a line names it.
fn replaced(lines: &mut [String], random: &mut Random) -> &'static str {
    const TYPES: [&str; 6] = ["int", "str", "bytes", "None", "bool", "Any"];
    let (old, new) = (random.one_of(&TYPES), random.one_of(&TYPES));
    let count = lines.iter().filter(|line| line.contains(old)).count();
    if count > 0 {
        let chosen = random.below(count);
        let line = lines.iter_mut().filter(|line| line.contains(old)).nth(chosen);
        let line = line.expect("as many lines as were counted");
        *line = line.replace(old, new);
    }
    "another type"
}

/// White space within a line, or a line put in parentheses.
fn spaced(lines: &mut [String], at: usize, random: &mut Random) -> &'static str {
    if let Some(line) = lines.get_mut(at) {
        *line = match random.below(3) {
            0 => line.replace(" = ", "  =  "),
            1 => line.replace("return ", "return  "),
            _ => line.replace("(", "(\n"),
        };
    }
    "white space"
}
