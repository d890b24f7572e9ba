//! The contract of a backend: batches in, loads and scans out.

use crate::{Batch, ConvKey};
use bytes::Bytes;
use wire::{BodyHash, DeviceId, OutboxId, Seq, UserId};

/// The store behind the log. Calls block; `engine` runs them on threads of their own, one for
/// writes and one for reads. A read sees every batch whose `write` returned.
pub trait Backend: Send + Sync {
    /// Writes a batch and makes it durable. On an error any part may be there; the same batch is
    /// written again. The batch's maps never move a row back: after a crash older records are
    /// flushed again, and the one with a row's newest value may be retired by then.
    fn write(&self, batch: &Batch) -> Result<(), BackendError>;
    /// Reads one entity.
    fn load(&self, load: &Load) -> Result<Loaded, BackendError>;
    /// Reads a range of an inbox.
    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError>;
}

/// Why a backend could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// May work later; the same call is made again.
    #[error("the store does not answer at the moment: {0}")]
    Unavailable(String),
    /// Will not work again without a person; the message names path and cure.
    #[error("the store is broken: {0}")]
    Broken(String),
}

/// One entity to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// A conversation's head and outboxes.
    Conversation(ConvKey),
    /// A user's inbox head, epoch and devices.
    User(UserId),
    /// The mark of (user, conversation).
    Mark(UserId, ConvKey),
}

/// What was read; default values where nothing was ever written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// See `Load::Conversation`.
    Conversation(ConvState),
    /// See `Load::User`.
    User(UserState),
    /// See `Load::Mark`: newest place taken.
    Mark(Seq),
}

impl Loaded {
    /// What a store says where nothing was ever written.
    pub fn empty(load: &Load) -> Loaded {
        match load {
            Load::Conversation(_) => Loaded::Conversation(ConvState::default()),
            Load::User(_) => Loaded::User(UserState::default()),
            Load::Mark(..) => Loaded::Mark(0),
        }
    }
}

/// A conversation in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvState {
    /// Newest place.
    pub head: Seq,
    /// Its time, Unix microseconds.
    pub time_us: u64,
    /// Its outboxes, in any order.
    pub outboxes: Vec<OutboxState>,
}

/// One outbox in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Whose: one of the participants.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Its name.
    pub outbox: OutboxId,
    /// The number that is taken next.
    pub next: Seq,
}

/// A user in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserState {
    /// Newest inbox number.
    pub head: Seq,
    /// Inbox epoch of this user alone (the server adds the data directory's own).
    pub epoch: u64,
    /// Known devices and their cursors.
    pub devices: Vec<(DeviceId, Seq)>,
}

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

/// An inbox entry in the store. Bodies stand once, in the messages table; a scan joins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub inbox_seq: Seq,
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What an inbox entry is, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// The peer's message. In a batch the body is empty: it stands in `Batch::messages`.
    Peer {
        /// The message.
        body: Bytes,
    },
    /// A send of one of the user's own devices.
    Own {
        /// From this outbox.
        outbox: OutboxId,
        /// Under this number.
        n: Seq,
        /// The number was given up.
        void: bool,
        /// Hash of the body.
        hash: BodyHash,
    },
}
