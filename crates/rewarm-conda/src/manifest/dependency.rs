//! What a manifest asks for: conda packages by match specs, PyPI packages by requirements, and
//! either of them by URL, path or git repository.
//!
//! Nothing is resolved here; [`crate::lock`] tells whether locked packages meet these.

use std::collections::BTreeMap;
use std::str::FromStr;

use pep440_rs::VersionSpecifiers;
use pep508_rs::{MarkerTree, Requirement, VersionOrUrl};
use rattler_conda_types::{NamelessMatchSpec, PackageName, ParseStrictness};

use super::document::{Table, Value};
use super::error::ManifestError;

/// A conda package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CondaDependency {
    /// Its name.
    pub name: PackageName,
    /// What it has to be.
    pub spec: CondaSpec,
    /// The line in the manifest, from 1.
    pub line: usize,
}

/// What a conda package has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CondaSpec {
    /// A package of a channel.
    Match {
        /// Version, build and the like.
        spec: Box<NamelessMatchSpec>,
        /// The channel as it is written, if one is.
        channel: Option<String>,
    },
    /// A built package or an archive of sources at a URL.
    Url(String),
    /// A built package or a directory of sources, as it is written.
    Path(String),
    /// Sources in a git repository.
    Git(String),
}

/// A PyPI package that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PypiDependency {
    /// Its name, normalised.
    pub name: pep508_rs::PackageName,
    /// The versions that will do.
    pub versions: VersionSpecifiers,
    /// Its extras.
    pub extras: Vec<String>,
    /// Where it applies.
    pub marker: MarkerTree,
    /// Where it comes from.
    pub source: PypiSource,
    /// The line in the manifest, from 1.
    pub line: usize,
}

/// Where a PyPI package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PypiSource {
    /// An index: the one given, or those of the environment.
    Index(Option<String>),
    /// A wheel or an archive of sources.
    Url(String),
    /// A directory, a wheel or an archive, as it is written.
    Path {
        /// Relative to the root of the workspace, or absolute.
        path: String,
        /// Whether it is installed in place; `None` where nothing is said.
        editable: Option<bool>,
    },
    /// A git repository.
    Git(String),
}

/// Conda packages by name.
pub(crate) type CondaTable = BTreeMap<String, CondaDependency>;
/// PyPI packages by name.
pub(crate) type PypiTable = BTreeMap<String, PypiDependency>;

/// Reads `[dependencies]` and its like.
pub(crate) fn conda_table(value: &Value<'_, '_>) -> Result<CondaTable, ManifestError> {
    let mut found = CondaTable::new();
    for (key, value) in value.table()?.rest() {
        let dependency = conda(key, &value)?;
        let name = dependency.name.as_normalized().to_owned();
        if found.insert(name, dependency).is_some() {
            return Err(twice(key, &value));
        }
    }
    Ok(found)
}

fn twice(key: &str, value: &Value<'_, '_>) -> ManifestError {
    let text = format!("`{key}` is given twice under names that mean the same; keep one");
    value.document().error(value.key_span(), text)
}

fn conda(key: &str, value: &Value<'_, '_>) -> Result<CondaDependency, ManifestError> {
    let name = PackageName::from_str(key).map_err(|error| {
        value
            .document()
            .error(value.key_span(), format!("`{key}` is no name of a package: {error}"))
    })?;
    let spec = match value.as_str() {
        Some(text) => CondaSpec::Match { spec: Box::new(versions(text, value)?), channel: None },
        None if value.is_table() => conda_spec(value)?,
        None => return Err(value.expected("a version such as \">=1.2\", or a table")),
    };
    Ok(CondaDependency { name, spec, line: value.line() })
}

fn versions(text: &str, value: &Value<'_, '_>) -> Result<NamelessMatchSpec, ManifestError> {
    let wrong = |error: &dyn std::fmt::Display| {
        value.error(format!(
            "`{}` is `{text}`, expected a version such as \">=1.2,<2\": {error}",
            value.name
        ))
    };
    if text.trim().is_empty() {
        return Err(wrong(&"it is empty; \"*\" means any version"));
    }
    let spec = NamelessMatchSpec::from_str(text, ParseStrictness::Lenient)
        .map_err(|error| wrong(&error))?;
    match spec.url {
        Some(_) => Err(wrong(&"write a URL as `{ url = \"…\" }`")),
        None => Ok(spec),
    }
}

fn conda_spec(value: &Value<'_, '_>) -> Result<CondaSpec, ManifestError> {
    let mut table = value.table()?;
    let take = |table: &mut Table<'_, '_>, key| {
        table.take(key).map(|it| it.string().map(str::to_owned)).transpose()
    };
    if let Some(url) = take(&mut table, "url")? {
        return Ok(CondaSpec::Url(url));
    }
    if let Some(path) = take(&mut table, "path")? {
        return Ok(CondaSpec::Path(path));
    }
    if let Some(git) = take(&mut table, "git")? {
        return Ok(CondaSpec::Git(git));
    }
    let mut spec = match table.take("version") {
        Some(version) => versions(version.string()?, &version)?,
        None => NamelessMatchSpec::default(),
    };
    // What is left is put in the form that match specs have in text, which checks it.
    let mut brackets = Vec::new();
    for (key, bracket) in [
        ("build", "build"),
        ("build-number", "build_number"),
        ("file-name", "fn"),
        ("subdir", "subdir"),
        ("license", "license"),
        ("license-family", "license_family"),
        ("md5", "md5"),
        ("sha256", "sha256"),
    ] {
        if let Some(found) = table.take(key) {
            let text = found.string()?;
            if text.contains(['"', '\'', ']', '[']) {
                return Err(
                    found.error(format!("`{}` has a character that it cannot have", found.name))
                );
            }
            brackets.push(format!("{bracket}=\"{text}\""));
        }
    }
    if !brackets.is_empty() {
        let text = format!("*[{}]", brackets.join(","));
        let parsed = NamelessMatchSpec::from_str(&text, ParseStrictness::Lenient)
            .map_err(|error| value.error(format!("`{}`: {error}", value.name)))?;
        let version = spec.version.take();
        let build = spec.build.take();
        spec = NamelessMatchSpec { version, build: parsed.build.clone().or(build), ..parsed };
    }
    let channel = take(&mut table, "channel")?;
    table.ignore(&["extras", "flags", "track-features", "when", "workspace", "package"]);
    table.finish();
    Ok(CondaSpec::Match { spec: Box::new(spec), channel })
}

/// Reads `[pypi-dependencies]`.
pub(crate) fn pypi_table(value: &Value<'_, '_>) -> Result<PypiTable, ManifestError> {
    let mut found = PypiTable::new();
    for (key, value) in value.table()?.rest() {
        let dependency = pypi(key, &value)?;
        let name = dependency.name.to_string();
        if found.insert(name, dependency).is_some() {
            return Err(twice(key, &value));
        }
    }
    Ok(found)
}

fn pypi(key: &str, value: &Value<'_, '_>) -> Result<PypiDependency, ManifestError> {
    let name = pep508_rs::PackageName::from_str(key).map_err(|error| {
        value
            .document()
            .error(value.key_span(), format!("`{key}` is no name of a package: {error}"))
    })?;
    let mut dependency = PypiDependency {
        name,
        versions: VersionSpecifiers::empty(),
        extras: Vec::new(),
        marker: MarkerTree::TRUE,
        source: PypiSource::Index(None),
        line: value.line(),
    };
    if let Some(text) = value.as_str() {
        dependency.versions = specifiers(text, value)?;
        return Ok(dependency);
    }
    if !value.is_table() {
        return Err(value.expected("a version such as \">=1.2\", or a table"));
    }
    let mut table = value.table()?;
    if let Some(version) = table.take("version") {
        dependency.versions = specifiers(version.string()?, &version)?;
    }
    if let Some(extras) = table.take("extras") {
        dependency.extras = extras.strings()?;
    }
    if let Some(marker) = table.take("env-markers") {
        dependency.marker =
            marker.parse("an environment marker such as \"sys_platform == 'linux'\"")?;
    }
    let index = table.take("index").map(|it| it.string().map(str::to_owned)).transpose()?;
    let editable = table.take("editable").map(|it| it.boolean()).transpose()?;
    let mut take = |key| table.take(key).map(|it| it.string().map(str::to_owned)).transpose();
    let (path, url, git) = (take("path")?, take("url")?, take("git")?);
    dependency.source = match (path, url, git) {
        (None, None, None) => PypiSource::Index(index),
        (Some(path), None, None) => PypiSource::Path { path, editable },
        (None, Some(url), None) => PypiSource::Url(url),
        (None, None, Some(git)) => PypiSource::Git(git),
        _ => {
            return Err(value.error(format!(
                "`{}` has more than one of `path`, `url` and `git`; keep one",
                value.name
            )));
        }
    };
    if editable.is_some() && !matches!(dependency.source, PypiSource::Path { .. }) {
        return Err(value.error(format!("`{}` is editable but has no `path`", value.name)));
    }
    table.ignore(&["branch", "tag", "rev", "subdirectory", "lfs"]);
    table.finish();
    Ok(dependency)
}

fn specifiers(text: &str, value: &Value<'_, '_>) -> Result<VersionSpecifiers, ManifestError> {
    let text = text.trim();
    if text == "*" {
        return Ok(VersionSpecifiers::empty());
    }
    // A bare version means that one, as pixi has it.
    let bare = text.starts_with(|it: char| it.is_ascii_digit());
    let written = if bare { format!("=={text}") } else { text.to_owned() };
    if written.is_empty() {
        let text = format!("`{}` is empty; \"*\" means any version", value.name);
        return Err(value.error(text));
    }
    VersionSpecifiers::from_str(&written).map_err(|error| {
        value.error(format!(
            "`{}` is `{text}`, expected a version such as \">=1.2,<2\": {error}",
            value.name
        ))
    })
}

/// Reads a requirement of `[project]` or a dependency group (PEP 508).
pub(crate) fn requirement(value: &Value<'_, '_>) -> Result<PypiDependency, ManifestError> {
    let text = value.string()?;
    let parsed: Requirement = Requirement::from_str(text)
        .map_err(|error| value.error(format!("`{text}` is no requirement: {}", error.message)))?;
    let (versions, source) = match parsed.version_or_url {
        None => (VersionSpecifiers::empty(), PypiSource::Index(None)),
        Some(VersionOrUrl::VersionSpecifier(it)) => (it, PypiSource::Index(None)),
        Some(VersionOrUrl::Url(url)) => {
            let text = url.to_string();
            let source = match text.starts_with("git+") {
                true => PypiSource::Git(text),
                false => PypiSource::Url(text),
            };
            (VersionSpecifiers::empty(), source)
        }
    };
    let extras = parsed.extras.iter().map(ToString::to_string).collect();
    let line = value.line();
    Ok(PypiDependency { name: parsed.name, versions, extras, marker: parsed.marker, source, line })
}
