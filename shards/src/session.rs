//! Sessions: one per connection, from the first byte to the last.

mod catch_up;
mod deadline;
pub(crate) mod entries;
mod handshake;
mod inbound;
mod outbound;

pub(crate) use catch_up::Scans;

use crate::devices::About;
use crate::history::Pages;
use crate::typing::Typed;
use crate::user::Bucket;
use crate::{Adoption, ConnId, CoreIndex};
use std::collections::VecDeque;
use wire::planted::{Bug, active};
use wire::{Deframer, DeviceId, OutboxId, Seq, UserId};

/// A connection as this core sees it. States are named for what they wait for.
pub(crate) struct Session {
    pub conn: ConnId,
    pub state: State,
    pub deframer: Deframer,
    /// Bytes that came behind HELLO, before WELCOME, and were not handled yet.
    pub held: Vec<u8>,
    /// Output that gathers while a send is in flight.
    pub out: Vec<u8>,
    /// Bytes of output that wait for the log.
    pub gated_bytes: usize,
    /// A send is with the driver.
    pub sending: bool,
    /// Stands in the shard's queue of connections with output.
    pub ready: bool,
    /// The driver holds bytes until `Effect::Receive`.
    pub paused: bool,
    /// When the wheel ends it, on the monotonic clock.
    pub deadline_us: u64,
}

/// What a session waits for.
pub(crate) enum State {
    /// A whole HELLO.
    Hello,
    /// A credit of the lane to its home, then the driver.
    HandOff { to: CoreIndex, adoption: Option<Box<Adoption>> },
    /// Its user to load, then the log.
    User(Box<Greeting>),
    /// The client's frames.
    Attached(Box<Attached>),
    /// Its last output to leave, then the driver's `Closed`. `asked`: the driver knows.
    End { asked: bool },
}

/// What HELLO said.
pub(crate) struct Greeting {
    pub user: UserId,
    pub device: DeviceId,
    pub outbox: OutboxId,
    pub version: u64,
    pub features: u64,
    pub inbox_epoch: u64,
    pub acked: Seq,
    pub foreground: bool,
    pub about: About,
    /// Set once the user is loaded: where the stream goes on, and whether that is `acked`.
    pub from: Option<(Seq, wire::Verdict)>,
    /// Of the user, when that was set: the log has it before WELCOME leaves.
    pub privacy: wire::Privacy,
}

/// An entry that the device has not acked.
pub(crate) struct InFlight {
    bytes: u32,
    /// The peer's place that it brings.
    place: Option<(UserId, Seq)>,
}

/// When the places that a device acked are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// There are none.
    Nothing,
    /// Not so soon after the last ones.
    Later,
    /// At the end of the window.
    Soon,
}

/// An attached device.
pub(crate) struct Attached {
    pub user: UserId,
    pub device: DeviceId,
    pub outbox: OutboxId,
    /// Newest inbox entry that was put into the output.
    pub sent: Seq,
    pub acked: Seq,
    /// Each entry in (`acked`, `sent`].
    pub in_flight: VecDeque<InFlight>,
    pub in_flight_bytes: u32,
    /// Sends that may come now.
    pub sends: Bucket,
    /// Places of peers that the device acked, not reported so far.
    pub places: Vec<(UserId, Seq)>,
    pub telling: Telling,
    /// When places were reported last.
    pub told_us: u64,
    /// Newest entry that was acked then.
    pub told: Seq,
    /// CAUGHT_UP was sent.
    pub caught_up: bool,
    pub scanning: catch_up::Scanning,
    /// Entries behind `sent`, read from the store.
    pub ahead: catch_up::Ahead,
    pub pages: Pages,
    /// Requests that wait for the store.
    pub asking: u32,
    /// A command waits for loads: what comes behind it waits too, so that their order stays.
    pub commanding: bool,
    /// TYPING that it said lately.
    pub typed: Typed,
}

impl Session {
    pub fn new(conn: ConnId, state: State, deadline_us: u64) -> Session {
        Session {
            conn,
            state,
            deframer: Deframer::default(),
            held: Vec::new(),
            out: Vec::new(),
            gated_bytes: 0,
            sending: false,
            ready: false,
            paused: false,
            deadline_us,
        }
    }

    pub fn attached(&mut self) -> Option<&mut Attached> {
        match &mut self.state {
            State::Attached(attached) => Some(attached),
            _ => None,
        }
    }

    /// Takes no more input and makes no more output.
    pub fn ends(&self) -> bool {
        matches!(self.state, State::End { .. } | State::HandOff { adoption: None, .. })
    }

    /// Before WELCOME, and here since its first byte.
    pub fn in_handshake(&self) -> bool {
        matches!(self.state, State::Hello | State::HandOff { .. })
    }
}

impl Attached {
    /// One more entry may be in flight.
    pub fn has_credit(&self, frames: u32, bytes: u32) -> bool {
        self.in_flight.len() < frames as usize && self.in_flight_bytes < bytes
    }

    /// The next entry was put into the output.
    pub fn entry_sent(&mut self, bytes: usize, place: Option<(UserId, Seq)>) {
        self.sent += 1;
        self.in_flight.push_back(InFlight { bytes: bytes as u32, place });
        if let Some((peer, seq)) = place.filter(|_| active(Bug::ReceiptUnacked)) {
            self.tell(peer, seq);
        }
        self.in_flight_bytes += bytes as u32;
    }

    /// The device has the peer's place.
    fn tell(&mut self, peer: UserId, seq: Seq) {
        match self.places.last_mut() {
            Some((last, mark)) if *last == peer => *mark = seq.max(*mark),
            _ => self.places.push((peer, seq)),
        }
    }

    /// The device has committed everything up to `seq`, which was sent.
    pub fn entries_acked(&mut self, seq: Seq) {
        while self.acked < seq {
            self.acked += 1;
            let entry = self.in_flight.pop_front().expect("one per entry in flight");
            self.in_flight_bytes -= entry.bytes;
            if let Some((peer, seq)) = entry.place {
                self.tell(peer, seq);
            }
        }
        if self.in_flight.is_empty() {
            // An idle session holds no memory for what was in flight.
            self.in_flight = VecDeque::new();
        }
    }
}

/// All sessions of a core, by connection index.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    count: usize,
}

impl Sessions {
    pub fn insert(&mut self, session: Session) {
        let index = session.conn.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let before = self.slots[index].replace(Box::new(session));
        assert!(before.is_none(), "the driver reuses an index only after Closed");
        self.count += 1;
    }

    pub fn get(&mut self, conn: ConnId) -> Option<&mut Session> {
        let session = self.slots.get_mut(conn.index as usize)?.as_deref_mut()?;
        (session.conn == conn).then_some(session)
    }

    /// Whatever connection has this index now.
    pub fn at(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Session>> {
        self.get(conn)?;
        self.count -= 1;
        self.slots[conn.index as usize].take()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn conns(&self) -> Vec<ConnId> {
        self.slots.iter().flatten().map(|session| session.conn).collect()
    }
}
