//! A user at home: the inbox head, the newest entries, the devices.

use crate::{ConnId, recent::Recent, table::Entity};
use persistence::{DeviceState, Position, UserState};
use wire::{DeviceId, Seq};

/// A user in memory.
pub(crate) struct User {
    /// The inbox head, and log positions of the newest entries.
    pub recent: Recent,
    /// Newest inbox number that is durable: what devices may see.
    pub visible: Seq,
    /// Raised when a device knows more than the inbox holds.
    pub epoch: u64,
    pub devices: Vec<Device>,
    /// End of the newest record about this user.
    pub dirty_until: Position,
    /// New conversations that may start now.
    pub new_conversations: Bucket,
}

/// A device: a cursor over the inbox.
pub(crate) struct Device {
    pub id: DeviceId,
    pub acked: Seq,
    /// The cursor that the log has.
    pub logged: Seq,
    pub session: Option<ConnId>,
}

/// A token bucket.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u32,
    filled_us: u64,
}

impl Bucket {
    pub fn full(tokens: u32, now_us: u64) -> Bucket {
        Bucket { tokens, filled_us: now_us }
    }

    /// Takes a token, or says in how many milliseconds there is one.
    pub fn take(&mut self, now_us: u64, burst: u32, every_ms: u64) -> Result<(), u64> {
        let every_us = every_ms * 1_000;
        let new = now_us.saturating_sub(self.filled_us) / every_us;
        self.filled_us += new * every_us;
        self.tokens = u64::from(burst).min(u64::from(self.tokens) + new) as u32;
        if self.tokens == burst {
            self.filled_us = now_us;
        }
        if self.tokens == 0 {
            return Err((self.filled_us + every_us - now_us).div_ceil(1_000));
        }
        self.tokens -= 1;
        Ok(())
    }
}

impl User {
    pub fn new(state: UserState, new_conversations: Bucket) -> User {
        let devices = state.devices.into_iter();
        User {
            recent: Recent::new(state.head),
            visible: state.head,
            epoch: state.epoch,
            devices: devices
                .map(|DeviceState { device: id, acked, .. }| Device {
                    id,
                    acked,
                    logged: acked,
                    session: None,
                })
                .collect(),
            dirty_until: Position(0),
            new_conversations,
        }
    }

    /// Gives out the next inbox number.
    pub fn next_seq(&self) -> Seq {
        self.recent.head() + 1
    }

    /// The entry `seq` stands in the record at `at`, which ends at `end`.
    pub fn push(&mut self, seq: Seq, at: Position, end: Position) {
        self.recent.push(seq, at);
        self.dirty_until = end;
    }

    /// Adds what an older log holds; see `Recent::recover`.
    pub fn recover(&mut self, entries: impl Iterator<Item = (Seq, Position)>) {
        self.recent.recover(entries);
        self.visible = self.recent.head();
    }

    pub fn device_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.id == id)
    }
}

impl Entity for User {
    fn clean(&self, flushed: Position) -> bool {
        self.dirty_until <= flushed
            && self.devices.iter().all(|d| d.session.is_none() && d.acked == d.logged)
    }
}
