//! The client's journal as bytes: frames of length (u32), CRC32C (u32) and entries.
//!
//! A frame is one commit: it counts whole or not at all. Reading stops at the first frame that is
//! cut or damaged; the adapter truncates there before it appends again.

use wire::{BodyHash, Conv, DecodeError, DeviceId, OutboxId, Reader, Seq, UserId, put_varint};

use crate::SendId;
use crate::state::{Kind, State};

/// First bytes of every journal; the last one is the format's version.
const MAGIC: [u8; 8] = *b"ringjrn\x01";
/// A snapshot's frames close after this many bytes.
const SNAPSHOT_FRAME_BYTES: usize = 64 * 1024;

/// A journal that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Some other file, or one of another version.
    #[error("this is no client journal of this version")]
    Foreign,
    /// A whole frame with a right checksum makes no sense.
    #[error("the journal contradicts itself at byte {offset}")]
    Contradiction {
        /// Start of the frame.
        offset: usize,
    },
}

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
    Seen {
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
    Composed {
        id: SendId,
        outbox: OutboxId,
        n: Seq,
        void: bool,
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
}

/// Entries that wait for their commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Magic, if this is the journal's start.
    head: Vec<u8>,
    payload: Vec<u8>,
    /// Entries written so far.
    pub written: u64,
    /// Entries handed out by `take`.
    pub taken: u64,
    /// Entries that are durable.
    pub committed: u64,
}

impl Journal {
    /// The journal of a new client: starts with the magic.
    pub fn new() -> Journal {
        Journal { head: MAGIC.to_vec(), ..Journal::default() }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        put_entry(&mut self.payload, entry);
        self.written += 1;
    }

    /// The bytes that must become durable now; empty if none.
    pub fn take(&mut self) -> Vec<u8> {
        self.taken = self.written;
        let mut bytes = std::mem::take(&mut self.head);
        put_frame(&mut bytes, &self.payload);
        self.payload.clear();
        bytes
    }

    /// Whether there are bytes to take.
    pub fn is_dirty(&self) -> bool {
        self.taken < self.written
    }
}

fn put_frame(bytes: &mut Vec<u8>, payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    let length = u32::try_from(payload.len()).expect("commits stay below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// A journal that holds exactly this state.
pub(crate) fn snapshot(state: &State) -> Vec<u8> {
    let (mut bytes, mut payload) = (MAGIC.to_vec(), Vec::new());
    for entry in state.entries() {
        put_entry(&mut payload, &entry);
        if payload.len() >= SNAPSHOT_FRAME_BYTES {
            put_frame(&mut bytes, &payload);
            payload.clear();
        }
    }
    put_frame(&mut bytes, &payload);
    bytes
}

/// Reads a journal; with the state, how many of its bytes count. 0: nothing of it was committed.
pub(crate) fn read(journal: &[u8]) -> Result<(State, usize), JournalError> {
    let mut state = State::new();
    let head = &journal[..journal.len().min(MAGIC.len())];
    // A start that was cut, or whose blocks were never written.
    if head.len() < MAGIC.len() && MAGIC.starts_with(head) || head.iter().all(|&byte| byte == 0) {
        return Ok((state, 0));
    }
    if head != MAGIC {
        return Err(JournalError::Foreign);
    }
    let mut at = MAGIC.len();
    while let Some(payload) = frame_at(journal, at) {
        apply_all(&mut state, payload).ok_or(JournalError::Contradiction { offset: at })?;
        at += 8 + payload.len();
    }
    Ok(if at == MAGIC.len() { (state, 0) } else { (state, at) })
}

fn frame_at(journal: &[u8], at: usize) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = journal.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("took four")))
    };
    let (length, crc) = (word(at)? as usize, word(at + 4)?);
    let payload = journal.get(at + 8..(at + 8).checked_add(length)?)?;
    (length > 0 && crc32c::crc32c(payload) == crc).then_some(payload)
}

fn apply_all(state: &mut State, payload: &[u8]) -> Option<()> {
    let reader = &mut Reader::new(payload);
    while reader.offset() < payload.len() {
        let entry = entry(reader).ok()?;
        state.apply(&entry, 0).ok()?;
    }
    Some(())
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
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match *entry {
        Entry::Identity { user, device, body_bytes_max } => {
            put(out, tag::IDENTITY, &[user.get(), u64::from(device.0), body_bytes_max]);
        }
        Entry::Outbox { outbox } => put(out, tag::OUTBOX, &[outbox.0]),
        Entry::Inbox { epoch, position } => put(out, tag::INBOX, &[epoch, position]),
        Entry::Position { position } => put(out, tag::POSITION, &[position]),
        Entry::Serial { serial } => put(out, tag::SERIAL, &[serial]),
        Entry::GivenOut { conv, n } => put(out, tag::GIVEN_OUT, &[peer(conv), n]),
        Entry::Seen { conv, first, last } => put(out, tag::SEEN, &[peer(conv), first, last]),
        Entry::Message { conv, conv_seq, time_ms, kind, hash, body } => {
            put(out, tag::MESSAGE, &[peer(conv), conv_seq, time_ms, kind as u64, hash.0]);
            // Length plus one; 0 for none.
            put_varint(out, body.map_or(0, |body| body.len() as u64 + 1));
            out.extend_from_slice(body.unwrap_or_default());
        }
        Entry::Composed { id, outbox, n, void, body } => {
            put(out, tag::COMPOSED, &[peer(id.conv), id.serial, outbox.0, n, u64::from(void)]);
            put_varint(out, body.len() as u64 + 1);
            out.extend_from_slice(body);
        }
        Entry::GaveUp { id } => put(out, tag::GAVE_UP, &[peer(id.conv), id.serial]),
        Entry::Moved { id } => put(out, tag::MOVED, &[peer(id.conv), id.serial]),
        Entry::Settled { id } => put(out, tag::SETTLED, &[peer(id.conv), id.serial]),
    }
}

fn put(out: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    out.push(tag);
    for &number in numbers {
        put_varint(out, number);
    }
}

fn peer(conv: Conv) -> u64 {
    let Conv::Direct(peer) = conv;
    peer
}

fn entry<'a>(r: &mut Reader<'a>) -> Result<Entry<'a>, DecodeError> {
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
        tag::MESSAGE => Entry::Message {
            conv: conv(r)?,
            conv_seq: number(r)?,
            time_ms: number(r)?,
            kind: match number(r)? {
                0 => Kind::Peer,
                1 => Kind::Own,
                2 => Kind::OwnVoid,
                _ => return Err(r.error("kind", "is unknown")),
            },
            hash: BodyHash(number(r)?),
            body: body(r)?,
        },
        tag::COMPOSED => Entry::Composed {
            id: id(r)?,
            outbox: OutboxId(number(r)?),
            n: number(r)?,
            void: number(r)? != 0,
            body: body(r)?.ok_or(r.error("body", "is missing"))?,
        },
        tag::GAVE_UP => Entry::GaveUp { id: id(r)? },
        tag::MOVED => Entry::Moved { id: id(r)? },
        tag::SETTLED => Entry::Settled { id: id(r)? },
        other => return Err(DecodeError::UnknownType(other)),
    })
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
