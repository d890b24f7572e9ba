//! One core's value, behind the seam.

use crate::shard::Shard;
use crate::{CoreIndex, Effect, Event, Limits, Now, Stats, Taken, token::Key};
use persistence::CoreStart;
use wire::AckLevel;

/// What a core is made of.
#[derive(Clone)]
pub struct CoreConfig {
    /// Its index.
    pub index: CoreIndex,
    /// How many cores there are.
    pub cores: u16,
    /// Where the log's device keeps what is durable: SENT names it.
    pub level: AckLevel,
    /// Its bounds.
    pub limits: Limits,
    /// Verifies tokens.
    pub key: Key,
    /// Seeds the hash tables.
    pub seed: u64,
    /// Added to every inbox epoch, at least 1; raised when a data directory is restored from a
    /// copy.
    pub epoch_base: u64,
}

/// One core: its sessions, its users, its conversations, its log.
pub struct Core {
    shard: Shard,
}

impl Core {
    /// A core with what its log's older generations left.
    pub fn new(config: CoreConfig, start: CoreStart, now: Now) -> Core {
        assert!(config.epoch_base > 0, "0 is the epoch of a device without a past");
        Core { shard: Shard::new(config, start, now) }
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.shard.config.limits
    }

    /// Handles one event to completion.
    pub fn handle(&mut self, event: Event<'_>) -> Taken {
        self.shard.handle(event)
    }

    /// The time is `now`: fires timers.
    pub fn advance(&mut self, now: Now) {
        self.shard.advance(now);
    }

    /// Once a turn, between events and effects: resumes input, gathers a batch.
    pub fn settle(&mut self) {
        self.shard.settle();
    }

    /// The next effect; log writes first.
    pub fn poll(&mut self) -> Option<Effect> {
        self.shard.poll()
    }

    /// When there is something to do without an event, on `Now::mono_us`.
    pub fn deadline_us(&self) -> Option<u64> {
        self.shard.deadline_us()
    }

    /// After `Event::Stop`: everything is closed and durable.
    pub fn stopped(&self) -> bool {
        self.shard.stopped()
    }

    /// Counters, as of now.
    pub fn stats(&self) -> Stats {
        self.shard.stats()
    }
}
