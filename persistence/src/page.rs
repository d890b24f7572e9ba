//! Reading ranges: inboxes, conversations, lists.

use crate::{ChangeRow, ContactState, Content, ConvKey, MessageRow};
use bytes::Bytes;
use wire::{BodyHash, Change, OutboxId, Seq, UserId};

/// A range of an inbox to read: entries in (`after`, `upto`], lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whose inbox.
    pub user: UserId,
    /// Exclusive.
    pub after: Seq,
    /// Inclusive.
    pub upto: Seq,
    /// Stops after this many entries …
    pub entries_max: u32,
    /// … or once the bodies pass this many bytes; at least one entry is returned.
    pub bytes_max: u32,
}

/// The answer to a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Lowest number first.
    pub entries: Vec<Entry>,
    /// Every entry in (`Scan::after`, `covered`] is here.
    pub covered: Seq,
}

/// An inbox entry in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub inbox_seq: Seq,
    /// What it is.
    pub kind: EntryKind,
}

/// A place of a conversation, and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceAt {
    /// The conversation.
    pub conv: ConvKey,
    /// The place.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
}

/// What an inbox entry is, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The peer's message.
    Peer {
        /// Its place.
        at: PlaceAt,
        /// The message; empty if it is deleted. In a batch always empty: bodies stand once, in
        /// `Batch::messages`, and a scan joins them.
        body: Bytes,
    },
    /// The peer's edit or delete of an earlier message.
    PeerChange {
        /// Its own place.
        at: PlaceAt,
        /// Of which message. An edit of what is deleted by now reads as a delete.
        change: Change,
        /// The newest text of the target, which a later edit may have given it; in a batch empty.
        body: Bytes,
    },
    /// A send of one of the user's own devices.
    Own {
        /// Its place.
        at: PlaceAt,
        /// From this outbox.
        outbox: OutboxId,
        /// Under this number.
        n: Seq,
        /// The number was given up.
        void: bool,
        /// What it does to an earlier message.
        change: Option<Change>,
        /// Content hash of the body.
        hash: BodyHash,
    },
    /// The peer's marks.
    Receipt {
        /// Where.
        conv: ConvKey,
        /// The read mark.
        read: Seq,
        /// How far the peer's devices are, farthest first.
        delivered: Vec<Seq>,
    },
    /// The user's own read mark.
    ReadMark {
        /// Where.
        conv: ConvKey,
        /// Everything up to here is read.
        upto: Seq,
    },
    /// A command was taken.
    Commanded {
        /// From this outbox.
        outbox: OutboxId,
        /// Under this number.
        n: Seq,
        /// 0: applied.
        code: u64,
        /// Unix microseconds.
        time_us: u64,
        /// The command's bytes.
        command: Bytes,
    },
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Places of a conversation.
    Messages {
        /// Which.
        conv: ConvKey,
        /// The first place to read, inclusive.
        from: Seq,
        /// Upwards from there, otherwise downwards.
        newer: bool,
        /// Stops after this many …
        limit: u32,
        /// … or once the bodies pass this many bytes; at least one is returned if one is there.
        bytes_max: u32,
    },
    /// A user's conversations, the one with the newest message entry first.
    Chats {
        /// Whose.
        user: UserId,
        /// Only those whose newest entry is below; `u64::MAX`: all.
        before: Seq,
        /// Stops after this many.
        limit: u32,
    },
    /// Who is a user's contact or blocked, lowest number first.
    Contacts {
        /// Whose.
        user: UserId,
        /// Only users with a higher number; 0: all.
        after: u64,
        /// Stops after this many.
        limit: u32,
    },
}

/// What stands on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paged {
    /// See `Page::Messages`. A place that the store does not have is left out.
    Messages(Vec<StoredMessage>),
    /// See `Page::Chats`: conversation and inbox number of its newest message.
    Chats(Vec<(ConvKey, Seq)>),
    /// See `Page::Contacts`.
    Contacts(Vec<(UserId, ContactState)>),
}

/// A place of a conversation as history shows it: later changes are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The place.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Outbox and number that it came from; `None` where only the guest's home has flushed it.
    pub origin: Option<(OutboxId, Seq)>,
    /// Content hash of what was sent, also where it is edited, deleted or given up.
    pub hash: BodyHash,
    /// It was given up.
    pub void: bool,
    /// It changes this earlier message.
    pub change: Option<Change>,
    /// It is deleted for everyone.
    pub deleted: bool,
    /// Place of the newest edit; 0: none.
    pub edited_by: Seq,
    /// The text as it is now. Of an edit: its text while it is its target's newest, then empty.
    pub body: Bytes,
    /// The text as it was sent, of a message that is edited; otherwise empty.
    pub original: Bytes,
}

impl StoredMessage {
    /// The message of a row as history shows it. `change`: what changed it, or where the row is a
    /// change itself, what changed its target.
    pub fn new(row: &MessageRow, change: Option<&ChangeRow>) -> StoredMessage {
        let mut message = StoredMessage {
            conv_seq: row.conv_seq,
            time_us: row.time_us,
            sender: row.sender,
            origin: row.origin,
            hash: row.content.hash(),
            void: matches!(row.content, Content::Void(_)),
            change: None,
            deleted: matches!(row.content, Content::Emptied(_)),
            edited_by: 0,
            body: row.content.body(),
            original: Bytes::new(),
        };
        let of_row = change.filter(|change| change.conv_seq == row.conv_seq);
        match (&row.content, change) {
            (Content::Change(own, _), _) => {
                message.change = Some(*own);
                message.body = of_row.map(|change| change.body.clone()).unwrap_or_default();
            }
            (Content::Body(_), Some(change)) if change.delete => {
                (message.deleted, message.body) = (true, Bytes::new());
            }
            (Content::Body(_), Some(change)) => {
                message.edited_by = change.conv_seq;
                message.original = std::mem::replace(&mut message.body, change.body.clone());
            }
            _ => {}
        }
        message
    }
}
