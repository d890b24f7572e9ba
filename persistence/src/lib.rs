//! What Ringmail writes, and in which order; never the writing itself.
//!
//! The per-core log is a sans-IO state machine: `poll` gives operations, `complete` takes their
//! results. `FORMAT.md` beside this crate describes the bytes; a test parses it.

#![forbid(unsafe_code)]

mod backend;
mod batch;
mod conv_key;
#[cfg(test)]
mod format_tests;
mod group;
mod io;
mod log;
mod position;
mod record;
mod record_codec;
mod recover;
mod recovered;
mod rows;

pub use backend::{
    Backend, BackendError, ConvState, Entry, EntryKind, Load, Loaded, OutboxState, Scan, Scanned,
    UserState,
};
pub use batch::{Batch, MessageRow};
pub use conv_key::{ConvKey, SLOTS, slot_of};
pub use io::{IoDone, IoOp};
pub use log::{Log, LogConfig};
pub use position::Position;
pub use record::{InboxKind, InboxRecord, MessageRecord, Record};
pub use recover::{CoreStart, FoundLog, Reading, RecoverError, Recovered};
pub use recovered::RECOVERED_PLACE_BYTES;

/// Writes to the log's device are aligned to this, in bytes.
pub const BLOCK_BYTES: usize = 4096;
