//! What must hold, one property per file. Checkers see facts only, and draw no randomness.

mod blocks;
mod durability;
mod exactly_once;
mod liveness;
mod order;
mod orders;
mod pages;
mod receipts;
mod sessions;
mod time;
mod views;

use crate::fact::{End, Fact};

/// A property of a run. An error says what broke it.
pub trait Checker {
    /// Its name, in a failure's report.
    fn name(&self) -> &'static str;
    /// Something was seen.
    fn observe(&mut self, fact: &Fact) -> Result<(), String>;
    /// The world has come to rest.
    fn finish(&mut self, end: &End) -> Result<(), String>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        // First: without rest there was no last reading.
        Box::new(liveness::Liveness),
        Box::new(order::Order::default()),
        Box::new(durability::Durability::default()),
        Box::new(exactly_once::ExactlyOnce::default()),
        Box::new(sessions::Sessions::default()),
        Box::new(time::Time::default()),
        Box::new(receipts::Receipts::default()),
        Box::new(pages::Pages::default()),
        Box::new(blocks::Blocks::default()),
        Box::new(views::Views::default()),
    ]
}

/// An error unless `holds`.
fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
