//! What the program works with, decided once from flags, variables and configuration files.
//!
//! This is the only place that reads the process's environment and working directory. Everything
//! below is given values. Order of precedence: flags, `REWARM_*`, the project's configuration
//! (see `config`), the user's `config.toml`, what the ecosystem sets already, defaults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::args::Global;
use crate::config::{self, ConfigError, File};
use crate::ui::{ColorChoice, Ui, Verbosity};

/// PyPI's simple index, used when nobody names another one.
const PYPI: &str = "https://pypi.org/simple/";
const DEFAULT_MAX_SIZE: u64 = 20 << 30;

/// The process's surroundings, read once.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The working directory.
    pub(crate) cwd: PathBuf,
    /// Every variable.
    pub(crate) variables: BTreeMap<OsString, OsString>,
}

impl Caller {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> std::io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let (cwd, variables) = (std::env::current_dir()?, std::env::vars_os().collect());
        Ok(Self { cwd, variables })
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// The same, as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.to_str()
    }

    /// A variable that switches something on: set, and not `0`, `false`, `no` or `off`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            !["0", "false", "no", "off"].iter().any(|off| value.eq_ignore_ascii_case(off))
        })
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.get("HOME").map(Path::new)
    }

    /// The first program of a name on the caller's `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.get("PATH").unwrap_or_default();
        let mut files = std::env::split_paths(path).map(|dir| dir.join(name));
        files.find(|file| file.is_file())
    }

    /// `$NAME` if absolute, else `$HOME/fallback` (XDG Base Directory Specification).
    pub(crate) fn xdg(&self, name: &str, fallback: &str) -> Option<PathBuf> {
        let given = self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        given.or_else(|| self.home().map(|home| home.join(fallback)))
    }

    /// The user's configuration file.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("rewarm/config.toml"))
    }

    /// Where the cache is, unless a flag says otherwise.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = self.get("REWARM_CACHE_DIR") {
            return Some(self.cwd.join(dir));
        }
        let fallback = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        self.xdg("XDG_CACHE_HOME", fallback).map(|dir| dir.join("rewarm"))
    }
}

/// Settings that hold for every project.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) caller: Caller,
    /// Where the search for a project starts.
    pub(crate) start: PathBuf,
    pub(crate) cache_dir: PathBuf,
    pub(crate) offline: bool,
    pub(crate) json: bool,
    pub(crate) color: ColorChoice,
    pub(crate) max_size: u64,
    pub(crate) max_age: Option<Duration>,
    /// What the user's configuration file says; `None` if there is none.
    pub(crate) user: File,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("no place for a cache: neither `REWARM_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` is set")]
    NoCacheDir,
    #[error("`{value}` in `{name}` is not {wanted}")]
    Value { name: &'static str, value: String, wanted: &'static str },
    #[error("there is no directory `{}`", path.display())]
    NoDirectory { path: PathBuf },
}

impl Settings {
    /// Joins flags, variables and the user's configuration.
    pub(crate) fn new(global: &Global, caller: Caller) -> Result<Self, SettingsError> {
        let user = match caller.config_file() {
            Some(path) => config::read(&path)?,
            None => File::default(),
        };
        let given = global.cache_dir.as_ref().map(|dir| caller.cwd.join(dir));
        let cache_dir = given.or_else(|| caller.cache_dir()).ok_or(SettingsError::NoCacheDir)?;
        let start = match &global.project {
            Some(dir) => caller.cwd.join(dir),
            None => caller.cwd.clone(),
        };
        if !start.is_dir() {
            return Err(SettingsError::NoDirectory { path: start });
        }
        let sized = |name, text: Option<&str>| text.map(|text| size(name, text)).transpose();
        let aged = |name, text: Option<&str>| text.map(|text| age(name, text)).transpose();
        let max_size = match sized("REWARM_CACHE_MAX_SIZE", caller.text("REWARM_CACHE_MAX_SIZE"))? {
            Some(size) => size,
            None => {
                sized("cache.max-size", user.cache.max_size.as_deref())?.unwrap_or(DEFAULT_MAX_SIZE)
            }
        };
        let max_age = match aged("REWARM_CACHE_MAX_AGE", caller.text("REWARM_CACHE_MAX_AGE"))? {
            Some(age) => Some(age),
            None => aged("cache.max-age", user.cache.max_age.as_deref())?,
        };
        let offline =
            global.offline || caller.is_on("REWARM_OFFLINE") || user.offline.unwrap_or_default();
        let (json, color) = (global.json, global.color);
        Ok(Self { start, cache_dir, offline, json, color, max_size, max_age, user, caller })
    }

    /// Whether the answer of a tool is to be coloured; `None` leaves it to the tool, which sees no
    /// terminal.
    pub(crate) fn colors_answers(&self) -> Option<bool> {
        if self.json || self.color == ColorChoice::Never {
            return Some(false);
        }
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let no_color = self.caller.get("NO_COLOR").is_some();
        Ui::wants_color(self.color, no_color, false, terminal).then_some(true)
    }

    /// The voice that suits the arguments and the terminal.
    pub(crate) fn ui(global: &Global, caller: &Caller) -> Ui {
        let terminal = std::io::stderr().is_terminal();
        let color = Ui::wants_color(
            global.color,
            caller.get("NO_COLOR").is_some(),
            caller.is_on("CLICOLOR_FORCE"),
            terminal,
        );
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let progress = !global.no_progress && !caller.is_on("CI") && !global.json;
        Ui::new(color, progress, verbosity)
    }

    /// The package index: rewarm's own setting, then uv's, then pip's, then PyPI.
    pub(crate) fn index_url(&self, project: &File) -> Result<Url, SettingsError> {
        let caller = &self.caller;
        let own = caller.text("REWARM_INDEX_URL").map(|url| ("REWARM_INDEX_URL", url.to_owned()));
        let configured = project.index_url.as_ref().or(self.user.index_url.as_ref());
        let named = |name: &'static str| caller.text(name).map(|url| (name, url.to_owned()));
        let (name, text) = own
            .or_else(|| configured.map(|url| ("index-url", url.clone())))
            .or_else(|| named("UV_DEFAULT_INDEX"))
            .or_else(|| named("UV_INDEX_URL"))
            .or_else(|| named("PIP_INDEX_URL"))
            .or_else(|| config::uv_index(caller).map(|url| ("uv.toml", url)))
            .or_else(|| config::pip_index(caller).map(|url| ("pip.conf", url)))
            .unwrap_or_else(|| ("index-url", PYPI.to_owned()));
        let slashed = if text.ends_with('/') { text } else { text + "/" };
        Url::parse(&slashed).map_err(|_| SettingsError::Value {
            name,
            value: slashed,
            wanted: "a URL",
        })
    }
}

/// Bytes, from `500`, `5GB` (powers of 1000) or `5GiB` (powers of 1024).
pub(crate) fn size(name: &'static str, text: &str) -> Result<u64, SettingsError> {
    let error = || SettingsError::Value {
        name,
        value: text.to_owned(),
        wanted: "a size such as `500MB` or `20GiB`",
    };
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(factor).ok_or_else(error)
}

/// A time span, from `90s`, `30m`, `12h`, `30d` or `8w`.
pub(crate) fn age(name: &'static str, text: &str) -> Result<Duration, SettingsError> {
    let error = || SettingsError::Value {
        name,
        value: text.to_owned(),
        wanted: "a time span such as `12h` or `30d`",
    };
    let (number, unit) = split_unit(text);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(error)
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_with_their_units() {
        assert_eq!(size("x", "20GiB").unwrap(), 20 << 30);
        assert_eq!(size("x", "5 MB").unwrap(), 5_000_000);
        assert_eq!(size("x", "12").unwrap(), 12);
        assert_eq!(age("x", "30d").unwrap(), Duration::from_secs(30 * 86_400));
        for bad in ["", "GiB", "1.5GB", "-1", "99999999999TiB", "3 parsecs"] {
            assert!(size("x", bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "d", "-1d", "99999999999999999w"] {
            assert!(age("x", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cache_dir_follows_the_base_directory_specification() {
        let caller = |pairs: &[(&str, &str)]| Caller {
            cwd: "/home/me".into(),
            variables: pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        };
        let dir = |pairs: &[(&str, &str)]| caller(pairs).cache_dir();
        assert_eq!(dir(&[("REWARM_CACHE_DIR", "c")]), Some("/home/me/c".into()));
        assert_eq!(dir(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("/x/rewarm".into()));
        // A relative value is to be ignored.
        let home = [("XDG_CACHE_HOME", "x"), ("HOME", "/h")];
        assert_eq!(dir(&home).unwrap().parent().unwrap().parent(), Some(Path::new("/h")));
        assert_eq!(dir(&[]), None);
    }
}
