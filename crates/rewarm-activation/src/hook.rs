//! An activation as text for a shell to evaluate, or as JSON for another program.
//!
//! The text is a list of assignments with finished values for one caller, so that evaluating it
//! sources nothing and starts nothing. It also defines `rewarm_deactivate`, which gives each
//! variable back the value (or absence) it had, through all activations of that shell. Variables
//! that a shell keeps for itself, or whose name it cannot hold, are left alone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use serde::Serialize;

use crate::delta::{Change, Variables, changes};
use crate::record::Activation;
use crate::template;

/// A shell that can be told to activate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash; the text suits every POSIX shell whose `unset` knows `-f`.
    Bash,
    /// Z shell.
    Zsh,
    /// fish 3 and later.
    Fish,
    /// xonsh.
    Xonsh,
    /// PowerShell 5 and later.
    PowerShell,
}

/// The name of a shell that is not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shell `{0}` is not supported: use bash, zsh, fish, xonsh or powershell")]
pub struct UnknownShell(String);

impl FromStr for Shell {
    type Err = UnknownShell;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "bash" | "sh" | "dash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            "xonsh" => Ok(Self::Xonsh),
            "powershell" | "pwsh" => Ok(Self::PowerShell),
            _ => Err(UnknownShell(name.to_owned())),
        }
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Xonsh => "xonsh",
            Self::PowerShell => "powershell",
        })
    }
}

/// An activation that cannot be written in the form that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value of `{name}` is not UTF-8, which {form} cannot express")]
pub struct HookError {
    /// The variable.
    pub name: String,
    /// The form.
    pub form: String,
}

/// What an exported variable may be called without a shell minding it being set or removed.
fn is_settable(name: &OsStr) -> bool {
    const KEPT: &[&str] =
        &["_", "BASHOPTS", "EUID", "OLDPWD", "PPID", "PWD", "SHELLOPTS", "SHLVL", "UID"];
    template::is_name(name) && !KEPT.iter().any(|kept| name == *kept)
}

fn settable_changes(activation: &Activation, caller: &Variables) -> Vec<Change> {
    let mut changes = changes(caller, &activation.environment_for(caller));
    changes.retain(|change| is_settable(&change.name));
    changes
}

/// The text that activates for this caller, to be given to the shell's `eval` or `source`.
pub fn hook(
    shell: Shell,
    activation: &Activation,
    caller: &Variables,
) -> Result<Vec<u8>, HookError> {
    let mut activate = Vec::new();
    let mut undo = Vec::new();
    for Change { name, before, after } in settable_changes(activation, caller) {
        activate.extend(assignment(shell, &name, after.as_deref())?);
        undo.extend(assignment(shell, &name, before.as_deref())?);
    }
    let (before_undo, undo, after_undo) = match shell {
        Shell::Bash | Shell::Zsh => ("_rewarm_undo=", posix_quoted(&undo), POSIX_DEACTIVATE),
        Shell::Fish => ("set -g _rewarm_undo ", fish_quoted(&undo), FISH_DEACTIVATE),
        Shell::Xonsh => ("_rewarm_undo = ", python_quoted(&undo), XONSH_DEACTIVATE),
        Shell::PowerShell => ("$global:_rewarm_undo = @({\n", undo, POWERSHELL_DEACTIVATE),
    };
    Ok([&activate, before_undo.as_bytes(), &undo, after_undo.as_bytes()].concat())
}

// Each text continues the assignment of the newest undo text by those of earlier activations.

const POSIX_DEACTIVATE: &str = r#"${_rewarm_undo-}
rewarm_deactivate() {
    eval "$_rewarm_undo"
    unset -v _rewarm_undo
    unset -f rewarm_deactivate
    hash -r 2>/dev/null || :
}
"#;

const FISH_DEACTIVATE: &str = r#" $_rewarm_undo
function rewarm_deactivate
    for undo in $_rewarm_undo
        eval $undo
    end
    set -e _rewarm_undo
    functions -e rewarm_deactivate
end
"#;

const XONSH_DEACTIVATE: &str = r#" + globals().get('_rewarm_undo', '')
def rewarm_deactivate():
    global _rewarm_undo
    execx(_rewarm_undo, 'exec', globals())
    _rewarm_undo = ''
"#;

const POWERSHELL_DEACTIVATE: &str = r#"}) + @($global:_rewarm_undo | Where-Object { $_ })
function global:rewarm_deactivate {
    foreach ($undo in $global:_rewarm_undo) { . $undo }
    Remove-Variable -Name _rewarm_undo -Scope Global
    Remove-Item -LiteralPath Function:rewarm_deactivate
}
"#;

/// The line that sets or removes one variable, whose name consists of ASCII letters, digits, `_`.
fn assignment(shell: Shell, name: &OsStr, value: Option<&OsStr>) -> Result<Vec<u8>, HookError> {
    let key = name.display();
    let (before, value, after) = match (shell, value.map(OsStr::as_bytes)) {
        (Shell::Bash | Shell::Zsh, Some(v)) => (format!("export {key}="), posix_quoted(v), ""),
        (Shell::Bash | Shell::Zsh, None) => (format!("unset -v {key}"), Vec::new(), ""),
        (Shell::Fish, Some(v)) => (format!("set -gx {key} "), fish_quoted(v), ""),
        (Shell::Fish, None) => (format!("set -eg {key}"), Vec::new(), ""),
        (Shell::Xonsh, Some(v)) => (format!("${{...}}['{key}'] = "), python_quoted(v), ""),
        (Shell::Xonsh, None) => (format!("${{...}}.pop('{key}', None)"), Vec::new(), ""),
        (Shell::PowerShell, Some(v)) => {
            let value = powershell_quoted(unicode(name, v, "powershell")?);
            (format!("${{Env:{key}}} = "), value.into_bytes(), "")
        }
        (Shell::PowerShell, None) => {
            let place = format!("Remove-Item -LiteralPath Env:{key}");
            (place, Vec::new(), " -ErrorAction SilentlyContinue")
        }
    };
    Ok([before.as_bytes(), &value, after.as_bytes(), b"\n"].concat())
}

fn unicode<'a>(name: &OsStr, value: &'a [u8], form: &str) -> Result<&'a str, HookError> {
    std::str::from_utf8(value)
        .map_err(|_| HookError { name: name.to_string_lossy().into_owned(), form: form.to_owned() })
}

/// Between single quotes nothing but a single quote means anything (POSIX XCU 2.2.2).
pub(crate) fn posix_quoted(value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in value {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            byte => text.push(byte),
        }
    }
    text.push(b'\'');
    text
}

/// Between single quotes a backslash and a single quote are escaped.
fn fish_quoted(value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in value {
        if matches!(byte, b'\'' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'\'');
    text
}

/// A string literal; bytes that are not UTF-8 become the surrogates of PEP 383.
fn python_quoted(value: &[u8]) -> Vec<u8> {
    let mut text = "'".to_owned();
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => text.extend(['\\', c]),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\udc{byte:02x}"));
        }
    }
    text.push('\'');
    text.into_bytes()
}

/// Single quotes are doubled, the typographic ones too: PowerShell takes them for the same.
fn powershell_quoted(value: &str) -> String {
    let mut text = "'".to_owned();
    for c in value.chars() {
        if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
            text.push(c);
        }
        text.push(c);
    }
    text.push('\'');
    text
}

#[derive(Serialize)]
struct Json<'a> {
    environment_variables: BTreeMap<&'a str, &'a str>,
    unset: Vec<&'a str>,
    activation_scripts: Vec<&'a str>,
}

/// One JSON object: `environment_variables` that get a value, names to `unset`, and the
/// `activation_scripts` that a shell would have to source besides (none for what was computed).
pub fn hook_json(activation: &Activation, caller: &Variables) -> Result<String, HookError> {
    let changes = settable_changes(activation, caller);
    let text = |name: &OsStr, value| unicode(name, value, "JSON");
    let mut json = Json {
        environment_variables: BTreeMap::new(),
        unset: Vec::new(),
        activation_scripts: Vec::new(),
    };
    for Change { name, after, .. } in &changes {
        let key = text(name, name.as_bytes())?;
        match after {
            Some(value) => {
                json.environment_variables.insert(key, text(name, value.as_bytes())?);
            }
            None => json.unset.push(key),
        }
    }
    for script in &activation.scripts {
        json.activation_scripts.push(text("activation_scripts".as_ref(), script.as_bytes())?);
    }
    Ok(serde_json::to_string(&json).expect("strings always serialise"))
}
