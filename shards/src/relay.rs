//! What cores tell each other. Requests cost a credit of their lane, which their reply gives
//! back; replies always have room (R14 in the README).

use bytes::Bytes;
use persistence::ConvKey;
use wire::{BodyHash, DeviceId, OutboxId, RefusalCode, Seq, UserId};

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
    /// Reply to a hand-off.
    HandoffTaken,
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

/// What a fan-out brings.
#[derive(Clone, Debug)]
pub enum FanOut {
    /// The peer's message.
    Peer(Bytes),
    /// A send of one of the user's own devices.
    Own {
        /// From this outbox.
        outbox: OutboxId,
        /// Under this number.
        n: Seq,
        /// Given up.
        void: bool,
        /// Hash of the body.
        hash: BodyHash,
    },
    /// The peer gave a message up: only the mark moves.
    Nothing,
}
