//! Entities of one kind in memory: loaded on first touch, evicted when clean.

use crate::work::Work;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use persistence::Position;
use std::collections::VecDeque;
use std::hash::Hash;

/// Hash tables without randomness of their own.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;
pub(crate) type Set<K> = hashbrown::HashSet<K, FixedState>;

/// What a table holds.
pub(crate) trait Entity {
    /// Nothing about it is unflushed, owed, attached or waited for.
    fn clean(&self, flushed: Position) -> bool;

    /// What counts besides the entity itself, in whatever unit.
    fn weight(&self) -> usize {
        0
    }
}

enum State<T> {
    Free,
    /// Asked for, or about to be; what waits is done in order once it is there.
    Loading(VecDeque<Work>),
    Ready(T),
}

struct Slot<K, T> {
    key: Option<K>,
    /// Second chance: touched since the hand passed.
    touched: bool,
    state: State<T>,
}

/// Memory of a full table by its slots, in bytes: each with its place in the index and in `free`.
pub(crate) const fn slot_bytes<K, T>() -> u64 {
    (size_of::<Slot<K, T>>() + size_of::<u32>()) as u64 + crate::memory::hashed::<(K, u32)>()
}

/// A bounded table with second-chance eviction.
pub(crate) struct Table<K, T> {
    index: Map<K, u32>,
    /// What was looked up last, newest first: a message looks its two participants up again and
    /// again.
    last: [Option<(K, u32)>; 2],
    slots: Vec<Slot<K, T>>,
    free: Vec<u32>,
    hand: usize,
    max: usize,
    weight: usize,
}

/// Whether an entity can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Ready,
    Loading,
    Absent,
}

impl<K: Copy + Eq + Hash, T: Entity> Table<K, T> {
    pub fn new(max: u32, seed: u64) -> Table<K, T> {
        Table {
            index: HashMap::with_hasher(FixedState::with_seed(seed)),
            last: [None; 2],
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            max: max as usize,
            weight: 0,
        }
    }

    pub fn presence(&mut self, key: K) -> Presence {
        let Some(index) = self.find(key) else { return Presence::Absent };
        let slot = &mut self.slots[index as usize];
        slot.touched = true;
        match slot.state {
            State::Ready(_) => Presence::Ready,
            State::Loading(_) => Presence::Loading,
            State::Free => unreachable!("a free slot is not indexed"),
        }
    }

    fn find(&mut self, key: K) -> Option<u32> {
        let known = self.last.iter().flatten().find(|(last, _)| *last == key);
        if let Some(&(_, index)) = known {
            return Some(index);
        }
        let index = *self.index.get(&key)?;
        self.last = [Some((key, index)), self.last[0]];
        Some(index)
    }

    /// The entity, if it is ready.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let index = self.find(key)?;
        match &mut self.slots[index as usize].state {
            State::Ready(entity) => Some(entity),
            _ => None,
        }
    }

    /// The entity, which the caller knows to be ready.
    pub fn ready(&mut self, key: K) -> &mut T {
        self.get_mut(key).expect("the entity is pinned")
    }

    /// Makes room for a key that is absent, in state Loading. False: the table is full of entities
    /// in use.
    pub fn begin_load(&mut self, key: K, flushed: Position) -> bool {
        let Some(index) = self.take_slot(flushed) else { return false };
        self.slots[index as usize] =
            Slot { key: Some(key), touched: true, state: State::Loading(VecDeque::new()) };
        let before = self.index.insert(key, index);
        assert!(before.is_none(), "an entity loads once");
        true
    }

    /// Lets `work` wait for a key that is loading.
    pub fn park(&mut self, key: K, work: Work) {
        let index = self.index[&key];
        match &mut self.slots[index as usize].state {
            State::Loading(waiting) => waiting.push_back(work),
            _ => unreachable!("only a loading entity is waited for"),
        }
    }

    /// The load ended: the entity is ready. Gives back what waited.
    pub fn loaded(&mut self, key: K, entity: T) -> VecDeque<Work> {
        let index = self.index[&key];
        self.weight += entity.weight();
        match std::mem::replace(&mut self.slots[index as usize].state, State::Ready(entity)) {
            State::Loading(waiting) => waiting,
            _ => unreachable!("only a loading entity is loaded"),
        }
    }

    /// The load failed: the entity is absent again. Gives back what waited.
    pub fn load_failed(&mut self, key: K) -> VecDeque<Work> {
        let index = self.index[&key];
        match self.release(index) {
            State::Loading(waiting) => waiting,
            _ => unreachable!("only a loading entity fails to load"),
        }
    }

    /// Entities in memory.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// An entity changed its weight.
    pub fn reweigh(&mut self, before: usize, after: usize) {
        self.weight = self.weight - before + after;
    }

    /// Lets go of clean entities until the weight leaves room for `more` below `max`.
    pub fn lighten(&mut self, more: usize, max: usize, flushed: Position) -> bool {
        while self.weight + more > max && self.evict(flushed) {}
        self.weight + more <= max
    }

    fn release(&mut self, index: u32) -> State<T> {
        let slot = &mut self.slots[index as usize];
        let key = slot.key.take().expect("a used slot has a key");
        self.index.remove(&key);
        self.last = [None; 2];
        self.free.push(index);
        let state = std::mem::replace(&mut slot.state, State::Free);
        if let State::Ready(entity) = &state {
            self.weight -= entity.weight();
        }
        state
    }

    fn take_slot(&mut self, flushed: Position) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        if self.slots.len() < self.max {
            self.slots.push(Slot { key: None, touched: false, state: State::Free });
            return Some(self.slots.len() as u32 - 1);
        }
        self.evict(flushed).then(|| self.free.pop().expect("just freed"))
    }

    /// Lets go of one clean entity, if there is one.
    fn evict(&mut self, flushed: Position) -> bool {
        // Two rounds of the hand: the first takes second chances away.
        for _ in 0..2 * self.slots.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[index];
            let State::Ready(entity) = &slot.state else { continue };
            if std::mem::take(&mut slot.touched) || !entity.clean(flushed) {
                continue;
            }
            self.release(index as u32);
            return true;
        }
        false
    }
}
