//! A process: a taker first, then the owner of real logs. It drives the state machines of
//! `persistence::blocks` over the store, as the real driver does.

use super::check::{Checker, Places};
use super::store::{Mutation, Reply, Request, Store, What};
use super::{Planted, message, places};
use persistence::blocks::{
    BLOCKS_IN_FLIGHT, Lease, OldLog, Owner, OwnerDone, OwnerOp, RENEW_US, Seal, Taken, Taker,
    TakerDone, TakerOp, TakerStep,
};
use persistence::{IoOp, Log, LogConfig, Position, Reading};
use std::collections::BTreeMap;

const CONFIG: LogConfig =
    LogConfig { segment_bytes: 16_384, group_bytes_max: 4_096, writes_max: BLOCKS_IN_FLIGHT };

/// What a request was for.
#[derive(Debug)]
enum Purpose {
    Taker,
    Owner { core: usize, done: OwnerDone },
    Renew { sent_us: u64 },
    RenewRead { sent_us: u64 },
    Remove,
}

enum Role {
    Taker {
        taker: Box<Taker>,
        asked: bool,
        fenced: Option<Fenced>,
    },
    Owner(Box<Owning>),
    /// Deposed.
    Ended,
}

/// What a taker set the seal to, and how often it read it since.
type Fenced = (Seal, u32);

/// An owner with its logs.
struct Owning {
    seal: Seal,
    cores: Vec<OwnedCore>,
    lease: Lease,
    renewing: bool,
    next_renewal_us: u64,
    older: Vec<OldLog>,
    /// Requests that remove the older logs, one after the other.
    removal: Vec<Request>,
    /// Cores that need nothing of the older logs.
    beyond_older: usize,
}

struct OwnedCore {
    log: Log,
    owner: Owner,
    /// Place that the next message gets.
    next: u64,
    acked: Position,
}

pub struct Process {
    pub index: usize,
    dir: u64,
    cores: u16,
    role: Role,
    pending: BTreeMap<u64, (Request, Purpose)>,
    next: u64,
    pub alive: bool,
    /// Nothing of it runs; answers wait.
    pub paused: bool,
    /// Its clock stands still in a pause, as that of a machine does which is paused whole.
    pub clock_stops: bool,
    waiting: Vec<(u64, Reply)>,
    paused_at_us: u64,
    lag_us: u64,
}

impl Process {
    pub fn new(index: usize, dir: u64, cores: u16) -> Process {
        let taker = Box::new(Taker::new(1_000 + index as u64, dir, cores));
        Process {
            index,
            dir,
            cores,
            role: Role::Taker { taker, asked: false, fenced: None },
            pending: BTreeMap::new(),
            next: 0,
            alive: true,
            paused: false,
            clock_stops: false,
            waiting: Vec::new(),
            paused_at_us: 0,
            lag_us: 0,
        }
    }

    pub fn dir(&self) -> u64 {
        self.dir
    }

    /// It has the node, as far as it knows.
    pub fn owns(&self) -> bool {
        self.alive && matches!(self.role, Role::Owner(_))
    }

    /// It has the node, and one of its logs has no header.
    pub fn is_young(&self) -> bool {
        let young = |core: &OwnedCore| core.log.durable() == core.log.base();
        matches!(&self.role, Role::Owner(owning) if owning.cores.iter().any(young)) && self.alive
    }

    fn now_us(&self, store: &Store) -> u64 {
        store.now_us - self.lag_us
    }

    pub fn pause(&mut self, store: &Store, clock_stops: bool) {
        (self.paused, self.clock_stops, self.paused_at_us) = (true, clock_stops, store.now_us);
    }

    pub fn resume(&mut self, store: &mut Store, checker: &mut Checker, planted: Option<Planted>) {
        self.paused = false;
        if self.clock_stops {
            self.lag_us += store.now_us - self.paused_at_us;
        }
        for (id, reply) in std::mem::take(&mut self.waiting) {
            self.answer(id, reply, store, checker, planted);
        }
    }

    fn ask(&mut self, store: &mut Store, request: Request, purpose: Purpose) {
        self.next += 1;
        store.send((self.index, self.next), request.clone());
        self.pending.insert(self.next, (request, purpose));
    }

    pub fn answer(
        &mut self,
        id: u64,
        reply: Reply,
        store: &mut Store,
        checker: &mut Checker,
        planted: Option<Planted>,
    ) {
        if !self.alive || !self.pending.contains_key(&id) {
            return;
        }
        if self.paused {
            return self.waiting.push((id, reply));
        }
        let (request, purpose) = self.pending.remove(&id).expect("looked");
        let settled = matches!(purpose, Purpose::Renew { .. })
            || matches!((&purpose, &request), (Purpose::Taker, Request::Fence { .. }));
        if reply == Reply::TimedOut && !settled {
            // The same again, under a number of its own: what the last try did may still come.
            return self.ask(store, request, purpose);
        }
        self.done(purpose, reply, store, checker);
        self.work(store, checker, planted);
    }

    fn done(&mut self, purpose: Purpose, reply: Reply, store: &mut Store, checker: &mut Checker) {
        let now_us = self.now_us(store);
        match (purpose, &mut self.role) {
            (Purpose::Taker, Role::Taker { taker, asked, .. }) => {
                *asked = false;
                let done = match reply {
                    Reply::Seal(seal) => TakerDone::Seal(seal),
                    Reply::List(list) => TakerDone::List(list),
                    Reply::Blocks(blocks) => TakerDone::Blocks(blocks),
                    Reply::Done | Reply::TimedOut => TakerDone::Done,
                };
                taker.complete(done, now_us);
            }
            (Purpose::Owner { core, done }, Role::Owner(owning)) => {
                let done = match reply {
                    Reply::Seal(seal) => OwnerDone::Seal(seal.map(|seal| seal.incarnation)),
                    _ => done,
                };
                let until_us = owning.lease.until_us();
                let deposed = owning.cores[core].owner.complete(done, now_us, until_us).is_err();
                match deposed {
                    true => self.role = Role::Ended,
                    false => owning.settle(core, checker),
                }
            }
            (Purpose::Renew { sent_us }, Role::Owner(_)) => {
                self.ask(store, Request::ReadSerially, Purpose::RenewRead { sent_us });
            }
            (Purpose::RenewRead { sent_us }, Role::Owner(owning)) => {
                let Reply::Seal(found) = reply else { panic!("{reply:?}") };
                owning.renewing = false;
                owning.next_renewal_us = sent_us + RENEW_US;
                if owning.lease.renewed(sent_us, found).is_err() {
                    self.role = Role::Ended;
                }
            }
            (Purpose::Remove, Role::Owner(owning)) => {
                if let Some(request) = owning.removal.pop() {
                    self.ask(store, request, Purpose::Remove);
                }
            }
            (_, Role::Ended) => {}
            (purpose, _) => panic!("{purpose:?} of another role"),
        }
    }

    /// Does what there is to do.
    pub fn work(&mut self, store: &mut Store, checker: &mut Checker, planted: Option<Planted>) {
        if !self.alive || self.paused {
            return;
        }
        let now_us = self.now_us(store);
        match &mut self.role {
            Role::Ended => {}
            Role::Taker { asked: true, .. } => {}
            Role::Taker { taker, asked, fenced } => match taker.step(now_us) {
                TakerStep::Wait { .. } => {}
                TakerStep::Ask(op) => match left_out(&op, fenced, planted) {
                    Some(done) => {
                        taker.complete(done, now_us);
                        self.work(store, checker, planted);
                    }
                    None => {
                        *asked = true;
                        let request = taker_request(op, planted, store.now_us);
                        self.ask(store, request, Purpose::Taker);
                    }
                },
                TakerStep::Taken(taken) => {
                    self.role = match Owning::new(taken, self.cores, now_us, checker) {
                        Some(owning) => Role::Owner(Box::new(owning)),
                        None => Role::Ended,
                    };
                    self.work(store, checker, planted);
                }
            },
            Role::Owner(_) => self.own(store, checker, planted, now_us),
        }
    }

    fn own(
        &mut self,
        store: &mut Store,
        checker: &mut Checker,
        planted: Option<Planted>,
        now_us: u64,
    ) {
        let Role::Owner(owning) = &mut self.role else { return };
        let mut asks = Vec::new();
        if !owning.renewing && now_us >= owning.next_renewal_us {
            owning.renewing = true;
            let to = owning.lease.renewal();
            let request = match planted {
                Some(Planted::PlainSeal) => Request::Mutate(Mutation::Seal(store.now_us, to)),
                _ => Request::Renew { to },
            };
            asks.push((request, Purpose::Renew { sent_us: now_us }));
        }
        owning.poll(planted, now_us, checker, &mut asks);
        for (request, purpose) in asks {
            self.ask(store, request, purpose);
        }
    }

    /// Appends a message to one of its logs, if it owns them.
    pub fn append(&mut self, store: &mut Store) {
        if let Role::Owner(owning) = &mut self.role
            && !self.paused
        {
            let core = store.random.below(owning.cores.len());
            let one = &mut owning.cores[core];
            let unique = store.random.below(usize::MAX >> 1) as u64;
            if one.log.tail_bytes() < 100_000 {
                let length = store.random.below(1_500);
                one.log.append(&message(core as u16, one.next, unique, length));
                one.next += 1;
            }
        }
    }

    /// Makes rows of what is durable, up to some place, and retires it: once the log's header says
    /// where the older ones end.
    pub fn flush(&mut self, store: &mut Store, checker: &mut Checker, planted: Option<Planted>) {
        if let Role::Owner(owning) = &mut self.role
            && !self.paused
        {
            let core = store.random.below(owning.cores.len());
            let log = &mut owning.cores[core].log;
            if log.durable() == log.base() && planted != Some(Planted::FlushedBeforeHeader) {
                return;
            }
            let all = places(log, log.start_of_tail());
            let count = store.random.below(all.len() + 1);
            for (_, place, message) in &all[..count] {
                checker.flush((core as u16, *place), *message);
            }
            let before = all.get(count).map_or(log.durable(), |(at, ..)| *at);
            log.retire(before);
        }
    }
}

/// The answer that a taker gives itself, where a planted bug leaves the question out.
fn left_out(
    op: &TakerOp,
    fenced: &mut Option<Fenced>,
    planted: Option<Planted>,
) -> Option<TakerDone> {
    match (op, planted, fenced) {
        (TakerOp::Write { .. }, Some(Planted::TailNotWritten), _) => Some(TakerDone::Done),
        (TakerOp::Fence { to, .. }, _, fenced) => {
            *fenced = Some((*to, 0));
            None
        }
        (TakerOp::ReadSeal, _, Some((to, reads))) => {
            *reads += 1;
            let left_out = planted == Some(Planted::NotConfirmed) && *reads == 2;
            left_out.then_some(TakerDone::Seal(Some(*to)))
        }
        _ => None,
    }
}

fn taker_request(op: TakerOp, planted: Option<Planted>, now_us: u64) -> Request {
    let plain = planted == Some(Planted::PlainSeal);
    match op {
        TakerOp::ReadSeal if plain => Request::Read(What::Seal),
        TakerOp::ReadSeal => Request::ReadSerially,
        TakerOp::List => Request::Read(What::List),
        TakerOp::Register { generation, cores } => {
            Request::Mutate(Mutation::Registered { generation, cores })
        }
        TakerOp::Fence { to, .. } if plain => Request::Mutate(Mutation::Seal(now_us, to)),
        TakerOp::Fence { from, to } => Request::Fence { from, to },
        TakerOp::Read { generation, core, segment } => {
            Request::Read(What::Segment { generation, core, segment })
        }
        TakerOp::Write { generation, core, block } => {
            Request::Mutate(Mutation::Block { generation, core, block })
        }
    }
}

impl Owning {
    /// Recovers what was taken, and starts new logs; `None` if recovery finds a loss.
    fn new(taken: Taken, cores: u16, now_us: u64, checker: &mut Checker) -> Option<Owning> {
        let mut reading = Reading::new(taken.seal.incarnation - 1);
        for log in taken.logs.iter().rev() {
            if let Err(error) = reading.take(&log.found()) {
                checker.wrong.get_or_insert(format!("recovery: {error}"));
                return None;
            }
        }
        let recovered = reading.finish();
        let mut found = Places::new();
        let mut owned = Vec::new();
        for core in 0..cores {
            let log = Log::start(CONFIG, recovered.deal(core, cores));
            let mut highest = 0;
            for (_, place, message) in places(&log, Position(0)) {
                if place <= highest {
                    let what = format!("core {core} finds {place} behind {highest}");
                    checker.wrong.get_or_insert(what);
                }
                highest = place;
                found.insert((core, place), message);
            }
            let next = highest.max(checker.head(core)) + 1;
            let owner = Owner::new(taken.seal.incarnation);
            owned.push(OwnedCore { acked: Position(0), log, owner, next });
        }
        checker.take(taken.seal.incarnation, found);
        Some(Owning {
            seal: taken.seal,
            cores: owned,
            lease: Lease::new(taken.seal, now_us),
            renewing: false,
            next_renewal_us: 0,
            older: taken.logs,
            removal: Vec::new(),
            beyond_older: 0,
        })
    }

    /// What the logs and their owners ask.
    fn poll(
        &mut self,
        planted: Option<Planted>,
        now_us: u64,
        checker: &mut Checker,
        asks: &mut Vec<(Request, Purpose)>,
    ) {
        let generation = self.seal.incarnation;
        for index in 0..self.cores.len() {
            self.settle(index, checker);
            while let Some(op) = self.cores[index].log.poll() {
                if matches!(op, IoOp::RetireOlder | IoOp::Retire { .. }) {
                    checker.let_go(index as u16);
                }
                match op {
                    IoOp::RetireOlder => {
                        self.beyond_older += 1;
                        if self.beyond_older == self.cores.len() {
                            self.remove_older();
                            let first = self.removal.pop().expect("the list comes first");
                            asks.push((first, Purpose::Remove));
                        }
                    }
                    op => self.cores[index].owner.take(op),
                }
                self.settle(index, checker);
            }
            let core = index as u16;
            while let Some(op) = self.cores[index].owner.poll() {
                let unread = match planted {
                    Some(Planted::NoRead) => true,
                    Some(Planted::ClockIsFence) => now_us < self.lease.until_us(),
                    _ => false,
                };
                if op == OwnerOp::ReadSeal && unread {
                    let (found, until_us) = (OwnerDone::Seal(Some(generation)), u64::MAX);
                    let owner = &mut self.cores[index].owner;
                    owner.complete(found, now_us, until_us).expect("its own");
                    self.settle(index, checker);
                    continue;
                }
                if let OwnerOp::KeepFrom { segment } = op
                    && planted == Some(Planted::DroppedUnlisted)
                {
                    let (done, until_us) = (OwnerDone::Kept { segment }, 0);
                    self.cores[index].owner.complete(done, now_us, until_us).expect("owns");
                    continue;
                }
                let (request, done) = owner_request(op, generation, core);
                asks.push((request, Purpose::Owner { core: index, done }));
            }
        }
    }

    /// Gives a log its completions, and acks what became durable, with the log's header also what
    /// was found: clients send it again and learn that it is known.
    fn settle(&mut self, index: usize, checker: &mut Checker) {
        let core = &mut self.cores[index];
        while let Some(done) = core.owner.poll_done() {
            core.log.complete(done);
        }
        let durable = core.log.durable();
        if durable > core.acked.max(core.log.base()) {
            for (_, place, message) in places(&core.log, core.acked) {
                checker.ack(self.seal.incarnation, (index as u16, place), message);
            }
            core.acked = durable;
        }
    }

    /// First the list says that they are not needed; then they go, highest segment first.
    fn remove_older(&mut self) {
        for log in std::mem::take(&mut self.older) {
            let (generation, core) = (log.listed.generation, log.listed.core);
            self.removal.push(Request::Mutate(Mutation::Unlist { generation, core }));
            let segments = log.blocks.values().map(|block| block.segment);
            for segment in log.listed.first..=segments.max().unwrap_or(0) {
                self.removal.push(Request::Mutate(Mutation::Drop { generation, core, segment }));
            }
        }
        self.removal.push(Request::Mutate(Mutation::Oldest(self.seal.incarnation)));
    }
}

fn owner_request(op: OwnerOp, generation: u64, core: u16) -> (Request, OwnerDone) {
    match op {
        OwnerOp::Write(block) => {
            let done = OwnerDone::Written { n: block.n };
            (Request::Mutate(Mutation::Block { generation, core, block }), done)
        }
        OwnerOp::ReadSeal => (Request::Read(What::Seal), OwnerDone::Seal(None)),
        OwnerOp::KeepFrom { segment } => {
            let listed = Mutation::Listed { generation, core, first: segment };
            (Request::Mutate(listed), OwnerDone::Kept { segment })
        }
        OwnerOp::Drop { segment } => {
            let dropped = Mutation::Drop { generation, core, segment };
            (Request::Mutate(dropped), OwnerDone::Dropped { segment })
        }
    }
}
