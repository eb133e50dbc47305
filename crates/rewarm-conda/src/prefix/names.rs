//! Which names and links in a package are acceptable.
//!
//! Pure. Only a plain relative path made of plain components can become a file of a prefix; what
//! is anything else is refused rather than repaired. A symbolic link may lead to any place inside the
//! prefix, also to one that another package fills, but not out of it and not in a circle.

use std::collections::{BTreeMap, VecDeque};

/// So many links may be followed on the way to one target, as on Linux.
const MAX_LINKS: usize = 40;

/// The name of an acceptable entry of an archive; the error completes the sentence "entry `x` …".
pub(super) fn checked(raw: &[u8]) -> Result<&str, &'static str> {
    let name = std::str::from_utf8(raw).map_err(|_| "has a name that is not UTF-8")?;
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    is_relative(name)?;
    Ok(name)
}

/// Whether a path with `/` between components stays below the directory it is joined to.
pub(super) fn is_relative(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.contains(['\0', '\n', '\r']) {
        return Err("has an unusable name");
    }
    if path.starts_with('/') {
        return Err("has an absolute path");
    }
    if path.split('/').any(|part| part == "..") {
        return Err("leads out of the package");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part.len() > 255) {
        return Err("has an unusable name");
    }
    Ok(())
}

/// Whether the link at `path` leads to a place inside, given all links of the package.
pub(super) fn leads_inside(
    path: &str,
    links: &BTreeMap<String, String>,
) -> Result<(), &'static str> {
    let mut reached: Vec<&str> = path.split('/').collect();
    let mut ahead: VecDeque<&str> = VecDeque::new();
    let mut followed = 0;
    loop {
        let here = reached.join("/");
        if let Some(target) = links.get(&here) {
            followed += 1;
            if followed > MAX_LINKS {
                return Err("is a link that leads in a circle");
            }
            if target.starts_with('/') {
                return Err("is a link to an absolute path");
            }
            reached.pop();
            target.split('/').rev().for_each(|part| ahead.push_front(part));
        }
        match ahead.pop_front() {
            None => return Ok(()),
            Some("" | ".") => {}
            Some("..") if reached.pop().is_none() => {
                return Err("is a link that leads out of the package");
            }
            Some("..") => {}
            Some(part) => reached.push(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn plain_relative_names_pass() {
        for name in ["a", "a/b.py", "a/", "./a/b", "..a/b..", "a b/ü.py"] {
            let expected = name.trim_start_matches("./").trim_end_matches('/');
            assert_eq!(checked(name.as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", "/", "/etc/passwd", "../a", "a/../../b", "a/..", "a//b", "a/.", "a\0b"] {
            assert!(checked(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(checked(b"\xff").is_err());
    }

    #[test]
    fn links_to_places_inside_pass() {
        let links = links(&[
            ("lib/libz.so", "libz.so.1"),
            ("lib64", "lib"),
            ("bin/x", "../lib64/../share/elsewhere"),
            ("deep/er", ".."),
        ]);
        for path in links.keys() {
            assert_eq!(leads_inside(path, &links), Ok(()), "{path}");
        }
    }

    #[test]
    fn links_that_lead_out_are_refused_also_through_other_links() {
        let links = links(&[
            ("absolute", "/etc/passwd"),
            ("bin/out", "../../x"),
            ("deep/root", ".."),
            ("through", "deep/root/../x"),
        ]);
        for path in ["absolute", "bin/out", "through"] {
            assert!(leads_inside(path, &links).is_err(), "{path}");
        }
        assert_eq!(leads_inside("deep/root", &links), Ok(()));
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let links = links(&[("a", "b"), ("b", "a"), ("c", "c/d")]);
        for path in ["a", "b", "c"] {
            assert_eq!(leads_inside(path, &links), Err("is a link that leads in a circle"));
        }
    }

    proptest! {
        #[test]
        fn any_set_of_links_is_judged_in_bounded_time(
            pairs in proptest::collection::btree_map("[ab](/[ab]){0,2}", "[ab./]{0,8}", 0..6)
        ) {
            for path in pairs.keys() {
                let _ = leads_inside(path, &pairs);
            }
        }
    }
}
