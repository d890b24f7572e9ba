//! Records ⇄ bytes. `FORMAT.md` lists the fields; decoding is total and refuses every encoding
//! but the one that `encode_head` gives.

use crate::{ConvKey, InboxKind, InboxRecord, MessageRecord, Record};
use wire::{BodyHash, DecodeError, DeviceId, OutboxId, Reader, Seq, UserId, put_varint};

/// Most bytes that a record takes over its body, its length prefix included: ten varints of ten
/// bytes, a tag, a name and a hash of eight bytes each.
pub const RECORD_OVERHEAD_MAX: usize = 120;

/// Set in the tag of a message; the other bits are its flags.
pub(crate) const MESSAGE: u8 = 0x80;
pub(crate) const SENDER_HIGH: u8 = 0x01;
pub(crate) const VOID: u8 = 0x02;
pub(crate) const NEW_OUTBOX: u8 = 0x04;
pub(crate) const MARK: [u8; 2] = [0x08, 0x10];
pub(crate) const INBOX: [u8; 2] = [0x20, 0x40];
/// Set in the tag of an inbox record whose user is the conversation's higher one.
pub(crate) const USER_HIGH: u8 = 0x40;
pub(crate) const INBOX_PEER: u8 = 0x01;
pub(crate) const INBOX_OWN: u8 = 0x02;
pub(crate) const INBOX_OWN_VOID: u8 = 0x03;
pub(crate) const INBOX_NOTHING: u8 = 0x04;
pub(crate) const CURSOR: u8 = 0x10;
pub(crate) const EPOCH: u8 = 0x11;
pub(crate) const CHECKPOINT: u8 = 0x12;

/// Appends everything but the length prefix and the body, and returns the body. Times are
/// written as differences from `floor_us`, which stands in the group's header.
pub(crate) fn encode_head<'a>(out: &mut Vec<u8>, record: &Record<'a>, floor_us: u64) -> &'a [u8] {
    match record {
        Record::Message(message) => encode_message(out, message, floor_us),
        Record::Inbox(inbox) => encode_inbox(out, inbox, floor_us),
        Record::Cursor { user, device, acked } => {
            out.push(CURSOR);
            put_varint(out, user.get());
            put_varint(out, u64::from(device.0));
            put_varint(out, *acked);
            &[]
        }
        Record::Epoch { user, epoch } => {
            out.push(EPOCH);
            put_varint(out, user.get());
            put_varint(out, *epoch);
            &[]
        }
        Record::Checkpoint { flushed, confirmed } => {
            out.push(CHECKPOINT);
            put_varint(out, *flushed);
            put_varint(out, *confirmed);
            &[]
        }
    }
}

fn encode_message<'a>(out: &mut Vec<u8>, message: &MessageRecord<'a>, floor_us: u64) -> &'a [u8] {
    assert!(message.void.is_none() || message.body.is_empty(), "a void has no body");
    let [low, high] = message.conv.participants();
    assert!(message.sender == low || message.sender == high, "the sender takes part");
    let mut tag = MESSAGE;
    tag |= if message.sender == high { SENDER_HIGH } else { 0 };
    tag |= if message.void.is_some() { VOID } else { 0 };
    tag |= if message.new_outbox_of.is_some() { NEW_OUTBOX } else { 0 };
    for side in 0..2 {
        tag |= if message.marks[side] { MARK[side] } else { 0 };
        tag |= if message.inbox[side] != 0 { INBOX[side] } else { 0 };
    }
    out.push(tag);
    put_place(out, message.conv, message.conv_seq, message.time_us, floor_us);
    out.extend_from_slice(&message.outbox.0.to_le_bytes());
    put_varint(out, message.n);
    for inbox_seq in message.inbox.into_iter().filter(|&inbox_seq| inbox_seq != 0) {
        put_difference(out, inbox_seq, message.conv_seq);
    }
    if let Some(device) = message.new_outbox_of {
        put_varint(out, u64::from(device.0));
    }
    if let Some(hash) = message.void {
        out.extend_from_slice(&hash.0.to_le_bytes());
    }
    message.body
}

fn encode_inbox<'a>(out: &mut Vec<u8>, inbox: &InboxRecord<'a>, floor_us: u64) -> &'a [u8] {
    let [low, high] = inbox.conv.participants();
    assert!(inbox.user == low || inbox.user == high, "the user takes part");
    let side = if inbox.user == high { USER_HIGH } else { 0 };
    out.push(match inbox.kind {
        InboxKind::Peer { .. } => INBOX_PEER | side,
        InboxKind::Own { void: false, .. } => INBOX_OWN | side,
        InboxKind::Own { void: true, .. } => INBOX_OWN_VOID | side,
        InboxKind::Nothing => INBOX_NOTHING | side,
    });
    put_place(out, inbox.conv, inbox.conv_seq, inbox.time_us, floor_us);
    match inbox.kind {
        InboxKind::Peer { body } => {
            put_difference(out, inbox.inbox_seq, inbox.conv_seq);
            body
        }
        InboxKind::Own { outbox, n, void: _, hash } => {
            put_difference(out, inbox.inbox_seq, inbox.conv_seq);
            out.extend_from_slice(&outbox.0.to_le_bytes());
            put_varint(out, n);
            out.extend_from_slice(&hash.0.to_le_bytes());
            &[]
        }
        InboxKind::Nothing => {
            assert!(inbox.inbox_seq == 0, "nothing has no entry");
            &[]
        }
    }
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

fn difference(r: &mut Reader<'_>, from: u64, field: &'static str) -> Result<u64, DecodeError> {
    let zigzag = r.varint(field)?;
    Ok(from.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
}

/// Decodes the record at the start of `bytes`; also says how many bytes it takes, its length
/// prefix included.
pub(crate) fn decode_first(
    bytes: &[u8],
    floor_us: u64,
) -> Result<(Record<'_>, usize), DecodeError> {
    let mut outer = Reader::new(bytes);
    let len = outer.varint("record length")?;
    let payload = outer.take(usize::try_from(len).unwrap_or(usize::MAX), "record")?;
    Ok((decode(payload, floor_us)?, outer.offset()))
}

/// Decodes one record, without its length prefix.
pub(crate) fn decode(payload: &[u8], floor_us: u64) -> Result<Record<'_>, DecodeError> {
    let mut r = Reader::new(payload);
    let tag = r.byte("tag")?;
    if tag & MESSAGE != 0 {
        return decode_message(r, tag, floor_us);
    }
    let record = match tag & !USER_HIGH {
        INBOX_PEER | INBOX_OWN | INBOX_OWN_VOID | INBOX_NOTHING => {
            return decode_inbox(r, tag, floor_us);
        }
        CURSOR if tag == CURSOR => Record::Cursor {
            user: user(&mut r, "user")?,
            device: device(&mut r)?,
            acked: r.varint("acked")?,
        },
        EPOCH if tag == EPOCH => {
            Record::Epoch { user: user(&mut r, "user")?, epoch: r.varint("epoch")? }
        }
        CHECKPOINT if tag == CHECKPOINT => {
            Record::Checkpoint { flushed: r.varint("flushed")?, confirmed: r.varint("confirmed")? }
        }
        _ => return Err(r.error("tag", "is unknown")),
    };
    r.end("record")?;
    Ok(record)
}

fn decode_message<'a>(
    mut r: Reader<'a>,
    tag: u8,
    floor_us: u64,
) -> Result<Record<'a>, DecodeError> {
    let (conv, conv_seq, time_us) = place(&mut r, floor_us)?;
    let outbox = OutboxId(r.u64_le("outbox")?);
    let n = r.varint("n")?;
    let mut inbox = [0; 2];
    for side in 0..2 {
        if tag & INBOX[side] != 0 {
            inbox[side] = difference(&mut r, conv_seq, "inbox_seq")?;
            if inbox[side] == 0 {
                return Err(r.error("inbox_seq", "is present and 0"));
            }
        }
    }
    let new_outbox_of = if tag & NEW_OUTBOX != 0 { Some(device(&mut r)?) } else { None };
    let void = if tag & VOID != 0 { Some(BodyHash(r.u64_le("hash")?)) } else { None };
    if void.is_some() {
        r.end("void")?;
    }
    Ok(Record::Message(MessageRecord {
        conv,
        conv_seq,
        time_us,
        sender: conv.participants()[usize::from(tag & SENDER_HIGH != 0)],
        outbox,
        new_outbox_of,
        n,
        void,
        inbox,
        marks: [tag & MARK[0] != 0, tag & MARK[1] != 0],
        body: r.rest(),
    }))
}

fn decode_inbox<'a>(mut r: Reader<'a>, tag: u8, floor_us: u64) -> Result<Record<'a>, DecodeError> {
    let (conv, conv_seq, time_us) = place(&mut r, floor_us)?;
    let kind_tag = tag & !USER_HIGH;
    let inbox_seq = match kind_tag {
        INBOX_NOTHING => 0,
        _ => difference(&mut r, conv_seq, "inbox_seq")?,
    };
    let kind = match kind_tag {
        INBOX_PEER => InboxKind::Peer { body: r.rest() },
        INBOX_NOTHING => InboxKind::Nothing,
        _ => InboxKind::Own {
            outbox: OutboxId(r.u64_le("outbox")?),
            n: r.varint("n")?,
            void: kind_tag == INBOX_OWN_VOID,
            hash: BodyHash(r.u64_le("hash")?),
        },
    };
    r.end("inbox record")?;
    let user = conv.participants()[usize::from(tag & USER_HIGH != 0)];
    Ok(Record::Inbox(InboxRecord { user, inbox_seq, conv, conv_seq, time_us, kind }))
}

fn place(r: &mut Reader<'_>, floor_us: u64) -> Result<(ConvKey, Seq, u64), DecodeError> {
    let time_us = difference(r, floor_us, "time")?;
    let low = user(r, "low user")?;
    let high = user(r, "high user")?;
    if low >= high {
        return Err(r.error("high user", "is not above the low user"));
    }
    let conv = ConvKey::new(low, high).expect("two different users");
    Ok((conv, r.varint("conv_seq")?, time_us))
}

fn user(r: &mut Reader<'_>, field: &'static str) -> Result<UserId, DecodeError> {
    let number = r.varint(field)?;
    UserId::new(number).ok_or(r.error(field, "is 0"))
}

fn device(r: &mut Reader<'_>) -> Result<DeviceId, DecodeError> {
    let number = r.varint("device")?;
    u32::try_from(number).map(DeviceId).map_err(|_| r.error("device", "is longer than 32 bits"))
}
