//! What a delivered message costs through the turn, without a kernel: one core over a driver in
//! memory. Count instructions with
//! `valgrind --tool=callgrind target/release/examples/turn_cost --messages 100000`;
//! the difference of two runs with other counts is free of the start.

use persistence::{IoDone, IoOp, Recovered};
use shards::{
    Adoption, Answer, Ask, Claims, ConnId, Core, CoreConfig, Driver, Effect, Event, Limits, Now,
    Reply, Taken, token::Key, turn,
};
use std::collections::VecDeque;
use std::time::Instant;
use wire::{
    AckLevel, ClientFrame, Conv, DeviceId, Hello, OutboxId, Send, SendKey, ServerFrame, UserId,
};

/// The other end of a connection.
#[derive(Default)]
struct Peer {
    sent: u64,
    delivered: u64,
    acked: u64,
    head: u64,
    input: Vec<u8>,
}

/// A driver whose disk, store and sockets answer in the next turn.
#[derive(Default)]
struct Memory {
    now: Now,
    /// What a turn takes, in microseconds.
    turn_us: u64,
    done: VecDeque<Event<'static>>,
    peers: Vec<Peer>,
    key: Option<Key>,
    groups: u64,
}

impl Driver for Memory {
    fn now(&mut self) -> Now {
        self.now.mono_us += self.turn_us;
        self.now.unix_us = 1_700_000_000_000_000 + self.now.mono_us;
        self.now
    }

    fn reap(&mut self, max: usize, handle: shards::Handle<'_>) {
        for _ in 0..max.min(self.done.len()) {
            handle(self.done.pop_front().expect("counted"));
        }
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if !peer.input.is_empty() {
                let conn = ConnId { index: index as u32, generation: 1 };
                let Taken(taken) = handle(Event::Received { conn, bytes: &peer.input });
                peer.input.drain(..taken);
            }
        }
    }

    fn drain(&mut self, _max: usize, _handle: shards::Handle<'_>) {}

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send { conn, buffer } => {
                self.peers[conn.index as usize].receive(&buffer);
                self.done.push_back(Event::Sent { conn, buffer });
            }
            Effect::Write(op) => match op {
                IoOp::Prepare { segment } => {
                    self.done.push_back(Event::Written(IoDone::Prepared { segment }));
                }
                IoOp::Write { id, .. } => {
                    self.groups += 1;
                    self.done.push_back(Event::Written(IoDone::Written { id }));
                }
                IoOp::Retire { .. } | IoOp::RetireOlder => {}
            },
            Effect::Ask { id, ask } => {
                let reply = match ask {
                    Ask::Write(_) => Reply::Written,
                    Ask::Load(load) => Reply::Loaded(persistence::Loaded::empty(&load)),
                    // How old the oldest entries are: the store has none.
                    Ask::Scan(scan) => {
                        Reply::Scanned(persistence::Scanned { entries: vec![], covered: scan.upto })
                    }
                    Ask::Page(page) => panic!("everything is in memory: {page:?}"),
                };
                self.done.push_back(Event::Answered(Answer { id, reply: Ok(reply) }));
            }
            Effect::Receive { .. } => {}
            Effect::Close { conn } => panic!("{conn:?} was closed"),
            Effect::Handoff { .. } | Effect::Relay { .. } => panic!("one core"),
        }
    }

    fn wait(&mut self, _until_us: Option<u64>) {}
}

impl Peer {
    fn receive(&mut self, bytes: &[u8]) {
        let (mut input, mut frames) = (bytes, wire::Deframer::default());
        while !input.is_empty() {
            let step = frames.next(&mut input, 1 << 20, |content| {
                match wire::decode_server(content).expect("a server's frame") {
                    ServerFrame::Sent(sent) => match sent.answer {
                        wire::Answer::Fresh { d_inbox, .. } => {
                            self.head += d_inbox;
                            self.sent += 1;
                        }
                        wire::Answer::Known => panic!("nothing was sent twice"),
                    },
                    ServerFrame::Deliver(deliver) => {
                        self.head += deliver.d_inbox;
                        self.delivered += 1;
                    }
                    ServerFrame::Own(own) => self.head += own.d_inbox,
                    ServerFrame::Receipt(receipt) => self.head += receipt.d_inbox,
                    ServerFrame::Welcome(_) | ServerFrame::CaughtUp(_) => {}
                    other => panic!("unexpected {other:?}"),
                }
            });
            step.expect("frames");
        }
    }

    fn put(&mut self, frame: &ClientFrame<'_>) {
        wire::encode_client(&mut self.input, frame);
    }
}

/// Users 1 and 2 talk, 3 and 4, …
fn attach(core: &mut Core, memory: &mut Memory, pairs: u64) {
    for index in 0..2 * pairs {
        let claims = Claims { user: UserId::new(index + 1).expect("not 0"), device: DeviceId(1) };
        let key = memory.key.as_ref().expect("set");
        let token = shards::token::mint(key, claims, u64::MAX);
        let mut bytes = Vec::new();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            outbox: OutboxId(index + 1),
            inbox_epoch: 0,
            acked: 0,
            foreground: true,
            name: "",
            platform: "",
            token: token.as_bytes(),
        };
        wire::encode_client(&mut bytes, &ClientFrame::Hello(hello));
        memory.peers.push(Peer::default());
        let conn = ConnId { index: index as u32, generation: 1 };
        let adoption = Box::new(Adoption { claims, bytes });
        core.handle(Event::Adopted { conn, from: 0, adoption });
        turn(core, memory);
    }
    (0..10).for_each(|_| turn(core, memory));
}

fn main() {
    let argument = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|a| a != name).skip(1);
        arguments.next().map_or(default, |value| value.parse().expect("a number"))
    };
    let (pairs, depth) = (argument("--pairs", 50), argument("--depth", 1));
    let (messages, turn_us) = (argument("--messages", 1_000_000), argument("--turn-us", 50));
    let key = Key::new([1; 32]);
    let mut memory = Memory { key: Some(key.clone()), turn_us, ..Memory::default() };
    let (new_conversations_burst, send_burst) = (1 << 20, u32::MAX);
    let limits = Limits { new_conversations_burst, send_burst, ..Limits::default() };
    let config = CoreConfig {
        index: 0,
        cores: 1,
        level: AckLevel::Local,
        limits,
        key,
        seed: 1,
        epoch_base: 1,
    };
    let recovered = Recovered::read(Vec::new()).expect("nothing to read");
    let mut core = Core::new(config, recovered.deal(0, 1), memory.now());
    (0..10).for_each(|_| turn(&mut core, &mut memory));
    attach(&mut core, &mut memory, pairs);
    let (start, body) = (Instant::now(), [7; 64]);
    let mut sends = vec![0u64; 2 * pairs as usize];
    loop {
        let delivered: u64 = memory.peers.iter().map(|peer| peer.delivered).sum();
        if delivered >= messages {
            break;
        }
        for (index, peer) in memory.peers.iter_mut().enumerate() {
            let conv = Conv::Direct((index as u64 ^ 1) + 1);
            while sends[index] - peer.sent < depth {
                sends[index] += 1;
                let key = SendKey { conv, outbox: None, n: sends[index] };
                peer.put(&ClientFrame::Send(Send { key, change: None, body: &body }));
            }
            if peer.head > peer.acked {
                peer.acked = peer.head;
                let ack = wire::Ack { inbox_seq: peer.head };
                peer.put(&ClientFrame::Ack(ack));
            }
        }
        turn(&mut core, &mut memory);
    }
    let seconds = start.elapsed().as_secs_f64();
    let stats = core.stats();
    println!(
        "{messages} delivered, {:.0} ns each, {:.1} per group, {:.1} log bytes over the body",
        seconds * 1e9 / messages as f64,
        stats.messages as f64 / memory.groups as f64,
        stats.message_bytes as f64 / stats.messages as f64 - body.len() as f64,
    );
}
