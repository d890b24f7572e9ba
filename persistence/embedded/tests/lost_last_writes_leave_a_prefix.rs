//! What a disk lost of the last writes is missing from the end, batch by batch, and the store
//! opens. (Batches that were synced are lost only by a disk that lies; the log keeps two
//! checkpoints behind for that.)

mod rows;

use embedded::Embedded;
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
    let mut heads = Vec::new();
    for cut in (0..48).map(|i| used * i / 47) {
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
