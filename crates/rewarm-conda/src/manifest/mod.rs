//! Pixi manifests: `pixi.toml`, and `[tool.pixi]` of `pyproject.toml`.
//!
//! [`Workspace::parse`] reads one as data; what an environment is made of on a platform is then
//! answered without further reading. Tasks are handed out as TOML values, since what they mean is
//! not known here. A key that is not known is kept as a [`Warning`].
//!
//! An environment has its features in the order in which it lists them, then the default one,
//! unless it does without. In what they say of activation and tasks, the first wins. Scripts of all
//! features run in that order, of each feature those of the one target that counts most. Variables
//! stand in the order in which they are first named. This is what pixi does since its version 0.60;
//! earlier ones let the last feature win among variables.

mod compose;
mod config;
mod dependency;
mod document;
mod environment;
mod error;
mod feature;
mod platform;
mod pyproject;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use compose::Requirements;
pub use config::{CONFIG, Detached, detached};
pub use dependency::{CondaDependency, CondaSpec, PypiDependency, PypiSource};
pub use error::{ManifestError, Place, Warning};
pub use feature::{Channel, PypiOptions};
pub use platform::{Platform, assumed};
pub(crate) use platform::{same, virtual_package};

use document::{Document, Table, Value};
use environment::Environment;
use feature::Feature;

/// The name of the manifest of a workspace.
pub const MANIFEST: &str = "pixi.toml";
const PYPROJECT: &str = "pyproject.toml";
/// The same as a `pixi.toml`, under the name that Mojo gives it.
const MOJOPROJECT: &str = "mojoproject.toml";
/// The environment that always exists, and the feature that is given at the root.
pub const DEFAULT: &str = "default";

/// A pixi workspace, as its manifest describes it.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The directory of the manifest.
    pub root: PathBuf,
    /// The manifest.
    pub manifest: PathBuf,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// The platforms that it is for.
    pub platforms: Vec<Platform>,
    /// The channels of features that give none.
    pub channels: Vec<Channel>,
    /// Features of pixi that are switched on.
    pub preview: Vec<String>,
    /// The versions of pixi that may solve it.
    pub requires_pixi: Option<String>,
    /// Keys that are passed over.
    pub warnings: Vec<Warning>,
    channel_priority: Option<&'static str>,
    solve_strategy: Option<&'static str>,
    pypi_options: PypiOptions,
    features: Vec<Feature>,
    environments: Vec<Environment>,
}

/// What activation of an environment does beyond its packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activation {
    /// Scripts in the order in which they run, relative to the root of the workspace.
    pub scripts: Vec<String>,
    /// Variables in the order in which they are set.
    pub env: Vec<(String, String)>,
}

/// A task, as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSource {
    /// Its value.
    pub value: toml::Value,
    /// The manifest.
    pub path: PathBuf,
    /// The line of its name there, from 1.
    pub line: usize,
    /// The feature that it belongs to.
    pub feature: String,
}

/// The manifest of the workspace that `start`, an absolute directory, lies in.
///
/// The nearest directory with a `pixi.toml`, with a `pyproject.toml` that has a table `[tool.pixi]`,
/// or with a `mojoproject.toml`; where several are in one directory, the first. One that describes a
/// package and no workspace is passed over, as is a `pyproject.toml` that cannot be read.
pub fn find(start: &Path) -> Option<PathBuf> {
    let is_manifest = |path: &PathBuf| match fs::read_to_string(path) {
        Ok(text) => is_workspace(path, &text),
        // It is there, and reading it will say why it cannot be read.
        Err(_) => path.is_file() && !path.ends_with(PYPROJECT),
    };
    start.ancestors().find_map(|dir| {
        let names = [MANIFEST, PYPROJECT, MOJOPROJECT];
        names.iter().map(|name| dir.join(name)).find(is_manifest)
    })
}

/// Whether a manifest describes a workspace, or is wrong in a way that parsing it tells.
fn is_workspace(path: &Path, text: &str) -> bool {
    if !path.ends_with(PYPROJECT) {
        if !text.contains("package") {
            return true;
        }
        let Ok(table) = toml::from_str::<toml::Table>(text) else { return true };
        let has = |key| table.contains_key(key);
        return !has("package") || has("workspace") || has("project");
    }
    if !text.contains("pixi") {
        return false;
    }
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return false };
    let pixi = table.get("tool").and_then(|tool| tool.get("pixi")?.as_table());
    pixi.is_some_and(|it| {
        let has = |key| it.contains_key(key);
        !has("package") || has("workspace") || has("project")
    })
}

impl Workspace {
    /// Reads and parses a manifest.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and when the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a manifest. The last part of `path` says which form it has.
    ///
    /// # Errors
    ///
    /// When the text is no TOML, or a value in it is not what it has to be.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ManifestError> {
        let document = Document::new(path, text);
        let parsed = document.parse()?;
        let file = Table::new(&document, "", parsed.span(), parsed.get_ref());
        let is_pyproject = path.file_name().is_some_and(|name| name == PYPROJECT);
        let mut workspace = match is_pyproject {
            true => pyproject::workspace(file)?,
            false => Self::from_table(&document, file, pyproject::Project::default())?,
        };
        workspace.warnings = document.into_warnings();
        Ok(workspace)
    }

    fn from_table(
        document: &Document<'_>,
        mut table: Table<'_, '_>,
        project: pyproject::Project,
    ) -> Result<Self, ManifestError> {
        let head = table.take_either("workspace", "project")?.ok_or_else(|| {
            table.error("there is no table `[workspace]`; add it with `channels` and `platforms`")
        })?;
        let mut default = Feature { name: DEFAULT.to_owned(), ..Feature::default() };
        default.take_tables(&mut table)?;
        let mut features = vec![default];
        if let Some(value) = table.take("feature") {
            for (name, value) in value.table()?.rest() {
                if name == DEFAULT {
                    let text = "the feature `default` is what the root of the manifest says; move \
                                its tables there";
                    return Err(document.error(value.key_span(), text));
                }
                let mut inner = value.table()?;
                let feature = Feature::take(name, &mut inner)?;
                inner.finish();
                features.push(feature);
            }
        }
        let path = document.path();
        let mut workspace = Self {
            root: path.parent().unwrap_or(Path::new("")).to_owned(),
            manifest: path.to_owned(),
            name: None,
            version: None,
            platforms: Vec::new(),
            channels: Vec::new(),
            preview: Vec::new(),
            requires_pixi: None,
            warnings: Vec::new(),
            channel_priority: None,
            solve_strategy: None,
            pypi_options: PypiOptions::default(),
            features,
            environments: Vec::new(),
        };
        workspace.take_head(&head)?;
        let mut package = table.take("package").map(|it| it.table()).transpose()?;
        let name = package.as_mut().and_then(|it| it.take("name"));
        let name = name.and_then(|it| it.as_str().map(str::to_owned));
        workspace.name = workspace.name.or(name);
        project.complete(&mut workspace)?;
        let environments = table.take("environments");
        environment::take(environments.as_ref(), &mut workspace, document)?;
        table.ignore(&["exclude-newer", "pypi-exclude-newer", "tool", "$schema"]);
        table.finish();
        Ok(workspace)
    }

    /// Reads `[workspace]`.
    fn take_head(&mut self, head: &Value<'_, '_>) -> Result<(), ManifestError> {
        let mut table = head.table()?;
        self.name = table.take("name").map(|it| it.string().map(str::to_owned)).transpose()?;
        self.version =
            table.take("version").map(|it| it.string().map(str::to_owned)).transpose()?;
        if let Some(value) = table.take("platforms") {
            for value in value.array()? {
                let platform = platform::parse(&value)?;
                if self.platforms.iter().any(|it| it.name == platform.name) {
                    return Err(value.error(format!(
                        "there are two platforms called `{}`; give one another `name`",
                        platform.name
                    )));
                }
                self.platforms.push(platform);
            }
        }
        let channels = table.take("channels").ok_or_else(|| {
            head.error(format!("`[{}]` needs `channels = [\"conda-forge\"]` or others", head.name))
        })?;
        self.channels = feature::channels(&channels)?;
        if let Some(value) = table.take("preview") {
            self.preview = match value.as_boolean() {
                Some(true) => vec!["*".to_owned()],
                Some(false) => Vec::new(),
                None => value.strings()?,
            };
        }
        if let Some(value) = table.take("pypi-options") {
            self.pypi_options = feature::pypi_options(&value)?;
        }
        if let Some(value) = table.take("channel-priority") {
            self.channel_priority = Some(feature::one_of(&value, &feature::PRIORITIES)?);
        }
        if let Some(value) = table.take("solve-strategy") {
            self.solve_strategy = Some(feature::one_of(&value, &feature::STRATEGIES)?);
        }
        self.requires_pixi =
            table.take("requires-pixi").map(|it| it.string().map(str::to_owned)).transpose()?;
        table.ignore(&[
            "authors",
            "build-variants",
            "build-variants-files",
            "conda-pypi-map",
            "dependencies",
            "description",
            "documentation",
            "exclude-newer",
            "homepage",
            "license",
            "license-file",
            "readme",
            "repository",
            "s3-options",
            "target",
        ]);
        table.finish();
        Ok(())
    }

    /// The name, or that of the directory where none is given.
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            self.root.file_name().unwrap_or_default().to_string_lossy().into_owned()
        })
    }

    /// The names of the environments: `default` first, then in the order of the manifest.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.environments.iter().map(|it| it.name.as_str())
    }

    /// Whether there is an environment of that name.
    pub fn has_environment(&self, name: &str) -> bool {
        self.environment(name).is_some()
    }

    /// An error that names the environments that there are.
    pub fn no_environment(&self, name: &str) -> ManifestError {
        let names: Vec<String> = self.environments().map(|it| format!("`{it}`")).collect();
        ManifestError::NoEnvironment {
            path: self.manifest.clone(),
            name: name.to_owned(),
            known: names.join(", "),
        }
    }

    fn environment(&self, name: &str) -> Option<&Environment> {
        self.environments.iter().find(|it| it.name == name)
    }

    fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|it| it.name == name)
    }

    /// The features of an environment in the order in which they count; none if there is no such
    /// environment.
    fn features_of(&self, environment: &str) -> Vec<&Feature> {
        let Some(environment) = self.environment(environment) else { return Vec::new() };
        let names = environment.features.iter().map(String::as_str);
        let default = (!environment.no_default_feature).then_some(DEFAULT);
        names.chain(default).filter_map(|name| self.feature(name)).collect()
    }

    /// The group of environments that is solved together with this one, if it is in one.
    pub fn solve_group(&self, environment: &str) -> Option<&str> {
        self.environment(environment)?.solve_group.as_deref()
    }

    /// The scripts and variables of an environment; nothing if there is no such environment.
    pub fn activation(&self, environment: &str, platform: &Platform) -> Activation {
        let mut activation = Activation::default();
        for feature in self.features_of(environment) {
            let scripts = feature.on(platform).find_map(|target| target.scripts.as_ref());
            activation.scripts.extend(scripts.into_iter().flatten().cloned());
            for (name, value) in feature.on(platform).flat_map(|target| &target.env) {
                if activation.env.iter().all(|(known, _)| known != name) {
                    activation.env.push((name.clone(), value.clone()));
                }
            }
        }
        activation
    }

    /// The tasks that can be run in an environment, by name.
    pub fn tasks(&self, environment: &str, platform: &Platform) -> BTreeMap<String, TaskSource> {
        let mut tasks = BTreeMap::new();
        for feature in self.features_of(environment) {
            for (name, task) in feature.on(platform).flat_map(|target| &target.tasks) {
                tasks.entry(name.clone()).or_insert_with(|| task.clone());
            }
        }
        tasks
    }
}
