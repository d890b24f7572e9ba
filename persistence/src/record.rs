//! Records: what a core's log holds, as values.

use crate::ConvKey;
use wire::{BodyHash, Change, Command, DeviceId, OutboxId, Seq, UserId};

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
    /// A user's own read mark.
    Read {
        /// Whose.
        user: UserId,
        /// Where.
        conv: ConvKey,
        /// Everything up to here is read.
        upto: Seq,
        /// Number of the inbox entry that says so; 0: there is none.
        inbox_seq: Seq,
    },
    /// How far one of a user's devices has a conversation.
    Delivered {
        /// Whose.
        user: UserId,
        /// Where.
        conv: ConvKey,
        /// Which device.
        device: DeviceId,
        /// Everything up to here is on it.
        upto: Seq,
    },
    /// The peer's marks, as the peer's home told them.
    Receipt {
        /// Who learns it.
        user: UserId,
        /// Where.
        conv: ConvKey,
        /// The peer's read mark.
        read: Seq,
        /// How far the peer's devices are, farthest first.
        delivered: Vec<Seq>,
        /// Number of the inbox entry that says so; 0: there is none.
        inbox_seq: Seq,
    },
    /// A command was taken.
    Command(CommandRecord<'a>),
    /// A device attached, or was revoked.
    Device {
        /// Whose.
        user: UserId,
        /// Which.
        device: DeviceId,
        /// It may never attach again.
        revoked: bool,
        /// When it attached last, Unix microseconds.
        attached_us: u64,
        /// As it calls itself.
        name: &'a str,
        /// As it says.
        platform: &'a str,
        /// Its cursor, as in `Record::Cursor`.
        acked: Seq,
    },
    /// A user was seen.
    LastSeen {
        /// Whose.
        user: UserId,
        /// Unix microseconds.
        time_us: u64,
    },
    /// The oldest inbox entries went.
    Trim {
        /// Whose.
        user: UserId,
        /// Everything up to here.
        upto: Seq,
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
    /// Whose record it is, where it is one user's alone.
    pub fn user(&self) -> Option<UserId> {
        match *self {
            Record::Message(_) | Record::Checkpoint { .. } => None,
            Record::Inbox(ref inbox) => Some(inbox.user),
            Record::Command(ref command) => Some(command.user),
            Record::Cursor { user, .. }
            | Record::Epoch { user, .. }
            | Record::Read { user, .. }
            | Record::Delivered { user, .. }
            | Record::Receipt { user, .. }
            | Record::Device { user, .. }
            | Record::LastSeen { user, .. }
            | Record::Trim { user, .. } => Some(user),
        }
    }

    /// The record's own time in Unix microseconds, where it has one.
    pub fn time_us(&self) -> Option<u64> {
        match self {
            Record::Message(message) => Some(message.time_us),
            Record::Inbox(inbox) => Some(inbox.time_us),
            Record::Command(command) => Some(command.time_us),
            _ => None,
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
    /// Which participants, who live here, take it without an entry, and find it hidden in the
    /// history (lower user first): they blocked the sender.
    pub hidden: [bool; 2],
    /// What it does to an earlier message of the same sender. Never in a void.
    pub change: Option<Change>,
    /// The message; empty in a void and in a delete.
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
        /// What it does to an earlier message. Never in a void.
        change: Option<Change>,
        /// Content hash of the body.
        hash: BodyHash,
    },
    /// The peer's edit or delete of an earlier message.
    PeerChange {
        /// Of which.
        change: Change,
        /// The new text; empty in a delete.
        body: &'a [u8],
    },
    /// The user blocked the peer: no entry, the mark moves, the place is hidden.
    Hidden,
    /// The peer gave a message up: no entry, the mark moves.
    Nothing,
}

/// A command at its user's home. With code 0 it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRecord<'a> {
    /// Whose.
    pub user: UserId,
    /// The outbox that it came from.
    pub outbox: OutboxId,
    /// On the outbox's first command: its device, kept with the outbox.
    pub new_outbox_of: Option<DeviceId>,
    /// The command's number; the outbox's `next` is then `n + 1`.
    pub n: Seq,
    /// 0: applied; otherwise a refusal code, and nothing but the number changed.
    pub code: u64,
    /// Unix microseconds; never goes back within a core's log.
    pub time_us: u64,
    /// Number of the inbox entry that says so, not 0.
    pub inbox_seq: Seq,
    /// The command's bytes.
    pub command: &'a [u8],
}

impl<'a> CommandRecord<'a> {
    /// What it changes: `None` if it is not applied, or is no command of this user's that a core
    /// may apply.
    pub fn applied(&self) -> Option<Command<'a>> {
        if self.code != 0 {
            return None;
        }
        let command = Command::decode(self.command).ok()?;
        let sound = match command {
            Command::Settings { conv, .. } | Command::DeleteForMe { conv, .. } => {
                ConvKey::of(self.user, conv).is_some()
            }
            Command::ContactAdd { peer, .. }
            | Command::ContactRemove { peer }
            | Command::Block { peer }
            | Command::Unblock { peer } => peer != self.user,
            Command::Privacy(_) | Command::Revoke { .. } => true,
        };
        sound.then_some(command)
    }
}
