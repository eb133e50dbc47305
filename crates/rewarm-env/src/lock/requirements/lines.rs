//! The lines of a requirements file: joined, without comments, split into what they mean.
//!
//! Follows pip's requirements file format; what a pinned file has no use for is refused by name
//! rather than ignored, unless ignoring it cannot change which files are installed.

use super::super::{Hash, HashAlgorithm, LockError, Place};

/// What one logical line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// `-r FILE`.
    Include(String),
    /// `-c FILE`.
    Constraints(String),
    /// `--index-url URL`, which comes before those of `--extra-index-url`.
    Index(String),
    /// `--extra-index-url URL`.
    ExtraIndex(String),
    /// `--require-hashes`.
    RequireHashes,
    /// `-e TARGET`.
    Editable(String),
    /// A requirement with its `--hash` options.
    Requirement(String, Vec<Hash>),
    /// Nothing that matters here.
    Nothing,
}

/// Logical lines with the number of their first physical line.
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let is_comment = line.trim_start().starts_with('#');
        let (_, so_far) = joined.get_or_insert_with(|| (index + 1, String::new()));
        if !is_comment && let Some(part) = line.strip_suffix('\\') {
            so_far.push_str(part);
            continue;
        }
        if is_comment {
            so_far.push(' ');
        }
        so_far.push_str(line);
        lines.extend(joined.take());
    }
    lines.extend(joined);
    for (_, line) in &mut lines {
        *line = without_comment(line).trim().to_owned();
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

/// A `#` begins a comment at the start of the line or after white space.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (index, letter) in line.char_indices() {
        if letter == '#' && before.is_whitespace() {
            return &line[..index];
        }
        before = letter;
    }
    line
}

/// Understands one logical line.
pub(super) fn parse(place: Place<'_>, line: &str) -> Result<Line, LockError> {
    if let Some(start) = line.find("${")
        && let Some(length) = line[start..].find('}')
    {
        let variable = &line[start..=start + length];
        let mend = "write the value itself; credentials belong into netrc or a keyring";
        return Err(place.unsupported(format!("the variable `{variable}`"), mend));
    }
    if !line.starts_with('-') {
        return requirement(place, line);
    }
    let (option, value) = split_option(line);
    let needs_value = |make: fn(String) -> Line| match value {
        Some(value) => Ok(make(unquoted(value))),
        None => Err(place.invalid(format!("option `{option}` needs a value"))),
    };
    match option {
        "-r" | "--requirement" => needs_value(Line::Include),
        "-c" | "--constraint" => needs_value(Line::Constraints),
        "-i" | "--index-url" | "--pypi-url" => needs_value(Line::Index),
        "--extra-index-url" => needs_value(Line::ExtraIndex),
        "-e" | "--editable" => needs_value(Line::Editable),
        "--require-hashes" => Ok(Line::RequireHashes),
        // With every version pinned, these cannot change what is chosen.
        "--pre" | "--prefer-binary" | "--trusted-host" | "--use-feature" => Ok(Line::Nothing),
        _ => Err(place.unsupported(format!("option `{option}`"), "remove it from the file")),
    }
}

/// `--option value`, `--option=value` or `-ovalue`.
fn split_option(line: &str) -> (&str, Option<&str>) {
    if !line.starts_with("--") && line.len() > 2 && line.is_char_boundary(2) {
        let (option, value) = line.split_at(2);
        let value = value.trim_start();
        return (option, Some(value.strip_prefix('=').unwrap_or(value).trim()));
    }
    match line.find(|letter: char| letter == '=' || letter.is_whitespace()) {
        Some(at) => {
            let value = line[at..].trim_start_matches(|c: char| c == '=' || c.is_whitespace());
            (&line[..at], Some(value.trim()).filter(|value| !value.is_empty()))
        }
        None => (line, None),
    }
}

fn unquoted(value: &str) -> String {
    let pair = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    pair('"').or_else(|| pair('\'')).unwrap_or(value).to_owned()
}

/// Splits the options off a requirement.
fn requirement(place: Place<'_>, line: &str) -> Result<Line, LockError> {
    let mut words = line.split_whitespace().peekable();
    let mut text = Vec::new();
    while let Some(word) = words.next_if(|word| !word.starts_with("--")) {
        text.push(word);
    }
    let mut hashes = Vec::new();
    while let Some(word) = words.next() {
        let (option, value) = word.split_once('=').unwrap_or((word, ""));
        if option != "--hash" {
            return Err(place.unsupported(format!("option `{option}`"), "remove it from the line"));
        }
        let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
        hashes.push(hash(place, value)?);
    }
    Ok(Line::Requirement(text.join(" "), hashes))
}

/// `sha256:HEX`.
pub(super) fn hash(place: Place<'_>, text: &str) -> Result<Hash, LockError> {
    let (algorithm, hex) = text.split_once([':', '=']).unwrap_or((text, ""));
    if HashAlgorithm::from_name(algorithm).is_none() {
        let message = format!("digest `{text}` is not a sha256, sha384 or sha512");
        return Err(place.invalid(message));
    }
    Hash::parse(algorithm, hex).ok_or_else(|| place.invalid(format!("`{hex}` is no {algorithm}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn lines(text: &str) -> Vec<(usize, Line)> {
        let place = |line| Place { path: Path::new("requirements.txt"), line };
        logical_lines(text)
            .into_iter()
            .map(|(line, text)| (line, parse(place(line), &text).expect("a valid line")))
            .collect()
    }

    #[test]
    fn lines_are_joined_and_comments_dropped() {
        let sha = "a".repeat(64);
        let text = format!(
            "# head\na==1 \\\n  --hash=sha256:{sha} \\\n  --hash sha256:{sha}\n\nb==2 # why\nc#d==1\n"
        );
        let hash = Hash::parse("sha256", &sha).expect("a digest");
        let expected = [
            (2, Line::Requirement("a==1".to_owned(), vec![hash.clone(), hash])),
            (6, Line::Requirement("b==2".to_owned(), vec![])),
            (7, Line::Requirement("c#d==1".to_owned(), vec![])),
        ];
        assert_eq!(lines(&text), expected);
    }

    #[test]
    fn options_come_in_every_spelling() {
        let text =
            "-r a.txt\n-rb.txt\n--requirement=c.txt\n--requirement \"d e.txt\"\n-c x\n--pre\n";
        let include = |name: &str| Line::Include(name.to_owned());
        let expected = [include("a.txt"), include("b.txt"), include("c.txt"), include("d e.txt")];
        let found: Vec<_> = lines(text).into_iter().map(|(_, line)| line).collect();
        assert_eq!(found[..4], expected);
        assert_eq!(found[4..], [Line::Constraints("x".to_owned()), Line::Nothing]);
    }

    #[test]
    fn a_comment_ends_a_continuation() {
        let found: Vec<_> =
            lines("a==1 \\\n# note\nb==2").into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, [1, 3]);
    }
}
