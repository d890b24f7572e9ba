//! What cores do around messages, through events: presence, typing, commands, devices.

#![allow(missing_docs, reason = "a test binary")]

mod commands;
mod devices;
mod history;
mod presence;
mod retention;
mod snapshot;
#[path = "../../sim/src/store.rs"]
mod store;
mod typing;
mod world;
