//! Small wheels and source distributions, made in memory; sound ones and broken ones of each kind.
//!
//! A [`Package`] is a description; [`Package::wheel`] and [`Package::sdist`] render it, so two
//! renderings of one description are equal byte for byte. [`pylock`] and [`requirements`] write a
//! lock file for a set of rendered files. Nothing here touches the network.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// What is wrong with a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An entry that climbs out of the target with `..`.
    Traversal,
    /// An entry with an absolute path.
    Absolute,
    /// An entry that starts with a Windows drive.
    Drive,
    /// An entry that is a symbolic link.
    Symlink,
    /// An entry with a NUL in its name.
    Nul,
    /// Two entries of one name.
    Duplicate,
    /// The last third of the file is missing.
    Truncated,
    /// A file whose content is not what `RECORD` says.
    RecordHash,
    /// A file that `RECORD` does not list.
    RecordUnlisted,
    /// A `RECORD` that lists a file outside of the environment.
    RecordEscape,
    /// No `RECORD`.
    NoRecord,
    /// An entry whose content does not match its CRC.
    Crc,
    /// An entry that inflates to more than its header declares.
    Size,
}

/// A description of one distribution.
#[derive(Debug, Clone)]
pub struct Package {
    name: String,
    version: String,
    tag: String,
    files: Vec<(String, Vec<u8>, u32)>,
    entry_points: String,
    metadata: String,
}

/// A rendered distribution.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The distribution's name as it was given.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file's name.
    pub filename: String,
    /// The file's content.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// The sha256 of the file in hex.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// Writes the file into `dir`.
    pub fn write_to(&self, dir: &Path) -> std::io::Result<PathBuf> {
        let path = dir.join(&self.filename);
        std::fs::write(&path, &self.bytes)?;
        Ok(path)
    }
}

impl Package {
    /// A pure-Python distribution with one module that knows its version.
    pub fn new(name: &str, version: &str) -> Self {
        let module = name.replace(['-', '.'], "_");
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            tag: "py3-none-any".to_owned(),
            files: Vec::new(),
            entry_points: String::new(),
            metadata: String::new(),
        }
        .file(&format!("{module}/__init__.py"), format!("__version__ = \"{version}\"\n"))
    }

    /// The wheel tag, for example `cp311-cp311-linux_x86_64`.
    #[must_use]
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.tag);
        self
    }

    /// Adds a file, as it lies in the wheel.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    /// Adds a file with permission bits.
    #[must_use]
    pub fn file_with_mode(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.push((path.to_owned(), content.into(), mode));
        self
    }

    /// Adds a file below `NAME-VERSION.data/`.
    #[must_use]
    pub fn data(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let path = format!("{}.data/{path}", self.stem());
        self.file(&path, content)
    }

    /// Adds a console script that calls `target`, for example `pkg.cli:main`.
    #[must_use]
    pub fn console_script(mut self, script: &str, target: &str) -> Self {
        if self.entry_points.is_empty() {
            self.entry_points.push_str("[console_scripts]\n");
        }
        let _ = writeln!(self.entry_points, "{script} = {target}");
        self
    }

    /// Adds a header to `METADATA`, for example `Requires-Dist: other`.
    #[must_use]
    pub fn metadata(mut self, header: &str) -> Self {
        let _ = writeln!(self.metadata, "{header}");
        self
    }

    fn stem(&self) -> String {
        format!("{}-{}", self.name.replace(['-', '.'], "_"), self.version)
    }

    fn metadata_text(&self) -> String {
        let Self { name, version, metadata, .. } = self;
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
    }

    /// Renders a sound wheel.
    pub fn wheel(&self) -> Artifact {
        self.render(None)
    }

    /// Renders a wheel with one fault.
    pub fn broken_wheel(&self, fault: Fault) -> Artifact {
        self.render(Some(fault))
    }

    fn render(&self, fault: Option<Fault>) -> Artifact {
        let stem = self.stem();
        let info = format!("{stem}.dist-info");
        let mut files = self.files.clone();
        let mut add = |path: String, text: String| files.push((path, text.into_bytes(), 0o644));
        let mut wheel_text = "Wheel-Version: 1.0\nGenerator: testkit\n".to_owned();
        let purity = if self.tag.ends_with("-any") { "true" } else { "false" };
        let _ = writeln!(wheel_text, "Root-Is-Purelib: {purity}\nTag: {}", self.tag);
        add(format!("{info}/WHEEL"), wheel_text);
        add(format!("{info}/METADATA"), self.metadata_text());
        if !self.entry_points.is_empty() {
            add(format!("{info}/entry_points.txt"), self.entry_points.clone());
        }
        match fault {
            Some(Fault::Traversal) => add("../../escaped.py".to_owned(), String::new()),
            Some(Fault::Absolute) => add("/tmp/escaped.py".to_owned(), String::new()),
            Some(Fault::Drive) => add("C:\\escaped.py".to_owned(), String::new()),
            Some(Fault::Nul) => add("nul\0.py".to_owned(), String::new()),
            _ => {}
        }
        if fault != Some(Fault::NoRecord) {
            let record = record(&files, &info, fault);
            files.push((format!("{info}/RECORD"), record, 0o644));
        }
        let bytes = damage(zip_of(&files, fault), fault);
        let filename = format!("{stem}-{}.whl", self.tag);
        Artifact { name: self.name.clone(), version: self.version.clone(), filename, bytes }
    }

    /// Renders a source distribution (a zip, which pip takes as well as a tar) whose build needs
    /// nothing but the standard library: a build backend that comes with it.
    pub fn sdist(&self) -> Artifact {
        let stem = self.stem();
        let wheel = self.wheel();
        let backend = include_str!("../data/backend.py");
        let pyproject = format!(
            "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n\n\
             [project]\nname = \"{}\"\nversion = \"{}\"\n",
            self.name, self.version
        );
        let mut files = vec![
            (format!("{stem}/pyproject.toml"), pyproject.into_bytes(), 0o644),
            (format!("{stem}/PKG-INFO"), self.metadata_text().into_bytes(), 0o644),
            (format!("{stem}/backend.py"), backend.as_bytes().to_vec(), 0o644),
            (format!("{stem}/prebuilt/{}", wheel.filename), wheel.bytes, 0o644),
        ];
        for (path, content, mode) in &self.files {
            files.push((format!("{stem}/{path}"), content.clone(), *mode));
        }
        let bytes = zip_of(&files, None);
        let filename = format!("{stem}.zip");
        Artifact { name: self.name.clone(), version: self.version.clone(), filename, bytes }
    }
}

/// The content of `RECORD`.
fn record(files: &[(String, Vec<u8>, u32)], info: &str, fault: Option<Fault>) -> Vec<u8> {
    let mut text = String::new();
    for (index, (path, content, _)) in files.iter().enumerate() {
        let mut digest: Vec<u8> = Sha256::digest(content).to_vec();
        match fault {
            Some(Fault::RecordHash) if index == 0 => digest[0] ^= 1,
            Some(Fault::RecordUnlisted) if index == 0 => continue,
            _ => {}
        }
        let _ = writeln!(text, "{path},sha256={},{}", base64url(&digest), content.len());
    }
    if fault == Some(Fault::RecordEscape) {
        text.push_str("../../../../../../etc/passwd,,\n");
    }
    let _ = writeln!(text, "{info}/RECORD,,");
    text.into_bytes()
}

/// Options of an entry; without a time of its own it would carry the current one.
fn dated(method: CompressionMethod) -> SimpleFileOptions {
    let options = SimpleFileOptions::default().compression_method(method);
    options.last_modified_time(zip::DateTime::default())
}

/// A zip of these files; entries carry a fixed time.
fn zip_of(files: &[(String, Vec<u8>, u32)], fault: Option<Fault>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = matches!(fault, Some(Fault::Crc | Fault::Duplicate));
    let method = if stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    for (path, content, mode) in files {
        let options = dated(method).unix_permissions(*mode);
        zip.start_file(path.as_str(), options).expect("a name that the writer takes");
        zip.write_all(content).expect("memory takes every write");
    }
    let options = dated(method);
    if fault == Some(Fault::Symlink) {
        zip.add_symlink("link.py", "/etc/passwd", options).expect("a link");
    }
    if fault == Some(Fault::Duplicate) {
        // The writer refuses two equal names, so the second one is renamed afterwards.
        zip.start_file("duplicatf.py", options).expect("a name");
        zip.start_file("duplicate.py", options).expect("a name");
    }
    zip.finish().expect("memory takes every write").into_inner()
}

/// Applies the faults that lie below the level of entries.
fn damage(mut bytes: Vec<u8>, fault: Option<Fault>) -> Vec<u8> {
    match fault {
        Some(Fault::Truncated) => bytes.truncate(bytes.len() * 2 / 3),
        Some(Fault::Crc) => {
            // The first entry is stored: its content follows its header and its name.
            let name = usize::from(u16::from_le_bytes([bytes[26], bytes[27]]));
            let extra = usize::from(u16::from_le_bytes([bytes[28], bytes[29]]));
            bytes[30 + name + extra] ^= 1;
        }
        Some(Fault::Duplicate) => replace_all(&mut bytes, b"duplicatf.py", b"duplicate.py"),
        Some(Fault::Size) => {
            // The uncompressed size in the central directory's first header.
            let central = find(&bytes, b"PK\x01\x02").expect("a central directory");
            bytes[central + 24] = bytes[central + 24].saturating_sub(3);
        }
        _ => {}
    }
    bytes
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    while let Some(at) = find(bytes, from) {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
}

/// A `pylock.toml` (PEP 751) for these files, which lie below `prefix` (a URL that ends with `/`).
pub fn pylock(artifacts: &[Artifact], prefix: &str) -> String {
    let mut text = "lock-version = \"1.0\"\ncreated-by = \"testkit\"\n".to_owned();
    for Artifact { name, version, filename, bytes } in artifacts {
        let sha256 = hex(&Sha256::digest(bytes));
        let size = bytes.len();
        let file = format!(
            "{{ name = \"{filename}\", url = \"{prefix}{filename}\", size = {size}, \
             hashes = {{ sha256 = \"{sha256}\" }} }}"
        );
        let _ = writeln!(text, "\n[[packages]]\nname = \"{name}\"\nversion = \"{version}\"");
        let _ = if filename.ends_with(".whl") {
            writeln!(text, "wheels = [{file}]")
        } else {
            writeln!(text, "sdist = {file}")
        };
    }
    text
}

/// A `requirements.txt` with a pin and a hash for each of these files.
pub fn requirements(artifacts: &[Artifact]) -> String {
    let mut text = String::new();
    for artifact in artifacts {
        let Artifact { name, version, .. } = artifact;
        let _ = writeln!(text, "{name}=={version} \\\n    --hash=sha256:{}", artifact.sha256());
    }
    text
}

/// The index page (PEP 691) of one project, for files that lie below `prefix`.
pub fn simple_page(name: &str, artifacts: &[Artifact], prefix: &str) -> String {
    let files: Vec<_> = artifacts
        .iter()
        .map(|artifact| {
            serde_json::json!({
                "filename": artifact.filename,
                "url": format!("{prefix}{}", artifact.filename),
                "hashes": { "sha256": artifact.sha256() },
                "size": artifact.bytes.len(),
            })
        })
        .collect();
    serde_json::json!({ "meta": { "api-version": "1.1" }, "name": name, "files": files })
        .to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Base64 in the URL-safe alphabet and without padding, as `RECORD` has it.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            let six = group >> (18 - 6 * index) & 63;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
    text
}
