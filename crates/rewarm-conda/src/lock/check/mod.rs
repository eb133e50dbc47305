//! Whether a lock file still fits the manifest that it was made from.
//!
//! Told from the two files alone, without solving and without reading packages: for each platform of
//! an environment everything that the manifest asks for, and everything that locked packages depend
//! on, has to be met by a locked package, and nothing else may be locked. Channels, indexes and
//! options of the solver have to be the same. What directories of sources depend on is not looked
//! up. Whether packages fit a machine is not asked here.

mod conda;
mod pypi;

use std::collections::BTreeSet;

use rattler_conda_types::{ChannelConfig, NamedChannelOrUrl};
use rattler_lock::LockedPackage;
use rattler_lock::options::{ChannelPriority, SolveStrategy};

use super::LockFile;
use super::error::{LockError, list};
use crate::manifest::{Platform, Workspace};

/// Whether a lock file fits its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It does.
    Satisfied,
    /// It was made from another manifest.
    Outdated {
        /// What does not fit, with the package that it concerns; `pixi lock` mends it.
        reason: String,
    },
}

/// The first thing that does not fit.
type Checked = Result<(), String>;

impl Fit {
    /// An error if the lock file is outdated.
    ///
    /// # Errors
    ///
    /// [`LockError::Outdated`] with the reason.
    pub fn require(self, lock: &LockFile) -> Result<(), LockError> {
        match self {
            Self::Satisfied => Ok(()),
            Self::Outdated { reason } => {
                Err(LockError::Outdated { path: lock.path().to_owned(), reason })
            }
        }
    }
}

impl From<Checked> for Fit {
    fn from(checked: Checked) -> Self {
        match checked {
            Ok(()) => Self::Satisfied,
            Err(reason) => Self::Outdated { reason },
        }
    }
}

/// The packages that are locked for an environment on a platform.
struct Locked<'l> {
    conda: Vec<&'l rattler_lock::CondaPackageData>,
    pypi: Vec<&'l rattler_lock::PypiPackageData>,
}

/// Whether a lock file fits the whole of a workspace.
pub fn check(workspace: &Workspace, lock: &LockFile) -> Fit {
    let known: BTreeSet<&str> = workspace.environments().collect();
    let surplus = lock.environments().into_iter().find(|it| !known.contains(it));
    if let Some(surplus) = surplus {
        let reason = format!("it has an environment `{surplus}`, which the manifest has not");
        return Fit::Outdated { reason };
    }
    workspace.environments().try_for_each(|it| environment(workspace, lock, it)).into()
}

/// Whether a lock file fits one environment of a workspace.
pub fn check_environment(workspace: &Workspace, lock: &LockFile, name: &str) -> Fit {
    environment(workspace, lock, name).into()
}

fn environment(workspace: &Workspace, lock: &LockFile, name: &str) -> Checked {
    let Some(locked) = lock.lock.environment(name) else {
        return Err(format!("it has no environment `{name}`"));
    };
    channels(workspace, name, locked)?;
    options(workspace, name, locked)?;
    let wanted = workspace.environment_platforms(name);
    platforms(lock, name, &wanted)?;
    for platform in &wanted {
        let entry = lock.locked_platform(name, platform).map_err(|_| {
            format!("it has no packages of the environment `{name}` for `{}`", platform.name)
        })?;
        let packages: Vec<&LockedPackage> = locked.packages(entry).into_iter().flatten().collect();
        let packages = Locked {
            conda: packages.iter().filter_map(|it| it.as_conda()).collect(),
            pypi: packages.iter().filter_map(|it| it.as_pypi()).collect(),
        };
        let asked = workspace.requirements(name, platform);
        let walk = conda::walk(workspace, &asked, &packages);
        let walk = walk.and_then(|conda| pypi::walk(workspace, platform, &asked, &packages, conda));
        walk.map_err(|reason| {
            format!("{reason}, in the environment `{name}` for `{}`", platform.name)
        })?;
    }
    Ok(())
}

/// The environments that are solved together with one, itself among them.
fn group<'w>(workspace: &'w Workspace, name: &'w str) -> Vec<&'w str> {
    match workspace.solve_group(name) {
        None => vec![name],
        group => workspace.environments().filter(|it| workspace.solve_group(it) == group).collect(),
    }
}

/// A channel as a URL with a slash at the end; as it is if it cannot be one.
pub(super) fn channel_url(workspace: &Workspace, channel: &str) -> String {
    let config = ChannelConfig::default_with_root_dir(workspace.root.clone());
    let parsed: Result<NamedChannelOrUrl, _> = channel.parse();
    let url = parsed.ok().and_then(|it| it.into_base_url(&config).ok());
    url.map_or_else(|| channel.to_owned(), |it| it.as_str().to_owned())
}

fn channels(workspace: &Workspace, name: &str, locked: rattler_lock::Environment<'_>) -> Checked {
    let group = group(workspace, name);
    let mut wanted: Vec<String> = Vec::new();
    for channel in group.iter().flat_map(|it| workspace.environment_channels(it)) {
        let url = channel_url(workspace, channel);
        if !wanted.contains(&url) {
            wanted.push(url);
        }
    }
    let mut found: Vec<String> =
        locked.channels().iter().map(|it| channel_url(workspace, &it.url)).collect();
    if group.len() > 1 {
        // The order in which a group adds up its channels is that of its features.
        wanted.sort();
        found.sort();
    }
    if wanted == found {
        return Ok(());
    }
    let shown = |urls: &[String]| urls.join(", ");
    Err(format!(
        "the environment `{name}` was locked with the channels {}, and the manifest has {}",
        shown(&found),
        shown(&wanted)
    ))
}

fn options(workspace: &Workspace, name: &str, locked: rattler_lock::Environment<'_>) -> Checked {
    let options = locked.solve_options();
    let priority = match options.channel_priority {
        ChannelPriority::Strict => "strict",
        ChannelPriority::Disabled => "disabled",
        ChannelPriority::Flexible => "flexible",
    };
    let strategy = match options.strategy {
        SolveStrategy::Highest => "highest",
        SolveStrategy::LowestVersion => "lowest",
        SolveStrategy::LowestVersionDirect => "lowest-direct",
    };
    let wanted = workspace.solver_options(name);
    for (key, locked, wanted) in [
        ("channel-priority", priority, wanted.channel_priority.unwrap_or("strict")),
        ("solve-strategy", strategy, wanted.solve_strategy.unwrap_or("highest")),
    ] {
        if locked != wanted {
            return Err(format!(
                "the environment `{name}` was locked with `{key} = \"{locked}\"`, and the manifest has \
                 `{wanted}`"
            ));
        }
    }
    let group = group(workspace, name);
    let has_pypi = locked.pypi_packages_by_platform().any(|(_, mut it)| it.next().is_some());
    let Some(indexes) = locked.pypi_indexes().filter(|_| has_pypi) else { return Ok(()) };
    let plain = |url: &str| url.trim_end_matches('/').to_owned();
    let found: BTreeSet<String> = indexes.indexes.iter().map(|it| plain(it.as_str())).collect();
    let mut wanted = BTreeSet::new();
    for environment in group {
        let options = workspace.environment_pypi_options(environment);
        let first = options.index_url.unwrap_or_else(|| "https://pypi.org/simple".to_owned());
        wanted.insert(plain(&first));
        wanted.extend(options.extra_index_urls.iter().map(|it| plain(it)));
    }
    if found != wanted {
        return Err(format!(
            "the environment `{name}` was locked with the indexes {}, and the manifest has {}",
            list(found.iter().map(String::as_str)),
            list(wanted.iter().map(String::as_str))
        ));
    }
    Ok(())
}

/// Whether an environment is locked for no platform that the manifest has not, and for each as the
/// manifest describes it.
fn platforms(lock: &LockFile, name: &str, wanted: &[Platform]) -> Checked {
    let found = lock.platforms(name).map_err(|error| error.to_string())?;
    for locked in &found {
        let same_name = wanted.iter().find(|it| it.name == locked.name);
        let plain = || wanted.iter().find(|it| locked.is_plain() && it.subdir == locked.subdir);
        let Some(platform) = same_name.or_else(plain) else {
            return Err(format!(
                "it has the environment `{name}` for `{}`, which the manifest has not",
                locked.name
            ));
        };
        if same_name.is_some() && lock.version() >= 7 && !platform.is_plain() {
            let text = |it: &Platform| {
                let packages = it
                    .virtual_packages
                    .iter()
                    .map(|it| format!("{}={}", it.name.as_normalized(), it.version));
                packages.collect::<BTreeSet<_>>()
            };
            if platform.subdir != locked.subdir || text(platform) != text(locked) {
                return Err(format!("the platform `{}` has changed", locked.name));
            }
        }
    }
    Ok(())
}
