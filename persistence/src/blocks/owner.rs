//! The owner of one log: writes its blocks, and says which are durable.

use super::Block;
use crate::{IoDone, IoOp};
use std::collections::VecDeque;

/// What an owner asks of the store. Each is tried, as it is, until the store acknowledges it at the
/// log's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerOp {
    /// Write this block; several may be under way.
    Write(Block),
    /// Read the seal at the log's level; a plain read.
    ReadSeal,
    /// Say in the list that segments below this one are not needed.
    KeepFrom {
        /// Segment number.
        segment: u32,
    },
    /// Delete this segment's blocks.
    Drop {
        /// Segment number.
        segment: u32,
    },
}

/// What the store acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerDone {
    /// The block of this number.
    Written {
        /// Its number.
        n: u64,
    },
    /// The incarnation that the seal names, if there is a seal.
    Seal(Option<u64>),
    /// `OwnerOp::KeepFrom`.
    Kept {
        /// Segment number.
        segment: u32,
    },
    /// `OwnerOp::Drop`.
    Dropped {
        /// Segment number.
        segment: u32,
    },
}

/// The node's seal names somebody else: nothing of this process counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another process took over this node, as incarnation {}", by.unwrap_or(0))]
pub struct Deposed {
    /// The incarnation that is found; `None`: the seal is gone.
    pub by: Option<u64>,
}

/// The device of one log: takes what the log asks, and gives what is durable, in order.
#[derive(Debug)]
pub struct Owner {
    incarnation: u64,
    /// Blocks below this are durable.
    durable: u64,
    /// Of the blocks from `durable` on that were asked for: acked or not.
    acked: VecDeque<bool>,
    /// A read of the seal is under way, and blocks below this were acked when it began.
    reading: Option<u64>,
    ops: VecDeque<OwnerOp>,
    done: VecDeque<IoDone>,
    deposed: Option<Deposed>,
}

impl Owner {
    /// The owner of a new log of this incarnation, which is registered in the node's list.
    pub fn new(incarnation: u64) -> Owner {
        Owner {
            incarnation,
            durable: 0,
            acked: VecDeque::new(),
            reading: None,
            ops: VecDeque::new(),
            done: VecDeque::new(),
            deposed: None,
        }
    }

    /// Takes an operation of the log; `IoOp::RetireOlder` concerns all logs of the node, and is for
    /// whoever holds them.
    pub fn take(&mut self, op: IoOp) {
        match op {
            IoOp::Prepare { segment } => self.done.push_back(IoDone::Prepared { segment }),
            IoOp::Write { id, segment, offset, bytes } => {
                assert_eq!(id, self.durable + self.acked.len() as u64, "blocks come in order");
                assert!(
                    self.acked.len() < super::BLOCKS_IN_FLIGHT as usize,
                    "what a taker repairs"
                );
                self.acked.push_back(false);
                self.ops.push_back(OwnerOp::Write(Block::new(id, segment, offset, &bytes)));
            }
            IoOp::Retire { segment } => {
                self.ops.push_back(OwnerOp::KeepFrom { segment: segment + 1 });
            }
            IoOp::RetireOlder => unreachable!("concerns all logs of a node"),
        }
    }

    /// The next operation for the store.
    pub fn poll(&mut self) -> Option<OwnerOp> {
        if self.deposed.is_some() {
            return None;
        }
        let acked = self.acked_upto();
        if self.reading.is_none() && acked > self.durable {
            self.reading = Some(acked);
            return Some(OwnerOp::ReadSeal);
        }
        self.ops.pop_front()
    }

    /// All blocks below this are acked.
    fn acked_upto(&self) -> u64 {
        self.durable + self.acked.iter().take_while(|acked| **acked).count() as u64
    }

    /// The store acknowledged something. `lease_until_us` and `now_us` are of this process's own
    /// clock: without a lease nothing becomes durable, with one only what the seal allows. After
    /// `Deposed`, nothing does.
    pub fn complete(
        &mut self,
        done: OwnerDone,
        now_us: u64,
        lease_until_us: u64,
    ) -> Result<(), Deposed> {
        if let Some(deposed) = self.deposed {
            return Err(deposed);
        }
        match done {
            OwnerDone::Written { n } => {
                let index = n.checked_sub(self.durable).expect("is under way") as usize;
                assert!(!std::mem::replace(&mut self.acked[index], true), "block {n} came twice");
            }
            OwnerDone::Seal(found) => {
                let upto = self.reading.take().expect("a read is under way");
                if found != Some(self.incarnation) {
                    let deposed = Deposed { by: found };
                    self.deposed = Some(deposed);
                    return Err(deposed);
                }
                if now_us < lease_until_us {
                    let durable = self.durable..upto;
                    self.acked.drain(..durable.clone().count());
                    self.done.extend(durable.map(|id| IoDone::Written { id }));
                    self.durable = upto;
                }
            }
            OwnerDone::Kept { segment } => {
                self.ops.push_back(OwnerOp::Drop { segment: segment - 1 });
            }
            OwnerDone::Dropped { .. } => {}
        }
        Ok(())
    }

    /// The next completion for the log.
    pub fn poll_done(&mut self) -> Option<IoDone> {
        self.done.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn write(owner: &mut Owner, id: u64) {
        owner.take(IoOp::Write { id, segment: 0, offset: 0, bytes: Bytes::new() });
        assert!(matches!(owner.poll(), Some(OwnerOp::Write(block)) if block.n == id));
    }

    #[test]
    fn a_read_covers_only_what_was_acked_when_it_began() {
        let mut owner = Owner::new(3);
        (0..3).for_each(|id| write(&mut owner, id));
        owner.complete(OwnerDone::Written { n: 1 }, 0, 1).unwrap();
        assert_eq!(owner.poll(), None, "block 0 is missing");
        owner.complete(OwnerDone::Written { n: 0 }, 0, 1).unwrap();
        assert_eq!(owner.poll(), Some(OwnerOp::ReadSeal));
        owner.complete(OwnerDone::Written { n: 2 }, 0, 1).unwrap();
        assert_eq!(owner.poll(), None, "one read at a time");
        owner.complete(OwnerDone::Seal(Some(3)), 0, 1).unwrap();
        assert_eq!(owner.poll_done(), Some(IoDone::Written { id: 0 }));
        assert_eq!(owner.poll_done(), Some(IoDone::Written { id: 1 }));
        assert_eq!(owner.poll_done(), None, "block 2 was acked after the read began");
        assert_eq!(owner.poll(), Some(OwnerOp::ReadSeal));
    }

    #[test]
    fn without_a_lease_a_read_is_not_enough() {
        let mut owner = Owner::new(3);
        write(&mut owner, 0);
        owner.complete(OwnerDone::Written { n: 0 }, 5, 5).unwrap();
        assert_eq!(owner.poll(), Some(OwnerOp::ReadSeal));
        owner.complete(OwnerDone::Seal(Some(3)), 5, 5).unwrap();
        assert_eq!(owner.poll_done(), None);
        assert_eq!(owner.poll(), Some(OwnerOp::ReadSeal));
    }

    #[test]
    fn whoever_finds_another_or_no_incarnation_stops_for_good() {
        for found in [None, Some(2), Some(4)] {
            let mut owner = Owner::new(3);
            write(&mut owner, 0);
            owner.complete(OwnerDone::Written { n: 0 }, 0, 1).unwrap();
            assert_eq!(owner.poll(), Some(OwnerOp::ReadSeal));
            let deposed = Err(Deposed { by: found });
            assert_eq!(owner.complete(OwnerDone::Seal(found), 0, 1), deposed);
            assert_eq!(owner.complete(OwnerDone::Seal(Some(3)), 0, 1), deposed);
            assert_eq!((owner.poll(), owner.poll_done()), (None, None));
        }
    }

    #[test]
    fn a_segment_is_dropped_after_the_list_says_so() {
        let mut owner = Owner::new(1);
        owner.take(IoOp::Retire { segment: 4 });
        assert_eq!(owner.poll(), Some(OwnerOp::KeepFrom { segment: 5 }));
        assert_eq!(owner.poll(), None);
        owner.complete(OwnerDone::Kept { segment: 5 }, 0, 1).unwrap();
        assert_eq!(owner.poll(), Some(OwnerOp::Drop { segment: 4 }));
    }
}
