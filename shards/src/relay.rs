//! What cores tell each other. Requests cost a credit of their lane, which their reply gives
//! back; replies always have room (R14 in the README).

use bytes::Bytes;
use persistence::{ConvKey, StoredMessage};
use wire::{BodyHash, Change, DeviceId, OutboxId, RefusalCode, Seq, UserId};

use crate::{ConnId, PresenceBatch, WatchChange};

/// Index of a core, below the number of cores.
pub type CoreIndex = u16;

/// One lane entry.
#[derive(Clone, Debug)]
pub enum Relay {
    /// Request, home of the sender → owner: take this send.
    Send(Box<SendRequest>),
    /// Reply to `Send`.
    SendAnswer(Box<SendAnswer>),
    /// Request, owner → home of a participant: take this fan-out.
    InboxAppend(Box<InboxAppend>),
    /// Reply to `InboxAppend`: everything up to `upto` is durable there.
    Confirm {
        /// Whose inbox.
        user: UserId,
        /// The conversation.
        conv: ConvKey,
        /// Newest place taken and durable.
        upto: Seq,
    },
    /// Reply to `InboxAppend`: not taken, `next` is.
    Expect {
        /// Whose inbox.
        user: UserId,
        /// The conversation.
        conv: ConvKey,
        /// The only place that is taken next.
        next: Seq,
    },
    /// Reply to `InboxAppend`: not taken, send again later.
    Busy {
        /// Whose inbox.
        user: UserId,
        /// The conversation.
        conv: ConvKey,
    },
    /// Request, home of the reader → home of the peer: how far the reader is.
    Receipt(Box<Receipt>),
    /// Reply to `Receipt`: durable there.
    ReceiptTaken {
        /// Who read.
        reader: UserId,
        /// The conversation.
        conv: ConvKey,
    },
    /// Reply to `Receipt`: not taken, send again later.
    ReceiptRefused {
        /// Who read.
        reader: UserId,
        /// The conversation.
        conv: ConvKey,
    },
    /// Reply to a hand-off.
    HandoffTaken,
    /// Request, home of a reader → owner: places of a conversation.
    Page(Box<PageRequest>),
    /// Reply to `Page`.
    PageAnswer(Box<PageAnswer>),
    /// Request, home of watchers → home of targets: who watches whom.
    Watch(Box<Vec<WatchChange>>),
    /// Request, home of targets → home of watchers: states.
    Presence(Box<PresenceBatch>),
    /// Request, home of the writer → home of the reader: show it now or never.
    Typing {
        /// Who writes.
        writer: UserId,
        /// To whom.
        reader: UserId,
    },
    /// Reply to `Watch`, `Presence` and `Typing`.
    Noted,
}

// A lane of 64-byte entries stays one cache line each; bodies travel by pointer.
const _: () = assert!(size_of::<Relay>() <= 64);

/// A send on its way to the conversation's owner.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// The attach that waits for the answer, at the sender's home.
    pub conn: ConnId,
    /// The conversation.
    pub conv: ConvKey,
    /// Who sends.
    pub sender: UserId,
    /// From which device.
    pub device: DeviceId,
    /// From which outbox.
    pub outbox: OutboxId,
    /// Whether SEND named the outbox itself.
    pub explicit: bool,
    /// Under which number.
    pub n: Seq,
    /// A message or a void.
    pub content: Content,
}

/// What a send carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// A message.
    Body(Bytes),
    /// Edits or deletes an earlier message; the new text, or nothing.
    Change(Change, Bytes),
    /// Gives a number up; hash of the body that is given up.
    Void(BodyHash),
}

/// What the owner says to a send.
#[derive(Clone, Debug)]
pub struct SendAnswer {
    /// The attach that waits.
    pub conn: ConnId,
    /// The conversation.
    pub conv: ConvKey,
    /// Who sent.
    pub sender: UserId,
    /// As in the request.
    pub outbox: OutboxId,
    /// As in the request.
    pub explicit: bool,
    /// As in the request.
    pub n: Seq,
    /// As in the request.
    pub void: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has its place, durably.
    Taken {
        /// Place in the conversation.
        conv_seq: Seq,
        /// Unix microseconds.
        time_us: u64,
        /// Number of the own entry in the sender's inbox where the owner is the sender's home;
        /// otherwise 0.
        inbox_seq: Seq,
    },
    /// The number was taken before.
    Known,
    /// Another number is taken next.
    OutOfOrder {
        /// Which.
        next: Seq,
    },
    /// Not taken.
    Refused {
        /// Why.
        code: RefusalCode,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
}

/// A fan-out on its way to a participant's home.
#[derive(Clone, Debug)]
pub struct InboxAppend {
    /// Whose inbox.
    pub user: UserId,
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
    /// What the entry will be.
    pub entry: FanOut,
}

/// A user's marks in a conversation, on their way to the peer's home.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Whose marks.
    pub reader: UserId,
    /// The conversation.
    pub conv: ConvKey,
    /// Everything up to here is read.
    pub read: Seq,
    /// How far the reader's devices are, farthest first.
    pub delivered: Vec<Seq>,
}

/// What a fan-out brings.
#[derive(Clone, Debug)]
pub enum FanOut {
    /// The peer's message.
    Peer(Bytes),
    /// The peer's edit or delete of an earlier message; the new text, or nothing.
    PeerChange(Change, Bytes),
    /// A send of one of the user's own devices.
    Own {
        /// From this outbox.
        outbox: OutboxId,
        /// Under this number.
        n: Seq,
        /// Given up.
        void: bool,
        /// What it does to an earlier message.
        change: Option<Change>,
        /// Content hash.
        hash: BodyHash,
    },
    /// The peer gave a message up: only the mark moves.
    Nothing,
}

/// Places of a conversation, wanted by a session of a participant.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The session that waits, at the reader's home.
    pub conn: ConnId,
    /// Who reads.
    pub reader: UserId,
    /// The conversation.
    pub conv: ConvKey,
    /// Newest place that the reader's home has: no later one is shown.
    pub upto: Seq,
    /// The first place that is wanted, from 1.
    pub from: Seq,
    /// Upwards from there, otherwise downwards.
    pub newer: bool,
    /// Most places, from 1.
    pub limit: u32,
    /// No further place once the bodies pass this many bytes.
    pub bytes_max: u32,
}

/// What the owner says to a request for places.
#[derive(Clone, Debug)]
pub struct PageAnswer {
    /// The session that waits.
    pub conn: ConnId,
    /// Who reads.
    pub reader: UserId,
    /// The conversation.
    pub conv: ConvKey,
    /// As in the request.
    pub newer: bool,
    /// `None`: not now.
    pub places: Option<Places>,
}

/// A page of a conversation, in its direction.
#[derive(Clone, Debug)]
pub struct Places {
    /// Newest durable place, as far as the reader's home has it.
    pub upto: Seq,
    /// The first place that the page covers …
    pub first: Seq,
    /// … and the last one; 0 where it covers none.
    pub last: Seq,
    /// What stands there; a place that is covered and not here is lost.
    pub found: Vec<StoredMessage>,
}

impl Places {
    /// Covers no place.
    pub fn nothing() -> Places {
        Places { upto: 0, first: 0, last: 0, found: Vec::new() }
    }
}
