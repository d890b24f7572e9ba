//! When the server is told how far the device is: lazily, on frames that leave anyway.

use wire::{Seq, Welcome};

use crate::Config;

/// The device's cursor, as journal and server know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acks {
    /// Newest entry in the journal bytes that are being written.
    taken: Seq,
    /// Newest entry that is committed.
    durable: Seq,
    /// Newest entry that the server was told of.
    told: Seq,
    /// When the oldest untold entry came.
    since_ms: u64,
    /// Bytes that came since the last ACK.
    bytes: u64,
    entries_max: u64,
    bytes_max: u64,
}

impl Acks {
    /// A session starts behind entry `from`.
    pub fn attach(&mut self, welcome: &Welcome, config: &Config) {
        let from = welcome.from;
        (self.taken, self.durable, self.told, self.bytes) = (from, from, from, 0);
        // A quarter of the window keeps the server sending while an ACK is under way.
        self.entries_max = (welcome.window_frames / 4).clamp(1, config.ack_entries_max.max(1));
        self.bytes_max = (welcome.window_bytes / 4).max(1);
    }

    /// An entry of this many bytes came.
    pub fn received(&mut self, bytes: usize, now_ms: u64) {
        if self.bytes == 0 {
            self.since_ms = now_ms;
        }
        self.bytes += bytes as u64;
    }

    /// Journal bytes up to this entry are being written.
    pub fn take(&mut self, position: Seq) {
        self.taken = position;
    }

    /// They are durable.
    pub fn commit(&mut self) {
        self.durable = self.taken;
    }

    /// When an ACK is due by itself; `None` if there is nothing to say.
    pub fn due_ms(&self, config: &Config) -> Option<u64> {
        let many = self.durable.saturating_sub(self.told) >= self.entries_max;
        let due = if many || self.bytes >= self.bytes_max {
            0
        } else {
            self.since_ms.saturating_add(config.ack_delay_ms)
        };
        (self.durable > self.told).then_some(due)
    }

    /// What to say now, if anything; it counts as said.
    pub fn tell(&mut self, now_ms: u64) -> Option<Seq> {
        if self.durable <= self.told {
            return None;
        }
        (self.told, self.bytes, self.since_ms) = (self.durable, 0, now_ms);
        Some(self.durable)
    }
}
