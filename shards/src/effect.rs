//! What a core asks of its driver.

use crate::{Adoption, AskId, ConnId, CoreIndex, Relay};
use persistence::{Batch, IoOp, Load, Page, Scan};
use std::sync::Arc;

/// A request. The driver can always take it: every bound is a limit that the core counts itself
/// (one send in flight per connection, credits per lane, asks and log writes in flight).
#[derive(Debug)]
pub enum Effect {
    /// Send these bytes; `Event::Sent` follows, unless the connection ends first.
    Send {
        /// Which connection; it has no other send in flight.
        conn: ConnId,
        /// Never empty.
        buffer: Vec<u8>,
    },
    /// Go on receiving: offer what was not taken, then what comes.
    Receive {
        /// Which connection.
        conn: ConnId,
    },
    /// End the connection; `Event::Closed` follows once nothing of it is in flight.
    Close {
        /// Which connection; nothing is sent after this.
        conn: ConnId,
    },
    /// Move the connection to this core, which may be the same: `Event::Adopted` there,
    /// `Event::Closed` here.
    Handoff {
        /// Its name here.
        conn: ConnId,
        /// Its user's home.
        to: CoreIndex,
        /// What goes with it.
        adoption: Box<Adoption>,
    },
    /// Put this into the lane to that core, never the own one.
    Relay {
        /// Which core.
        to: CoreIndex,
        /// What.
        relay: Relay,
    },
    /// An operation of the log.
    Write(IoOp),
    /// A request to the backend; `Event::Answered` follows.
    Ask {
        /// Given back in the answer.
        id: AskId,
        /// What.
        ask: Ask,
    },
}

/// A request to the backend.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Read one entity.
    Load(Load),
    /// Read a range of an inbox.
    Scan(Scan),
    /// Read a page of a list.
    Page(Page),
    /// Write a batch; one at a time per core. On an error the core asks again.
    Write(Arc<Batch>),
}
