//! Which projects there are: upwards from a path, and below a directory.
//!
//! A project is a directory with a configuration of mypy (or of `rewarm check`), or with an
//! environment of its own or what one is made from. Nothing is entered or installed here. Below a
//! directory, hidden ones, `node_modules`, `__pycache__`, `site-packages` and environments are left out, links
//! are not followed, and what git is told to ignore does not count.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::commands::check::partition::Named;
use crate::environment::unreadable;
use crate::error::Failure;

/// Variables that tell git which repository is meant.
const OF_ONE_REPOSITORY: [&str; 4] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"];

/// The nearest project from a canonical directory upwards.
pub(super) fn nearest(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|dir| Marks::of(dir).any()).map(Path::to_owned)
}

/// The nearest directory above a project that has an environment which the project may share: one of
/// the same repository or, where there is none, of the working directory `here`.
pub(super) fn lender(project: &Path, here: &Path) -> Option<PathBuf> {
    let repository = project.ancestors().find(|dir| is_repository(dir));
    let top = repository.or_else(|| project.starts_with(here).then_some(here))?;
    let above = project.ancestors().skip(1).take_while(|dir| dir.starts_with(top));
    above.filter(|dir| Marks::of(dir).environment).map(Path::to_owned).next()
}

/// Where a path lies that was given in `cwd`. What is not there lies where it would be.
pub(super) fn locate(cwd: &Path, given: &OsStr) -> Named {
    let unknown = Named { given: given.to_owned(), project: None };
    // An option or a list of arguments in a file.
    if [b'-', b'@'].iter().any(|mark| given.as_bytes().starts_with(&[*mark])) {
        return unknown;
    }
    let path = cwd.join(given);
    let (mut directory, mut below) = (path.as_path(), PathBuf::new());
    // The name of a link to a file is its own, that of a link to a directory means nothing to mypy.
    while !directory.is_dir() {
        let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else {
            return unknown;
        };
        below =
            if below.as_os_str().is_empty() { name.into() } else { Path::new(name).join(below) };
        directory = parent;
    }
    let Ok(directory) = directory.canonicalize() else { return unknown };
    let project = nearest(&directory).map(|project| {
        let within = directory.strip_prefix(&project).unwrap_or(Path::new(""));
        let path = match below.as_os_str().is_empty() {
            true => within.to_owned(),
            false => within.join(&below),
        };
        (project, path)
    });
    Named { given: given.to_owned(), project }
}

/// All projects at and below a canonical directory, sorted. Those with nothing but an environment count
/// only if there is a source that lies in no project further down.
pub(super) fn below(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    walk(root, &mut found).map_err(|error| unreadable(root, error))?;
    found.sort();
    Ok(without_ignored(root, found))
}

/// Takes in the projects at and below a directory, and says whether there is a source outside them.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<bool> {
    const SKIPPED: [&str; 3] = ["node_modules", "__pycache__", "site-packages"];
    let mut has_source = false;
    let mut inner = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let (entry, name) = entry.map(|entry| (entry.file_type(), entry.file_name()))?;
        let Ok(kind) = entry else { continue };
        let is_hidden = name.as_bytes().starts_with(b".");
        if kind.is_dir() && !is_hidden && !SKIPPED.iter().any(|skipped| name == *skipped) {
            inner.push(directory.join(name));
        } else if !kind.is_dir() && !is_hidden {
            let extension = Path::new(&name).extension();
            has_source |=
                extension.is_some_and(|extension| extension == "py" || extension == "pyi");
        }
    }
    for directory in inner {
        let is_environment = ["pyvenv.cfg", "conda-meta"].map(|name| directory.join(name));
        if !is_environment.iter().any(|mark| mark.exists()) {
            // Who may not look there has nothing to check there.
            has_source |= walk(&directory, found).unwrap_or_default();
        }
    }
    let marks = Marks::of(directory);
    if marks.configuration || marks.environment && has_source {
        found.push(directory.to_owned());
        has_source = false;
    }
    Ok(has_source)
}

/// What makes a directory a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// What checkers are told.
    configuration: bool,
    /// An environment, or what it is made from.
    environment: bool,
}

impl Marks {
    fn of(directory: &Path) -> Self {
        let has = |name: &str| directory.join(name).exists();
        let project = tool_tables(&directory.join("pyproject.toml"));
        Self {
            configuration: has("mypy.ini")
                || has(".mypy.ini")
                || has("rewarm.toml")
                || project.checks
                || names_mypy(&directory.join("setup.cfg")),
            environment: ["uv.lock", "pylock.toml", "pixi.toml", ".venv/pyvenv.cfg"]
                .into_iter()
                .any(has)
                || project.pixi,
        }
    }

    fn any(self) -> bool {
        self.configuration || self.environment
    }
}

/// Whether `setup.cfg` has a section for mypy.
fn names_mypy(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == b"[mypy]")
}

/// What a `pyproject.toml` has settings for.
#[derive(Debug, Clone, Copy, Default)]
struct ToolTables {
    checks: bool,
    pixi: bool,
}

fn tool_tables(path: &Path) -> ToolTables {
    let Ok(text) = std::fs::read_to_string(path) else { return ToolTables::default() };
    // Most have neither, and need not be parsed.
    if !["mypy", "rewarm", "pixi"].iter().any(|name| text.contains(name)) {
        return ToolTables::default();
    }
    let Ok(document) = text.parse::<toml::Table>() else {
        // Whoever enters it is told what is wrong, and where.
        return ToolTables { checks: text.contains("[tool.mypy"), pixi: false };
    };
    let Some(tool) = document.get("tool") else { return ToolTables::default() };
    let has = |name: &str| tool.get(name).is_some();
    let checks = has("mypy") || tool.get("rewarm").is_some_and(|own| own.get("check").is_some());
    ToolTables { checks, pixi: has("pixi") }
}

fn is_repository(directory: &Path) -> bool {
    [".git", ".hg", ".jj"].iter().any(|name| directory.join(name).exists())
}

/// Leaves out what git is told to ignore, in whichever repository it lies. Where git cannot say, nothing
/// is ignored.
fn without_ignored(root: &Path, found: Vec<PathBuf>) -> Vec<PathBuf> {
    // A repository within another one says what is below it; the outer one, whether it counts at all.
    let mut questions: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for project in &found {
        let mut path = project.as_path();
        while path != root && path.starts_with(root) {
            let Some(above) = path.ancestors().skip(1).find(|dir| dir.join(".git").exists()) else {
                break;
            };
            let asked = questions.entry(above).or_default();
            if !asked.contains(&path) {
                asked.push(path);
            }
            path = above;
        }
    }
    let mut all_ignored = Vec::new();
    for (repository, mut paths) in questions {
        if repository != root && root.starts_with(repository) {
            paths.push(root);
        }
        let found = ignored(repository, &paths);
        // Whoever starts in an ignored directory means it.
        if !found.iter().any(|path| path == root) {
            all_ignored.extend(found);
        }
    }
    let counts = |project: &PathBuf| !all_ignored.iter().any(|above| project.starts_with(above));
    found.iter().filter(|project| counts(project)).cloned().collect()
}

/// Which of the paths git ignores.
fn ignored(repository: &Path, paths: &[&Path]) -> Vec<PathBuf> {
    let mut question = Vec::new();
    for path in paths {
        question.extend_from_slice(path.as_os_str().as_bytes());
        question.push(0);
    }
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(["check-ignore", "-z", "--stdin"]);
    command.env("GIT_OPTIONAL_LOCKS", "0");
    // A hook is told of one repository, and this may be another.
    for name in OF_ONE_REPOSITORY {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut git) = command.spawn() else { return Vec::new() };
    let stdin = git.stdin.take();
    let answer = std::thread::scope(|scope| {
        scope.spawn(move || {
            // One that ends early has nothing to say either.
            stdin.map(|mut stdin| stdin.write_all(&question))
        });
        git.wait_with_output()
    });
    let Ok(answer) = answer else { return Vec::new() };
    let names = answer.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(OsString::from(OsStr::from_bytes(name)))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A canonical directory with these files; what ends in a slash is a git repository.
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for (name, text) in files {
            let path = root.join(name);
            if name.ends_with('/') || name.is_empty() {
                fs::create_dir_all(&path).unwrap();
                let mut git = Command::new("git");
                for name in OF_ONE_REPOSITORY {
                    git.env_remove(name);
                }
                assert!(git.args(["init", "--quiet"]).arg(&path).status().unwrap().success());
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        (directory, root)
    }

    fn names(root: &Path) -> Vec<String> {
        let found = below(root).unwrap();
        let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        found.iter().map(relative).collect()
    }

    #[test]
    fn configuration_or_an_environment_with_sources_makes_a_project() {
        let (_kept, root) = tree(&[
            ("a/mypy.ini", ""),
            ("b/.mypy.ini", ""),
            ("c/setup.cfg", "[metadata]\n[mypy]\n"),
            ("d/pyproject.toml", "[tool.mypy]\n"),
            ("e/pyproject.toml", "[tool.rewarm.check]\n"),
            ("f/rewarm.toml", ""),
            ("g/uv.lock", ""),
            ("g/src/x.py", ""),
            ("h/pixi.toml", ""),
            ("h/x.pyi", ""),
            ("i/.venv/pyvenv.cfg", ""),
            ("i/x.py", ""),
            ("j/pyproject.toml", "[tool.mypy\n"),
        ]);
        assert_eq!(names(&root), ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let (_kept, root) = tree(&[
            ("a/pyproject.toml", "[project]\ndescription = 'mypy'\n[tool.rewarm.tasks]\n"),
            ("a/x.py", ""),
            ("b/setup.cfg", "[mypy-x]\n[options]\n"),
            ("b/x.py", ""),
            ("c/pixi.toml", "for another language"),
            ("c/main.c", ""),
            (".hidden/mypy.ini", ""),
            ("node_modules/mypy.ini", ""),
            ("env/pyvenv.cfg", ""),
            ("env/lib/mypy.ini", ""),
            ("conda/conda-meta/history", ""),
            ("conda/mypy.ini", ""),
            ("docs/requirements.txt", ""),
            ("docs/conf.py", ""),
            // Everything in it belongs to a project further down.
            ("uv.lock", ""),
            ("d/e/mypy.ini", ""),
            ("d/e/x.py", ""),
        ]);
        for loose in ["a/x.py", "b/x.py", "docs/conf.py"] {
            assert_eq!(names(&root), ["", "d/e"], "the root has sources of its own: {loose}");
            fs::remove_file(root.join(loose)).unwrap();
        }
        symlink(root.join("d/e"), root.join("link")).unwrap();
        symlink(&root, root.join("d/loop")).unwrap();
        assert_eq!(names(&root), ["d/e"]);
    }

    #[test]
    fn what_git_ignores_does_not_count_in_whichever_repository() {
        let (_kept, root) = tree(&[
            ("", ""),
            (".gitignore", "build/\n/vendor/\n"),
            ("a/mypy.ini", ""),
            ("a/build/copy/mypy.ini", ""),
            ("vendor/b/", ""),
            ("vendor/b/c/mypy.ini", ""),
            ("inner/", ""),
            ("inner/.gitignore", "out\n"),
            ("inner/mypy.ini", ""),
            ("inner/d/mypy.ini", ""),
            ("inner/out/mypy.ini", ""),
        ]);
        assert_eq!(names(&root), ["a", "inner", "inner/d"]);
        assert_eq!(names(&root.join("vendor")), ["b/c"]);
    }

    #[test]
    fn a_path_lies_in_the_nearest_project_upwards() {
        let (_kept, root) = tree(&[
            ("mypy.ini", ""),
            ("a/setup.cfg", "[mypy]\n"),
            ("a/src/x.py", ""),
            ("b/y.py", ""),
        ]);
        symlink(root.join("a/src"), root.join("link")).unwrap();
        symlink(root.join("b/y.py"), root.join("a/z.py")).unwrap();
        let place = |given: &str| locate(&root, OsStr::new(given)).project;
        let a = |path: &str| Some((root.join("a"), PathBuf::from(path)));
        assert_eq!(place("a"), a(""));
        assert_eq!(place("./a/src/x.py"), a("src/x.py"));
        assert_eq!(place("a/none/at/all.py"), a("none/at/all.py"));
        assert_eq!(place("link/x.py"), a("src/x.py"));
        assert_eq!(place("a/z.py"), a("z.py"));
        assert_eq!(place("b/../b/y.py"), Some((root.clone(), "b/y.py".into())));
        assert_eq!(place("@a/list"), None);
    }

    #[test]
    fn an_environment_is_lent_within_the_repository_only() {
        let (_kept, root) = tree(&[
            ("uv.lock", ""),
            ("r/", ""),
            ("r/a/b/mypy.ini", ""),
            ("s/pylock.toml", ""),
            ("s/c/mypy.ini", ""),
        ]);
        assert_eq!(lender(&root.join("r/a/b"), &root), None);
        fs::write(root.join("r/a/pylock.toml"), "").unwrap();
        assert_eq!(lender(&root.join("r/a/b"), &root), Some(root.join("r/a")));
        // Without a repository, up to the working directory.
        assert_eq!(lender(&root.join("s/c"), &root), Some(root.join("s")));
        assert_eq!(lender(&root.join("s/c"), &root.join("r")), None);
    }
}
