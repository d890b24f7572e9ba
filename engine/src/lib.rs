//! The kernel side of Ringmail: it moves bytes between io_uring and the cores, and cannot name a
//! message. Start with `server.rs` (what runs), then `core_thread.rs` (what a core's thread does).

#![forbid(unsafe_code)]

pub mod accept;
mod announce;
mod backend_port;
mod cache;
pub mod cli;
pub mod config;
pub mod config_keys;
mod conn;
mod core_thread;
pub mod data_dir;
mod disk;
mod driver;
#[cfg(test)]
mod driver_tests;
pub mod ledger;
mod log_device;
mod log_dirs;
mod logs;
mod mesh;
pub mod probe;
mod redis_keys;
mod say;
mod segments;
mod server;
mod sockets;
mod stats;
mod store;
#[cfg(feature = "scylla")]
mod store_copy;
mod store_keys;
mod user;
mod watch;
