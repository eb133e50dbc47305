//! Which files a module's name may mean.
//!
//! A file goes by the name that mypy gives it, and by its path below every directory in which mypy
//! looks for modules. mypy takes the first of several files of one name; here all of them count,
//! because the first may be the one that has just come or gone. The same goes for packages: a
//! directory need not have an `__init__` file to be part of a name. So what a name means to mypy is
//! always among the files that it is said to mean.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::imports::Import;

/// A file by its place in the list of all.
pub(super) type Id = u32;

/// The names of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Named {
    names: Vec<String>,
    is_package: bool,
}

impl Named {
    /// The names of the file at an absolute path, below `roots`, with the one that mypy `told`.
    pub(super) fn new(path: &Path, roots: &[&Path], told: Option<&str>) -> Self {
        let mut names: Vec<String> = told.map(str::to_owned).into_iter().collect();
        names.extend(roots.iter().filter_map(|root| below(path, root)));
        Self::with(path, names)
    }

    /// The same with every name that the file would have if any directory above it were a root.
    pub(super) fn anywhere(path: &Path) -> Self {
        let names = path.ancestors().skip(1).filter_map(|root| below(path, root)).collect();
        Self::with(path, names)
    }

    /// Adds the names of another view of the same file.
    pub(super) fn merge(&mut self, other: Self) {
        self.names.extend(other.names);
        self.names.sort_unstable();
        self.names.dedup();
    }

    fn with(path: &Path, mut names: Vec<String>) -> Self {
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        let is_package = path.file_stem().is_some_and(|stem| stem == "__init__");
        Self { names, is_package }
    }

    /// The absolute names of the modules that an import statement in this file asks for, as text
    /// before the imported names.
    fn bases(&self, import: &Import) -> Vec<String> {
        let Some(up) = import.level.checked_sub(1) else { return vec![import.module.clone()] };
        let base = |name: &String| {
            let mut package = match (self.is_package, name.rsplit_once('.')) {
                (true, _) => name.as_str(),
                (false, Some((package, _))) => package,
                (false, None) => "",
            };
            for _ in 0..up {
                package = package.rsplit_once('.').map_or("", |(above, _)| above);
            }
            match (package, import.module.as_str()) {
                ("", module) => module.to_owned(),
                (package, "") => package.to_owned(),
                (package, module) => format!("{package}.{module}"),
            }
        };
        self.names.iter().map(base).collect()
    }
}

/// The name of the module at `path` if it is looked for in `root`.
fn below(path: &Path, root: &Path) -> Option<String> {
    let relative = path.strip_prefix(root).ok()?.as_os_str().as_bytes();
    let stem = relative.strip_suffix(b".pyi").or_else(|| relative.strip_suffix(b".py"))?;
    let stem = match stem.strip_suffix(b"__init__") {
        Some(package) if package.is_empty() || package.ends_with(b"/") => {
            package.strip_suffix(b"/").unwrap_or_default()
        }
        _ => stem,
    };
    Some(String::from_utf8_lossy(stem).replace('/', "."))
}

/// The files of every name.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    files: HashMap<&'a str, Vec<Id>>,
}

impl<'a> Names<'a> {
    /// Files are numbered in their order.
    pub(super) fn of(files: &'a [Named]) -> Self {
        let mut found = Self { files: HashMap::with_capacity(files.len()) };
        for (id, named) in (0..).zip(files) {
            for name in &named.names {
                found.files.entry(name).or_default().push(id);
            }
        }
        found
    }

    /// Adds every file that the statement in the file `importer` may mean: the module, and the names
    /// in it as far as they may be modules; if the statement gives access to them, the packages around
    /// the module.
    pub(super) fn resolve(&self, importer: &Named, import: &Import, found: &mut Vec<Id>) {
        for base in importer.bases(import) {
            // Of `import a.b` the packages around `b` are part, of `from a.b import c` they are not.
            if import.level == 0 && import.names.is_empty() {
                for (end, _) in base.match_indices('.') {
                    self.add(&base[..end], found);
                }
            }
            self.add(&base, found);
            for name in &import.names {
                match base.as_str() {
                    "" => self.add(name, found),
                    base => self.add(&format!("{base}.{name}"), found),
                }
            }
        }
    }

    fn add(&self, name: &str, found: &mut Vec<Id>) {
        found.extend(self.files.get(name).into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 8] = [
        "/w/src/pkg/__init__.py",
        "/w/src/pkg/a.py",
        "/w/src/pkg/a.pyi",
        "/w/src/pkg/sub/__init__.py",
        "/w/src/pkg/sub/b.py",
        "/w/other/pkg/a.py",
        "/w/src/space/c.py",
        "/w/src/top.py",
    ];

    /// What a statement in the file means.
    fn resolve(importer: &str, level: u32, module: &str, names: &[&str]) -> Vec<Id> {
        let roots = [Path::new("/w/src"), Path::new("/w/other"), Path::new("/w")];
        let files = FILES.map(|path| Named::new(Path::new(path), &roots, None));
        let index = FILES.iter().position(|path| *path == importer).expect("a file");
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let import = Import { level, module: module.to_owned(), names };
        let mut found = Vec::new();
        Names::of(&files).resolve(&files[index], &import, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    #[test]
    fn a_name_means_every_file_of_that_name_and_the_packages_around_it() {
        let top = "/w/src/top.py";
        assert_eq!(resolve(top, 0, "pkg.a", &[]), [0, 1, 2, 5]);
        assert_eq!(resolve(top, 0, "pkg.a", &["*"]), [1, 2, 5]);
        assert_eq!(resolve(top, 0, "pkg", &["a", "x"]), [0, 1, 2, 5]);
        assert_eq!(resolve(top, 0, "space.c", &[]), [6]);
        assert_eq!(resolve(top, 0, "src.top", &[]), [7]);
        assert!(resolve(top, 0, "nothing.here", &["x"]).is_empty());
    }

    #[test]
    fn relative_imports_begin_where_the_file_lies() {
        let b = "/w/src/pkg/sub/b.py";
        assert_eq!(resolve(b, 1, "", &["b"]), [3, 4]);
        assert_eq!(resolve(b, 2, "", &["a"]), [0, 1, 2, 5]);
        assert_eq!(resolve(b, 2, "a", &["x"]), [1, 2, 5]);
        let package = "/w/src/pkg/sub/__init__.py";
        assert_eq!(resolve(package, 1, "b", &["x"]), [4]);
        assert_eq!(resolve(package, 2, "a", &["*"]), [1, 2, 5]);
    }

    #[test]
    fn mypys_own_name_counts_beside_those_of_the_path() {
        let path = Path::new("/w/stubs/pkg-stubs/a.pyi");
        let named = Named::new(path, &[Path::new("/w/stubs")], Some("pkg.a"));
        assert_eq!(named.names, ["pkg-stubs.a", "pkg.a"]);
        let named = Named::anywhere(Path::new("/w/x/__init__.py"));
        assert_eq!(
            (named.names.as_slice(), named.is_package),
            (&["w.x", "x"].map(String::from)[..], true)
        );
    }
}
