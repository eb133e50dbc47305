//! The imports of one source, as they are written.
//!
//! Every import statement counts, wherever it stands: in functions, below `if TYPE_CHECKING`, on
//! platforms that are not this one. What is in strings and comments does not. What the names mean
//! depends on where the file lies, and is for `names.rs` to say; so a list of imports holds for
//! every file with this content.

use ruff_python_ast::statement_visitor::{StatementVisitor, walk_stmt};
use ruff_python_ast::{PySourceType, Stmt};
use ruff_python_parser::parse_unchecked_source;
use serde::{Deserialize, Serialize};

/// Bumped when equal sources would get another list from this version of rewarm.
pub(super) const VERSION: &str = "imports 1";

/// What a source imports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Imports {
    pub(super) statements: Vec<Import>,
    /// Whether there may be more: the source does not parse.
    pub(super) is_doubtful: bool,
}

/// `import MODULE`, or `from LEVEL-dots MODULE import NAMES`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Import {
    /// How many dots come first.
    pub(super) level: u32,
    /// Empty in `from . import x`.
    pub(super) module: String,
    /// Any of them may be a module, but for a star. Empty for `import x`.
    pub(super) names: Vec<String>,
}

/// Sources that are longer are not parsed (bytes).
const LONGEST: usize = 16 << 20;

impl Imports {
    /// A source that nothing can be said of.
    pub(super) fn unknown() -> Self {
        Self { statements: Vec::new(), is_doubtful: true }
    }

    /// Reads a source. Needs a deep stack where expressions are deeply nested.
    pub(super) fn of(source: &[u8], is_stub: bool) -> Self {
        if source.len() > LONGEST {
            return Self::unknown();
        }
        let text = String::from_utf8_lossy(source);
        // What stands in front of a source as a byte order mark is no part of it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let kind = if is_stub { PySourceType::Stub } else { PySourceType::Python };
        let parsed = parse_unchecked_source(text, kind);
        let mut collector = Collector::default();
        collector.visit_body(parsed.suite());
        let mut statements = collector.found;
        statements.sort_unstable();
        statements.dedup();
        let is_doubtful = parsed.has_invalid_syntax() || text.contains('\u{fffd}');
        Self { statements, is_doubtful }
    }
}

#[derive(Default)]
struct Collector {
    found: Vec<Import>,
}

impl<'a> StatementVisitor<'a> for Collector {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => {
                let modules = import.names.iter().map(|alias| alias.name.to_string());
                let plain = |module| Import { level: 0, module, names: Vec::new() };
                self.found.extend(modules.map(plain));
            }
            Stmt::ImportFrom(import) => {
                let names = import.names.iter().map(|alias| alias.name.to_string());
                let mut names: Vec<_> = names.collect();
                names.sort_unstable();
                let module = import.module.as_ref().map(ToString::to_string).unwrap_or_default();
                self.found.push(Import { level: import.level, module, names });
            }
            other => walk_stmt(self, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str) -> Vec<String> {
        let found = Imports::of(source.as_bytes(), false);
        assert!(!found.is_doubtful, "{source}");
        let text = |import: &Import| {
            let dots = ".".repeat(import.level as usize);
            format!("{dots}{} {}", import.module, import.names.join(",")).trim_end().to_owned()
        };
        found.statements.iter().map(text).collect()
    }

    #[test]
    fn every_form_of_import_is_found() {
        assert_eq!(of("import a.b as c, d\nimport a.b"), ["a.b", "d"]);
        assert_eq!(of("from a import b as c, d"), ["a b,d"]);
        assert_eq!(
            of("from . import x\nfrom .. import y\nfrom ..p.q import *"),
            [". x", ".. y", "..p.q *"]
        );
        assert_eq!(of("from a import (\n    b,  # one\n    c,\n)"), ["a b,c"]);
    }

    #[test]
    fn imports_count_wherever_they_stand() {
        let source = "\
if TYPE_CHECKING:
    import a
elif sys.platform == 'win32':
    import b
else:
    import c
try:
    import d
except ImportError:
    import e
else:
    import f
finally:
    import g
class C:
    import h
    async def m(self):
        async with x: import i
        while True:
            for y in z:
                from j import k
match p:
    case 1:
        import l
";
        let expected = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j k", "l"];
        assert_eq!(of(source), expected);
    }

    #[test]
    fn strings_and_comments_import_nothing() {
        assert!(of("'import a'\n'''\nimport b\n'''\n# import c\nx = f'{y!r} import d'").is_empty());
    }

    #[test]
    fn broken_source_gives_what_can_be_read_and_says_so() {
        let found = Imports::of(b"import a\ndef f(:\n    pass\nimport b\n", false);
        let modules: Vec<_> = found.statements.iter().map(|import| &*import.module).collect();
        assert_eq!((modules, found.is_doubtful), (vec!["a", "b"], true));
        assert!(Imports::of(b"x = '\xff'\n", false).is_doubtful);
    }

    #[test]
    fn newest_syntax_and_byte_order_marks_are_no_error() {
        assert_eq!(of("\u{feff}import a\ntype X[T = int] = list[T]\nt = t'{x}'\n"), ["a"]);
    }
}
