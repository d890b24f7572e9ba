//! The contract against a real Cassandra: what is written is there, whatever the order and however
//! often, and each thing that can be wrong says so in one line with its cure.

#[path = "../../../embedded/tests/history/mod.rs"]
mod history;
mod node;
#[path = "../../../embedded/tests/rows/mod.rs"]
mod rows;

mod copy;
mod errors;
mod faults;
mod takeover;

use history::{History, Random, Readable, batches, dump};
use persistence::{Backend, Batch, MemoryStore, Record};
use persistence::{MessageRecord, Page, Paged};
use rows::{assert_holds, batch, conv, scan, user};
use wire::{DeviceId, OutboxId};

#[test]
fn a_store_keeps_what_was_written() {
    let (config, store) = node::shared().store();
    assert_holds(&store, 0);
    store.write(&batch(1, 30)).expect("written");
    assert_holds(&store, 29);
    drop(store);
    let store = ringmail_scylla::Scylla::open(&config, "test").expect("opens again");
    assert_holds(&store, 29);
    store.write(&batch(30, 31)).expect("written");
    assert_holds(&store, 30);
}

#[test]
fn an_older_batch_written_again_changes_nothing() {
    let (_, store) = node::shared().store();
    let batches: Vec<Batch> = (0..6).map(|i| batch(1 + i * 5, 6 + i * 5)).collect();
    for batch in batches.iter().chain(&batches) {
        store.write(batch).expect("written");
    }
    for batch in &batches {
        store.write(batch).expect("written again");
        assert_holds(&store, 30);
    }
}

#[test]
fn a_scan_names_what_it_covers() {
    let (_, store) = node::shared().store();
    store.write(&batch(1, 21)).expect("written");
    let scanned = scan(&store, 3, 15, 4);
    let numbers: Vec<u64> = scanned.entries.iter().map(|entry| entry.inbox_seq).collect();
    assert_eq!((numbers, scanned.covered), (vec![4, 5, 6, 7], 7));
    let scanned = scan(&store, 11, 15, 4);
    assert_eq!((scanned.entries.len(), scanned.covered), (4, 15));
    let scanned = scan(&store, u64::MAX, u64::MAX, 4);
    assert_eq!((scanned.entries.len(), scanned.covered), (0, u64::MAX));
}

#[test]
fn records_in_any_order_give_the_rows_of_the_contracts_model() {
    for seed in [0x5eed, 987_654_321] {
        let random = &mut Random(seed);
        let records = History::new(seed, 150).records;
        let in_order = batches(&records, random);
        let mut model = MemoryStore::default();
        in_order.iter().for_each(|batch| model.write(batch, || true));
        let mut mixed = [batches(&records, random), batches(&records, random)].concat();
        for index in (1..mixed.len()).rev() {
            mixed.swap(index, random.below(index as u64 + 1) as usize);
        }
        for batches in [in_order, mixed] {
            let (_, store) = node::shared().store();
            batches.iter().for_each(|batch| store.write(batch).expect("written"));
            for (said, expected) in dump(&Readable(store)).iter().zip(dump(&model)) {
                assert_eq!(*said, expected, "seed {seed}");
            }
        }
    }
}

/// Messages on both sides of the edges of partitions.
#[test]
fn pages_and_scans_cross_partitions() {
    let (_, store) = node::shared().store();
    let last = 1_030;
    let mut all = Batch::default();
    for n in 1..=last {
        let message = MessageRecord {
            conv: conv(),
            conv_seq: n,
            time_us: n,
            sender: user(7),
            outbox: OutboxId(1),
            new_outbox_of: (n == 1).then_some(DeviceId(4)),
            n,
            void: None,
            inbox: [n, 4_000 + n],
            marks: [true, true],
            hidden: [false; 2],
            change: None,
            body: b"body",
        };
        all.add(&Record::Message(message), |_| true);
    }
    store.write(&all).expect("written");
    let (limit, bytes_max) = (600, u32::MAX);
    for (from, newer, first, end) in [(400, true, 400, 999), (900, false, 900, 301)] {
        let page = Page::Messages { conv: conv(), from, newer, limit, bytes_max };
        let Ok(Paged::Messages(found)) = store.page(&page) else { panic!("no page") };
        let places = (found[0].conv_seq, found[599].conv_seq, found.len());
        assert_eq!(places, (first, end, 600), "newer: {newer}");
    }
    // Of user 9, whose inbox crosses a partition at 4,096.
    let scanned = scan(&store, 0, u64::MAX, u32::MAX);
    let numbers: Vec<u64> = scanned.entries.iter().map(|entry| entry.inbox_seq).collect();
    assert_eq!(numbers, (4_001..=4_000 + last).collect::<Vec<_>>());
    store.write(&trim(4_100)).expect("written");
    store.write(&all).expect("written again");
    assert_eq!(
        scan(&store, 0, u64::MAX, 1).entries[0].inbox_seq,
        4_101,
        "what is trimmed stays so"
    );
}

/// As the embedded store does it, which has its own tests.
#[test]
fn a_deleted_user_leaves_what_the_embedded_store_leaves() {
    let records = History::new(77, 150).records;
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = embedded::Embedded::open(directory.path(), 1 << 20).expect("opens");
    let (_, store) = node::shared().store();
    for batch in batches(&records, &mut Random(3)) {
        embedded.write(&batch).expect("written");
        store.write(&batch).expect("written");
    }
    let expected = embedded.delete_user(user(9)).expect("deleted");
    assert!(expected.messages > 0 && expected.devices > 0 && expected.entries > 0);
    assert_eq!(store.delete_user(user(9)).expect("deleted"), expected);
    let (store, embedded) = (Readable(store), Readable(embedded));
    for (said, expected) in dump(&store).iter().zip(dump(&embedded)) {
        assert_eq!(*said, expected);
    }
    // Whoever gets the number next starts above what was.
    store.0.write(&batch(1_000, 1_001)).expect("written");
    embedded.0.write(&batch(1_000, 1_001)).expect("written");
    for (said, expected) in dump(&store).iter().zip(dump(&embedded)) {
        assert_eq!(*said, expected);
    }
}

fn trim(upto: u64) -> Batch {
    let mut batch = Batch::default();
    batch.add(&Record::Trim { user: user(9), upto }, |_| true);
    batch
}
