//! Values with `$` that need no shell, because all they hold is text and `$NAME` or `${NAME}`.
//!
//! Whatever else bash would understand between double quotes (backslashes, backquotes, `$(…)`,
//! `${NAME:-…}`, `$1`) is refused here and left to a real one.

use std::ffi::{OsStr, OsString};

use crate::builder::Builder;
use crate::delta::Op;
use crate::template::{self, Escapes, Part};

/// The parts of a value, or `None` if only a shell knows what it means.
pub(crate) fn parse(text: &str) -> Option<Vec<Part>> {
    if text.contains(['\\', '`']) {
        return None;
    }
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('$') {
        let rest = &bytes[at + 1..];
        let name = rest.strip_prefix(b"{").unwrap_or(rest);
        let length = template::name_length(name);
        let is_closed = rest.first() != Some(&b'{') || name.get(length) == Some(&b'}');
        if length == 0 || !is_closed {
            return None;
        }
    }
    template::parse(bytes, Escapes::Dollar).ok()
}

/// Sets a variable to a value. One that is put around itself, as in `PATH=first:$PATH:last`, fits
/// every caller.
pub(crate) fn assign(builder: &mut Builder<'_>, name: &OsStr, parts: &[Part]) {
    let is_itself = |part: &Part| matches!(part, Part::Variable { name: read, .. } if read == name);
    let at = parts.iter().position(is_itself);
    let is_once = parts.iter().filter(|part| is_itself(part)).count() == 1;
    let op = match at.filter(|_| is_once) {
        Some(at) => Op::Around {
            name: name.to_owned(),
            before: builder.expand(&parts[..at]),
            after: builder.expand(&parts[at + 1..]),
        },
        None => Op::Set { name: name.to_owned(), value: builder.expand(parts) },
    };
    builder.delta.push(op);
}

/// A text between double quotes of bash, in which `$` keeps its meaning; as pixi writes it.
pub(crate) fn double_quoted(text: &str) -> OsString {
    OsString::from(format!("\"{}\"", text.replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_only_a_shell_knows_is_refused() {
        for text in ["$", "a$", "$1", "$$", "${A:-b}", "${A", "$(date)", "`date`", "\\$A", "${!A}"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["$A", "${A}b", "a\"$A'b", "x:$A:${B}", "$A$B"] {
            assert!(parse(text).is_some(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_expanded_here_is_what_bash_makes_of_it(text in "[$ {}AB\"'!~*#:;&]{0,12}") {
            let text = format!("{text}$A");
            if let Some(parts) = parse(&text) {
                let ours = template::expand(&parts, &mut |name| (name == "A").then(|| "<a>".into()));
                let quoted = double_quoted(&text);
                let script = format!("printf %s {}", quoted.display());
                let output = Command::new("bash").env_clear().env("A", "<a>").args(["-c", &script])
                    .output().expect("bash runs");
                prop_assert_eq!(ours.into_encoded_bytes(), output.stdout, "{}", script);
            }
        }
    }
}
