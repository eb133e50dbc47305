//! Where the environments of a pixi workspace are, and what marks the directory that they are in.

use std::path::{Path, PathBuf};

use rewarm_conda::manifest::{CONFIG, Detached, Workspace, detached};
use rewarm_conda::prefix::{Marker, Outdated, is_current};
use rewarm_store::{Digest, publish_file};

use super::Place;
use crate::context::{Context, now};
use crate::error::Failure;

/// The place of an environment of the workspace whose manifest that is.
pub(crate) fn place(
    context: &Context<'_>,
    manifest: &Path,
    environment: &str,
) -> Result<Place, Failure> {
    // It becomes a part of a path before the manifest is asked whether there is such an environment.
    let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    if environment.starts_with('.') || !environment.chars().all(is_name) || environment.is_empty() {
        return Err(Failure::usage(format!("`{environment}` cannot name an environment")));
    }
    let root = manifest.parent().unwrap_or(Path::new("/"));
    let envs = match setting(context, root)? {
        Detached::No => root.join(".pixi/envs"),
        detached => {
            let workspace = Workspace::read(manifest).map_err(Failure::usage)?;
            workspace.environments_dir(&detached, &pixi_cache(context))
        }
    };
    let prefix = envs.join(environment);
    Ok(Place {
        manifest: manifest.to_owned(),
        environment: environment.to_owned(),
        prefix,
        is_conda: false,
    })
}

/// Whether the prefix came here with a workspace that was moved or copied: its files name the place
/// that it was made for.
pub(super) fn is_moved(place: &Place, request: &Digest) -> bool {
    let directory = |manifest: &Path| manifest.parent().and_then(|dir| dir.canonicalize().ok());
    let made_for = Marker::read(&place.prefix).map(|marker| marker.manifest_path);
    let is_elsewhere = |manifest: PathBuf| directory(&manifest) != directory(&place.manifest);
    matches!(is_current(&place.prefix, request, now()), Err(Outdated::Moved))
        || made_for.is_some_and(is_elsewhere)
}

/// The files in which pixi may be configured, the weakest first.
pub(super) fn configuration_files(context: &Context<'_>, root: &Path) -> Vec<PathBuf> {
    let caller = &context.settings.caller;
    let home = caller.get("PIXI_HOME").map(PathBuf::from);
    let home = home.or_else(|| caller.home().map(|home| home.join(".pixi")));
    let files = [
        Some(PathBuf::from("/etc/pixi/config.toml")),
        caller.xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("pixi/config.toml")),
        home.map(|dir| dir.join("config.toml")),
        Some(root.join(CONFIG)),
    ];
    files.into_iter().flatten().collect()
}

/// What the configuration files of pixi say about the place; the last that says something counts.
fn setting(context: &Context<'_>, root: &Path) -> Result<Detached, Failure> {
    let mut setting = Detached::No;
    for path in configuration_files(context, root) {
        // One that cannot be read says nothing, as for pixi.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if let Some(said) = detached(&path, &text).map_err(Failure::usage)? {
            setting = said;
        }
    }
    Ok(setting)
}

/// The directory of pixi's cache.
fn pixi_cache(context: &Context<'_>) -> PathBuf {
    let caller = &context.settings.caller;
    let named = ["PIXI_CACHE_DIR", "RATTLER_CACHE_DIR"].into_iter().find_map(|it| caller.get(it));
    if let Some(dir) = named {
        return PathBuf::from(dir);
    }
    let own = caller.get("XDG_CACHE_HOME").map(|dir| Path::new(dir).join("pixi"));
    if let Some(dir) = own.filter(|dir| dir.is_dir()) {
        return dir;
    }
    let fallback = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    caller.xdg("XDG_CACHE_HOME", fallback).unwrap_or_default().join("rattler/cache")
}

/// Keeps version control away from the directory of the environments, as pixi does.
pub(super) fn mark_directory(place: &Place) -> Result<(), Failure> {
    let root = place.root();
    let ignore = root.join(".pixi/.gitignore");
    if place.is_conda || !place.prefix.starts_with(root) || ignore.exists() {
        return Ok(());
    }
    let write = || {
        std::fs::create_dir_all(root.join(".pixi"))?;
        publish_file(&ignore, b"*\n!config.toml\n", 0o666)
    };
    write().map_err(|error: std::io::Error| {
        let text = format!("cannot write `{}`: {error}", ignore.display());
        Failure::world(std::io::Error::new(error.kind(), text)).hint_at_space()
    })
}
