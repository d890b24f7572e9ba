//! Records for the tests of the format: any, one of every kind, and what each holds as numbers.

use crate::{CommandRecord, ConvKey, InboxKind, InboxRecord, MessageRecord, Record};
use proptest::prelude::*;
use std::collections::BTreeMap;
use wire::{BodyHash, Change, DeviceId, OutboxId, Seq, UserId};

pub const FLOOR_US: u64 = 1_700_000_000_000_000;
pub static BODY: [u8; 300] = [0x5a; 300];
static NAME: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
/// BLOCK of user 2.
const BLOCK: [u8; 2] = [5, 2];

/// Fields by name; of texts and bodies the length, of marks a digest.
pub type Listed = BTreeMap<&'static str, u64>;

pub fn digest(marks: impl Iterator<Item = Seq>) -> u64 {
    marks.fold(7, |digest, mark| digest.wrapping_mul(1_000_003).wrapping_add(mark))
}

pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

/// What `RECORD_OVERHEAD_MAX` does not count, in bytes, where every number is at its longest.
pub fn long_part_max(record: &Record<'_>) -> usize {
    match record {
        Record::Message(message) => message.body.len(),
        Record::Inbox(InboxRecord { kind: InboxKind::Peer { body }, .. })
        | Record::Inbox(InboxRecord { kind: InboxKind::PeerChange { body, .. }, .. }) => body.len(),
        Record::Receipt { delivered, .. } => delivered.len() * 10,
        Record::Device { name, platform, .. } => name.len() + platform.len(),
        Record::Command(command) => command.command.len(),
        _ => 0,
    }
}

/// Which section of FORMAT.md describes a record, and its fields' values as numbers.
pub fn listing(record: &Record<'_>) -> (&'static str, Listed) {
    match *record {
        Record::Message(ref message) => ("MESSAGE", list_message(message)),
        Record::Inbox(ref inbox) => list_inbox(inbox),
        Record::Cursor { user, device, acked } => (
            "CURSOR",
            BTreeMap::from([("user", user.get()), ("device", device.0.into()), ("acked", acked)]),
        ),
        Record::Epoch { user, epoch } => {
            ("EPOCH", BTreeMap::from([("user", user.get()), ("epoch", epoch)]))
        }
        Record::Checkpoint { flushed, confirmed } => {
            ("CHECKPOINT", BTreeMap::from([("flushed", flushed), ("confirmed", confirmed)]))
        }
        Record::Read { conv, upto, inbox_seq, .. } => {
            ("READ", with_conv(conv, [("upto", upto), ("inbox_seq", inbox_seq)]))
        }
        Record::Delivered { conv, device, upto, .. } => {
            ("DELIVERED", with_conv(conv, [("device", device.0.into()), ("upto", upto)]))
        }
        Record::Receipt { conv, read, ref delivered, inbox_seq, .. } => {
            let delivered = digest(delivered.iter().copied());
            let fields = [("read", read), ("inbox_seq", inbox_seq), ("delivered", delivered)];
            ("RECEIPT", with_conv(conv, fields))
        }
        Record::Command(ref command) => ("COMMAND", list_command(command)),
        Record::Device { user, device, attached_us, name, platform, acked, .. } => (
            "DEVICE",
            BTreeMap::from([
                ("user", user.get()),
                ("device", device.0.into()),
                ("acked", acked),
                ("attached", attached_us),
                ("name", name.len() as u64),
                ("platform", platform.len() as u64),
            ]),
        ),
        Record::LastSeen { user, time_us } => {
            ("LAST_SEEN", BTreeMap::from([("user", user.get()), ("time", time_us)]))
        }
        Record::Trim { user, upto } => {
            ("TRIM", BTreeMap::from([("user", user.get()), ("upto", upto)]))
        }
    }
}

fn with_conv<const N: usize>(conv: ConvKey, fields: [(&'static str, u64); N]) -> Listed {
    let [low, high] = conv.participants();
    let mut listed = Listed::from(fields);
    listed.extend([("low", low.get()), ("high", high.get())]);
    listed
}

fn list_message(m: &MessageRecord<'_>) -> Listed {
    let fields = [
        ("time", m.time_us),
        ("conv_seq", m.conv_seq),
        ("outbox", m.outbox.0),
        ("n", m.n),
        ("body", m.body.len() as u64),
    ];
    let mut listed = with_conv(m.conv, fields);
    listed.extend(m.change.map(|change| ("target", change.target)));
    listed.extend((m.inbox[0] != 0).then_some(("inbox_low", m.inbox[0])));
    listed.extend((m.inbox[1] != 0).then_some(("inbox_high", m.inbox[1])));
    listed.extend(m.new_outbox_of.map(|device| ("device", device.0.into())));
    listed.extend(m.void.map(|hash| ("hash", hash.0)));
    listed
}

fn list_inbox(i: &InboxRecord<'_>) -> (&'static str, Listed) {
    let mut fields = with_conv(i.conv, [("time", i.time_us), ("conv_seq", i.conv_seq)]);
    let section = match i.kind {
        InboxKind::Peer { body } => {
            fields.insert("body", body.len() as u64);
            "INBOX_PEER"
        }
        InboxKind::PeerChange { change, body } => {
            fields.extend([("target", change.target), ("body", body.len() as u64)]);
            "INBOX_PEER_EDIT"
        }
        InboxKind::Own { outbox, n, hash, change, .. } => {
            fields.extend([("outbox", outbox.0), ("n", n), ("hash", hash.0)]);
            fields.extend(change.map(|change| ("target", change.target)));
            if change.is_some() { "INBOX_OWN_EDIT" } else { "INBOX_OWN" }
        }
        InboxKind::Nothing | InboxKind::Hidden => return ("INBOX_NOTHING", fields),
    };
    fields.insert("inbox_seq", i.inbox_seq);
    (section, fields)
}

fn list_command(c: &CommandRecord<'_>) -> Listed {
    let mut fields = BTreeMap::from([
        ("user", c.user.get()),
        ("time", c.time_us),
        ("outbox", c.outbox.0),
        ("n", c.n),
        ("code", c.code),
        ("inbox_seq", c.inbox_seq),
        ("command", c.command.len() as u64),
    ]);
    fields.extend(c.new_outbox_of.map(|device| ("device", device.0.into())));
    fields
}

/// A number of any length.
pub fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift)
}

fn conv() -> impl Strategy<Value = ConvKey> {
    (number(), number())
        .prop_filter_map("two users", |(a, b)| ConvKey::new(UserId::new(a)?, UserId::new(b)?))
}

fn body() -> impl Strategy<Value = &'static [u8]> {
    (0..=BODY.len()).prop_map(|len| &BODY[..len])
}

/// A change by the message at a place; `None` where there is none to change.
fn change(conv_seq: Seq, target: u64, delete: bool) -> Option<Change> {
    (conv_seq > 1).then(|| Change { target: 1 + target % (conv_seq - 1), delete })
}

fn message() -> impl Strategy<Value = Record<'static>> {
    let place = (conv(), number(), number(), any::<bool>(), number(), number());
    let parts = (
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u64>()),
        prop::option::of((number(), any::<bool>())),
        [number(), number()],
        any::<[bool; 2]>(),
        any::<[bool; 2]>(),
        body(),
    );
    (place, parts).prop_map(|((conv, conv_seq, time_us, high, outbox, n), parts)| {
        let (device, void, changed, inbox, marks, hidden, body) = parts;
        let change = changed.and_then(|(target, delete)| change(conv_seq, target, delete));
        let change = change.filter(|_| void.is_none());
        let empty = void.is_some() || change.is_some_and(|change| change.delete);
        Record::Message(MessageRecord {
            conv,
            conv_seq,
            time_us,
            sender: conv.participants()[usize::from(high)],
            outbox: OutboxId(outbox),
            new_outbox_of: device.map(DeviceId),
            n,
            void: void.map(BodyHash),
            inbox: [0, 1].map(|side| if hidden[side] { 0 } else { inbox[side] }),
            marks,
            hidden,
            change,
            body: if empty { &[] } else { body },
        })
    })
}

fn inbox() -> impl Strategy<Value = Record<'static>> {
    let place = (conv(), any::<bool>(), number(), number(), number());
    let own = (number(), number(), any::<u64>());
    (place, own, number(), body(), 0..9).prop_map(|(place, own, target, body, kind)| {
        let (conv, high, inbox_seq, conv_seq, time_us) = place;
        let (outbox, n, hash) = (OutboxId(own.0), own.1, BodyHash(own.2));
        let own = |void, change| InboxKind::Own { outbox, n, void, change, hash };
        let kind = match (kind, change(conv_seq, target, kind % 2 == 0)) {
            (0, _) => InboxKind::Nothing,
            (1, _) => InboxKind::Hidden,
            (2, _) => own(true, None),
            (3 | 4, Some(change)) => own(false, Some(change)),
            (5 | 6, Some(change)) => {
                InboxKind::PeerChange { change, body: if change.delete { &[] } else { body } }
            }
            (7, _) => own(false, None),
            _ => InboxKind::Peer { body },
        };
        let has_entry = !matches!(kind, InboxKind::Nothing | InboxKind::Hidden);
        let user = conv.participants()[usize::from(high)];
        let inbox_seq = if has_entry { inbox_seq } else { 0 };
        Record::Inbox(InboxRecord { user, inbox_seq, conv, conv_seq, time_us, kind })
    })
}

/// A record of one user's that is none of a message.
fn of_user() -> impl Strategy<Value = Record<'static>> {
    let ids = (number().prop_filter_map("a user", UserId::new), any::<u32>(), conv());
    let numbers = (number(), number(), number(), number().prop_filter("not 0", |n| *n != 0));
    let parts = (prop::collection::vec(number(), 0..5), 0..NAME.len(), any::<[bool; 2]>());
    (ids, numbers, parts, 0..9).prop_map(|(ids, (a, b, c, d), (mut marks, len, flags), kind)| {
        let (user, device, conv) = (ids.0, DeviceId(ids.1), ids.2);
        let member = conv.participants()[usize::from(flags[0])];
        marks.sort_unstable_by(|a, b| b.cmp(a));
        match kind {
            0 => Record::Cursor { user, device, acked: a },
            1 => Record::Epoch { user, epoch: a },
            2 => Record::Read { user: member, conv, upto: a, inbox_seq: b },
            3 => Record::Delivered { user: member, conv, device, upto: a },
            4 => Record::Receipt { user: member, conv, read: a, delivered: marks, inbox_seq: b },
            5 => {
                let (revoked, attached_us, acked) = (flags[1], a, b);
                let (name, platform) = (&NAME[..len], &NAME[..len / 2]);
                Record::Device { user, device, revoked, attached_us, name, platform, acked }
            }
            6 => Record::LastSeen { user, time_us: a },
            7 => Record::Trim { user, upto: a },
            _ => {
                let code = if flags[0] && user.get() != 2 { 0 } else { 9 };
                Record::Command(CommandRecord {
                    user,
                    outbox: OutboxId(a),
                    new_outbox_of: flags[1].then_some(device),
                    n: b,
                    code,
                    time_us: c,
                    inbox_seq: d,
                    command: if code == 0 { &BLOCK } else { &BODY[..len] },
                })
            }
        }
    })
}

/// Any record.
pub fn record() -> impl Strategy<Value = Record<'static>> {
    prop_oneof![
        4 => message(),
        3 => inbox(),
        4 => of_user(),
        1 => (number(), number())
            .prop_map(|(flushed, confirmed)| Record::Checkpoint { flushed, confirmed }),
    ]
}

/// One record of every kind, with and without every part.
pub fn examples() -> Vec<(&'static str, Record<'static>)> {
    let mut examples = example_messages();
    examples.extend(example_entries());
    examples.extend(example_marks());
    examples
}

const OUTBOX: OutboxId = OutboxId(0x0123_4567_89ab_cdef);
const EDIT: Option<Change> = Some(Change { target: 15, delete: false });
const DELETE: Option<Change> = Some(Change { target: 1, delete: true });

fn example_conv() -> ConvKey {
    ConvKey::new(user(1_000), user(2_000)).expect("two")
}

fn example_messages() -> Vec<(&'static str, Record<'static>)> {
    let message = MessageRecord {
        conv: example_conv(),
        conv_seq: 17,
        time_us: FLOOR_US + 1_234,
        sender: user(1_000),
        outbox: OUTBOX,
        new_outbox_of: None,
        n: 9,
        void: None,
        inbox: [20, 16],
        marks: [true, true],
        hidden: [false, false],
        change: None,
        body: b"good morning",
    };
    let first = MessageRecord { new_outbox_of: Some(DeviceId(3)), n: 1, ..message.clone() };
    let owed = MessageRecord {
        sender: user(2_000),
        inbox: [0, 300],
        marks: [false, true],
        ..message.clone()
    };
    let void =
        MessageRecord { void: Some(BodyHash(7)), inbox: [20, 0], body: b"", ..message.clone() };
    let hidden = MessageRecord { inbox: [20, 0], hidden: [false, true], ..message.clone() };
    let edit = MessageRecord { change: EDIT, ..message.clone() };
    let delete = MessageRecord {
        sender: user(2_000),
        change: DELETE,
        inbox: [0, 300],
        hidden: [true, false],
        body: b"",
        ..message.clone()
    };
    vec![
        ("message", Record::Message(message)),
        ("message-first-of-outbox", Record::Message(first)),
        ("message-owed", Record::Message(owed)),
        ("message-void", Record::Message(void)),
        ("message-hidden", Record::Message(hidden)),
        ("message-edit", Record::Message(edit)),
        ("message-delete-hidden", Record::Message(delete)),
    ]
}

fn example_entries() -> Vec<(&'static str, Record<'static>)> {
    let inbox = |kind: InboxKind<'static>| {
        let has_entry = !matches!(kind, InboxKind::Nothing | InboxKind::Hidden);
        InboxRecord {
            user: user(2_000),
            inbox_seq: if has_entry { 16 } else { 0 },
            conv: example_conv(),
            conv_seq: 17,
            time_us: FLOOR_US - 5,
            kind,
        }
    };
    let (outbox, hash) = (OUTBOX, BodyHash(u64::MAX));
    let own = |void, change| inbox(InboxKind::Own { outbox, n: 9, void, change, hash });
    let peer = |change: Option<Change>, body| {
        inbox(InboxKind::PeerChange { change: change.expect("a change"), body })
    };
    let low = InboxRecord { user: user(1_000), ..inbox(InboxKind::Peer { body: b"hi" }) };
    let entries = vec![
        ("inbox-peer", inbox(InboxKind::Peer { body: b"hi" })),
        ("inbox-peer-low", low),
        ("inbox-own", own(false, None)),
        ("inbox-own-void", own(true, None)),
        ("inbox-nothing", inbox(InboxKind::Nothing)),
        ("inbox-hidden", inbox(InboxKind::Hidden)),
        ("inbox-peer-edit", peer(EDIT, b"hello")),
        ("inbox-peer-delete", peer(DELETE, b"")),
        ("inbox-own-edit", own(false, EDIT)),
        ("inbox-own-delete", own(false, DELETE)),
    ];
    entries.into_iter().map(|(name, inbox)| (name, Record::Inbox(inbox))).collect()
}

fn example_marks() -> Vec<(&'static str, Record<'static>)> {
    let conv = example_conv();
    let (low, high) = (user(1_000), user(2_000));
    let command = CommandRecord {
        user: user(5),
        outbox: OUTBOX,
        new_outbox_of: None,
        n: 4,
        code: 0,
        time_us: FLOOR_US + 9,
        inbox_seq: 77,
        command: &BLOCK,
    };
    let first = CommandRecord { new_outbox_of: Some(DeviceId(3)), n: 1, ..command };
    let refused = CommandRecord { code: 11, command: b"\xff", ..command };
    let device = |revoked| Record::Device {
        user: user(5),
        device: DeviceId(3),
        revoked,
        attached_us: FLOOR_US - 1,
        name: "phone",
        platform: "linux",
        acked: 70,
    };
    let delivered = vec![17, 17, 3];
    vec![
        ("read", Record::Read { user: low, conv, upto: 17, inbox_seq: 21 }),
        ("delivered", Record::Delivered { user: high, conv, device: DeviceId(3), upto: 17 }),
        ("receipt", Record::Receipt { user: high, conv, read: 12, delivered, inbox_seq: 0 }),
        ("cursor", Record::Cursor { user: user(5), device: DeviceId(u32::MAX), acked: u64::MAX }),
        ("epoch", Record::Epoch { user: user(u64::MAX), epoch: 2 }),
        ("command", Record::Command(command)),
        ("command-first-of-outbox", Record::Command(first)),
        ("command-not-applied", Record::Command(refused)),
        ("device", device(false)),
        ("device-revoked", device(true)),
        ("last-seen", Record::LastSeen { user: user(5), time_us: FLOOR_US }),
        ("trim", Record::Trim { user: user(5), upto: 50 }),
        ("checkpoint", Record::Checkpoint { flushed: 4096, confirmed: 0 }),
    ]
}
