//! Projects of conda: the one environment of an `environment.yml` with an explicit lock beside it, or of
//! such a lock alone.
//!
//! The environment lies where the file says, else in `.conda`. Nothing is solved, and nothing is told to
//! pixi. Variables of the file go where conda keeps them, in `conda-meta/state`.

use std::io;
use std::path::{Path, PathBuf};

use rewarm_conda::source::{self, ENVIRONMENT_FILES, Files, SourceError};
use rewarm_store::{Digest, publish_file};
use serde_json::json;

use super::{DEFAULT, Place, Prepared, host};
use crate::context::Context;
use crate::error::Failure;

/// The nearest directory upwards that has an `environment.yml`.
pub(crate) fn root(start: &Path) -> Option<&Path> {
    let has = |dir: &&Path| ENVIRONMENT_FILES.iter().any(|name| dir.join(name).is_file());
    start.ancestors().find(has)
}

/// The environment of a conda project in this directory, if it is one.
pub(crate) fn place(context: &Context<'_>, root: &Path) -> Result<Option<Place>, Failure> {
    let Some(files) = files(context, root)? else { return Ok(None) };
    let environment = files.environment().map_err(failure)?;
    let named = environment.and_then(|environment| environment.prefix);
    let prefix = root.join(named.unwrap_or_else(|| PathBuf::from(".conda")));
    let Some(manifest) = files.environment.or(files.lock) else { return Ok(None) };
    Ok(Some(Place { manifest, environment: DEFAULT.to_owned(), prefix, is_conda: true }))
}

/// Looking for them asks the machine what it is, so that comes last.
fn files(context: &Context<'_>, root: &Path) -> Result<Option<Files>, Failure> {
    let names = std::fs::read_dir(root).map_err(Failure::world)?.flatten();
    let may_be = |name: &str| {
        ENVIRONMENT_FILES.contains(&name)
            || name == source::CONDA_LOCK
            || name.ends_with(".lock")
            || name.starts_with("explicit")
    };
    if !names.into_iter().any(|entry| entry.file_name().to_str().is_some_and(may_be)) {
        return Ok(None);
    }
    Ok(source::find(root, &host(context)?))
}

/// Reads the files.
pub(super) fn prepare(context: &Context<'_>, place: &Place) -> Result<Prepared, Failure> {
    let root = place.root();
    let host = host(context)?;
    let files = source::find(root, &host)
        .ok_or_else(|| Failure::usage(format!("`{}` is gone", place.manifest.display())))?;
    let mut inputs = Vec::new();
    for path in files.environment.iter().chain(&files.lock) {
        let bytes = std::fs::read(path)
            .map_err(|source| failure(SourceError::Read { path: path.clone(), source }))?;
        inputs.push((path.clone(), Digest::of(&bytes)));
    }
    let wanted = files.wanted(&host).map_err(failure)?;
    let variables = files.environment().map_err(failure)?.map(|it| it.variables);
    let variables = variables.unwrap_or_default();
    Ok(Prepared { wanted, marker: None, variables, inputs, is_fit: true })
}

/// Writes them where activation reads them, if there are any and it is not there already.
pub(super) fn keep_variables(prefix: &Path, variables: &[(String, String)]) -> io::Result<()> {
    if variables.is_empty() {
        return Ok(());
    }
    let map: serde_json::Map<_, _> =
        variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let text = json!({ "version": 1, "env_vars": map }).to_string();
    let path = prefix.join("conda-meta/state");
    match std::fs::read(&path) {
        Ok(present) if present == text.as_bytes() => Ok(()),
        _ => publish_file(&path, text.as_bytes(), 0o666),
    }
}

fn failure(error: SourceError) -> Failure {
    match error {
        SourceError::Read { .. } => Failure::world(error),
        other => Failure::usage(other),
    }
}
