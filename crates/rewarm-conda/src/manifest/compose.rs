//! What an environment needs, added up from its features: packages, channels, indexes and the
//! platforms that it can be locked for.

use std::collections::{BTreeMap, BTreeSet};

use rattler_conda_types::{GenericVirtualPackage, Subdir};

use super::Workspace;
use super::dependency::{CondaDependency, PypiDependency};
use super::feature::{Channel, Feature, PypiOptions, Target};
use super::platform::Platform;

/// What an environment asks for on one platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Conda packages; a package of several features is in it several times.
    pub conda: Vec<CondaDependency>,
    /// Conda packages that are only installed for what they depend on.
    pub dev: Vec<CondaDependency>,
    /// What conda packages have to be if they are installed.
    pub constraints: Vec<CondaDependency>,
    /// PyPI packages.
    pub pypi: Vec<PypiDependency>,
}

/// How the solver is told to choose.
pub(crate) struct SolverOptions {
    pub(crate) channel_priority: Option<&'static str>,
    pub(crate) solve_strategy: Option<&'static str>,
}

/// The tables of one kind of a feature, those of the target that counts most last, so that they
/// replace the earlier ones by name.
fn tables<'a, T: Clone + 'a>(
    feature: &'a Feature,
    platform: &Platform,
    of: impl Fn(&'a Target) -> Vec<&'a BTreeMap<String, T>>,
) -> impl Iterator<Item = T> {
    let mut merged: BTreeMap<&str, &T> = BTreeMap::new();
    for target in feature.on(platform).rev() {
        for table in of(target) {
            merged.extend(table.iter().map(|(name, it)| (name.as_str(), it)));
        }
    }
    merged.into_values().cloned().collect::<Vec<_>>().into_iter()
}

impl Workspace {
    /// What an environment asks for on a platform; nothing if there is no such environment.
    pub fn requirements(&self, environment: &str, platform: &Platform) -> Requirements {
        let mut found = Requirements::default();
        for feature in self.features_of(environment) {
            found.conda.extend(tables(feature, platform, |it| it.conda.iter().collect()));
            found.dev.extend(tables(feature, platform, |it| vec![&it.dev]));
            found.constraints.extend(tables(feature, platform, |it| vec![&it.constraints]));
            found.pypi.extend(tables(feature, platform, |it| vec![&it.pypi]));
        }
        found
    }

    /// The channels of an environment as they are written, those of higher priority first.
    pub fn environment_channels(&self, environment: &str) -> Vec<&str> {
        let features = self.features_of(environment).into_iter();
        let mut all: Vec<&Channel> =
            features.flat_map(|it| it.channels.as_ref().unwrap_or(&self.channels)).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.priority));
        let mut seen = BTreeSet::new();
        all.into_iter().map(|it| it.name.as_str()).filter(|name| seen.insert(*name)).collect()
    }

    /// The options for the solver of an environment: of the first of its features that gives one,
    /// then of the workspace.
    pub(crate) fn solver_options(&self, environment: &str) -> SolverOptions {
        let features = self.features_of(environment);
        let first =
            |of: fn(&Feature) -> Option<&'static str>| features.iter().find_map(|it| of(it));
        SolverOptions {
            channel_priority: first(|it| it.channel_priority).or(self.channel_priority),
            solve_strategy: first(|it| it.solve_strategy).or(self.solve_strategy),
        }
    }

    /// The options for PyPI packages of an environment: those of the workspace, then of its features.
    pub fn environment_pypi_options(&self, environment: &str) -> PypiOptions {
        let mut options = self.pypi_options.clone();
        for feature in self.features_of(environment) {
            let own = &feature.pypi_options;
            options.index_url = options.index_url.or_else(|| own.index_url.clone());
            for (all, more) in [
                (&mut options.extra_index_urls, &own.extra_index_urls),
                (&mut options.find_links, &own.find_links),
            ] {
                for url in more {
                    if !all.contains(url) {
                        all.push(url.clone());
                    }
                }
            }
        }
        options
    }

    /// The platforms that an environment is for, in the order of the workspace.
    ///
    /// Where the workspace gives plain subdirectories only and features of the environment have
    /// system requirements, there is one platform for each subdirectory that asks for all of them,
    /// and is named after them.
    pub fn environment_platforms(&self, environment: &str) -> Vec<Platform> {
        let features = self.features_of(environment);
        if self.platforms.iter().all(Platform::is_plain) {
            let supported = |it: &&Platform| features.iter().all(|feature| feature.supports(it));
            let asked = requirements_of(&features);
            let plain = self.platforms.iter().filter(supported).map(|it| it.subdir);
            return plain.map(|subdir| with_requirements(subdir, &asked)).collect();
        }
        // A platform that a feature names counts alone among those of its subdirectory.
        let names = features.iter().filter_map(|it| it.platforms.as_ref()).flatten();
        let exact: BTreeSet<&str> = names.map(String::as_str).collect();
        let named = |it: &&Platform| exact.contains(it.name.as_str());
        let subdirs: Vec<Subdir> =
            self.platforms.iter().filter(named).map(|it| it.subdir).collect();
        let supported = self.platforms.iter().filter(|platform| {
            features.iter().all(|feature| feature.supports(platform))
                && (named(platform) || !subdirs.contains(&platform.subdir))
        });
        supported.cloned().collect()
    }
}

/// The virtual packages that features ask for; of two versions the higher.
fn requirements_of(features: &[&Feature]) -> Vec<GenericVirtualPackage> {
    let mut union: BTreeMap<&str, &GenericVirtualPackage> = BTreeMap::new();
    for package in features.iter().flat_map(|it| &it.system_requirements) {
        let entry = union.entry(package.name.as_normalized()).or_insert(package);
        if package.version > entry.version {
            *entry = package;
        }
    }
    union.into_values().cloned().collect()
}

/// A platform with those requirements that can be met there.
fn with_requirements(subdir: Subdir, asked: &[GenericVirtualPackage]) -> Platform {
    let applies = |it: &&GenericVirtualPackage| match it.name.as_normalized() {
        "__linux" | "__glibc" | "__musl" | "__eglibc" => subdir.is_linux(),
        "__osx" => subdir.is_osx(),
        "__win" => subdir.is_windows(),
        "__cuda" => !subdir.is_osx(),
        _ => true,
    };
    let asked = asked.iter().filter(applies).cloned().collect();
    Platform::with_virtual_packages(subdir, None, asked)
}
