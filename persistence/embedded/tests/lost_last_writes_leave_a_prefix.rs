//! What a disk lost of the last writes is missing from the end, batch by batch, and the store
//! opens. (Batches that were synced are lost only by a disk that lies; the log keeps two
//! checkpoints behind for that.)

mod rows;

use embedded::{Embedded, OpenError};
use persistence::Backend;
use rows::*;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

const BATCHES: u64 = 24;

/// The journal that is being written: the last one.
fn journal(store: &Path) -> PathBuf {
    let files = std::fs::read_dir(store).expect("a directory").map(|file| file.unwrap().path());
    let journals =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max().expect("a journal")
}

#[test]
fn lost_last_writes_leave_a_prefix() {
    let directory = tempfile::tempdir().expect("a directory");
    let original = directory.path().join("original");
    let store = Embedded::open(&original, CACHE_BYTES).expect("opens");
    for n in 1..=BATCHES {
        store.write(&batch(n, n + 1)).expect("written");
    }
    let image = directory.path().join("image");
    copy(&original, &image);
    drop(store);
    let bytes = std::fs::read(journal(&image)).expect("readable");
    let used = bytes.iter().rposition(|&byte| byte != 0).expect("something was written") + 1;
    std::fs::write(journal(&image), &bytes[..used]).expect("without the room ahead");
    let mut heads = Vec::new();
    for cut in (0..24).map(|i| used * i / 23) {
        for zeros in [false, true] {
            let broken = directory.path().join(format!("{cut}-{zeros}"));
            copy(&image, &broken);
            let file = OpenOptions::new().write(true).open(journal(&broken)).expect("writable");
            file.set_len(cut as u64).expect("cut");
            if zeros {
                file.set_len(bytes.len() as u64).expect("grown with zeros");
            }
            drop(file);
            let store = Embedded::open(&broken, CACHE_BYTES).expect("opens");
            let head = conversation(&store).head;
            if head > 0 {
                assert_holds(&store, head);
            }
            store.write(&batch(1, BATCHES + 1)).expect("the log writes its tail again");
            assert_holds(&store, BATCHES);
            heads.push(head);
            drop(store);
            std::fs::remove_dir_all(&broken).expect("removed");
        }
    }
    assert!(heads.is_sorted(), "the longer the journal, the more is there: {heads:?}");
    assert_eq!((heads.first(), heads.last()), (Some(&0), Some(&BATCHES)));
}

/// Which bytes of the newest journal each batch takes, found by writing them one by one.
struct Image {
    directory: tempfile::TempDir,
    /// Length of what is written after each batch.
    ends: Vec<usize>,
}

impl Image {
    fn new() -> Image {
        let directory = tempfile::tempdir().expect("a directory");
        let original = directory.path().join("original");
        let store = Embedded::open(&original, CACHE_BYTES).expect("opens");
        let mut ends = Vec::new();
        for n in 1..=4 {
            store.write(&batch(n * 10 - 9, n * 10 + 1)).expect("written");
            let bytes = std::fs::read(journal(&original)).expect("readable");
            ends.push(bytes.iter().rposition(|&byte| byte != 0).expect("not empty") + 1);
        }
        let image = directory.path().join("image");
        copy(&original, &image);
        let bytes = std::fs::read(journal(&image)).expect("readable");
        let used = &bytes[..*ends.last().expect("four batches")];
        std::fs::write(journal(&image), used).expect("without the room ahead");
        Image { directory, ends }
    }

    /// Zeros in a part of the journal: the head that the store then has, if it opens.
    fn without(&self, from: usize, upto: usize) -> Option<u64> {
        let broken = self.directory.path().join(format!("{from}-{upto}"));
        copy(&self.directory.path().join("image"), &broken);
        let path = journal(&broken);
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes[from..upto].fill(0);
        std::fs::write(&path, &bytes).expect("written");
        let head = match Embedded::open(&broken, CACHE_BYTES) {
            Ok(store) => {
                let head = conversation(&store).head;
                assert_holds(&store, head);
                store.write(&batch(1, 50)).expect("written");
                assert_holds(&store, 49);
                Some(head)
            }
            Err(OpenError::Damaged { .. }) => {
                assert_eq!(std::fs::read(&path).expect("readable"), bytes, "nothing changed");
                None
            }
            Err(error) => panic!("{error}"),
        };
        std::fs::remove_dir_all(&broken).expect("removed");
        head
    }
}

#[test]
fn a_torn_last_batch_is_dropped() {
    let image = Image::new();
    let [.., start, end] = image.ends[..] else { panic!("some batches") };
    for sector in (start..end).step_by(64) {
        let head = image.without(sector, (sector + 64).min(end));
        assert!(matches!(head, Some(30 | 40)), "{head:?} at {sector}");
    }
}

#[test]
fn a_damaged_batch_that_was_synced_is_no_torn_tail() {
    let image = Image::new();
    // In the middle of the second batch, within a body: the form of the journal stays.
    let middle = (image.ends[0] + 150)..image.ends[1] - 20;
    let heads: Vec<_> = middle.step_by(97).map(|at| image.without(at, at + 1)).collect();
    assert!(heads.contains(&None), "the store says so");
}
