//! Ringmail's benchmarks: the built server, measured from outside.
//!
//! **Invariant:** nothing here links the server. What is measured is the binary that stands beside
//! this program, over its protocol, and with what the kernel tells of its process. Only `store`,
//! behind the feature `scylla`, links a part of it: the distributed store's writer.

#![forbid(unsafe_code)]

mod body;
pub mod cassandra;
mod catch_up;
mod churn;
pub mod cli;
mod copy;
pub mod crowd;
mod device;
mod floor;
mod floor_wire;
mod generator;
mod host;
mod html;
mod idle;
mod kill9;
mod kill9_args;
pub mod ledger;
mod loopback;
mod outage;
mod pages;
pub mod process;
mod random;
mod recovery;
mod redis;
mod report;
pub mod server;
mod sockets;
mod speak;
pub mod steady;
#[cfg(feature = "scylla")]
mod store;
#[cfg(feature = "scylla")]
mod store_acks;
#[cfg(feature = "scylla")]
mod store_floor;
mod touch;
mod watch;
mod wipes;

/// Tells people what happens now; standard output is for the result.
fn progress(what: &str) {
    eprintln!("ringmail-bench: {what}");
}
