//! Values with `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}` in them.
//!
//! Parsing and expansion are separate and pure: the one who expands says where values come from,
//! and so learns which variables were read. Nothing is ever run; `$(…)` is refused, because to
//! leave it alone would silently mean something else than it does to a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// The value of a variable.
    Variable {
        /// Its name.
        name: OsString,
        /// What stands for it if it is not set.
        default: Option<Vec<Part>>,
        /// Whether the default also stands for an empty value.
        or_empty: bool,
    },
}

/// Which backslashes mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    /// Only `\$`.
    Dollar,
    /// `\n`, `\r`, `\t`, `\"`, `\\`, `\$` and `` \` ``, as between double quotes of a `.env` file.
    Quoted,
}

/// Splits a value into its parts.
pub fn parse(mut text: &[u8], escapes: Escapes) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        match (byte, rest.first()) {
            (b'\\', Some(&next)) if unescape(next, escapes).is_some() => {
                literal.extend(unescape(next, escapes));
                text = &rest[1..];
            }
            (b'$', Some(b'(')) => {
                return Err("command substitution is not supported; write `\\$(` for the text");
            }
            (b'$', Some(b'{')) => {
                let end = closing_brace(&rest[1..]).ok_or("`${` without `}`")?;
                flush(&mut literal, &mut parts);
                parts.push(braced(&rest[1..=end], escapes)?);
                text = &rest[end + 2..];
            }
            (b'$', Some(_)) if name_length(rest) > 0 => {
                let (name, after) = rest.split_at(name_length(rest));
                flush(&mut literal, &mut parts);
                let name = OsStr::from_bytes(name).to_owned();
                parts.push(Part::Variable { name, default: None, or_empty: false });
                text = after;
            }
            _ => literal.push(byte),
        }
    }
    flush(&mut literal, &mut parts);
    Ok(parts)
}

fn flush(literal: &mut Vec<u8>, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal)));
    }
}

fn unescape(byte: u8, escapes: Escapes) -> Option<u8> {
    match (escapes, byte) {
        (_, b'$') => Some(byte),
        (Escapes::Dollar, _) => None,
        (Escapes::Quoted, b'"' | b'\\' | b'`') => Some(byte),
        (Escapes::Quoted, b'n') => Some(b'\n'),
        (Escapes::Quoted, b'r') => Some(b'\r'),
        (Escapes::Quoted, b't') => Some(b'\t'),
        (Escapes::Quoted, _) => None,
    }
}

/// Where the `}` is that belongs to an opening brace just before `text`.
fn closing_brace(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'$' if text.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// What stands between the braces of `${…}`.
fn braced(inner: &[u8], escapes: Escapes) -> Result<Part, &'static str> {
    let (name, rest) = inner.split_at(name_length(inner));
    if name.is_empty() {
        return Err("`${` must be followed by the name of a variable");
    }
    let (default, or_empty) = match rest {
        [] => (None, false),
        [b':', b'-', default @ ..] => (Some(default), true),
        [b'-', default @ ..] => (Some(default), false),
        _ => return Err("only `${NAME}`, `${NAME-default}` and `${NAME:-default}` are supported"),
    };
    let default = default.map(|text| parse(text, escapes)).transpose()?;
    Ok(Part::Variable { name: OsStr::from_bytes(name).to_owned(), default, or_empty })
}

/// Bytes at the start of `text` that can name a variable.
pub fn name_length(text: &[u8]) -> usize {
    match text.first() {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {
            let ends = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'_';
            text.iter().position(ends).unwrap_or(text.len())
        }
        _ => 0,
    }
}

/// Whether every shell can hold a variable of that name.
pub fn is_name(name: &OsStr) -> bool {
    !name.is_empty() && name_length(name.as_bytes()) == name.len()
}

/// Puts values in; a variable that is not set gives nothing.
pub fn expand(parts: &[Part], lookup: &mut impl FnMut(&OsStr) -> Option<OsString>) -> OsString {
    let mut value = Vec::new();
    expand_into(parts, lookup, &mut value);
    OsString::from_vec(value)
}

fn expand_into(
    parts: &[Part],
    lookup: &mut impl FnMut(&OsStr) -> Option<OsString>,
    value: &mut Vec<u8>,
) {
    for part in parts {
        match part {
            Part::Literal(bytes) => value.extend_from_slice(bytes),
            Part::Variable { name, default, or_empty } => match (lookup(name), default) {
                (None, Some(default)) => expand_into(default, lookup, value),
                (Some(found), Some(default)) if *or_empty && found.is_empty() => {
                    expand_into(default, lookup, value);
                }
                (found, _) => value.extend(found.unwrap_or_default().into_vec()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str, escapes: Escapes) -> Result<String, &'static str> {
        let parts = parse(text.as_bytes(), escapes)?;
        let mut lookup = |name: &OsStr| match name.to_str() {
            Some("A") => Some("1".into()),
            Some("EMPTY") => Some("".into()),
            _ => None,
        };
        Ok(expand(&parts, &mut lookup).into_string().expect("the test's text is UTF-8"))
    }

    #[test]
    fn variables_are_replaced_as_a_shell_does() {
        for (text, value) in [
            ("$A", "1"),
            ("x${A}y$A.z", "x1y1.z"),
            ("[$NONE]", "[]"),
            ("${NONE:-d$A}", "d1"),
            ("${NONE-d}${EMPTY-d}${EMPTY:-e}", "de"),
            ("${NONE:-${A}}}", "1}"),
            ("5$ $1 $", "5$ $1 $"),
            (r"\$A \n \", r"$A \n \"),
        ] {
            assert_eq!(expanded(text, Escapes::Dollar), Ok(value.to_owned()), "{text}");
        }
    }

    #[test]
    fn escapes_count_between_double_quotes() {
        assert_eq!(expanded(r#"a\n\"\\\$A\x"#, Escapes::Quoted), Ok("a\n\"\\$A\\x".to_owned()));
    }

    #[test]
    fn what_a_shell_would_run_or_compute_is_refused() {
        for text in ["$(date)", "${A", "${}", "${A:?x}", "${A/x/y}", "${A:-$(x)}"] {
            assert!(expanded(text, Escapes::Dollar).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(text in prop::collection::vec(any::<u8>(), 0..40)) {
            for escapes in [Escapes::Dollar, Escapes::Quoted] {
                if let Ok(parts) = parse(&text, escapes) {
                    expand(&parts, &mut |_| None);
                }
            }
        }

        #[test]
        fn text_without_dollar_and_backslash_is_itself(text in "[^$\\\\]{0,20}") {
            prop_assert_eq!(expanded(&text, Escapes::Quoted), Ok(text));
        }
    }
}
