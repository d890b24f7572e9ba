//! One core's value: its shard and its log, behind the seam.

use crate::{Effect, Event, Limits, Now, Taken, relay::CoreIndex, token::Key};
use persistence::CoreStart;

/// What a core is made of.
#[derive(Clone)]
pub struct CoreConfig {
    /// Its index.
    pub index: CoreIndex,
    /// How many cores there are.
    pub cores: u16,
    /// Its bounds.
    pub limits: Limits,
    /// Verifies tokens.
    pub key: Key,
    /// Seeds the hash tables.
    pub seed: u64,
    /// Added to every inbox epoch; raised when a data directory is restored from a copy.
    pub epoch_base: u64,
}

/// One core.
pub struct Core {}

impl Core {
    /// A core with what its log's older generations left.
    pub fn new(_config: CoreConfig, _start: CoreStart, _now: Now) -> Core {
        Core {}
    }
    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        panic!()
    }
    /// Handles one event to completion.
    pub fn handle(&mut self, _event: Event<'_>) -> Taken {
        Taken(0)
    }
    /// The time is `now`: fires timers.
    pub fn advance(&mut self, _now: Now) {}
    /// The next effect; log writes first.
    pub fn poll(&mut self) -> Option<Effect> {
        None
    }
    /// When `advance` has something to do, on `Now::mono_us`.
    pub fn deadline_us(&self) -> Option<u64> {
        None
    }
    /// After `Event::Stop`: everything is closed and durable.
    pub fn stopped(&self) -> bool {
        false
    }
}
