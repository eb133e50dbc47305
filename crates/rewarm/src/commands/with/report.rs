//! What a command's downloads cost and what was reused, in one line.

use std::sync::{Arc, Mutex, PoisonError};

use rewarm_http::Reuse;
use rewarm_proxy::{Served, Watch};

use crate::ui::size;

/// Counts what was served. Cheap to clone; all clones are one tally.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    files: usize,
    reused: usize,
    downloaded: u64,
}

impl Tally {
    /// Counts in passing.
    pub(super) fn watch(&self) -> Watch {
        let tally = self.clone();
        Watch::new(move |served| {
            tally.0.lock().unwrap_or_else(PoisonError::into_inner).add(served);
        })
    }

    /// One line, if anything was asked for.
    pub(super) fn summary(&self) -> Option<String> {
        let counts = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.summary()
    }
}

impl Counts {
    fn add(&mut self, served: &Served) {
        let Some(reuse) = &served.reuse else { return };
        let is_file = matches!(served.status.as_u16(), 200 | 206 | 304);
        self.files += usize::from(is_file);
        match reuse {
            Reuse::Fresh | Reuse::Stale | Reuse::Revalidated => self.reused += usize::from(is_file),
            Reuse::Followed => {}
            Reuse::Resumed { from } => self.downloaded += served.bytes.saturating_sub(*from),
            Reuse::Downloaded | Reuse::NotStored(_) => self.downloaded += served.bytes,
        }
    }

    fn summary(self) -> Option<String> {
        let Self { files, reused, downloaded } = self;
        let noun = if files == 1 { "file" } else { "files" };
        let downloaded = match downloaded {
            0 => "nothing downloaded".to_owned(),
            bytes => format!("{} downloaded", size(bytes)),
        };
        (files > 0)
            .then(|| format!("rewarm: {files} {noun}, {reused} from the cache, {downloaded}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_was_reused_and_what_was_not() {
        let counts = |files, reused, downloaded| Counts { files, reused, downloaded }.summary();
        assert_eq!(counts(0, 0, 0), None);
        let nothing = "rewarm: 1 file, 1 from the cache, nothing downloaded";
        assert_eq!(counts(1, 1, 0).as_deref(), Some(nothing));
        let some = counts(14, 12, 3_100_000).expect("a line");
        assert!(some.starts_with("rewarm: 14 files, 12 from the cache, "), "{some}");
        assert!(some.ends_with(" downloaded"), "{some}");
    }
}
