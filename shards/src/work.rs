//! What may have to wait for entities to load: requests that are done from the start again once
//! what they miss is there.

use crate::command::CommandRequest;
use crate::contacts::Listing;
use crate::{ConnId, CoreIndex, InboxAppend, SendRequest};
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
    /// A conversation whose recovered fan-outs are owed.
    Recover(ConvKey),
}

/// An entity that something needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    User(UserId),
    Conv(ConvKey),
    Member(UserId, ConvKey),
    Circle(UserId),
}
