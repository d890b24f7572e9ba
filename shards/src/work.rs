//! What may have to wait for entities to load: requests that are done from the start again once
//! what they miss is there.

use crate::command::CommandRequest;
use crate::contacts::Listing;
use crate::relay::{PageAnswer, PageRequest};
use crate::{ConnId, CoreIndex, InboxAppend, Receipt, SendRequest};
use persistence::ConvKey;
use wire::UserId;

/// One request.
#[derive(Debug)]
pub(crate) enum Work {
    /// A send of a session of this core, at the sender's home.
    Submit(Box<SendRequest>),
    /// A send at the owner; `from` is the sender's home.
    Sequence { from: CoreIndex, request: Box<SendRequest> },
    /// A fan-out at a participant's home; `from` is the owner.
    Append { from: CoreIndex, append: Box<InboxAppend> },
    /// Marks of a conversation to log, or a receipt to send.
    Marks(UserId, ConvKey),
    /// A receipt at the peer's home; `from` is the reader's.
    Receipt { from: CoreIndex, receipt: Box<Receipt> },
    /// A session waits for its user.
    Attach(ConnId),
    /// A user whom somebody begins to watch.
    Watch(UserId),
    /// A command of a session of this core.
    Command(Box<CommandRequest>),
    /// CONTACTS of a session of this core.
    Contacts(Listing),
    /// TYPING: at the writer's home, or (`from`) at the reader's.
    Typing { from: Option<CoreIndex>, writer: UserId, reader: UserId },
    /// A session's page waits for its member.
    Page(ConnId),
    /// Places for a reader; `from` is the reader's home.
    Places { from: CoreIndex, request: Box<PageRequest> },
    /// The owner's answer to a session's page.
    Show(Box<PageAnswer>),
    /// A conversation whose recovered fan-outs are owed.
    Recover(ConvKey),
}

/// What is tried again after `Limits::retry_after_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Retry {
    /// A conversation's fan-outs.
    FanOut(ConvKey),
    /// A conversation's marks, or its receipt.
    Marks(UserId, ConvKey),
    /// The scan of what devices acked earlier.
    Gap,
}

/// An entity that something needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    User(UserId),
    Conv(ConvKey),
    Member(UserId, ConvKey),
    Circle(UserId),
}
