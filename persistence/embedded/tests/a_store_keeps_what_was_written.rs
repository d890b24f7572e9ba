//! Batches survive a reopening, can be written again, and never move a row back.

mod rows;

use embedded::{Embedded, OpenError};
use persistence::{
    Backend, Batch, Entry, EntryKind, InboxKind, InboxRecord, Load, Loaded, PlaceAt, Record, Scan,
};
use rows::*;
use wire::{BodyHash, OutboxId};

#[test]
fn a_store_keeps_what_was_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
    assert_holds(&store, 0);
    store.write(&batch(1, 30)).expect("written");
    assert_holds(&store, 29);
    drop(store);
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens again");
    assert_holds(&store, 29);
    store.write(&batch(30, 31)).expect("written");
    assert_holds(&store, 30);
}

#[test]
fn an_older_batch_written_again_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
    let batches: Vec<Batch> = (0..6).map(|i| batch(1 + i * 5, 6 + i * 5)).collect();
    for batch in &batches {
        store.write(batch).expect("written");
    }
    for batch in &batches {
        store.write(batch).expect("written again");
        assert_holds(&store, 30);
    }
}

#[test]
fn a_scan_names_what_it_covers() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
    store.write(&batch(1, 21)).expect("written");
    let scanned = scan(&store, 3, 15, 4);
    let numbers: Vec<u64> = scanned.entries.iter().map(|entry| entry.inbox_seq).collect();
    assert_eq!((numbers, scanned.covered), (vec![4, 5, 6, 7], 7));
    let scanned = scan(&store, 11, 15, 4);
    assert_eq!((scanned.entries.len(), scanned.covered), (4, 15));
    let scanned = scan(&store, 15, 15, 4);
    assert_eq!((scanned.entries.len(), scanned.covered), (0, 15));
    let scanned = scan(&store, u64::MAX, u64::MAX, 4);
    assert_eq!((scanned.entries.len(), scanned.covered), (0, u64::MAX));
    let narrow = Scan { user: user(9), after: 0, upto: 20, entries_max: u32::MAX, bytes_max: 1 };
    let scanned = store.scan(&narrow).expect("readable");
    assert_eq!((scanned.entries.len(), scanned.covered), (1, 1), "one entry at least");
    let nobody = Scan { user: user(8), ..narrow };
    let scanned = store.scan(&nobody).expect("readable");
    assert_eq!((scanned.entries.len(), scanned.covered), (0, 20));
}

#[test]
fn own_entries_and_epochs_come_back_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
    let mut batch = Batch::default();
    batch.add(&Record::Epoch { user: user(9), epoch: 5 }, |_| true);
    let at = PlaceAt { conv: conv(), conv_seq: 4, time_us: 8 };
    let (outbox, hash) = (OutboxId(1 << 63), BodyHash(9));
    for (inbox_seq, void) in [(1, false), (2, true)] {
        let PlaceAt { conv, conv_seq, time_us } = at;
        let kind = InboxKind::Own { outbox, n: 3, void, change: None, hash };
        let record = InboxRecord { user: user(9), inbox_seq, conv, conv_seq, time_us, kind };
        batch.add(&Record::Inbox(record), |_| true);
    }
    store.write(&batch).expect("written");
    assert_eq!(user_state(&store, 9).epoch, 5);
    let own = |void| EntryKind::Own { at, outbox, n: 3, void, change: None, hash };
    let entries = [(1, own(false)), (2, own(true))];
    assert_eq!(
        scan(&store, 0, 9, 9).entries,
        entries.map(|(inbox_seq, kind)| Entry { inbox_seq, kind })
    );
    let load = Load::Conversation(conv());
    assert_eq!(store.load(&load).expect("readable"), Loaded::empty(&load));
}

#[test]
fn a_store_opens_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
    let second = Embedded::open(directory.path(), CACHE_BYTES).map(|_| ());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(store);
    Embedded::open(directory.path(), CACHE_BYTES).expect("is free again");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, b"not a directory").expect("written");
    let error = Embedded::open(&file.join("store"), CACHE_BYTES).map(|_| ()).expect_err("refused");
    assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("file/store"), "{error}");
}
