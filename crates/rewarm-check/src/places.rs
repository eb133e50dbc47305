//! Names for paths that hold on every machine.
//!
//! A stored path is an anchor and what follows it: below the project, below a directory of
//! installed packages, below the environment, the base interpreter or the home directory. What
//! lies elsewhere keeps its absolute name. [`Places`] knows where the anchors are here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path as it is stored: an anchor, a colon, and the path below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place(Vec<u8>);

impl Place {
    /// The bytes that name it, for hashing.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path below `anchor`.
    pub(crate) fn below(anchor: &str, relative: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(anchor.len() + 1 + relative.len());
        bytes.extend_from_slice(anchor.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(relative);
        Self(bytes)
    }

    /// Whether it names a path that other machines do not have.
    pub(crate) fn is_absolute(&self) -> bool {
        self.0.starts_with(b"root:")
    }

    /// The place with another suffix, if it has this one.
    pub(crate) fn with_suffix(&self, old: &[u8], new: &[u8]) -> Option<Self> {
        Some(Self([self.0.strip_suffix(old)?, new].concat()))
    }

    /// For people: paths below the project are shown without their anchor.
    pub(crate) fn display(&self) -> String {
        let text = String::from_utf8_lossy(&self.0).into_owned();
        match text.split_once(':') {
            Some((PROJECT | ROOT, relative)) => relative.to_owned(),
            Some((anchor, relative)) => format!("<{anchor}>/{relative}"),
            None => text,
        }
    }
}

/// The anchor of the project's root.
pub(crate) const PROJECT: &str = "project";
/// The anchor of absolute paths.
const ROOT: &str = "root";

/// Where the anchors are on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Name and directory; the first that contains a path names it.
    anchors: Vec<(String, PathBuf)>,
}

impl Places {
    /// Only the project is known.
    pub(crate) fn new(project: &Path) -> Self {
        Self { anchors: vec![(PROJECT.to_owned(), project.to_owned())] }
    }

    /// Adds an anchor. Deeper directories name what is below them.
    pub(crate) fn add(&mut self, name: &str, directory: &Path) {
        if directory.parent().is_some() {
            self.anchors.push((name.to_owned(), directory.to_owned()));
            self.anchors.sort_by_key(|(_, dir)| std::cmp::Reverse(dir.components().count()));
        }
    }

    /// Every anchor with its directory, deeper ones first.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.anchors.iter().map(|(name, directory)| (name.as_str(), directory.as_path()))
    }

    /// The stored name of an absolute path.
    pub(crate) fn name(&self, path: &Path) -> Place {
        for (anchor, directory) in &self.anchors {
            if let Ok(relative) = path.strip_prefix(directory) {
                return Place::below(anchor, relative.as_os_str().as_bytes());
            }
        }
        Place::below(ROOT, path.as_os_str().as_bytes())
    }

    /// Where a stored name points to here; `None` if there is no such anchor.
    pub(crate) fn path(&self, place: &Place) -> Option<PathBuf> {
        let colon = place.0.iter().position(|byte| *byte == b':')?;
        let (anchor, relative) = (&place.0[..colon], &place.0[colon + 1..]);
        let relative = Path::new(OsStr::from_bytes(relative));
        if anchor == ROOT.as_bytes() {
            return Some(relative.to_owned());
        }
        let directory = &self.anchors.iter().find(|(name, _)| name.as_bytes() == anchor)?.1;
        Some(if relative.as_os_str().is_empty() {
            directory.clone()
        } else {
            directory.join(relative)
        })
    }

    /// Replaces the anchors' directories in a text by their names, so that a text that only
    /// differs by them is the same everywhere.
    pub(crate) fn neutral(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for (anchor, directory) in &self.anchors {
            text = replace(&text, directory.as_os_str().as_bytes(), anchor);
        }
        text
    }

    /// Whether a text names the directory of an anchor.
    pub(crate) fn names_any(&self, text: &[u8]) -> bool {
        self.anchors.iter().any(|(_, dir)| find(text, dir.as_os_str().as_bytes()).is_some())
    }
}

/// Replaces `directory` where it stands as a whole component sequence.
fn replace(text: &[u8], directory: &[u8], anchor: &str) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, directory) {
        let (before, after) = (&rest[..at], &rest[at + directory.len()..]);
        result.extend_from_slice(before);
        // A NUL cannot occur in what is replaced, so no other text becomes this one.
        let whole = after.first().is_none_or(|byte| !is_name_byte(*byte));
        if whole {
            result.push(0);
            result.extend_from_slice(anchor.as_bytes());
            result.push(0);
        } else {
            result.extend_from_slice(directory);
        }
        rest = after;
    }
    result.extend_from_slice(rest);
    result
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) || byte >= 0x80
}

/// The first place of `needle` in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    text.windows(needle.len()).position(|window| window == needle)
}

/// `path` made absolute below `base`, with `.` and `..` resolved by name as `os.path.abspath` does.
pub(crate) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in base.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        let mut places = Places::new(Path::new("/home/a/p"));
        places.add("site0", Path::new("/home/a/p/.venv/lib/python3.11/site-packages"));
        places.add("home", Path::new("/home/a"));
        places
    }

    #[test]
    fn deepest_anchor_names_a_path() {
        let places = places();
        for (path, name) in [
            ("/home/a/p/x.py", "project:x.py"),
            ("/home/a/p", "project:"),
            ("/home/a/p/.venv/lib/python3.11/site-packages/q/r.pyi", "site0:q/r.pyi"),
            ("/home/a/.mypy.ini", "home:.mypy.ini"),
            ("/usr/lib/x", "root:/usr/lib/x"),
            ("/home/a/p2/x.py", "home:p2/x.py"),
        ] {
            let place = places.name(Path::new(path));
            assert_eq!(place.as_bytes(), name.as_bytes());
            assert_eq!(places.path(&place).as_deref(), Some(Path::new(path)));
        }
    }

    #[test]
    fn neutral_text_is_equal_in_two_checkouts() {
        let other = Places::new(Path::new("/b"));
        let (one, two) =
            (places().neutral(b"x=/home/a/p/s:/home/a/p"), other.neutral(b"x=/b/s:/b"));
        assert_eq!(one, two);
        assert_eq!(other.neutral(b"/b2 /b.c"), b"/b2 /b.c");
    }

    #[test]
    fn parent_components_are_resolved_by_name() {
        assert_eq!(absolute(Path::new("/a/b"), Path::new("../c/./d")), Path::new("/a/c/d"));
        assert_eq!(absolute(Path::new("/a"), Path::new("/x/..")), Path::new("/"));
    }
}
