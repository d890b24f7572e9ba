//! Processes that take a node from each other, over a store that loses and delays.

pub mod check;
pub mod process;
pub mod store;

use check::Checker;
use persistence::{ConvKey, Log, MessageRecord, Position, Record, slot_of};
use process::Process;
use store::{Event, Store};
use wire::{OutboxId, UserId};

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Blocks are durable without a read of the seal.
    NoRead,
    /// The seal is set and read by plain quorum requests.
    PlainSeal,
    /// A taker does not write the tail again.
    TailNotWritten,
    /// While its lease holds, an owner does not read the seal.
    ClockIsFence,
    /// A taker starts from what it read although another may have fenced it meanwhile.
    NotConfirmed,
    /// A segment is dropped before the list says so.
    DroppedUnlisted,
    /// What a taker found becomes rows before its own log says how far it found it.
    FlushedBeforeHeader,
}

impl Planted {
    pub const ALL: [Planted; 7] = [
        Planted::NoRead,
        Planted::PlainSeal,
        Planted::TailNotWritten,
        Planted::ClockIsFence,
        Planted::NotConfirmed,
        Planted::DroppedUnlisted,
        Planted::FlushedBeforeHeader,
    ];
}

/// Small numbers that are the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 .. `below`.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1) as usize % below
    }
}

static BODY: [u8; 1_500] = [7; 1_500];

/// The conversation that core `core` of two owns, alone or not.
fn conv(core: u16) -> ConvKey {
    let user = |n| UserId::new(n).expect("not 0");
    let mine = |conv: &ConvKey| slot_of(conv.owner()) % 2 == core;
    let pairs = (2..100).map(|n| ConvKey::new(user(1), user(n)).expect("two"));
    pairs.into_iter().find(mine).expect("one of a hundred")
}

/// A message at a place of a core's conversation, told from all others by `unique`.
pub fn message(core: u16, place: u64, unique: u64, length: usize) -> Record<'static> {
    let conv = conv(core);
    Record::Message(MessageRecord {
        conv,
        conv_seq: place,
        time_us: 1_700_000_000_000_000 + place,
        sender: conv.participants()[0],
        outbox: OutboxId(unique),
        new_outbox_of: None,
        n: place,
        void: None,
        inbox: [0; 2],
        marks: [false; 2],
        hidden: [false; 2],
        change: None,
        body: &BODY[..length],
    })
}

/// The messages of a log below `durable`, from a position on: position, place, which one.
pub fn places(log: &Log, mut from: Position) -> Vec<(Position, u64, u64)> {
    let mut found = Vec::new();
    while let Some((at, record, next)) = log.next(from) {
        if let Record::Message(message) = record {
            found.push((at, message.conv_seq, message.outbox.0));
        }
        from = next;
    }
    found
}

/// What a run did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub acks: u64,
    pub takeovers: u64,
    /// A promise is broken.
    pub wrong: Option<String>,
    /// Nothing goes on once all is calm.
    pub stuck: Option<String>,
}

/// When chaos ends, and when the run does.
const CHAOS_US: u64 = 60_000_000;
const CALM_US: u64 = 85_000_000;

struct World {
    store: Store,
    checker: Checker,
    processes: Vec<Process>,
    cores: u16,
    planted: Option<Planted>,
}

impl World {
    fn start(&mut self, dir: u64) {
        let process = self.processes.len();
        self.processes.push(Process::new(process, dir, self.cores));
        self.store.after(0, Event::Work { process });
    }

    /// Something happens: a process ends or stops for a while, and others come.
    fn chaos(&mut self) {
        let random = &mut self.store.random;
        let living: Vec<usize> =
            (0..self.processes.len()).filter(|&p| self.processes[p].alive).collect();
        let owner = living.iter().rev().copied().find(|&p| self.processes[p].owns());
        let any = living[random.below(living.len())];
        let process = owner.filter(|_| random.below(3) > 0).unwrap_or(any);
        let (what, long, both) = (random.below(5), random.below(20), random.below(4));
        let own_clock = random.below(2) == 0;
        let mut dir = self.processes.len() as u64;
        let one = &mut self.processes[process];
        if what == 0 {
            one.alive = false;
            // The next process on that machine knows.
            if random.below(2) == 0 {
                dir = one.dir();
            }
        } else if what <= 3 && !one.paused {
            one.pause(&self.store, own_clock);
            self.store.after(1 + 1_000_000 * long as u64, Event::Resume { process });
        }
        if self.processes.iter().filter(|p| p.alive).count() < 4 {
            self.start(dir);
            if both == 0 {
                self.start(self.processes.len() as u64);
            }
        }
        let pause_us = 500_000 + 1_000 * self.store.random.below(8_000) as u64;
        self.store.after(pause_us, Event::Chaos);
    }

    /// Whoever just took the node may flush at once, or die at once.
    fn youth(&mut self, process: usize) {
        let one = &mut self.processes[process];
        if !one.is_young() {
            return;
        }
        match self.store.random.below(4) {
            0 if !self.store.calm => {
                one.flush(&mut self.store, &mut self.checker, self.planted);
                one.alive = false;
                let dir = one.dir();
                self.start(dir);
            }
            1 => one.flush(&mut self.store, &mut self.checker, self.planted),
            _ => {}
        }
    }

    fn work(&mut self, process: usize) {
        let one = &mut self.processes[process];
        for _ in 0..self.store.random.below(4) {
            one.append(&mut self.store);
        }
        if self.store.random.below(8) == 0 {
            one.flush(&mut self.store, &mut self.checker, self.planted);
        }
        one.work(&mut self.store, &mut self.checker, self.planted);
        if one.alive {
            let pause_us = 1 + self.store.random.below(400_000) as u64;
            self.store.after(pause_us, Event::Work { process });
        }
    }

    /// Everybody who is left goes on, nothing is late any more, and one more process comes.
    fn calm(&mut self) {
        self.store.calm = true;
        for process in &mut self.processes {
            if process.paused {
                process.resume(&mut self.store, &mut self.checker, self.planted);
            }
        }
        self.start(self.processes.len() as u64);
    }
}

/// Runs one seed to its end, or to the first thing that is wrong.
pub fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    let mut random = Random::new(seed);
    let cores = 1 + random.below(2) as u16;
    let (checker, processes) = (Checker::default(), Vec::new());
    let mut world = World { store: Store::new(random), checker, processes, cores, planted };
    world.start(0);
    world.store.after(3_000_000, Event::Chaos);
    let mut acks_before_calm = None;
    while let Some(event) = world.store.next() {
        let now_us = world.store.now_us;
        if now_us > CHAOS_US && acks_before_calm.is_none() {
            acks_before_calm = Some(world.checker.acks);
            world.calm();
        }
        if world.checker.wrong.is_some() || now_us > CALM_US {
            break;
        }
        let World { store, checker, processes, .. } = &mut world;
        match event {
            Event::Answer { to: (process, id), reply } => {
                processes[process].answer(id, reply, store, checker, planted);
                world.youth(process);
            }
            Event::Work { process } => world.work(process),
            Event::Resume { process } if processes[process].paused => {
                processes[process].resume(store, checker, planted);
            }
            Event::Chaos if acks_before_calm.is_none() => world.chaos(),
            _ => {}
        }
    }
    let wrong = world.checker.wrong.take();
    let owners = world.processes.iter().filter(|process| process.owns()).count();
    let stuck = match acks_before_calm {
        _ if wrong.is_some() => None,
        Some(before) if world.checker.acks > before && owners == 1 => None,
        _ => Some(format!("{owners} owners, and somebody acks or not")),
    };
    Outcome { acks: world.checker.acks, takeovers: world.checker.takeovers(), wrong, stuck }
}
