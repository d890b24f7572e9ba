//! Bytes → records. Total; refuses every encoding but the one that `record_codec` gives.

use crate::record_codec::*;
use crate::{CommandRecord, ConvKey, InboxKind, InboxRecord, MessageRecord, Record};
use wire::{BodyHash, Change, DecodeError, DeviceId, OutboxId, Reader, Seq, UserId};

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
    let r = &mut Reader::new(payload);
    let tag = r.byte("tag")?;
    let record = match tag {
        MESSAGE.. => message(r, tag, floor_us)?,
        CURSOR => {
            Record::Cursor { user: user(r, "user")?, device: device(r)?, acked: r.varint("acked")? }
        }
        EPOCH => Record::Epoch { user: user(r, "user")?, epoch: r.varint("epoch")? },
        CHECKPOINT => {
            Record::Checkpoint { flushed: r.varint("flushed")?, confirmed: r.varint("confirmed")? }
        }
        LAST_SEEN => {
            Record::LastSeen { user: user(r, "user")?, time_us: difference(r, floor_us, "time")? }
        }
        TRIM => Record::Trim { user: user(r, "user")?, upto: r.varint("upto")? },
        _ => match (tag & !USER_HIGH, tag & !FIRST_COMMAND, tag & !REVOKED) {
            (_, COMMAND, _) => command(r, tag, floor_us)?,
            (_, _, DEVICE) => device_record(r, tag, floor_us)?,
            (INBOX_PEER..=INBOX_OWN_DELETE, ..) => inbox(r, tag, floor_us)?,
            (READ..=RECEIPT, ..) => member(r, tag)?,
            _ => return Err(r.error("tag", "is unknown")),
        },
    };
    r.end("record")?;
    Ok(record)
}

fn message<'a>(r: &mut Reader<'a>, tag: u8, floor_us: u64) -> Result<Record<'a>, DecodeError> {
    let extra = if tag & EXTRA != 0 { r.byte("extra")? } else { 0 };
    let known = VOID | HIDDEN[0] | HIDDEN[1] | EDIT | DELETE;
    let one_content = (extra & (VOID | EDIT | DELETE)).count_ones() <= 1;
    if (tag & EXTRA != 0 && extra == 0) || extra & !known != 0 || !one_content {
        return Err(r.error("extra", "is no set of flags that go together"));
    }
    let (conv, conv_seq, time_us) = place(r, floor_us)?;
    let outbox = OutboxId(r.u64_le("outbox")?);
    let n = r.varint("n")?;
    let change = match extra & (EDIT | DELETE) {
        0 => None,
        kind => Some(change(r, conv_seq, kind == DELETE)?),
    };
    let mut inbox = [0; 2];
    for side in 0..2 {
        if tag & INBOX[side] != 0 {
            inbox[side] = difference(r, conv_seq, "inbox_seq")?;
            if inbox[side] == 0 || extra & HIDDEN[side] != 0 {
                return Err(r.error("inbox_seq", "is present and 0, or of a hidden place"));
            }
        }
    }
    let new_outbox_of = if tag & NEW_OUTBOX != 0 { Some(device(r)?) } else { None };
    let void = if extra & VOID != 0 { Some(BodyHash(r.u64_le("hash")?)) } else { None };
    let body = if extra & (VOID | DELETE) != 0 { &[] } else { r.rest() };
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
        marks: MARK.map(|mark| tag & mark != 0),
        hidden: HIDDEN.map(|hidden| extra & hidden != 0),
        change,
        body,
    }))
}

fn inbox<'a>(r: &mut Reader<'a>, tag: u8, floor_us: u64) -> Result<Record<'a>, DecodeError> {
    let (conv, conv_seq, time_us) = place(r, floor_us)?;
    let kind_tag = tag & !USER_HIGH;
    let inbox_seq = match kind_tag {
        INBOX_NOTHING | INBOX_HIDDEN => 0,
        _ => difference(r, conv_seq, "inbox_seq")?,
    };
    let change = match kind_tag {
        INBOX_PEER_EDIT | INBOX_OWN_EDIT => Some(change(r, conv_seq, false)?),
        INBOX_PEER_DELETE | INBOX_OWN_DELETE => Some(change(r, conv_seq, true)?),
        _ => None,
    };
    let kind = match (kind_tag, change) {
        (INBOX_PEER, _) => InboxKind::Peer { body: r.rest() },
        (INBOX_PEER_EDIT, Some(change)) => InboxKind::PeerChange { change, body: r.rest() },
        (INBOX_PEER_DELETE, Some(change)) => InboxKind::PeerChange { change, body: &[] },
        (INBOX_NOTHING, _) => InboxKind::Nothing,
        (INBOX_HIDDEN, _) => InboxKind::Hidden,
        _ => InboxKind::Own {
            outbox: OutboxId(r.u64_le("outbox")?),
            n: r.varint("n")?,
            void: kind_tag == INBOX_OWN_VOID,
            change,
            hash: BodyHash(r.u64_le("hash")?),
        },
    };
    let user = conv.participants()[usize::from(tag & USER_HIGH != 0)];
    Ok(Record::Inbox(InboxRecord { user, inbox_seq, conv, conv_seq, time_us, kind }))
}

/// A record of one participant's marks.
fn member<'a>(r: &mut Reader<'a>, tag: u8) -> Result<Record<'a>, DecodeError> {
    let conv = conv(r)?;
    let user = conv.participants()[usize::from(tag & USER_HIGH != 0)];
    Ok(match tag & !USER_HIGH {
        READ => {
            let (upto, inbox_seq) = (r.varint("upto")?, r.varint("inbox_seq")?);
            Record::Read { user, conv, upto, inbox_seq }
        }
        DELIVERED => {
            let (device, upto) = (device(r)?, r.varint("upto")?);
            Record::Delivered { user, conv, device, upto }
        }
        _ => {
            let (read, inbox_seq) = (r.varint("read")?, r.varint("inbox_seq")?);
            let mut delivered = Vec::new();
            // A count above what the bytes hold fails at the first mark that is missing.
            for _ in 0..r.varint("count")? {
                let mark = r.varint("delivered")?;
                if delivered.last().is_some_and(|&farther| mark > farther) {
                    return Err(r.error("delivered", "is not farthest first"));
                }
                delivered.push(mark);
            }
            Record::Receipt { user, conv, read, delivered, inbox_seq }
        }
    })
}

fn command<'a>(r: &mut Reader<'a>, tag: u8, floor_us: u64) -> Result<Record<'a>, DecodeError> {
    let user = user(r, "user")?;
    let time_us = difference(r, floor_us, "time")?;
    let outbox = OutboxId(r.u64_le("outbox")?);
    let (n, code, inbox_seq) = (r.varint("n")?, r.varint("code")?, r.varint("inbox_seq")?);
    let new_outbox_of = if tag & FIRST_COMMAND != 0 { Some(device(r)?) } else { None };
    if inbox_seq == 0 {
        return Err(r.error("inbox_seq", "is 0"));
    }
    let command = r.rest();
    let record =
        CommandRecord { user, outbox, new_outbox_of, n, code, time_us, inbox_seq, command };
    if code == 0 && record.applied().is_none() {
        return Err(r.error("command", "is applied and cannot be"));
    }
    Ok(Record::Command(record))
}

fn device_record<'a>(
    r: &mut Reader<'a>,
    tag: u8,
    floor_us: u64,
) -> Result<Record<'a>, DecodeError> {
    let (user, device, acked) = (user(r, "user")?, device(r)?, r.varint("acked")?);
    let attached_us = difference(r, floor_us, "attached")?;
    let length = usize::try_from(r.varint("name length")?).unwrap_or(usize::MAX);
    let name = r.take(length, "name")?;
    let name = std::str::from_utf8(name).map_err(|_| r.error("name", "is no UTF-8"))?;
    let platform = std::str::from_utf8(r.rest()).map_err(|_| r.error("platform", "is no UTF-8"))?;
    let revoked = tag & REVOKED != 0;
    Ok(Record::Device { user, device, revoked, attached_us, name, platform, acked })
}

fn difference(r: &mut Reader<'_>, from: u64, field: &'static str) -> Result<u64, DecodeError> {
    let zigzag = r.varint(field)?;
    Ok(from.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
}

fn change(r: &mut Reader<'_>, conv_seq: Seq, delete: bool) -> Result<Change, DecodeError> {
    let target = difference(r, conv_seq, "target")?;
    if target == 0 || target >= conv_seq {
        return Err(r.error("target", "is no earlier place"));
    }
    Ok(Change { target, delete })
}

fn place(r: &mut Reader<'_>, floor_us: u64) -> Result<(ConvKey, Seq, u64), DecodeError> {
    let time_us = difference(r, floor_us, "time")?;
    Ok((conv(r)?, r.varint("conv_seq")?, time_us))
}

fn conv(r: &mut Reader<'_>) -> Result<ConvKey, DecodeError> {
    let (low, high) = (user(r, "low user")?, user(r, "high user")?);
    if low >= high {
        return Err(r.error("high user", "is not above the low user"));
    }
    Ok(ConvKey::new(low, high).expect("two different users"))
}

fn user(r: &mut Reader<'_>, field: &'static str) -> Result<UserId, DecodeError> {
    let number = r.varint(field)?;
    UserId::new(number).ok_or(r.error(field, "is 0"))
}

fn device(r: &mut Reader<'_>) -> Result<DeviceId, DecodeError> {
    let number = r.varint("device")?;
    u32::try_from(number).map(DeviceId).map_err(|_| r.error("device", "is longer than 32 bits"))
}
