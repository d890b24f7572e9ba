//! A world in memory: a server that keeps the sending rules, and copies of one device whose
//! storage, connections and lives fail.

#![allow(dead_code, reason = "each test uses its part")]

mod pages;
mod server;

pub use pages::Truth;
pub use server::Server;

use std::collections::{BTreeMap, BTreeSet};

use client::{
    BodyHash, Client, ClientEvent, Command, Config, Conv, ConvSettings, Direction, Kind,
    RefusalCode, Seq, UserId, body_hash,
};

pub const PEERS: u64 = 2;

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Which misfortunes happen.
#[derive(Clone, Copy, Default)]
pub struct Misfortunes {
    pub crashes: bool,
    pub clones: bool,
    pub restores: bool,
    pub give_ups: bool,
    pub server_loses_its_past: bool,
    /// The server forgets entries that this device still lacks.
    pub trims: bool,
    /// Edits, deletions, commands and marks.
    pub changes: bool,
}

/// One copy of the device.
pub struct Device {
    pub client: Client,
    /// What the disk has.
    pub durable: Vec<u8>,
    /// What is being written.
    writing: Option<Vec<u8>>,
    /// Disk images of the past.
    backups: Vec<Vec<u8>>,
    /// What its user was told, since its storage began: places, and bodies sent and given up.
    pub seen: BTreeSet<(Conv, Seq)>,
    pub repeated: Vec<(Conv, Seq)>,
    loading: bool,
}

pub struct World {
    pub random: Random,
    pub server: Server,
    pub devices: Vec<Device>,
    pub misfortunes: Misfortunes,
    pub keep_history: bool,
    /// What a user was told to be queued, by conversation, in order.
    pub queued: Vec<(Conv, BodyHash)>,
    /// Of which some device was told that it is sent, or given up.
    pub sent: BTreeSet<BodyHash>,
    pub given_up: BTreeSet<BodyHash>,
    /// What somebody wanted to give up, or what the server will never take.
    pub unwanted: BTreeSet<BodyHash>,
    /// Settings and contacts that were queued, as long as no disk was lost.
    pub commands: Vec<Vec<u8>>,
    hashes: BTreeMap<(usize, client::SendId), BodyHash>,
    deleted: BTreeSet<(Conv, Seq)>,
    now_ms: u64,
    next_body: u64,
}

pub fn config(keep_history: bool) -> Config {
    Config {
        keep_history,
        in_flight_max: 3,
        in_flight_bytes_max: 40,
        ack_entries_max: 2,
        read_repeat_ms: 100,
        answer_timeout_ms: 400,
        reconnect_base_ms: 5,
        reconnect_cap_ms: 40,
        ..Config::new(b"token".to_vec())
    }
}

impl Device {
    fn new(client: Client, durable: Vec<u8>) -> Device {
        let (seen, repeated) = (BTreeSet::new(), Vec::new());
        let backups = Vec::new();
        Device { client, durable, writing: None, backups, seen, repeated, loading: false }
    }

    fn open(durable: &[u8], random: u64, keep_history: bool) -> Device {
        let (client, valid) =
            Client::open(config(keep_history), durable, random).expect("own journal");
        let mut device = Device::new(client, durable[..valid].to_vec());
        device.seen = device.places();
        device
    }

    fn places(&self) -> BTreeSet<(Conv, Seq)> {
        let mut places = BTreeSet::new();
        for conv in self.client.conversations() {
            let ranges = self.client.ranges(conv).into_iter().flat_map(|ranges| ranges.iter());
            places.extend(ranges.flat_map(|(first, last)| first..=last).map(|seq| (conv, seq)));
        }
        places
    }
}

impl World {
    pub fn new(seed: u64, misfortunes: Misfortunes) -> World {
        let mut random = Random(seed);
        let keep_history = random.one_in(2);
        let client = Client::new(config(keep_history), random.number());
        let merged = random.one_in(2);
        World {
            server: Server::new(merged),
            devices: vec![Device::new(client, Vec::new())],
            keep_history,
            random,
            misfortunes,
            queued: Vec::new(),
            sent: BTreeSet::new(),
            given_up: BTreeSet::new(),
            unwanted: BTreeSet::new(),
            commands: Vec::new(),
            hashes: BTreeMap::new(),
            deleted: BTreeSet::new(),
            now_ms: 0,
            next_body: 0,
        }
    }

    /// One random step of a hostile world.
    pub fn chaos(&mut self) {
        self.now_ms += self.random.number() % 8;
        let device = self.random.below(self.devices.len());
        let misfortunes = self.misfortunes;
        match self.random.below(100) {
            0..7 => self.compose(device),
            7..12 if misfortunes.changes => self.change(device),
            7..12 => self.compose(device),
            12..15 if misfortunes.give_ups => self.give_up(device),
            15..18 if misfortunes.crashes => self.crash(device),
            18 if misfortunes.clones && self.devices.len() < 3 => self.copy(device),
            19 if misfortunes.restores => self.restore(device),
            20 if misfortunes.server_loses_its_past => {
                self.unlink();
                self.server.lose_past(&mut self.random);
            }
            21..24 => self.unlink(),
            24 if misfortunes.trims => self.server.trim(&mut self.random),
            25 if misfortunes.changes => self.server.peer_marks(&mut self.random),
            24..28 => self.server.peer_sends(&mut self.random),
            28..32 if self.server.link.is_none() => self.attach(device),
            32..34 => {
                self.unlink();
                self.attach(device);
            }
            34..40 => {
                let backup = self.devices[device].durable.clone();
                if self.random.one_in(8) {
                    self.devices[device].backups.push(backup);
                }
            }
            40..60 => self.write(device),
            60..75 => self.server_reads(),
            75..90 => self.device_reads(),
            _ => self.server.work(&mut self.random, true),
        }
        self.drain(device);
    }

    /// Everything works until nothing is left to do.
    pub fn calm(&mut self) {
        for _ in 0..20 {
            for device in 0..self.devices.len() {
                self.unlink();
                self.attach(device);
                for _ in 0..400 {
                    self.now_ms += 5;
                    self.devices[device].client.advance(self.now_ms);
                    self.write(device);
                    self.write(device);
                    self.server_reads();
                    self.server.work(&mut self.random, false);
                    self.device_reads();
                    self.drain(device);
                    if self.devices[device].client.is_closing() || self.server.link.is_none() {
                        self.unlink();
                        self.attach(device);
                    } else if self.server.is_idle() && self.is_done(device) {
                        break;
                    }
                    self.load_hole(device);
                }
            }
            if (0..self.devices.len()).all(|device| self.is_done(device)) {
                return;
            }
        }
        let pending = self.devices.iter().map(|device| {
            let client = &device.client;
            let convs: Vec<Conv> = client.conversations().collect();
            convs.iter().flat_map(|&conv| client.pending(conv)).collect::<Vec<_>>()
        });
        panic!("not settled: {:?}", pending.collect::<Vec<_>>());
    }

    fn is_done(&self, index: usize) -> bool {
        let device = &self.devices[index];
        let client = &device.client;
        let whole = client.conversations().all(|conv| {
            let mut had = client.history(conv);
            client.older_hole(conv, 0).is_none() && !had.any(|(_, had)| lacks_text(had))
        });
        let there = client.position().1 == self.server.inbox_len();
        let told = !client.has_pending() && !client.has_unmarked_reads();
        whole && there && told && device.writing.is_none() && !device.loading
    }

    /// The user scrolls to what is not here.
    fn load_hole(&mut self, index: usize) {
        let device = &mut self.devices[index];
        let convs: Vec<Conv> = device.client.conversations().collect();
        let hole = convs.iter().find_map(|&conv| Some((conv, device.client.older_hole(conv, 0)?)));
        if let Some((conv, from)) = hole.filter(|_| !device.loading) {
            device.client.load_history(conv, from, Direction::Older, 10);
            device.loading = true;
        }
    }

    fn compose(&mut self, device: usize) {
        let (conv, body) = (self.any_conv(), self.body());
        let id = self.devices[device].client.compose(conv, &body).expect("within limits");
        self.hashes.insert((device, id), body_hash(&body));
    }

    fn any_conv(&mut self) -> Conv {
        Conv::Direct(100 + self.random.number() % PEERS)
    }

    fn body(&mut self) -> Vec<u8> {
        self.next_body += 1;
        format!("body {}", self.next_body).into_bytes()
    }

    /// The user changes something other than by a new message.
    fn change(&mut self, device: usize) {
        let conv = self.any_conv();
        let head = self.devices[device].client.chat(conv).map_or(0, |chat| chat.head);
        let place = 1 + self.random.number() % (head + 1);
        let client = &mut self.devices[device].client;
        match self.random.below(6) {
            0 => {
                client.mark_read(conv, place);
            }
            1 => {
                client.load_history(conv, place, Direction::Newer, 3);
            }
            2 | 3 => self.change_message(device, conv, place),
            _ => self.command(device, conv, place),
        }
    }

    fn change_message(&mut self, device: usize, conv: Conv, target: Seq) {
        let delete = self.random.one_in(3);
        let body = if delete { Vec::new() } else { self.body() };
        if delete && !self.deleted.insert((conv, target)) {
            return;
        }
        let client = &mut self.devices[device].client;
        let queued = match delete {
            true => client.delete(conv, target),
            false => client.edit(conv, target, &body),
        };
        if let Ok(id) = queued {
            let change = Some(wire::Change { target, delete });
            self.hashes.insert((device, id), wire::content_hash(&body, change));
        }
    }

    fn command(&mut self, device: usize, conv: Conv, place: Seq) {
        let name = String::from_utf8(self.body()).unwrap();
        let peer = UserId::new(200 + self.random.number() % 3).unwrap();
        let muted_until_ms = self.next_body;
        let settings = ConvSettings { muted_until_ms, pinned: true, archived: false };
        let command = match self.random.below(4) {
            0 => Command::Settings { conv, settings },
            1 => Command::ContactAdd { peer, name: &name },
            2 => Command::Block { peer },
            _ => Command::DeleteForMe { conv, first: place, last: place + 1 },
        };
        self.devices[device].client.command(&command).expect("within limits");
        // Only these have a number of their own, to tell them apart.
        if let Command::Settings { .. } | Command::ContactAdd { .. } = command {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            self.commands.push(bytes);
        }
    }

    fn give_up(&mut self, device: usize) {
        let conv = self.any_conv();
        let client = &mut self.devices[device].client;
        let pending: Vec<_> = client.pending(conv).map(|send| (send.serial, send.hash)).collect();
        if pending.is_empty() {
            return;
        }
        let (serial, hash) = pending[self.random.below(pending.len())];
        self.unwanted.insert(hash);
        assert!(client.give_up(client::SendId { conv, serial }));
    }

    /// A step of the disk: starts a write or ends one.
    fn write(&mut self, index: usize) {
        let device = &mut self.devices[index];
        match device.writing.take() {
            Some(bytes) => {
                device.durable.extend_from_slice(&bytes);
                device.client.committed();
            }
            None => {
                let bytes = device.client.journal();
                device.writing = (!bytes.is_empty()).then_some(bytes);
            }
        }
    }

    fn crash(&mut self, index: usize) {
        if self.server.link.as_ref().is_some_and(|link| link.device == index) {
            self.server.link = None;
        }
        let device = &mut self.devices[index];
        let before = commands_of(&device.client);
        let mut durable = std::mem::take(&mut device.durable);
        // A write that was under way lands whole, cut, or not at all.
        if let Some(bytes) = device.writing.take() {
            durable.extend_from_slice(&bytes[..self.random.below(bytes.len() + 1)]);
        }
        let backups = std::mem::take(&mut device.backups);
        self.reopen(index, &durable, backups);
        // What was not committed, and so did not leave either, is gone.
        let after = commands_of(&self.devices[index].client);
        for lost in before.iter().filter(|command| !after.contains(command)) {
            if !self.server.commands.contains(lost) {
                self.commands.retain(|queued| queued != lost);
            }
        }
    }

    fn reopen(&mut self, index: usize, durable: &[u8], backups: Vec<Vec<u8>>) {
        let mut device = Device::open(durable, self.random.number(), self.keep_history);
        if self.random.one_in(3) && !device.durable.is_empty() {
            device.durable = device.client.snapshot();
        }
        device.backups = backups;
        self.devices[index] = device;
        self.remember_hashes(index);
    }

    fn remember_hashes(&mut self, index: usize) {
        self.hashes.retain(|&(device, _), _| device != index);
        let client = &self.devices[index].client;
        for conv in client.conversations() {
            for send in client.pending(conv) {
                let id = client::SendId { conv, serial: send.serial };
                self.hashes.insert((index, id), send.hash);
            }
        }
    }

    /// Another machine starts from a copy of this one's disk.
    fn copy(&mut self, index: usize) {
        let durable = self.devices[index].durable.clone();
        let mut device = Device::open(&durable, self.random.number(), self.keep_history);
        device.durable.truncate(durable.len());
        self.devices.push(device);
        self.remember_hashes(self.devices.len() - 1);
    }

    /// The device's disk goes back to an earlier day, or is lost.
    fn restore(&mut self, index: usize) {
        if self.server.link.as_ref().is_some_and(|link| link.device == index) {
            self.server.link = None;
        }
        let backups = self.devices[index].backups.clone();
        let durable = match backups.len() {
            0 => Vec::new(),
            count => backups[self.random.below(count)].clone(),
        };
        self.reopen(index, &durable, backups);
    }

    fn attach(&mut self, index: usize) {
        self.server.attach(index);
        self.devices[index].client.connected(self.now_ms);
    }

    fn unlink(&mut self) {
        if let Some(link) = self.server.link.take() {
            self.devices[link.device].client.disconnected(self.now_ms);
        }
    }

    fn server_reads(&mut self) {
        let Some(link) = &mut self.server.link else { return };
        let count = self.random.below(link.to_server.len() + 1).max(link.to_server.len().min(9));
        let bytes: Vec<u8> = link.to_server.drain(..count).collect();
        self.server.received(&bytes, &mut self.random);
    }

    fn device_reads(&mut self) {
        let Some(link) = &mut self.server.link else { return };
        let count = self.random.below(link.to_device.len() + 1).max(link.to_device.len().min(9));
        let bytes: Vec<u8> = link.to_device.drain(..count).collect();
        let device = link.device;
        self.devices[device].client.received(&bytes, self.now_ms);
    }

    /// Takes what the client has to say to the server and to its user.
    fn drain(&mut self, index: usize) {
        let device = &mut self.devices[index];
        device.client.advance(self.now_ms);
        let linked = self.server.link.as_ref().is_some_and(|link| link.device == index);
        let bytes = device.client.output();
        if !bytes.is_empty() {
            assert!(linked, "output without a connection");
            check_committed(&device.durable, &bytes);
            self.server.link.as_mut().unwrap().to_server.extend_from_slice(&bytes);
        }
        while let Some(event) = self.devices[index].client.event() {
            self.note(index, event);
        }
        if linked && self.devices[index].client.is_closing() {
            self.unlink();
        }
    }

    fn note(&mut self, index: usize, event: ClientEvent) {
        let lossy = self.misfortunes.server_loses_its_past;
        match event {
            ClientEvent::Queued { id } => {
                self.queued.push((id.conv, self.hashes[&(index, id)]));
            }
            ClientEvent::Sent { id, conv_seq, .. } => {
                let hash = self.hashes[&(index, id)];
                let stored = self.server.stored(id.conv, conv_seq);
                assert!(lossy || stored == Some((hash, false)), "SENT for nothing");
                self.sent.insert(hash);
            }
            ClientEvent::Refused { id, code: RefusalCode::NotAllowed, .. } => {
                self.unwanted.insert(self.hashes[&(index, id)]);
            }
            ClientEvent::GivenUp { id } => {
                let hash = self.hashes[&(index, id)];
                assert!(self.unwanted.contains(&hash), "given up unasked");
                self.given_up.insert(hash);
            }
            ClientEvent::Message { conv, conv_seq, .. } => {
                let device = &mut self.devices[index];
                let new = device.seen.insert((conv, conv_seq));
                device.repeated.extend((!new).then_some((conv, conv_seq)));
            }
            ClientEvent::HistoryPage { .. } => self.devices[index].loading = false,
            ClientEvent::Broken { fault } => {
                assert!(matches!(fault, client::Fault::Silent(_)), "{fault}");
            }
            _ => {}
        }
    }
}

fn commands_of(client: &Client) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    for (_, command) in client.pending_commands() {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        commands.push(bytes);
    }
    commands
}

fn lacks_text(message: &client::Message) -> bool {
    matches!(message.kind, Kind::Peer | Kind::Own) && message.body.is_none() && !message.deleted
}

/// What leaves must be in the disk's image: a crash now must find it.
fn check_committed(durable: &[u8], output: &[u8]) {
    let (disk, _) = Client::open(config(true), durable, 0).expect("own journal");
    let (mut input, mut deframer) = (output, wire::Deframer::default());
    let mut frames = Vec::new();
    while let Some(content) =
        deframer.next(&mut input, 1 << 20, <[u8]>::to_vec).expect("own frames")
    {
        frames.push(content);
    }
    for content in &frames {
        match wire::decode_client(content).expect("own frames") {
            wire::ClientFrame::Send(send) => {
                let mut pending = disk.pending(send.key.conv);
                let hash = wire::content_hash(send.body, send.change);
                let found = pending.find(|had| had.hash == hash && had.n == send.key.n);
                assert!(found.is_some(), "sent before its commit");
            }
            wire::ClientFrame::Void(void) => {
                let mut pending = disk.pending(void.key.conv);
                assert!(pending.any(|had| had.hash == void.hash && had.void), "VOID too early");
            }
            wire::ClientFrame::Ack(ack) => assert!(ack.inbox_seq <= disk.position().1),
            wire::ClientFrame::Ping(ping) => assert!(ping.acked <= disk.position().1),
            wire::ClientFrame::Hello(hello) => {
                let had = (hello.inbox_epoch, hello.acked, hello.outbox);
                assert_eq!(had, (disk.position().0, disk.position().1, disk.outbox()));
            }
            wire::ClientFrame::Read(read) => {
                let marked = disk.chat(read.conv).expect("marked").read;
                assert!(marked >= read.conv_seq, "READ before its commit");
            }
            wire::ClientFrame::Command(command) => {
                let sent = Command::decode(command.command).expect("own command");
                assert!(disk.pending_commands().any(|(_, had)| had == sent), "COMMAND too early");
            }
            _ => {}
        }
    }
}
