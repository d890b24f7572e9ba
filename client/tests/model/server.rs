//! The server of the world: one number `next` per outbox, answers and fan-outs that come late.

use std::collections::{BTreeMap, VecDeque};

use client::{BodyHash, Command, Conv, DeviceId, OutboxId, RefusalCode, Seq, UserId};
use wire::{
    AckLevel, Answer, CaughtUp, Change, Changed, ClientFrame, CommandAnswer, CommandResult,
    Commanded, Deframer, Deliver, NumberedCommand, OutOfOrder, Own, Pong, ReadMark, Receipt,
    Refused, SendKey, Sent, ServerFrame, SnapshotReason, Verdict, Welcome, content_hash,
    decode_client, encode_server,
};

use super::Random;
use super::pages::{Contacted, Member};

const WINDOW: u64 = 6;

#[derive(Clone, Debug)]
pub struct Stored {
    /// `None`: the peer's.
    pub from: Option<(OutboxId, Seq)>,
    pub void: bool,
    pub hash: BodyHash,
    pub body: Vec<u8>,
    pub change: Option<Change>,
}

/// An entry of the user's inbox.
#[derive(Clone, Debug)]
pub enum Entry {
    Message { conv: Conv, conv_seq: Seq },
    Receipt { conv: Conv, read: Seq, delivered: Vec<Seq> },
    ReadMark { conv: Conv, upto: Seq },
    Commanded { outbox: OutboxId, n: Seq, command: Vec<u8> },
}

impl Entry {
    /// The conversation that it is activity of.
    pub fn conv(&self) -> Option<Conv> {
        match *self {
            Entry::Message { conv, .. }
            | Entry::Receipt { conv, .. }
            | Entry::ReadMark { conv, .. } => Some(conv),
            Entry::Commanded { .. } => None,
        }
    }
}

/// A connection: at most one, for a new attach fences the old one.
pub struct Link {
    pub device: usize,
    pub to_server: Vec<u8>,
    pub to_device: Vec<u8>,
    attach: u64,
    deframer: Deframer,
    hello_outbox: Option<OutboxId>,
    streamed: Seq,
    acked: Seq,
    caught_up: bool,
}

struct Relay {
    attach: u64,
    key: SendKey,
    outbox: OutboxId,
    void: bool,
    change: Option<Change>,
    hash: BodyHash,
    body: Vec<u8>,
}

pub struct Server {
    pub link: Option<Link>,
    attaches: u64,
    epoch: u64,
    pub log: BTreeMap<Conv, Vec<Stored>>,
    next: BTreeMap<(Conv, OutboxId), Seq>,
    pub inbox: Vec<Entry>,
    /// Entries up to this one are gone.
    trimmed: Seq,
    pub members: BTreeMap<Conv, Member>,
    pub contacts: Contacted,
    commands_next: BTreeMap<OutboxId, Seq>,
    /// All that were taken.
    pub commands: Vec<Vec<u8>>,
    relays: VecDeque<Relay>,
    fan_outs: VecDeque<(Conv, Seq)>,
    /// Owner and home are one: SENT doubles as the own entry.
    merged: bool,
    peer_messages: u64,
    /// Every body that was ever put under a number.
    pub numbers: BTreeMap<(Conv, OutboxId, Seq), Vec<BodyHash>>,
}

impl Server {
    pub fn new(merged: bool) -> Server {
        Server {
            link: None,
            attaches: 0,
            epoch: 7,
            log: BTreeMap::new(),
            next: BTreeMap::new(),
            inbox: Vec::new(),
            trimmed: 0,
            members: BTreeMap::new(),
            contacts: Contacted::new(),
            commands_next: BTreeMap::new(),
            commands: Vec::new(),
            relays: VecDeque::new(),
            fan_outs: VecDeque::new(),
            merged,
            peer_messages: 0,
            numbers: BTreeMap::new(),
        }
    }

    pub fn attach(&mut self, device: usize) {
        assert!(self.link.is_none());
        self.attaches += 1;
        self.link = Some(Link {
            device,
            to_server: Vec::new(),
            to_device: Vec::new(),
            attach: self.attaches,
            deframer: Deframer::default(),
            hello_outbox: None,
            streamed: 0,
            acked: 0,
            caught_up: false,
        });
    }

    pub fn inbox_len(&self) -> Seq {
        self.inbox.len() as Seq
    }

    pub fn is_idle(&self) -> bool {
        self.relays.is_empty() && self.fan_outs.is_empty()
    }

    pub fn stored(&self, conv: Conv, conv_seq: Seq) -> Option<(BodyHash, bool)> {
        let stored = self.log.get(&conv)?.get(conv_seq as usize - 1)?;
        Some((stored.hash, stored.void))
    }

    /// Newest place that the user's home has.
    pub fn taken(&self, conv: Conv) -> Seq {
        let waiting = self.fan_outs.iter().filter(|(waiting, _)| *waiting == conv).count();
        (self.log.get(&conv).map_or(0, Vec::len) - waiting) as Seq
    }

    /// Entries that some devices may still lack go.
    pub fn trim(&mut self, random: &mut Random) {
        let kept = self.inbox_len() - self.trimmed;
        self.trimmed += random.number() % (kept + 1);
    }

    /// The own messages of a conversation, voids too, in order: body (empty for a void) and hash.
    pub fn own(&self, conv: Conv) -> Vec<(Vec<u8>, BodyHash, bool)> {
        let log = self.log.get(&conv).into_iter().flatten();
        let own = log.filter(|stored| stored.from.is_some());
        own.map(|stored| (stored.body.clone(), stored.hash, stored.void)).collect()
    }

    pub fn log(&self, conv: Conv) -> Vec<(Seq, BodyHash, bool, bool)> {
        let log = self.log.get(&conv).into_iter().flatten().zip(1..);
        log.map(|(s, seq)| (seq, s.hash, s.void, s.from.is_some())).collect()
    }

    /// The peer writes, or changes what it wrote, or gives a number up.
    pub fn peer_sends(&mut self, random: &mut Random) {
        self.peer_messages += 1;
        let conv = Conv::Direct(100 + random.number() % super::PEERS);
        let mut body = format!("peer {}", self.peer_messages).into_bytes();
        let head = self.log.get(&conv).map_or(0, |log| log.len() as Seq);
        let target = 1 + random.number() % (head + 1);
        let mut change = None;
        if random.one_in(3) && self.is_changeable(conv, target, false) {
            let delete = random.one_in(3);
            change = Some(Change { target, delete });
            body = if delete { Vec::new() } else { body };
        }
        let void = change.is_none() && random.one_in(10);
        let hash = content_hash(&body, change);
        self.store(conv, Stored { from: None, void, hash, body, change });
    }

    /// Copied back from an old day: part of the past is gone, the inbox counts in a new epoch.
    pub fn lose_past(&mut self, random: &mut Random) {
        self.relays.clear();
        self.fan_outs.clear();
        self.epoch += 1;
        for log in self.log.values_mut() {
            log.truncate(random.below(log.len() + 1));
        }
        self.next.clear();
        self.commands_next.clear();
        self.inbox.clear();
        self.trimmed = 0;
        for (&conv, log) in &self.log {
            let head = log.len() as Seq;
            if let Some(member) = self.members.get_mut(&conv) {
                member.read = member.read.min(head);
                member.peer_read = member.peer_read.min(head);
                member.peer_delivered.iter_mut().for_each(|mark| *mark = head.min(*mark));
                member.hidden.retain(|&seq| seq <= head);
            }
            for (stored, conv_seq) in log.iter().zip(1..) {
                self.inbox.push(Entry::Message { conv, conv_seq });
                if let Some((outbox, n)) = stored.from {
                    self.next.insert((conv, outbox), n + 1);
                }
            }
        }
    }

    fn store(&mut self, conv: Conv, stored: Stored) -> Seq {
        let log = self.log.entry(conv).or_default();
        log.push(stored);
        let conv_seq = log.len() as Seq;
        self.fan_outs.push_back((conv, conv_seq));
        conv_seq
    }

    pub fn received(&mut self, bytes: &[u8], random: &mut Random) {
        let Some(link) = &mut self.link else { return };
        let (mut input, mut frames) = (bytes, Vec::new());
        while let Some(content) = link.deframer.next(&mut input, 1 << 20, <[u8]>::to_vec).unwrap() {
            frames.push(content);
        }
        for content in frames {
            match decode_client(&content).unwrap() {
                ClientFrame::Hello(hello) => self.hello(&hello),
                ClientFrame::Send(send) => {
                    let hash = content_hash(send.body, send.change);
                    self.request(send.key, (false, send.change), hash, send.body, random);
                }
                ClientFrame::Void(void) => {
                    self.request(void.key, (true, None), void.hash, b"", random);
                }
                ClientFrame::Ack(ack) => self.acked(ack.inbox_seq),
                ClientFrame::Ping(ping) => {
                    self.acked(ping.acked);
                    let head = self.inbox_len();
                    self.put(&ServerFrame::Pong(Pong { head }));
                }
                ClientFrame::Close(_) => {}
                ClientFrame::Read(read) => self.read(read.conv, read.conv_seq),
                ClientFrame::Command(command) => self.command(&command, random),
                ClientFrame::History(ask) => self.history(&ask, random),
                ClientFrame::Chats(ask) => self.chats(&ask),
                ClientFrame::Chat(ask) => self.chat(&ask),
                ClientFrame::Contacts(ask) => self.contacts(&ask),
                other => panic!("this client does not send {other:?}"),
            }
        }
    }

    fn acked(&mut self, acked: Seq) {
        let link = self.link.as_mut().unwrap();
        assert!(acked <= link.streamed, "BAD_ACK");
        link.acked = link.acked.max(acked);
    }

    fn hello(&mut self, hello: &wire::Hello<'_>) {
        let known = hello.inbox_epoch == self.epoch && hello.acked <= self.inbox_len();
        let (verdict, from) = match known {
            true if hello.acked >= self.trimmed => (Verdict::Resume, hello.acked),
            true => (Verdict::Snapshot(SnapshotReason::TooFar), self.inbox_len()),
            false => (Verdict::Snapshot(SnapshotReason::Epoch), self.inbox_len()),
        };
        let link = self.link.as_mut().unwrap();
        link.hello_outbox = Some(hello.outbox);
        (link.streamed, link.acked) = (from, from);
        self.put(&ServerFrame::Welcome(Welcome {
            version: 1,
            features: 0,
            user: UserId::new(1).unwrap(),
            device: DeviceId(1),
            inbox_epoch: self.epoch,
            verdict,
            from,
            head: self.inbox_len(),
            window_frames: WINDOW,
            window_bytes: 4096,
            heartbeat_ms: 100,
            server_time_ms: 0,
            body_bytes_max: 1000,
            privacy: Default::default(),
        }));
    }

    fn request(
        &mut self,
        key: SendKey,
        (void, change): (bool, Option<Change>),
        hash: BodyHash,
        body: &[u8],
        r: &mut Random,
    ) {
        let link = self.link.as_ref().unwrap();
        let outbox = key.outbox.or(link.hello_outbox).unwrap();
        let hashes = self.numbers.entry((key.conv, outbox, key.n)).or_default();
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
        // The home has no room: refused before the owner hears of it.
        if r.one_in(12) {
            return self.refuse(key, RefusalCode::RetryAfter);
        }
        let (attach, body) = (link.attach, body.to_vec());
        self.relays.push_back(Relay { attach, key, outbox, void, change, hash, body });
    }

    fn refuse(&mut self, key: SendKey, code: RefusalCode) {
        let retry_after_ms = 10;
        self.put(&ServerFrame::Refused(Refused { key, code, retry_after_ms, limit: 0 }));
    }

    /// Relays reach the owner, fan-outs the home, entries the device.
    pub fn work(&mut self, random: &mut Random, random_amount: bool) {
        let amount = |len: usize, random: &mut Random| match random_amount {
            true => random.below(len + 1),
            false => len,
        };
        for _ in 0..amount(self.relays.len(), random) {
            self.sequence(random);
        }
        for _ in 0..amount(self.fan_outs.len(), random) {
            self.take_fan_out();
        }
        self.stream();
    }

    fn sequence(&mut self, random: &mut Random) {
        let Some(relay) = self.relays.pop_front() else { return };
        let Relay { attach, key, outbox, void, change, hash, body } = relay;
        let here = self.link.as_ref().is_some_and(|link| link.attach == attach);
        let next = self.next.entry((key.conv, outbox)).or_insert(1);
        if key.n > *next {
            let next = *next;
            if here {
                self.put(&ServerFrame::OutOfOrder(OutOfOrder { key, next }));
            }
            return;
        }
        if key.n < *next {
            if here {
                self.put(&ServerFrame::Sent(Sent { key, void, answer: Answer::Known }));
            }
            return;
        }
        let late = change.is_some_and(|change| {
            random.one_in(4) || !self.is_changeable(key.conv, change.target, true)
        });
        if late || random.one_in(12) {
            if here {
                let code = if late { RefusalCode::NotAllowed } else { RefusalCode::RetryAfter };
                self.refuse(key, code);
            }
            return;
        }
        *self.next.get_mut(&(key.conv, outbox)).unwrap() += 1;
        let stored = Stored { from: Some((outbox, key.n)), void, hash, body, change };
        let conv_seq = self.store(key.conv, stored);
        while self.merged && !self.fan_outs.is_empty() {
            self.take_fan_out();
        }
        let head = self.inbox_len();
        let Some(link) = self.link.as_mut().filter(|_| here) else { return };
        let doubles =
            self.merged && link.streamed + 1 == head && link.streamed < link.acked + WINDOW;
        link.streamed += u64::from(doubles);
        let (level, time_ms, d_inbox) = (AckLevel::Local, conv_seq * 10, u64::from(doubles));
        let answer = Answer::Fresh { level, conv_seq, time_ms, d_inbox };
        self.put(&ServerFrame::Sent(Sent { key, void, answer }));
    }

    /// The home takes the next message. For what the peer gave up it makes no entry.
    fn take_fan_out(&mut self) {
        let Some((conv, conv_seq)) = self.fan_outs.pop_front() else { return };
        let stored = &self.log[&conv][conv_seq as usize - 1];
        if !stored.void || stored.from.is_some() {
            self.inbox.push(Entry::Message { conv, conv_seq });
        }
    }

    fn command(&mut self, command: &NumberedCommand<'_>, random: &mut Random) {
        let &NumberedCommand { outbox, n, command } = command;
        let next = self.commands_next.entry(outbox).or_insert(1);
        let result = match n.cmp(next) {
            std::cmp::Ordering::Less => CommandResult::Known,
            std::cmp::Ordering::Greater => CommandResult::OutOfOrder { next: *next },
            std::cmp::Ordering::Equal if random.one_in(6) => {
                let (code, retry_after_ms) = (RefusalCode::StorageFull, 10);
                CommandResult::Refused { code, retry_after_ms }
            }
            std::cmp::Ordering::Equal => {
                *next += 1;
                self.apply(&Command::decode(command).unwrap());
                let command = command.to_vec();
                self.commands.push(command.clone());
                self.inbox.push(Entry::Commanded { outbox, n, command });
                return;
            }
        };
        self.put(&ServerFrame::CommandAnswer(CommandAnswer { outbox, n, result }));
    }

    fn stream(&mut self) {
        loop {
            let head = self.inbox_len();
            let Some(link) = &mut self.link else { return };
            if link.hello_outbox.is_none() || link.streamed >= link.acked + WINDOW {
                return;
            }
            if link.streamed == head {
                if !link.caught_up {
                    link.caught_up = true;
                    self.put(&ServerFrame::CaughtUp(CaughtUp { head }));
                }
                return;
            }
            let entry = self.inbox[link.streamed as usize].clone();
            link.streamed += 1;
            self.put_entry(&entry);
        }
    }

    fn put_entry(&mut self, entry: &Entry) {
        let d_inbox = 1;
        match *entry {
            Entry::Message { conv, conv_seq } => self.put_message(conv, conv_seq),
            Entry::Receipt { conv, read, ref delivered } => {
                let delivered = delivered[..].into();
                self.put(&ServerFrame::Receipt(Receipt { d_inbox, conv, read, delivered }));
            }
            Entry::ReadMark { conv, upto: conv_seq } => {
                self.put(&ServerFrame::ReadMark(ReadMark { d_inbox, conv, conv_seq }));
            }
            Entry::Commanded { outbox, n, ref command } => {
                let (code, time_ms) = (None, 1);
                let taken = Commanded { d_inbox, outbox, n, code, time_ms, command };
                self.put(&ServerFrame::Commanded(taken));
            }
        }
    }

    fn put_message(&mut self, conv: Conv, conv_seq: Seq) {
        let stored = self.log[&conv][conv_seq as usize - 1].clone();
        let Stored { from, void, hash, ref body, change } = stored;
        let (d_inbox, time_ms) = (1, conv_seq * 10);
        self.put(&match (from, change) {
            (None, None) => {
                ServerFrame::Deliver(Deliver { d_inbox, conv, conv_seq, time_ms, body })
            }
            (None, Some(change)) => {
                ServerFrame::Changed(Changed { d_inbox, conv, conv_seq, time_ms, change, body })
            }
            (Some((outbox, n)), change) => ServerFrame::Own(Own {
                d_inbox,
                conv,
                conv_seq,
                time_ms,
                outbox,
                n,
                void,
                change,
                hash,
            }),
        });
    }

    pub fn put(&mut self, frame: &ServerFrame<'_>) {
        if let Some(link) = &mut self.link {
            encode_server(&mut link.to_device, frame);
        }
    }
}
