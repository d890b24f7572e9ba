//! The disk under the logs: what a completion promised stays, what was in flight at a crash is
//! lost, torn, kept, or lands when the next process has already read the files.

use crate::seed::Rng;
use bytes::Bytes;
use persistence::{BLOCK_BYTES, FoundLog, IoDone, IoOp};
use std::collections::BTreeMap;

/// A device writes whole sectors; a cut leaves each of them old or new.
const SECTOR_BYTES: usize = 512;

type LogName = (u64, u16);

/// All logs of all generations.
#[derive(Debug)]
pub struct Disk {
    rng: Rng,
    logs: BTreeMap<LogName, BTreeMap<u32, Vec<u8>>>,
    generation: u64,
    segment_bytes: usize,
    pending: Vec<Pending>,
    late: Vec<Late>,
    /// Retired segments of this process, with their core and their old content.
    pool: Vec<(u16, Vec<u8>)>,
    older_done: Vec<bool>,
    full: bool,
    slow: bool,
}

#[derive(Debug)]
struct Pending {
    at: u64,
    core: u16,
    op: IoOp,
}

#[derive(Debug)]
struct Late {
    at: u64,
    log: LogName,
    segment: u32,
    offset: usize,
    bytes: Bytes,
}

impl Disk {
    /// An empty disk.
    pub fn new(rng: Rng) -> Disk {
        Disk {
            rng,
            logs: BTreeMap::new(),
            generation: 0,
            segment_bytes: 0,
            pending: Vec::new(),
            late: Vec::new(),
            pool: Vec::new(),
            older_done: Vec::new(),
            full: false,
            slow: false,
        }
    }

    /// No room for further segments, until told otherwise.
    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    /// Operations take up to 50 ms instead of about 100 µs.
    pub fn set_slow(&mut self, slow: bool) {
        self.slow = slow;
    }

    /// What a process that opens the directory reads.
    pub fn found(&self) -> Vec<FoundLog> {
        let found = |(&(generation, core), segments): (&LogName, &BTreeMap<u32, Vec<u8>>)| {
            let segments = segments.iter();
            let segments = segments.map(|(&number, bytes)| (number, Bytes::from(bytes.clone())));
            FoundLog { generation, core, segments: segments.collect() }
        };
        self.logs.iter().map(found).collect()
    }

    /// A process starts a generation.
    pub fn open(&mut self, generation: u64, cores: u16, segment_bytes: u32) {
        let newest = self.logs.keys().map(|(generation, _)| *generation).max();
        assert!(newest.is_none_or(|newest| generation > newest), "a generation is used again");
        self.generation = generation;
        self.segment_bytes = segment_bytes as usize;
        self.older_done = vec![false; cores as usize];
    }

    /// Takes an operation of a core's log.
    pub fn submit(&mut self, now: u64, core: u16, op: IoOp) {
        if let IoOp::Write { segment, offset, ref bytes, .. } = op {
            let (offset, end) = (offset as usize, offset as usize + bytes.len());
            assert!(offset.is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES));
            assert!(!bytes.is_empty() && end <= self.segment_bytes, "beyond the segment");
            let log = self.logs.get(&(self.generation, core));
            assert!(log.is_some_and(|log| log.contains_key(&segment)), "written, not prepared");
        }
        let delay = match (self.slow, self.rng.chance(20)) {
            (false, false) => self.rng.between(40, 250),
            (false, true) | (true, false) => self.rng.between(250, 5_000),
            (true, true) => self.rng.between(5_000, 50_000),
        };
        self.pending.push(Pending { at: now + delay, core, op });
    }

    /// When this core has a completion next.
    pub fn next_at(&self, core: u16) -> Option<u64> {
        self.pending.iter().filter(|pending| pending.core == core).map(|pending| pending.at).min()
    }

    /// The core's next completion that is due. Those without one happen in passing.
    pub fn complete(&mut self, now: u64, core: u16) -> Option<IoDone> {
        loop {
            let due = self.pending.iter().enumerate();
            let due = due.filter(|(_, pending)| pending.core == core && pending.at <= now);
            let (index, _) = due.min_by_key(|(index, pending)| (pending.at, *index))?;
            let op = self.pending.remove(index).op;
            if let Some(done) = self.apply(core, op) {
                return Some(done);
            }
        }
    }

    fn apply(&mut self, core: u16, op: IoOp) -> Option<IoDone> {
        let log = (self.generation, core);
        match op {
            IoOp::Prepare { segment } if self.full => return Some(IoDone::Full { segment }),
            IoOp::Prepare { segment } => {
                self.prepare(log, segment);
                return Some(IoDone::Prepared { segment });
            }
            IoOp::Write { id, segment, offset, bytes } => {
                self.land(log, segment, offset as usize, &bytes);
                return Some(IoDone::Written { id });
            }
            IoOp::Retire { segment } => {
                let content = self.logs.get_mut(&log).and_then(|log| log.remove(&segment));
                self.pool.extend(content.map(|content| (core, content)));
            }
            IoOp::RetireOlder => {
                self.older_done[core as usize] = true;
                if self.older_done.iter().all(|done| *done) {
                    let generation = self.generation;
                    self.logs.retain(|(older, _), _| *older == generation);
                }
            }
        }
        None
    }

    /// A new file of zeros, or a retired one with all that it held.
    fn prepare(&mut self, log: LogName, segment: u32) {
        let retired = self.pool.iter().position(|(core, _)| *core == log.1);
        let recycled = retired.filter(|_| self.rng.chance(700));
        let content = recycled.map(|index| self.pool.swap_remove(index).1);
        let content = content.unwrap_or_else(|| vec![0; self.segment_bytes]);
        let before = self.logs.entry(log).or_default().insert(segment, content);
        assert!(before.is_none(), "a segment is prepared twice");
    }

    /// Into a file that may be gone: then nobody sees it.
    fn land(&mut self, log: LogName, segment: u32, offset: usize, bytes: &[u8]) {
        if let Some(content) = self.logs.get_mut(&log).and_then(|log| log.get_mut(&segment)) {
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The process dies: each operation in flight meets a fate of its own.
    pub fn crash(&mut self, now: u64) {
        for pending in std::mem::take(&mut self.pending) {
            let log = (self.generation, pending.core);
            match pending.op {
                IoOp::Write { segment, offset, bytes, .. } => {
                    self.meet_fate(now, log, segment, offset as usize, bytes)
                }
                IoOp::Prepare { segment } if self.rng.chance(500) => self.prepare(log, segment),
                // All cores are done with the older generations, and some of those are deleted.
                IoOp::RetireOlder => {
                    self.older_done[pending.core as usize] = true;
                    if self.older_done.iter().all(|done| *done) {
                        self.delete_some_older();
                    }
                }
                IoOp::Prepare { .. } | IoOp::Retire { .. } => {}
            }
        }
        self.pool.clear();
    }

    /// Generations go oldest first, each at once: they are renamed before they are removed.
    fn delete_some_older(&mut self) {
        let mut keep_from = 0;
        for generation in self.logs.keys().map(|(generation, _)| *generation).collect::<Vec<_>>() {
            if generation >= self.generation || self.rng.chance(500) {
                break;
            }
            keep_from = generation + 1;
        }
        self.logs.retain(|(generation, _), _| *generation >= keep_from);
    }

    fn meet_fate(&mut self, now: u64, log: LogName, segment: u32, offset: usize, bytes: Bytes) {
        match self.rng.below(4) {
            0 => {}
            1 => self.land(log, segment, offset, &bytes),
            2 => self.land_torn(log, segment, offset, &bytes),
            _ => {
                let at = now + self.rng.scaled(1_000, 3_000_000);
                self.late.push(Late { at, log, segment, offset, bytes });
            }
        }
    }

    fn land_torn(&mut self, log: LogName, segment: u32, offset: usize, bytes: &[u8]) {
        let kept = self.rng.between(1, 999);
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            if self.rng.chance(kept) {
                self.land(log, segment, offset + index * SECTOR_BYTES, sector);
            }
        }
    }

    /// Lets writes of dead processes land that are due.
    pub fn land_late(&mut self, now: u64) {
        let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|l| l.at <= now);
        self.late = later;
        for late in due as Vec<Late> {
            if self.rng.chance(300) {
                self.land_torn(late.log, late.segment, late.offset, &late.bytes);
            } else {
                self.land(late.log, late.segment, late.offset, &late.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(disk: &mut Disk, id: u64, offset: u32, byte: u8) {
        let bytes = Bytes::from(vec![byte; BLOCK_BYTES]);
        disk.submit(0, 0, IoOp::Write { id, segment: 0, offset, bytes });
    }

    fn prepared(seed: u64) -> Disk {
        let mut disk = Disk::new(Rng::new(seed));
        disk.open(1, 1, 16 * 1024);
        disk.submit(0, 0, IoOp::Prepare { segment: 0 });
        assert_eq!(disk.complete(u64::MAX, 0), Some(IoDone::Prepared { segment: 0 }));
        disk
    }

    #[test]
    fn completed_writes_survive_and_others_meet_every_fate() {
        let mut seen = [false; 3];
        for seed in 0..100 {
            let mut disk = prepared(seed);
            written(&mut disk, 1, 0, 1);
            assert_eq!(disk.complete(u64::MAX, 0), Some(IoDone::Written { id: 1 }));
            written(&mut disk, 2, 4096, 2);
            disk.crash(0);
            let content = disk.found()[0].segments[0].1.clone();
            assert!(content[..4096].iter().all(|byte| *byte == 1));
            let landed = content[4096..8192].iter().filter(|byte| **byte == 2).count();
            seen[if landed == 0 { 0 } else { 1 + (landed == 4096) as usize }] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn some_writes_land_after_the_files_were_read() {
        let late = (0..100).filter(|seed| {
            let mut disk = prepared(*seed);
            written(&mut disk, 1, 0, 1);
            disk.crash(0);
            let before = disk.found()[0].segments[0].1.clone();
            disk.land_late(u64::MAX);
            before != disk.found()[0].segments[0].1
        });
        assert!(late.count() > 10);
    }
}
