//! The state of one core, and what each event does to it: order and dispatch only.

use crate::circle::Circle;
use crate::conversation::Conversation;
use crate::core::CoreConfig;
use crate::flush::Flush;
use crate::gate::{Gate, Gated};
use crate::lane::{Lane, Loopback};
use crate::loads::Asks;
use crate::member::Member;
use crate::place::Place;
use crate::presence::Source;
use crate::recovered::Recovered;
use crate::session::{Scans, Session, Sessions, State};
use crate::stats::Stats;
use crate::table::Table;
use crate::user::User;
use crate::watch::Watching;
use crate::wheel::Wheel;
use crate::work::Work;
use crate::{ConnId, CoreIndex, Effect, Event, Now, Relay, Taken};
use persistence::{ConvKey, CoreStart, Log, LogConfig, Position};
use std::collections::{BTreeSet, VecDeque};
use wire::{CloseCode, DeviceId, UserId};

/// Recovered conversations that one turn starts to load, to send their fan-outs again.
const RECOVERED_PER_TURN: usize = 8;

/// Everything that a core knows.
pub(crate) struct Shard {
    pub config: CoreConfig,
    pub place: Place,
    pub now: Now,
    /// Time of the newest record, Unix microseconds.
    pub time_us: u64,
    pub log: Log,
    /// What waits for the log.
    pub gate: Gate,
    pub sessions: Sessions,
    pub users: Table<UserId, User>,
    pub convs: Table<ConvKey, Conversation>,
    pub members: Table<(UserId, ConvKey), Member>,
    pub circles: Table<UserId, Circle>,
    pub source: Source,
    pub watching: Watching,
    /// Pieces of work that wait for loads.
    pub waiting: u32,
    pub asks: Asks,
    pub scans: Scans,
    pub recovered: Recovered,
    pub flush: Flush,
    /// Positions of messages whose fan-outs are unconfirmed.
    pub owed: BTreeSet<Position>,
    /// Conversations that send their fan-outs again, in the order of time.
    pub retries: VecDeque<(u64, ConvKey)>,
    pub lanes: Vec<Lane>,
    /// Lanes without a credit, or with sends that wait for one.
    pub lanes_blocked: u32,
    pub loopback: Loopback,
    pub effects: VecDeque<Effect>,
    /// Connections with output and no send in flight.
    pub ready: VecDeque<ConnId>,
    /// Connections whose input the driver holds back.
    pub paused: VecDeque<ConnId>,
    /// Output buffers that were given back.
    pub buffers: Vec<Vec<u8>>,
    pub wheel: Wheel,
    /// Connections before their hand-off.
    pub handshakes: u32,
    /// Cursors that moved since they were logged.
    pub cursors: Vec<(UserId, DeviceId)>,
    pub cursors_due_us: u64,
    pub stopping: bool,
    pub stats: Stats,
}

impl Shard {
    pub fn new(config: CoreConfig, start: CoreStart, now: Now) -> Shard {
        let limits = &config.limits;
        let place = Place { me: config.index, cores: config.cores };
        let time_us = start.floor_us();
        let log_config = LogConfig {
            segment_bytes: limits.segment_bytes,
            group_bytes_max: limits.group_bytes_max,
            writes_max: limits.log_writes_max,
        };
        let log = Log::start(log_config, start);
        let (recovered, owed, records) = Recovered::read(&log, place);
        let flush = Flush::new(log.start_of_tail(), records);
        Shard {
            place,
            now,
            time_us,
            gate: Gate::default(),
            sessions: Sessions::default(),
            users: Table::new(limits.users_max, config.seed),
            convs: Table::new(limits.conversations_max, config.seed ^ 1),
            members: Table::new(limits.members_max, config.seed ^ 2),
            circles: Table::new(limits.circles_max, config.seed ^ 3),
            source: Source::new(config.cores, time_us),
            watching: Watching::new(config.cores),
            waiting: 0,
            asks: Asks::default(),
            scans: Scans::default(),
            recovered,
            flush,
            owed,
            retries: VecDeque::new(),
            lanes: (0..config.cores).map(|_| Lane::new(limits.lane_credits)).collect(),
            lanes_blocked: 0,
            loopback: VecDeque::new(),
            effects: VecDeque::new(),
            ready: VecDeque::new(),
            paused: VecDeque::new(),
            buffers: Vec::new(),
            wheel: Wheel::new(now.mono_us),
            handshakes: 0,
            cursors: Vec::new(),
            cursors_due_us: 0,
            stopping: false,
            stats: Stats::default(),
            log,
            config,
        }
    }

    /// Handles one event, and what the core tells itself because of it.
    pub fn handle(&mut self, event: Event<'_>) -> Taken {
        let mut taken = Taken(0);
        match event {
            Event::Accepted { conn } => self.accepted(conn),
            Event::Adopted { conn, from, adoption } => self.adopted(conn, from, *adoption),
            Event::Received { conn, bytes } => taken = self.received(conn, bytes),
            Event::Sent { conn, buffer } => self.sent(conn, buffer),
            Event::Closed { conn } => self.closed(conn),
            Event::Relayed { from, relay } => self.relayed(from, relay),
            Event::Written(done) => {
                self.log.complete(done);
            }
            Event::Answered(answer) => self.answered(answer),
            Event::Stop => self.stop(),
        }
        while let Some((from, relay)) = self.loopback.pop_front() {
            self.relayed(from, relay);
        }
        taken
    }

    fn relayed(&mut self, from: CoreIndex, relay: Relay) {
        let reply = match relay {
            Relay::Send(request) => return self.work(Work::Sequence { from, request }),
            Relay::InboxAppend(append) => return self.work(Work::Append { from, append }),
            Relay::Watch(changes) => return self.watched(from, &changes),
            Relay::Presence(batch) => return self.presence_came(from, &batch),
            Relay::Typing { writer, reader } => return self.typing_came(from, writer, reader),
            reply => reply,
        };
        match reply {
            Relay::SendAnswer(answer) => self.deliver_answer(*answer),
            Relay::Confirm { conv, upto, .. } => self.confirmed(conv, upto),
            Relay::Expect { conv, next, .. } => self.expected(conv, next),
            Relay::Busy { conv, .. } => self.busy(conv),
            _ => {}
        }
        self.credit_back(from);
    }

    /// Timers.
    pub fn advance(&mut self, now: Now) {
        self.now = now;
        while let Some(conns) = self.wheel.expire(now.mono_us) {
            conns.into_iter().for_each(|index| self.deadline(index));
        }
        self.expire_asks();
        self.retry_fan_outs();
        self.log_cursors();
        self.advance_presence();
        self.advance_watching();
        self.recover_some();
    }

    /// What a turn does once between its events and its effects.
    pub fn settle(&mut self) {
        if self.lanes_blocked == 0 && !self.paused.is_empty() {
            self.resume_paused();
        }
        self.presence_step();
        self.watching_step();
        self.flush_step();
    }

    /// The next effect: the log first, so that its next write is on its way before what the last
    /// one allows.
    pub fn poll(&mut self) -> Option<Effect> {
        if let Some(op) = self.log.poll() {
            return Some(Effect::Write(op));
        }
        while let Some(gated) = self.gate.pass(self.log.durable()) {
            self.pass(gated);
        }
        while let Some((from, relay)) = self.loopback.pop_front() {
            self.relayed(from, relay);
        }
        self.effects.pop_front().or_else(|| self.next_send())
    }

    /// What waited for the log and waits no longer.
    fn pass(&mut self, gated: Gated) {
        match gated {
            Gated::Message { at, to, answer } => self.message_durable(at, to, answer),
            Gated::Answer { to, answer } => self.answer(to, answer),
            Gated::Append { at, from } => self.append_durable(at, from),
            Gated::Confirm { from, user, conv, upto } => {
                self.reply(from, Relay::Confirm { user, conv, upto });
            }
            Gated::Command { at } => self.command_durable(at),
            Gated::Frames { conn, frames } => self.send_encoded(conn, &frames),
            Gated::Welcome(conn) => self.welcome(conn),
        }
    }

    /// When `advance` or `settle` has something to do.
    pub fn deadline_us(&self) -> Option<u64> {
        if self.flush_behind() || !self.recovered.queue.is_empty() {
            return Some(0);
        }
        let cursors = (!self.cursors.is_empty()).then_some(self.cursors_due_us);
        let retry = self.retries.front().map(|(due_us, _)| *due_us);
        [
            self.wheel.deadline_us(),
            self.asks.deadline_us(),
            self.flush.deadline_us(self.flush_us()),
            cursors,
            retry,
            self.source.deadline_us(&self.lanes),
            self.watching.deadline_us(&self.lanes),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A connection's time in the wheel has come.
    fn deadline(&mut self, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        let (conn, deadline_us) = (session.conn, session.deadline_us);
        if deadline_us > self.now.mono_us {
            return self.wheel.insert(index, deadline_us);
        }
        match session.state {
            State::End { asked: true } => {}
            State::End { ref mut asked } => {
                // Its reader does not read: cut.
                *asked = true;
                self.effects.push_back(Effect::Close { conn });
            }
            State::Attached(_) => self.close(conn, CloseCode::IdleTimeout, ""),
            _ => self.close(conn, CloseCode::HandshakeTimeout, ""),
        }
    }

    /// Heard from now; silent until then is too long.
    pub fn idle_deadline_us(&self) -> u64 {
        self.now.mono_us + self.config.limits.heartbeat_ms * 2_500
    }

    fn closed(&mut self, conn: ConnId) {
        self.detach(conn);
        self.sessions.remove(conn);
    }

    /// Whose user an attaching session waits for.
    pub fn attaching_user(&mut self, conn: ConnId) -> Option<UserId> {
        match self.sessions.get(conn) {
            Some(Session { state: State::User(greeting), .. }) => Some(greeting.user),
            _ => None,
        }
    }

    fn recover_some(&mut self) {
        for _ in 0..RECOVERED_PER_TURN {
            let Some(conv) = self.recovered.queue.pop_front() else { return };
            self.work(Work::Recover(conv));
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        for conn in self.sessions.conns() {
            self.close(conn, CloseCode::Shutdown, "the server stops");
        }
        self.everyone_leaves();
    }

    /// After `Event::Stop`: nothing is left to do.
    pub fn stopped(&self) -> bool {
        let idle = self.gate.is_empty() && self.effects.is_empty() && self.ready.is_empty();
        self.stopping && idle && self.sessions.len() == 0 && self.log.durable() >= self.log.end()
    }

    pub fn stats(&self) -> Stats {
        Stats {
            log_bytes: self.log.end().0 - self.log.base().0,
            sessions: self.sessions.len() as u64,
            users: self.users.len() as u64,
            conversations: self.convs.len() as u64,
            ..self.stats
        }
    }
}
