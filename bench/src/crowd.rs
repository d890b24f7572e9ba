//! Real clients that write to each other through a server, with a ledger of all they were told.

use crate::body::Stamp;
use crate::device::Device;
use crate::ledger::{Ledger, Stream};
use crate::outage::Acked;
use crate::random::Random;
use client::{ClientEvent, Config, Conv, Kind};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

/// How long the crowd sleeps when nothing moved.
const PAUSE: Duration = Duration::from_micros(200);
/// A round of all members that takes so long says that this program stood still.
const STOOD_STILL: Duration = Duration::from_secs(1);
/// Of every inbox, as long as nothing restores a server.
const FIRST_EPOCH: u64 = 1;

/// What the members do by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Sends of one user that are queued or under way.
    pub depth: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
}

/// A device in the crowd.
struct Member {
    /// Index in the crowd; the user's number is `first_user` more.
    user: u32,
    /// Which device of its user, as the ledger counts them.
    reader: u8,
    device: Device,
    /// Unsettled messages and when they were composed, by the client's serial of the send.
    unsettled: HashMap<u64, (u64, Instant)>,
    streams: HashMap<u32, Stream>,
    caught_up: bool,
}

/// The users 0 … n − 1, each with one device that sends, some with another that reads.
pub struct Crowd {
    members: Vec<Member>,
    users: u32,
    first_user: u64,
    /// What was told.
    pub ledger: Ledger,
    /// Every ack, in order.
    pub acks: Vec<Acked>,
    /// When this program stood still: what clients saw then says nothing of the server.
    pub stood_still: Vec<Range<Instant>>,
    /// Errors that a client told of: the server broke the protocol.
    pub faults: Vec<String>,
    /// Sends that the server did not take then, by the code's name.
    pub refusals: BTreeMap<&'static str, u64>,
    random: Random,
    buffer: Vec<u8>,
    config: Config,
}

impl Crowd {
    /// Users with these tokens of their first device.
    pub fn new(tokens: Vec<Vec<u8>>, first_user: u64, seed: u64) -> Crowd {
        let config = Config {
            keep_history: false,
            ack_delay_ms: 20,
            reconnect_base_ms: 4,
            reconnect_cap_ms: 32,
            // Every device reads from the first entry on, also one that attaches when others have
            // written already: to the server it is no new one, which would begin with a snapshot.
            inbox_epoch: FIRST_EPOCH,
            ..Config::new(Vec::new())
        };
        let mut crowd = Crowd {
            members: Vec::new(),
            users: tokens.len() as u32,
            first_user,
            ledger: Ledger::default(),
            acks: Vec::new(),
            stood_still: Vec::new(),
            faults: Vec::new(),
            refusals: BTreeMap::new(),
            random: Random::new(seed),
            buffer: Vec::new(),
            config,
        };
        for (user, token) in (0..).zip(tokens) {
            crowd.join(user, 0, token);
        }
        crowd
    }

    /// Another device of a user, which reads from the beginning.
    pub fn add_reader(&mut self, user: u32, token: Vec<u8>) {
        self.ledger.add_reader(user, 1);
        self.join(user, 1, token);
    }

    fn join(&mut self, user: u32, reader: u8, token: Vec<u8>) {
        let config = Config { token, ..self.config.clone() };
        let device = Device::new(config, self.random.number());
        let (unsettled, streams) = (HashMap::new(), HashMap::new());
        let member = Member { user, reader, device, unsettled, streams, caught_up: false };
        self.members.push(member);
    }

    /// One member's program dies and starts again from its journal.
    pub fn restart_one(&mut self) {
        let index = self.random.below(self.members.len() as u64) as usize;
        let random = self.random.number();
        if let Err(error) = self.members[index].device.restart(random) {
            self.faults.push(format!("a journal cannot be read: {error}"));
        }
        self.members[index].caught_up = false;
    }

    /// Runs all members until `done`, or the end of patience. Whether it was `done`.
    pub fn run(
        &mut self,
        server: SocketAddr,
        habits: Option<Habits>,
        patience: Duration,
        mut done: impl FnMut(&mut Crowd) -> bool,
    ) -> bool {
        let end = Instant::now() + patience;
        loop {
            if done(self) {
                return true;
            }
            let begun = Instant::now();
            if begun >= end {
                return false;
            }
            let mut moved = false;
            for index in 0..self.members.len() {
                if let Some(habits) = habits {
                    self.compose(index, habits);
                }
                let member = &mut self.members[index];
                moved |= member.device.turn(server, &mut self.buffer);
                while let Some(event) = self.members[index].device.event() {
                    self.told(index, event);
                }
            }
            if !moved {
                thread::sleep(PAUSE);
            }
            if begun.elapsed() > STOOD_STILL {
                self.stood_still.push(begun..Instant::now());
            }
        }
    }

    /// Whether nothing is unsettled and every device was caught up since it last attached.
    pub fn is_settled(&self) -> bool {
        self.members.iter().all(|member| {
            member.caught_up && member.unsettled.is_empty() && !member.device.client().has_pending()
        })
    }

    /// What a crowd that does not settle still waits for, in words.
    pub fn waits_for(&self) -> String {
        let behind = self.members.iter().filter(|member| !member.caught_up).count();
        let unsettled: usize = self.members.iter().map(|member| member.unsettled.len()).sum();
        let missing = self.ledger.missing();
        format!("{behind} devices not caught up, {unsettled} sends not settled, {missing}")
    }

    /// When the sends that are not settled were composed.
    pub fn unacked(&self) -> Vec<Instant> {
        let unsettled = self.members.iter().flat_map(|member| member.unsettled.values());
        unsettled.map(|(_, composed)| *composed).collect()
    }

    /// Sends of this user's first device that are not settled.
    pub fn unsettled(&self, user: u32) -> usize {
        self.members[user as usize].unsettled.len()
    }

    /// All devices go, for ever; the ledger stays.
    pub fn leave(&mut self) {
        self.members.clear();
    }

    /// Whether the second devices have read as far as the first ones.
    pub fn readers_are_level(&self) -> bool {
        let firsts = &self.members[..self.users as usize];
        let seconds = &self.members[self.users as usize..];
        seconds.iter().all(|second| {
            let first = &firsts[second.user as usize];
            second.device.client().position() == first.device.client().position()
        })
    }

    fn compose(&mut self, index: usize, habits: Habits) {
        let (user, reader) = (self.members[index].user, self.members[index].reader);
        while reader == 0 && self.members[index].unsettled.len() < habits.depth {
            let other = self.random.below(u64::from(self.users) - 1) as u32;
            let receiver = if other < user { other } else { other + 1 };
            self.compose_to(user, receiver, habits.body_bytes);
        }
    }

    /// Queues a message from `sender` to `receiver`.
    pub fn compose_to(&mut self, sender: u32, receiver: u32, body_bytes: usize) {
        let number = self.ledger.compose(sender, receiver);
        let body = Stamp { number, sender, receiver }.body(body_bytes);
        let peer = self.first_user + u64::from(receiver);
        let member = &mut self.members[sender as usize];
        match member.device.compose(peer, &body) {
            Ok(id) => {
                member.unsettled.insert(id.serial, (number, Instant::now()));
            }
            Err(error) => self.faults.push(error),
        }
    }

    fn told(&mut self, index: usize, event: ClientEvent) {
        let member = &mut self.members[index];
        match event {
            ClientEvent::Sent { id, conv_seq, .. } => match member.unsettled.remove(&id.serial) {
                Some((number, composed)) => {
                    self.ledger.acked(number, conv_seq);
                    self.acks.push(Acked { composed, acked: Instant::now() });
                }
                None => self.ledger.foreign(),
            },
            ClientEvent::Message { conv, conv_seq, kind: Kind::Peer, body, .. } => {
                self.read(index, conv, conv_seq, &body.unwrap_or_default());
            }
            ClientEvent::CaughtUp => member.caught_up = true,
            ClientEvent::Closed { code, reason } => {
                member.caught_up = false;
                if code.retry() == client::Retry::Never {
                    self.faults.push(format!("closed for good: {code:?} {reason}"));
                }
            }
            ClientEvent::Broken { fault } => self.faults.push(fault.to_string()),
            ClientEvent::Moved { from, .. } => {
                self.faults.push(format!("a send lost its number {from:?}"));
            }
            ClientEvent::GivenUp { .. } => self.faults.push("a send was given up".to_owned()),
            ClientEvent::Refused { code, .. } => {
                *self.refusals.entry(code.name()).or_default() += 1;
            }
            // What else a device may learn says nothing of messages lost, doubled or swapped.
            _ => {}
        }
    }

    fn read(&mut self, index: usize, conv: Conv, conv_seq: u64, body: &[u8]) {
        let Conv::Direct(peer) = conv;
        let member = &mut self.members[index];
        let sender = peer.wrapping_sub(self.first_user) as u32;
        let Some(stamp) = Stamp::read(body).filter(|stamp| stamp.sender == sender) else {
            return self.ledger.foreign();
        };
        let (user, reader) = (member.user, member.reader);
        let stream = member.streams.entry(sender);
        let stream = *stream.or_insert_with(|| self.ledger.stream(sender, user, reader));
        self.ledger.delivered(stream, stamp.number, conv_seq);
    }
}
