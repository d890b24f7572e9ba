//! Values of stores: fields one after the other, numbers as varints. A row that ends early, or
//! goes on behind its last field, is broken.

use crate::{ChangeRow, Content, ConvKey, DeviceInfo, Entry, EntryKind, Latest, MessageRow};
use crate::{PeerMarks, PlaceAt, Row};
use bytes::Bytes;
use wire::{BodyHash, Change, ConvSettings, DecodeError, DeviceId, OutboxId, Privacy, Reader};
use wire::{Seq, UserId, Visibility, put_varint};

type Read<T> = Result<T, DecodeError>;

/// A joined row that stands in a table as it is.
pub trait Stored: Row + Clone + PartialEq {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn get(r: &mut Reader<'_>) -> Read<Self>;
}

/// The bytes of a row.
pub fn written(row: &impl Stored) -> Vec<u8> {
    let mut out = Vec::new();
    row.put(&mut out);
    out
}

/// The row in these bytes.
pub fn read<T: Stored>(bytes: &[u8]) -> Read<T> {
    let mut r = Reader::new(bytes);
    let row = T::get(&mut r)?;
    r.end("row")?;
    Ok(row)
}

impl Stored for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }
    fn get(r: &mut Reader<'_>) -> Read<u64> {
        r.varint("number")
    }
}

impl Stored for (Seq, u64) {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0);
        put_varint(out, self.1);
    }
    fn get(r: &mut Reader<'_>) -> Read<(Seq, u64)> {
        Ok((r.varint("head")?, r.varint("time")?))
    }
}

impl Stored for (Seq, Option<DeviceId>) {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0);
        if let Some(device) = self.1 {
            put_varint(out, u64::from(device.0));
        }
    }
    fn get(r: &mut Reader<'_>) -> Read<(Seq, Option<DeviceId>)> {
        let next = r.varint("next")?;
        let device = if ended(r) { None } else { Some(r.varint("device")?) };
        let device = device.map(u32::try_from).transpose();
        Ok((next, device.map_err(|_| r.error("device", "is too long"))?.map(DeviceId)))
    }
}

/// A value that a later one replaces.
pub trait Setting: Clone + PartialEq {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn get(r: &mut Reader<'_>) -> Read<Self>;
}

impl<T: Setting> Stored for Latest<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.by);
        self.value.put(out);
    }
    fn get(r: &mut Reader<'_>) -> Read<Latest<T>> {
        Ok(Latest { by: r.varint("inbox_seq")?, value: T::get(r)? })
    }
}

impl Setting for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(r: &mut Reader<'_>) -> Read<bool> {
        Ok(r.byte("flag")? != 0)
    }
}

impl Setting for Option<String> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        out.extend_from_slice(self.as_deref().unwrap_or_default().as_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Read<Option<String>> {
        let there = r.byte("contact")? != 0;
        let name = text(r.rest(), r)?;
        Ok(there.then_some(name))
    }
}

impl Setting for Privacy {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.visibility.number(), u8::from(self.refuse_strangers)]);
    }
    fn get(r: &mut Reader<'_>) -> Read<Privacy> {
        let visibility = Visibility::from_number(r.byte("visibility")?);
        let visibility = visibility.ok_or(r.error("visibility", "is unknown"))?;
        Ok(Privacy { visibility, refuse_strangers: r.byte("refuse_strangers")? != 0 })
    }
}

impl Setting for ConvSettings {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.muted_until_ms);
        out.extend([u8::from(self.pinned), u8::from(self.archived)]);
    }
    fn get(r: &mut Reader<'_>) -> Read<ConvSettings> {
        Ok(ConvSettings {
            muted_until_ms: r.varint("muted_until_ms")?,
            pinned: r.byte("pinned")? != 0,
            archived: r.byte("archived")? != 0,
        })
    }
}

impl Stored for PeerMarks {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.read);
        self.delivered.iter().for_each(|&mark| put_varint(out, mark));
    }
    fn get(r: &mut Reader<'_>) -> Read<PeerMarks> {
        let mut marks = PeerMarks { read: r.varint("read")?, delivered: Vec::new() };
        while !ended(r) {
            marks.delivered.push(r.varint("delivered")?);
        }
        Ok(marks)
    }
}

impl Stored for DeviceInfo {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.attached_us);
        out.push(u8::from(self.revoked));
        put_varint(out, self.name.len() as u64);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(self.platform.as_bytes());
    }
    fn get(r: &mut Reader<'_>) -> Read<DeviceInfo> {
        let (attached_us, revoked) = (r.varint("attached")?, r.byte("revoked")? != 0);
        let length = r.varint("name")? as usize;
        let name = text(r.take(length, "name")?, r)?;
        Ok(DeviceInfo { attached_us, name, platform: text(r.rest(), r)?, revoked })
    }
}

impl Stored for ChangeRow {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.delete));
        put_varint(out, self.conv_seq);
        out.extend_from_slice(&self.body);
    }
    fn get(r: &mut Reader<'_>) -> Read<ChangeRow> {
        let (delete, conv_seq) = (r.byte("delete")? != 0, r.varint("conv_seq")?);
        Ok(ChangeRow { delete, conv_seq, body: Bytes::copy_from_slice(r.rest()) })
    }
}

const BODY: u8 = 0;
const VOID: u8 = 1;
const EDIT: u8 = 2;
const DELETE: u8 = 3;
const EMPTIED: u8 = 4;
const SENDER_HIGH: u8 = 0x10;
const ORIGIN: u8 = 0x20;

/// kind, time, \[outbox, n\], \[target\], \[hash | body\]
pub fn message(row: &MessageRow) -> Vec<u8> {
    let (kind, body): (u8, &[u8]) = match &row.content {
        Content::Body(body) => (BODY, body),
        Content::Void(_) => (VOID, &[]),
        Content::Change(change, _) => (if change.delete { DELETE } else { EDIT }, &[]),
        Content::Emptied(_) => (EMPTIED, &[]),
    };
    let high = row.sender == row.conv.participants()[1];
    let mut out = Vec::with_capacity(40 + body.len());
    out.push(kind | if high { SENDER_HIGH } else { 0 } | row.origin.map_or(0, |_| ORIGIN));
    put_varint(&mut out, row.time_us);
    if let Some((outbox, n)) = row.origin {
        out.extend_from_slice(&outbox.0.to_le_bytes());
        put_varint(&mut out, n);
    }
    if let Content::Change(change, _) = row.content {
        put_varint(&mut out, change.target);
    }
    match &row.content {
        Content::Body(body) => out.extend_from_slice(body),
        other => out.extend_from_slice(&other.hash().0.to_le_bytes()),
    }
    out
}

/// The message row at a place.
pub fn read_message(conv: ConvKey, conv_seq: Seq, row: &[u8]) -> Read<MessageRow> {
    let r = &mut Reader::new(row);
    let kind = r.byte("kind")?;
    let time_us = r.varint("time")?;
    let sender = conv.participants()[usize::from(kind & SENDER_HIGH != 0)];
    let origin = match kind & ORIGIN {
        0 => None,
        _ => Some((OutboxId(r.u64_le("outbox")?), r.varint("n")?)),
    };
    let content = match kind & !(SENDER_HIGH | ORIGIN) {
        BODY => Content::Body(Bytes::copy_from_slice(r.rest())),
        VOID => Content::Void(hash(r)?),
        kind @ (EDIT | DELETE) => {
            let target = r.varint("target")?;
            Content::Change(Change { target, delete: kind == DELETE }, hash(r)?)
        }
        EMPTIED => Content::Emptied(hash(r)?),
        _ => return Err(r.error("kind", "is unknown")),
    };
    r.end("message")?;
    Ok(MessageRow { conv, conv_seq, time_us, sender, origin, content })
}

const PEER: u8 = 0;
const OWN: u8 = 1;
const OWN_VOID: u8 = 2;
const PEER_EDIT: u8 = 3;
const PEER_DELETE: u8 = 4;
const OWN_EDIT: u8 = 5;
const OWN_DELETE: u8 = 6;
const RECEIPT: u8 = 7;
const READ_MARK: u8 = 8;
const COMMANDED: u8 = 9;

/// kind, then of a message: peer, conv_seq, time, \[target\], \[outbox, n, hash\]; of the others
/// what they say.
pub fn entry(user: UserId, entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    let peer = |conv: &ConvKey| conv.peer_of(user).get();
    match &entry.kind {
        EntryKind::Peer { at, .. } => put_place(&mut out, PEER, user, at, None),
        EntryKind::PeerChange { at, change, .. } => {
            let kind = if change.delete { PEER_DELETE } else { PEER_EDIT };
            put_place(&mut out, kind, user, at, Some(change));
        }
        EntryKind::Own { at, outbox, n, void, change, hash } => {
            let kind = match change {
                Some(change) if change.delete => OWN_DELETE,
                Some(_) => OWN_EDIT,
                None => [OWN, OWN_VOID][usize::from(*void)],
            };
            put_place(&mut out, kind, user, at, change.as_ref());
            out.extend_from_slice(&outbox.0.to_le_bytes());
            put_varint(&mut out, *n);
            out.extend_from_slice(&hash.0.to_le_bytes());
        }
        EntryKind::Receipt { conv, read, delivered } => {
            out.push(RECEIPT);
            put_varint(&mut out, peer(conv));
            PeerMarks { read: *read, delivered: delivered.clone() }.put(&mut out);
        }
        EntryKind::ReadMark { conv, upto } => {
            out.push(READ_MARK);
            put_varint(&mut out, peer(conv));
            put_varint(&mut out, *upto);
        }
        EntryKind::Commanded { outbox, n, code, time_us, command } => {
            out.push(COMMANDED);
            out.extend_from_slice(&outbox.0.to_le_bytes());
            [*n, *code, *time_us].into_iter().for_each(|number| put_varint(&mut out, number));
            out.extend_from_slice(command);
        }
    }
    out
}

fn put_place(out: &mut Vec<u8>, kind: u8, user: UserId, at: &PlaceAt, change: Option<&Change>) {
    out.push(kind);
    put_varint(out, at.conv.peer_of(user).get());
    put_varint(out, at.conv_seq);
    put_varint(out, at.time_us);
    if let Some(change) = change {
        put_varint(out, change.target);
    }
}

/// Reads an entry; a peer's message or change comes without its body.
pub fn read_entry(user: UserId, inbox_seq: Seq, row: &[u8]) -> Read<Entry> {
    let r = &mut Reader::new(row);
    let kind = match r.byte("kind")? {
        COMMANDED => EntryKind::Commanded {
            outbox: OutboxId(r.u64_le("outbox")?),
            n: r.varint("n")?,
            code: r.varint("code")?,
            time_us: r.varint("time")?,
            command: Bytes::copy_from_slice(r.rest()),
        },
        kind => {
            let peer = UserId::new(r.varint("peer")?);
            let conv = peer.and_then(|peer| ConvKey::new(user, peer));
            let conv = conv.ok_or(r.error("peer", "is nobody or oneself"))?;
            match kind {
                RECEIPT => {
                    let PeerMarks { read, delivered } = PeerMarks::get(r)?;
                    EntryKind::Receipt { conv, read, delivered }
                }
                READ_MARK => EntryKind::ReadMark { conv, upto: r.varint("upto")? },
                _ => read_placed(r, kind, conv)?,
            }
        }
    };
    r.end("entry")?;
    Ok(Entry { inbox_seq, kind })
}

fn read_placed(r: &mut Reader<'_>, kind: u8, conv: ConvKey) -> Read<EntryKind> {
    let at = PlaceAt { conv, conv_seq: r.varint("conv_seq")?, time_us: r.varint("time")? };
    let change = match kind {
        PEER | OWN | OWN_VOID => None,
        PEER_EDIT | OWN_EDIT => Some(Change { target: r.varint("target")?, delete: false }),
        PEER_DELETE | OWN_DELETE => Some(Change { target: r.varint("target")?, delete: true }),
        _ => return Err(r.error("kind", "is unknown")),
    };
    Ok(match (kind, change) {
        (PEER, _) => EntryKind::Peer { at, body: Bytes::new() },
        (PEER_EDIT | PEER_DELETE, Some(change)) => {
            EntryKind::PeerChange { at, change, body: Bytes::new() }
        }
        _ => EntryKind::Own {
            at,
            outbox: OutboxId(r.u64_le("outbox")?),
            n: r.varint("n")?,
            void: kind == OWN_VOID,
            change,
            hash: hash(r)?,
        },
    })
}

fn hash(r: &mut Reader<'_>) -> Read<BodyHash> {
    Ok(BodyHash(r.u64_le("hash")?))
}

fn text(bytes: &[u8], r: &Reader<'_>) -> Read<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| r.error("text", "is no UTF-8"))
}

fn ended(r: &Reader<'_>) -> bool {
    r.end("row").is_ok()
}

/// The big-endian number at a byte of a key.
pub fn number(key: &[u8], at: usize) -> Read<u64> {
    let bytes = Reader::new(key.get(at..).unwrap_or_default()).take(8, "key")?;
    Ok(u64::from_be_bytes(bytes.try_into().expect("took eight")))
}

/// The device at a byte of a key.
pub fn device(key: &[u8], at: usize) -> Read<DeviceId> {
    let bytes = Reader::new(key.get(at..).unwrap_or_default()).take(4, "key")?;
    Ok(DeviceId(u32::from_be_bytes(bytes.try_into().expect("took four"))))
}
