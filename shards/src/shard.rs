//! The state of one core, and what each event does to it: order and dispatch only.

use crate::circle::Circle;
use crate::conversation::Conversation;
use crate::core::CoreConfig;
use crate::flush::Flush;
use crate::gate::{Gate, Gated};
use crate::lane::{Lane, Loopback};
use crate::loads::Asks;
use crate::marks::Marks;
use crate::member::Member;
use crate::page::PageUnderWay;
use crate::place::Place;
use crate::presence::Source;
use crate::recovered::Recovered;
use crate::session::{Scans, Sessions};
use crate::stats::Stats;
use crate::table::{Map, Table};
use crate::user::User;
use crate::watch::Watching;
use crate::wheel::Wheel;
use crate::work::{Retry, Work};
use crate::{AskId, ConnId, CoreIndex, Effect, Event, Now, Relay, Taken};
use persistence::{ConvKey, CoreStart, Log, LogConfig, Position};
use std::collections::{BTreeSet, VecDeque};
use wire::{DeviceId, UserId};

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
    /// Pages that wait for the store.
    pub pages: Map<AskId, PageUnderWay>,
    /// Users whose oldest entries may be too old.
    pub aging: VecDeque<UserId>,
    pub aging_now: u32,
    pub recovered: Recovered,
    pub flush: Flush,
    /// Positions of messages whose fan-outs, and of marks whose receipts are unconfirmed.
    pub owed: BTreeSet<Position>,
    /// Marks that moved and are not in the log.
    pub marks: Marks,
    /// Members that owe a receipt.
    pub owing_members: u32,
    /// What is tried again, in the order of time.
    pub retries: VecDeque<(u64, Retry)>,
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
            pages: Map::default(),
            aging: VecDeque::new(),
            aging_now: 0,
            recovered,
            flush,
            owed,
            marks: Marks::default(),
            owing_members: 0,
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
            Relay::Page(request) => return self.work(Work::Places { from, request }),
            Relay::Receipt(receipt) => return self.work(Work::Receipt { from, receipt }),
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
            Relay::PageAnswer(answer) => {
                self.lanes[from as usize].pages_out -= 1;
                self.work(Work::Show(answer));
            }
            Relay::ReceiptTaken { reader, conv } => self.receipt_taken(reader, conv),
            Relay::ReceiptRefused { reader, conv } => self.receipt_refused(reader, conv),
            _ => {}
        }
        self.credit_back(from);
    }

    /// Timers.
    pub fn advance(&mut self, now: Now) {
        self.now = now;
        self.gate.watch(&self.log, now);
        while let Some(conns) = self.wheel.expire(now.mono_us) {
            conns.into_iter().for_each(|index| self.deadline(index));
        }
        self.expire_asks();
        self.retry();
        self.log_marks();
        self.log_cursors();
        self.age_some();
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
            Gated::Message { to, answer, inbox, owes } => {
                self.message_durable(to, answer, inbox, owes);
            }
            Gated::Answer { to, answer } => self.answer(to, answer),
            Gated::Append { from, user, conv, upto, inbox_seq } => {
                self.append_durable(from, user, conv, upto, inbox_seq);
            }
            Gated::Confirm { from, user, conv, upto } => {
                self.reply(from, Relay::Confirm { user, conv, upto });
            }
            Gated::Marks { user, conv, inbox_seq } => self.marks_durable(user, conv, inbox_seq),
            Gated::Receipt { from, reader, conv, inbox_seq } => {
                self.receipt_durable(from, reader, conv, inbox_seq);
            }
            Gated::Command { at } => self.command_durable(at),
            Gated::Frames { conn, frames } => self.send_encoded(conn, &frames),
            Gated::Welcome(conn) => self.welcome(conn),
        }
    }

    /// When `advance` or `settle` has something to do.
    pub fn deadline_us(&self) -> Option<u64> {
        if self.flush_behind() || self.recovered.waits() {
            return Some(0);
        }
        let marks = self.marks.due_us();
        let cursors_due_us = self.cursors_due_us.max(marks.unwrap_or(0));
        let cursors = (!self.cursors.is_empty()).then_some(cursors_due_us);
        let retry = self.retries.front().map(|(due_us, _)| *due_us);
        [
            self.wheel.deadline_us(),
            self.asks.deadline_us(),
            self.flush.deadline_us(self.flush_us()),
            self.marks.deadline_us(),
            cursors,
            retry,
            self.source.deadline_us(&self.lanes),
            self.watching.deadline_us(&self.lanes),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn closed(&mut self, conn: ConnId) {
        self.detach(conn);
        self.sessions.remove(conn);
    }

    pub fn stats(&self) -> Stats {
        let oldest_us = self.flush.oldest_us();
        // What is left behind the last record is padding.
        let behind = oldest_us.map(|_| self.log.end().0 - self.flush.flushed().0);
        Stats {
            unflushed_bytes: behind.unwrap_or(0),
            unflushed_us: oldest_us.map_or(0, |oldest| self.now.mono_us.saturating_sub(oldest)),
            log_bytes: self.log.end().0 - self.log.base().0,
            sessions: self.sessions.len() as u64,
            users: self.users.len() as u64,
            conversations: self.convs.len() as u64,
            ..self.stats
        }
    }
}
