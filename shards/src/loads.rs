//! Requests to the backend: which are under way, and whose answers still count (R10).

use crate::circle::Circle;
use crate::contacts::Listing;
use crate::conversation::Conversation;
use crate::member::Member;
use crate::retention::Aging;
use crate::shard::Shard;
use crate::table::{Entity, Map, Presence};
use crate::user::User;
use crate::work::{Need, Work};
use crate::{Answer, Ask, AskId, ConnId, Effect, Reply};
use persistence::{ConvKey, Load, Loaded, Page, Paged};
use std::collections::VecDeque;
use wire::Seq;
use wire::planted::{Bug, active};

/// A load or scan that is not answered after this long counts as failed; its answer is dropped.
const ASK_DEADLINE_US: u64 = 2_000_000;

/// What an answer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pending {
    Load(Need),
    Scan(ConnId),
    Contacts(Listing),
    Places(Seq),
    Chats(ConnId),
    Age(Aging),
    /// What devices acked earlier.
    Gap,
    /// The target of a change.
    Target(ConvKey, Seq),
}

/// Requests under way and requests that wait for room.
#[derive(Default)]
pub(crate) struct Asks {
    next: u64,
    pending: Map<AskId, Pending>,
    /// Deadlines, oldest first.
    deadlines: VecDeque<(u64, AskId)>,
    /// Not yet with the driver.
    waiting: VecDeque<(AskId, Ask)>,
    under_way: u32,
}

impl Asks {
    pub fn next_id(&mut self) -> AskId {
        self.next += 1;
        AskId(self.next)
    }

    pub fn deadline_us(&self) -> Option<u64> {
        self.deadlines.front().map(|(deadline_us, _)| *deadline_us)
    }
}

impl Shard {
    /// Asks the backend now, or when an earlier request has ended.
    pub(crate) fn ask(&mut self, ask: Ask, pending: Pending) -> AskId {
        let id = self.asks.next_id();
        self.asks.pending.insert(id, pending);
        self.asks.deadlines.push_back((self.now.mono_us + ASK_DEADLINE_US, id));
        self.asks.waiting.push_back((id, ask));
        self.ask_next();
        id
    }

    fn ask_next(&mut self) {
        while self.asks.under_way < self.config.limits.asks_max {
            let Some((id, ask)) = self.asks.waiting.pop_front() else { return };
            if self.asks.pending.contains_key(&id) {
                self.asks.under_way += 1;
                self.effects.push_back(Effect::Ask { id, ask });
            }
        }
    }

    /// The backend answered. An answer that nobody waits for any more is dropped.
    pub(crate) fn answered(&mut self, answer: Answer) {
        if self.flush.is_answer(answer.id) {
            return self.flushed(answer.reply.is_ok());
        }
        self.asks.under_way -= 1;
        let pending = self.asks.pending.remove(&answer.id);
        self.ask_next();
        match (pending, answer.reply) {
            (None, _) => self.stats.answers_dropped += 1,
            (Some(Pending::Load(need)), _)
                if active(Bug::OldLoadAccepted) && self.presence(need) != Presence::Loading => {}
            (Some(Pending::Load(need)), Ok(reply @ (Reply::Loaded(_) | Reply::Paged(_)))) => {
                // Asked before the recovered records were in the store, answered after they left
                // memory: nobody knows which of them it has seen.
                if answer.id.0 < self.recovered.stale_before {
                    self.begin_ask(need)
                } else {
                    self.install(need, reply)
                }
            }
            (Some(Pending::Scan(conn)), Ok(Reply::Scanned(scanned))) => self.scanned(conn, scanned),
            (Some(Pending::Contacts(listing)), Ok(Reply::Paged(Paged::Contacts(rows)))) => {
                self.contacts_read(listing, Some(rows));
            }
            (Some(Pending::Places(upto)), Ok(Reply::Paged(paged))) => {
                self.page_read(answer.id, upto, Some(paged));
            }
            (Some(Pending::Chats(conn)), Ok(Reply::Paged(Paged::Chats(rows)))) => {
                self.chats_read(conn, Some(rows));
            }
            (Some(Pending::Age(aging)), Ok(Reply::Scanned(scanned))) => {
                self.probed(aging, Some(scanned.entries));
            }
            (Some(Pending::Gap), Ok(Reply::Scanned(scanned))) => self.gap_scanned(Some(scanned)),
            (Some(Pending::Target(conv, seq)), Ok(Reply::Paged(Paged::Messages(messages)))) => {
                self.target_read(conv, seq, Some(messages));
            }
            (Some(pending), _) => self.ask_failed(answer.id, pending),
        }
    }

    /// Requests without an answer for too long count as failed.
    pub(crate) fn expire_asks(&mut self) {
        while let Some(&(deadline_us, id)) = self.asks.deadlines.front() {
            let waits = self.asks.pending.contains_key(&id);
            if waits && deadline_us > self.now.mono_us {
                return;
            }
            self.asks.deadlines.pop_front();
            let given_up = match active(Bug::OldLoadAccepted) {
                true => self.asks.pending.get(&id).copied(),
                false => self.asks.pending.remove(&id),
            };
            if let Some(pending) = given_up {
                self.ask_failed(id, pending);
            }
        }
    }

    /// The store did not answer.
    fn ask_failed(&mut self, id: AskId, pending: Pending) {
        match pending {
            Pending::Load(need) => self.load_failed(need),
            Pending::Scan(conn) => self.scan_failed(conn),
            Pending::Contacts(listing) => self.contacts_read(listing, None),
            Pending::Places(upto) => self.page_read(id, upto, None),
            Pending::Chats(conn) => self.chats_read(conn, None),
            Pending::Age(aging) => self.probed(aging, None),
            Pending::Gap => self.gap_scanned(None),
            Pending::Target(conv, seq) => self.target_read(conv, seq, None),
        }
    }

    /// Lets `work` wait for `need`, which is not ready. False: there is no room for either.
    pub(crate) fn park(&mut self, need: Need, work: Work) -> Result<(), Work> {
        if self.waiting >= self.config.limits.waiting_max || !self.begin_load(need) {
            return Err(work);
        }
        self.waiting += 1;
        match need {
            Need::User(user) => self.users.park(user, work),
            Need::Conv(conv) => self.convs.park(conv, work),
            Need::Member(user, conv) => self.members.park((user, conv), work),
            Need::Circle(user) => self.circles.park(user, work),
        }
        Ok(())
    }

    pub(crate) fn presence(&mut self, need: Need) -> Presence {
        match need {
            Need::User(user) => self.users.presence(user),
            Need::Conv(conv) => self.convs.presence(conv),
            Need::Member(user, conv) => self.members.presence((user, conv)),
            Need::Circle(user) => self.circles.presence(user),
        }
    }

    /// Starts to load what is absent; true once it is loading or ready.
    pub(crate) fn begin_load(&mut self, need: Need) -> bool {
        if self.presence(need) != Presence::Absent {
            return true;
        }
        let flushed = self.flush.flushed();
        let room = match need {
            Need::User(user) => self.users.begin_load(user, flushed),
            Need::Conv(conv) => self.convs.begin_load(conv, flushed),
            Need::Member(user, conv) => self.members.begin_load((user, conv), flushed),
            Need::Circle(user) => self.circles.begin_load(user, flushed),
        };
        if room {
            self.begin_ask(need);
        }
        room
    }

    fn begin_ask(&mut self, need: Need) {
        let ask = match need {
            Need::User(user) => Ask::Load(Load::User(user)),
            Need::Conv(conv) => Ask::Load(Load::Conversation(conv)),
            Need::Member(user, conv) => Ask::Load(Load::Member(user, conv)),
            // All of them: commands keep to the cap.
            Need::Circle(user) => Ask::Page(Page::Contacts { user, after: 0, limit: u32::MAX }),
        };
        self.ask(ask, Pending::Load(need));
    }

    /// What the store has, and what the recovered records add to it.
    fn install(&mut self, need: Need, reply: Reply) {
        let waiting = match (need, reply) {
            (Need::User(id), Reply::Loaded(Loaded::User(state))) => {
                let mut user = User::new(*state, &self.config.limits, self.now.mono_us);
                self.recovered.apply_user(&self.log, id, &mut user);
                self.users.loaded(id, user)
            }
            (Need::Conv(id), Reply::Loaded(Loaded::Conversation(state))) => {
                let mut conv = Conversation::new(state);
                self.recovered.apply_conv(&self.log, &self.owed, id, &mut conv);
                self.convs.loaded(id, conv)
            }
            (Need::Member(user, conv), Reply::Loaded(Loaded::Member(state))) => {
                let mut member = Member::new(*state);
                self.recovered.apply_member(&self.log, (user, conv), &mut member);
                self.members.loaded((user, conv), member)
            }
            (Need::Circle(user), Reply::Paged(Paged::Contacts(rows))) => {
                let mut circle = Circle::new(&rows);
                self.recovered.apply_circle(&self.log, user, &mut circle, &rows);
                let (max, flushed) = (self.config.limits.circle_contacts_max, self.flush.flushed());
                if !self.circles.lighten(circle.weight(), max as usize, flushed) {
                    return self.load_failed(need);
                }
                self.circles.loaded(user, circle)
            }
            (need, loaded) => panic!("asked for {need:?}, got {loaded:?}"),
        };
        self.redo(waiting);
    }

    fn load_failed(&mut self, need: Need) {
        let waiting = match need {
            Need::User(user) => self.users.load_failed(user),
            Need::Conv(conv) => self.convs.load_failed(conv),
            Need::Member(user, conv) => self.members.load_failed((user, conv)),
            Need::Circle(user) => self.circles.load_failed(user),
        };
        self.stats.loads_failed += 1;
        for work in waiting {
            self.waiting -= 1;
            self.unparked(&work);
            self.give_up(work);
        }
    }

    fn redo(&mut self, waiting: VecDeque<Work>) {
        for work in waiting {
            self.waiting -= 1;
            self.unparked(&work);
            self.work(work);
        }
    }
}
