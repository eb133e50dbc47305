//! Features and their targets: the tables that the root of a manifest, `[feature.NAME]`,
//! `[environments.NAME]` and each `[target.PLATFORM]` below them share.
//!
//! How features add up to an environment is in the parent module. In a feature a table of a target
//! counts before the plain one, and of several targets that match the last in the file counts first,
//! as pixi has it.

use std::collections::BTreeMap;

use rattler_conda_types::GenericVirtualPackage;

use super::TaskSource;
use super::dependency::{CondaTable, PypiTable, conda_table, pypi_table};
use super::document::{Table, Value};
use super::error::ManifestError;
use super::platform::{self, Platform, Selector};

/// A channel, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// A name such as `conda-forge`, a URL or a path.
    pub name: String,
    /// Channels with a higher one come first; 0 where none is given.
    pub priority: i64,
}

/// Indexes of PyPI packages and the like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PypiOptions {
    /// The index; pypi.org where none is given.
    pub index_url: Option<String>,
    /// Further ones.
    pub extra_index_urls: Vec<String>,
    /// URLs and paths of flat lists of files.
    pub find_links: Vec<String>,
}

/// Values of `channel-priority`.
pub(crate) const PRIORITIES: [&str; 3] = ["strict", "disabled", "flexible"];
/// Values of `solve-strategy`.
pub(crate) const STRATEGIES: [&str; 3] = ["highest", "lowest", "lowest-direct"];

/// A named set of dependencies, tasks and activation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) platforms: Option<Vec<String>>,
    pub(crate) channels: Option<Vec<Channel>>,
    pub(crate) channel_priority: Option<&'static str>,
    pub(crate) solve_strategy: Option<&'static str>,
    pub(crate) system_requirements: Vec<GenericVirtualPackage>,
    pub(crate) pypi_options: PypiOptions,
    pub(crate) plain: Target,
    pub(crate) targets: Vec<(Selector, Target)>,
}

/// What one target of a feature says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// `dependencies`, `host-dependencies`, `build-dependencies`: the later ones win.
    pub(crate) conda: [CondaTable; 3],
    pub(crate) pypi: PypiTable,
    pub(crate) dev: CondaTable,
    pub(crate) constraints: CondaTable,
    pub(crate) scripts: Option<Vec<String>>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) tasks: BTreeMap<String, TaskSource>,
}

impl Feature {
    /// The targets that count on a platform, the one that counts most first.
    pub(crate) fn on(&self, platform: &Platform) -> impl DoubleEndedIterator<Item = &Target> {
        let matching = self.targets.iter().filter(|(selector, _)| selector.matches(platform));
        std::iter::once(&self.plain).chain(matching.map(|(_, target)| target)).rev()
    }

    /// Whether it can be used on a platform: it lists it by name, by subdirectory, or lists none.
    pub(crate) fn supports(&self, platform: &Platform) -> bool {
        self.platforms.as_ref().is_none_or(|names| {
            names.iter().any(|it| *it == platform.name || it == platform.subdir.as_str())
        })
    }

    /// Reads what a feature can have out of `table`; other keys are left in it.
    pub(crate) fn take(name: &str, table: &mut Table<'_, '_>) -> Result<Self, ManifestError> {
        let mut feature = Self { name: name.to_owned(), ..Self::default() };
        if let Some(value) = table.take("platforms") {
            feature.platforms = Some(value.strings()?);
        }
        if let Some(value) = table.take("channels") {
            feature.channels = Some(channels(&value)?);
        }
        feature.take_tables(table)?;
        Ok(feature)
    }

    /// Reads the tables that the root of a manifest has too.
    pub(crate) fn take_tables(&mut self, table: &mut Table<'_, '_>) -> Result<(), ManifestError> {
        if let Some(value) = table.take("pypi-options") {
            self.pypi_options = pypi_options(&value)?;
        }
        if let Some(value) = table.take("system-requirements") {
            self.system_requirements = system_requirements(&value)?;
        }
        for (key, known, slot) in [
            ("channel-priority", &PRIORITIES[..], &mut self.channel_priority),
            ("solve-strategy", &STRATEGIES[..], &mut self.solve_strategy),
        ] {
            if let Some(value) = table.take(key) {
                *slot = Some(one_of(&value, known)?);
            }
        }
        table.ignore(&["description"]);
        let name = self.name.clone();
        self.plain = Target::take(&name, table)?;
        if let Some(value) = table.take("target") {
            for (key, value) in value.table()?.rest() {
                let selector = Selector::parse(key, &value)?;
                let mut inner = value.table()?;
                let target = Target::take(&name, &mut inner)?;
                inner.ignore(&["build-variants"]);
                inner.finish();
                self.targets.push((selector, target));
            }
        }
        Ok(())
    }
}

impl Target {
    fn take(feature: &str, table: &mut Table<'_, '_>) -> Result<Self, ManifestError> {
        let conda = |table: &mut Table<'_, '_>, key: &str| {
            table.take(key).map_or_else(|| Ok(CondaTable::new()), |it| conda_table(&it))
        };
        let mut target = Self {
            conda: [
                conda(table, "dependencies")?,
                conda(table, "host-dependencies")?,
                conda(table, "build-dependencies")?,
            ],
            dev: conda(table, "dev")?,
            constraints: conda(table, "constraints")?,
            ..Self::default()
        };
        if let Some(value) = table.take("pypi-dependencies") {
            target.pypi = pypi_table(&value)?;
        }
        if let Some(value) = table.take("activation") {
            let mut activation = value.table()?;
            if let Some(scripts) = activation.take("scripts") {
                target.scripts = Some(scripts.strings()?);
            }
            if let Some(env) = activation.take("env") {
                target.env = variables(&env)?;
            }
            activation.finish();
        }
        if let Some(value) = table.take("tasks") {
            target.tasks = tasks(feature, &value)?;
        }
        Ok(target)
    }
}

fn variables(value: &Value<'_, '_>) -> Result<Vec<(String, String)>, ManifestError> {
    let mut found = Vec::new();
    for (name, value) in value.table()?.rest() {
        if name.is_empty() || name.contains(['=', '\0']) || name.chars().any(char::is_control) {
            let text = format!("`{}` is no name of a variable", name.escape_debug());
            return Err(value.document().error(value.key_span(), text));
        }
        let text = value.as_str().ok_or_else(|| value.expected("a string; put it in quotes"))?;
        if text.contains('\0') {
            return Err(value.error("the value of a variable cannot have a NUL in it"));
        }
        found.push((name.to_owned(), text.to_owned()));
    }
    Ok(found)
}

fn tasks(
    feature: &str,
    value: &Value<'_, '_>,
) -> Result<BTreeMap<String, TaskSource>, ManifestError> {
    let mut found = BTreeMap::new();
    for (name, value) in value.table()?.rest() {
        let source = TaskSource {
            value: value.to_toml()?,
            path: value.document().path().to_owned(),
            line: value.line(),
            feature: feature.to_owned(),
        };
        found.insert(name.to_owned(), source);
    }
    Ok(found)
}

/// A string that has to be one of a few.
pub(crate) fn one_of(
    value: &Value<'_, '_>,
    known: &[&'static str],
) -> Result<&'static str, ManifestError> {
    let text = value.string()?;
    known.iter().find(|it| **it == text).copied().ok_or_else(|| {
        let quoted: Vec<String> = known.iter().map(|it| format!("\"{it}\"")).collect();
        value.error(format!("`{}` is \"{text}\", expected {}", value.name, quoted.join(" or ")))
    })
}

/// Reads `channels`: names, URLs and tables with a priority.
pub(crate) fn channels(value: &Value<'_, '_>) -> Result<Vec<Channel>, ManifestError> {
    let mut found: Vec<Channel> = Vec::new();
    for value in value.array()? {
        let channel = if value.is_table() {
            let mut table = value.table()?;
            let name = table
                .take("channel")
                .ok_or_else(|| value.error("a channel in a table needs `channel = \"NAME\"`"))?;
            let priority = table.take("priority").map_or(Ok(0), |it| it.integer())?;
            table.ignore(&["exclude-newer"]);
            table.finish();
            Channel { name: name.string()?.to_owned(), priority }
        } else {
            let text = value.as_str().ok_or_else(|| value.expected("a channel, or a table"))?;
            Channel { name: text.to_owned(), priority: 0 }
        };
        if !found.contains(&channel) {
            found.push(channel);
        }
    }
    Ok(found)
}

fn system_requirements(value: &Value<'_, '_>) -> Result<Vec<GenericVirtualPackage>, ManifestError> {
    let mut table = value.table()?;
    let mut found = Vec::new();
    let what = "a version such as \"2.28\"";
    for (key, package) in [("cuda", "__cuda"), ("linux", "__linux")] {
        if let Some(value) = table.take(key) {
            found.push(platform::virtual_package(package, value.parse(what)?, "0"));
        }
    }
    if let Some(value) = table.take_either("macos", "osx")? {
        found.push(platform::virtual_package("__osx", value.parse(what)?, "0"));
    }
    if let Some(value) = table.take("archspec") {
        let zero = rattler_conda_types::Version::major(0);
        found.push(platform::virtual_package("__archspec", zero, value.string()?));
    }
    if let Some(value) = table.take_either("libc", "glibc")? {
        if value.is_table() {
            let mut inner = value.table()?;
            let version =
                inner.take("version").ok_or_else(|| value.error("`libc` needs a `version`"))?;
            let family = inner.take("family").map_or(Ok("glibc"), |it| it.string())?;
            let name = format!("__{family}");
            inner.finish();
            found.push(platform::virtual_package(&name, version.parse(what)?, "0"));
        } else {
            found.push(platform::virtual_package("__glibc", value.parse(what)?, "0"));
        }
    }
    table.finish();
    Ok(found)
}

/// Reads `[pypi-options]`.
pub(crate) fn pypi_options(value: &Value<'_, '_>) -> Result<PypiOptions, ManifestError> {
    let mut table = value.table()?;
    let mut options = PypiOptions::default();
    if let Some(value) = table.take("index-url") {
        options.index_url = Some(url(&value)?);
    }
    if let Some(value) = table.take("extra-index-urls") {
        options.extra_index_urls = value.array()?.iter().map(url).collect::<Result<_, _>>()?;
    }
    if let Some(value) = table.take("find-links") {
        for value in value.array()? {
            let mut table = value.table()?;
            let found = match (table.take("path"), table.take("url")) {
                (Some(path), None) => path,
                (None, Some(url)) => url,
                _ => return Err(value.error("expected `{ path = \"…\" }` or `{ url = \"…\" }`")),
            };
            options.find_links.push(found.string()?.to_owned());
        }
    }
    table.ignore(&[
        "no-build-isolation",
        "index-strategy",
        "no-build",
        "no-binary",
        "dependency-overrides",
        "prerelease-mode",
        "skip-wheel-filename-check",
    ]);
    table.finish();
    Ok(options)
}

/// A URL, or a table with one.
fn url(value: &Value<'_, '_>) -> Result<String, ManifestError> {
    let inner;
    let value = if value.is_table() {
        let found = value.table()?.take("url");
        inner = found.ok_or_else(|| value.error("expected `{ url = \"…\" }`"))?;
        &inner
    } else {
        value
    };
    let parsed: url::Url = value.parse("a URL")?;
    Ok(parsed.to_string())
}
