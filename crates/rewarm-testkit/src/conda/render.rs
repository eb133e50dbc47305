//! The bytes of a conda package: `info`, the tars, and what can be wrong with them.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{CondaPackage, Content, Fault, Format, PLACEHOLDER, hex};

/// One entry of a tar, before it is written.
struct Entry {
    name: String,
    kind: EntryType,
    bytes: Vec<u8>,
    target: String,
    mode: u32,
}

impl Entry {
    fn file(name: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        let (name, bytes) = (name.to_owned(), bytes.into());
        Self { name, kind: EntryType::Regular, bytes, target: String::new(), mode }
    }

    fn link(name: &str, kind: EntryType, target: &str) -> Self {
        Self { kind, target: target.to_owned(), ..Self::file(name, [], 0o777) }
    }
}

pub(super) fn render(
    package: &CondaPackage,
    stem: &str,
    format: Format,
    fault: Option<Fault>,
) -> Vec<u8> {
    let (info, content) = (info(package, fault), content(package, fault));
    let mut bytes = match format {
        Format::TarBz2 => {
            let tar = tar(info.into_iter().chain(content));
            let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            writer.write_all(&tar).expect("memory takes every write");
            writer.finish().expect("memory takes every write")
        }
        Format::Conda => conda(stem, &tar(info), &tar(content)),
    };
    if fault == Some(Fault::Truncated) {
        bytes.truncate(bytes.len() * 2 / 3);
    }
    bytes
}

fn conda(stem: &str, info: &[u8], content: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    // Else the time of the rendering.
    let options = options.last_modified_time(zip::DateTime::default());
    let compress = |tar: &[u8]| zstd::encode_all(tar, 1).expect("memory takes every write");
    for (name, bytes) in [
        ("metadata.json".to_owned(), br#"{"conda_pkg_format_version": 2}"#.to_vec()),
        (format!("pkg-{stem}.tar.zst"), compress(content)),
        (format!("info-{stem}.tar.zst"), compress(info)),
    ] {
        zip.start_file(name, options).expect("a name that the writer takes");
        zip.write_all(&bytes).expect("memory takes every write");
    }
    zip.finish().expect("memory takes every write").into_inner()
}

fn tar(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_mtime(1_700_000_000);
        header.set_size(entry.bytes.len() as u64);
        // Set by hand: the library refuses the names that a test wants to see refused.
        let place = &mut header.as_old_mut().name;
        assert!(entry.name.len() < place.len(), "a short name, not {}", entry.name);
        place[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        let place = &mut header.as_old_mut().linkname;
        assert!(entry.target.len() < place.len(), "a short target, not {}", entry.target);
        place[..entry.target.len()].copy_from_slice(entry.target.as_bytes());
        header.set_cksum();
        builder.append(&header, &*entry.bytes).expect("memory takes every write");
    }
    builder.into_inner().expect("memory takes every write")
}

fn content(package: &CondaPackage, fault: Option<Fault>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = package
        .files
        .iter()
        .map(|(path, content)| match content {
            Content::File { bytes, executable, .. } => {
                Entry::file(path, bytes.clone(), if *executable { 0o755 } else { 0o644 })
            }
            Content::Symlink(target) => Entry::link(path, EntryType::Symlink, target),
            Content::HardLink(target) => Entry::link(path, EntryType::Link, target),
        })
        .collect();
    let symlink = |name, target| Entry::link(name, EntryType::Symlink, target);
    match fault {
        Some(Fault::Traversal) => entries.push(Entry::file("../../escaped", [], 0o644)),
        Some(Fault::Absolute) => entries.push(Entry::file("/tmp/escaped", [], 0o644)),
        Some(Fault::Device) => entries.push(Entry::link("null", EntryType::Char, "")),
        Some(Fault::Duplicate) => entries.extend([
            Entry::file("share/twice", "1", 0o644),
            Entry::file("share/twice", "2", 0o644),
        ]),
        Some(Fault::LinkCycle) => {
            entries.extend([symlink("share/one", "two"), symlink("share/two", "one")]);
        }
        Some(Fault::LinkOutside) => entries.push(symlink("share/out", "../../elsewhere")),
        Some(Fault::LinkAbsolute) => entries.push(symlink("share/out", "/etc/passwd")),
        Some(Fault::ThroughLink) => {
            entries.extend([symlink("through", "share"), Entry::file("through/file", [], 0o644)]);
        }
        Some(Fault::HardLinkForward) => {
            entries.insert(0, Entry::link("again", EntryType::Link, "share/later"));
            entries.push(Entry::file("share/later", [], 0o644));
        }
        _ => {}
    }
    entries
}

fn info(package: &CondaPackage, fault: Option<Fault>) -> Vec<Entry> {
    let mut index = package.index();
    if fault == Some(Fault::OtherIndex) {
        index["name"] = "another".into();
    }
    let mut text = index.to_string();
    if fault == Some(Fault::BadIndex) {
        text.truncate(text.len() / 2);
    }
    let mut entries = vec![
        Entry::file("info/about.json", "{}", 0o644),
        Entry::file("info/paths.json", paths(package, fault).to_string(), 0o644),
    ];
    if fault != Some(Fault::NoIndex) {
        entries.push(Entry::file("info/index.json", text, 0o644));
    }
    let link = if fault == Some(Fault::WrongLinkJson) {
        Some(json!({ "type": "generic" }))
    } else {
        let points = json!({ "type": "python", "entry_points": package.entry_points });
        (!package.entry_points.is_empty()).then_some(points)
    };
    if let Some(noarch) = link {
        let link = json!({ "noarch": noarch, "package_metadata_version": 1 });
        entries.push(Entry::file("info/link.json", link.to_string(), 0o644));
    }
    entries
}

/// `info/paths.json`; a link has the digest of what it leads to, as with conda-build.
fn paths(package: &CondaPackage, fault: Option<Fault>) -> Value {
    let mut entries = Vec::new();
    for (path, content) in &package.files {
        let (bytes, kind) = match content {
            Content::File { bytes, .. } => (bytes.as_slice(), "hardlink"),
            Content::Symlink(target) => (target.as_bytes(), "softlink"),
            Content::HardLink(target) => match &package.files[target] {
                Content::File { bytes, .. } => (bytes.as_slice(), "hardlink"),
                _ => panic!("`{path}` is a second name of what is no file"),
            },
        };
        let mut digest = Sha256::digest(bytes).to_vec();
        if fault == Some(Fault::WrongDigest) && entries.is_empty() {
            digest[0] ^= 1;
        }
        let mut entry = json!({
            "_path": path,
            "path_type": kind,
            "sha256": hex(&digest),
            "size_in_bytes": bytes.len(),
        });
        if let Content::File { placeholder: Some(mode), .. } = content {
            entry["file_mode"] = (*mode).into();
            entry["prefix_placeholder"] = PLACEHOLDER.into();
        }
        entries.push(entry);
    }
    let unlisted = |path: &str| json!({ "_path": path, "path_type": "hardlink" });
    match fault {
        Some(Fault::MissingFile) => entries.push(unlisted("share/absent")),
        Some(Fault::PathsEscape) => entries.push(unlisted("../../escaped")),
        _ => {}
    }
    json!({ "paths": entries, "paths_version": 1 })
}
