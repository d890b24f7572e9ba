//! Batches for tests: message `n` of one conversation, with everything that belongs to it.

#![allow(dead_code, reason = "each test uses its own part")]

use persistence::{Backend, Batch, ConvKey, ConvState, Load, Loaded, MessageRecord, Record};
use persistence::{EntryKind, MemberState, Page, Paged, PlaceAt, Scan, Scanned, UserState};
use std::path::Path;
use wire::{DeviceId, OutboxId, UserId};

pub const CACHE_BYTES: u64 = 4 << 20;

pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

pub fn conv() -> ConvKey {
    ConvKey::new(user(7), user(9)).expect("two users")
}

pub fn body(n: u64) -> Vec<u8> {
    vec![n as u8; 20 + n as usize % 100]
}

/// The records of messages `from` .. `upto`, all of user 7 to user 9, who acks each.
pub fn batch(from: u64, upto: u64) -> Batch {
    let mut batch = Batch::default();
    for n in from..upto {
        let body = body(n);
        let message = MessageRecord {
            conv: conv(),
            conv_seq: n,
            time_us: 1_000 + n,
            sender: user(7),
            outbox: OutboxId(u64::MAX - 3),
            new_outbox_of: (n == 1).then_some(DeviceId(4)),
            n,
            void: None,
            inbox: [n, n],
            marks: [true, true],
            hidden: [false; 2],
            change: None,
            body: &body,
        };
        batch.add(&Record::Message(message), |_| true);
        let (user, conv, device) = (user(9), conv(), DeviceId(2));
        for record in [
            Record::Cursor { user, device, acked: n },
            Record::Read { user, conv, upto: n, inbox_seq: 0 },
            Record::Delivered { user, conv, device, upto: n },
            Record::Receipt { user, conv, read: n, delivered: vec![n], inbox_seq: 0 },
            Record::LastSeen { user, time_us: n },
        ] {
            batch.add(&record, |_| true);
        }
    }
    batch
}

pub fn conversation(store: &impl Backend) -> ConvState {
    match store.load(&Load::Conversation(conv())).expect("readable") {
        Loaded::Conversation(state) => state,
        other => panic!("{other:?}"),
    }
}

pub fn user_state(store: &impl Backend, number: u64) -> Box<UserState> {
    match store.load(&Load::User(user(number))).expect("readable") {
        Loaded::User(state) => state,
        other => panic!("{other:?}"),
    }
}

pub fn member(store: &impl Backend, number: u64) -> Box<MemberState> {
    match store.load(&Load::Member(user(number), conv())).expect("readable") {
        Loaded::Member(state) => state,
        other => panic!("{other:?}"),
    }
}

pub fn scan(store: &impl Backend, after: u64, upto: u64, entries_max: u32) -> Scanned {
    let scan = Scan { user: user(9), after, upto, entries_max, bytes_max: u32::MAX };
    store.scan(&scan).expect("readable")
}

/// The store holds messages 1 ..= `last` with everything that belongs to them, and no more.
pub fn assert_holds(store: &impl Backend, last: u64) {
    let state = conversation(store);
    assert_eq!(state.head, last);
    if last > 0 {
        assert_eq!(state.time_us, 1_000 + last);
        assert_eq!(state.outboxes.len(), 1);
        assert_eq!((state.outboxes[0].next, state.outboxes[0].device), (last + 1, DeviceId(4)));
        assert_eq!(state.outboxes[0].outbox, OutboxId(u64::MAX - 3));
        let devices = user_state(store, 9).devices;
        assert_eq!((devices.len(), devices[0].device, devices[0].acked), (1, DeviceId(2), last));
    }
    assert_eq!((user_state(store, 7).head, user_state(store, 9).head), (last, last));
    assert_eq!((member(store, 7).taken, member(store, 9).taken), (last, last));
    let state = member(store, 9);
    assert_eq!((state.read, state.peer.read, state.last_inbox), (last, last, last));
    assert_eq!(state.delivered.iter().map(|(_, upto)| *upto).sum::<u64>(), last);
    assert_eq!(user_state(store, 9).last_seen_us, last);
    let page = Page::Chats { user: user(9), before: u64::MAX, limit: 9 };
    let chats = if last > 0 { vec![(conv(), last)] } else { vec![] };
    assert_eq!(store.page(&page), Ok(Paged::Chats(chats)), "one row in the index");
    let scanned = scan(store, 0, u64::MAX, u32::MAX);
    assert_eq!(scanned.covered, u64::MAX);
    assert_eq!(scanned.entries.len() as u64, last);
    for (entry, n) in scanned.entries.iter().zip(1..) {
        let at = PlaceAt { conv: conv(), conv_seq: n, time_us: 1_000 + n };
        assert_eq!(
            (entry.inbox_seq, &entry.kind),
            (n, &EntryKind::Peer { at, body: body(n).into() })
        );
    }
}

/// Copies a directory with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a fresh directory");
    for file in std::fs::read_dir(from).expect("a directory") {
        let file = file.expect("readable").path();
        let target = to.join(file.file_name().expect("a name"));
        if file.is_dir() {
            copy(&file, &target);
        } else {
            std::fs::copy(&file, &target).expect("copied");
        }
    }
}
