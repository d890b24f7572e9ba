//! A user at home: the inbox head, the newest entries, the devices.

use crate::{ConnId, table::Entity};
use persistence::{Position, UserState};
use std::collections::VecDeque;
use wire::{DeviceId, Seq};

/// A user in memory.
pub(crate) struct User {
    /// Newest inbox number given out.
    pub head: Seq,
    /// Newest inbox number that is durable: what devices may see.
    pub visible: Seq,
    /// Raised when a device knows more than the inbox holds.
    pub epoch: u64,
    pub devices: Vec<Device>,
    /// Log positions of the newest entries, without a hole, ending at `head`. At least everything
    /// that is not flushed is here.
    recent: VecDeque<Position>,
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
            head: state.head,
            visible: state.head,
            epoch: state.epoch,
            devices: devices
                .map(|d| Device { id: d.device, acked: d.acked, logged: d.acked, session: None })
                .collect(),
            recent: VecDeque::new(),
            dirty_until: Position(0),
            new_conversations,
        }
    }

    /// Gives out the next inbox number.
    pub fn next_seq(&self) -> Seq {
        self.head + 1
    }

    /// The entry `seq` stands in the record at `at`, which ends at `end`.
    pub fn push(&mut self, seq: Seq, at: Position, end: Position) {
        assert_eq!(seq, self.head + 1, "inbox numbers have no holes");
        self.head = seq;
        self.recent.push_back(at);
        self.dirty_until = end;
    }

    /// Adds what an older log holds: entries by number, lowest first. The store may have them
    /// already, and newer ones too (where a newer log has retired those).
    pub fn recover(&mut self, entries: impl Iterator<Item = (Seq, Position)>) {
        assert!(self.recent.is_empty(), "recovered entries come first");
        let mut last = 0;
        for (seq, at) in entries {
            if seq != last + 1 {
                self.recent.clear();
            }
            self.recent.push_back(at);
            last = seq;
        }
        if last < self.head {
            self.recent.clear();
        }
        self.head = self.head.max(last);
        self.visible = self.head;
    }

    /// Forgets positions that the log has let go of; the store has those entries.
    pub fn forget_before(&mut self, start: Position) {
        while self.recent.front().is_some_and(|&at| at < start) {
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.recent = VecDeque::new();
        }
    }

    /// Where the entry stands in the log; `None`: only the store has it.
    pub fn position(&self, seq: Seq) -> Option<Position> {
        let first = self.first_recent();
        let index = seq.checked_sub(first)?;
        self.recent.get(index as usize).copied()
    }

    /// The first entry that the log has; `head + 1` if there is none.
    pub fn first_recent(&self) -> Seq {
        self.head + 1 - self.recent.len() as u64
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
