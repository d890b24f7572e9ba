//! Ringmail's benchmarks: the built server, measured from outside.
//!
//! **Invariant:** nothing here links the server. What is measured is the binary that stands beside
//! this program, over its protocol, and with what the kernel tells of its process.

#![forbid(unsafe_code)]

mod body;
pub mod cli;
mod floor;
mod floor_wire;
mod generator;
mod host;
mod html;
mod idle;
pub mod ledger;
pub mod process;
mod random;
mod report;
pub mod server;
mod speak;
pub mod steady;
mod watch;

/// Tells people what happens now; standard output is for the result.
fn progress(what: &str) {
    eprintln!("ringmail-bench: {what}");
}
