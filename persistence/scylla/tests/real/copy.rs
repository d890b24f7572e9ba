//! A copy of the embedded store: equal to it, also when it was cut and went on.

use crate::history::{History, Random, batches, conv};
use crate::node;
use crate::rows::{self, user};
use embedded::{Embedded, ExportPlace};
use persistence::{Backend, Batch, DeviceId, MessageRecord, OutboxId, Record};
use ringmail_scylla::{Holder, Scylla, Tally};
use std::path::Path;

const CACHE_BYTES: u64 = 16 << 20;
/// Messages of the long copy: several of the export's batches.
const MESSAGES: u64 = 20_000;

fn tally(store: &Embedded) -> Tally {
    let (mut tally, mut export) = (Tally::default(), store.export(ExportPlace::default()));
    while let Some(batch) = export.next_batch().expect("readable") {
        tally.add_batch(&batch);
    }
    tally
}

fn copy(store: &Embedded, from: ExportPlace, to: &Scylla) {
    let mut export = store.export(from);
    while let Some(batch) = export.next_batch().expect("readable") {
        to.put(&batch).expect("written");
    }
}

fn assert_equal(store: &Embedded, copy: &Scylla) {
    let (own, copied) = (tally(store), copy.tally(|_, _| ()).expect("readable"));
    assert_eq!(own.differences(&copied), [], "{own}\n{copied}");
}

/// Messages of 40 pairs, some of whose entries are trimmed.
fn filled(path: &Path, messages: u64) -> Embedded {
    let store = Embedded::open(path, CACHE_BYTES).expect("opens");
    let body = [7; 64];
    for first in (1..=messages).step_by(500) {
        let mut batch = Batch::default();
        for n in first..(first + 500).min(messages + 1) {
            let (pair, place) = (n % 40, 1 + n / 40);
            let (low, high) = (user(1 + 2 * pair), user(2 + 2 * pair));
            let message = MessageRecord {
                conv: persistence::ConvKey::new(low, high).expect("two"),
                conv_seq: place,
                time_us: 1_000 + n,
                sender: low,
                outbox: OutboxId(n % 40),
                new_outbox_of: (place == 1).then_some(DeviceId(4)),
                n: place,
                void: None,
                inbox: [place, place],
                marks: [true, true],
                hidden: [false; 2],
                change: None,
                body: &body,
            };
            batch.add(&Record::Message(message), |_| true);
            if n % 1_000 == 0 {
                batch.add(&Record::Trim { user: high, upto: place / 2 }, |_| true);
            }
        }
        store.write(&batch).expect("written");
    }
    store
}

#[test]
fn a_copy_has_every_kind_of_row_as_it_is() {
    for seed in [5, 77, 4_711] {
        let directory = tempfile::tempdir().expect("a directory");
        let source = Embedded::open(directory.path(), CACHE_BYTES).expect("opens");
        for batch in batches(&History::new(seed, 300).records, &mut Random(seed)) {
            source.write(&batch).expect("written");
        }
        let (config, target) = node::shared().store();
        copy(&source, ExportPlace::default(), &target);
        assert_equal(&source, &target);
        assert!(tally(&source).rows() > 300, "{}", tally(&source));
        let own = |copied: Holder| copied.owner.as_deref() == Some("test") && !copied.empty;
        assert!(own(Scylla::holder(&config).expect("answers")));
        // What comes on top differs, whatever it is.
        let (last, mark) = (1 << 40, Record::LastSeen { user: user(7), time_us: 1 << 50 });
        let read = Record::Read { user: user(9), conv: conv(), upto: last, inbox_seq: 0 };
        for record in [mark, read] {
            let mut more = Batch::default();
            more.add(&record, |_| true);
            target.put(&more).expect("written");
        }
        let differ = tally(&source).differences(&target.tally(|_, _| ()).expect("readable"));
        let kinds: Vec<&str> = differ.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, ["last_seen", "reads"], "{differ:?}");
    }
}

#[test]
fn a_copy_that_was_cut_goes_on_and_is_equal() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = filled(directory.path(), MESSAGES);
    let (config, target) = node::shared().store();
    let mut export = source.export(ExportPlace::default());
    let (mut places, mut cuts) = (vec![ExportPlace::default()], 0);
    while let Some(batch) = export.next_batch().expect("readable") {
        // Written, and lost before it was noted: it is written again from the place before.
        target.put(&batch).expect("written");
        places.push(export.place().clone());
        if places.len() % 4 == 0 {
            cuts += 1;
            let before = places[places.len() - 2].clone();
            export = source.export(before);
        }
    }
    assert!(cuts >= 3, "{cuts} cuts");
    assert_equal(&source, &target);
    assert!(tally(&source).count("messages") == MESSAGES, "{}", tally(&source));
    drop(target);
    let target = Scylla::open(&config, "test").expect("opens again");
    assert_equal(&source, &target);
}

#[test]
fn a_fresh_keyspace_is_empty_and_nobodys() {
    let config = node::shared().config();
    Scylla::migrate(&config).expect("migrated");
    let holder = Scylla::holder(&config).expect("answers");
    assert_eq!(holder, Holder { owner: None, empty: true });
    let store = Scylla::open(&config, "somebody").expect("opens");
    store.put(&rows::batch(1, 2)).expect("written");
    let holder = Scylla::holder(&config).expect("answers");
    assert_eq!(holder, Holder { owner: Some("somebody".to_owned()), empty: false });
}
