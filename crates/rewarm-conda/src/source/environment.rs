//! Environment files of conda: what they ask for, and whether locked packages have it.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep508_rs::{Requirement, VersionOrUrl};
use rattler_conda_types::{EnvironmentYaml, MatchSpec, Matches};

use super::SourceError;
use crate::lock::{Fit, Wanted};

/// What an `environment.yml` says.
#[derive(Debug, Clone, PartialEq)]
pub struct CondaEnvironment {
    /// The name of the environment.
    pub name: Option<String>,
    /// Where it is to be.
    pub prefix: Option<PathBuf>,
    /// The channels, as they are written.
    pub channels: Vec<String>,
    /// Conda packages that are asked for.
    pub conda: Vec<MatchSpec>,
    /// Lines for pip.
    pub pip: Vec<String>,
    /// Variables that are set in it, in the order of the file.
    pub variables: Vec<(String, String)>,
}

impl CondaEnvironment {
    /// Parses the text of an environment file.
    ///
    /// # Errors
    ///
    /// When it is no YAML, or has a dependency that cannot be read.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SourceError> {
        let file = EnvironmentYaml::from_yaml_str(text).map_err(|error| {
            SourceError::Environment { path: path.to_owned(), message: error.to_string() }
        })?;
        let conda = file.match_specs().cloned().collect();
        let pip = file.pip_specs().unwrap_or_default().to_vec();
        Ok(Self {
            conda,
            pip,
            name: file.name,
            prefix: file.prefix,
            channels: file.channels.iter().map(|it| it.as_str().to_owned()).collect(),
            variables: file.variables.into_iter().collect(),
        })
    }

    /// Whether locked packages have all that it asks for. Lines for pip that are no requirements
    /// (`-r`, `-e`) are passed over.
    pub fn fits(&self, wanted: &Wanted) -> Fit {
        let reason = self.conda.iter().find_map(|spec| lacks_conda(wanted, spec));
        let reason = reason.or_else(|| self.pip.iter().find_map(|line| lacks_pip(wanted, line)));
        reason.map_or(Fit::Satisfied, |reason| Fit::Outdated { reason })
    }
}

fn lacks_conda(wanted: &Wanted, spec: &MatchSpec) -> Option<String> {
    let name = spec.name.as_exact()?;
    let found = wanted.conda.iter().find(|it| it.record.package_record.name == *name);
    let Some(found) = found else {
        return Some(format!("`{}` is not in it", name.as_normalized()));
    };
    let record = &found.record.package_record;
    (!spec.matches(record)).then(|| {
        let version = format!("{} {} {}", name.as_normalized(), record.version, record.build);
        format!("`{spec}` is asked for, and `{version}` is in it")
    })
}

fn lacks_pip(wanted: &Wanted, line: &str) -> Option<String> {
    let requirement: Requirement = Requirement::from_str(line).ok()?;
    // Where it applies cannot be told without a Python.
    if !requirement.marker.is_true() {
        return None;
    }
    let name = requirement.name.to_string();
    let in_conda =
        || wanted.conda.iter().any(|it| it.record.package_record.name.as_normalized() == name);
    let Some(found) = wanted.pypi.iter().find(|it| it.name == name) else {
        return (!in_conda()).then(|| format!("`{name}` (of `pip`) is not in it"));
    };
    let version = pep440_rs::Version::from_str(found.version.as_deref()?).ok()?;
    match requirement.version_or_url? {
        VersionOrUrl::VersionSpecifier(asked) if !asked.contains(&version) => {
            Some(format!("`{name}{asked}` is asked for, and `{name} {version}` is in it"))
        }
        _ => None,
    }
}
