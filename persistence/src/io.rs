//! What the log asks of its device, and what the device answers.

use bytes::Bytes;

/// An operation on the log's device. Segments are numbered from 0 within one log (one core of one
/// generation); all have the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoOp {
    /// Make this segment ready: full size, no trace of older content that could be read as new.
    Prepare {
        /// Segment number.
        segment: u32,
    },
    /// Write at this offset and make it durable; memory, offset and length are multiples of
    /// `BLOCK_BYTES`.
    Write {
        /// Given back in `IoDone::Written`.
        id: u64,
        /// Segment number.
        segment: u32,
        /// Offset within the segment.
        offset: u32,
        /// The bytes; the driver holds its reference until the completion.
        bytes: Bytes,
    },
    /// Nothing in this segment is needed any more: recycle it within this log, or delete it.
    /// Segments go in order, so what an opening finds has no gap.
    Retire {
        /// Segment number.
        segment: u32,
    },
    /// Nothing of the older generations that this core took over is needed any more. When every
    /// core has said so they are deleted, oldest first, each generation at once (renamed, then
    /// removed): an opening that finds a part of one takes it for damaged. They are never
    /// recycled: writes of their dead process may still land.
    RetireOlder,
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoDone {
    /// `Prepare` is done.
    Prepared {
        /// Segment number.
        segment: u32,
    },
    /// `Write` is durable.
    Written {
        /// Its id.
        id: u64,
    },
    /// The device has no room for another segment; the log goes on asking.
    Full {
        /// Segment number that could not be prepared.
        segment: u32,
    },
}
