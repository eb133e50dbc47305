//! Arguments with which a run is more than its answer.
//!
//! Such a run writes files, installs packages or talks to the user; a replay would lose that. It is
//! given to mypy as it is and nothing is stored. Options of this sort that come from a
//! configuration file are seen by the driver, which knows what mypy made of them.

use std::ffi::OsString;
use std::path::{Component, Path};

/// How a request has to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// The answer is all there is.
    Replayable,
    /// mypy does something else as well, for the reason given.
    Plain(String),
    /// mypy talks to the user: it gets the terminal.
    Interactive(String),
}

const INTERACTIVE: [&str; 2] = ["--install-types", "--pdb"];

const PLAIN: [&str; 26] = [
    "--any-exprs-report",
    "--cobertura-xml-report",
    "--html-report",
    "--linecount-report",
    "--linecoverage-report",
    "--lineprecision-report",
    "--memory-xml-report",
    "--txt-report",
    "--xml-report",
    "--xslt-html-report",
    "--xslt-txt-report",
    "--junit-xml",
    "--cache-dir",
    "--cache-map",
    "--bazel",
    "--quickstart-file",
    "--timing-stats",
    "--line-checking-stats",
    "--dump-type-stats",
    "--dump-inference-stats",
    "--dump-build-stats",
    "--dump-deps",
    "--dump-graph",
    "--export-ref-info",
    "--num-workers",
    "--verbose",
];

/// Classifies arguments. Options may be abbreviated; what could be one of these counts as it.
pub(crate) fn classify(arguments: &[OsString]) -> Class {
    let mut plain = None;
    for argument in arguments {
        let text = argument.to_string_lossy();
        if text == "--" {
            break;
        }
        let name = text.split('=').next().unwrap_or(&text);
        let means = |option: &&&str| name.len() > 3 && option.starts_with(name);
        if let Some(option) = INTERACTIVE.iter().find(means) {
            return Class::Interactive(reason(option));
        }
        let short = short(&text).map(|name| ["--verbose", "--num-workers"][name]);
        if let Some(option) = PLAIN.iter().find(means).copied().or(short) {
            plain = Some(reason(option));
        }
    }
    plain.map_or(Class::Replayable, Class::Plain)
}

/// How many of the arguments, from the first on, are targets without doubt and mean the same in every
/// checkout. `None` if what follows may have to do with them.
pub(crate) fn targets(arguments: &[OsString]) -> Option<usize> {
    let is_option = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
    let count = arguments.iter().position(is_option).unwrap_or(arguments.len());
    let (targets, options) = arguments.split_at(count);
    let is_plain = |target: &OsString| {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let bytes = target.as_encoded_bytes();
        // mypy reads arguments from a file that is named after an `@`.
        !bytes.is_empty() && bytes[0] != b'@' && Path::new(target).components().all(inside)
    };
    let is_entangled = |option: &OsString| {
        let bytes = option.as_encoded_bytes();
        let short = [b"-p", b"-m", b"-c"].iter().any(|name| bytes.starts_with(*name));
        let text = option.to_string_lossy();
        let name = text.split('=').next().unwrap_or(&text);
        let means = |long: &&str| name.len() > 2 && long.starts_with(name);
        short || bytes.starts_with(b"@") || ENTANGLED.iter().any(means)
    };
    (targets.iter().all(is_plain) && !options.iter().any(is_entangled)).then_some(count)
}

/// Options that name targets, or say how targets are found.
const ENTANGLED: [&str; 4] = ["--package", "--module", "--command", "--fast-module-lookup"];

/// `-v`, `-vv` and `-n 2`, `-n2`.
fn short(text: &str) -> Option<usize> {
    let letters = text.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    if letters.starts_with('v') {
        return Some(0);
    }
    letters.starts_with('n').then_some(1)
}

fn reason(option: &str) -> String {
    format!("`{option}` does more than give an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(arguments: &[&str]) -> Class {
        classify(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_with_effects_are_recognised() {
        for option in PLAIN {
            assert!(matches!(class(&["a.py", option, "x"]), Class::Plain(_)), "{option}");
        }
        for text in ["--junit-xml=a", "--cobertura=x", "--cache=x", "--html-rep", "-vv", "-n2"] {
            assert!(matches!(class(&[text, "a.py"]), Class::Plain(_)), "{text}");
        }
        for text in ["--install-types", "--pdb"] {
            assert!(matches!(class(&["--junit-xml=a", text]), Class::Interactive(_)), "{text}");
        }
    }

    #[test]
    fn leading_paths_are_targets_unless_something_is_in_doubt() {
        let count = |text: &str| targets(&text.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(count("a.py pkg/sub ./b --strict c.py"), Some(3));
        assert_eq!(count("--strict a.py"), Some(0));
        assert_eq!(targets(&[]), Some(0));
        for text in ["../a.py", "/a.py", "@file", "a.py @file", "a/../b.py", "a.py -- -b.py"] {
            let expected = (text == "a.py -- -b.py").then_some(1);
            assert_eq!(count(text), expected, "{text}");
        }
        for text in ["-p pkg", "a.py -ppkg", "a.py --pack x", "--fast-module a.py", "--strict @f"] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn everyday_options_can_be_replayed() {
        let text =
            "--strict -p pkg --python-version 3.11 --config-file x --no-error-summary -O json";
        assert_eq!(class(&text.split(' ').collect::<Vec<_>>()), Class::Replayable);
        assert_eq!(class(&["--", "--pdb"]), Class::Replayable);
    }
}
