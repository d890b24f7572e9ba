//! Rows: values that only grow. Whatever order records come in, and however often, joining what
//! they say gives the same row; so a flush after a crash never moves one back.

use crate::{ConvKey, DeviceInfo, PeerMarks};
use bytes::Bytes;
use std::collections::{BTreeMap, btree_map::Entry};
use wire::{BodyHash, Change, DeviceId, OutboxId, Seq, UserId, content_hash};

/// A value of the store. `join` is commutative, associative and idempotent.
pub trait Row {
    /// Takes over what `other` knows better.
    fn join(&mut self, other: Self);
}

/// Joins a value into a row, or makes the row; true if it is new.
pub fn join<K: Ord, V: Row>(rows: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match rows.entry(key) {
        Entry::Vacant(row) => {
            row.insert(value);
            true
        }
        Entry::Occupied(mut row) => {
            row.get_mut().join(value);
            false
        }
    }
}

fn raise<T: Ord>(row: &mut T, other: T) {
    if other > *row {
        *row = other;
    }
}

/// Heads, marks, cursors, epochs, times.
impl Row for u64 {
    fn join(&mut self, other: u64) {
        raise(self, other);
    }
}

/// A conversation's newest place, and its time.
impl Row for (Seq, u64) {
    fn join(&mut self, other: (Seq, u64)) {
        raise(self, other);
    }
}

/// An outbox: the number that it takes next, and its device, which its first record names.
impl Row for (Seq, Option<DeviceId>) {
    fn join(&mut self, (next, device): (Seq, Option<DeviceId>)) {
        raise(&mut self.0, next);
        raise(&mut self.1, device);
    }
}

/// A value that was set by the inbox entry of this number; a later one replaces it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest<T> {
    /// Number of the inbox entry.
    pub by: Seq,
    /// What it set.
    pub value: T,
}

impl<T> Row for Latest<T> {
    fn join(&mut self, other: Latest<T>) {
        if other.by > self.by {
            *self = other;
        }
    }
}

impl Row for PeerMarks {
    fn join(&mut self, other: PeerMarks) {
        raise(&mut self.read, other.read);
        if self.delivered.len() < other.delivered.len() {
            self.delivered.resize(other.delivered.len(), 0);
        }
        // Both are sorted, so the higher one at each index is sorted too.
        self.delivered.iter_mut().zip(other.delivered).for_each(|(mark, other)| mark.join(other));
    }
}

/// The latest attach counts; revoked is for ever.
impl Row for DeviceInfo {
    fn join(&mut self, other: DeviceInfo) {
        let revoked = self.revoked | other.revoked;
        raise(self, other);
        self.revoked = revoked;
    }
}

/// What changed a message: a delete wins, then the later edit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeRow {
    /// Deleted for everyone.
    pub delete: bool,
    /// Place of the change.
    pub conv_seq: Seq,
    /// The new text; empty in a delete.
    pub body: Bytes,
}

impl Row for ChangeRow {
    fn join(&mut self, other: ChangeRow) {
        raise(self, other);
    }
}

/// A row of the messages table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Outbox and number that it came from. `None`: it comes from the guest's home, which does
    /// not know.
    pub origin: Option<(OutboxId, Seq)>,
    /// What it is.
    pub content: Content,
}

/// What stands at a place of a conversation. A higher one replaces a lower one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A message.
    Body(Bytes),
    /// Given up: hash of the body that was given up.
    Void(BodyHash),
    /// A change of an earlier message, and its content hash. Its text stands in `Batch::changes`.
    Change(Change, BodyHash),
    /// A message whose body went because it was deleted for everyone: its hash.
    Emptied(BodyHash),
}

impl Content {
    /// Content hash of what was sent.
    pub fn hash(&self) -> BodyHash {
        match self {
            Content::Body(body) => content_hash(body, None),
            Content::Void(hash) | Content::Change(_, hash) | Content::Emptied(hash) => *hash,
        }
    }

    /// The body; empty where there is none here.
    pub fn body(&self) -> Bytes {
        self.clone().into_body()
    }

    /// As `body`, without counting one reader more.
    pub fn into_body(self) -> Bytes {
        if let Content::Body(body) = self { body } else { Bytes::new() }
    }

    /// The body goes; true if there was one.
    pub fn empty(&mut self) -> bool {
        let has_body = matches!(self, Content::Body(_));
        if has_body {
            *self = Content::Emptied(self.hash());
        }
        has_body
    }
}

impl MessageRow {
    /// A message that counts as unread until it is read: no change, and not given up.
    pub fn is_plain(&self) -> bool {
        matches!(self.content, Content::Body(_) | Content::Emptied(_))
    }
}

impl Row for MessageRow {
    fn join(&mut self, other: MessageRow) {
        raise(&mut self.origin, other.origin);
        raise(&mut self.content, other.content);
    }
}

/// Ranges of places, as `add_range` keeps them.
impl Row for Vec<(Seq, Seq)> {
    fn join(&mut self, other: Vec<(Seq, Seq)>) {
        for (first, last) in other {
            add_range(self, first, last);
        }
    }
}

/// Adds `first` ..= `last` to ranges that are sorted and have a gap between any two of them, and
/// keeps them so.
pub fn add_range(ranges: &mut Vec<(Seq, Seq)>, mut first: Seq, mut last: Seq) {
    assert!(first <= last, "{first} ..= {last} is a range");
    // Those that it touches or overlaps become part of it.
    let start = ranges.partition_point(|range| range.1 < first.saturating_sub(1));
    let end = ranges.partition_point(|range| range.0 <= last.saturating_add(1));
    if start < end {
        first = first.min(ranges[start].0);
        last = last.max(ranges[end - 1].1);
    }
    ranges.splice(start..end, [(first, last)]);
}
