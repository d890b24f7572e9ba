//! A log whose device is a store: each group is a row, a *block*. Who may write is decided by one
//! row of the node, its *seal*, and by nobody's clock.
//!
//! A node has a name. Each opening is a *taker*: it waits until the last owner's lease is over,
//! then makes the seal name a new incarnation by a lightweight transaction, and only then reads.
//! The logs of generation g are open while the seal's incarnation is g; a missing seal is open for
//! nobody. An *owner* counts a block as durable once a quorum has it and a read of the seal that
//! began afterwards still found its own incarnation. So whatever a deposed owner writes late was
//! never acked, and a taker sees all that was.
//!
//! Where a taker stopped to read is written in the headers of its own logs, as on a disk: a second
//! taker that finds those takes them over, and otherwise nothing rests on the first one's reading.

mod held;
mod lease;
mod owner;
mod taker;

pub use held::{BlockStore, HeldNode, NodeNews, TakeNode, TakenNode};
pub use lease::{LEASE_US, Lease, RENEW_US};
pub use owner::{Deposed, Owner, OwnerDone, OwnerOp};
pub use taker::{LEASE_MARGIN_US, OldLog, Taken, Taker, TakerDone, TakerOp, TakerStep, WATCH_US};

use bytes::Bytes;

/// Blocks of one log on their way, at most. Block n is written only when all blocks up to n minus
/// this are acked, so a taker that writes the last so many again leaves all of them at a quorum.
pub const BLOCKS_IN_FLIGHT: u32 = 8;

/// The row that says who writes a node's logs. It is changed by lightweight transactions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Grows with each takeover, from 1: the generation of the logs that may be written.
    pub incarnation: u64,
    /// Who took it: a random number of one opening.
    pub taker: u64,
    /// The data directory of that process. Who holds its lock knows that the process is dead.
    pub dir: u64,
    /// Grows with each renewal of the lease, from 1; 0: given back in order.
    pub beat: u64,
}

/// What a node's list says of one log. Written before the log's first block, and gone when the
/// whole log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedLog {
    /// Its generation.
    pub generation: u64,
    /// Its core.
    pub core: u16,
    /// Segments below this are not needed, and may be gone. Only grows.
    pub first: u32,
    /// `BLOCKS_IN_FLIGHT` of the build that wrote it.
    pub in_flight_max: u32,
}

/// A node's list of logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogList {
    /// Generations below this are not needed, and may be gone in part. Only grows.
    pub oldest: u64,
    /// The logs, in any order.
    pub logs: Vec<ListedLog>,
}

/// One group of a log. Its number is bound to its bytes, however often it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number in the log, from 0, without a hole.
    pub n: u64,
    /// Segment number.
    pub segment: u32,
    /// Offset within the segment.
    pub offset: u32,
    /// How many bytes stand there.
    pub length: u32,
    /// Those bytes, without zeros at the end.
    pub bytes: Bytes,
}

impl Block {
    /// A block of these bytes.
    pub fn new(n: u64, segment: u32, offset: u32, bytes: &Bytes) -> Block {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Block { n, segment, offset, length: bytes.len() as u32, bytes: bytes.slice(..end) }
    }
}
