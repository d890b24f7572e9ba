//! The per-core log: records in, groups out, as a state machine over a device.

use crate::{CoreStart, IoDone, IoOp, Position, Record};

/// Bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Size of a segment in bytes, a multiple of `BLOCK_BYTES`.
    pub segment_bytes: u32,
    /// Longest group in bytes, a multiple of `BLOCK_BYTES`.
    pub group_bytes_max: u32,
    /// Writes in flight at most.
    pub writes_max: u32,
}

/// A core's log. Keeps everything that is not retired in memory: the tail is where unflushed
/// messages are read from.
#[derive(Debug)]
pub struct Log {
    _private: (),
}

impl Log {
    /// A log of a new generation, with the records that this core took over in front of it. Its
    /// first group is the header, so everything that follows waits for it.
    pub fn start(_config: LogConfig, _start: CoreStart) -> Log {
        panic!()
    }
    /// Appends to the group that gathers. The caller has checked `tail_bytes`.
    pub fn append(&mut self, _record: &Record<'_>) -> Position {
        panic!()
    }
    /// The end of what was appended; a place that waits for everything so far.
    pub fn end(&self) -> Position {
        panic!()
    }
    /// Everything before this is durable.
    pub fn durable(&self) -> Position {
        panic!()
    }
    /// First position of this generation: everything before was recovered.
    pub fn base(&self) -> Position {
        panic!()
    }
    /// Everything before this is gone from memory and device.
    pub fn start_of_tail(&self) -> Position {
        panic!()
    }
    /// The record at a position that `append` or `positions` gave and that is not retired.
    pub fn read(&self, _at: Position) -> Record<'_> {
        panic!()
    }
    /// The first record at or after a position and below `durable`, with its position, and the
    /// position of what follows it.
    pub fn next(&self, _from: Position) -> Option<(Position, Record<'_>, Position)> {
        panic!()
    }
    /// Bytes appended and not retired.
    pub fn tail_bytes(&self) -> u64 {
        panic!()
    }
    /// Nothing before this is needed any more. Whole segments go.
    pub fn retire(&mut self, _before: Position) {
        panic!()
    }
    /// The next operation for the device.
    pub fn poll(&mut self) -> Option<IoOp> {
        panic!()
    }
    /// A completion. True if `durable` moved.
    pub fn complete(&mut self, _done: IoDone) -> bool {
        panic!()
    }
    /// Bytes that can be appended with certainty.
    pub fn room_bytes(&self) -> u64 {
        panic!()
    }
    /// The fan-out of this recovered record is known to be confirmed.
    pub fn confirmed_at_start(&self, _at: Position) -> bool {
        panic!()
    }
    /// The device has no room for a next segment: appends are limited to what is left.
    pub fn device_full(&self) -> bool {
        panic!()
    }
}
