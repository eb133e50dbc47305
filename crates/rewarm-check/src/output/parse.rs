//! Reading the text that checkers print.
//!
//! mypy and zuban print `path:line[:column[:end_line:end_column]]: severity: message  [code]`, and
//! with `--pretty` wrap the message and add the source. ty prints a headline, an arrow with the place,
//! and annotated source, or one line with `--output-format concise`; pyrefly likewise. pyright prints
//! a place, a dash and the message, with more lines indented below. Colours are taken away before.

use super::{Bases, Diagnostic, Location, Note, Severity};

/// The messages in what the checker `tool` printed on its two streams.
pub fn diagnostics(
    tool: &str,
    (stdout, stderr): (&[u8], &[u8]),
    exit_code: i32,
    bases: &Bases,
) -> Vec<Diagnostic> {
    let text = plain(&String::from_utf8_lossy(stdout));
    let mut found = match tool {
        "mypy" | "zuban" => mypy(&text, bases),
        "pyright" => pyright(&text, bases),
        _ => arrows(&text, bases),
    };
    let failed = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    // ty can be told to fail for warnings.
    if exit_code > 1 || exit_code == 1 && !failed && found.is_empty() {
        let message = format!("{text}{}", plain(&String::from_utf8_lossy(stderr)));
        found.push(Diagnostic {
            location: None,
            severity: Severity::Error,
            code: None,
            message: message.trim().to_owned(),
            notes: Vec::new(),
        });
    }
    found
}

/// A text without the escape sequences of terminals (ECMA-48 `CSI` and `OSC`) and their shifts between
/// character sets, which end a colour where `TERM` is `screen` or `tmux`.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            plain.extend(Some(c).filter(|c| !matches!(c, '\x0e' | '\x0f')));
            continue;
        }
        match rest.next() {
            Some('[') => drop(rest.find(|c| ('@'..='~').contains(c))),
            Some(']') => {
                let mut before = ' ';
                let ends = |c: &char| {
                    let end = *c == '\x07' || before == '\x1b' && *c == '\\';
                    before = *c;
                    end
                };
                let _ = rest.find(ends);
            }
            // A character set takes one more.
            Some('(') => drop(rest.next()),
            _ => {}
        }
    }
    plain
}

/// Messages in the form of mypy.
fn mypy(text: &str, bases: &Bases) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    // Whether the next line can go on with a message that was wrapped.
    let mut is_open = false;
    for line in text.lines() {
        let Some((location, severity, message)) = mypy_line(line, bases) else {
            let is_source = line.starts_with(' ') || line.is_empty() || is_numbered_source(line);
            is_open &= !is_source && !is_summary(line);
            if is_open && let Some(last) = found.last_mut() {
                let message = match last.notes.last_mut() {
                    Some(note) => &mut note.message,
                    None => &mut last.message,
                };
                message.truncate(message.trim_end().len());
                message.push(' ');
                message.push_str(line);
            }
            continue;
        };
        is_open = true;
        let last = found.last_mut().filter(|_| severity == Severity::Note);
        if let Some(last) = last.filter(|last| belongs(last, &location, message)) {
            let place = (last.location.as_ref() != Some(&location)).then_some(location);
            last.notes.push(Note { location: place, message: message.to_owned() });
            continue;
        }
        let location = Some(location);
        let message = message.to_owned();
        found.push(Diagnostic { location, severity, code: None, message, notes: Vec::new() });
    }
    for diagnostic in &mut found {
        (diagnostic.message, diagnostic.code) = split_code(&diagnostic.message, "[", "]");
    }
    found
}

/// Place, severity and message of one line.
fn mypy_line<'a>(line: &'a str, bases: &Bases) -> Option<(Location, Severity, &'a str)> {
    let words = [
        (": error: ", Severity::Error),
        (": note: ", Severity::Note),
        (": warning: ", Severity::Warning),
    ];
    let at = |(word, severity)| line.find(word).map(|at: usize| (at, word, severity));
    let (at, word, severity): (usize, &str, Severity) =
        words.into_iter().filter_map(at).min_by_key(|found| found.0)?;
    if line.starts_with(' ') || is_numbered_source(line) {
        return None;
    }
    Some((location(&line[..at], bases)?, severity, &line[at + word.len()..]))
}

/// `path`, `path:line`, `path:line:column` or `path:line:column:end_line:end_column`.
fn location(text: &str, bases: &Bases) -> Option<Location> {
    let mut numbers = Vec::new();
    let mut path = text;
    while let Some((before, number)) = path.rsplit_once(':')
        && numbers.len() < 4
        && let Ok(number) = number.parse::<u32>()
    {
        numbers.push(number);
        path = before;
    }
    numbers.reverse();
    let number = |index: usize| numbers.get(index).copied().filter(|number| *number > 0);
    (!path.is_empty()).then(|| Location {
        path: bases.told(path),
        line: number(0),
        column: number(1),
        end_line: number(2),
        end_column: number(3),
    })
}

/// Whether a note explains the message before it: it is at its place, or says where something is
/// that the message speaks of. What `reveal_type` says stands for itself.
fn belongs(last: &Diagnostic, location: &Location, note: &str) -> bool {
    const OWN: [&str; 2] = ["Revealed type is", "Revealed local types are"];
    let told = |text: &str| OWN.iter().any(|own| text.starts_with(own));
    if told(note) || told(&last.message) && !note.starts_with(' ') {
        return false;
    }
    let place = last.location.as_ref().map(|place| (&place.path, place.line));
    place == Some((&location.path, location.line)) || note.ends_with("defined here")
}

/// `12 | source`, as zuban shows it.
fn is_numbered_source(line: &str) -> bool {
    let number = line.split_once(" | ").map(|(number, _)| number);
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_summary(line: &str) -> bool {
    line.starts_with("Found ") || line.starts_with("Success: ")
}

/// Splits a code off the end of a message.
fn split_code(message: &str, open: &str, close: &str) -> (String, Option<String>) {
    let whole = || (message.to_owned(), None);
    let Some(rest) = message.strip_suffix(close) else { return whole() };
    let Some((text, code)) = rest.rsplit_once(open) else { return whole() };
    let is_code = !code.is_empty()
        && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && text.ends_with([' ', '\n']);
    if is_code { (text.trim_end().to_owned(), Some(code.to_owned())) } else { whole() }
}

/// Messages of ty and pyrefly: a headline and an arrow, or one line.
fn arrows(text: &str, bases: &Bases) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    // Whether a place that comes now is that of the message itself.
    let mut wants_place = false;
    for line in text.lines() {
        if let Some(diagnostic) = one_line(line, bases) {
            wants_place = false;
            found.push(diagnostic);
        } else if let Some((severity, code, message)) = headline(line) {
            let (message, after) = split_code(message, "[", "]");
            let code = code.or(after);
            let notes = Vec::new();
            found.push(Diagnostic { location: None, severity, code, message, notes });
            wants_place = true;
        } else if let Some(last) = found.last_mut() {
            let arrow = line
                .trim_start()
                .strip_prefix("--> ")
                .or_else(|| line.trim_start().strip_prefix("::: "));
            if let Some(place) = arrow.and_then(|place| location(place, bases)) {
                match last.notes.last_mut() {
                    Some(note) if !wants_place => note.location = Some(place),
                    _ => last.location = last.location.take().or(Some(place)),
                }
                wants_place = false;
            } else if let Some(message) = note(line) {
                last.notes.push(Note { location: None, message: message.to_owned() });
            }
        }
    }
    found
}

/// A note's text: `info: …` and `help: …` of ty, or a line that pyrefly adds below the source.
fn note(line: &str) -> Option<&str> {
    let told = ["info: ", "help: ", "note: "].iter().find_map(|word| line.strip_prefix(word));
    let below = || {
        let text = line.strip_prefix("  ").filter(|text| !text.starts_with(['|', ' ', '-', '+']));
        text.filter(|text| !text.is_empty())
    };
    told.or_else(below)
}

const SEVERITIES: [(&str, Severity); 8] = [
    ("error", Severity::Error),
    ("fatal", Severity::Error),
    ("warning", Severity::Warning),
    ("info", Severity::Note),
    ("ERROR", Severity::Error),
    ("WARN", Severity::Warning),
    ("WARNING", Severity::Warning),
    ("INFO", Severity::Note),
];

/// `error[code]: message` (ty) or `ERROR message [code]` (pyrefly).
fn headline(line: &str) -> Option<(Severity, Option<String>, &str)> {
    for (word, severity) in SEVERITIES {
        let line = line.strip_prefix(' ').unwrap_or(line);
        let Some(rest) = line.strip_prefix(word) else { continue };
        if let Some(rest) = rest.strip_prefix('[') {
            let (code, message) = rest.split_once("]: ")?;
            return Some((severity, Some(code.to_owned()), message));
        }
        if word.starts_with(|c: char| c.is_ascii_uppercase())
            && let Some(message) = rest.strip_prefix(' ')
        {
            return Some((severity, None, message.trim_start()));
        }
    }
    None
}

/// `path:line:column: error[code] message` (ty, concise) or
/// `ERROR path:line:column-column: message [code]` (pyrefly, minimal).
fn one_line(line: &str, bases: &Bases) -> Option<Diagnostic> {
    if let Some((severity, None, rest)) = headline(line) {
        let (place, message) = rest.split_once(": ")?;
        let (start, end) = match place.rsplit_once('-') {
            Some((start, end)) if !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()) => {
                (start, end.parse().ok())
            }
            _ => (place, None),
        };
        let mut place = location(start, bases)?;
        place.column?;
        // It prints the column after the last.
        place.end_column = end.map(|end: u32| end.saturating_sub(1));
        let (message, code) = split_code(message, "[", "]");
        let location = Some(place);
        return Some(Diagnostic { location, severity, code, message, notes: Vec::new() });
    }
    for (word, severity) in &SEVERITIES[..4] {
        let Some((place, rest)) = line.split_once(&format!(": {word}[")) else { continue };
        let (code, message) = rest.split_once("] ")?;
        return Some(Diagnostic {
            location: Some(location(place, bases)?),
            severity: *severity,
            code: Some(code.to_owned()),
            message: message.to_owned(),
            notes: Vec::new(),
        });
    }
    None
}

/// Messages of pyright.
fn pyright(text: &str, bases: &Bases) -> Vec<Diagnostic> {
    const WORDS: [(&str, Severity); 3] = [
        (" - error: ", Severity::Error),
        (" - warning: ", Severity::Warning),
        (" - information: ", Severity::Note),
    ];
    let mut found: Vec<Diagnostic> = Vec::new();
    // It indents with spaces that do not break.
    for line in text.replace('\u{a0}', " ").lines() {
        let start = WORDS.iter().find_map(|(word, severity)| {
            let (place, message) = line.strip_prefix("  ")?.split_once(word)?;
            let place = location(place, bases).filter(|place| place.column.is_some())?;
            Some((place, *severity, message))
        });
        if let Some((place, severity, message)) = start {
            let message = message.to_owned();
            let location = Some(place);
            found.push(Diagnostic { location, severity, code: None, message, notes: Vec::new() });
        } else if let Some(last) = found.last_mut()
            && line.starts_with("    ")
        {
            last.message.push('\n');
            last.message.push_str(&line[2..]);
        }
    }
    for diagnostic in &mut found {
        (diagnostic.message, diagnostic.code) = split_code(&diagnostic.message, "(", ")");
    }
    found
}
