//! Unpacking a conda package into a tree of the store, once.
//!
//! Both formats are read: `.conda`, a zip of two zstd-compressed tars, and `.tar.bz2`. While one thread
//! unpacks, another verifies the blob; the tree is published only if the blob is the one it is named
//! for, every entry stays inside, no link leads out, and `info` describes what is there. Links are made
//! last, so that nothing is ever written through one. Whatever fails, nothing is left behind.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rewarm_store::{Digest, Hasher, Store, Tree, TreeError};
use tar::EntryType;

use super::{content, names};

/// More entries or bytes than any package has: a bomb.
const MAX_ENTRIES: usize = 1_000_000;
const MAX_BYTES: u64 = 64 << 30;

/// The first moment that all file systems can note, 1980-01-01.
const FIRST_TIME: u64 = 315_532_800;

/// Why a package cannot be unpacked. The store is as it was before, but for a damaged blob, which
/// is dropped.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The store does not have the blob.
    #[error("package `{package}` is not in the cache")]
    Missing {
        /// The archive's file name.
        package: String,
    },
    /// The blob was damaged in the store and is now gone: it has to be fetched again.
    #[error("the cached copy of package `{package}` was damaged and has been dropped")]
    Damaged {
        /// The archive's file name.
        package: String,
    },
    /// It is no archive, or a part of one.
    #[error("package `{package}` is no complete archive")]
    Archive {
        /// The archive's file name.
        package: String,
        /// What the reader says.
        source: io::Error,
    },
    /// One entry is unacceptable.
    #[error("package `{package}`: entry `{entry}` {reason}")]
    Entry {
        /// The archive's file name.
        package: String,
        /// The entry's name, control characters escaped.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The files in `info` are missing, malformed, or describe another package.
    #[error("package `{package}`: `{file}` {reason}")]
    Info {
        /// The archive's file name.
        package: String,
        /// The file that is wrong.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot unpack package `{package}` to `{}`", path.display())]
    Io {
        /// The archive's file name.
        package: String,
        /// The path that failed.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store could not publish the tree.
    #[error("cannot keep package `{package}`")]
    Tree {
        /// The archive's file name.
        package: String,
        /// Why not.
        source: TreeError,
    },
}

/// The tree of the package `file` whose blob is `digest`, unpacked now unless it was before.
pub(super) fn unpack(store: &Store, digest: &Digest, file: &str) -> Result<Tree, UnpackError> {
    let package = file.to_owned();
    let writer = match store.tree_writer(digest) {
        Ok(Err(tree)) => return Ok(tree),
        Ok(Ok(writer)) => writer,
        Err(source) => return Err(UnpackError::Tree { package, source }),
    };
    let Some(path) = store.blob_path(digest) else { return Err(UnpackError::Missing { package }) };
    // Not a task of the pool: while it waited, this thread could begin another package, and wait for a
    // process that waits for this one.
    let (sound, unpacked) = std::thread::scope(|scope| {
        let sound = scope.spawn(|| store.verify_blob(digest));
        let unpacked = Unpacking::new(file, writer.path()).run(&path);
        (sound.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), unpacked)
    });
    match sound {
        Ok(true) => {}
        Ok(false) => return Err(UnpackError::Damaged { package }),
        Err(source) => return Err(UnpackError::Io { package, path, source }),
    }
    writer.commit(unpacked?).map_err(|source| UnpackError::Tree { package, source })
}

/// A package on its way into a directory.
pub(super) struct Unpacking<'a> {
    pub(super) package: &'a str,
    pub(super) dir: &'a Path,
    /// The digests of the files that are there.
    pub(super) files: BTreeMap<String, Digest>,
    /// The symbolic links and where they lead.
    pub(super) links: BTreeMap<String, String>,
    entries: usize,
    bytes: u64,
}

impl<'a> Unpacking<'a> {
    fn new(package: &'a str, dir: &'a Path) -> Self {
        let (files, links) = (BTreeMap::new(), BTreeMap::new());
        Self { package, dir, files, links, entries: 0, bytes: 0 }
    }

    fn run(mut self, blob: &Path) -> Result<Vec<(String, Digest)>, UnpackError> {
        let file = File::open(blob).map_err(|source| self.io_error(blob, source))?;
        if self.package.ends_with(".conda") {
            self.conda(file)?;
        } else {
            self.tar(bzip2::read::MultiBzDecoder::new(BufReader::new(file)))?;
        }
        self.make_links()?;
        content::verify(&self)?;
        let links = self.links.into_iter().map(|(path, target)| (path, Digest::of(target)));
        Ok(self.files.into_iter().chain(links).collect())
    }

    /// A `.conda`: `info-NAME.tar.zst` and `pkg-NAME.tar.zst` in a zip that does not compress.
    fn conda(&mut self, file: File) -> Result<(), UnpackError> {
        let mut zip = zip::ZipArchive::new(BufReader::new(file))
            .map_err(|source| self.archive_error(source.into()))?;
        if zip.has_duplicate_names() {
            return Err(self.archive_error(io::Error::other("two members have one name")));
        }
        let (mut info, mut content) = (false, false);
        for index in 0..zip.len() {
            let member = zip.by_index(index).map_err(|e| self.archive_error(e.into()))?;
            let name = String::from_utf8_lossy(member.name_raw()).into_owned();
            if !name.ends_with(".tar.zst") {
                continue;
            }
            info |= name.starts_with("info-");
            content |= name.starts_with("pkg-");
            let tar = zstd::stream::read::Decoder::new(member);
            self.tar(tar.map_err(|source| self.archive_error(source))?)?;
        }
        if info && content {
            return Ok(());
        }
        let lacking = if info { "pkg-*.tar.zst" } else { "info-*.tar.zst" };
        Err(self.archive_error(io::Error::other(format!("it has no `{lacking}`"))))
    }

    fn tar(&mut self, reader: impl Read) -> Result<(), UnpackError> {
        let mut archive = tar::Archive::new(reader);
        for entry in archive.entries().map_err(|source| self.archive_error(source))? {
            let entry = entry.map_err(|source| self.archive_error(source))?;
            self.entry(entry)?;
        }
        // A stream that was cut in its last block has all entries and no proper end.
        io::copy(&mut archive.into_inner(), &mut io::sink())
            .map(drop)
            .map_err(|source| self.archive_error(source))
    }

    fn entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), UnpackError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        if [b".".as_slice(), b"./"].contains(&raw.as_slice()) && kind.is_dir() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&raw);
        let name = names::checked(&raw).map_err(|reason| self.entry_error(&shown, reason))?;
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.entry_error(name, "is one too many: nothing has a million files"));
        }
        // Old archives mark directories by the last character of the name only.
        if kind.is_dir() || (kind.is_file() && raw.ends_with(b"/")) {
            return self.make_dir(name, name);
        }
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.make_dir(parent, name)?;
        }
        if self.files.contains_key(name) || self.links.contains_key(name) {
            return Err(self.entry_error(name, "is there twice"));
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&mut entry, name)
            }
            EntryType::Symlink => {
                let target = self.link_name(&entry, name)?;
                self.links.insert(name.to_owned(), target);
                Ok(())
            }
            EntryType::Link => {
                let target = self.link_name(&entry, name)?;
                self.hard_link(name, &target)
            }
            _ => Err(self.entry_error(name, "is neither a file, a directory nor a link")),
        }
    }

    fn link_name<R: Read>(
        &self,
        entry: &tar::Entry<'_, R>,
        name: &str,
    ) -> Result<String, UnpackError> {
        let target = entry.link_name_bytes().map(|raw| String::from_utf8(raw.into_owned()));
        match target {
            Some(Ok(target)) if !target.is_empty() && !target.contains('\0') => Ok(target),
            _ => Err(self.entry_error(name, "is a link with an unusable target")),
        }
    }

    fn make_dir(&self, dir: &str, entry: &str) -> Result<(), UnpackError> {
        let path = self.dir.join(dir);
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
                ) =>
            {
                Err(self.entry_error(entry, "lies below a file"))
            }
            Err(source) => Err(self.io_error(&path, source)),
        }
    }

    /// Writes one file; its time is kept, because compiled Python files name that of their source.
    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        name: &str,
    ) -> Result<(), UnpackError> {
        let path = self.dir.join(name);
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let modified = modified(entry.header().mtime().unwrap_or_default());
        let mode = if executable { 0o777 } else { 0o666 };
        let open = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let mut file = match open {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.entry_error(name, "is there twice"));
            }
            other => other.map_err(|source| self.io_error(&path, source))?,
        };
        let mut hasher = Hasher::raw();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.archive_error(source)),
            };
            self.bytes += count as u64;
            if self.bytes > MAX_BYTES {
                return Err(self.entry_error(name, "makes the package larger than 64 GiB"));
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(|source| self.io_error(&path, source))?;
        }
        file.set_modified(modified).map_err(|source| self.io_error(&path, source))?;
        self.files.insert(name.to_owned(), hasher.finish());
        Ok(())
    }

    /// A second name of a file becomes a file of its own: each is linked into prefixes by itself.
    fn hard_link(&mut self, name: &str, target: &str) -> Result<(), UnpackError> {
        let target = names::checked(target.as_bytes())
            .map_err(|_| self.entry_error(name, "is a link that leads out of the package"))?;
        let Some(&digest) = self.files.get(target) else {
            return Err(self.entry_error(name, "is a second name of a file that is not before it"));
        };
        let (from, to) = (self.dir.join(target), self.dir.join(name));
        let copy = || {
            let modified = fs::metadata(&from)?.modified()?;
            fs::copy(&from, &to)?;
            File::options().write(true).open(&to)?.set_modified(modified)
        };
        copy().map_err(|source| self.io_error(&to, source))?;
        self.files.insert(name.to_owned(), digest);
        Ok(())
    }

    fn make_links(&self) -> Result<(), UnpackError> {
        for (name, target) in &self.links {
            names::leads_inside(name, &self.links)
                .map_err(|reason| self.entry_error(name, format!("{reason} (`{target}`)")))?;
            let path = self.dir.join(name);
            match std::os::unix::fs::symlink(target, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.entry_error(name, "is there twice"));
                }
                other => other.map_err(|source| self.io_error(&path, source))?,
            }
        }
        Ok(())
    }

    fn entry_error(&self, entry: &str, reason: impl Into<String>) -> UnpackError {
        let entry = entry.escape_debug().to_string();
        UnpackError::Entry { package: self.package.to_owned(), entry, reason: reason.into() }
    }

    pub(super) fn info_error(&self, file: &str, reason: impl Into<String>) -> UnpackError {
        let (package, file) = (self.package.to_owned(), file.escape_debug().to_string());
        UnpackError::Info { package, file, reason: reason.into() }
    }

    fn archive_error(&self, source: io::Error) -> UnpackError {
        UnpackError::Archive { package: self.package.to_owned(), source }
    }

    fn io_error(&self, path: &Path, source: io::Error) -> UnpackError {
        UnpackError::Io { package: self.package.to_owned(), path: path.to_owned(), source }
    }
}

fn modified(seconds: u64) -> SystemTime {
    let seconds = Duration::from_secs(seconds.max(FIRST_TIME));
    UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH + Duration::from_secs(FIRST_TIME))
}
