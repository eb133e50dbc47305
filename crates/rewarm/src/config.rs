//! Configuration files: rewarm's own, and the few settings read from pip's and uv's.
//!
//! The project's configuration is `rewarm.toml`, or `[tool.rewarm]` in `pyproject.toml`; the
//! user's has the same keys. An unknown key is a warning that names file and line, never an error:
//! a newer rewarm may know it. A value of the wrong type is an error.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rewarm_activation::ActivationConfig;
use rewarm_task::TaskDefinition;
use serde::Deserialize;

use crate::settings::Caller;

/// What one configuration file says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct File {
    /// The simple index (PEP 503, PEP 691) to use where a lock file has no URLs.
    pub(crate) index_url: Option<String>,
    /// Never use the network.
    pub(crate) offline: Option<bool>,
    /// The interpreter for new environments.
    pub(crate) python: Option<String>,
    /// Extras to install.
    pub(crate) extras: Vec<String>,
    /// Dependency groups to install instead of the lock's default ones.
    pub(crate) groups: Option<Vec<String>>,
    pub(crate) cache: Cache,
    pub(crate) activation: ActivationConfig,
    pub(crate) check: Check,
    pub(crate) proxy: Proxy,
    pub(crate) tasks: BTreeMap<String, TaskDefinition>,
    /// Unknown keys, to be warned of: where they stand, and what they are called.
    #[serde(skip)]
    pub(crate) unknown: Vec<String>,
}

/// `[tool.rewarm.cache]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Cache {
    pub(crate) max_size: Option<String>,
    pub(crate) max_age: Option<String>,
}

/// `[tool.rewarm.check]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Check {
    /// Further inputs, as patterns relative to the project: files that a plugin reads.
    pub(crate) inputs: Vec<String>,
    /// Python versions to check for, each apart; none means the environment's own.
    pub(crate) python_versions: Vec<String>,
    /// Platforms to check for, as in `sys.platform`.
    pub(crate) platforms: Vec<String>,
    /// How many seconds a checker may take.
    pub(crate) timeout: Option<u64>,
    /// What `rewarm check` checks with.
    pub(crate) tools: Vec<String>,
    /// Whether mypy may stay in memory between runs.
    pub(crate) worker: Option<bool>,
}

/// `[tool.rewarm.proxy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Proxy {
    /// What `rewarm proxy` stands in front of, by name.
    pub(crate) upstreams: BTreeMap<String, Upstream>,
}

/// An index, a place of channels or a registry.
#[derive(Clone, Deserialize)]
pub(crate) struct Upstream {
    pub(crate) kind: UpstreamKind,
    /// May hold a password.
    pub(crate) url: String,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpstreamKind {
    Index,
    Conda,
    Npm,
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}`, line {line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
}

/// The keys that each table knows; tables with free keys are left out.
const KNOWN: [(&str, &[&str]); 5] = [
    (
        "",
        &[
            "activation",
            "cache",
            "check",
            "extras",
            "groups",
            "index-url",
            "offline",
            "proxy",
            "python",
            "tasks",
        ],
    ),
    ("activation", &["env", "env-files", "pure", "volatile", "watch", "watch-env"]),
    ("cache", &["max-age", "max-size"]),
    ("check", &["inputs", "platforms", "python-versions", "timeout", "tools", "worker"]),
    ("proxy", &["upstreams"]),
];

/// Reads a configuration file that is rewarm's own; a missing one is an empty one.
pub(crate) fn read(path: &Path) -> Result<File, ConfigError> {
    match text(path)? {
        Some(text) => parse(path, &text, Place::Whole),
        None => Ok(File::default()),
    }
}

/// Every file that a project's configuration can come from; the first one that is there counts.
pub(crate) fn project_files(root: &Path) -> Vec<PathBuf> {
    vec![root.join("rewarm.toml"), root.join("pyproject.toml")]
}

/// The project's configuration.
pub(crate) fn of_project(root: &Path) -> Result<File, ConfigError> {
    for (path, place) in project_files(root).iter().zip([Place::Whole, Place::PyProject]) {
        if let Some(text) = text(path)? {
            return parse(path, &text, place);
        }
    }
    Ok(File::default())
}

fn text(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

/// Parses a whole file, or its `[tool.rewarm]` table.
fn parse(path: &Path, text: &str, place: Place) -> Result<File, ConfigError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct PyProject {
        tool: Tool,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Tool {
        rewarm: File,
    }
    let parsed = match place {
        Place::Whole => toml::from_str(text),
        Place::PyProject => toml::from_str(text).map(|project: PyProject| project.tool.rewarm),
    };
    let mut file: File = parsed.map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span()),
        message: error.message().to_owned(),
    })?;
    file.unknown = unknown_keys(path, text, place.prefix());
    Ok(file)
}

/// Which part of a file is rewarm's.
#[derive(Debug, Clone, Copy)]
enum Place {
    Whole,
    PyProject,
}

impl Place {
    fn prefix(self) -> &'static [&'static str] {
        match self {
            Self::Whole => &[],
            Self::PyProject => &["tool", "rewarm"],
        }
    }
}

/// Warnings for the keys below `prefix` that no rewarm of this version reads.
fn unknown_keys(path: &Path, text: &str, prefix: &[&str]) -> Vec<String> {
    let Ok(document) = toml::de::DeTable::parse(text) else { return Vec::new() };
    let mut table = document.get_ref();
    for key in prefix {
        match table.get(*key).map(|value| value.get_ref()) {
            Some(toml::de::DeValue::Table(inner)) => table = inner,
            _ => return Vec::new(),
        }
    }
    let mut warnings = Vec::new();
    for (section, known) in KNOWN {
        let inner = match table.get(section).map(|value| value.get_ref()) {
            Some(toml::de::DeValue::Table(inner)) => inner,
            _ if section.is_empty() => table,
            _ => continue,
        };
        for key in inner.keys().filter(|key| !known.contains(&&**key.get_ref())) {
            let line = line_of(text, Some(key.span()));
            let name = [prefix, &[section][usize::from(section.is_empty())..], &[key.get_ref()]]
                .concat()
                .join(".");
            warnings.push(format!("`{}`, line {line}: unknown key `{name}`", path.display()));
        }
    }
    warnings
}

fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The default index in uv's user or system configuration.
pub(crate) fn uv_index(caller: &Caller) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Uv {
        index_url: Option<String>,
        #[serde(default)]
        index: Vec<Index>,
    }
    #[derive(Deserialize)]
    struct Index {
        url: String,
        #[serde(default)]
        default: bool,
    }
    let user = caller.config_file()?.parent()?.parent()?.join("uv/uv.toml");
    [user, PathBuf::from("/etc/uv/uv.toml")].into_iter().find_map(|path| {
        let uv: Uv = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
        let default = uv.index.into_iter().find(|index| index.default);
        default.map(|index| index.url).or(uv.index_url)
    })
}

/// `index-url` in pip's configuration: `PIP_CONFIG_FILE`, the user's, the system's.
pub(crate) fn pip_index(caller: &Caller) -> Option<String> {
    let mut paths: Vec<PathBuf> = Vec::new();
    paths.extend(caller.get("PIP_CONFIG_FILE").map(PathBuf::from));
    paths.extend(
        caller.config_file().and_then(|own| Some(own.parent()?.parent()?.join("pip/pip.conf"))),
    );
    paths.extend(caller.home().map(|home| home.join(".pip/pip.conf")));
    paths.push("/etc/pip.conf".into());
    paths.into_iter().find_map(|path| index_of_ini(&std::fs::read_to_string(path).ok()?))
}

fn index_of_ini(text: &str) -> Option<String> {
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim();
        } else if section == "global"
            && let Some((key, value)) = line.split_once(['=', ':'])
            && matches!(key.trim(), "index-url" | "index_url")
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let text = "[tool.rewarm]\nfoo = 1\n[tool.rewarm.cache]\nmax-size = '1GB'\nbar = 2\n\
                    [tool.other]\nbaz = 3\n";
        let file = parse(Path::new("p.toml"), text, Place::PyProject).unwrap();
        assert_eq!(file.cache.max_size.as_deref(), Some("1GB"));
        assert_eq!(
            file.unknown,
            [
                "`p.toml`, line 2: unknown key `tool.rewarm.foo`",
                "`p.toml`, line 5: unknown key `tool.rewarm.cache.bar`",
            ]
        );
    }

    #[test]
    fn a_wrong_type_is_an_error_with_file_and_line() {
        let text = "\n\n[tool.rewarm]\nextras = 1\n";
        let error = parse(Path::new("p.toml"), text, Place::PyProject).unwrap_err().to_string();
        assert!(error.starts_with("`p.toml`, line "), "{error}");
        assert!(error.contains("extras") || error.contains("sequence"), "{error}");
    }

    #[test]
    fn pip_configuration_is_read_from_its_global_section_only() {
        let text = "[install]\nindex-url = https://no/\n[global]\ntimeout = 6\nindex-url: https://yes/simple\n";
        assert_eq!(index_of_ini(text).as_deref(), Some("https://yes/simple"));
        assert_eq!(index_of_ini("[install]\nindex-url = x"), None);
    }
}
