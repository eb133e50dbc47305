//! Conda packages: does everything that is asked for have a locked package that meets it, and is
//! everything that is locked asked for?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use rattler_conda_types::{MatchSpec, Matches, PackageRecord, ParseStrictness};
use rattler_lock::{CondaPackageData, UrlOrPath};

use super::{Checked, Locked, channel_url};
use crate::manifest::{CondaDependency, CondaSpec, Requirements, Workspace};

/// How far a walk over the dependencies has come.
pub(super) struct Walk<'l> {
    by_name: BTreeMap<String, &'l CondaPackageData>,
    reached: BTreeSet<String>,
    /// Whether something was met whose dependencies are not known.
    open: bool,
}

/// Walks from what is asked for to all that is locked for it.
pub(super) fn walk<'l>(
    workspace: &Workspace,
    asked: &Requirements,
    locked: &Locked<'l>,
) -> Result<Walk<'l>, String> {
    let name = |it: &&'l CondaPackageData| it.name().as_normalized().to_owned();
    let by_name = locked.conda.iter().map(|it| (name(it), *it)).collect();
    let mut walk = Walk { by_name, reached: BTreeSet::new(), open: !asked.dev.is_empty() };
    for dependency in &asked.conda {
        let name = dependency.name.as_normalized();
        let Some(package) = walk.by_name.get(name) else {
            return Err(format!("`{name}` is not in it"));
        };
        meets(workspace, dependency, package)?;
        walk.reach(name)?;
    }
    for constraint in &asked.constraints {
        if let Some(package) = walk.by_name.get(constraint.name.as_normalized()) {
            meets(workspace, constraint, package)?;
        }
    }
    Ok(walk)
}

impl<'l> Walk<'l> {
    /// A locked package by its name, with all that it depends on.
    pub(super) fn use_package(
        &mut self,
        name: &str,
    ) -> Result<Option<&'l CondaPackageData>, String> {
        let found = self.by_name.get(name).copied();
        if found.is_some() {
            self.reach(name)?;
        }
        Ok(found)
    }

    /// Counts a package and all that it depends on as asked for.
    fn reach(&mut self, name: &str) -> Checked {
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            let Some(package) = self.by_name.get(&name) else { continue };
            if !self.reached.insert(name.clone()) {
                continue;
            }
            for depends in package.depends() {
                if depends.starts_with("__") {
                    continue;
                }
                match self.dependency(&name, depends)? {
                    Some(next) => open.push(next),
                    None => self.open = true,
                }
            }
        }
        Ok(())
    }

    /// The name of the package that meets a dependency; `None` if what is written there cannot be
    /// read or only holds at times.
    fn dependency(&self, of: &str, depends: &str) -> Result<Option<String>, String> {
        let Ok(spec) = MatchSpec::from_str(depends, ParseStrictness::Lenient) else {
            return Ok(None);
        };
        if spec.condition.is_some() {
            return Ok(None);
        }
        let Some(name) = spec.name.as_exact().map(|it| it.as_normalized().to_owned()) else {
            return Ok(None);
        };
        let Some(package) = self.by_name.get(&name) else {
            return Err(format!("`{of}` depends on `{depends}`, which is not in it"));
        };
        match package.record() {
            Some(record) if !spec.matches(record) => {
                Err(format!("`{of}` depends on `{depends}`, and `{}` is in it", shown(record)))
            }
            _ => Ok(Some(name)),
        }
    }

    /// Refuses packages that nothing asked for.
    pub(super) fn finish(&self) -> Checked {
        let surplus = self.by_name.keys().find(|it| !self.reached.contains(*it));
        match surplus {
            Some(name) if !self.open => Err(format!("`{name}` is in it, and nothing asks for it")),
            _ => Ok(()),
        }
    }
}

fn shown(record: &PackageRecord) -> String {
    format!("{} {} {}", record.name.as_normalized(), record.version, record.build)
}

fn meets(workspace: &Workspace, asked: &CondaDependency, package: &CondaPackageData) -> Checked {
    let name = asked.name.as_normalized();
    let other = |what: String| {
        Err(format!("the manifest asks for `{name}` {what}, and `{}` is in it", package.location()))
    };
    match (&asked.spec, package) {
        (CondaSpec::Match { spec, channel }, CondaPackageData::Binary(found)) => {
            if !spec.matches(&found.package_record) {
                return Err(format!(
                    "the manifest asks for `{name} {spec}`, and `{}` is in it",
                    shown(&found.package_record)
                ));
            }
            let Some(channel) = channel else { return Ok(()) };
            let wanted = channel_url(workspace, channel);
            match &found.channel {
                Some(from) if channel_url(workspace, from.as_str()) != wanted => {
                    other(format!("of the channel `{channel}`"))
                }
                _ => Ok(()),
            }
        }
        (CondaSpec::Match { .. }, CondaPackageData::Source(_)) => other("of a channel".to_owned()),
        (CondaSpec::Url(url), _) => match package.location() {
            UrlOrPath::Url(found) if same_url(found.as_str(), url) => Ok(()),
            _ => other(format!("at `{url}`")),
        },
        (CondaSpec::Path(path), _) => match package.location() {
            UrlOrPath::Path(found) if same_path(workspace, found.as_str(), path) => Ok(()),
            _ => other(format!("at `{path}`")),
        },
        (CondaSpec::Git(url), _) => match package.location() {
            UrlOrPath::Url(found) if same_repository(found.as_str(), url) => Ok(()),
            _ => other(format!("from `{url}`")),
        },
    }
}

/// Whether two URLs name the same file, whatever their fragment and the marks that pixi sets.
pub(super) fn same_url(one: &str, other: &str) -> bool {
    let plain = |url: &str| -> String {
        let url = url.strip_prefix("direct+").unwrap_or(url);
        let url = url.split('#').next().unwrap_or(url);
        url.parse::<url::Url>().map_or_else(|_| url.to_owned(), |it| it.to_string())
    };
    plain(one) == plain(other)
}

/// Whether two URLs name the same repository, whatever revision.
pub(super) fn same_repository(one: &str, other: &str) -> bool {
    let plain = |url: &str| -> String {
        let url = url.strip_prefix("git+").unwrap_or(url);
        let url = url.split(['#', '?']).next().unwrap_or(url);
        // `@REV` behind the path, but not `git@` before the host.
        let path = url.rfind('/').unwrap_or(0);
        let url = url[path..].find('@').map_or(url, |at| &url[..path + at]);
        url.trim_end_matches('/').trim_end_matches(".git").to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

/// Whether two paths are the same, seen from the root of the workspace and told from their text.
pub(super) fn same_path(workspace: &Workspace, one: &str, other: &str) -> bool {
    let plain = |path: &str| -> PathBuf {
        let mut found = PathBuf::new();
        for part in workspace.root.join(Path::new(path)).components() {
            match part {
                Component::ParentDir => {
                    found.pop();
                }
                Component::CurDir => {}
                part => found.push(part),
            }
        }
        found
    };
    plain(one) == plain(other)
}
