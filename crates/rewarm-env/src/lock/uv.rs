//! `uv.lock`, version 1: the graph of packages that uv resolved for all platforms at once.
//!
//! What is wanted is what can be reached from the project (the package in the lock's directory, or
//! every workspace member if there is none) along dependencies whose markers apply, through its
//! selected extras and dependency groups. A project that is not a package (`virtual`) is not
//! installed itself; one that is, is installed editable, as uv does it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;
use uv_normalize::{ExtraName, GroupName, PackageName};
use uv_pep440::{Version, VersionSpecifiers};
use uv_pep508::MarkerTree;

use super::file::{filename_of, location, normalized};
use super::{
    Hash, LockError, Place, RemoteFile, Source, Target, Wanted, choose, line_at, parse_toml,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    version: Spanned<u32>,
    requires_python: Option<VersionSpecifiers>,
    #[serde(default)]
    manifest: Manifest,
    #[serde(default, rename = "package")]
    packages: Vec<PackageTable>,
}

#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    members: Vec<PackageName>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PackageTable {
    name: Spanned<PackageName>,
    version: Option<Version>,
    source: SourceTable,
    #[serde(default)]
    dependencies: Vec<DependencyTable>,
    #[serde(default)]
    optional_dependencies: BTreeMap<ExtraName, Vec<DependencyTable>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<GroupName, Vec<DependencyTable>>,
    sdist: Option<FileTable>,
    #[serde(default)]
    wheels: Vec<FileTable>,
}

/// Where a package comes from; exactly one of the keys is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct SourceTable {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
    subdirectory: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DependencyTable {
    name: Spanned<PackageName>,
    version: Option<Version>,
    source: Option<SourceTable>,
    marker: Option<String>,
    #[serde(default)]
    extra: BTreeSet<ExtraName>,
}

#[derive(Debug, Deserialize)]
struct FileTable {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

/// A parsed `uv.lock`.
#[derive(Debug)]
pub(super) struct UvLock {
    pub(super) requires_python: Option<VersionSpecifiers>,
    members: Vec<PackageName>,
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    line: usize,
    name: PackageName,
    version: Option<Version>,
    source: SourceTable,
    dependencies: Vec<Dependency>,
    extras: BTreeMap<ExtraName, Vec<Dependency>>,
    groups: BTreeMap<GroupName, Vec<Dependency>>,
    wheels: Vec<RemoteFile>,
    sdist: Option<RemoteFile>,
}

#[derive(Debug)]
struct Dependency {
    line: usize,
    name: PackageName,
    version: Option<Version>,
    source: Option<SourceTable>,
    marker: MarkerTree,
    extras: BTreeSet<ExtraName>,
}

/// Reads the text of a `uv.lock` that lies at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<UvLock, LockError> {
    let document: Document = parse_toml(path, text)?;
    let line = line_at(text, document.version.span().start);
    if *document.version.get_ref() != 1 {
        let what = format!("version {} of the format", document.version.get_ref());
        let mend = "export it with `uv export --format pylock.toml -o pylock.toml`";
        return Err(Place { path, line }.unsupported(what, mend));
    }
    let reader = Reader { path, text };
    let packages = document.packages.into_iter().map(|table| reader.package(table));
    Ok(UvLock {
        requires_python: document.requires_python,
        members: document.manifest.members,
        packages: packages.collect::<Result<_, _>>()?,
    })
}

impl UvLock {
    /// Every file that the lock names.
    pub(super) fn files(&self) -> impl Iterator<Item = &RemoteFile> {
        self.packages.iter().flat_map(|package| package.wheels.iter().chain(&package.sdist))
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn package(&self, table: PackageTable) -> Result<Package, LockError> {
        let line = line_at(self.text, table.name.span().start);
        let place = Place { path: self.path, line };
        let wheels = table.wheels.into_iter().map(|file| self.file(place, &table.source, file));
        let wheels = wheels.collect::<Result<_, _>>()?;
        let sdist = table.sdist.map(|file| self.file(place, &table.source, file)).transpose()?;
        Ok(Package {
            line,
            name: table.name.into_inner(),
            version: table.version,
            dependencies: self.dependencies(table.dependencies)?,
            extras: self.optional(table.optional_dependencies)?,
            groups: self.optional(table.dev_dependencies)?,
            source: table.source,
            wheels,
            sdist,
        })
    }

    fn optional<K: Ord>(
        &self,
        tables: BTreeMap<K, Vec<DependencyTable>>,
    ) -> Result<BTreeMap<K, Vec<Dependency>>, LockError> {
        tables.into_iter().map(|(name, list)| Ok((name, self.dependencies(list)?))).collect()
    }

    fn dependencies(&self, tables: Vec<DependencyTable>) -> Result<Vec<Dependency>, LockError> {
        tables.into_iter().map(|table| self.dependency(table)).collect()
    }

    fn dependency(&self, table: DependencyTable) -> Result<Dependency, LockError> {
        let line = line_at(self.text, table.name.span().start);
        let marker = match &table.marker {
            None => MarkerTree::TRUE,
            Some(text) => MarkerTree::from_str(text).map_err(|_| {
                Place { path: self.path, line }.invalid(format!("marker `{text}` is malformed"))
            })?,
        };
        let (version, source, extras) = (table.version, table.source, table.extra);
        Ok(Dependency { line, name: table.name.into_inner(), version, source, marker, extras })
    }

    fn file(
        &self,
        place: Place<'_>,
        source: &SourceTable,
        table: FileTable,
    ) -> Result<RemoteFile, LockError> {
        let mut base = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        // Files of a flat index on this machine are relative to it.
        if let Some(registry) = source.registry.as_ref().filter(|text| !text.contains("://")) {
            base = base.join(registry);
        }
        let own = (source.url.as_deref(), source.path.as_deref());
        let named = (table.url.as_deref(), table.path.as_deref());
        let location = location(place, &base, if named == (None, None) { own } else { named })?;
        let filename = table.filename.or_else(|| filename_of(&location));
        let filename = filename.ok_or_else(|| place.invalid("a file has no name"))?;
        let hash = |text: String| {
            let (algorithm, hex) = text.split_once(':').unwrap_or(("", &text));
            Hash::parse(algorithm, hex)
                .ok_or_else(|| place.invalid(format!("`{filename}`: `{text}` is no sha256")))
        };
        let hashes = table.hash.map(hash).transpose()?.into_iter().collect();
        Ok(RemoteFile { filename, location, size: table.size, hashes })
    }
}

/// What a walk through the graph has seen: packages by their place in the list, with extras.
type Reached = BTreeMap<usize, BTreeSet<ExtraName>>;

impl UvLock {
    /// The packages that can be reached.
    pub(super) fn select(&self, path: &Path, target: Target<'_>) -> Result<Vec<Wanted>, LockError> {
        let roots = self.roots(path)?;
        let known_extras = names(roots.iter().flat_map(|root| root.extras.keys()));
        let known_groups = names(roots.iter().flat_map(|root| root.groups.keys()));
        let extras = target.selection.extras(path, &known_extras)?;
        let dev: Vec<GroupName> =
            known_groups.iter().filter(|group| group.as_str() == "dev").cloned().collect();
        let groups = target.selection.groups(path, &known_groups, &dev)?;
        let walk =
            Walk { lock: self, path, target, conflicts: conflicts(&roots, &extras, &groups) };
        let mut reached = Reached::new();
        for root in &roots {
            let selected = extras.iter().filter(|extra| root.extras.contains_key(*extra)).cloned();
            walk.visit(root, selected.collect(), &mut reached)?;
            for group in groups.iter().filter_map(|group| root.groups.get(group)) {
                walk.follow(group, &mut reached)?;
            }
        }
        let mut wanted = BTreeMap::new();
        for index in reached.into_keys() {
            let package = &self.packages[index];
            let place = Place { path, line: package.line };
            let Some(selected) = package.select(place, target)? else { continue };
            if wanted.insert(package.name.clone(), selected).is_some() {
                let message = format!("two versions of `{}` are selected", package.name);
                return Err(place.invalid(message));
            }
        }
        Ok(wanted.into_values().collect())
    }

    /// The package in the lock's directory, or all members of the workspace.
    fn roots(&self, path: &Path) -> Result<Vec<&Package>, LockError> {
        let is_root = |package: &&Package| {
            let source = &package.source;
            let here = [&source.editable, &source.r#virtual, &source.directory];
            here.into_iter().flatten().any(|directory| directory == ".")
        };
        if let Some(root) = self.packages.iter().find(is_root) {
            return Ok(vec![root]);
        }
        let members: Vec<_> =
            self.packages.iter().filter(|package| self.members.contains(&package.name)).collect();
        if members.is_empty() && !self.packages.is_empty() {
            return Err(
                Place { path, line: 1 }.invalid("it does not say which package is the project")
            );
        }
        Ok(members)
    }
}

fn names<'a, T: Ord + Clone + 'a>(names: impl Iterator<Item = &'a T>) -> Vec<T> {
    names.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Where a project declares conflicts, uv's markers name the selected extras and groups of a
/// package as extras of these spellings.
fn conflicts(roots: &[&Package], extras: &[ExtraName], groups: &[GroupName]) -> Vec<ExtraName> {
    let mut names = Vec::new();
    for root in roots {
        let (name, length) = (&root.name, root.name.as_str().len());
        names.push(format!("project-{length}-{name}"));
        names.extend(extras.iter().map(|extra| format!("extra-{length}-{name}-{extra}")));
        names.extend(groups.iter().map(|group| format!("group-{length}-{name}-{group}")));
    }
    names.iter().filter_map(|name| ExtraName::from_str(name).ok()).collect()
}

struct Walk<'a> {
    lock: &'a UvLock,
    path: &'a Path,
    target: Target<'a>,
    conflicts: Vec<ExtraName>,
}

impl Walk<'_> {
    /// Adds a package with extras, and what it depends on.
    fn visit(
        &self,
        package: &Package,
        extras: BTreeSet<ExtraName>,
        reached: &mut Reached,
    ) -> Result<(), LockError> {
        let mut waiting = vec![(package, extras)];
        while let Some((package, extras)) = waiting.pop() {
            let is_it = |other: &Package| std::ptr::eq(other, package);
            let index = self.lock.packages.iter().position(is_it).expect("a package of the lock");
            let first = !reached.contains_key(&index);
            let seen = reached.entry(index).or_default();
            let new: Vec<_> =
                extras.into_iter().filter(|extra| seen.insert(extra.clone())).collect();
            let own = package.dependencies.iter().filter(|_| first);
            let optional = new.iter().filter_map(|extra| package.extras.get(extra)).flatten();
            for dependency in own.chain(optional) {
                waiting.extend(self.resolve(dependency)?);
            }
        }
        Ok(())
    }

    fn follow(&self, list: &[Dependency], reached: &mut Reached) -> Result<(), LockError> {
        for dependency in list {
            if let Some((package, extras)) = self.resolve(dependency)? {
                self.visit(package, extras, reached)?;
            }
        }
        Ok(())
    }

    /// The package that a dependency means, if its marker applies.
    fn resolve(
        &self,
        dependency: &Dependency,
    ) -> Result<Option<(&Package, BTreeSet<ExtraName>)>, LockError> {
        if !dependency.marker.evaluate(self.target.markers, &self.conflicts) {
            return Ok(None);
        }
        let mut candidates = self.lock.packages.iter().filter(|package| {
            package.name == dependency.name
                && (dependency.version.is_none() || dependency.version == package.version)
                && dependency.source.as_ref().is_none_or(|source| *source == package.source)
        });
        let place = Place { path: self.path, line: dependency.line };
        match (candidates.next(), candidates.next()) {
            (Some(package), None) => Ok(Some((package, dependency.extras.clone()))),
            (None, _) => Err(place.invalid(format!("`{}` is not in the lock", dependency.name))),
            _ => Err(place.invalid(format!("`{}` could be several packages", dependency.name))),
        }
    }
}

impl Package {
    /// What the package is installed from; nothing for a project that is not a package.
    fn select(&self, place: Place<'_>, target: Target<'_>) -> Result<Option<Wanted>, LockError> {
        let base = place.path.parent().unwrap_or(Path::new("."));
        let origin = &self.source;
        let subdirectory = origin.subdirectory.as_ref();
        let directory = |path: &str, editable| {
            let path = normalized(&base.join(path).join(subdirectory.cloned().unwrap_or_default()));
            Source::Directory { path, editable, build_files: None }
        };
        let source = if origin.r#virtual.is_some() {
            return Ok(None);
        } else if let Some(path) = &origin.editable {
            directory(path, true)
        } else if let Some(path) = &origin.directory {
            directory(path, false)
        } else if let Some(url) = &origin.git {
            let what = format!("`{}` from a git checkout (`{url}`)", self.name);
            let mend = "lock a release of it, or an archive of that commit by its https URL";
            return Err(place.unsupported(what, mend));
        } else {
            let chosen = choose(&self.wheels, self.sdist.as_ref(), target.tags);
            let chosen = chosen.map_err(|reason| {
                let (path, name) = (place.path.to_owned(), self.name.clone());
                LockError::NoFile { path, name, reason }
            })?;
            let is_direct = origin.registry.is_none();
            match chosen {
                Source::Wheel { file, .. } => Source::Wheel { file, direct: is_direct },
                Source::Sdist { file, .. } => {
                    let subdirectory = subdirectory.map(Into::into);
                    Source::Sdist { file, direct: is_direct, subdirectory }
                }
                other => other,
            }
        };
        Ok(Some(Wanted { name: self.name.clone(), version: self.version.clone(), source }))
    }
}
