//! What a `pyproject.toml` says outside of `[tool.pixi]`: name and version of the project, the
//! Python it needs, its dependencies, and groups of them, which are features too.

use std::collections::BTreeMap;

use rattler_conda_types::{NamelessMatchSpec, PackageName, ParseStrictness};

use super::dependency::{self, CondaDependency, CondaSpec, PypiDependency};
use super::document::{Table, Value};
use super::error::ManifestError;
use super::feature::Feature;
use super::{DEFAULT, Workspace};

/// What counts besides the tables of pixi.
#[derive(Default)]
pub(crate) struct Project {
    name: Option<String>,
    version: Option<String>,
    python: Option<CondaDependency>,
    dependencies: Vec<PypiDependency>,
    /// Optional dependencies and dependency groups, by the name of their feature.
    groups: BTreeMap<String, Vec<PypiDependency>>,
}

/// Reads a whole `pyproject.toml`.
pub(crate) fn workspace(mut file: Table<'_, '_>) -> Result<Workspace, ManifestError> {
    let document = file.document();
    let mut project = Project::default();
    if let Some(value) = file.take("project") {
        project.take_project(&value)?;
    }
    if let Some(value) = file.take("dependency-groups") {
        project.take_groups(&value)?;
    }
    let none = || ManifestError::NoPixiTable { path: document.path().to_owned() };
    let mut tool = file.take("tool").ok_or_else(none)?.table()?;
    if let Some(value) = tool.take("poetry").filter(Value::is_table) {
        let mut poetry = value.table()?;
        let mut text = |key| poetry.take(key).and_then(|it| it.as_str().map(str::to_owned));
        let (name, version) = (text("name"), text("version"));
        project.name = project.name.or(name);
        project.version = project.version.or(version);
    }
    let pixi = tool.take("pixi").ok_or_else(none)?;
    Workspace::from_table(document, pixi.table()?, project)
}

impl Project {
    fn take_project(&mut self, value: &Value<'_, '_>) -> Result<(), ManifestError> {
        let mut table = value.table()?;
        self.name = table.take("name").map(|it| it.string().map(str::to_owned)).transpose()?;
        self.version =
            table.take("version").map(|it| it.string().map(str::to_owned)).transpose()?;
        if let Some(value) = table.take("requires-python") {
            let text = value.string()?;
            let spec = NamelessMatchSpec::from_str(text, ParseStrictness::Lenient);
            let spec = spec.map_err(|error| {
                value.error(format!("`{text}` is no range of versions of Python: {error}"))
            })?;
            self.python = Some(CondaDependency {
                name: PackageName::new_unchecked("python"),
                spec: CondaSpec::Match { spec: Box::new(spec), channel: None },
                line: value.line(),
            });
        }
        if let Some(value) = table.take("dependencies") {
            self.dependencies = requirements(&value)?;
        }
        if let Some(value) = table.take("optional-dependencies") {
            for (name, value) in value.table()?.rest() {
                let mut found = requirements(&value)?;
                // A group may name other groups of the same project.
                let own = self.name.as_deref().and_then(|it| it.parse().ok());
                found.retain(|it| Some(&it.name) != own.as_ref());
                self.groups.entry(name.to_owned()).or_default().extend(found);
            }
        }
        Ok(())
    }

    /// Reads dependency groups (PEP 735).
    fn take_groups(&mut self, value: &Value<'_, '_>) -> Result<(), ManifestError> {
        let groups: Vec<(String, Value<'_, '_>)> =
            value.table()?.rest().into_iter().map(|(name, it)| (normal(name), it)).collect();
        for (name, value) in &groups {
            let mut found = Vec::new();
            resolve(value, &groups, &mut vec![name.clone()], &mut found)?;
            let name = value.name.rsplit_once('.').map_or(name.as_str(), |(_, last)| last);
            self.groups.entry(name.to_owned()).or_default().extend(found);
        }
        Ok(())
    }

    /// Adds it to a workspace whose own tables have been read; these count first.
    pub(crate) fn complete(self, workspace: &mut Workspace) -> Result<(), ManifestError> {
        workspace.name = workspace.name.take().or(self.name);
        workspace.version = workspace.version.take().or(self.version);
        for (name, dependencies) in self.groups {
            if workspace.feature(&name).is_none() {
                workspace.features.push(Feature { name: name.clone(), ..Feature::default() });
            }
            add(workspace, &name, dependencies);
        }
        add(workspace, DEFAULT, self.dependencies);
        if let (Some(python), Some(feature)) = (self.python, workspace.features.first_mut()) {
            feature.plain.conda[0].entry("python".to_owned()).or_insert(python);
        }
        Ok(())
    }
}

fn add(workspace: &mut Workspace, feature: &str, dependencies: Vec<PypiDependency>) {
    let Some(feature) = workspace.features.iter_mut().find(|it| it.name == feature) else { return };
    for dependency in dependencies {
        feature.plain.pypi.entry(dependency.name.to_string()).or_insert(dependency);
    }
}

fn requirements(value: &Value<'_, '_>) -> Result<Vec<PypiDependency>, ManifestError> {
    value.array()?.iter().map(dependency::requirement).collect()
}

/// The normal form of the name of a group.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn resolve(
    value: &Value<'_, '_>,
    groups: &[(String, Value<'_, '_>)],
    path: &mut Vec<String>,
    found: &mut Vec<PypiDependency>,
) -> Result<(), ManifestError> {
    for item in value.array()? {
        if !item.is_table() {
            found.push(dependency::requirement(&item)?);
            continue;
        }
        let mut table = item.table()?;
        let included = table
            .take("include-group")
            .ok_or_else(|| item.error("expected a requirement or `{ include-group = \"…\" }`"))?;
        let name = normal(included.string()?);
        if path.contains(&name) {
            return Err(item.error(format!("the group `{name}` includes itself")));
        }
        let Some((_, value)) = groups.iter().find(|(known, _)| *known == name) else {
            return Err(item.error(format!("there is no dependency group `{name}`")));
        };
        path.push(name);
        resolve(value, groups, path, found)?;
        path.pop();
    }
    Ok(())
}
