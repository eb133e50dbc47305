//! Leases: a process names what it uses, and no sweeper removes that while the process lives.
//!
//! A lease is a locked file that lists digests. It is taken under the shared *gate*, and a sweeper
//! removes entries only under the exclusive gate, a few at a time, after reading all leases. So
//! whatever is found present after a lease was taken stays as long as the lease. A holder that
//! dies leaves a file that nobody holds, which the next sweeper removes.
//!
//! A lease that ends while a sweeper is at work leaves its file to that sweeper, which goes on
//! honouring it: the sweeper may not have seen the record that was written under the lease.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::fs::{TempFile, is_absence, is_temp_name};
use crate::handout::remove_if_dead;
use crate::inventory::list;
use crate::layout;
use crate::lock::Lock;
use crate::store::Store;

/// Keeps blobs, trees, records and slots of the named digests in the store until it is dropped.
///
/// Damage is not held off: an entry found damaged is dropped, leased or not.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    file: Option<TempFile>,
}

impl Store {
    /// Takes a lease. Look for the entries *after* that: what is found then, stays.
    ///
    /// Fails where the store cannot be written; what cannot be written is not swept either.
    pub fn lease(&self, digests: impl IntoIterator<Item = Digest>) -> io::Result<Lease> {
        let _gate = Lock::shared(&layout::gate(self.root()), self.modes())?;
        let mut file = TempFile::create(&self.root().join(layout::LEASES), self.modes())?;
        append(&mut file, digests)?;
        Ok(Lease { store: self.clone(), file: Some(file) })
    }

    /// Every digest that a lease names, also one that ended a moment ago.
    pub(crate) fn leased(&self) -> io::Result<HashSet<Digest>> {
        let mut leased = HashSet::new();
        for path in self.lease_files()? {
            match fs::read_to_string(&path) {
                Ok(text) => {
                    leased.extend(text.lines().filter_map(|line| line.parse::<Digest>().ok()));
                }
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(leased)
    }

    /// Removes the leases of dead holders. Only for who holds the sweep lock, before looking at
    /// entries or after removing them.
    pub(crate) fn collect_leases(&self) -> io::Result<()> {
        for path in self.lease_files()? {
            match remove_if_dead(&path) {
                Err(error) if !is_absence(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn lease_files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = list(&self.root().join(layout::LEASES))?;
        let is_lease = |entry: &&DirEntry| entry.file_name().to_str().is_some_and(is_temp_name);
        Ok(entries.iter().filter(is_lease).map(DirEntry::path).collect())
    }
}

impl Lease {
    /// Names more digests. Look for the entries after that.
    pub fn extend(&mut self, digests: impl IntoIterator<Item = Digest>) -> io::Result<()> {
        let _gate = Lock::shared(&layout::gate(self.store.root()), self.store.modes())?;
        append(self.file.as_mut().expect("there until the lease is dropped"), digests)
    }
}

fn append(file: &mut TempFile, digests: impl IntoIterator<Item = Digest>) -> io::Result<()> {
    let text: String = digests.into_iter().map(|digest| format!("{digest}\n")).collect();
    file.file.write_all(text.as_bytes())
}

impl Drop for Lease {
    fn drop(&mut self) {
        let lock = layout::sweep_lock(self.store.root());
        let Some(file) = self.file.take() else { return };
        match Lock::try_shared(&lock, self.store.modes()) {
            // Held while the file is removed: no sweeper starts in between.
            Ok(Some(_idle)) => drop(file),
            Ok(None) | Err(_) => file.abandon(),
        }
    }
}
