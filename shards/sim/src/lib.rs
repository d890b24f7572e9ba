//! Ringmail's simulator: the second driver of the core's turn. Whole nodes and real client cores
//! run on one thread in virtual time, from one seed, through every kind of trouble; checkers that
//! know nothing of the code judge what can be seen from outside.

#![forbid(unsafe_code)]

mod backend;
mod checkers;
mod clock;
mod device;
mod disk;
mod driver;
mod fact;
mod lanes;
mod mischief;
mod network;
mod people;
mod person;
mod plan;
mod presence;
mod run;
mod seed;
mod tap;
mod trace;
mod world;

pub use run::{ACKS_MIN, CRASHES_MIN, EVENTS_MIN, Report, run};
pub use trace::Trail;
