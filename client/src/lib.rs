//! Ringmail's client core: a sans-IO state machine that queues sends durably, attaches, resumes,
//! drops what it has seen, and acknowledges after its own commit.
//!
//! **Invariant:** nothing in the core reads a clock, draws a random number or touches a file or
//! a socket. Simulator, bench, terminal chat and adapters run this same code.

#![forbid(unsafe_code)]

mod ack;
pub mod blocking;
mod client;
mod config;
mod connection;
mod deadlines;
mod event;
mod inbound;
mod journal;
mod journal_file;
mod queue;
mod ranges;
mod state;
#[cfg(feature = "tokio")]
pub mod tokio;
mod view;

pub use client::Client;
pub use config::Config;
pub use event::{ClientEvent, ComposeError, Fault};
pub use journal::JournalError;
pub use journal_file::{Device, OpenError};
pub use queue::{Pending, SendId};
pub use ranges::Ranges;
pub use state::{Kind, Message};
/// The protocol itself, for programs that speak it without the core.
pub use wire;
pub use wire::{
    BODY_BYTES_MAX, BodyHash, CloseCode, Conv, DeviceId, OutboxId, RefusalCode, Retry, Seq, UserId,
    body_hash,
};
