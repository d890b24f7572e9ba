//! Where the newest of something numbered stands in the log: inbox entries, places.

use persistence::Position;
use std::collections::VecDeque;
use wire::Seq;

/// Log positions of the newest records of a numbered sequence, without a hole, ending at `head`.
/// At least everything that is not in the store is here.
#[derive(Default)]
pub(crate) struct Recent {
    /// Newest number given out.
    head: Seq,
    positions: VecDeque<Position>,
    /// Positions before this one were forgotten: the oldest, cold by then, need not be looked at.
    forgotten: Position,
}

impl Recent {
    /// The store has everything up to `head`.
    pub fn new(head: Seq) -> Recent {
        Recent { head, ..Recent::default() }
    }

    /// Newest number given out.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The next number stands in the record at `at`.
    pub fn push(&mut self, seq: Seq, at: Position) {
        assert_eq!(seq, self.head + 1, "numbers have no holes");
        self.head = seq;
        self.positions.push_back(at);
    }

    /// Adds what an older log holds, lowest first. The store may have it already, and newer ones
    /// too (where a newer log has retired those).
    pub fn recover(&mut self, records: impl Iterator<Item = (Seq, Position)>) {
        assert!(self.positions.is_empty(), "what was recovered comes first");
        self.forgotten = Position::default();
        let mut last = 0;
        for (seq, at) in records {
            if seq != last + 1 {
                self.positions.clear();
            }
            self.positions.push_back(at);
            last = seq;
        }
        if last < self.head {
            self.positions.clear();
        }
        self.head = self.head.max(last);
    }

    /// Forgets positions that the log has let go of; the store has what stands there.
    pub fn forget_before(&mut self, start: Position) {
        if start <= self.forgotten {
            return;
        }
        self.forgotten = start;
        while self.positions.front().is_some_and(|&at| at < start) {
            self.positions.pop_front();
        }
        if self.positions.is_empty() {
            self.positions = VecDeque::new();
        }
    }

    /// Where a number stands in the log; `None`: only the store has it.
    pub fn position(&self, seq: Seq) -> Option<Position> {
        let index = seq.checked_sub(self.first())?;
        self.positions.get(index as usize).copied()
    }

    /// The first number that the log has; `head + 1` if there is none.
    pub fn first(&self) -> Seq {
        self.head + 1 - self.positions.len() as u64
    }

    /// The newest number whose record is durable.
    pub fn durable(&self, durable: Position) -> Seq {
        let count = self.positions.partition_point(|&at| at < durable);
        self.first() + count as u64 - 1
    }
}
