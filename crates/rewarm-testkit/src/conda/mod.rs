//! Small conda packages, made in memory, and channels of them; sound ones and broken ones of each kind.
//!
//! A [`CondaPackage`] is a description; [`CondaPackage::archive`] renders it as `.conda` or `.tar.bz2`, so
//! two renderings of one description are equal byte for byte. [`write_channel`] lays archives out as a
//! channel with its `repodata.json`; [`PixiLock`] and [`pixi_toml`] write the texts of a workspace that
//! wants them. Nothing here touches the network.

mod lock;
mod render;

use std::collections::BTreeMap;
use std::path::Path;

use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use lock::{PixiLock, pixi_toml};

/// Where packages say they were built, to be replaced by the prefix: 200 characters.
pub const PLACEHOLDER: &str = "/build/work/placehold_placehold_placehold_placehold_placehold_\
placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_\
placehold_placehold_placehold_placehold";

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Two zstd-compressed tars in a zip.
    Conda,
    /// One bzip2-compressed tar.
    TarBz2,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An entry that climbs out of the target with `..`.
    Traversal,
    /// An entry with an absolute path.
    Absolute,
    /// A device.
    Device,
    /// Two entries of one name.
    Duplicate,
    /// Two symbolic links that lead to each other.
    LinkCycle,
    /// A symbolic link that leads out of the package.
    LinkOutside,
    /// A symbolic link to an absolute path.
    LinkAbsolute,
    /// A symbolic link, and a file whose path goes through it.
    ThroughLink,
    /// A second name of a file that comes after it.
    HardLinkForward,
    /// The last third of the file is missing.
    Truncated,
    /// A file whose content is not what `paths.json` says.
    WrongDigest,
    /// A file that `paths.json` lists and that is not there.
    MissingFile,
    /// A `paths.json` that lists a path outside of the prefix.
    PathsEscape,
    /// No `info/index.json`.
    NoIndex,
    /// An `info/index.json` that is no JSON.
    BadIndex,
    /// An `info/index.json` of another package.
    OtherIndex,
    /// An `info/link.json` of another kind of package.
    WrongLinkJson,
}

impl Fault {
    /// Each of them.
    pub const ALL: [Self; 17] = [
        Self::Traversal,
        Self::Absolute,
        Self::Device,
        Self::Duplicate,
        Self::LinkCycle,
        Self::LinkOutside,
        Self::LinkAbsolute,
        Self::ThroughLink,
        Self::HardLinkForward,
        Self::Truncated,
        Self::WrongDigest,
        Self::MissingFile,
        Self::PathsEscape,
        Self::NoIndex,
        Self::BadIndex,
        Self::OtherIndex,
        Self::WrongLinkJson,
    ];
}

/// What one path of a package is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    File { bytes: Vec<u8>, executable: bool, placeholder: Option<&'static str> },
    Symlink(String),
    HardLink(String),
}

/// A description of one package.
#[derive(Debug, Clone)]
pub struct CondaPackage {
    name: String,
    version: String,
    build: String,
    subdir: String,
    noarch: Option<&'static str>,
    depends: Vec<String>,
    files: BTreeMap<String, Content>,
    entry_points: Vec<String>,
    site_packages: Option<String>,
}

impl CondaPackage {
    /// A package for every platform that brings one file, `share/NAME`, which holds its version.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            build: "0".to_owned(),
            subdir: "noarch".to_owned(),
            noarch: Some("generic"),
            depends: Vec::new(),
            files: BTreeMap::new(),
            entry_points: Vec::new(),
            site_packages: None,
        }
        .file(&format!("share/{name}"), format!("{version}\n"))
    }

    /// A Python package for every version of Python, with one module that knows its version.
    pub fn python(name: &str, version: &str) -> Self {
        let mut package = Self::new(name, version).build("py_0").depends("python");
        package.noarch = Some("python");
        package.files.clear();
        let module = format!("site-packages/{}/__init__.py", name.replace('-', "_"));
        package.file(&module, format!("__version__ = \"{version}\"\n"))
    }

    /// The build string; `0` unless given.
    #[must_use]
    pub fn build(mut self, build: &str) -> Self {
        build.clone_into(&mut self.build);
        self
    }

    /// For one platform only, for example `linux-64`.
    #[must_use]
    pub fn platform(mut self, subdir: &str) -> Self {
        subdir.clone_into(&mut self.subdir);
        self.noarch = None;
        self
    }

    /// Adds a dependency.
    #[must_use]
    pub fn depends(mut self, spec: &str) -> Self {
        self.depends.push(spec.to_owned());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let bytes = content.into();
        self.add(path, Content::File { bytes, executable: false, placeholder: None })
    }

    /// Adds a program.
    #[must_use]
    pub fn program(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let bytes = content.into();
        self.add(path, Content::File { bytes, executable: true, placeholder: None })
    }

    /// Adds a program whose text names [`PLACEHOLDER`].
    #[must_use]
    pub fn text_with_prefix(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let bytes = content.into();
        self.add(path, Content::File { bytes, executable: true, placeholder: Some("text") })
    }

    /// Adds a file of bytes in which [`PLACEHOLDER`] stands as a C string.
    #[must_use]
    pub fn binary_with_prefix(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let bytes = content.into();
        self.add(path, Content::File { bytes, executable: false, placeholder: Some("binary") })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, Content::Symlink(target.to_owned()))
    }

    /// Adds a second name of a file whose path sorts before.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.add(path, Content::HardLink(target.to_owned()))
    }

    /// Adds a script that is sourced at activation.
    #[must_use]
    pub fn activate(self, file: &str, script: &str) -> Self {
        self.file(&format!("etc/conda/activate.d/{file}"), script)
    }

    /// Adds a script that is sourced at deactivation.
    #[must_use]
    pub fn deactivate(self, file: &str, script: &str) -> Self {
        self.file(&format!("etc/conda/deactivate.d/{file}"), script)
    }

    /// Adds variables that are set at activation: a JSON object.
    #[must_use]
    pub fn env_vars(self, file: &str, json: &str) -> Self {
        self.file(&format!("etc/conda/env_vars.d/{file}"), json)
    }

    /// Adds a program that calls a function, for example `hello = hello.cli:main`.
    #[must_use]
    pub fn entry_point(mut self, entry_point: &str) -> Self {
        self.entry_points.push(entry_point.to_owned());
        self
    }

    /// Where this Python keeps its packages, if that is not the usual place.
    #[must_use]
    pub fn site_packages(mut self, path: &str) -> Self {
        self.site_packages = Some(path.to_owned());
        self
    }

    fn add(mut self, path: &str, content: Content) -> Self {
        self.files.insert(path.to_owned(), content);
        self
    }

    /// Renders a sound archive.
    pub fn archive(&self, format: Format) -> CondaArchive {
        self.render(format, None)
    }

    /// Renders an archive with one fault.
    pub fn broken(&self, format: Format, fault: Fault) -> CondaArchive {
        self.render(format, Some(fault))
    }

    fn render(&self, format: Format, fault: Option<Fault>) -> CondaArchive {
        let stem = format!("{}-{}-{}", self.name, self.version, self.build);
        let extension = if format == Format::Conda { "conda" } else { "tar.bz2" };
        let bytes = render::render(self, &stem, format, fault);
        CondaArchive { package: self.clone(), filename: format!("{stem}.{extension}"), bytes }
    }

    fn index(&self) -> Value {
        let mut index = json!({
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": self.depends,
            "subdir": self.subdir,
        });
        if let Some(noarch) = self.noarch {
            index["noarch"] = noarch.into();
        }
        if let Some(path) = &self.site_packages {
            index["python_site_packages_path"] = path.as_str().into();
        }
        index
    }
}

/// A rendered package.
#[derive(Debug, Clone)]
pub struct CondaArchive {
    package: CondaPackage,
    /// The file's name.
    pub filename: String,
    /// The file's content.
    pub bytes: Vec<u8>,
}

impl CondaArchive {
    /// The package's name.
    pub fn name(&self) -> &str {
        &self.package.name
    }

    /// The directory of the channel that holds it.
    pub fn subdir(&self) -> &str {
        &self.package.subdir
    }

    /// The path below a channel.
    pub fn path(&self) -> String {
        format!("{}/{}", self.subdir(), self.filename)
    }

    /// The sha256 of the file in hex.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// The MD5 of the file in hex.
    pub fn md5(&self) -> String {
        hex(&Md5::digest(&self.bytes))
    }

    /// What `repodata.json` says of the package.
    pub fn repodata(&self) -> Value {
        let mut record = self.package.index();
        record["md5"] = self.md5().into();
        record["sha256"] = self.sha256().into();
        record["size"] = self.bytes.len().into();
        record
    }

    /// The same, with the place of the file in a channel whose URL ends with `/`.
    pub fn record(&self, channel: &str) -> Value {
        let mut record = self.repodata();
        record["fn"] = self.filename.as_str().into();
        record["url"] = format!("{channel}{}", self.path()).into();
        record["channel"] = channel.into();
        record
    }
}

/// Writes the archives and one `repodata.json` per platform into `dir`; `noarch` is always there.
pub fn write_channel(dir: &Path, archives: &[CondaArchive]) -> std::io::Result<()> {
    let mut subdirs: BTreeMap<&str, Vec<&CondaArchive>> = BTreeMap::from([("noarch", Vec::new())]);
    for archive in archives {
        subdirs.entry(archive.subdir()).or_default().push(archive);
    }
    for (subdir, archives) in subdirs {
        let place = dir.join(subdir);
        std::fs::create_dir_all(&place)?;
        let (mut conda, mut tar) = (serde_json::Map::new(), serde_json::Map::new());
        for archive in archives {
            std::fs::write(place.join(&archive.filename), &archive.bytes)?;
            let map = if archive.filename.ends_with(".conda") { &mut conda } else { &mut tar };
            map.insert(archive.filename.clone(), archive.repodata());
        }
        let repodata = json!({
            "info": { "subdir": subdir },
            "packages": tar,
            "packages.conda": conda,
            "removed": [],
            "repodata_version": 1,
        });
        std::fs::write(place.join("repodata.json"), repodata.to_string())?;
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
