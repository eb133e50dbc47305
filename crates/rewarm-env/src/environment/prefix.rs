//! Distributions in an environment that somebody else makes and has a lock file for: those from PyPI
//! in a conda prefix.
//!
//! There is nothing to check cheaply, nothing to select and nothing to mend: whoever owns the
//! environment says what is wanted, and its interpreter is the one that lies in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use rewarm_store::{Hasher, Store};

use super::{CheckError, Context, Mend, Options, Plan, build_files_digest};
use crate::interpreter::Interpreter;
use crate::lock::{Source, Wanted, choose};
use crate::plan::source_identity;
use crate::venv;

/// The plan that brings `wanted` into the environment at `root`, which has an interpreter. Of what
/// is wanted, all names a file or a directory. Of `options`, only those count that say how to install.
pub fn plan_into(
    root: &Path,
    mut wanted: Vec<Wanted>,
    options: &Options,
    store: &Store,
    now: SystemTime,
) -> Result<Plan, CheckError> {
    let interpreter = Interpreter::at(&venv::python(root), store, now)?;
    let tags = interpreter.tags()?;
    let mut hasher = Hasher::new("prefix request, 1");
    for package in &mut wanted {
        // The lock file may have been made for another machine.
        if let Source::Wheel { file, .. } = &package.source {
            choose(std::slice::from_ref(file), None, &tags).map_err(|_| CheckError::Unfit {
                wheel: file.filename.clone(),
                python: format!("{} at `{}`", interpreter.full_version(), root.display()),
            })?;
        }
        if let Source::Directory { path, editable: false, build_files } = &mut package.source {
            *build_files = Some(build_files_digest(path));
        }
        hasher.field(package.name.as_str()).field(source_identity(&package.source).as_bytes());
    }
    let context = Context {
        root: root.to_owned(),
        request: hasher.finish(),
        inputs: Vec::new(),
        interpreter,
        tags,
        mend: Mend::Nothing,
        prompt: String::new(),
        options: options.clone(),
        checked: now,
    };
    let install = context.plan(&wanted)?;
    Ok(Plan { install, context, wanted, supplied: BTreeMap::new() })
}
