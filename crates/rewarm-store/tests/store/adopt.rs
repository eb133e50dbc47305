//! Files of other programs taken as blobs, without a trace on them.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use rewarm_store::{CommitError, Digest, LinkKind, digest_of_part};

use crate::support::{leftovers, now, store};

#[test]
fn file_and_part_of_a_file_become_blobs_that_share_no_inode_with_it() {
    let (dir, store) = store();
    let path = dir.path().join("theirs");
    fs::write(&path, "head-body-tail").unwrap();
    let before = fs::metadata(&path).unwrap();
    let file = File::open(&path).unwrap();

    let whole = store.adopt(&file, 0..14, None).unwrap();
    assert_eq!((whole.blob.digest, whole.blob.size), (Digest::of("head-body-tail"), 14));
    let part = store.adopt(&file, 5..9, Some(&Digest::of("body"))).unwrap();
    assert_eq!((part.blob.digest, part.how), (Digest::of("body"), LinkKind::Copy));
    for adopted in [whole, part] {
        assert_ne!(adopted.how, LinkKind::Hardlink);
        let blob = store.blob_path(&adopted.blob.digest).unwrap();
        let here = fs::metadata(&blob).unwrap();
        assert_ne!(here.ino(), before.ino());
        let witness = rewarm_store::Witness::of(&blob).unwrap().unwrap();
        assert!(witness.same_content(&adopted.witness));
        assert!(here.modified().unwrap() < now());
        assert!(store.verify_blob(&adopted.blob.digest).unwrap());
    }
    let after = fs::metadata(&path).unwrap();
    let trace = |m: &fs::Metadata| (m.mode(), m.nlink(), m.mtime_nsec(), m.ctime_nsec(), m.size());
    assert_eq!(trace(&before), trace(&after));
    assert!(leftovers(&store).is_empty());
}

#[test]
fn file_of_another_digest_or_too_short_leaves_nothing() {
    let (dir, store) = store();
    let path = dir.path().join("theirs");
    fs::write(&path, "text").unwrap();
    let file = File::open(&path).unwrap();
    let wrong = store.adopt(&file, 0..4, Some(&Digest::of("other")));
    assert!(matches!(wrong, Err(CommitError::WrongDigest { .. })), "{wrong:?}");
    let short = store.adopt(&file, 2..9, None);
    assert!(
        matches!(&short, Err(CommitError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::UnexpectedEof),
        "{short:?}"
    );
    assert_eq!(digest_of_part(&file, 1..3).unwrap(), Digest::of("ex"));
    assert!(digest_of_part(&file, 1..5).is_err());
    assert!(store.blob_path(&Digest::of("text")).is_none() && leftovers(&store).is_empty());
}
