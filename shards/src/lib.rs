//! Ringmail's deterministic core: sessions, users, inboxes, conversations, placement, and the
//! turn. No IO, no clock, no threads, no randomness of its own.
//!
//! Start with `event.rs` and `effect.rs`: what can happen to a core, and what it asks for.

#![forbid(unsafe_code)]

mod change;
mod circle;
mod command;
mod contacts;
mod conversation;
mod core;
mod devices;
mod driver;
mod effect;
mod event;
mod fan_out;
mod flush;
mod gate;
mod history;
mod inbox;
mod lane;
mod lifetime;
mod limits;
mod loads;
mod marks;
mod member;
pub mod memory;
mod page;
mod place;
mod presence;
mod receipts;
mod recent;
mod recovered;
mod relay;
mod retention;
mod sequence;
mod session;
mod shard;
mod snapshot;
mod stats;
mod table;
pub mod token;
mod turn;
mod typing;
mod user;
mod watch;
mod wheel;
mod work;

pub use core::{Core, CoreConfig};
pub use driver::{Driver, Handle, Now};
pub use effect::{Ask, Effect};
pub use event::{Adoption, Answer, AskId, Claims, ConnId, Event, Reply, Taken};
pub use limits::Limits;
pub use presence::{PresenceBatch, WatchChange};
pub use relay::{
    Content, CoreIndex, FanOut, InboxAppend, Outcome, Receipt, Relay, SendAnswer, SendRequest,
};
pub use stats::Stats;
pub use turn::turn;
pub use wire::AckLevel;
