//! The server of the world: one number `next` per outbox, answers and fan-outs that come late.

use std::collections::{BTreeMap, VecDeque};

use client::{BodyHash, Conv, DeviceId, OutboxId, RefusalCode, Seq, UserId, body_hash};
use wire::{
    AckLevel, Answer, CaughtUp, ClientFrame, Deframer, Deliver, OutOfOrder, Own, Pong, Refused,
    SendKey, Sent, ServerFrame, Verdict, Welcome, decode_client, encode_server,
};

use super::Random;

const WINDOW: u64 = 6;

#[derive(Clone, Debug)]
pub struct Stored {
    /// `None`: the peer's.
    from: Option<(OutboxId, Seq)>,
    void: bool,
    hash: BodyHash,
    body: Vec<u8>,
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
    hash: BodyHash,
    body: Vec<u8>,
}

pub struct Server {
    pub link: Option<Link>,
    attaches: u64,
    epoch: u64,
    log: BTreeMap<Conv, Vec<Stored>>,
    next: BTreeMap<(Conv, OutboxId), Seq>,
    inbox: Vec<(Conv, Seq)>,
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

    pub fn stored(&self, conv: Conv, conv_seq: Seq) -> Option<(&[u8], bool)> {
        let stored = self.log.get(&conv)?.get(conv_seq as usize - 1)?;
        Some((&stored.body, stored.void))
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

    pub fn peer_sends(&mut self, random: &mut Random) {
        self.peer_messages += 1;
        let conv = Conv::Direct(100 + random.number() % super::PEERS);
        let body = format!("peer {}", self.peer_messages).into_bytes();
        let hash = body_hash(&body);
        self.store(conv, Stored { from: None, void: false, hash, body });
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
        self.inbox.clear();
        for (&conv, log) in &self.log {
            for (stored, conv_seq) in log.iter().zip(1..) {
                self.inbox.push((conv, conv_seq));
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
                    self.request(send.key, false, body_hash(send.body), send.body, random);
                }
                ClientFrame::Void(void) => self.request(void.key, true, void.hash, b"", random),
                ClientFrame::Ack(ack) => self.acked(ack.inbox_seq),
                ClientFrame::Ping(ping) => {
                    self.acked(ping.acked);
                    let head = self.inbox_len();
                    self.put(&ServerFrame::Pong(Pong { head }));
                }
                ClientFrame::Close(_) => {}
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
        let resume = hello.inbox_epoch == self.epoch && hello.acked <= self.inbox_len();
        let (verdict, from) = match resume {
            true => (Verdict::Resume, hello.acked),
            false => (Verdict::Snapshot(wire::SnapshotReason::NewDevice), 0),
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

    fn request(&mut self, key: SendKey, void: bool, hash: BodyHash, body: &[u8], r: &mut Random) {
        let link = self.link.as_ref().unwrap();
        let outbox = key.outbox.or(link.hello_outbox).unwrap();
        let hashes = self.numbers.entry((key.conv, outbox, key.n)).or_default();
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
        // The home has no room: refused before the owner hears of it.
        if r.one_in(12) {
            return self.refuse(key);
        }
        let (attach, body) = (link.attach, body.to_vec());
        self.relays.push_back(Relay { attach, key, outbox, void, hash, body });
    }

    fn refuse(&mut self, key: SendKey) {
        let (code, retry_after_ms) = (RefusalCode::RetryAfter, 10);
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
            self.inbox.extend(self.fan_outs.pop_front());
        }
        self.stream();
    }

    fn sequence(&mut self, random: &mut Random) {
        let Some(relay) = self.relays.pop_front() else { return };
        let Relay { attach, key, outbox, void, hash, body } = relay;
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
        if random.one_in(12) {
            if here {
                self.refuse(key);
            }
            return;
        }
        *next += 1;
        let stored = Stored { from: Some((outbox, key.n)), void, hash, body };
        let conv_seq = self.store(key.conv, stored);
        if self.merged {
            self.inbox.extend(std::mem::take(&mut self.fan_outs));
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
            let (conv, conv_seq) = self.inbox[link.streamed as usize];
            link.streamed += 1;
            let stored = self.log[&conv][conv_seq as usize - 1].clone();
            let Stored { void, hash, ref body, .. } = stored;
            let (d_inbox, time_ms) = (1, conv_seq * 10);
            self.put(&match stored.from {
                None => ServerFrame::Deliver(Deliver { d_inbox, conv, conv_seq, time_ms, body }),
                Some((outbox, n)) => ServerFrame::Own(Own {
                    d_inbox,
                    conv,
                    conv_seq,
                    time_ms,
                    outbox,
                    n,
                    void,
                    change: None,
                    hash,
                }),
            });
        }
    }

    fn put(&mut self, frame: &ServerFrame<'_>) {
        if let Some(link) = &mut self.link {
            encode_server(&mut link.to_device, frame);
        }
    }
}
