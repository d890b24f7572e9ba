//! What the reads of a messenger say: changes, hidden places, unread, contacts, pages, trims.

mod history;

use embedded::Embedded;
use history::{Readable, Reads, conv, user};
use persistence::{
    Backend, Batch, CommandRecord, ContactState, ConvKey, EntryKind, Load, Loaded, MemberState,
    MessageRecord, Page, Paged, PeerMarks, Record, Removed, Scan, StoredMessage, UserState,
};
use wire::{Change, Command, Conv, ConvSettings, DeviceId, OutboxId, Seq, UserId, content_hash};

const EDIT_OF_1: Option<Change> = Some(Change { target: 1, delete: false });
const DELETE_OF_1: Option<Change> = Some(Change { target: 1, delete: true });

struct Store {
    _directory: tempfile::TempDir,
    store: Readable<Embedded>,
}

fn open() -> Store {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::open(directory.path(), 1 << 20).expect("opens");
    Store { _directory: directory, store: Readable(store) }
}

/// A message of user 7, at a place that is also its number and both its inbox numbers.
fn message(seq: Seq, change: Option<Change>, body: &'static [u8]) -> MessageRecord<'static> {
    MessageRecord {
        conv: conv(),
        conv_seq: seq,
        time_us: 100 + seq,
        sender: user(7),
        outbox: OutboxId(3),
        new_outbox_of: (seq == 1).then_some(DeviceId(1)),
        n: seq,
        void: None,
        inbox: [seq, seq],
        marks: [true, true],
        hidden: [false, false],
        change,
        body,
    }
}

impl Store {
    fn write(&self, records: &[Record<'_>]) {
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.add(record, |_| true));
        self.store.0.write(&batch).expect("written");
    }

    fn messages(&self) -> Vec<StoredMessage> {
        let (limit, bytes_max) = (100, u32::MAX);
        let page = Page::Messages { conv: conv(), from: 1, newer: true, limit, bytes_max };
        match Reads::page(&self.store, &page) {
            Paged::Messages(messages) => messages,
            other => panic!("{other:?}"),
        }
    }

    fn entries(&self, number: u64) -> Vec<EntryKind> {
        let user = user(number);
        let scan = Scan { user, after: 0, upto: u64::MAX, entries_max: 99, bytes_max: u32::MAX };
        Reads::scan(&self.store, &scan).entries.into_iter().map(|entry| entry.kind).collect()
    }

    fn member(&self, number: u64) -> MemberState {
        match Reads::load(&self.store, &Load::Member(user(number), conv())) {
            Loaded::Member(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    fn user(&self, number: u64) -> UserState {
        match Reads::load(&self.store, &Load::User(user(number))) {
            Loaded::User(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    fn contacts(&self, after: u64, limit: u32) -> Vec<(UserId, ContactState)> {
        match Reads::page(&self.store, &Page::Contacts { user: user(9), after, limit }) {
            Paged::Contacts(contacts) => contacts,
            other => panic!("{other:?}"),
        }
    }

    fn chats(&self, before: Seq, limit: u32) -> Vec<(ConvKey, Seq)> {
        match Reads::page(&self.store, &Page::Chats { user: user(9), before, limit }) {
            Paged::Chats(chats) => chats,
            other => panic!("{other:?}"),
        }
    }

    /// User 9 gives a command; its number is that of its inbox entry.
    fn command(&self, n: Seq, code: u64, command: Command<'_>) {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        self.write(&[Record::Command(CommandRecord {
            user: user(9),
            outbox: OutboxId(8),
            new_outbox_of: (n == 1).then_some(DeviceId(2)),
            n,
            code,
            time_us: n,
            inbox_seq: n,
            command: &bytes,
        })]);
    }
}

#[test]
fn an_edit_replaces_the_text_and_a_delete_takes_it() {
    let store = open();
    store.write(&[
        Record::Message(message(1, None, b"first")),
        Record::Message(message(2, EDIT_OF_1, b"second")),
        Record::Message(message(3, EDIT_OF_1, b"third")),
    ]);
    let [one, two, three] = &store.messages()[..] else { panic!("three places") };
    assert_eq!((&one.body[..], one.edited_by, one.deleted), (&b"third"[..], 3, false));
    assert_eq!(one.hash, content_hash(b"first", None), "of what was sent");
    assert_eq!(one.origin, Some((OutboxId(3), 1)));
    assert_eq!((two.change, &two.body[..]), (EDIT_OF_1, &b""[..]), "a later edit replaced it");
    assert_eq!(two.hash, content_hash(b"second", EDIT_OF_1));
    assert_eq!((three.change, &three.body[..]), (EDIT_OF_1, &b"third"[..]));

    store.write(&[Record::Message(message(4, DELETE_OF_1, b""))]);
    store.write(&[Record::Message(message(5, EDIT_OF_1, b"too late"))]);
    let messages = store.messages();
    let (one, bodies) = (&messages[0], messages.iter().map(|message| message.body.len()));
    assert_eq!((one.deleted, one.hash), (true, content_hash(b"first", None)));
    assert_eq!(bodies.sum::<usize>(), 0, "no text is left");
    for entry in store.entries(9) {
        match entry {
            EntryKind::Peer { at, body } => assert_eq!((at.conv_seq, body.len()), (1, 0)),
            EntryKind::PeerChange { change, body, .. } => {
                assert_eq!((Some(change), body.len()), (DELETE_OF_1, 0), "it reads as a delete");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_body_that_comes_after_its_delete_is_not_stored() {
    let store = open();
    store.write(&[Record::Message(message(2, DELETE_OF_1, b""))]);
    store.write(&[Record::Message(message(1, None, b"first"))]);
    let messages = store.messages();
    assert!(messages[0].deleted && messages[0].body.is_empty());
    let EntryKind::Peer { body, .. } = &store.entries(9)[0] else { panic!("a message") };
    assert!(body.is_empty(), "the stored body is empty, not only what history shows");
}

#[test]
fn unread_is_what_is_above_the_mark_and_neither_own_nor_hidden() {
    let store = open();
    let of_9 = |seq| MessageRecord { sender: user(9), ..message(seq, None, b"mine") };
    let void = MessageRecord {
        void: Some(content_hash(b"gone", None)),
        inbox: [4, 0],
        ..message(4, None, b"")
    };
    let hidden = MessageRecord { inbox: [5, 0], hidden: [false, true], ..message(5, None, b"x") };
    store.write(&[
        Record::Message(message(1, None, b"read")),
        Record::Message(message(2, None, b"unread")),
        Record::Message(of_9(3)),
        Record::Message(void),
        Record::Message(hidden),
        Record::Message(message(6, EDIT_OF_1, b"edit")),
        Record::Message(message(7, None, b"unread")),
        Record::Read { user: user(9), conv: conv(), upto: 1, inbox_seq: 8 },
    ]);
    let state = store.member(9);
    assert_eq!((state.taken, state.read), (7, 1));
    assert_eq!((state.own_above_read, state.hidden), (vec![3, 4, 6], vec![(5, 5)]));
    // 7 - 1 places, of which three are own or changes, and one is hidden: 2 and 7.
    assert_eq!(store.member(7).own_above_read, [1, 2, 4, 5, 6, 7]);
    store.write(&[Record::Read { user: user(9), conv: conv(), upto: 7, inbox_seq: 9 }]);
    assert_eq!(store.member(9).own_above_read, [] as [Seq; 0]);
}

#[test]
fn hidden_places_become_ranges() {
    let store = open();
    let of = Conv::Direct(7);
    for (n, (first, last)) in (1..).zip([(5, 5), (9, 12), (6, 6), (20, 20), (7, 8), (11, 14)]) {
        store.command(n, 0, Command::DeleteForMe { conv: of, first, last });
    }
    assert_eq!(store.member(9).hidden, [(5, 14), (20, 20)]);
    store.command(7, 0, Command::DeleteForMe { conv: of, first: 1, last: 30 });
    store.command(8, 12, Command::DeleteForMe { conv: of, first: 40, last: 50 });
    assert_eq!(store.member(9).hidden, [(1, 30)], "what was not applied hides nothing");
}

#[test]
fn the_later_command_wins_whenever_it_is_written() {
    let store = open();
    let settings = |muted_until_ms| Command::Settings {
        conv: Conv::Direct(7),
        settings: ConvSettings { muted_until_ms, pinned: true, archived: false },
    };
    store.command(3, 0, settings(3));
    store.command(2, 0, settings(2));
    store.command(5, 0, Command::Unblock { peer: user(7) });
    store.command(4, 0, Command::Block { peer: user(7) });
    store.command(6, 0, Command::ContactAdd { peer: user(7), name: "seven" });
    let state = store.member(9);
    assert_eq!(state.settings.muted_until_ms, 3);
    let name = "seven".to_owned();
    assert_eq!(
        (state.contact.contact, state.contact.blocked, state.contact.name),
        (true, false, name)
    );
    store.command(7, 0, Command::ContactRemove { peer: user(7) });
    let nobody = ContactState { contact_by: 7, blocked_by: 5, ..ContactState::default() };
    assert_eq!(store.member(9).contact, nobody);
    store.command(9, 0, Command::Revoke { device: DeviceId(4) });
    store.write(&[Record::Device {
        user: user(9),
        device: DeviceId(4),
        revoked: false,
        attached_us: 50,
        name: "tablet",
        platform: "linux",
        acked: 3,
    }]);
    let devices = store.user(9).devices;
    assert_eq!((devices.len(), devices[0].acked), (1, 3));
    assert!(devices[0].info.revoked && devices[0].info.name == "tablet", "revoked is for ever");
    let outboxes = store.user(9).outboxes;
    assert_eq!((outboxes.len(), outboxes[0].next), (1, 10));
}

#[test]
fn contacts_and_chats_come_in_pages() {
    let store = open();
    for (n, peer) in (1..).zip([2, 5, 7, 300]) {
        store.command(n, 0, Command::ContactAdd { peer: user(peer), name: "x" });
    }
    store.command(5, 0, Command::ContactRemove { peer: user(5) });
    store.command(6, 0, Command::Block { peer: user(4) });
    let numbers = |after, limit| -> Vec<u64> {
        store.contacts(after, limit).iter().map(|(peer, _)| peer.get()).collect()
    };
    assert_eq!(numbers(0, 99), [2, 4, 7, 300]);
    assert_eq!(numbers(0, 2), [2, 4]);
    assert_eq!(numbers(4, 2), [7, 300]);
    assert_eq!(numbers(300, 2), [] as [u64; 0]);

    let other = ConvKey::new(user(9), user(2)).expect("two");
    let from_2 = |seq, inbox_seq| MessageRecord {
        conv: other,
        sender: user(2),
        inbox: [0, inbox_seq],
        ..message(seq, None, b"hi")
    };
    store.write(&[Record::Message(message(10, None, b"hi"))]);
    store.write(&[Record::Message(from_2(1, 11))]);
    assert_eq!(store.chats(u64::MAX, 9), [(other, 11), (conv(), 10)]);
    store.write(&[Record::Message(message(12, None, b"hi"))]);
    store.write(&[Record::Message(message(10, None, b"hi"))]);
    assert_eq!(store.chats(u64::MAX, 9), [(conv(), 12), (other, 11)], "each once, newest first");
    assert_eq!(store.chats(u64::MAX, 1), [(conv(), 12)]);
    assert_eq!(store.chats(12, 9), [(other, 11)]);
    assert_eq!(store.member(9).last_inbox, 12);
}

#[test]
fn trimmed_entries_do_not_come_back() {
    let store = open();
    let some: Vec<_> = (1..=20).map(|seq| Record::Message(message(seq, None, b"hi"))).collect();
    store.write(&some);
    store.write(&[Record::Trim { user: user(9), upto: 15 }]);
    store.write(&some);
    store.write(&[Record::Trim { user: user(9), upto: 12 }]);
    assert_eq!((store.entries(9).len(), store.entries(7).len()), (5, 20));
    assert_eq!((store.user(9).trimmed, store.user(9).head), (15, 20));
}

#[test]
fn receipts_and_delivered_marks_only_grow() {
    let store = open();
    let receipt = |read, delivered: &[Seq], inbox_seq| Record::Receipt {
        user: user(7),
        conv: conv(),
        read,
        delivered: delivered.to_vec(),
        inbox_seq,
    };
    store.write(&[receipt(4, &[9, 2], 2)]);
    store.write(&[receipt(3, &[7, 5, 1], 1)]);
    assert_eq!(store.member(7).peer, PeerMarks { read: 4, delivered: vec![9, 5, 1] });
    let EntryKind::Receipt { read, delivered, .. } = &store.entries(7)[0] else {
        panic!("a receipt")
    };
    assert_eq!((*read, &delivered[..]), (3, &[7, 5, 1][..]), "an entry says what it said");
    for upto in [5, 3] {
        let (user, device) = (user(9), DeviceId(1));
        store.write(&[Record::Delivered { user, conv: conv(), device, upto }]);
    }
    assert_eq!(store.member(9).delivered, [(DeviceId(1), 5)]);
}

#[test]
fn a_deleted_user_leaves_places_and_numbers() {
    let store = open();
    let of_9 = |seq| MessageRecord { sender: user(9), ..message(seq, None, b"of nine") };
    store.write(&[
        Record::Message(message(1, None, b"of seven")),
        Record::Message(of_9(2)),
        Record::Message(MessageRecord {
            sender: user(9),
            ..message(3, Some(Change { target: 2, delete: false }), b"edited")
        }),
        Record::Cursor { user: user(9), device: DeviceId(1), acked: 2 },
    ]);
    store.command(4, 0, Command::ContactAdd { peer: user(7), name: "seven" });
    let expected = Removed { devices: 1, contacts: 1, entries: 4, conversations: 1, messages: 1 };
    assert_eq!(store.store.0.delete_user(user(9)), Ok(expected));
    assert_eq!(store.store.0.delete_user(user(9)), Ok(Removed::default()), "done already");
    let bodies: Vec<_> = store.messages().into_iter().map(|m| (m.deleted, m.body)).collect();
    let bodies: Vec<_> = bodies.iter().map(|(deleted, body)| (*deleted, &body[..])).collect();
    assert_eq!(bodies, [(false, &b"of seven"[..]), (true, b""), (false, b"")]);
    assert_eq!((store.entries(9).len(), store.entries(7).len()), (0, 3));
    let state = store.user(9);
    assert_eq!((state.head, state.trimmed, state.epoch), (4, 4, 2));
    assert!(state.devices.is_empty() && store.contacts(0, 9).is_empty());
    assert!(store.chats(u64::MAX, 9).is_empty());
    let member = store.member(9);
    assert_eq!((member.taken, member.hidden), (3, vec![(1, 3)]), "whoever comes sees none of it");
    assert_eq!(store.member(7).taken, 3);
}

#[test]
fn a_deleted_user_leaves_nothing_of_long_messages() {
    const LONG: &[u8] = &[b'x'; 5_000];
    let store = open();
    // Two blocks of places; short and long ones of both users in each.
    for seq in 1..=24 {
        let body = if seq % 3 == 0 { LONG } else { b"short" };
        let sender = user(if seq % 2 == 0 { 9 } else { 7 });
        store.write(&[Record::Message(MessageRecord { sender, ..message(seq, None, body) })]);
    }
    assert_eq!(store.store.0.delete_user(user(9)).map(|removed| removed.messages), Ok(12));
    for message in store.messages() {
        let (of_9, long) = (message.conv_seq % 2 == 0, message.conv_seq % 3 == 0);
        let length = [LONG.len(), 5, 0][if of_9 { 2 } else { usize::from(!long) }];
        assert_eq!((message.deleted, message.body.len()), (of_9, length), "{}", message.conv_seq);
    }
    assert_eq!(store.messages().len(), 24);
}
