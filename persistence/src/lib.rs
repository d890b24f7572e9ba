//! What Ringmail writes, and in which order; never the writing itself.
//!
//! The per-core log is a sans-IO state machine: `poll` gives operations, `complete` takes their
//! results. `FORMAT.md` beside this crate describes the bytes; a test parses it.

#![forbid(unsafe_code)]

mod backend;
mod batch;
pub mod blocks;
mod conv_key;
#[cfg(test)]
mod format_samples;
#[cfg(test)]
mod format_tests;
mod group;
mod io;
mod log;
mod memory;
mod page;
mod position;
mod record;
mod record_codec;
mod record_decode;
mod recover;
mod recovered;
mod row;
mod rows;
mod state;
pub mod values;

pub use backend::{Backend, BackendError, Removed};
pub use batch::Batch;
pub use conv_key::{ConvKey, SLOTS, slot_of};
pub use io::{IoDone, IoOp};
pub use log::{Log, LogConfig};
pub use memory::MemoryStore;
pub use page::{Entry, EntryKind, Page, Paged, PlaceAt, Scan, Scanned, StoredMessage};
pub use position::Position;
pub use record::{CommandRecord, InboxKind, InboxRecord, MessageRecord, Record};
pub use recover::{CoreStart, FoundLog, Reading, RecoverError, Recovered};
pub use recovered::RECOVERED_PLACE_BYTES;
pub use row::{ChangeRow, Content, Latest, MessageRow, Row, add_range, join};
pub use state::{
    ABOVE_READ_MAX, CommandOutbox, ContactState, ConvState, DeviceInfo, DeviceState, Load, Loaded,
    MemberState, OutboxState, PeerMarks, UserState,
};

pub use wire::{DeviceId, OutboxId, UserId};

/// Writes to the log's device are aligned to this, in bytes.
pub const BLOCK_BYTES: usize = 4096;
