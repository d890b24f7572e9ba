//! A taker: waits out a lease, fences, reads what the older incarnations left, and makes their
//! tails whole.

use super::{BLOCKS_IN_FLIGHT, Block, LEASE_US, ListedLog, LogList, Seal};
use crate::FoundLog;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A taker waits for so long beyond a lease, in microseconds: clocks run unevenly.
pub const LEASE_MARGIN_US: u64 = 1_000_000;
/// How often a taker that waits looks at the seal, in microseconds.
pub const WATCH_US: u64 = 500_000;

/// What a taker asks of the store: one thing at a time, tried until the store answers, at the logs'
/// level. Only of `Fence` any end counts as an answer: the read that follows settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakerOp {
    /// Read the seal serially, as the transactions do.
    ReadSeal,
    /// Read the node's list of logs.
    List,
    /// Add the new incarnation's logs to the list, cores 0 .. `cores`, from segment 0 on.
    Register {
        /// Their generation.
        generation: u64,
        /// How many.
        cores: u16,
    },
    /// Set the seal by a lightweight transaction, if it is still `from` (incarnation, taker and
    /// beat), or is missing.
    Fence {
        /// What was seen.
        from: Option<Seal>,
        /// What it becomes.
        to: Seal,
    },
    /// Read all blocks of a segment.
    Read {
        /// Generation of the log.
        generation: u64,
        /// Core of the log.
        core: u16,
        /// Segment number.
        segment: u32,
    },
    /// Write a block again.
    Write {
        /// Generation of the log.
        generation: u64,
        /// Core of the log.
        core: u16,
        /// As it was read.
        block: Block,
    },
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakerDone {
    /// To `ReadSeal`.
    Seal(Option<Seal>),
    /// To `List`.
    List(LogList),
    /// To `Read`, in any order.
    Blocks(Vec<Block>),
    /// To everything else.
    Done,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakerStep {
    /// Ask the store.
    Ask(TakerOp),
    /// Somebody holds the node: poll again at this time.
    Wait {
        /// On the clock that `now_us` comes from.
        until_us: u64,
    },
    /// Nothing is left to do.
    Taken(Taken),
}

/// A node that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// As this taker set it.
    pub seal: Seal,
    /// The older logs, whole up to their last block; generation and core grow.
    pub logs: Vec<OldLog>,
    /// Logs that nobody needs: what an interrupted removal left.
    pub garbage: Vec<ListedLog>,
}

/// A log of an older incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// As it is listed.
    pub listed: ListedLog,
    /// Its blocks by number, those behind a missing one too.
    pub blocks: BTreeMap<u64, Block>,
}

/// See the head of this file. Times are microseconds of a clock that only moves on.
#[derive(Debug)]
pub struct Taker {
    /// What the seal becomes, but for its incarnation.
    mine: Seal,
    cores: u16,
    state: State,
    /// What was seen of the seal, and since when.
    seen: Option<(Seal, u64)>,
    list: LogList,
    logs: Vec<OldLog>,
}

/// Named for what is awaited.
#[derive(Debug)]
enum State {
    Time { until_us: u64 },
    Seal,
    ListBefore,
    Registered { to: Seal },
    Fenced { to: Seal },
    Settled { to: Seal },
    List { to: Seal },
    Blocks { to: Seal, log: usize, segment: u32 },
    ListAgain { to: Seal },
    Written { to: Seal, left: VecDeque<TakerOp> },
    Confirmed { to: Seal },
    Nothing { to: Seal },
}

impl Taker {
    /// A taker for `cores` cores. `taker` is random; `dir` names the data directory whose lock this
    /// process holds.
    pub fn new(taker: u64, dir: u64, cores: u16) -> Taker {
        let mine = Seal { incarnation: 0, taker, dir, beat: 1 };
        let (list, logs) = (LogList::default(), Vec::new());
        Taker { mine, cores, state: State::Seal, seen: None, list, logs }
    }

    /// What to do now. Until it is answered, the same again.
    pub fn step(&mut self, now_us: u64) -> TakerStep {
        if let State::Time { until_us } = self.state
            && now_us >= until_us
        {
            self.state = State::Seal;
        }
        TakerStep::Ask(match &self.state {
            State::Time { until_us } => return TakerStep::Wait { until_us: *until_us },
            State::Seal | State::Settled { .. } | State::Confirmed { .. } => TakerOp::ReadSeal,
            State::ListBefore | State::List { .. } | State::ListAgain { .. } => TakerOp::List,
            State::Registered { to } => {
                TakerOp::Register { generation: to.incarnation, cores: self.cores }
            }
            State::Fenced { to } => {
                TakerOp::Fence { from: self.seen.map(|(seal, _)| seal), to: *to }
            }
            State::Blocks { log, segment, .. } => {
                let ListedLog { generation, core, .. } = self.logs[*log].listed;
                TakerOp::Read { generation, core, segment: *segment }
            }
            State::Written { left, .. } => left.front().expect("one is left").clone(),
            State::Nothing { to } => {
                let (seal, logs) = (*to, std::mem::take(&mut self.logs));
                let needless = |log: &&ListedLog| log.generation < self.list.oldest;
                let garbage = self.list.logs.iter().filter(needless).copied().collect();
                return TakerStep::Taken(Taken { seal, logs, garbage });
            }
        })
    }

    /// The answer to what `step` asked.
    pub fn complete(&mut self, done: TakerDone, now_us: u64) {
        let state = std::mem::replace(&mut self.state, State::Seal);
        self.state = match (state, done) {
            (State::Seal, TakerDone::Seal(found)) => self.watch(found, now_us),
            (State::ListBefore, TakerDone::List(list)) => {
                let newest = list.logs.iter().map(|log| log.generation).max().unwrap_or(0);
                let sealed = self.seen.map_or(0, |(seal, _)| seal.incarnation);
                let incarnation = newest.max(sealed) + 1;
                State::Registered { to: Seal { incarnation, ..self.mine } }
            }
            (State::Registered { to }, TakerDone::Done) => State::Fenced { to },
            (State::Fenced { to }, TakerDone::Done) => State::Settled { to },
            (State::Settled { to }, TakerDone::Seal(found)) => match found == Some(to) {
                true => State::List { to },
                false => self.watch(found, now_us),
            },
            (State::List { to }, TakerDone::List(list)) => self.read(to, list),
            (State::Blocks { to, log, segment }, TakerDone::Blocks(blocks)) => {
                let end = blocks.is_empty();
                self.logs[log].blocks.extend(blocks.into_iter().map(|block| (block.n, block)));
                match end {
                    false => State::Blocks { to, log, segment: segment + 1 },
                    true => self.read_log(to, log + 1),
                }
            }
            // What was missing may have been dropped by an owner that does not know yet: then the
            // list said so before.
            (State::ListAgain { to }, TakerDone::List(list)) => match list == self.list {
                true => self.write(to),
                false => self.read(to, list),
            },
            (State::Written { to, mut left }, TakerDone::Done) => {
                left.pop_front();
                State::written(to, left)
            }
            // Who fences from here on reads after the tail became whole, and finds all of it.
            (State::Confirmed { to }, TakerDone::Seal(found)) => match found == Some(to) {
                true => State::Nothing { to },
                false => self.watch(found, now_us),
            },
            (state, done) => unreachable!("{done:?} while it waits for {state:?}"),
        };
    }

    /// Whether the node may be taken now.
    fn watch(&mut self, found: Option<Seal>, now_us: u64) -> State {
        let since_us = match (self.seen, found) {
            (Some((seen, since_us)), Some(found)) if seen == found => since_us,
            _ => now_us,
        };
        self.seen = found.map(|found| (found, since_us));
        let held = found.is_some_and(|seal| seal.beat > 0 && seal.dir != self.mine.dir);
        match held && now_us < since_us + LEASE_US + LEASE_MARGIN_US {
            true => State::Time { until_us: now_us + WATCH_US },
            false => State::ListBefore,
        }
    }

    /// Reads all logs that the list names.
    fn read(&mut self, to: Seal, list: LogList) -> State {
        let older = list.oldest..to.incarnation;
        let older = list.logs.iter().filter(|log| older.contains(&log.generation));
        let old_log = |listed: &ListedLog| OldLog { listed: *listed, blocks: BTreeMap::new() };
        self.logs = older.map(old_log).collect();
        self.logs.sort_by_key(|log| (log.listed.generation, log.listed.core));
        self.list = list;
        self.read_log(to, 0)
    }

    fn read_log(&self, to: Seal, log: usize) -> State {
        match self.logs.get(log) {
            Some(next) => State::Blocks { to, log, segment: next.listed.first },
            None => State::ListAgain { to },
        }
    }

    /// Writes again what may not be at a quorum: a second taker must find what this one found.
    fn write(&self, to: Seal) -> State {
        State::written(to, self.logs.iter().flat_map(OldLog::rewrites).collect())
    }
}

impl State {
    fn written(to: Seal, left: VecDeque<TakerOp>) -> State {
        if left.is_empty() { State::Confirmed { to } } else { State::Written { to, left } }
    }
}

impl OldLog {
    /// Number of the first block that is not there.
    fn end(&self) -> u64 {
        let first = self.blocks.keys().next().copied().unwrap_or(0);
        (first..).zip(self.blocks.keys()).take_while(|(n, found)| n == *found).count() as u64
            + first
    }

    fn rewrites(&self) -> impl Iterator<Item = TakerOp> {
        let ListedLog { generation, core, in_flight_max, .. } = self.listed;
        let in_flight_max = in_flight_max.max(BLOCKS_IN_FLIGHT);
        let tail = self.blocks.range(..self.end()).rev().take(in_flight_max as usize);
        tail.map(move |(_, block)| TakerOp::Write { generation, core, block: block.clone() })
    }

    /// As recovery reads it: segments from their blocks, zeros between them. A block behind a
    /// missing one is in it too: recovery cuts it, or takes it as proof of a loss.
    pub fn found(&self) -> FoundLog {
        let mut segments: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for block in self.blocks.values() {
            let segment = segments.entry(block.segment).or_default();
            let start = block.offset as usize;
            segment.resize(segment.len().max(start + block.length as usize), 0);
            segment[start..start + block.bytes.len()].copy_from_slice(&block.bytes);
        }
        let segments = segments.into_iter().map(|(n, bytes)| (n, Bytes::from(bytes))).collect();
        let ListedLog { generation, core, .. } = self.listed;
        FoundLog { generation, core, segments }
    }
}
