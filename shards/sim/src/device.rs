//! A device: a real client core, its storage, and the person's switches around it.

use crate::running::Running;
use crate::{
    fact::{DeviceIndex, Fact},
    network::{Incoming, LinkId, Network},
    seed::Rng,
    tap::Tap,
};
use client::{Client, ClientEvent, Config, Conv, Fault, Kind, RefusalCode, SendId};
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::{BodyHash, DeviceId, Direction, Seq, UserId, body_hash};

/// What a device's disk holds.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    journal: Vec<u8>,
    /// Not on the disk: which message each send is, as the judge knows it.
    pub(crate) bodies: BTreeMap<SendId, BodyHash>,
}

/// One device, running or not.
pub struct Device {
    /// Its name in the world.
    pub index: DeviceIndex,
    /// Whose.
    pub user: UserId,
    /// Its name on the wire; copies share it.
    pub id: DeviceId,
    /// The person lets it connect.
    pub online: bool,
    /// It saw CAUGHT_UP since its program started.
    pub caught_up: bool,
    /// Gone for ever.
    pub retired: bool,
    /// The server will not take another outbox of it: it must be registered anew.
    pub worn_out: bool,
    /// It reads the inbox of this epoch from its first entry on; 0: it begins with a snapshot.
    pub inbox_epoch: u64,
    /// Somebody looks at it.
    pub foreground: bool,
    /// Whose presence its person wants.
    pub watched: Vec<UserId>,
    pub(crate) storage: Storage,
    writing: Option<(u64, Vec<u8>)>,
    pub(crate) client: Option<Running>,
    starts_at: u64,
    link: Option<(LinkId, Tap)>,
    /// The person asks it to connect although it would not by itself.
    asked_at: Option<u64>,
    stepped_at: u64,
    scrolled_at: u64,
    token: Vec<u8>,
    rng: Rng,
}

/// What a device needs for a step.
pub struct Surroundings<'s> {
    /// Virtual time, in microseconds.
    pub now: u64,
    /// The links.
    pub network: &'s mut Network,
    /// How many cores accept; `None` while no node runs.
    pub cores: Option<u16>,
    /// What was seen.
    pub facts: &'s mut Vec<Fact>,
}

impl Device {
    /// A device with this storage, off.
    pub fn new(
        index: DeviceIndex,
        user: UserId,
        id: DeviceId,
        token: Vec<u8>,
        storage: Storage,
        rng: Rng,
    ) -> Device {
        Device {
            index,
            user,
            id,
            online: true,
            caught_up: false,
            retired: false,
            worn_out: false,
            inbox_epoch: 0,
            foreground: true,
            watched: Vec::new(),
            storage,
            writing: None,
            client: None,
            starts_at: 0,
            link: None,
            asked_at: None,
            stepped_at: 0,
            scrolled_at: 0,
            token,
            rng,
        }
    }

    /// A copy of what is on its disk at this moment.
    pub fn copy_storage(&self) -> Storage {
        self.storage.clone()
    }

    /// Its link, if it has one.
    pub fn link(&self) -> Option<LinkId> {
        self.link.as_ref().map(|(link, _)| *link)
    }

    /// Newest inbox entry that it has.
    pub fn position(&self) -> Seq {
        self.client.as_ref().map_or(0, |client| client.position().1)
    }

    /// Whether it reads a snapshot, or has yet to.
    pub fn is_starting(&self) -> bool {
        let starting = |client: &Running| client.is_starting() || client.position().0 == 0;
        self.client.as_ref().is_none_or(starting)
    }

    /// Whether nothing that it sent is unsettled, as far as it runs.
    pub fn settled(&self) -> bool {
        let client = self.client.as_ref();
        client.is_some_and(|client| !client.has_pending() && !client.has_unmarked_reads())
    }

    /// Sends that are unsettled, and whether trying again is useless.
    pub fn unsettled(&self) -> Vec<(SendId, BodyHash, bool)> {
        let Some(client) = &self.client else { return Vec::new() };
        let mut sends = Vec::new();
        for conv in client.conversations() {
            for send in client.pending(conv) {
                let id = SendId { conv, serial: send.serial };
                sends.push((id, send.hash, send.refused().is_some() && !send.void));
            }
        }
        sends
    }

    /// The newest hole in each conversation: what a snapshot left out.
    pub fn holes(&self) -> Vec<(Conv, Seq)> {
        let Some(client) = &self.client else { return Vec::new() };
        let hole = |conv| Some((conv, client.older_hole(conv, 0)?));
        client.conversations().filter_map(hole).collect()
    }

    /// Messages of other own devices whose text is not here.
    pub fn lacking(&self) -> Vec<(Conv, Seq)> {
        let Some(client) = &self.client else { return Vec::new() };
        let lacks = |m: &client::Message| m.kind == Kind::Own && m.body.is_none() && !m.deleted;
        let places = client.conversations().flat_map(|conv| {
            let messages = client.history(conv).filter(move |(_, message)| lacks(message));
            messages.map(move |(seq, _)| (conv, seq))
        });
        places.collect()
    }

    /// Whether it has everything of its conversations.
    pub fn has_all(&self) -> bool {
        self.client.is_some() && self.holes().is_empty() && self.lacking().is_empty()
    }

    /// Its person scrolls up, as far as there is something to load. At most every 200 ms.
    pub fn scroll(&mut self, now: u64) -> bool {
        if !self.caught_up
            || self.is_starting()
            || self.link.is_none()
            || now < self.scrolled_at + 200_000
        {
            return false;
        }
        let holes = self.holes();
        self.scrolled_at = now;
        let limit = self.rng.scaled(1, wire::HISTORY_LIMIT_MAX);
        for &(conv, from) in &holes {
            self.running().load_history(conv, from, Direction::Older, limit);
        }
        !holes.is_empty()
    }

    pub(crate) fn key(&self, conv: Conv) -> ConvKey {
        let Conv::Direct(peer) = conv;
        let peer = UserId::new(peer).expect("a client writes to somebody");
        ConvKey::new(self.user, peer).expect("a client does not write to itself")
    }

    /// When it has something to do next.
    pub fn next_at(&self, network: &Network) -> Option<u64> {
        if self.retired {
            return None;
        }
        let Some(client) = &self.client else { return Some(self.starts_at) };
        let later = self.stepped_at + 1_000;
        let due = client.due();
        let deadline = due.deadline_ms.map(|ms| (ms.saturating_mul(1_000)).max(later));
        let connect = due.connect_ms.map(|ms| ms.saturating_mul(1_000).max(later));
        let connect = connect.filter(|_| self.online && self.link.is_none());
        let asked = self.asked_at.filter(|_| self.link.is_none());
        let writing = self.writing.as_ref().map(|(at, _)| *at);
        let incoming = self.link().and_then(|link| network.device_next_at(link));
        [deadline, connect, asked, writing, incoming].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn step(&mut self, around: &mut Surroundings<'_>) -> Result<(), String> {
        self.stepped_at = around.now;
        let now_ms = around.now / 1_000;
        if self.client.is_none() {
            self.start(around.now)?;
        }
        if self.writing.as_ref().is_some_and(|(at, _)| *at <= around.now) {
            let (_, bytes) = self.writing.take().expect("just seen");
            self.storage.journal.extend(bytes);
            self.running().committed();
        }
        self.read(around)?;
        self.running().advance(now_ms);
        self.flush(around)?;
        self.connect(around);
        self.flush(around)
    }

    fn running(&mut self) -> &mut Client {
        self.client.as_mut().expect("it runs")
    }

    fn start(&mut self, now: u64) -> Result<(), String> {
        let mut config = Config::new(self.token.clone());
        config.in_flight_max = self.rng.scaled(1, 64) as usize;
        config.ack_delay_ms = self.rng.scaled(1, 200);
        config.ack_entries_max = self.rng.scaled(1, 32);
        config.answer_timeout_ms = self.rng.scaled(1_000, 8_000);
        config.reconnect_base_ms = self.rng.scaled(5, 500);
        config.reconnect_cap_ms = 2_000;
        config.inbox_epoch = self.inbox_epoch;
        config.foreground = self.foreground;
        config.read_repeat_ms = self.rng.scaled(50, 10_000);
        let random = self.rng.next();
        let opened = Client::open(config, &self.storage.journal, random);
        let (mut client, bytes) = opened.map_err(|error| format!("{:?}: {error}", self.index))?;
        self.storage.journal.truncate(bytes);
        client.advance(now / 1_000);
        client.watch(self.watched.iter().copied());
        self.client = Some(Running::new(client));
        Ok(())
    }

    fn read(&mut self, around: &mut Surroundings<'_>) -> Result<(), String> {
        let Some((link, tap)) = &mut self.link else { return Ok(()) };
        let now_ms = around.now / 1_000;
        match around.network.read(around.now, *link) {
            Some(Incoming::Bytes(bytes)) => {
                let read = tap.read(&bytes, around.facts);
                read.map_err(|broken| format!("{link:?} of {:?}: {broken}", self.index))?;
                self.running().received(&bytes, now_ms);
            }
            Some(Incoming::End) => self.drop_link(around.now, around.network),
            None => {}
        }
        Ok(())
    }

    fn drop_link(&mut self, now: u64, network: &mut Network) {
        if let Some((link, _)) = self.link.take() {
            network.leave(now, link);
            self.running().disconnected(now / 1_000);
        }
    }

    /// Journal out, output out, events out.
    fn flush(&mut self, around: &mut Surroundings<'_>) -> Result<(), String> {
        if self.writing.is_none() {
            let bytes = self.running().journal();
            if !bytes.is_empty() {
                let delay = self.rng.scaled(10, 10_000);
                self.writing = Some((around.now + delay, bytes));
            }
        }
        loop {
            let output = self.running().output();
            let Some((link, tap)) = self.link.as_mut().filter(|_| !output.is_empty()) else {
                break;
            };
            tap.wrote(&output, around.facts);
            around.network.write(around.now, *link, &output);
        }
        if self.link.is_some() && self.running().is_closing() {
            self.drop_link(around.now, around.network);
        }
        while let Some(event) = self.running().event() {
            self.tell(event, around.facts)?;
        }
        Ok(())
    }

    fn tell(&mut self, event: ClientEvent, facts: &mut Vec<Fact>) -> Result<(), String> {
        let device = self.index;
        match event {
            ClientEvent::Queued { id } => {
                let (conv, hash) = (self.key(id.conv), self.storage.bodies[&id]);
                facts.push(Fact::Queued { device, conv, hash })
            }
            ClientEvent::Sent { id, conv_seq, .. } => self.settle(id, conv_seq, false, facts),
            ClientEvent::GivenUp { id } => self.settle(id, 0, true, facts),
            ClientEvent::Message { conv, conv_seq, kind, body, .. } => {
                let body = body.filter(|body| kind == Kind::Peer && !body.is_empty());
                let hash = body.map(|body| body_hash(&body));
                let conv = self.key(conv);
                facts.push(Fact::Shown { device, conv, conv_seq, hash });
            }
            ClientEvent::Refused { code: RefusalCode::OutboxLimit, .. } => self.worn_out = true,
            ClientEvent::CaughtUp => self.caught_up = true,
            ClientEvent::Refused { .. }
            | ClientEvent::Moved { .. }
            | ClientEvent::Attached { .. }
            | ClientEvent::Closed { .. }
            | ClientEvent::Broken { fault: Fault::Silent(_) } => {}
            ClientEvent::Broken { fault } => return Err(format!("{device:?}: {fault}")),
            // What no checker looks at.
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, id: SendId, conv_seq: Seq, void: bool, facts: &mut Vec<Fact>) {
        let (sender, conv) = (self.user, self.key(id.conv));
        let hash = self.storage.bodies[&id];
        facts.push(Fact::Settled { sender, conv, conv_seq, hash, void });
    }

    fn connect(&mut self, around: &mut Surroundings<'_>) {
        let now_ms = around.now / 1_000;
        let asked = self.asked_at.is_some_and(|at| at <= around.now);
        let due = self.running().connect_at_ms().is_some_and(|at| at <= now_ms);
        if self.link.is_some() || !(asked || due && self.online) {
            return;
        }
        self.asked_at = None;
        match around.cores {
            Some(cores) => {
                let link = around.network.connect(around.now, cores);
                self.link = Some((link, Tap::new(link, self.index, self.user)));
                self.running().connected(now_ms);
            }
            None => self.running().disconnected(now_ms),
        }
    }

    /// The person writes; `None` if the client refused it.
    pub fn compose(&mut self, peer: UserId, body: &[u8]) -> Option<Fact> {
        let client = self.client.as_mut()?;
        let id = client.compose(Conv::Direct(peer.get()), body).ok()?;
        let hash = body_hash(body);
        self.storage.bodies.insert(id, hash);
        Some(Fact::Composed { sender: self.user, conv: self.key(id.conv), hash })
    }

    /// The person gives a message up.
    pub fn give_up(&mut self, id: SendId) {
        if let Some(client) = &mut self.client {
            client.give_up(id);
        }
    }

    /// The person connects by hand, if it would not by itself.
    pub fn ask_to_connect(&mut self, at: u64) {
        let idle = self.client.as_ref().is_some_and(|client| client.connect_at_ms().is_none());
        if idle && self.link.is_none() && self.asked_at.is_none() {
            self.asked_at = Some(at);
        }
    }

    /// The person closes the program in order; it is there still, and not connected.
    pub fn disconnect(&mut self, now: u64, network: &mut Network) {
        if self.link.is_some() {
            self.drop_link(now, network);
        }
    }

    /// The program dies; a write under way is there in part, or whole, or not.
    pub fn crash(&mut self, now: u64, network: &mut Network) {
        if let Some((link, _)) = self.link.take() {
            if self.rng.chance(500) {
                network.reset(now, link);
            }
            network.leave(now, link);
        }
        if let Some((_, bytes)) = self.writing.take() {
            let kept = match self.rng.below(3) {
                0 => 0,
                1 => bytes.len(),
                _ => self.rng.below(bytes.len() as u64) as usize,
            };
            self.storage.journal.extend(&bytes[..kept]);
        }
        self.client = None;
        self.caught_up = false;
        self.starts_at = now + self.rng.scaled(1_000, 1_000_000);
    }
}
