//! How clients and workers speak, and where they meet.
//!
//! A worker's socket is named by its key, in a directory that only its user may enter. Paths of
//! sockets are short by definition of the system, so the directory is opened and the socket
//! named below that. The driver's `worker.py` describes the messages.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory of the sockets, opened.
#[derive(Debug)]
pub(super) struct Sockets {
    directory: File,
    pub(super) path: PathBuf,
}

impl Sockets {
    /// Opens the directory if it is this user's alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let directory = File::open(path)?;
        let found = directory.metadata()?;
        let is_ours = found.uid() == rewarm_store::effective_user();
        if !found.is_dir() || !is_ours || found.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { directory, path: path.to_owned() })
    }

    /// The same, made if it is not there.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// A short path to a name in the directory, good for this process.
    fn short(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()).into()
    }

    /// The sockets' names, the one that was made first in front.
    pub(super) fn names(&self) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.short(".")).into_iter().flatten().flatten() {
            let made = entry.metadata().and_then(|metadata| metadata.modified());
            if let (Ok(made), Ok(name)) = (made, entry.file_name().into_string())
                && name.ends_with(".sock")
            {
                found.push((made, name));
            }
        }
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }

    pub(super) fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.short(name))?;
        if peer(&stream)? != rewarm_store::effective_user() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(stream)
    }

    pub(super) fn bind(&self, name: &str) -> io::Result<UnixListener> {
        self.remove(name)?;
        let listener = UnixListener::bind(self.short(name))?;
        fs::set_permissions(self.short(name), Permissions::from_mode(0o600))?;
        Ok(listener)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.short(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The user at the other end.
#[cfg(target_os = "linux")]
fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw())
}

/// Workers are for Linux.
#[cfg(not(target_os = "linux"))]
fn peer(_stream: &UnixStream) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What is said on one connection.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: BufReader<UnixStream>,
}

impl Conversation {
    /// Nobody is waited for longer than `patience`, neither to listen nor to answer.
    pub(super) fn new(stream: UnixStream, patience: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request and gives the first line of the answer.
    pub(super) fn ask<T: AsRef<[u8]>>(
        &mut self,
        fields: impl IntoIterator<Item = T>,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = vec![b'+', 0, 0, 0, 0];
        for field in fields {
            bytes.extend_from_slice(field.as_ref());
            bytes.push(0);
        }
        let length = u32::try_from(bytes.len() - 5).map_err(io::Error::other)?;
        bytes[1..5].copy_from_slice(&length.to_le_bytes());
        self.stream.get_mut().write_all(&bytes)?;
        self.line()
    }

    /// Lets the run begin, and waits for its end without a bound.
    pub(super) fn go(&mut self) -> io::Result<Vec<u8>> {
        self.stream.get_mut().write_all(b"+")?;
        self.stream.get_ref().set_read_timeout(None)?;
        self.line()
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }
}
