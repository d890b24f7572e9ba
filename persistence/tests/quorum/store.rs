//! A store with three replicas, quorum reads and writes, and lightweight transactions on one row.
//! Writes come late or never, answers are lost, and what timed out may still happen.

use super::Random;
use persistence::blocks::{Block, ListedLog, LogList, Seal};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

const REPLICAS: usize = 3;
const QUORUM: usize = 2;
/// A coordinator that has no answer by then says so; whoever asked asks again.
pub const TIMEOUT_US: u64 = 1_000_000;

/// A plain write.
#[derive(Clone, Debug)]
pub enum Mutation {
    Block {
        generation: u64,
        core: u16,
        block: Block,
    },
    Listed {
        generation: u64,
        core: u16,
        first: u32,
    },
    /// Several rows of one partition.
    Registered {
        generation: u64,
        cores: u16,
    },
    Oldest(u64),
    Drop {
        generation: u64,
        core: u16,
        segment: u32,
    },
    Unlist {
        generation: u64,
        core: u16,
    },
    /// The last stamp stays. Only transactions should do it.
    Seal(u64, Seal),
}

/// What a quorum read reads.
#[derive(Clone, Copy, Debug)]
pub enum What {
    Seal,
    List,
    Segment { generation: u64, core: u16, segment: u32 },
}

#[derive(Clone, Debug)]
pub enum Request {
    Mutate(Mutation),
    Read(What),
    /// A transaction: sets the seal if it is `from`.
    Fence {
        from: Option<Seal>,
        to: Seal,
    },
    /// A transaction: moves the beat if incarnation and taker are still these.
    Renew {
        to: Seal,
    },
    ReadSerially,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    Seal(Option<Seal>),
    List(LogList),
    Blocks(Vec<Block>),
    /// The coordinator gave up: unknown.
    TimedOut,
}

/// Who gets an answer: process and number of its request.
pub type Asker = (usize, u64);

#[derive(Debug)]
pub enum Event {
    Apply {
        replica: usize,
        mutation: Mutation,
        attempt: Option<usize>,
    },
    ReadPart {
        replica: usize,
        what: What,
        attempt: usize,
    },
    Transact {
        request: Request,
        attempt: usize,
    },
    Answer {
        to: Asker,
        reply: Reply,
    },
    /// A process works.
    Work {
        process: usize,
    },
    Resume {
        process: usize,
    },
    /// Something happens to the processes.
    Chaos,
}

/// What one replica holds.
#[derive(Clone, Default, Debug)]
struct Replica {
    blocks: BTreeMap<(u64, u16, u32, u64), Block>,
    dropped: BTreeSet<(u64, u16, u32)>,
    listed: BTreeMap<(u64, u16), u32>,
    unlisted: BTreeSet<(u64, u16)>,
    oldest: u64,
    seal: Option<(u64, Seal)>,
}

impl Replica {
    fn apply(&mut self, mutation: &Mutation) {
        match mutation.clone() {
            Mutation::Block { generation, core, block } => {
                let old = self.blocks.insert((generation, core, block.segment, block.n), block);
                let Mutation::Block { block, .. } = mutation else { unreachable!() };
                assert!(old.is_none_or(|old| old == *block), "a number is bound to its bytes");
            }
            Mutation::Listed { generation, core, first } => {
                let old = self.listed.entry((generation, core)).or_default();
                *old = first.max(*old);
            }
            Mutation::Registered { generation, cores } => {
                for core in 0..cores {
                    self.listed.entry((generation, core)).or_default();
                }
            }
            Mutation::Oldest(oldest) => self.oldest = self.oldest.max(oldest),
            Mutation::Drop { generation, core, segment } => {
                self.dropped.insert((generation, core, segment));
            }
            Mutation::Unlist { generation, core } => {
                self.unlisted.insert((generation, core));
            }
            Mutation::Seal(stamp, seal) => {
                if self.seal.is_none_or(|(old, _)| old < stamp) {
                    self.seal = Some((stamp, seal));
                }
            }
        }
    }

    /// What a coordinator makes of this and another replica's rows.
    fn join(mut self, other: Replica) -> Replica {
        for (&(generation, core), &first) in &other.listed {
            self.apply(&Mutation::Listed { generation, core, first });
        }
        self.apply(&Mutation::Oldest(other.oldest));
        if let Some((stamp, seal)) = other.seal {
            self.apply(&Mutation::Seal(stamp, seal));
        }
        self.blocks.extend(other.blocks);
        self.dropped.extend(other.dropped);
        self.unlisted.extend(other.unlisted);
        self
    }

    /// The rows that a read is about.
    fn part(&self, what: What) -> Replica {
        let mut part = Replica { seal: self.seal, ..Replica::default() };
        match what {
            What::Seal => {}
            What::List => {
                part.listed = self.listed.clone();
                part.unlisted = self.unlisted.clone();
                part.oldest = self.oldest;
            }
            What::Segment { generation, core, segment } => {
                let range = (generation, core, segment, 0)..=(generation, core, segment, u64::MAX);
                part.blocks = self.blocks.range(range).map(|(k, v)| (*k, v.clone())).collect();
                part.dropped = self.dropped.clone();
            }
        }
        part
    }

    fn reply(self, what: What) -> Reply {
        match what {
            What::Seal => Reply::Seal(self.seal.map(|(_, seal)| seal)),
            What::List => {
                let listed = self.listed.iter().filter(|(name, _)| !self.unlisted.contains(name));
                let log = |(&(generation, core), &first)| ListedLog {
                    generation,
                    core,
                    first,
                    in_flight_max: persistence::blocks::BLOCKS_IN_FLIGHT,
                };
                Reply::List(LogList { oldest: self.oldest, logs: listed.map(log).collect() })
            }
            What::Segment { .. } => {
                let kept = |&(&(g, c, s, _), _): &(&(u64, u16, u32, u64), &Block)| {
                    !self.dropped.contains(&(g, c, s))
                };
                Reply::Blocks(self.blocks.iter().filter(kept).map(|(_, b)| b.clone()).collect())
            }
        }
    }
}

/// One try of a request.
#[derive(Debug)]
struct Attempt {
    asker: Asker,
    /// Replicas that answered.
    got: usize,
    read: Option<Replica>,
    /// What a transaction answers once a quorum has its result.
    reply: Reply,
}

pub struct Store {
    pub now_us: u64,
    pub random: Random,
    /// Nothing is late or lost.
    pub calm: bool,
    /// Of so many messages to a replica, two are lost, two very late, and five late.
    fair: usize,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    replicas: Vec<Replica>,
    attempts: Vec<Attempt>,
    /// The seal as the transactions see it, and how many there were.
    seal: Option<Seal>,
    transactions: u64,
}

impl Store {
    pub fn new(mut random: Random) -> Store {
        let fair = if random.below(2) == 0 { 50 } else { 12 };
        Store {
            now_us: 1,
            random,
            fair,
            calm: false,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            replicas: vec![Replica::default(); REPLICAS],
            attempts: Vec::new(),
            seal: None,
            transactions: 0,
        }
    }

    pub fn after(&mut self, delay_us: u64, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((self.now_us + delay_us, self.next)));
        self.events.insert(self.next, event);
    }

    /// The next event that is not the store's own business.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let Reverse((at_us, name)) = self.queue.pop()?;
            self.now_us = at_us;
            match self.events.remove(&name).expect("queued once") {
                Event::Apply { replica, mutation, attempt } => {
                    self.replicas[replica].apply(&mutation);
                    self.count(attempt);
                }
                Event::ReadPart { replica, what, attempt } => {
                    let part = self.replicas[replica].part(what);
                    let read = &mut self.attempts[attempt].read;
                    *read = Some(read.take().unwrap_or_default().join(part));
                    self.attempts[attempt].got += 1;
                    if self.attempts[attempt].got == QUORUM {
                        let read = self.attempts[attempt].read.take().expect("was read");
                        self.answer(attempt, read.reply(what));
                    }
                }
                Event::Transact { request, attempt } => self.transact(request, attempt),
                event => return Some(event),
            }
        }
    }

    /// `None`: lost.
    fn delay_us(&mut self) -> Option<u64> {
        let random = &mut self.random;
        let fast = 200 + random.below(3_000) as u64;
        match random.below(self.fair) {
            _ if self.calm => Some(fast),
            0 | 1 => None,
            2 | 3 => Some(1_000_000 * random.below(30) as u64),
            4..=8 => Some(1_000 * random.below(300) as u64),
            _ => Some(fast),
        }
    }

    /// Sends one try of a request.
    pub fn send(&mut self, asker: Asker, request: Request) {
        let (attempt, reply) = (self.attempts.len(), Reply::Done);
        self.attempts.push(Attempt { asker, got: 0, read: None, reply });
        self.after(TIMEOUT_US, Event::Answer { to: asker, reply: Reply::TimedOut });
        match request {
            Request::Mutate(mutation) => self.spread(mutation, Some(attempt)),
            Request::Read(what) => {
                let left_out = self.random.below(REPLICAS);
                for replica in (0..REPLICAS).filter(|&replica| replica != left_out) {
                    if let Some(delay_us) = self.delay_us() {
                        self.after(delay_us, Event::ReadPart { replica, what, attempt });
                    }
                }
            }
            request => {
                if let Some(delay_us) = self.delay_us() {
                    self.after(delay_us, Event::Transact { request, attempt });
                }
            }
        }
    }

    fn spread(&mut self, mutation: Mutation, attempt: Option<usize>) {
        for replica in 0..REPLICAS {
            if let Some(delay_us) = self.delay_us() {
                let mutation = mutation.clone();
                self.after(delay_us, Event::Apply { replica, mutation, attempt });
            }
        }
    }

    /// Another replica has what an attempt wrote.
    fn count(&mut self, attempt: Option<usize>) {
        let Some(attempt) = attempt else { return };
        self.attempts[attempt].got += 1;
        if self.attempts[attempt].got == QUORUM {
            let reply = self.attempts[attempt].reply.clone();
            self.answer(attempt, reply);
        }
    }

    fn answer(&mut self, attempt: usize, reply: Reply) {
        let to = self.attempts[attempt].asker;
        if let Some(delay_us) = self.delay_us() {
            self.after(delay_us, Event::Answer { to, reply });
        }
    }

    /// Transactions happen one after the other. Their results reach the replicas some time, and a
    /// quorum of them before there is an answer.
    fn transact(&mut self, request: Request, attempt: usize) {
        let old = self.seal;
        let new = match request {
            Request::Fence { from, to } if old == from => Some(to),
            Request::Renew { to } => old
                .filter(|old| (old.incarnation, old.taker) == (to.incarnation, to.taker))
                .map(|old| Seal { beat: to.beat, ..old }),
            Request::ReadSerially => {
                self.commit_at_quorum();
                return self.answer(attempt, Reply::Seal(self.seal));
            }
            _ => None,
        };
        let Some(new) = new else {
            self.commit_at_quorum();
            return self.answer(attempt, Reply::Done);
        };
        self.seal = Some(new);
        self.transactions += 1;
        self.spread(Mutation::Seal(self.transactions, new), Some(attempt));
    }

    /// What a transaction does with the one before it, before it answers.
    fn commit_at_quorum(&mut self) {
        let Some(seal) = self.seal else { return };
        let left_out = self.random.below(REPLICAS);
        for replica in (0..REPLICAS).filter(|&replica| replica != left_out) {
            self.replicas[replica].apply(&Mutation::Seal(self.transactions, seal));
        }
    }
}
