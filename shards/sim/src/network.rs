//! The network between devices and cores: byte streams that are cut at random, delayed, read
//! slowly, and reset.

use crate::seed::Rng;
use shards::{ConnId, CoreIndex};
use std::collections::{BTreeMap, VecDeque};

/// One TCP connection, as both ends see it; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a device sees of its link.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Bytes, in order.
    Bytes(Vec<u8>),
    /// The link is gone.
    End,
}

/// What a core sees of one of its connections.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is new.
    Accepted,
    /// The core's send left; the buffer comes back.
    Sent(Vec<u8>),
    /// Bytes, to be offered; `Network::took` says how many were taken.
    Bytes(Vec<u8>),
    /// It is gone.
    Closed,
}

/// One direction.
#[derive(Debug, Default)]
struct Stream {
    chunks: VecDeque<(u64, Vec<u8>)>,
    last_at: u64,
    end_at: Option<u64>,
}

#[derive(Debug)]
struct Link {
    up: Stream,
    down: Stream,
    /// Where its server end is; `None` once that is closed.
    at: Option<(CoreIndex, ConnId)>,
    accepted_at: Option<u64>,
    receiving: bool,
    kept: Vec<u8>,
    sending: Option<(u64, Vec<u8>)>,
    closed_at: Option<u64>,
    slow: bool,
    /// The device has let go of it.
    left: bool,
}

/// All links.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    links: BTreeMap<LinkId, Link>,
    conns: BTreeMap<(CoreIndex, ConnId), LinkId>,
    /// Names at their old core that are to be closed after a hand-off.
    moved: Vec<(u64, CoreIndex, ConnId)>,
    next_link: u64,
    next_generation: u32,
    calm: bool,
}

impl Network {
    /// No links yet.
    pub fn new(rng: Rng) -> Network {
        Network {
            rng,
            links: BTreeMap::new(),
            conns: BTreeMap::new(),
            moved: Vec::new(),
            next_link: 0,
            next_generation: 0,
            calm: false,
        }
    }

    /// No slow readers and no long delays from now on.
    pub fn set_calm(&mut self) {
        self.calm = true;
        self.links.values_mut().for_each(|link| link.slow = false);
    }

    /// A device dials; one of `cores` accepts.
    pub fn connect(&mut self, now: u64, cores: u16) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let core = self.rng.below(cores as u64) as CoreIndex;
        let conn = self.name(core, id);
        let accepted_at = Some(now + self.rng.scaled(20, 2_000));
        let link = Link {
            up: Stream::default(),
            down: Stream::default(),
            at: Some((core, conn)),
            accepted_at,
            receiving: true,
            kept: Vec::new(),
            sending: None,
            closed_at: None,
            slow: !self.calm && self.rng.chance(150),
            left: false,
        };
        self.links.insert(id, link);
        id
    }

    /// A name at this core: the lowest index that is free, and a generation of its own.
    fn name(&mut self, core: CoreIndex, link: LinkId) -> ConnId {
        let at_core = (core, ConnId { index: 0, generation: 0 })
            ..=(core, ConnId { index: u32::MAX, generation: u32::MAX });
        let taken = self.conns.range(at_core).map(|((_, conn), _)| conn.index);
        let index = taken.zip(0..).find(|(taken, free)| taken != free).map(|(_, free)| free);
        let count = self.conns.keys().filter(|(at, _)| *at == core).count() as u32;
        self.next_generation += 1;
        let generation = self.next_generation;
        let conn = ConnId { index: index.unwrap_or(count), generation };
        self.conns.insert((core, conn), link);
        conn
    }

    // The device's side.

    /// A device writes.
    pub fn write(&mut self, now: u64, id: LinkId, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&id) {
            link.up.push(&mut self.rng, now, bytes, false, self.calm);
        }
    }

    /// What has arrived at the device, one piece at a time.
    pub fn read(&mut self, now: u64, id: LinkId) -> Option<Incoming> {
        let Some(link) = self.links.get_mut(&id) else { return Some(Incoming::End) };
        if let Some(bytes) = link.down.pop(now) {
            return Some(Incoming::Bytes(bytes));
        }
        let ended = link.down.ended(now);
        if ended { Some(Incoming::End) } else { None }
    }

    /// When something arrives at the device next.
    pub fn device_next_at(&self, id: LinkId) -> Option<u64> {
        self.links.get(&id).map_or(Some(0), |link| link.down.next_at())
    }

    /// The device lets go, in order: what it wrote still arrives.
    pub fn leave(&mut self, now: u64, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.left = true;
            let end_at = link.up.last_at.max(now) + 1;
            link.up.end_at.get_or_insert(end_at);
        }
        self.forget(id);
    }

    /// The link breaks; what was under way is lost in both directions.
    pub fn reset(&mut self, now: u64, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.down.cut(now);
        link.up.cut(now);
        link.kept.clear();
        if link.at.is_some() {
            link.closed_at.get_or_insert(now + 1);
        }
    }

    // The core's side.

    /// When this core hears of one of its connections next.
    pub fn core_next_at(&self, core: CoreIndex) -> Option<u64> {
        let links = self.of_core(core).filter_map(|(_, id)| self.links[&id].core_next_at());
        let moved = self.moved.iter().filter(|(_, at, _)| *at == core).map(|(at, ..)| *at);
        links.chain(moved).min()
    }

    fn of_core(&self, core: CoreIndex) -> impl Iterator<Item = (ConnId, LinkId)> {
        let conns = self.conns.iter().filter(move |((at, _), _)| *at == core);
        let here = conns.filter(move |((_, conn), id)| {
            self.links.get(id).is_some_and(|link| link.at == Some((core, *conn)))
        });
        here.map(|((_, conn), id)| (*conn, *id))
    }

    /// What this core hears next; connections take turns in a random order.
    pub fn arrival(&mut self, now: u64, core: CoreIndex) -> Option<(ConnId, Arrival)> {
        let gone = self.moved.iter().position(|(at, core_at, _)| *core_at == core && *at <= now);
        if let Some(index) = gone {
            let (_, _, conn) = self.moved.swap_remove(index);
            self.conns.remove(&(core, conn));
            return Some((conn, Arrival::Closed));
        }
        let ready: Vec<_> = self
            .of_core(core)
            .filter(|(_, id)| self.links[id].core_next_at().is_some_and(|at| at <= now))
            .collect();
        if ready.is_empty() {
            return None;
        }
        let (conn, id) = *self.rng.pick(&ready);
        let link = self.links.get_mut(&id).expect("just seen");
        let arrival = link.arrival(now);
        if arrival == Arrival::Closed {
            link.at = None;
            let end_at = link.down.last_at.max(now) + 1;
            link.down.end_at.get_or_insert(end_at);
            self.conns.remove(&(core, conn));
            self.forget(id);
        }
        Some((conn, arrival))
    }

    /// Of the bytes just offered, the core took this many; the rest waits for `receive`.
    pub fn took(&mut self, core: CoreIndex, conn: ConnId, offered: Vec<u8>, taken: usize) {
        assert!(taken <= offered.len(), "more taken than offered");
        let Some(link) = self.link_of(core, conn) else { return };
        if taken < offered.len() {
            link.kept = offered[taken..].to_vec();
            link.receiving = false;
        }
    }

    /// The core asks for more.
    pub fn receive(&mut self, core: CoreIndex, conn: ConnId) {
        if let Some(link) = self.link_of(core, conn) {
            link.receiving = true;
        }
    }

    /// The core sends; `Arrival::Sent` follows when most of it has been read.
    pub fn send(&mut self, now: u64, core: CoreIndex, conn: ConnId, buffer: Vec<u8>) {
        assert!(!buffer.is_empty(), "an empty send");
        let calm = self.calm;
        let room = self.rng.scaled(64, 8_192) as usize;
        let id = self.conns.get(&(core, conn)).copied();
        let Some(link) = id.and_then(|id| self.links.get_mut(&id)) else { return };
        assert!(link.sending.is_none(), "two sends in flight on {conn:?}");
        if link.down.end_at.is_some() {
            return;
        }
        link.down.push(&mut self.rng, now, &buffer, link.slow, calm);
        let done_at = link.down.when_below(room).max(now + 5);
        link.sending = Some((done_at, buffer));
    }

    /// The core ends a connection.
    pub fn close(&mut self, now: u64, core: CoreIndex, conn: ConnId) {
        let delay = self.rng.scaled(5, 1_000);
        if let Some(link) = self.link_of(core, conn) {
            link.closed_at.get_or_insert(now + delay);
            link.sending = None;
            link.receiving = false;
        }
    }

    /// The core hands a connection over; its name at the other core.
    pub fn hand_over(&mut self, now: u64, from: CoreIndex, conn: ConnId, to: CoreIndex) -> ConnId {
        let delay = self.rng.scaled(5, 1_000);
        let id = self.conns.get(&(from, conn)).copied();
        self.moved.push((now + delay, from, conn));
        let id = id.unwrap_or(LinkId(u64::MAX));
        let new = self.name(to, id);
        if let Some(link) = self.links.get_mut(&id) {
            assert!(link.sending.is_none(), "handed over with a send in flight");
            // Heard of at the new core only once it was adopted there.
            link.at = None;
        }
        new
    }

    /// A core adopts a connection that was handed over to it.
    pub fn adopt(&mut self, now: u64, core: CoreIndex, conn: ConnId) {
        let id = self.conns[&(core, conn)];
        let Some(link) = self.links.get_mut(&id) else {
            self.moved.push((now, core, conn));
            return;
        };
        link.at = Some((core, conn));
        link.receiving = true;
    }

    fn link_of(&mut self, core: CoreIndex, conn: ConnId) -> Option<&mut Link> {
        let id = self.conns.get(&(core, conn))?;
        self.links.get_mut(id).filter(|link| link.at == Some((core, conn)))
    }

    /// The node dies: devices may still read some of what was sent, then their links end.
    pub fn crash(&mut self, now: u64) {
        self.conns.clear();
        self.moved.clear();
        for link in self.links.values_mut() {
            link.at = None;
            if self.rng.chance(500) {
                link.down.cut(now);
            } else {
                let end_at = link.down.last_at.max(now) + 1;
                link.down.end_at.get_or_insert(end_at);
            }
        }
        self.links.retain(|_, link| !link.left);
    }

    /// Drops a link that neither end knows any more.
    fn forget(&mut self, id: LinkId) {
        let over = |link: &Link| link.left && link.at.is_none();
        let named = self.conns.values().any(|other| *other == id);
        if !named && self.links.get(&id).is_some_and(over) {
            self.links.remove(&id);
        }
    }

    /// Links that a device still holds and that may be reset.
    pub fn live(&self) -> Vec<LinkId> {
        let live = self.links.iter().filter(|(_, link)| !link.left && link.down.end_at.is_none());
        live.map(|(id, _)| *id).collect()
    }
}

impl Link {
    fn core_next_at(&self) -> Option<u64> {
        if self.accepted_at.is_some() {
            return self.accepted_at;
        }
        let kept = if self.kept.is_empty() { None } else { Some(0) };
        let input = if self.receiving { kept.or(self.up.next_at()) } else { None };
        let sent = self.sending.as_ref().map(|(at, _)| *at);
        [self.closed_at, input, sent].into_iter().flatten().min()
    }

    fn arrival(&mut self, now: u64) -> Arrival {
        if self.accepted_at.take().is_some() {
            return Arrival::Accepted;
        }
        if self.closed_at.is_some_and(|at| at <= now) {
            return Arrival::Closed;
        }
        if self.sending.as_ref().is_some_and(|(at, _)| *at <= now) {
            let (_, buffer) = self.sending.take().expect("just seen");
            return Arrival::Sent(buffer);
        }
        let mut bytes = std::mem::take(&mut self.kept);
        bytes.extend(self.up.pop(now).unwrap_or_default());
        // Nothing left to read: the device has closed its end.
        if bytes.is_empty() { Arrival::Closed } else { Arrival::Bytes(bytes) }
    }
}

impl Stream {
    /// Cuts bytes into chunks that arrive one after another.
    fn push(&mut self, rng: &mut Rng, now: u64, mut bytes: &[u8], slow: bool, calm: bool) {
        if self.end_at.is_some() {
            return;
        }
        while !bytes.is_empty() {
            let longest = if slow { 100 } else { bytes.len() as u64 };
            let whole = !slow && rng.chance(500);
            let cut = if whole { bytes.len() } else { rng.between(1, longest) as usize };
            let (chunk, rest) = bytes.split_at(cut.min(bytes.len()));
            let delay = match (slow, calm) {
                (true, _) => rng.between(1_000, 20_000),
                (false, true) => rng.between(20, 500),
                (false, false) => rng.scaled(20, 20_000),
            };
            self.last_at = self.last_at.max(now + delay);
            self.chunks.push_back((self.last_at, chunk.to_vec()));
            bytes = rest;
        }
    }

    fn pop(&mut self, now: u64) -> Option<Vec<u8>> {
        let due = self.chunks.front().is_some_and(|(at, _)| *at <= now);
        if due { self.chunks.pop_front().map(|(_, bytes)| bytes) } else { None }
    }

    fn next_at(&self) -> Option<u64> {
        self.chunks.front().map(|(at, _)| *at).or(self.end_at)
    }

    fn ended(&self, now: u64) -> bool {
        self.chunks.is_empty() && self.end_at.is_some_and(|at| at <= now)
    }

    fn cut(&mut self, now: u64) {
        self.chunks.clear();
        self.end_at = Some(now.max(1));
    }

    /// When fewer than `room` bytes are left unread.
    fn when_below(&self, room: usize) -> u64 {
        let mut left = 0;
        for (at, bytes) in self.chunks.iter().rev() {
            left += bytes.len();
            if left > room {
                return *at;
            }
        }
        0
    }
}
