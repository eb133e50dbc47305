//! Which variables a script names, and what it does with those that are lists.
//!
//! Reading the text can only tell what a script may do, so every answer errs on the side of more
//! inputs. What it reads is told by `observe`; here is what it sets (whether that is exported
//! depends on the caller) and whether all it does with a variable is to put text around its value.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::conda::assign;
use crate::template::{self, Part};

/// Every word of a text that can be the name of a variable.
pub(crate) fn names(text: &[u8]) -> BTreeSet<&OsStr> {
    words(text).map(|(_, name)| name).collect()
}

/// Names that a text may give a value to, or take it from.
pub(crate) fn assigned(text: &[u8]) -> BTreeSet<OsString> {
    const COMMANDS: &[&[u8]] = &[
        b"coproc",
        b"declare",
        b"exec",
        b"export",
        b"for",
        b"getopts",
        b"let",
        b"local",
        b"mapfile",
        b"printf",
        b"read",
        b"readarray",
        b"readonly",
        b"select",
        b"typeset",
        b"unset",
        b"wait",
    ];
    let mut found = BTreeSet::new();
    for line in lines(text) {
        let takes_names = line.windows(2).any(|pair| pair == b"((" || pair == b"$[")
            || words(&line).any(|(_, word)| COMMANDS.contains(&word.as_bytes()));
        for (at, name) in words(&line) {
            let after = &line[at + name.len()..];
            let is_target = matches!(after, [b'=' | b'[', ..] | [b'+' | b':', b'=', ..]);
            if takes_names || is_target {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Whether the text names a variable only in lines that put text around its value:
/// `NAME=first:$NAME` or `export NAME="$NAME:last"`.
pub(crate) fn only_extends(text: &[u8], name: &OsStr) -> bool {
    let mut quote = Quote::None;
    for line in lines(text) {
        let start = quote;
        quote = start.after(&line);
        if !words(&line).any(|(_, word)| word == name) {
            continue;
        }
        let is_comment = line.trim_ascii_start().starts_with(b"#");
        let is_extension = quote == Quote::None && is_extension(&line, name);
        if start != Quote::None || !(is_comment || is_extension) {
            return false;
        }
    }
    // In a here-document a line is no command.
    names(text).iter().all(|word| *word != name) || !text.windows(2).any(|pair| pair == b"<<")
}

fn is_extension(line: &[u8], name: &OsStr) -> bool {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"export ").map_or(line, <[u8]>::trim_ascii_start);
    let Some(value) = line.strip_prefix(name.as_bytes()).and_then(|l| l.strip_prefix(b"=")) else {
        return false;
    };
    let value = value.strip_suffix(b";").unwrap_or(value);
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let is_odd = |byte: &u8| match quoted {
        Some(_) => *byte == b'"',
        None => !byte.is_ascii_alphanumeric() && !b"_-+./:@,${}".contains(byte) && byte.is_ascii(),
    };
    let inner = quoted.unwrap_or(value);
    let Some(parts) = std::str::from_utf8(inner).ok().and_then(assign::parse) else { return false };
    let own = |part: &&Part| matches!(part, Part::Variable { name: read, .. } if read == name);
    !inner.iter().any(is_odd) && parts.iter().filter(own).count() == 1
}

/// The words of a text that can be names, each with its place.
fn words(text: &[u8]) -> impl Iterator<Item = (usize, &OsStr)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let length = template::name_length(&text[at..]);
            if length > 0 {
                let start = at;
                at += length;
                return Some((start, OsStr::from_bytes(&text[start..at])));
            }
            at += 1;
            // `1A` is no name, and neither is its end.
            while at < text.len()
                && text[at - 1].is_ascii_digit()
                && (text[at].is_ascii_alphanumeric() || text[at] == b'_')
            {
                at += 1;
            }
        }
        None
    })
}

/// The lines of a text; one that ends in a backslash is continued by the next one.
fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    for line in text.split(|byte| *byte == b'\n') {
        let last = lines.last_mut().expect("there is always one");
        match line.strip_suffix(b"\\") {
            // A blank, so that no two words become one that bash does not see.
            Some(line) => last.extend(line.iter().chain(b"\\ ")),
            None => {
                last.extend_from_slice(line);
                lines.push(Vec::new());
            }
        }
    }
    lines
}

/// In which quotes a line begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

impl Quote {
    /// In which quotes the next line begins.
    fn after(self, line: &[u8]) -> Self {
        let mut quote = self;
        let mut at = 0;
        while at < line.len() {
            let is_word_start = at == 0 || line[at - 1].is_ascii_whitespace();
            quote = match (quote, line[at]) {
                (Self::None, b'#') if is_word_start => return Self::None,
                (Self::None, b'\'') => Self::Single,
                (Self::None, b'"') => Self::Double,
                (Self::Single, b'\'') | (Self::Double, b'"') => Self::None,
                (Self::None | Self::Double, b'\\') => {
                    at += 1;
                    quote
                }
                _ => quote,
            };
            at += 1;
        }
        quote
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extends(text: &str) -> bool {
        only_extends(text.as_bytes(), "PATH".as_ref())
    }

    #[test]
    fn text_around_the_value_is_told_from_all_else() {
        for text in [
            "",
            "export A=1\nMYPATH=$A\n",
            "export PATH=\"$CONDA_PREFIX/x:$PATH\"",
            "PATH=$PATH:/opt/bin;",
            "  export PATH=${X}/a:${PATH}\n# the PATH\n",
            "if [ -d /x ]; then\n  PATH=\"/x:$PATH\"\nfi\n",
            "export PATH=\"/with space/$X:$PATH:/last\"",
        ] {
            assert!(extends(text), "{text}");
        }
        for text in [
            "echo $PATH",
            "PATH=/x",
            "PATH=$PATH:$PATH",
            "PATH=${PATH#/x}",
            "PATH=${PATH:+$PATH:}/x",
            "OLD=$PATH\nPATH=/x:$PATH",
            "case \":$PATH:\" in *:/x:*) ;; *) PATH=/x:$PATH ;; esac",
            "X=\"\nPATH=/x:$PATH\n\"",
            "X='\nPATH=/x:$PATH\n'",
            "cat <<E\nPATH=/x:$PATH\nE\n",
            "echo \\\nPATH=/x:$PATH\n",
            "PATH=/x:$PATH command",
            "PATH=/x:$PATH; echo $PATH",
            "PATH=$(x):$PATH",
            "PATH=`x`:$PATH",
            "PATH=\"/x:$PATH\" # PATH",
            "PATH=\"a\"b\"$PATH\"",
            "PATH=~/bin:$PATH",
            "unset PATH",
            "local PATH=/x:$PATH",
        ] {
            assert!(!extends(text), "{text}");
        }
    }

    #[test]
    fn whatever_may_get_a_value_is_found() {
        let text = b"A=1 B+=2; export C D\nread -r E F\nfor G in x; do (( H++ )); done\n\
            : ${I:=1} $(( J = 2 ))\nprintf -v K x\nunset \\\nL\nM[1]=2\n";
        let found = assigned(text);
        for name in ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M"] {
            assert!(found.contains(OsStr::new(name)), "{name}");
        }
        assert!(!assigned(b"echo $READ\n").contains(OsStr::new("READ")));
    }

    #[test]
    fn words_are_whole() {
        let names = names("$ABC-${D_1} 1E é_F".as_bytes());
        let expected = ["ABC", "D_1", "_F"].map(OsStr::new);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }
}
