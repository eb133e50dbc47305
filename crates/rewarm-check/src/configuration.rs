//! The configuration files that mypy would consider, and what they refer to.
//!
//! mypy looks in the working directory, then upwards until a directory with `.git` or `.hg`, then
//! for the user's files; the first with a section for it wins. Which one that is depends on the
//! content of all, so all that are there count. Versions before 1.15 look in the working directory
//! only: for them the files above count for nothing, and cost at most a needless run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rewarm_store::{Digest, Hasher, Witness};

use crate::environment::Facet;
use crate::places::{Places, absolute};
use crate::request::Request;
use crate::witness::Table;

const NAMES: [&str; 4] = ["mypy.ini", ".mypy.ini", "pyproject.toml", "setup.cfg"];

/// The configuration of one request.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// Each file that is there, with its digest.
    pub(crate) facets: Vec<Facet>,
    /// The same, as far as it says something to mypy.
    pub(crate) settings: Vec<Facet>,
    /// Variables that the files refer to, with their values.
    pub(crate) variables: Vec<Facet>,
    /// Whether `.gitignore` files may be heeded.
    pub(crate) gitignore: bool,
    /// Whether a module's result is the same whatever else is to be checked, by what the files say.
    pub(crate) separates_targets: bool,
}

impl Configuration {
    /// Reads every candidate. `cwd` is absolute.
    pub(crate) fn of(
        request: &Request,
        cwd: &Path,
        places: &Places,
        table: &mut Table,
    ) -> io::Result<Self> {
        let gitignore = names_gitignore(&request.arguments);
        let mut found = Self { gitignore, separates_targets: true, ..Self::default() };
        for (label, path) in candidates(request, cwd, places) {
            let Some(witness) = Witness::of(&path)? else { continue };
            let name = format!("configuration `{label}`");
            let Ok(digest) = table.file(places.name(&path), witness, &path) else {
                // Unreadable, or a directory: mypy decides what to make of it.
                let facet = (name, Digest::of("unreadable"));
                found.settings.push(facet.clone());
                found.facets.push(facet);
                continue;
            };
            let text = std::fs::read(&path)?;
            match settings(&label, &text) {
                Some(settings) if settings.is_empty() => {}
                Some(settings) => found.settings.push((name.clone(), Digest::of(settings))),
                None => found.settings.push((name.clone(), digest)),
            }
            found.facets.push((name, digest));
            found.references(&text, request, places);
        }
        Ok(found)
    }

    /// Takes in the variables that mypy would expand in paths.
    fn references(&mut self, text: &[u8], request: &Request, places: &Places) {
        self.gitignore |= contains(text, b"exclude_gitignore");
        // A plugin sees all modules of a build. With the other, targets come first for imports.
        let entangles = |word: &[u8]| contains(text, word);
        self.separates_targets &= !entangles(b"plugins") && !entangles(b"fast_module_lookup");
        for name in references(text) {
            let mut hasher = Hasher::new("variable");
            let value = variable(request, OsStr::new(&name)).map(OsStr::as_encoded_bytes);
            hasher.optional(value.map(|value| places.neutral(value)));
            let facet = (format!("variable `{name}`"), hasher.finish());
            if !self.variables.contains(&facet) {
                self.variables.push(facet);
            }
        }
    }
}

/// The value that the child will see: the last one given.
pub(crate) fn variable<'a>(request: &'a Request, name: &OsStr) -> Option<&'a OsStr> {
    let mut variables = request.variables.iter().rev();
    variables.find(|(given, _)| given == name).map(|(_, value)| value.as_os_str())
}

/// Every place where configuration may be, with the name it goes by in a key. What stands further
/// up is named by how far, since a directory's own name means nothing to mypy.
fn candidates(request: &Request, cwd: &Path, places: &Places) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = given(&request.arguments)
        .into_iter()
        .map(|file| absolute(cwd, Path::new(&file)))
        .map(|path| (places.name(&path).display(), path))
        .collect();
    let mut prefix = String::new();
    for directory in cwd.ancestors() {
        found.extend(NAMES.map(|name| (format!("{prefix}{name}"), directory.join(name))));
        if directory.join(".git").exists() || directory.join(".hg").exists() {
            break;
        }
        prefix.push_str("../");
    }
    let home = variable(request, OsStr::new("HOME")).map(PathBuf::from);
    let configured = variable(request, OsStr::new("XDG_CONFIG_HOME")).map(PathBuf::from);
    let user = [
        ("$XDG_CONFIG_HOME/mypy/config", configured.map(|dir| dir.join("mypy/config"))),
        ("~/.config/mypy/config", home.as_ref().map(|dir| dir.join(".config/mypy/config"))),
        ("~/.mypy.ini", home.as_ref().map(|dir| dir.join(".mypy.ini"))),
    ];
    found.extend(user.into_iter().filter_map(|(label, path)| Some((label.to_owned(), path?))));
    found
}

/// The values of `--config-file`, which may be abbreviated.
fn given(arguments: &[OsString]) -> Vec<OsString> {
    let mut found = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let text = argument.to_string_lossy();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (&*text, arguments.get(index + 1).cloned()),
        };
        if name.len() > 4 && "--config-file".starts_with(name) {
            found.extend(value.filter(|value| !value.is_empty()));
        }
    }
    found
}

fn names_gitignore(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument.to_string_lossy().starts_with("--exclude-g"))
}

/// What a file that belongs to other tools as well says to mypy; nothing if it has no section for it.
/// `None` if all of it may count: a plugin may read it, and an option may name it.
fn settings(label: &str, text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.contains("plugins"))?;
    match label.trim_start_matches("../") {
        "pyproject.toml" => {
            let table: toml::Table = text.parse().ok()?;
            let mypy = table.get("tool").and_then(|tool| tool.get("mypy"));
            Some(mypy.map(toml::Value::to_string).unwrap_or_default())
        }
        "setup.cfg" => {
            let mut found = String::new();
            let mut is_own = false;
            for line in text.lines() {
                if let Some(name) = line.strip_prefix('[') {
                    // These hold for every section.
                    if name.starts_with("DEFAULT") {
                        return None;
                    }
                    is_own = name.starts_with("mypy");
                }
                if is_own {
                    found.push_str(line);
                    found.push('\n');
                }
            }
            Some(found)
        }
        _ => None,
    }
}

/// The names in `$NAME`, `${NAME}`, and `HOME` for a tilde.
fn references(text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    if text.contains(&b'~') {
        found.push("HOME".to_owned());
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    for part in text.split(|byte| *byte == b'$').skip(1) {
        let part = part.strip_prefix(b"{").unwrap_or(part);
        let length = part.iter().position(|byte| !is_name(byte)).unwrap_or(part.len());
        let name = String::from_utf8_lossy(&part[..length]).into_owned();
        // mypy sets this one itself, from the path of the file.
        if !name.is_empty() && name != "MYPY_CONFIG_FILE_DIR" {
            found.push(name);
        }
    }
    found
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_configuration_are_found() {
        let text = b"mypy_path = $A:${B_1}/x:$MYPY_CONFIG_FILE_DIR/s\ncache_dir = ~/c";
        assert_eq!(references(text), ["HOME", "A", "B_1"]);
        assert!(references(b"exclude = '$'").is_empty());
    }

    #[test]
    fn settings_of_other_tools_are_left_out() {
        let pyproject = |text: &str| settings("../pyproject.toml", text.as_bytes());
        let one = pyproject("[project]\nname = 'a'\n[tool.mypy]\nstrict = true\n");
        assert_eq!(one, pyproject("tool.mypy.strict = true\n[tool.ruff]\nx = 1\n"));
        assert_ne!(one, pyproject("[tool.mypy]\nstrict = false\n"));
        assert_eq!(pyproject("[project]\nname = 'a'\n").as_deref(), Some(""));
        assert_eq!(pyproject("[tool.mypy]\nplugins = ['p']\n"), None);
        assert_eq!(pyproject("no TOML ["), None);
        let cfg = |text: &str| settings("setup.cfg", text.as_bytes());
        let one = cfg("[metadata]\nname = a\n[mypy]\nstrict = True\n[mypy-x.*]\ny = 1\n");
        assert_eq!(one.as_deref(), Some("[mypy]\nstrict = True\n[mypy-x.*]\ny = 1\n"));
        assert_eq!(cfg("[DEFAULT]\na = 1\n[mypy]\n"), None);
        assert_eq!(settings("mypy.ini", b"[mypy]\n"), None);
    }

    #[test]
    fn abbreviated_option_still_names_a_configuration() {
        let arguments = ["--config=a.ini", "x.py", "--config-file", "b.ini", "--config-file="];
        assert_eq!(given(&arguments.map(OsString::from)), ["a.ini", "b.ini"]);
    }
}
