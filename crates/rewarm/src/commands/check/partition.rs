//! What is checked apart from the rest: a project, and for each project Python versions and platforms.
//!
//! A *group* is a directory in which the checkers are started and what they are to check there; a
//! *variant* is a Python version and platform that they are told to assume. Both are decided from
//! values alone; which projects there are is found in `projects`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use rewarm_check::Checker;

use crate::commands::check::changed::argument;
use crate::commands::check::tool::Tool;

/// A directory to check in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The project's directory, canonical; `None` stands for the working directory as it is.
    pub(super) directory: Option<PathBuf>,
    /// Relative to the directory; empty for whatever the configuration says.
    pub(super) paths: Vec<OsString>,
}

/// A path that was named, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// As it was given.
    pub(super) given: OsString,
    /// The nearest project upwards, if there is one, with the path below it.
    pub(super) project: Option<(PathBuf, PathBuf)>,
}

/// Puts paths of the same project together, in the order in which projects were first named. What lies
/// in `own`, the project of the working directory, or in none, is checked from there as it was given.
pub(super) fn groups(own: Option<&Path>, named: &[Named]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for Named { given, project } in named {
        let other = project.as_ref().filter(|(directory, _)| Some(directory.as_path()) != own);
        let (directory, path) = match other {
            Some((directory, below)) => (Some(directory.clone()), argument(below)),
            None => (None, given.clone()),
        };
        match groups.iter_mut().find(|group| group.directory == directory) {
            Some(group) if group.paths.contains(&path) => {}
            Some(group) => group.paths.push(path),
            None => groups.push(Group { directory, paths: vec![path] }),
        }
    }
    for group in groups.iter_mut().filter(|group| group.directory.is_some()) {
        // The directory of a project stands for what its configuration names.
        let is_whole = |path: &OsString| path.is_empty();
        match group.paths.as_slice() {
            [one] if is_whole(one) => group.paths.clear(),
            paths => {
                let explicit =
                    |path: &OsString| if is_whole(path) { ".".into() } else { path.clone() };
                group.paths = paths.iter().map(explicit).collect();
            }
        }
    }
    if groups.is_empty() {
        groups.push(Group { directory: None, paths: Vec::new() });
    }
    groups
}

/// Every project as a whole; the one at `here` is checked from the working directory.
pub(super) fn all(here: &Path, projects: Vec<PathBuf>) -> Vec<Group> {
    let group =
        |project| Group { directory: Some(project).filter(|p| p != here), paths: Vec::new() };
    projects.into_iter().map(group).collect()
}

/// What the checkers are told to assume; nothing of it means the environment's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) python_version: Option<String>,
    /// As in `sys.platform`.
    pub(super) platform: Option<String>,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.python_version, &self.platform) {
            (Some(version), Some(platform)) => write!(f, "Python {version} on {platform}"),
            (Some(version), None) => write!(f, "Python {version}"),
            (None, Some(platform)) => f.write_str(platform),
            (None, None) => f.write_str("the environment's own Python"),
        }
    }
}

impl Variant {
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The same as options of a tool.
    pub(super) fn arguments(&self, tool: Tool) -> Vec<OsString> {
        let (version, platform) = match tool {
            Tool::Mypy | Tool::Other(Checker::Zuban) => ("--python-version", "--platform"),
            Tool::Other(Checker::Ty | Checker::Pyrefly) => {
                ("--python-version", "--python-platform")
            }
            Tool::Other(Checker::Pyright) => ("--pythonversion", "--pythonplatform"),
        };
        let named = self.platform.as_deref().map(|name| match (tool, name) {
            (Tool::Other(Checker::Pyright), "linux") => "Linux",
            (Tool::Other(Checker::Pyright), "darwin") => "Darwin",
            (Tool::Other(Checker::Pyright), "win32") => "Windows",
            (_, name) => name,
        });
        let version = self.python_version.as_deref().map(|value| [version, value]);
        let platform = named.map(|value| [platform, value]);
        version.into_iter().chain(platform).flatten().map(OsString::from).collect()
    }
}

/// Every version on every platform. What the arguments say already is not said again.
pub(super) fn variants(
    versions: &[String],
    platforms: &[String],
    arguments: &[OsString],
) -> Vec<Variant> {
    let each = |values: &[String], options: &[&str]| -> Vec<Option<String>> {
        let mut each: Vec<Option<String>> = Vec::new();
        if !arguments.iter().any(|argument| is_one_of(&argument.to_string_lossy(), options)) {
            for value in values {
                if !each.contains(&Some(value.clone())) {
                    each.push(Some(value.clone()));
                }
            }
        }
        if each.is_empty() { vec![None] } else { each }
    };
    let versions = each(versions, &["--python-version", "--pythonversion"]);
    let platforms = each(platforms, &["--platform", "--python-platform", "--pythonplatform"]);
    let on = |python_version: &Option<String>| {
        let python_version = python_version.clone();
        platforms
            .iter()
            .cloned()
            .map(move |platform| Variant { python_version: python_version.clone(), platform })
    };
    versions.iter().flat_map(on).collect()
}

/// Whether an argument is one of these options, which may be abbreviated and may carry its value.
fn is_one_of(argument: &str, options: &[&str]) -> bool {
    // Shorter ones are ambiguous for mypy, as `--py` and `--p`.
    const SHORTEST: usize = "--pl".len();
    let name = argument.split('=').next().unwrap_or(argument);
    name.len() >= SHORTEST && options.iter().any(|option| option.starts_with(name))
}

/// The way from one canonical directory to another path; `.` where they are the same.
pub(super) fn way(from: &Path, to: &Path) -> PathBuf {
    let common = from.ancestors().find(|above| to.starts_with(above)).unwrap_or(Path::new("/"));
    let up = from.strip_prefix(common).map_or(0, |below| below.components().count());
    let down = to.strip_prefix(common).unwrap_or(to).components();
    let way: PathBuf = std::iter::repeat_n(Component::ParentDir, up).chain(down).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(given: &str, project: Option<(&str, &str)>) -> Named {
        let project = project.map(|(directory, below)| (directory.into(), below.into()));
        Named { given: given.into(), project }
    }

    fn group(directory: Option<&str>, paths: &[&str]) -> Group {
        let paths = paths.iter().map(OsString::from).collect();
        Group { directory: directory.map(PathBuf::from), paths }
    }

    #[test]
    fn paths_of_the_own_project_stay_as_they_were_given() {
        let own = Some(Path::new("/w"));
        let paths = [named("src/../a.py", Some(("/w", "a.py"))), named("nowhere", None)];
        assert_eq!(groups(own, &paths), [group(None, &["src/../a.py", "nowhere"])]);
        assert_eq!(groups(own, &[]), [group(None, &[])]);
        assert_eq!(groups(None, &[named("a.py", None)]), [group(None, &["a.py"])]);
    }

    #[test]
    fn paths_of_other_projects_are_checked_there_in_the_order_of_naming() {
        let paths = [
            named("b/x.py", Some(("/w/b", "x.py"))),
            named("y.py", Some(("/w", "y.py"))),
            named("a/-z.py", Some(("/w/a", "-z.py"))),
            named("./b/x.py", Some(("/w/b", "x.py"))),
            named("b/w.py", Some(("/w/b", "w.py"))),
        ];
        let expected = [
            group(Some("/w/b"), &["x.py", "w.py"]),
            group(None, &["y.py"]),
            group(Some("/w/a"), &["./-z.py"]),
        ];
        assert_eq!(groups(Some(Path::new("/w")), &paths), expected);
    }

    #[test]
    fn the_directory_of_a_project_means_what_its_configuration_names() {
        let whole = named("a", Some(("/w/a", "")));
        assert_eq!(groups(None, std::slice::from_ref(&whole)), [group(Some("/w/a"), &[])]);
        let more = [named("a/x.py", Some(("/w/a", "x.py"))), whole];
        assert_eq!(groups(None, &more), [group(Some("/w/a"), &["x.py", "."])]);
        // The own one is left to mypy, which would take everything in it.
        let own = named(".", Some(("/w", "")));
        assert_eq!(groups(Some(Path::new("/w")), &[own]), [group(None, &["."])]);
    }

    #[test]
    fn all_projects_are_checked_as_wholes() {
        let found = vec![PathBuf::from("/w"), PathBuf::from("/w/a")];
        let expected = [group(None, &[]), group(Some("/w/a"), &[])];
        assert_eq!(all(Path::new("/w"), found), expected);
    }

    fn shown(versions: &[&str], platforms: &[&str], arguments: &[&str]) -> Vec<String> {
        let strings = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let variants = variants(&strings(versions), &strings(platforms), &arguments);
        variants.iter().map(Variant::to_string).collect()
    }

    #[test]
    fn versions_and_platforms_are_multiplied_unless_arguments_say_them() {
        let own = "the environment's own Python";
        assert_eq!(shown(&[], &[], &[]), [own]);
        let all = shown(&["3.10", "3.13", "3.10"], &["linux", "win32"], &["--strict"]);
        let expected = ["3.10 on linux", "3.10 on win32", "3.13 on linux", "3.13 on win32"];
        assert_eq!(all, expected.map(|variant| format!("Python {variant}")));
        assert_eq!(shown(&["3.10"], &["linux"], &["--python-v=3.12"]), ["linux"]);
        assert_eq!(shown(&["3.10"], &["linux"], &["--plat", "darwin"]), ["Python 3.10"]);
        // An interpreter is no version.
        assert_eq!(shown(&["3.10"], &[], &["--python-executable", "x"]), ["Python 3.10"]);
        assert_eq!(shown(&["3.10"], &["linux"], &["--p", "--", "-p"]), ["Python 3.10 on linux"]);
    }

    #[test]
    fn every_tool_is_told_in_its_own_words() {
        let variant =
            Variant { python_version: Some("3.10".into()), platform: Some("win32".into()) };
        let mypy = variant.arguments(Tool::Mypy);
        assert_eq!(mypy, ["--python-version", "3.10", "--platform", "win32"]);
        let pyright = variant.arguments(Tool::Other(Checker::Pyright));
        assert_eq!(pyright, ["--pythonversion", "3.10", "--pythonplatform", "Windows"]);
        let ty = variant.arguments(Tool::Other(Checker::Ty));
        assert_eq!(ty, ["--python-version", "3.10", "--python-platform", "win32"]);
        assert!(Variant::default().arguments(Tool::Mypy).is_empty());
    }

    #[test]
    fn the_way_between_directories_is_relative() {
        let shown =
            |from: &str, to: &str| way(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(shown("/w", "/w"), ".");
        assert_eq!(shown("/w", "/w/libs/a"), "libs/a");
        assert_eq!(shown("/w/a/src", "/w/b"), "../../b");
        assert_eq!(shown("/w", "/x"), "../x");
    }
}
