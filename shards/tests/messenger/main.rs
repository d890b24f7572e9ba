//! What cores do around messages, through events: presence, typing, commands, devices.

#![allow(missing_docs, reason = "a test binary")]

mod changes;
mod commands;
mod devices;
mod history;
mod presence;
mod receipts;
mod retention;
mod snapshot;
mod typing;
mod world;
