//! Ringmail's deterministic core: sessions, users, inboxes, conversations, placement, and the
//! turn. No IO, no clock, no threads, no randomness of its own.
//!
//! Start with `event.rs` and `effect.rs`: what can happen to a core, and what it asks for.

#![forbid(unsafe_code)]

mod core;
mod driver;
mod effect;
mod event;
mod limits;
mod relay;
pub mod token;
mod turn;

pub use core::{Core, CoreConfig};
pub use driver::{Driver, Handle, Now};
pub use effect::{Ask, Effect};
pub use event::{Adoption, Answer, AskId, Claims, ConnId, Event, Reply, Taken};
pub use limits::Limits;
pub use relay::{Content, CoreIndex, FanOut, InboxAppend, Outcome, Relay, SendAnswer, SendRequest};
pub use turn::turn;
