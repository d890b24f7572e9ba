//! The second driver of the turn: the contract's other side, for one core at a time.

use crate::{
    backend::Backend,
    clock::Clock,
    disk::Disk,
    lanes::{Item, Lanes},
    network::{Arrival, Network},
    seed::Rng,
    trace::Trace,
};
use shards::{Adoption, ConnId, CoreIndex, Driver, Effect, Event, Now, Taken};
use std::collections::VecDeque;

type Handle<'h> = &'h mut dyn FnMut(Event<'_>) -> Taken;

/// Everything that the cores of a node meet.
#[derive(Debug)]
pub struct Outside {
    /// Time.
    pub clock: Clock,
    /// The devices' links.
    pub network: Network,
    /// The logs' device.
    pub disk: Disk,
    /// The store.
    pub backend: Backend,
    /// From core to core.
    pub lanes: Lanes,
    /// What happened.
    pub trace: Trace,
    /// How many cores there are.
    pub cores: u16,
    /// Connections that a core may have.
    pub connections_max: u32,
    /// Connections that a core handed to itself.
    pub own: Vec<VecDeque<(ConnId, Box<Adoption>)>>,
    /// Cores that are to hear `Event::Stop`.
    pub stops: Vec<bool>,
    /// The process dies after this many further effects.
    pub dies_after: Option<u64>,
    /// Chance of the driver itself.
    pub rng: Rng,
}

impl Outside {
    /// When this core has something to hear next.
    pub fn next_at(&self, core: CoreIndex) -> Option<u64> {
        let stops = self.stops[core as usize];
        let own = if self.own[core as usize].is_empty() && !stops { None } else { Some(0) };
        let sources = [
            own,
            self.network.core_next_at(core),
            self.disk.next_at(core),
            self.backend.next_at(core),
            self.lanes.next_at(core),
        ];
        sources.into_iter().flatten().min()
    }

    /// The process is dead: nothing that it asks for happens.
    pub fn dead(&self) -> bool {
        self.dies_after == Some(0)
    }
}

/// One core's driver, for one turn.
pub struct SimDriver<'o> {
    core: CoreIndex,
    outside: &'o mut Outside,
    until_us: Option<u64>,
}

impl<'o> SimDriver<'o> {
    /// For this core.
    pub fn new(core: CoreIndex, outside: &'o mut Outside) -> SimDriver<'o> {
        SimDriver { core, outside, until_us: None }
    }

    /// When the core wants its next turn, whatever happens.
    pub fn until_us(&self) -> Option<u64> {
        self.until_us
    }

    fn give(&mut self, event: Event<'_>, handle: Handle<'_>) -> usize {
        self.outside.trace.event(self.outside.clock.us(), self.core, &event);
        handle(event).0
    }

    /// Hands over one completion of one source; false if that has none.
    fn reap_from(&mut self, source: u64, handle: Handle<'_>) -> bool {
        let now = self.outside.clock.us();
        match source {
            0 => match self.outside.disk.complete(now, self.core) {
                Some(done) => self.give(Event::Written(done), handle),
                None => return false,
            },
            1 => match self.outside.backend.answer(now, self.core) {
                Some(answer) => self.give(Event::Answered(answer), handle),
                None => return false,
            },
            2 => match self.outside.own[self.core as usize].pop_front() {
                Some((conn, adoption)) => self.adopt(self.core, conn, adoption, handle),
                None => return false,
            },
            _ => match self.outside.network.arrival(now, self.core) {
                Some((conn, arrival)) => self.arrived(conn, arrival, handle),
                None => return false,
            },
        };
        true
    }

    fn arrived(&mut self, conn: ConnId, arrival: Arrival, handle: Handle<'_>) -> usize {
        let event = match arrival {
            Arrival::Accepted => Event::Accepted { conn },
            Arrival::Sent(buffer) => Event::Sent { conn, buffer },
            Arrival::Closed => Event::Closed { conn },
            Arrival::Bytes(bytes) => {
                let taken = self.give(Event::Received { conn, bytes: &bytes }, handle);
                self.outside.network.took(self.core, conn, bytes, taken);
                return taken;
            }
        };
        self.give(event, handle)
    }

    fn adopt(
        &mut self,
        from: CoreIndex,
        conn: ConnId,
        adoption: Box<Adoption>,
        handle: Handle<'_>,
    ) -> usize {
        self.outside.network.adopt(self.outside.clock.us(), self.core, conn);
        self.give(Event::Adopted { conn, from, adoption }, handle)
    }
}

impl Driver for SimDriver<'_> {
    fn now(&mut self) -> Now {
        self.outside.clock.now()
    }

    fn reap(&mut self, max: usize, handle: Handle<'_>) {
        if std::mem::take(&mut self.outside.stops[self.core as usize]) {
            self.give(Event::Stop, handle);
        }
        let first = self.outside.rng.below(4);
        let mut left = max;
        for source in (first..first + 4).map(|source| source % 4) {
            while left > 0 && self.reap_from(source, handle) {
                left -= 1;
            }
        }
    }

    fn drain(&mut self, max: usize, handle: Handle<'_>) {
        let now = self.outside.clock.us();
        let own = self.core;
        for from in (0..self.outside.cores).filter(|from| *from != own) {
            for _ in 0..max {
                match self.outside.lanes.pop(now, from, self.core) {
                    Some(Item::Relay(relay)) => self.give(Event::Relayed { from, relay }, handle),
                    Some(Item::Adoption { conn, adoption }) => {
                        self.adopt(from, conn, adoption, handle)
                    }
                    None => break,
                };
            }
        }
    }

    fn take(&mut self, effect: Effect) {
        let outside = &mut *self.outside;
        let (now, core) = (outside.clock.us(), self.core);
        match &mut outside.dies_after {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        outside.trace.effect(now, core, &effect);
        match effect {
            Effect::Send { conn, buffer } => outside.network.send(now, core, conn, buffer),
            Effect::Receive { conn } => outside.network.receive(core, conn),
            Effect::Close { conn } => outside.network.close(now, core, conn),
            Effect::Relay { to, relay } => outside.lanes.push(now, core, to, Item::Relay(relay)),
            Effect::Write(op) => outside.disk.submit(now, core, op),
            Effect::Ask { id, ask } => outside.backend.ask(now, core, id, ask),
            Effect::Handoff { conn, to, adoption } => {
                let conn = outside.network.hand_over(now, core, conn, to);
                assert!(conn.index < outside.connections_max, "too many connections: {conn:?}");
                if to == core {
                    outside.own[core as usize].push_back((conn, adoption));
                } else {
                    outside.lanes.push(now, core, to, Item::Adoption { conn, adoption });
                }
            }
        }
    }

    fn wait(&mut self, until_us: Option<u64>) {
        self.until_us = until_us;
    }
}
