//! Ringmail's benchmarks: the built server, measured from outside.
//!
//! **Invariant:** nothing here links the server. What is measured is the binary that stands beside
//! this program, over its protocol, and with what the kernel tells of its process.

#![forbid(unsafe_code)]

mod body;
mod cassandra;
mod catch_up;
mod churn;
pub mod cli;
pub mod crowd;
mod device;
mod floor;
mod floor_wire;
mod generator;
mod host;
mod html;
mod idle;
mod kill9;
pub mod ledger;
mod loopback;
pub mod process;
mod random;
mod recovery;
mod report;
pub mod server;
mod sockets;
mod speak;
pub mod steady;
mod touch;
mod watch;

/// Tells people what happens now; standard output is for the result.
fn progress(what: &str) {
    eprintln!("ringmail-bench: {what}");
}
