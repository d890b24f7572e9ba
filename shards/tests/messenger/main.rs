//! What cores do around messages, through events: presence, typing, commands, devices, pages.

#![allow(missing_docs, reason = "a test binary")]

mod changes;
mod commands;
mod devices;
mod history;
mod presence;
mod receipts;
mod recovery;
mod retention;
mod snapshot;
mod states;
#[allow(dead_code, reason = "the other tests of the page use the rest")]
#[path = "../../../wire/tests/support/tables.rs"]
mod tables;
mod typing;
mod world;
