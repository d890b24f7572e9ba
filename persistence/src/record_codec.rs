//! Records → bytes. `FORMAT.md` lists the fields; each record has one encoding.

use crate::{CommandRecord, ConvKey, InboxKind, InboxRecord, MessageRecord, Record};
use wire::{Change, Seq, UserId, put_varint};

/// Most bytes that a record takes over its body, its length prefix included: ten varints of ten
/// bytes, two tags, a name and a hash of eight bytes each. The lists and texts of records that
/// have no body of a message count as bodies.
pub const RECORD_OVERHEAD_MAX: usize = 120;

/// Set in the tag of a message; the other bits are its flags.
pub(crate) const MESSAGE: u8 = 0x80;
pub(crate) const SENDER_HIGH: u8 = 0x01;
pub(crate) const EXTRA: u8 = 0x02;
pub(crate) const NEW_OUTBOX: u8 = 0x04;
pub(crate) const MARK: [u8; 2] = [0x08, 0x10];
pub(crate) const INBOX: [u8; 2] = [0x20, 0x40];
/// Flags of the second byte of a message that has `EXTRA`.
pub(crate) const VOID: u8 = 0x01;
pub(crate) const HIDDEN: [u8; 2] = [0x02, 0x04];
pub(crate) const EDIT: u8 = 0x08;
pub(crate) const DELETE: u8 = 0x10;
/// Set in the tag of a record of one participant's who is the conversation's higher user.
pub(crate) const USER_HIGH: u8 = 0x40;
pub(crate) const INBOX_PEER: u8 = 0x01;
pub(crate) const INBOX_OWN: u8 = 0x02;
pub(crate) const INBOX_OWN_VOID: u8 = 0x03;
pub(crate) const INBOX_NOTHING: u8 = 0x04;
pub(crate) const INBOX_HIDDEN: u8 = 0x05;
pub(crate) const INBOX_PEER_EDIT: u8 = 0x06;
pub(crate) const INBOX_PEER_DELETE: u8 = 0x07;
pub(crate) const INBOX_OWN_EDIT: u8 = 0x08;
pub(crate) const INBOX_OWN_DELETE: u8 = 0x09;
pub(crate) const READ: u8 = 0x0a;
pub(crate) const DELIVERED: u8 = 0x0b;
pub(crate) const RECEIPT: u8 = 0x0c;
pub(crate) const CURSOR: u8 = 0x10;
pub(crate) const EPOCH: u8 = 0x11;
pub(crate) const CHECKPOINT: u8 = 0x12;
pub(crate) const COMMAND: u8 = 0x13;
pub(crate) const DEVICE: u8 = 0x14;
pub(crate) const LAST_SEEN: u8 = 0x15;
pub(crate) const TRIM: u8 = 0x16;
/// Set in the tag of a command that is its outbox's first.
pub(crate) const FIRST_COMMAND: u8 = 0x20;
/// Set in the tag of a device that is revoked.
pub(crate) const REVOKED: u8 = 0x20;

/// Appends everything but the length prefix and the body, and returns the body. Times are
/// written as differences from `floor_us`, which stands in the group's header.
pub(crate) fn encode_head<'a>(out: &mut Vec<u8>, record: &Record<'a>, floor_us: u64) -> &'a [u8] {
    match *record {
        Record::Message(ref message) => return encode_message(out, message, floor_us),
        Record::Inbox(ref inbox) => return encode_inbox(out, inbox, floor_us),
        Record::Command(ref command) => return encode_command(out, command, floor_us),
        Record::Cursor { user, device, acked } => {
            put_user(out, CURSOR, user);
            put_varint(out, u64::from(device.0));
            put_varint(out, acked);
        }
        Record::Epoch { user, epoch } => {
            put_user(out, EPOCH, user);
            put_varint(out, epoch);
        }
        Record::Read { user, conv, upto, inbox_seq } => {
            put_member(out, READ, user, conv);
            put_varint(out, upto);
            put_varint(out, inbox_seq);
        }
        Record::Delivered { user, conv, device, upto } => {
            put_member(out, DELIVERED, user, conv);
            put_varint(out, u64::from(device.0));
            put_varint(out, upto);
        }
        Record::Receipt { user, conv, read, ref delivered, inbox_seq } => {
            assert!(delivered.is_sorted_by(|a, b| a >= b), "farthest first");
            put_member(out, RECEIPT, user, conv);
            put_varint(out, read);
            put_varint(out, inbox_seq);
            put_varint(out, delivered.len() as u64);
            delivered.iter().for_each(|&mark| put_varint(out, mark));
        }
        Record::Device { user, device, revoked, attached_us, name, platform, acked } => {
            put_user(out, DEVICE | if revoked { REVOKED } else { 0 }, user);
            put_varint(out, u64::from(device.0));
            put_varint(out, acked);
            put_difference(out, attached_us, floor_us);
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            return platform.as_bytes();
        }
        Record::LastSeen { user, time_us } => {
            put_user(out, LAST_SEEN, user);
            put_difference(out, time_us, floor_us);
        }
        Record::Trim { user, upto } => {
            put_user(out, TRIM, user);
            put_varint(out, upto);
        }
        Record::Checkpoint { flushed, confirmed } => {
            out.push(CHECKPOINT);
            put_varint(out, flushed);
            put_varint(out, confirmed);
        }
    }
    &[]
}

fn encode_message<'a>(out: &mut Vec<u8>, message: &MessageRecord<'a>, floor_us: u64) -> &'a [u8] {
    let &MessageRecord { conv, conv_seq, void, change, hidden, inbox, body, .. } = message;
    assert!(void.is_none() || (body.is_empty() && change.is_none()), "a void holds nothing");
    let [low, high] = conv.participants();
    assert!(message.sender == low || message.sender == high, "the sender takes part");
    let mut tag = MESSAGE;
    let mut extra = if void.is_some() { VOID } else { 0 };
    if let Some(change) = change {
        assert_change(change, conv_seq, body);
        extra |= if change.delete { DELETE } else { EDIT };
    }
    tag |= if message.sender == high { SENDER_HIGH } else { 0 };
    tag |= if message.new_outbox_of.is_some() { NEW_OUTBOX } else { 0 };
    for side in 0..2 {
        assert!(!hidden[side] || inbox[side] == 0, "a hidden place has no entry");
        tag |= if message.marks[side] { MARK[side] } else { 0 };
        tag |= if inbox[side] != 0 { INBOX[side] } else { 0 };
        extra |= if hidden[side] { HIDDEN[side] } else { 0 };
    }
    if extra == 0 {
        out.push(tag);
    } else {
        out.extend([tag | EXTRA, extra]);
    }
    put_place(out, conv, conv_seq, message.time_us, floor_us);
    out.extend_from_slice(&message.outbox.0.to_le_bytes());
    put_varint(out, message.n);
    if let Some(change) = change {
        put_difference(out, change.target, conv_seq);
    }
    for inbox_seq in inbox.into_iter().filter(|&inbox_seq| inbox_seq != 0) {
        put_difference(out, inbox_seq, conv_seq);
    }
    if let Some(device) = message.new_outbox_of {
        put_varint(out, u64::from(device.0));
    }
    if let Some(hash) = void {
        out.extend_from_slice(&hash.0.to_le_bytes());
    }
    body
}

fn assert_change(change: Change, conv_seq: Seq, body: &[u8]) {
    assert!(change.target != 0 && change.target < conv_seq, "an earlier place is changed");
    assert!(!change.delete || body.is_empty(), "a delete has no text");
}

fn encode_inbox<'a>(out: &mut Vec<u8>, inbox: &InboxRecord<'a>, floor_us: u64) -> &'a [u8] {
    let InboxRecord { user, conv, conv_seq, inbox_seq, ref kind, .. } = *inbox;
    let (tag, change, body): (u8, Option<Change>, &[u8]) = match *kind {
        InboxKind::Peer { body } => (INBOX_PEER, None, body),
        InboxKind::PeerChange { change, body } if change.delete => {
            (INBOX_PEER_DELETE, Some(change), body)
        }
        InboxKind::PeerChange { change, body } => (INBOX_PEER_EDIT, Some(change), body),
        InboxKind::Own { void: true, change, .. } => {
            assert!(change.is_none(), "a void changes nothing");
            (INBOX_OWN_VOID, None, &[])
        }
        InboxKind::Own { change: None, .. } => (INBOX_OWN, None, &[]),
        InboxKind::Own { change: Some(change), .. } => {
            (if change.delete { INBOX_OWN_DELETE } else { INBOX_OWN_EDIT }, Some(change), &[])
        }
        InboxKind::Hidden => (INBOX_HIDDEN, None, &[]),
        InboxKind::Nothing => (INBOX_NOTHING, None, &[]),
    };
    out.push(tag | side(user, conv));
    put_place(out, conv, conv_seq, inbox.time_us, floor_us);
    if matches!(kind, InboxKind::Hidden | InboxKind::Nothing) {
        assert!(inbox_seq == 0, "{kind:?} has no entry");
        return &[];
    }
    put_difference(out, inbox_seq, conv_seq);
    if let Some(change) = change {
        assert_change(change, conv_seq, body);
        put_difference(out, change.target, conv_seq);
    }
    if let InboxKind::Own { outbox, n, hash, .. } = *kind {
        out.extend_from_slice(&outbox.0.to_le_bytes());
        put_varint(out, n);
        out.extend_from_slice(&hash.0.to_le_bytes());
    }
    body
}

fn encode_command<'a>(out: &mut Vec<u8>, record: &CommandRecord<'a>, floor_us: u64) -> &'a [u8] {
    assert!(record.inbox_seq != 0, "every command has an entry");
    assert!(record.code != 0 || record.applied().is_some(), "what is applied is a command");
    let first = if record.new_outbox_of.is_some() { FIRST_COMMAND } else { 0 };
    put_user(out, COMMAND | first, record.user);
    put_difference(out, record.time_us, floor_us);
    out.extend_from_slice(&record.outbox.0.to_le_bytes());
    put_varint(out, record.n);
    put_varint(out, record.code);
    put_varint(out, record.inbox_seq);
    if let Some(device) = record.new_outbox_of {
        put_varint(out, u64::from(device.0));
    }
    record.command
}

fn put_user(out: &mut Vec<u8>, tag: u8, user: UserId) {
    out.push(tag);
    put_varint(out, user.get());
}

fn put_member(out: &mut Vec<u8>, tag: u8, user: UserId, conv: ConvKey) {
    out.push(tag | side(user, conv));
    let [low, high] = conv.participants();
    put_varint(out, low.get());
    put_varint(out, high.get());
}

fn side(user: UserId, conv: ConvKey) -> u8 {
    let [low, high] = conv.participants();
    assert!(user == low || user == high, "the user takes part");
    if user == high { USER_HIGH } else { 0 }
}

fn put_place(out: &mut Vec<u8>, conv: ConvKey, conv_seq: Seq, time_us: u64, floor_us: u64) {
    let [low, high] = conv.participants();
    put_difference(out, time_us, floor_us);
    put_varint(out, low.get());
    put_varint(out, high.get());
    put_varint(out, conv_seq);
}

/// A zigzag varint of `value - from`, modulo 2^64: every pair of numbers has one encoding.
fn put_difference(out: &mut Vec<u8>, value: u64, from: u64) {
    let difference = value.wrapping_sub(from) as i64;
    put_varint(out, ((difference << 1) ^ (difference >> 63)) as u64);
}
