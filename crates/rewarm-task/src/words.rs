//! Command lines: which of them need no shell, and how arguments are quoted for one.
//!
//! A line that any shell would split into the same plain words is executed as these words; any other
//! is left to the shell of its dialect. In doubt a shell is needed: that is slower, never wrong.

use crate::definition::Dialect;

/// Words that only a shell can run.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "elif",
    "else", "esac", "eval", "exec", "exit", "export", "fc", "fg", "fi", "for", "getopts", "hash",
    "if", "in", "jobs", "read", "readonly", "return", "set", "shift", "shopt", "source", "then",
    "time", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while",
];

/// Commands that pixi's shell has built in, and which may differ from the programs of that name.
const PIXI_BUILTINS: &[&str] = &[
    "cat", "cp", "echo", "false", "head", "mkdir", "mv", "pwd", "rm", "sleep", "test", "true",
    "xargs",
];

/// The arguments of a command line that needs no shell; `None` if it does.
///
/// Single and double quotes group as they do for a shell; whatever else a shell would interpret
/// (expansion, redirection, lists, assignments, its own commands) needs one.
pub(crate) fn split(line: &str, dialect: Dialect) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.trim().chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '$' | '`' | '\\') => return None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '=') if words.is_empty() => return None,
            (None, c) if "\n\r|&;<>()$`\\*?[]#~{}!%".contains(c) => return None,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let first = words.first()?.as_str();
    let is_builtin = dialect == Dialect::Pixi && PIXI_BUILTINS.contains(&first);
    (quote.is_none() && !is_builtin && !SHELL_WORDS.contains(&first)).then_some(words)
}

/// One line out of a list of arguments, as pixi writes it for its shell: blanks and brackets are
/// kept together, while variables and operators stay what they are.
pub(crate) fn join(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| group(word)).collect();
    words.join(" ")
}

fn group(word: &str) -> String {
    if word.is_empty() {
        return "\"\"".to_owned();
    }
    if !word.contains(['\t', '\r', '\n', ' ', '[', ']']) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// A word that stands for itself in a shell.
pub(crate) fn literal(word: &str) -> String {
    format!("'{}'", word.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_commands_are_argument_lists_and_others_need_a_shell() {
        let plain = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
        for (line, words) in [
            ("pytest -k 'a b'  \"c d\"", plain(&["pytest", "-k", "a b", "c d"])),
            ("a ''", plain(&["a", ""])),
            ("env A=1 b", plain(&["env", "A=1", "b"])),
            (" a\tb ", plain(&["a", "b"])),
            ("a && b", None),
            ("A=1 b", None),
            ("printf $HOME", None),
            ("printf \"$HOME\"", None),
            ("printf '$HOME'", plain(&["printf", "$HOME"])),
            ("ls *.py", None),
            ("cd src", None),
            ("printf 'open", None),
            ("", None),
        ] {
            for dialect in [Dialect::Rewarm, Dialect::Pixi] {
                assert_eq!(split(line, dialect), words, "{line}");
            }
        }
        assert_eq!(split("echo a", Dialect::Rewarm), plain(&["echo", "a"]));
        assert_eq!(split("echo a", Dialect::Pixi), None);
    }

    #[test]
    fn lists_are_joined_as_pixi_does() {
        let words = ["a", "b c", "", "x[0]", "say \"hi\"", "$HOME", "&&"].map(str::to_owned);
        assert_eq!(join(&words), r#"a "b c" "" "x[0]" "say \"hi\"" $HOME &&"#);
    }

    #[test]
    fn literal_words_survive_any_shell() {
        for word in ["it's", "a b", "$HOME", "\\", "", "\"", "a\nb"] {
            let script = format!("printf %s {}", literal(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output();
            assert_eq!(output.expect("sh runs").stdout, word.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn quoted_words_are_split_as_a_shell_does(
            words in prop::collection::vec("[^'\0]{0,6}", 0..4),
        ) {
            let line = words.iter().fold("cmd".to_owned(), |line, word| format!("{line} '{word}'"));
            let mut expected = vec!["cmd".to_owned()];
            expected.extend(words);
            prop_assert_eq!(split(&line, Dialect::Pixi), Some(expected));
        }
    }
}
