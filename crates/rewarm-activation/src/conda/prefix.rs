//! What a conda prefix says about its own activation, as conda and pixi read it.
//!
//! `etc/conda/activate.d/*.sh` sorted by path, `etc/conda/env_vars.d/*.json` sorted by path, then
//! `env_vars` of `conda-meta/state`. Everything that is read, and every directory that was listed,
//! becomes an input through the builder.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::builder::Builder;
use crate::error::ActivateError;
use crate::template;

/// What was found.
pub(crate) struct Parts {
    /// Variables in order, each name once: name, value, and the file that says so.
    pub(crate) variables: Vec<(OsString, String, PathBuf)>,
    /// Scripts in order.
    pub(crate) scripts: Vec<PathBuf>,
}

/// Reads what decides over the activation of `prefix`.
pub(crate) fn read(
    builder: &mut Builder<'_>,
    prefix: &Path,
    warnings: &mut Vec<String>,
) -> Result<Parts, ActivateError> {
    let conda = prefix.join("etc/conda");
    builder.look(&prefix.join("conda-meta"))?;
    let mut parts = Parts { variables: Vec::new(), scripts: Vec::new() };
    if !conda.is_dir() {
        // As long as it does not exist, nothing below it does.
        builder.look(&conda)?;
    } else {
        for path in list(builder, &conda.join("env_vars.d"))? {
            if !path.is_file() {
                continue;
            }
            let text = builder.read(&path)?.unwrap_or_default();
            parts.variables(&path, &text, warnings)?;
        }
        for path in list(builder, &conda.join("activate.d"))? {
            if path.extension() == Some(OsStr::new("sh")) && builder.read(&path)?.is_some() {
                parts.scripts.push(path);
            }
        }
    }
    let state = prefix.join("conda-meta/state");
    if let Some(text) = builder.read(&state)? {
        parts.state(&state, &text, warnings)?;
    }
    Ok(parts)
}

/// The entries of a directory, sorted; none if it does not exist.
fn list(builder: &mut Builder<'_>, dir: &Path) -> Result<Vec<PathBuf>, ActivateError> {
    builder.look(dir)?;
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let error = |source| ActivateError::Read { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(error)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(error)?.path());
    }
    paths.sort();
    Ok(paths)
}

impl Parts {
    /// One file of `env_vars.d`: an object of strings.
    fn variables(
        &mut self,
        path: &Path,
        text: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<(), ActivateError> {
        let Object(pairs) = parse(path, text)?;
        for (name, value) in pairs {
            self.add(path, name, &value, warnings);
        }
        Ok(())
    }

    /// `conda-meta/state`, where conda keeps what `conda env config vars set` was told.
    fn state(
        &mut self,
        path: &Path,
        text: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<(), ActivateError> {
        let State { env_vars: Object(pairs) } = parse(path, text)?;
        for (name, value) in pairs {
            let name = name.to_uppercase();
            if self.variables.iter().any(|(known, ..)| *known == *name) {
                let path = path.display();
                warnings.push(format!("`{path}` overrides variable `{name}` of a package"));
            }
            self.add(path, name, &value, warnings);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: String, value: &Value, warnings: &mut Vec<String>) {
        let mut warn = |why| {
            warnings
                .push(format!("variable `{name}` in `{}` is passed over: {why}", path.display()));
        };
        let Value::String(value) = value else { return warn("its value is no string") };
        if !template::is_name(name.as_ref()) {
            return warn("a name consists of letters, digits and `_`");
        }
        if value.contains('\0') {
            return warn("a value cannot hold a NUL byte");
        }
        let known = self.variables.iter_mut().find(|(known, ..)| *known == *name);
        // A later one takes the place of an earlier one.
        match known {
            Some(entry) => (entry.1, entry.2) = (value.clone(), path.to_owned()),
            None => self.variables.push((name.into(), value.clone(), path.to_owned())),
        }
    }
}

fn parse<'de, T: Deserialize<'de>>(path: &Path, text: &'de [u8]) -> Result<T, ActivateError> {
    serde_json::from_slice(text)
        .map_err(|error| ActivateError::Json { path: path.to_owned(), message: error.to_string() })
}

#[derive(serde::Deserialize)]
struct State {
    env_vars: Object,
}

/// A JSON object in the order in which it is written.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }

        from.deserialize_map(Pairs)
    }
}

/// What conda calls a prefix that belongs to no workspace: `base` if it is an installation of conda
/// itself, its directory's name if that lies in a directory `envs`, else its path.
pub fn bare_metadata(prefix: &Path) -> Vec<(String, OsString)> {
    let is_named = prefix.parent().is_some_and(|parent| parent.ends_with("envs"));
    let name = match prefix.file_name() {
        _ if prefix.join("condabin").is_dir() => "base".into(),
        Some(name) if is_named => name.to_owned(),
        _ => prefix.as_os_str().to_owned(),
    };
    let mut modifier = OsString::from("(");
    modifier.push(&name);
    modifier.push(") ");
    vec![("CONDA_DEFAULT_ENV".into(), name), ("CONDA_PROMPT_MODIFIER".into(), modifier)]
}
