//! Taking over a wheel that another tool has unpacked.
//!
//! The files are copied, by the file system's own means where it has some, and then checked as if they
//! had come out of the wheel: every file listed in `RECORD` and as it says, none besides. That the
//! wheel with this `RECORD` is the one with that digest cannot be seen from its files; the caller has
//! somebody's word for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rewarm_store::{Digest, Store, digest_of_part};

use super::{UnpackError, Unpacked, Unpacking, commit, is_data_script, name, record};

/// Takes the unpacked wheel in `dir` as the tree of the wheel `filename` whose digest is said to be
/// `digest`; `false` if that tree is there already. `dir` is only read.
pub fn adopt_unpacked(
    store: &Store,
    dir: &Path,
    digest: &Digest,
    filename: &str,
) -> Result<bool, UnpackError> {
    let wheel = filename.to_owned();
    let writer = match store.tree_writer(digest) {
        Ok(Err(_)) => return Ok(false),
        Ok(Ok(writer)) => writer,
        Err(source) => return Err(UnpackError::Tree { wheel, source }),
    };
    let unpacking = Unpacking { wheel: filename, dir: writer.path() };
    let mut files = Vec::new();
    copy_below(&unpacking, dir, "", &mut files)?;
    record::verify(&unpacking, &files)?;
    let files = files.into_iter().map(|file| (file.name, file.digest)).collect();
    commit(writer, files, wheel).map(|_| true)
}

fn copy_below(
    wheel: &Unpacking<'_>,
    from: &Path,
    below: &str,
    files: &mut Vec<Unpacked>,
) -> Result<(), UnpackError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| wheel.io_error(&path, source)
    };
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let raw = entry.file_name();
        let bytes = [below.as_bytes(), raw.as_encoded_bytes()].concat();
        let path = entry.path();
        let metadata = entry.metadata().map_err(failed(&path))?;
        let checked = name::checked(&bytes, Some(metadata.mode()));
        let name = checked
            .map_err(|reason| wheel.entry_error(&String::from_utf8_lossy(&bytes), reason))?;
        if metadata.is_dir() {
            let target = wheel.dir.join(name);
            fs::create_dir(&target).map_err(failed(&target))?;
            copy_below(wheel, &path, &format!("{name}/"), files)?;
        } else if metadata.is_file() {
            let executable = metadata.mode() & 0o111 != 0 || is_data_script(name);
            let copied = copy(&path, &wheel.dir.join(name), executable).map_err(failed(&path))?;
            files.push(Unpacked { name: name.to_owned(), digest: copied.0, size: copied.1 });
        } else {
            return Err(wheel.entry_error(name, "is neither a file nor a directory"));
        }
    }
    Ok(())
}

/// What was copied is what is hashed, whatever happens to the source meanwhile.
fn copy(from: &Path, to: &Path, executable: bool) -> io::Result<(Digest, u64)> {
    let mode = if executable { 0o777 } else { 0o666 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    let mut file = options.open(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    let length = file.metadata()?.len();
    Ok((digest_of_part(&file, 0..length)?, length))
}
