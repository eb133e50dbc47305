//! Which variables a shell's text may read, found without running it.
//!
//! The answer is always too large, never too small: quotes, comments and nesting are not
//! understood, so whatever looks like a use is one. Names that are put together while the text
//! runs cannot be found, so everything that could use one makes all variables count. Arithmetic
//! is the hard case, because it reads the variable that another variable's value names.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{HostFact, Unprovable};
use crate::delta::Variables;

/// The variables of a caller that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// These, each whether it is set or not; and the functions that the caller exports, whose
    /// variables begin with `BASH_FUNC_`.
    Named(BTreeSet<OsString>),
    /// Every variable.
    All {
        /// Why that is.
        why: String,
    },
}

/// What bash reads by itself when it runs a script.
const SHELL: [&str; 24] = [
    "BASHOPTS",
    "BASH_COMPAT",
    "BASH_ENV",
    "BASH_LOADABLES_PATH",
    "BASH_XTRACEFD",
    "CDPATH",
    "CHILD_MAX",
    "ENV",
    "EXECIGNORE",
    "FUNCNEST",
    "GLOBIGNORE",
    "HOME",
    "IFS",
    "OPTERR",
    "OPTIND",
    "POSIXLY_CORRECT",
    "POSIX_PEDANTIC",
    "PS4",
    "SHELLOPTS",
    "TEXTDOMAIN",
    "TEXTDOMAINDIR",
    "TIMEFORMAT",
    "TMOUT",
    "TMPDIR",
];

/// Words after which nothing can be told.
const DYNAMIC: [&str; 6] = ["eval", "env", "printenv", "compgen", "enable", "fc"];
/// Words after which names stand; without one they list all variables.
const DECLARING: [&str; 5] = ["declare", "export", "local", "readonly", "typeset"];
/// Words after which names are given a value, or lose it.
const ASSIGNING: [&str; 8] =
    ["coproc", "for", "getopts", "mapfile", "read", "readarray", "select", "unset"];

/// Words whose answer differs each time, as text shows them.
const VOLATILE: [&str; 9] = [
    "BASHPID",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SRANDOM",
    "ulimit",
    "umask",
];

/// The variables that a text for a POSIX shell or bash may read, for a caller with these
/// variables.
///
/// The scripts that it sources are texts of their own. Variables that other programs read are not
/// seen.
pub fn variables_read(script: &[u8], environment: &Variables) -> Names {
    Scan::of(script).names(environment)
}

/// What a text says about variables.
#[derive(Debug, Default)]
pub(super) struct Scan {
    names: BTreeSet<Vec<u8>>,
    /// Names in arithmetic, whose values are expressions.
    arithmetic: BTreeSet<Vec<u8>>,
    all: Option<String>,
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The words made of letters, digits and underscores, and where they begin.
fn words(line: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += line[at..].iter().position(|byte| is_name(*byte))?;
        let start = at;
        at += line[at..].iter().position(|byte| !is_name(*byte)).unwrap_or(line.len() - at);
        Some((start, &line[start..at]))
    })
}

fn identifiers(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    words(line).map(|(_, word)| word).filter(|word| !word[0].is_ascii_digit())
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// Without line breaks that a backslash takes away.
fn joined(text: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.peek() == Some(&b'\n') {
            bytes.next();
        } else {
            joined.push(byte);
        }
    }
    joined
}

/// Whether nothing on a line can be a command. In a document within a script such a line may still
/// hold expansions.
fn is_comment(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"#") && !contains(line, b"$(") && !line.contains(&b'`')
}

impl Scan {
    pub(super) fn of(text: &[u8]) -> Self {
        let text = joined(text);
        let mut scan = Self::default();
        let lines = || text.split(|byte| *byte == b'\n');
        for line in lines() {
            scan.uses(line);
            if !is_comment(line) {
                scan.commands(line);
            }
            scan.arithmetic(line);
        }
        while scan.all.is_none() {
            let before = scan.arithmetic.len();
            lines().for_each(|line| scan.arithmetic_values(line));
            if scan.arithmetic.len() == before {
                break;
            }
        }
        scan
    }

    fn all(&mut self, why: &str, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line: String = line.trim().chars().take(60).collect();
        self.all.get_or_insert_with(|| format!("{why} in `{line}`"));
    }

    pub(super) fn names(self, environment: &Variables) -> Names {
        if let Some(why) = self.all {
            return Names::All { why };
        }
        for name in &self.arithmetic {
            let value = environment.get(OsStr::from_bytes(name));
            if value.is_some_and(|value| {
                value.as_bytes().iter().any(|byte| !b"0123456789".contains(byte))
            }) {
                let name = String::from_utf8_lossy(name);
                return Names::All { why: format!("`{name}` is computed with, but is no number") };
            }
        }
        let mut names: BTreeSet<OsString> = SHELL.into_iter().map(OsString::from).collect();
        names.extend(self.names.into_iter().chain(self.arithmetic).map(OsString::from_vec));
        Names::Named(names)
    }

    /// Names after a dollar sign, assigned names, subscripts.
    fn uses(&mut self, line: &[u8]) {
        for (at, byte) in line.iter().enumerate() {
            if *byte != b'$' {
                continue;
            }
            let mut rest = &line[at + 1..];
            let braced = rest.first() == Some(&b'{');
            if braced {
                rest = &rest[1..];
                if rest.first() == Some(&b'!') {
                    self.all("an indirect name", line);
                }
                rest = rest.strip_prefix(b"#").unwrap_or(rest);
            }
            let end = rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
            if end > 0 && !rest[0].is_ascii_digit() {
                self.names.insert(rest[..end].to_vec());
            }
            if braced && contains(&rest[end..], b"@P") {
                self.all("a value that is expanded once more", line);
            }
        }
        for (start, word) in words(line) {
            let rest = &line[start + word.len()..];
            let assigned =
                rest.starts_with(b"=") || rest.starts_with(b"+=") || rest.starts_with(b"[");
            let opened = rest.starts_with(b"}") && start > 0 && line[start - 1] == b'{';
            if !word[0].is_ascii_digit() && (assigned || opened) {
                self.names.insert(word.to_vec());
            }
        }
    }

    /// Builtins that take names, or list them.
    fn commands(&mut self, line: &[u8]) {
        let comes_from_pipe = contains(line, b"<(") || contains(line, b"/dev/fd");
        for (start, word) in words(line) {
            let Ok(text) = std::str::from_utf8(word) else { continue };
            let rest = &line[start + word.len()..];
            let command =
                &rest[..rest.iter().position(|byte| b";|&\n".contains(byte)).unwrap_or(rest.len())];
            // The last step of a caller's script hands over what is left.
            let handed_over = line.starts_with(b"exec ") && rest.starts_with(b" -0 ");
            if DYNAMIC.contains(&text) && !handed_over {
                self.all("names that only a run tells", line);
            } else if text == "set" {
                let next = rest.trim_ascii_start();
                if !matches!(next.first(), Some(b'-' | b'+')) || next.len() == rest.len() {
                    self.all("a list of variables", line);
                }
            } else if DECLARING.contains(&text) {
                self.declaring(command, line, text == "export" || text == "readonly");
            } else if ASSIGNING.contains(&text) || (text == "printf" && contains(command, b"-v")) {
                let names = command.split(|byte| b"<".contains(byte)).next().unwrap_or_default();
                let names = match text {
                    "for" | "select" => {
                        names.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
                    }
                    _ => names,
                };
                if text != "for" && text != "select" && text != "printf" && names.contains(&b'$') {
                    self.all("a name that is put together", line);
                }
                if text == "printf" && contains(command, b"-v $") | contains(command, b"-v \"$") {
                    self.all("a name that is put together", line);
                }
                self.names.extend(identifiers(line).map(<[u8]>::to_vec));
            } else if text == "source" && comes_from_pipe {
                self.all("text from a pipe", line);
            }
        }
        if comes_from_pipe && line.trim_ascii_start().starts_with(b". ") {
            self.all("text from a pipe", line);
        }
        for operator in [&b"-v"[..], b"-R"] {
            if let Some(at) = line.windows(2).position(|part| part == operator) {
                self.names.extend(identifiers(line).map(<[u8]>::to_vec));
                let next = line[at + 2..].trim_ascii_start();
                if next.starts_with(b"$") || next.starts_with(b"\"$") {
                    self.all("a name that is put together", line);
                }
            }
        }
    }

    /// `declare` and its kin.
    fn declaring(&mut self, command: &[u8], line: &[u8], exports: bool) {
        let mut any = false;
        for word in command.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty())
        {
            if word.starts_with(b"-") || word.starts_with(b"+") {
                if word.contains(&b'n') && !exports {
                    self.all("a reference", line);
                }
                continue;
            }
            any = true;
            let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
            let put_together = name.contains(&b'$') || name.contains(&b'`');
            if put_together && !(exports && word.contains(&b'=')) {
                self.all("a name that is put together", line);
            }
            self.names.extend(identifiers(name).map(<[u8]>::to_vec));
        }
        if !any {
            self.all("a list of variables", line);
        }
    }

    /// Lines in which something is computed: all names on them count, and what their values name.
    fn arithmetic(&mut self, line: &[u8]) {
        if !computes(line) {
            return;
        }
        let built = line.iter().enumerate().any(|(at, byte)| {
            *byte == b'`'
                || (*byte == b'$'
                    && (is_built(line, at)
                        || matches!(line.get(at + 1), Some(b'1'..=b'9' | b'@' | b'*'))
                        || (line[at + 1..].starts_with(b"(")
                            && !line[at + 1..].starts_with(b"(("))))
        });
        if built {
            self.all("an expression that is put together", line);
        }
        self.arithmetic.extend(identifiers(line).map(<[u8]>::to_vec));
    }

    /// What is assigned to names that are computed with.
    fn arithmetic_values(&mut self, line: &[u8]) {
        let assigning = words(line).any(|(_, word)| {
            ASSIGNING.iter().any(|known| known.as_bytes() == word) || word == b"printf"
        });
        let computed = |name: &[u8]| {
            self.arithmetic.contains(name)
                && !KEYWORDS.iter().chain(&ASSIGNING).any(|word| word.as_bytes() == name)
        };
        if assigning && !contains(line, b"for ((") && identifiers(line).any(computed) {
            self.all("a number that is read", line);
        }
        let mut found = BTreeSet::new();
        let mut built = false;
        for (start, word) in words(line) {
            let rest = &line[start + word.len()..];
            let rest = rest.strip_prefix(b"+").unwrap_or(rest);
            let Some(value) = rest.strip_prefix(b"=") else { continue };
            if !self.arithmetic.contains(word) {
                continue;
            }
            let end = value.iter().position(|byte| b" \t;&|)".contains(byte));
            let value = &value[..end.unwrap_or(value.len())];
            let literal = value.iter().all(|byte| is_name(*byte) || b"+-*/%<>=!".contains(byte));
            let number = value.starts_with(b"$((");
            let whole =
                value.strip_prefix(b"$").is_some_and(|name| name.iter().all(|byte| is_name(*byte)));
            built |= !(literal || number || whole)
                || (line[start + word.len()..].starts_with(b"+")
                    && !value.iter().all(u8::is_ascii_digit));
            found.extend(identifiers(value).map(<[u8]>::to_vec));
        }
        if built {
            self.all("a number that is put together", line);
        }
        self.arithmetic.append(&mut found);
    }
}

/// Words of the language, which are no variables where something is computed.
const KEYWORDS: [&str; 12] =
    ["if", "then", "else", "fi", "while", "do", "done", "for", "in", "read", "echo", "printf"];

/// Whether an expression may be evaluated on this line.
fn computes(line: &[u8]) -> bool {
    const MARKS: [&[u8]; 10] =
        [b"((", b"$[", b"let ", b"-eq", b"-ne", b"-lt", b"-le", b"-gt", b"-ge", b" -i"];
    let subscript = |at: usize| {
        at > 0 && is_name(line[at - 1]) && !matches!(line.get(at + 1), Some(b'@' | b'*'))
    };
    let offset = |at: usize| {
        at > 0
            && (is_name(line[at - 1]) || b"@*]".contains(&line[at - 1]))
            && !matches!(line.get(at + 1), Some(b'-' | b'+' | b'=' | b'?' | b'/' | b'$') | None)
            && contains(&line[..at], b"${")
            && contains(&line[at..], b"}")
    };
    MARKS.iter().any(|mark| contains(line, mark))
        || line.iter().enumerate().any(|(at, byte)| match byte {
            b'[' => subscript(at),
            b':' => offset(at),
            _ => false,
        })
}

/// Whether an expansion touches letters, digits or another expansion.
fn is_built(line: &[u8], at: usize) -> bool {
    let before = at > 0 && (is_name(line[at - 1]) || line[at - 1] == b'}');
    let rest = &line[at + 1..];
    let end = match rest.first() {
        Some(b'{') => rest.iter().position(|byte| *byte == b'}').map_or(rest.len(), |end| end + 1),
        _ => rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len()),
    };
    let after = rest.get(end).is_some_and(|byte| *byte == b'$' || is_name(*byte));
    before || (after && !rest.starts_with(b"("))
}

/// What the text shows to be different each time.
pub(super) fn volatile(text: &[u8], into: &mut BTreeSet<Unprovable>) {
    let mut found = |what: &str| {
        into.insert(Unprovable::Text { what: what.to_owned() });
    };
    let lines = text.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !is_comment(line) || line.contains(&b'$')) {
        for word in identifiers(line) {
            if let Some(known) = VOLATILE.iter().find(|known| known.as_bytes() == word) {
                found(known);
            }
        }
        for mark in ["$$", "${$", "$!", "%(", "@P", "jobs -", " -nt ", " -ot ", "-N "] {
            if contains(line, mark.as_bytes()) {
                found(mark);
            }
        }
    }
}

/// What the shell itself knows of the host, as far as the text asks for it.
pub(super) fn facts(text: &[u8]) -> BTreeSet<HostFact> {
    identifiers(text)
        .filter_map(|word| match word {
            b"HOSTNAME" => Some(HostFact::System),
            b"UID" | b"EUID" | b"GROUPS" => Some(HostFact::User),
            b"PWD" | b"OLDPWD" | b"DIRSTACK" | b"pwd" | b"cd" | b"pushd" | b"popd" | b"dirs" => {
                Some(HostFact::WorkingDirectory)
            }
            _ => None,
        })
        .collect()
}
