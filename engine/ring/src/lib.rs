//! A safe wrapper over io_uring, and the few system calls that the engine needs besides.
//!
//! **Ownership.** Submitting takes the memory of an operation, its last completion gives it back:
//! sends own a `Vec<u8>`, writes a `Bytes`, receives a buffer of the ring's own pool. So no caller
//! can free or change memory that the kernel may still touch. This is the only crate with `unsafe`.
//!
//! The doorbell, which wakes a thread that sleeps in a ring, is here as well: its model test then
//! builds next to nothing.

#![allow(unsafe_code)]

mod buffers;
mod doorbell;
mod memory;
mod ring;
pub mod sys;
mod token;

pub use buffers::RecvBuffer;
pub use doorbell::Doorbell;
pub use ring::{Completion, FileIndex, Given, Ring, RingConfig, RingMode, Target, Wait};
pub use token::Token;
