//! Records: what a core's log holds, as values.

use crate::ConvKey;
use wire::{BodyHash, DeviceId, OutboxId, Seq, UserId};

/// One durable fact. Applying a record twice, or after a newer one, changes nothing: every record
/// carries absolute numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message (or a void) got its place in a conversation.
    Message(MessageRecord<'a>),
    /// A fan-out was taken into the inbox of a user whose home is not the conversation's owner.
    Inbox(InboxRecord<'a>),
    /// A device's cursor; the first one of a device also makes it known.
    Cursor {
        /// Whose.
        user: UserId,
        /// Which device.
        device: DeviceId,
        /// Everything up to here is committed on the device.
        acked: Seq,
    },
    /// The user's inbox got a new epoch: a device claimed a number above its head.
    Epoch {
        /// Whose.
        user: UserId,
        /// The new epoch.
        epoch: u64,
    },
    /// Everything before `flushed` is in the backend, and the fan-outs of every message before
    /// `confirmed` are.
    Checkpoint {
        /// See above.
        flushed: u64,
        /// See above.
        confirmed: u64,
    },
}

impl Record<'_> {
    /// The record's own time in Unix microseconds, where it has one.
    pub fn time_us(&self) -> Option<u64> {
        match self {
            Record::Message(message) => Some(message.time_us),
            Record::Inbox(inbox) => Some(inbox.time_us),
            Record::Cursor { .. } | Record::Epoch { .. } | Record::Checkpoint { .. } => None,
        }
    }
}

/// A message at its owner. It owes a fan-out to each participant without an inbox number here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix microseconds; never goes back within a core's log.
    pub time_us: u64,
    /// Who sent it: one of the two participants.
    pub sender: UserId,
    /// The outbox that it came from.
    pub outbox: OutboxId,
    /// On the outbox's first message in this conversation: its device, kept with the outbox.
    pub new_outbox_of: Option<DeviceId>,
    /// The send's number; the outbox's `next` is then `n + 1`.
    pub n: Seq,
    /// Given up: `body` is empty and `hash` is of the body that was given up.
    pub void: Option<BodyHash>,
    /// Inbox numbers of the participants (lower user first) whose entries are part of this very
    /// record, because their home is the owner's core. 0 where the entry is elsewhere or owed.
    /// A void makes an entry for its sender only.
    pub inbox: [Seq; 2],
    /// Which participants' marks this record moves (lower user first): those whose home is here.
    pub marks: [bool; 2],
    /// The message; empty in a void.
    pub body: &'a [u8],
}

/// A fan-out at a participant's home. It also moves the mark of (user, conversation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxRecord<'a> {
    /// Whose inbox.
    pub user: UserId,
    /// Number of the entry; 0 where only the mark moves.
    pub inbox_seq: Seq,
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation: the new mark.
    pub conv_seq: Seq,
    /// Time of the message, Unix microseconds, as its owner gave it.
    pub time_us: u64,
    /// What the entry is.
    pub kind: InboxKind<'a>,
}

/// What an inbox entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxKind<'a> {
    /// The peer's message.
    Peer {
        /// The message.
        body: &'a [u8],
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
    /// The peer gave a message up: no entry, the mark moves.
    Nothing,
}
