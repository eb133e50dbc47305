//! `.env` files: lines of `NAME=value`.
//!
//! An optional `export` before the name; unquoted values end at the line's end or at ` #`; single
//! quotes keep everything, double quotes know escapes and `$NAME`; both may span lines. Parsing is
//! pure and on bytes. What is not understood is an error with its line, never skipped.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::template::{self, Escapes, Part};

/// One line that sets a variable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The number of the line on which it begins, from 1.
    pub(crate) line: usize,
    /// The variable.
    pub(crate) name: OsString,
    /// Its value, not yet expanded.
    pub(crate) value: Vec<Part>,
}

/// A line that is not understood, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// The number of the line, from 1.
    pub(crate) line: usize,
    /// What is wrong, without the place.
    pub(crate) message: &'static str,
}

/// Reads a whole file.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Assignment>, SyntaxError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut scanner = Scanner { text, at: 0, line: 1 };
    let mut assignments = Vec::new();
    loop {
        scanner.skip_blank();
        match scanner.peek() {
            None => return Ok(assignments),
            Some(b'#' | b'\n') => scanner.skip_line(),
            Some(_) => {
                let line = scanner.line;
                let error = |message| SyntaxError { line, message };
                let (name, value) = scanner.assignment().map_err(error)?;
                if value.iter().any(holds_nul) {
                    return Err(error("a value cannot hold a NUL byte"));
                }
                assignments.push(Assignment { line, name, value });
            }
        }
    }
}

fn holds_nul(part: &Part) -> bool {
    match part {
        Part::Literal(bytes) => bytes.contains(&0),
        Part::Variable { default, .. } => default.iter().flatten().any(holds_nul),
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    fn skip_blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes behind the end of this line.
    fn skip_line(&mut self) {
        self.take_until(b'\n');
        if self.peek().is_some() {
            self.at += 1;
            self.line += 1;
        }
    }

    /// Everything up to `end`, which stays.
    fn take_until(&mut self, end: u8) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| *byte == end).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn assignment(&mut self) -> Result<(OsString, Vec<Part>), &'static str> {
        if let Some(b"export" | b"export\t") = self.rest().get(..6)
            && matches!(self.text.get(self.at + 6), Some(b' ' | b'\t'))
        {
            self.at += 6;
            self.skip_blank();
        }
        let rest = self.rest();
        let name = &rest[..template::name_length(rest)];
        if name.is_empty() {
            return Err("a line must begin with the name of a variable");
        }
        self.at += name.len();
        self.skip_blank();
        if self.peek() != Some(b'=') {
            return Err("expected `NAME=value`");
        }
        self.at += 1;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        let value = match self.peek() {
            Some(quote @ (b'\'' | b'"')) => self.quoted(quote)?,
            _ => self.unquoted()?,
        };
        Ok((OsStr::from_bytes(name).to_owned(), value))
    }

    fn unquoted(&mut self) -> Result<Vec<Part>, &'static str> {
        let before = self.at.checked_sub(1).map(|at| self.text[at]);
        let line = self.take_until(b'\n');
        let blank = |byte: &u8| byte.is_ascii_whitespace();
        let comment = (0..line.len()).find(|&at| {
            let previous = if at == 0 { before } else { Some(line[at - 1]) };
            line[at] == b'#' && previous.as_ref().is_some_and(blank)
        });
        let value = line[..comment.unwrap_or(line.len())].trim_ascii();
        self.skip_line();
        template::parse(value, Escapes::Dollar)
    }

    fn quoted(&mut self, quote: u8) -> Result<Vec<Part>, &'static str> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                None => return Err("the quote is not closed"),
                Some(byte) if byte == quote => break,
                Some(b'\\') if quote == b'"' => self.at += 1,
                Some(_) => {}
            }
            if self.peek() == Some(b'\n') {
                self.line += 1;
            }
            self.at = (self.at + 1).min(self.text.len());
        }
        let inner = &self.text[start..self.at];
        self.at += 1;
        self.skip_blank();
        match self.peek() {
            None | Some(b'\n' | b'#') => self.skip_line(),
            Some(_) => return Err("only a comment may follow the closing quote"),
        }
        match quote {
            b'"' => template::parse(inner, Escapes::Quoted),
            _ if inner.is_empty() => Ok(Vec::new()),
            _ => Ok(vec![Part::Literal(inner.to_vec())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Result<Vec<(String, String)>, SyntaxError> {
        let text_of = |text: OsString| text.into_string().expect("the test's text is UTF-8");
        let assignments = parse(text.as_bytes())?;
        Ok(assignments
            .into_iter()
            .map(|a| {
                let value = template::expand(&a.value, &mut |name| {
                    (name == "HOME").then(|| "/home/me".into())
                });
                (text_of(a.name), text_of(value))
            })
            .collect())
    }

    #[track_caller]
    fn assert_value(text: &str, expected: &str) {
        assert_eq!(values(text), Ok(vec![("A".to_owned(), expected.to_owned())]), "{text}");
    }

    #[test]
    fn each_form_of_a_value_is_read() {
        assert_value("A=", "");
        assert_value("A=b c  # comment", "b c");
        assert_value("A=#b", "#b");
        assert_value("A= # only a comment", "");
        assert_value("A=b#c", "b#c");
        assert_value("  export\tA = b\r\n", "b");
        assert_value("\u{feff}# first\n\nA='b\"$HOME\\n' # c", "b\"$HOME\\n");
        assert_value("A=\"b\\n\\\"c\\\" ${HOME}\"", "b\n\"c\" /home/me");
        assert_value("A=\"one\ntwo\"\n# end", "one\ntwo");
        assert_value("A='one\ntwo'", "one\ntwo");
        assert_value("A=it's $HOME", "it's /home/me");
        assert_value("A=a=b=c", "a=b=c");
        assert_value("A=''", "");
    }

    #[test]
    fn export_may_be_a_name() {
        assert_eq!(values("export=1"), Ok(vec![("export".to_owned(), "1".to_owned())]));
    }

    #[test]
    fn errors_name_the_line_where_the_assignment_begins() {
        for (text, line) in [
            ("A=1\nB\n", 2),
            ("A='x\ny'\n2=3", 3),
            ("\n\nA=\"x\n\n", 3),
            ("A='x'y", 1),
            ("A=1\nB=$(date)", 2),
            ("A=1\n=2", 2),
            ("A=\"\\", 1),
            ("A=a\0b", 1),
        ] {
            assert_eq!(values(text).map_err(|error| error.line), Err(line), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        let assignments = parse(b"A='\xff'").expect("the file is well-formed");
        assert_eq!(assignments[0].value, [Part::Literal(vec![0xff])]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(text in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&text);
        }

        #[test]
        fn any_text_of_the_syntax_is_parsed_or_refused(text in "[A='\"\\\\$#{} \n\r]{0,30}") {
            if let Ok(assignments) = parse(text.as_bytes()) {
                prop_assert!(assignments.iter().all(|a| template::is_name(&a.name)));
            }
        }
    }
}
