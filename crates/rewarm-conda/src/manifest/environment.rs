//! `[environments]`: which features an environment has.
//!
//! What an environment says of dependencies and the like itself becomes a feature of its own, which
//! comes before those that it lists. Names become directories, so only plain ones are let through.

use super::document::{Document, Table, Value};
use super::error::ManifestError;
use super::feature::Feature;
use super::{DEFAULT, Workspace};

/// An environment, as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
    pub(crate) no_default_feature: bool,
    pub(crate) solve_group: Option<String>,
}

impl Environment {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            features: Vec::new(),
            no_default_feature: false,
            solve_group: None,
        }
    }
}

/// Reads the environments into a workspace whose features are known.
pub(crate) fn take(
    value: Option<&Value<'_, '_>>,
    workspace: &mut Workspace,
    document: &Document<'_>,
) -> Result<(), ManifestError> {
    let tables = value.map_or(Ok(Vec::new()), |value| Ok(value.table()?.rest()))?;
    let mut found = vec![Environment::new(DEFAULT)];
    for (name, value) in tables {
        let plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(document.error(
                value.key_span(),
                format!(
                    "`{}` is no name of an environment; use letters, digits and `-`",
                    name.escape_debug()
                ),
            ));
        }
        let environment = parse(name, &value, workspace)?;
        match name == DEFAULT {
            true => found[0] = environment,
            false => found.push(environment),
        }
    }
    workspace.environments = found;
    Ok(())
}

fn parse(
    name: &str,
    value: &Value<'_, '_>,
    workspace: &mut Workspace,
) -> Result<Environment, ManifestError> {
    let mut environment = Environment::new(name);
    if value.is_array() {
        environment.features = features(value, workspace)?;
        return Ok(environment);
    }
    if !value.is_table() {
        return Err(value.expected("an array of features, or a table"));
    }
    let mut table = value.table()?;
    if let Some(value) = table.take("features") {
        environment.features = features(&value, workspace)?;
    }
    if let Some(value) = table.take("no-default-feature") {
        environment.no_default_feature = value.boolean()?;
    }
    if let Some(value) = table.take("solve-group") {
        environment.solve_group = Some(value.string()?.to_owned());
    }
    // A dot, so that it cannot be the name of another one.
    let own = format!(".{name}");
    let inline = has_inline(&table);
    let feature = Feature::take(&own, &mut table)?;
    table.finish();
    if inline {
        environment.features.insert(0, own);
        workspace.features.push(feature);
    }
    Ok(environment)
}

fn has_inline(table: &Table<'_, '_>) -> bool {
    const KEYS: [&str; 12] = [
        "activation",
        "build-dependencies",
        "channels",
        "constraints",
        "dependencies",
        "dev",
        "host-dependencies",
        "platforms",
        "pypi-dependencies",
        "system-requirements",
        "target",
        "tasks",
    ];
    KEYS.iter().any(|key| table.has(key)) || table.has("pypi-options")
}

fn features(value: &Value<'_, '_>, workspace: &Workspace) -> Result<Vec<String>, ManifestError> {
    let mut found: Vec<String> = Vec::new();
    for item in value.array()? {
        let name = item.string()?;
        let known = name != DEFAULT && workspace.feature(name).is_some();
        if !known {
            return Err(item.error(format!(
                "there is no feature `{name}`; add `[feature.{name}]` or take it out of `{}`",
                value.name
            )));
        }
        if found.iter().any(|it| it == name) {
            return Err(item.error(format!("the feature `{name}` is listed twice; keep one")));
        }
        found.push(name.to_owned());
    }
    Ok(found)
}
