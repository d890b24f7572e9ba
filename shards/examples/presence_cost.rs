//! What presence costs through the turn, without a kernel: users on one core who watch each other
//! and switch between foreground and background, over a driver in memory, in virtual time.

use persistence::{IoDone, IoOp, Page, Paged, Recovered};
use shards::{
    Adoption, Answer, Ask, Claims, ConnId, Core, CoreConfig, Driver, Effect, Event, Limits, Now,
    Reply, Taken, token::Key, turn,
};
use std::collections::VecDeque;
use std::time::Instant;
use wire::{
    AckLevel, Activity, ClientFrame, DeviceId, Hello, OutboxId, ServerFrame, UserId, Watch,
};

/// A driver whose disk, store and sockets answer in the next turn.
#[derive(Default)]
struct Memory {
    now: Now,
    done: VecDeque<Event<'static>>,
    inputs: Vec<(u32, Vec<u8>)>,
    sends: u64,
    bytes: u64,
    /// When a probed user's change was to be told first, and how long it took to each watcher.
    probe: Option<(UserId, u64)>,
    delays_ms: Vec<u64>,
}

impl Driver for Memory {
    fn now(&mut self) -> Now {
        self.now
    }

    fn reap(&mut self, max: usize, handle: shards::Handle<'_>) {
        for _ in 0..max.min(self.done.len()) {
            handle(self.done.pop_front().expect("counted"));
        }
        for (index, bytes) in self.inputs.drain(..) {
            let conn = ConnId { index, generation: 1 };
            let Taken(taken) = handle(Event::Received { conn, bytes: &bytes });
            assert_eq!(taken, bytes.len(), "nobody sends too much");
        }
    }

    fn drain(&mut self, _max: usize, _handle: shards::Handle<'_>) {}

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send { conn, buffer } => {
                self.sends += 1;
                self.bytes += buffer.len() as u64;
                self.look(&buffer);
                self.done.push_back(Event::Sent { conn, buffer });
            }
            Effect::Write(IoOp::Prepare { segment }) => {
                self.done.push_back(Event::Written(IoDone::Prepared { segment }));
            }
            Effect::Write(IoOp::Write { id, .. }) => {
                self.done.push_back(Event::Written(IoDone::Written { id }));
            }
            Effect::Ask { id, ask } => {
                let reply = match ask {
                    Ask::Write(_) => Reply::Written,
                    Ask::Load(load) => Reply::Loaded(persistence::Loaded::empty(&load)),
                    Ask::Page(Page::Contacts { .. }) => Reply::Paged(Paged::Contacts(Vec::new())),
                    other => panic!("nobody asks for {other:?}"),
                };
                self.done.push_back(Event::Answered(Answer { id, reply: Ok(reply) }));
            }
            Effect::Write(_) | Effect::Receive { .. } => {}
            Effect::Close { conn } => panic!("{conn:?} was closed"),
            Effect::Handoff { .. } | Effect::Relay { .. } => panic!("one core"),
        }
    }

    fn wait(&mut self, _until_us: Option<u64>) {}
}

impl Memory {
    /// Notes when the probed user's state arrives.
    fn look(&mut self, bytes: &[u8]) {
        let Some((user, since_us)) = self.probe else { return };
        let (mut input, mut frames) = (bytes, wire::Deframer::default());
        while !input.is_empty() {
            let step = frames.next(&mut input, 1 << 20, |content| {
                let Ok(ServerFrame::Presence(presence)) = wire::decode_server(content) else {
                    return;
                };
                if presence.users.iter().any(|presence| presence.user == user) {
                    self.delays_ms.push((self.now.mono_us - since_us) / 1_000);
                }
            });
            step.expect("frames");
        }
    }

    fn put(&mut self, index: u64, frame: &ClientFrame<'_>) {
        let mut bytes = Vec::new();
        wire::encode_client(&mut bytes, frame);
        self.inputs.push((index as u32, bytes));
    }

    fn pass(&mut self, core: &mut Core, ms: u64) {
        for _ in 0..ms {
            self.now.mono_us += 1_000;
            self.now.unix_us += 1_000;
            turn(core, self);
        }
    }
}

fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

fn attach(core: &mut Core, memory: &mut Memory, users: u64, contacts: u64) {
    for index in 0..users {
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: 0,
            outbox: OutboxId(1),
            inbox_epoch: 0,
            acked: 0,
            foreground: index % 2 == 0,
            token: b"unread",
            name: "",
            platform: "",
        };
        let mut bytes = Vec::new();
        wire::encode_client(&mut bytes, &ClientFrame::Hello(hello));
        let claims = Claims { user: user(index + 1), device: DeviceId(1) };
        let conn = ConnId { index: index as u32, generation: 1 };
        let adoption = Box::new(Adoption { claims, bytes });
        core.handle(Event::Adopted { conn, from: 0, adoption });
        memory.pass(core, 1);
    }
    memory.pass(core, 10);
    for index in 0..users {
        // Spread over all, so that a watcher's contacts change at all times.
        let step = (users / contacts).max(1);
        let watched = (1..=contacts).map(|n| user((index + n * step) % users + 1));
        let watched: Vec<_> = watched.filter(|&other| other != user(index + 1)).collect();
        memory.put(index, &ClientFrame::Watch(Watch { users: watched.as_slice().into() }));
        memory.pass(core, 1);
    }
    memory.pass(core, 5_000);
}

fn main() {
    let argument = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|a| a != name).skip(1);
        arguments.next().map_or(default, |value| value.parse().expect("a number"))
    };
    let (users, contacts) = (argument("--users", 8_000), argument("--contacts", 100));
    let (seconds, every_ms) = (argument("--seconds", 20), argument("--every-ms", 10_000));
    let key = Key::new([1; 32]);
    let now = Now { mono_us: 1, unix_us: 1_700_000_000_000_000 };
    let mut memory = Memory { now, ..Memory::default() };
    let limits = Limits { heartbeat_ms: 1 << 40, ..Limits::default() };
    let grace_us = limits.presence_grace_ms * 1_000;
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
    let mut core = Core::new(config, recovered.deal(0, 1), memory.now);
    memory.pass(&mut core, 10);
    attach(&mut core, &mut memory, users, contacts);
    let mut foreground: Vec<bool> = (0..users).map(|index| index % 2 == 0).collect();
    let (told, sends, bytes) = (core.stats().presences, memory.sends, memory.bytes);
    let (start, mut done) = (Instant::now(), 0);
    for ms in 0..seconds * 1_000 {
        while done * every_ms < ms * users {
            let index = (done * 7_919) % users;
            let now = &mut foreground[index as usize];
            *now = !*now;
            if done % 1_009 == 0 {
                let since_us = memory.now.mono_us + if *now { 0 } else { grace_us };
                memory.probe = Some((user(index + 1), since_us));
            }
            let frame = ClientFrame::Activity(Activity { foreground: *now });
            memory.put(index, &frame);
            done += 1;
        }
        memory.pass(&mut core, 1);
    }
    let spent_s = start.elapsed().as_secs_f64();
    let told = (core.stats().presences - told) as f64;
    let (sends, bytes) = ((memory.sends - sends) as f64, (memory.bytes - bytes) as f64);
    memory.delays_ms.sort_unstable();
    let delays = &memory.delays_ms;
    println!(
        "{told} told in {seconds} s of virtual time, {:.0}/s; {:.0} ns each, {:.1} % of a core",
        told / seconds as f64,
        spent_s * 1e9 / told,
        spent_s / seconds as f64 * 100.0,
    );
    println!(
        "{:.1} bytes each, {:.2} in a frame; {} probed: p50 {} ms, p99 {} ms, max {} ms",
        bytes / told,
        told / sends,
        delays.len(),
        delays[delays.len() / 2],
        delays[delays.len() * 99 / 100],
        delays[delays.len() - 1],
    );
}
