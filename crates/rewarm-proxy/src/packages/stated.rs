//! Digests as pages of a simple index state them for the files that they link to.
//!
//! Only sha256 counts, because files in the cache are found by it. What is stated in another way, or
//! wrongly, is not stated.

use rewarm_store::Digest;

use super::json::Found;

/// The place of a file's URL among `INDEX_LINKS`; the other one is of its digest.
const URL: usize = 0;

/// The digest in the fragment of a link (PEP 503: `#sha256=…`), which may hold more.
pub(super) fn in_fragment(fragment: &str) -> Option<Digest> {
    let mut parts = fragment.trim_start_matches('#').split('&');
    parts.find_map(|part| hex(part.strip_prefix("sha256=")?))
}

/// 64 hex digits.
pub(super) fn hex(text: &str) -> Option<Digest> {
    text.parse().ok().filter(|_| text.len() == 64)
}

/// What was read so far of one file on a page in JSON (PEP 691), whose members come in any order.
#[derive(Debug, Default)]
pub(super) struct FileEntry {
    group: u64,
    url: Option<String>,
    digest: Option<Digest>,
}

impl FileEntry {
    /// Takes a string that was found at one of `INDEX_LINKS`; says whether it is the file's URL.
    pub(super) fn read(&mut self, found: Found<'_>) -> bool {
        if found.group != self.group {
            *self = Self { group: found.group, ..Self::default() };
        }
        let is_url = found.place == URL;
        match is_url {
            true => self.url = Some(found.text.to_owned()),
            false => self.digest = hex(found.text),
        }
        is_url
    }

    /// The digest, if it was there already.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// URL and digest, once both were there.
    pub(super) fn whole(&self) -> Option<(&str, Digest)> {
        Some((self.url.as_deref()?, self.digest?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pep503_a_fragment_states_a_digest_among_other_things() {
        let digest = Digest::of("a");
        for fragment in [
            format!("#sha256={digest}"),
            format!("#egg=a&sha256={digest}"),
            format!("#sha256={digest}&subdirectory=b"),
            format!("#sha256={}", digest.to_string().to_uppercase()),
        ] {
            assert_eq!(in_fragment(&fragment), Some(digest), "{fragment}");
        }
        for fragment in [
            String::new(),
            "#".to_owned(),
            "#sha256=00".to_owned(),
            format!("#sha256=sha256:{digest}"),
            format!("#sha256={digest}0"),
            format!("#sha512={digest}"),
            format!("#xsha256={digest}"),
        ] {
            assert_eq!(in_fragment(&fragment), None, "{fragment}");
        }
    }

    #[test]
    fn pep691_a_file_has_the_digest_of_its_own_entry() {
        let (digest, text) = (Digest::of("a"), Digest::of("a").to_string());
        let mut entry = FileEntry::default();
        assert!(!entry.read(Found { place: 1, group: 1, text: &text }));
        assert_eq!((entry.digest(), entry.whole()), (Some(digest), None));
        assert!(entry.read(Found { place: URL, group: 1, text: "u" }));
        assert_eq!(entry.whole(), Some(("u", digest)));
        assert!(entry.read(Found { place: URL, group: 2, text: "v" }));
        assert_eq!((entry.digest(), entry.whole()), (None, None));
    }
}
