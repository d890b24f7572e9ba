//! One durable change of a client, as a value and as bytes.

use wire::{
    BodyHash, Change, Conv, DecodeError, DeviceId, OutboxId, Reader, Seq, UserId, put_varint,
};

use crate::SendId;
use crate::conversation::Kind;

/// One durable change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Identity {
        user: UserId,
        device: DeviceId,
        body_bytes_max: u64,
    },
    Outbox {
        outbox: OutboxId,
    },
    Inbox {
        epoch: u64,
        position: Seq,
    },
    Position {
        position: Seq,
    },
    Serial {
        serial: u64,
    },
    GivenOut {
        conv: Conv,
        n: Seq,
    },
    /// An answer or a page told of these places.
    Seen {
        conv: Conv,
        first: Seq,
        last: Seq,
    },
    /// The inbox brought `last`; nothing comes for the places before it from `first` on.
    Streamed {
        conv: Conv,
        first: Seq,
        last: Seq,
    },
    Message {
        conv: Conv,
        conv_seq: Seq,
        time_ms: u64,
        kind: Kind,
        hash: BodyHash,
        body: Option<&'a [u8]>,
    },
    /// The message at `target` was changed by the message at `by`.
    Changed {
        conv: Conv,
        target: Seq,
        by: Seq,
        delete: bool,
        body: Option<&'a [u8]>,
    },
    Composed {
        id: SendId,
        outbox: OutboxId,
        n: Seq,
        void: bool,
        change: Option<Change>,
        body: &'a [u8],
    },
    GaveUp {
        id: SendId,
    },
    Moved {
        id: SendId,
    },
    Settled {
        id: SendId,
    },
    /// A conversation as a whole, as a server told it.
    Heading {
        conv: Conv,
        head: Seq,
        time_ms: u64,
        unread: u64,
        read: Seq,
        preview_own: bool,
        preview: &'a [u8],
    },
    Read {
        conv: Conv,
        upto: Seq,
    },
    ReadWanted {
        conv: Conv,
        upto: Seq,
    },
    Receipt {
        conv: Conv,
        read: Seq,
        delivered: Marks<'a>,
    },
    /// Inbox entries were skipped: what they told is told anew.
    Skipped,
    /// In this conversation nothing up to here was skipped.
    SkippedFrom {
        conv: Conv,
        from: Seq,
    },
    Commanded {
        serial: u64,
        outbox: OutboxId,
        n: Seq,
        command: &'a [u8],
    },
    CommandMoved {
        serial: u64,
    },
    CommandSettled {
        serial: u64,
    },
    CommandsGivenOut {
        n: Seq,
    },
    /// This command, of any own device, took effect.
    Applied {
        command: &'a [u8],
    },
}

/// Places in a row, values or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks<'a> {
    Values(&'a [Seq]),
    /// A count and that many varints, checked.
    Bytes(&'a [u8]),
}

impl Marks<'_> {
    pub fn to_vec(self) -> Vec<Seq> {
        match self {
            Marks::Values(values) => values.to_vec(),
            Marks::Bytes(bytes) => {
                let reader = &mut Reader::new(bytes);
                let mut next = || reader.varint("mark").expect("checked");
                let count = next();
                (0..count).map(|_| next()).collect()
            }
        }
    }
}

mod tag {
    //! Entry types. Never given to another entry.
    pub const IDENTITY: u8 = 1;
    pub const OUTBOX: u8 = 2;
    pub const INBOX: u8 = 3;
    pub const POSITION: u8 = 4;
    pub const SERIAL: u8 = 5;
    pub const GIVEN_OUT: u8 = 6;
    pub const SEEN: u8 = 7;
    pub const MESSAGE: u8 = 8;
    pub const COMPOSED: u8 = 9;
    pub const GAVE_UP: u8 = 10;
    pub const MOVED: u8 = 11;
    pub const SETTLED: u8 = 12;
    pub const STREAMED: u8 = 13;
    pub const CHANGED: u8 = 14;
    pub const COMPOSED_CHANGE: u8 = 15;
    pub const HEADING: u8 = 16;
    pub const READ: u8 = 17;
    pub const READ_WANTED: u8 = 18;
    pub const RECEIPT: u8 = 19;
    pub const SKIPPED: u8 = 20;
    pub const COMMANDED: u8 = 21;
    pub const COMMAND_MOVED: u8 = 22;
    pub const COMMAND_SETTLED: u8 = 23;
    pub const COMMANDS_GIVEN_OUT: u8 = 24;
    pub const APPLIED: u8 = 25;
    pub const SKIPPED_FROM: u8 = 26;
}

/// Appends an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match *entry {
        Entry::Identity { user, device, body_bytes_max } => {
            put(out, tag::IDENTITY, &[user.get(), u64::from(device.0), body_bytes_max]);
        }
        Entry::Outbox { outbox } => put(out, tag::OUTBOX, &[outbox.0]),
        Entry::Inbox { epoch, position } => put(out, tag::INBOX, &[epoch, position]),
        Entry::Position { position } => put(out, tag::POSITION, &[position]),
        Entry::Serial { serial } => put(out, tag::SERIAL, &[serial]),
        Entry::Seen { conv, first, last } => put(out, tag::SEEN, &[peer(conv), first, last]),
        Entry::Streamed { conv, first, last } => {
            put(out, tag::STREAMED, &[peer(conv), first, last]);
        }
        Entry::Message { .. } | Entry::Changed { .. } | Entry::Heading { .. } => {
            put_message(out, entry);
        }
        Entry::GivenOut { .. }
        | Entry::Composed { .. }
        | Entry::GaveUp { .. }
        | Entry::Moved { .. }
        | Entry::Settled { .. } => put_send(out, entry),
        Entry::Read { conv, upto } => put(out, tag::READ, &[peer(conv), upto]),
        Entry::ReadWanted { conv, upto } => put(out, tag::READ_WANTED, &[peer(conv), upto]),
        Entry::Receipt { conv, read, delivered } => {
            put(out, tag::RECEIPT, &[peer(conv), read]);
            let delivered = delivered.to_vec();
            put_varint(out, delivered.len() as u64);
            delivered.iter().for_each(|&mark| put_varint(out, mark));
        }
        Entry::Skipped => put(out, tag::SKIPPED, &[]),
        Entry::SkippedFrom { conv, from } => put(out, tag::SKIPPED_FROM, &[peer(conv), from]),
        Entry::Commanded { serial, outbox, n, command } => {
            put(out, tag::COMMANDED, &[serial, outbox.0, n]);
            put_body(out, Some(command));
        }
        Entry::CommandMoved { serial } => put(out, tag::COMMAND_MOVED, &[serial]),
        Entry::CommandSettled { serial } => put(out, tag::COMMAND_SETTLED, &[serial]),
        Entry::CommandsGivenOut { n } => put(out, tag::COMMANDS_GIVEN_OUT, &[n]),
        Entry::Applied { command } => {
            put(out, tag::APPLIED, &[]);
            put_body(out, Some(command));
        }
    }
}

fn put_message(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match *entry {
        Entry::Message { conv, conv_seq, time_ms, kind, hash, body } => {
            put(out, tag::MESSAGE, &[peer(conv), conv_seq, time_ms, kind as u64, hash.0]);
            put_body(out, body);
        }
        Entry::Changed { conv, target, by, delete, body } => {
            put(out, tag::CHANGED, &[peer(conv), target, by, u64::from(delete)]);
            put_body(out, body);
        }
        Entry::Heading { conv, head, time_ms, unread, read, preview_own, preview } => {
            let own = u64::from(preview_own);
            put(out, tag::HEADING, &[peer(conv), head, time_ms, unread, read, own]);
            put_body(out, Some(preview));
        }
        _ => unreachable!("the caller's arm"),
    }
}

fn put_send(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match *entry {
        Entry::GivenOut { conv, n } => put(out, tag::GIVEN_OUT, &[peer(conv), n]),
        Entry::Composed { id, outbox, n, void, change, body } => {
            let numbers = [peer(id.conv), id.serial, outbox.0, n, u64::from(void)];
            match change {
                None => put(out, tag::COMPOSED, &numbers),
                Some(Change { target, delete }) => {
                    put(out, tag::COMPOSED_CHANGE, &numbers);
                    put_varint(out, target);
                    put_varint(out, u64::from(delete));
                }
            }
            put_body(out, Some(body));
        }
        Entry::GaveUp { id } => put(out, tag::GAVE_UP, &[peer(id.conv), id.serial]),
        Entry::Moved { id } => put(out, tag::MOVED, &[peer(id.conv), id.serial]),
        Entry::Settled { id } => put(out, tag::SETTLED, &[peer(id.conv), id.serial]),
        _ => unreachable!("the caller's arm"),
    }
}

fn put(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    out.push(tag);
    for &number in numbers {
        put_varint(out, number);
    }
}

/// Length plus one; 0 for none.
fn put_body(out: &mut Vec<u8>, body: Option<&[u8]>) {
    put_varint(out, body.map_or(0, |body| body.len() as u64 + 1));
    out.extend_from_slice(body.unwrap_or_default());
}

fn peer(conv: Conv) -> u64 {
    let Conv::Direct(peer) = conv;
    peer
}

/// The next entry.
pub(crate) fn entry<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, DecodeError> {
    let tag = r.byte("tag")?;
    Ok(match tag {
        tag::IDENTITY => Entry::Identity {
            user: UserId::new(number(r)?).ok_or(r.error("user", "is 0"))?,
            device: DeviceId(number(r)? as u32),
            body_bytes_max: number(r)?,
        },
        tag::OUTBOX => Entry::Outbox { outbox: OutboxId(number(r)?) },
        tag::INBOX => Entry::Inbox { epoch: number(r)?, position: number(r)? },
        tag::POSITION => Entry::Position { position: number(r)? },
        tag::SERIAL => Entry::Serial { serial: number(r)? },
        tag::GIVEN_OUT => Entry::GivenOut { conv: conv(r)?, n: number(r)? },
        tag::SEEN => Entry::Seen { conv: conv(r)?, first: number(r)?, last: number(r)? },
        tag::STREAMED => Entry::Streamed { conv: conv(r)?, first: number(r)?, last: number(r)? },
        tag::MESSAGE => message(r)?,
        tag::CHANGED => Entry::Changed {
            conv: conv(r)?,
            target: number(r)?,
            by: number(r)?,
            delete: number(r)? != 0,
            body: body(r)?,
        },
        tag::COMPOSED => composed(r, false)?,
        tag::COMPOSED_CHANGE => composed(r, true)?,
        tag::GAVE_UP => Entry::GaveUp { id: id(r)? },
        tag::MOVED => Entry::Moved { id: id(r)? },
        tag::SETTLED => Entry::Settled { id: id(r)? },
        tag::HEADING => Entry::Heading {
            conv: conv(r)?,
            head: number(r)?,
            time_ms: number(r)?,
            unread: number(r)?,
            read: number(r)?,
            preview_own: number(r)? != 0,
            preview: there(r)?,
        },
        tag::READ => Entry::Read { conv: conv(r)?, upto: number(r)? },
        tag::READ_WANTED => Entry::ReadWanted { conv: conv(r)?, upto: number(r)? },
        tag::RECEIPT => Entry::Receipt { conv: conv(r)?, read: number(r)?, delivered: marks(r)? },
        tag::SKIPPED => Entry::Skipped,
        tag::SKIPPED_FROM => Entry::SkippedFrom { conv: conv(r)?, from: number(r)? },
        tag::COMMANDED => Entry::Commanded {
            serial: number(r)?,
            outbox: OutboxId(number(r)?),
            n: number(r)?,
            command: there(r)?,
        },
        tag::COMMAND_MOVED => Entry::CommandMoved { serial: number(r)? },
        tag::COMMAND_SETTLED => Entry::CommandSettled { serial: number(r)? },
        tag::COMMANDS_GIVEN_OUT => Entry::CommandsGivenOut { n: number(r)? },
        tag::APPLIED => Entry::Applied { command: there(r)? },
        other => return Err(DecodeError::UnknownType(other)),
    })
}

fn message<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, DecodeError> {
    Ok(Entry::Message {
        conv: conv(r)?,
        conv_seq: number(r)?,
        time_ms: number(r)?,
        kind: {
            let kind = usize::try_from(number(r)?).ok();
            let kind = kind.and_then(|kind| Kind::ALL.get(kind).copied());
            kind.ok_or(r.error("kind", "is unknown"))?
        },
        hash: BodyHash(number(r)?),
        body: body(r)?,
    })
}

fn composed<'a>(r: &mut Reader<'a>, changes: bool) -> Result<Entry<'a>, DecodeError> {
    let (id, outbox, n, void) = (id(r)?, OutboxId(number(r)?), number(r)?, number(r)? != 0);
    let change = match changes {
        true => Some(Change { target: number(r)?, delete: number(r)? != 0 }),
        false => None,
    };
    Ok(Entry::Composed { id, outbox, n, void, change, body: there(r)? })
}

fn number(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    r.varint("number")
}

fn conv(r: &mut Reader<'_>) -> Result<Conv, DecodeError> {
    Ok(Conv::Direct(number(r)?))
}

fn id(r: &mut Reader<'_>) -> Result<SendId, DecodeError> {
    Ok(SendId { conv: conv(r)?, serial: number(r)? })
}

fn body<'a>(r: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    match number(r)? {
        0 => Ok(None),
        length => Ok(Some(r.take(length as usize - 1, "body")?)),
    }
}

fn there<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    body(r)?.ok_or(r.error("body", "is missing"))
}

fn marks<'a>(r: &mut Reader<'a>) -> Result<Marks<'a>, DecodeError> {
    let mut whole = r.clone();
    let from = r.offset();
    for _ in 0..number(r)? {
        number(r)?;
    }
    Ok(Marks::Bytes(whole.take(r.offset() - from, "marks")?))
}
