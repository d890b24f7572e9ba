//! The lanes between cores: bounded queues, each with a pace of its own.

use crate::seed::Rng;
use shards::{Adoption, ConnId, CoreIndex, Relay};
use std::collections::VecDeque;

/// What travels in a lane.
#[derive(Debug)]
pub enum Item {
    /// A relay.
    Relay(Relay),
    /// A connection on its way to its home, under the name that it has there.
    Adoption {
        /// Its name at the home.
        conn: ConnId,
        /// What goes with it.
        adoption: Box<Adoption>,
    },
}

/// All lanes of a node, from every core to every other.
#[derive(Debug)]
pub struct Lanes {
    cores: usize,
    entries_max: usize,
    queues: Vec<VecDeque<(u64, Item)>>,
    calm: bool,
    rng: Rng,
}

impl Lanes {
    /// Empty lanes. Each holds `entries_max` entries, as the real ones do; one more is a fault of
    /// the cores, which count their credits themselves.
    pub fn new(cores: u16, entries_max: usize, rng: Rng) -> Lanes {
        let cores = cores as usize;
        let queues = (0..cores * cores).map(|_| VecDeque::new()).collect();
        Lanes { cores, entries_max, queues, calm: false, rng }
    }

    /// What is sent from now on takes no time.
    pub fn set_calm(&mut self) {
        self.calm = true;
    }

    /// Puts an item in the lane; it arrives after the one before it.
    pub fn push(&mut self, now: u64, from: CoreIndex, to: CoreIndex, item: Item) {
        assert_ne!(from, to, "a core has no lane to itself");
        let delay =
            if !self.calm && self.rng.chance(50) { self.rng.scaled(100, 50_000) } else { 1 };
        let queue = &mut self.queues[from as usize * self.cores + to as usize];
        assert!(queue.len() < self.entries_max, "lane {from} → {to} is full: {queue:?}");
        let earliest = queue.back().map_or(0, |(at, _)| *at);
        queue.push_back((earliest.max(now + delay), item));
    }

    /// The next item that has arrived from this core.
    pub fn pop(&mut self, now: u64, from: CoreIndex, to: CoreIndex) -> Option<Item> {
        let queue = &mut self.queues[from as usize * self.cores + to as usize];
        let (at, _) = queue.front()?;
        if *at > now { None } else { queue.pop_front().map(|(_, item)| item) }
    }

    /// When something arrives at this core next.
    pub fn next_at(&self, to: CoreIndex) -> Option<u64> {
        let heads =
            (0..self.cores).map(|from| self.queues[from * self.cores + to as usize].front());
        heads.flatten().map(|(at, _)| *at).min()
    }
}
