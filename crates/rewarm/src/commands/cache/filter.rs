//! Which entries a pattern, a URL or a kind means, and how much each of them holds.

use std::collections::HashMap;

use rewarm_http::Url;
use rewarm_store::{Digest, Inventory, RecordInfo, Store};

use crate::args::Filter;
use crate::formats;

/// The kind of records about URLs.
pub(super) const HTTP: &str = "http";

/// So many digits of a key are looked for.
const LEAST_KEY: usize = 8;

/// A record with what it is about.
pub(super) struct Named<'f> {
    pub(super) record: &'f RecordInfo,
    /// A URL, a path, a distribution; the key where nothing better is known.
    pub(super) name: String,
    /// Of the record and of all that it refers to.
    pub(super) bytes: u64,
}

impl Filter {
    /// The one kind that is wanted.
    pub(super) fn kind(&self) -> Option<&str> {
        if self.http { Some(HTTP) } else { self.kind.as_deref() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pattern.is_none() && self.kind().is_none()
    }
}

/// The records that a filter means, by kind and name.
pub(super) fn matching<'f>(store: &Store, found: &'f Inventory, filter: &Filter) -> Vec<Named<'f>> {
    let wanted = filter.pattern.as_deref().map(Wanted::new);
    let mut sizes: HashMap<Digest, u64> =
        found.blobs.iter().map(|blob| (blob.digest, blob.bytes)).collect();
    found.trees.iter().for_each(|tree| *sizes.entry(tree.digest).or_default() += tree.bytes);
    let kinds =
        found.records.iter().filter(|record| filter.kind().is_none_or(|kind| kind == record.kind));
    let mut named: Vec<_> = kinds
        .map(|record| {
            let content: u64 = record.references.iter().filter_map(|d| sizes.get(d)).sum();
            let name = formats::describe(store, record);
            Named { record, name, bytes: record.bytes + content }
        })
        .filter(|named| wanted.as_ref().is_none_or(|wanted| wanted.is(named)))
        .collect();
    named.sort_by(|a, b| (&a.record.kind, &a.name).cmp(&(&b.record.kind, &b.name)));
    named
}

/// What a pattern asks for.
enum Wanted<'p> {
    /// This URL and no other.
    Url(String),
    /// Text with `*` for any text, or a part of the name.
    Pattern(&'p str),
}

impl<'p> Wanted<'p> {
    fn new(pattern: &'p str) -> Self {
        let is_whole = pattern.contains("://") && !pattern.contains('*');
        match Url::parse(pattern) {
            Ok(url) if is_whole => Self::Url(url.to_string()),
            _ => Self::Pattern(pattern),
        }
    }

    fn is(&self, named: &Named<'_>) -> bool {
        match self {
            Self::Url(url) => named.record.kind == HTTP && named.name == *url,
            Self::Pattern(pattern) => {
                let key = named.record.key.to_string();
                let is_named = named.name != key && matches(pattern, &named.name);
                is_named || is_key(pattern, &key)
            }
        }
    }
}

/// Whether a pattern means an entry by its key: the whole of it, or enough of its beginning to mean
/// no other by chance.
fn is_key(pattern: &str, key: &str) -> bool {
    pattern == "*" || pattern.len() >= LEAST_KEY && key.starts_with(pattern)
}

/// Whether `text` is what `pattern` says; `*` stands for any text. A pattern without one is looked
/// for anywhere.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text.contains(pattern) };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_and_plain_text_anywhere() {
        assert!(matches("yaml", "https://x/pyyaml-6.whl"));
        assert!(matches("*yaml*", "https://x/pyyaml-6.whl"));
        assert!(matches("https://*.whl", "https://x/pyyaml-6.whl"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a1b2b3c"));
        assert!(!matches("https://*.gz", "https://x/pyyaml-6.whl"));
        assert!(!matches("a*b*c", "acb"));
    }

    #[test]
    fn short_patterns_do_not_match_keys_by_chance() {
        let key = "0123456789abcdef";
        assert!(is_key(key, key) && is_key("01234567", key) && is_key("*", key));
        assert!(!is_key("0123456", key) && !is_key("6789abcd", key) && !is_key("", key));
    }

    #[test]
    fn whole_url_means_itself_only() {
        let is_url = |text| matches!(Wanted::new(text), Wanted::Url(_));
        assert!(is_url("https://h/a") && is_url("HTTPS://h"));
        assert!(!is_url("https://h/*") && !is_url("h/a") && !is_url("://"));
    }
}
