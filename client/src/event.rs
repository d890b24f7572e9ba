//! What a client tells its user, and what can be wrong.

use wire::{
    CloseCode, Conv, DecodeError, DeviceId, FrameError, OutboxId, RefusalCode, Seq, UserId,
};

use crate::{CommandId, DeviceInfo, Kind, RequestId, SendId};

/// Something that a user of the client wants to know. Released only when the journal has what it
/// rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The message is in the journal: it goes out by itself, also after a crash.
    Queued {
        /// Which send.
        id: SendId,
    },
    /// The message has its place, durably at the server.
    Sent {
        /// Which send.
        id: SendId,
        /// Place in the conversation.
        conv_seq: Seq,
        /// Unix milliseconds.
        time_ms: u64,
    },
    /// The message was given up: nobody will see it.
    GivenUp {
        /// Which send.
        id: SendId,
    },
    /// The server did not take it now.
    Refused {
        /// Which send.
        id: SendId,
        /// Why.
        code: RefusalCode,
        /// It is tried again after this time, in ms; `None`: it and all sends behind it wait until
        /// it is given up, or for the next attach.
        retry_after_ms: Option<u64>,
        /// The limit that was met, where the code has one; otherwise 0.
        limit: u64,
    },
    /// The send goes on under another outbox, as number 1: another copy of this device used its
    /// number, or the server lost its past.
    Moved {
        /// Which send.
        id: SendId,
        /// From this outbox and number.
        from: (OutboxId, Seq),
        /// To this outbox.
        to: OutboxId,
    },
    /// An inbox entry that was not here before.
    Message {
        /// The conversation.
        conv: Conv,
        /// Place in the conversation.
        conv_seq: Seq,
        /// Unix milliseconds.
        time_ms: u64,
        /// Whose it is.
        kind: Kind,
        /// The message; `None` for what another own device sent or gave up.
        body: Option<Vec<u8>>,
    },
    /// A message was edited or deleted, by the peer or by one of the user's own devices.
    Changed {
        /// The conversation.
        conv: Conv,
        /// Place of the message.
        target: Seq,
        /// Place of the change.
        by: Seq,
        /// Deleted for everyone; otherwise edited.
        delete: bool,
    },
    /// Marks, settings, contacts or texts changed: the client's views show them.
    Updated {
        /// Of this conversation or its peer; `None`: of any.
        conv: Option<Conv>,
    },
    /// A command found its end.
    CommandDone {
        /// Which.
        id: CommandId,
        /// Why it changed nothing; `None`: it took effect.
        refusal: Option<RefusalCode>,
    },
    /// The places of a page that `load_history` asked for are here.
    HistoryPage {
        /// Which request.
        request: RequestId,
        /// The conversation.
        conv: Conv,
        /// All places from here …
        first: Seq,
        /// … to here are known now; none if that is lower.
        last: Seq,
        /// Where the next page goes on; 0: there is nothing more.
        next: Seq,
    },
    /// What `load_devices` asked for.
    Devices {
        /// Which request.
        request: RequestId,
        /// The user's devices.
        devices: Vec<DeviceInfo>,
    },
    /// The server will not answer this request.
    RequestRefused {
        /// Which.
        request: RequestId,
        /// Why.
        code: RefusalCode,
    },
    /// The presence of a watched user changed, or became known.
    Presence {
        /// Who.
        user: UserId,
    },
    /// The peer began or stopped typing.
    Typing {
        /// Where.
        conv: Conv,
        /// It types.
        typing: bool,
    },
    /// The session stands; sends go out.
    Attached {
        /// Who the token says that this is.
        user: UserId,
        /// On which device.
        device: DeviceId,
    },
    /// The backlog ended; what follows is live.
    CaughtUp,
    /// The client ended the connection itself.
    Broken {
        /// Why.
        fault: Fault,
    },
    /// The server closed, with this code.
    Closed {
        /// Why; says whether to come back.
        code: CloseCode,
        /// For people; may be empty.
        reason: String,
    },
}

/// A message or command that cannot be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// No bytes.
    #[error("the message is empty")]
    Empty,
    /// Too many bytes.
    #[error("the message has {bytes} bytes, where {limit} are allowed")]
    TooBig {
        /// Bytes of the message.
        bytes: usize,
        /// Most that the server takes.
        limit: usize,
    },
    /// User 0, or oneself.
    #[error("nobody can write to user {0}")]
    BadRecipient(u64),
    /// No message of one's own is there, or it is deleted.
    #[error("there is no message of your own at {0}")]
    BadTarget(u64),
}

/// Why the client itself ends a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The stream is no sequence of frames.
    #[error("the server sent {0}")]
    Frame(#[from] FrameError),
    /// A frame is no message.
    #[error("the server sent a frame that is no message: {0}")]
    Decode(#[from] DecodeError),
    /// A frame that this state does not take.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// The journal belongs to another user or device than the token.
    #[error(
        "this journal belongs to device {} of user {}, the token to device {} of user {}: \
         use another directory or the right token",
        .journal.1.0, .journal.0.get(), .token.1.0, .token.0.get()
    )]
    ForeignJournal {
        /// Whose journal it is.
        journal: (UserId, DeviceId),
        /// Whose token it is.
        token: (UserId, DeviceId),
    },
    /// Nothing came although something was due.
    #[error("the server is silent: {0}")]
    Silent(&'static str),
}
