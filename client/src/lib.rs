//! Ringmail's client core: a sans-IO state machine that queues sends durably, attaches, resumes,
//! drops what it has seen, and acknowledges after its own commit.
//!
//! **Invariant:** nothing in the core reads a clock, draws a random number or touches a file or
//! a socket. Simulator, bench, terminal chat and adapters run this same code.

#![forbid(unsafe_code)]

mod ack;
pub mod blocking;
mod client;
mod commands;
mod compose;
mod config;
mod connection;
mod conversation;
mod deadlines;
mod entry;
mod event;
mod history;
mod inbound;
mod journal;
mod journal_file;
mod live;
mod marks;
mod overview;
mod queue;
mod ranges;
mod requests;
mod state;
#[cfg(feature = "tokio")]
pub mod tokio;
mod view;

pub use client::Client;
pub use commands::CommandId;
pub use config::Config;
pub use conversation::{Kind, Message};
pub use event::{ClientEvent, ComposeError, Fault};
pub use journal::JournalError;
pub use journal_file::{Device, OpenError};
pub use queue::{Pending, SendId};
pub use ranges::Ranges;
pub use requests::{DeviceInfo, RequestId};
pub use state::Contact;
pub use view::{Chat, Tick};
/// The protocol itself, for programs that speak it without the core.
pub use wire;
pub use wire::{
    BODY_BYTES_MAX, BodyHash, CloseCode, Command, Conv, ConvSettings, DeviceId, Direction,
    OutboxId, PresenceState, Privacy, RefusalCode, Retry, Seq, UserId, UserPresence, Visibility,
    body_hash,
};
