//! Values. A reader takes fields from the front; a row that ends early is broken.

use crate::read::ReadError;
use bytes::Bytes;
use persistence::{Content, ConvKey, Entry, EntryKind, MessageRow, PlaceAt};
use wire::{BodyHash, OutboxId, Seq, UserId};

const MESSAGE: u8 = 0;
const VOID: u8 = 1;
const PEER: u8 = 0;
const OWN: u8 = 1;
const OWN_VOID: u8 = 2;

/// time, sender, kind, [hash | body]
pub fn message(row: &MessageRow) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    out.extend_from_slice(&row.time_us.to_be_bytes());
    out.extend_from_slice(&row.sender.get().to_be_bytes());
    match &row.content {
        Content::Body(body) => {
            out.push(MESSAGE);
            out.extend_from_slice(body);
        }
        other => {
            out.push(VOID);
            out.extend_from_slice(&other.hash().0.to_be_bytes());
        }
    }
    out
}

/// The body of a message row.
pub fn body(row: &[u8]) -> Result<Bytes, ReadError> {
    match row.get(16) {
        Some(&MESSAGE) => Ok(Bytes::copy_from_slice(&row[17..])),
        _ => Err(ReadError::Row("a peer's entry refers to no message")),
    }
}

/// peer, conv_seq, time, kind, [outbox, n, hash]
pub fn entry(user: UserId, entry: &Entry) -> Vec<u8> {
    let (EntryKind::Peer { at, .. } | EntryKind::Own { at, .. }) = &entry.kind else {
        unreachable!("no core writes it yet")
    };
    let peer = at.conv.peer_of(user).get();
    let mut out = Vec::with_capacity(49);
    for number in [peer, at.conv_seq, at.time_us] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    match entry.kind {
        EntryKind::Own { outbox, n, void, hash, .. } => {
            out.push(if void { OWN_VOID } else { OWN });
            for number in [outbox.0, n, hash.0] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        _ => out.push(PEER),
    }
    out
}

/// Reads an entry; a peer's message comes without its body.
pub fn read_entry(user: UserId, inbox_seq: Seq, row: &[u8]) -> Result<Entry, ReadError> {
    let peer = UserId::new(number(row, 0)?).ok_or(ReadError::Row("an entry of user 0"))?;
    let conv = ConvKey::new(user, peer).ok_or(ReadError::Row("an entry of oneself"))?;
    let at = PlaceAt { conv, conv_seq: number(row, 8)?, time_us: number(row, 16)? };
    let kind = match row.get(24) {
        Some(&PEER) => EntryKind::Peer { at, body: Bytes::new() },
        Some(&kind @ (OWN | OWN_VOID)) => EntryKind::Own {
            at,
            outbox: OutboxId(number(row, 25)?),
            n: number(row, 33)?,
            void: kind == OWN_VOID,
            change: None,
            hash: BodyHash(number(row, 41)?),
        },
        _ => return Err(ReadError::Row("an entry of an unknown kind")),
    };
    Ok(Entry { inbox_seq, kind })
}

/// The big-endian number at a byte.
pub fn number(row: &[u8], at: usize) -> Result<u64, ReadError> {
    let bytes = row.get(at..at + 8).ok_or(ReadError::Row("a row is cut off"))?;
    Ok(u64::from_be_bytes(bytes.try_into().expect("took eight")))
}
