//! What can happen to a core.

use crate::{CoreIndex, Relay};
use persistence::{BackendError, IoDone, Loaded, Paged, Scanned};
use wire::{DeviceId, UserId};

/// A connection of one core: an index that is used again, and a generation that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Index in the core's table of connections, below `Limits::connections_max`.
    pub index: u32,
    /// Differs between two uses of one index.
    pub generation: u32,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A new connection; the driver has asked for its first bytes.
    Accepted {
        /// Its name here.
        conn: ConnId,
    },
    /// A connection whose HELLO another core (or this one) has verified now lives here.
    Adopted {
        /// Its name here.
        conn: ConnId,
        /// Who handed it over.
        from: CoreIndex,
        /// Who it is, and the bytes that it sent so far, from HELLO on.
        adoption: Box<Adoption>,
    },
    /// Bytes of a connection, cut anywhere. The answer says how many were taken; the driver keeps
    /// the rest, offers it again after `Effect::Receive`, and delivers nothing else of this
    /// connection before. Before `Event::Adopted` the core asks each time, also when all was taken:
    /// so nothing is in flight when the connection moves.
    Received {
        /// Which connection.
        conn: ConnId,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// All bytes of the connection's last `Effect::Send` are with the kernel.
    Sent {
        /// Which connection.
        conn: ConnId,
        /// The buffer, given back.
        buffer: Vec<u8>,
    },
    /// The connection is gone, nothing of it is in flight, and its name is never used again.
    Closed {
        /// Which connection.
        conn: ConnId,
    },
    /// Another core sent this.
    Relayed {
        /// Which core.
        from: CoreIndex,
        /// What.
        relay: Relay,
    },
    /// The log's device completed an operation. A failed write or sync is no event: the driver
    /// ends the process.
    Written(IoDone),
    /// The backend answered.
    Answered(Answer),
    /// Finish: refuse new sessions, close the others, make everything durable.
    Stop,
}

/// How many bytes of `Event::Received` were taken; 0 for every other event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken(pub usize);

/// What a verified token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
}

impl Claims {
    /// From plain numbers; `None` for user 0, which is nobody.
    pub fn new(user: u64, device: u32) -> Option<Claims> {
        Some(Claims { user: UserId::new(user)?, device: DeviceId(device) })
    }
}

/// A verified connection on its way to the home of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// From its token.
    pub claims: Claims,
    /// Everything that it sent and nobody handled: HELLO first.
    pub bytes: Vec<u8>,
}

/// Names one request to the backend. An answer with another generation than the entity waits for
/// is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// An answer of the backend.
#[derive(Debug)]
pub struct Answer {
    /// The request.
    pub id: AskId,
    /// The result.
    pub reply: Result<Reply, BackendError>,
}

/// What the backend says.
#[derive(Debug)]
pub enum Reply {
    /// To `Ask::Load`.
    Loaded(Loaded),
    /// To `Ask::Scan`.
    Scanned(Scanned),
    /// To `Ask::Page`.
    Paged(Paged),
    /// To `Ask::Write`: durable.
    Written,
}
