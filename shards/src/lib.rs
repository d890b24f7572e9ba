//! Ringmail's deterministic core: sessions, users, inboxes, conversations, placement, and the
//! turn. No IO, no clock, no threads, no randomness of its own.
//!
//! Start with `event.rs` and `effect.rs`: what can happen to a core, and what it asks for.

#![forbid(unsafe_code)]

mod conversation;
mod core;
mod driver;
mod effect;
mod event;
mod fan_out;
mod flush;
mod gate;
mod inbox;
mod lane;
mod limits;
mod loads;
pub mod memory;
mod place;
mod recovered;
mod relay;
mod sequence;
mod session;
mod shard;
mod stats;
mod table;
pub mod token;
mod turn;
mod user;
mod wheel;
mod work;

pub use core::{Core, CoreConfig};
pub use driver::{Driver, Handle, Now};
pub use effect::{Ask, Effect};
pub use event::{Adoption, Answer, AskId, Claims, ConnId, Event, Reply, Taken};
pub use limits::Limits;
pub use relay::{Content, CoreIndex, FanOut, InboxAppend, Outcome, Relay, SendAnswer, SendRequest};
pub use stats::Stats;
pub use turn::turn;
