//! Ringmail's engine: the kernel side of a core. It moves bytes and cannot name a message.

#![forbid(unsafe_code)]

pub mod accept;
pub mod backend_port;
mod conn;
pub mod disk;
pub mod doorbell;
pub mod driver;
pub mod mesh;
pub mod segments;
mod sockets;
