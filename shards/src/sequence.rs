//! Sending: from a session to the owner, where a message gets its place.

use crate::change::{Judged, change_of, parts_of};
use crate::conversation::{Numbered, Owed};
use crate::gate::Gated;
use crate::relay::Outcome;
use crate::shard::Shard;
use crate::table::Presence;
use crate::work::{Need, Retry, Work};
use crate::{Content, CoreIndex, Effect, Relay, SendAnswer, SendRequest};
use persistence::{ConvKey, MessageRecord, Record};
use wire::planted::{Bug, active};
use wire::{CloseCode, RefusalCode, Seq, UserId};

/// Bytes of a record beside its body, at most, with the padding of a group of its own.
const RECORD_OVERHEAD: u64 = 256;
/// Entities that one piece of work needs, at most.
const NEEDS_MAX: usize = 5;

impl SendAnswer {
    /// The answer to a request.
    pub fn to(request: &SendRequest, outcome: Outcome) -> SendAnswer {
        SendAnswer {
            conn: request.conn,
            conv: request.conv,
            sender: request.sender,
            outbox: request.outbox,
            explicit: request.explicit,
            n: request.n,
            void: matches!(request.content, Content::Void(_)),
            outcome,
        }
    }
}

impl Shard {
    /// Does a piece of work, or lets it wait for what it misses, or gives it up with an answer.
    pub(crate) fn work(&mut self, work: Work) {
        let needs = self.needs(&work);
        let mut missing = None;
        for need in needs.into_iter().flatten() {
            if self.presence(need) == Presence::Ready {
                continue;
            }
            // All that is missing loads at once; the work waits for the first, in a fixed order,
            // so that what came earlier is done earlier.
            if !self.begin_load(need) {
                return self.give_up(work);
            }
            missing = missing.or(Some(need));
        }
        match missing {
            Some(need) => {
                if !self.count_parked(&work) {
                    return self.give_up(work);
                }
                if let Err(work) = self.park(need, work) {
                    self.unparked(&work);
                    self.give_up(work);
                }
            }
            None => self.perform(work),
        }
    }

    fn needs(&mut self, work: &Work) -> [Option<Need>; NEEDS_MAX] {
        match work {
            Work::Submit(request) if self.place.owner(request.conv) == self.place.me => {
                self.sequence_needs(request.conv)
            }
            // The sender is not the owner, whose home is elsewhere: the member says whether the
            // conversation is new.
            Work::Submit(r) => [Some(Need::Member(r.sender, r.conv)), None, None, None, None],
            Work::Sequence { request, .. } => self.sequence_needs(request.conv),
            Work::Append { append, .. } => {
                let member = Need::Member(append.user, append.conv);
                [Some(member), Some(Need::User(append.user)), None, None, None]
            }
            Work::Marks(user, conv) => {
                [Some(Need::Member(*user, *conv)), Some(Need::User(*user)), None, None, None]
            }
            Work::Receipt { receipt, .. } => {
                let user = receipt.conv.peer_of(receipt.reader);
                let member = Need::Member(user, receipt.conv);
                [Some(member), Some(Need::User(user)), None, None, None]
            }
            Work::Attach(conn) => {
                let user = self.attaching_user(*conn);
                [user.map(Need::User), None, None, None, None]
            }
            Work::Recover(conv) => [Some(Need::Conv(*conv)), None, None, None, None],
            Work::Watch(user) => {
                [Some(Need::User(*user)), Some(Need::Circle(*user)), None, None, None]
            }
            Work::Command(request) => {
                let [user, member, circle] = Shard::command_needs(request);
                [user, member, circle, None, None]
            }
            Work::Page(conn) => {
                let member = self.page_member(*conn);
                [member.map(|(user, conv)| Need::Member(user, conv)), None, None, None, None]
            }
            Work::Places { request, .. } => {
                [Some(Need::Conv(request.conv)), None, None, None, None]
            }
            Work::Show(answer) => {
                [Some(Need::Member(answer.reader, answer.conv)), None, None, None, None]
            }
            Work::Contacts(listing) => [Some(Need::Circle(listing.user)), None, None, None, None],
            Work::Typing { from, writer, reader } => {
                [Some(Shard::typing_need(*from, *writer, *reader)), None, None, None, None]
            }
        }
    }

    /// The owner's own user is always here; the guest may be.
    fn sequence_needs(&self, conv: ConvKey) -> [Option<Need>; NEEDS_MAX] {
        let owner = conv.owner();
        let guest = conv.peer_of(owner);
        let here = self.place.is_home(guest);
        [
            Some(Need::Conv(conv)),
            Some(Need::User(owner)),
            Some(Need::Member(owner, conv)),
            here.then_some(Need::Member(guest, conv)),
            here.then_some(Need::User(guest)),
        ]
    }

    fn perform(&mut self, work: Work) {
        match work {
            Work::Submit(request) => self.submitted(request),
            Work::Sequence { from, request } => self.sequence(from, request),
            Work::Append { from, append } => self.append(from, &append),
            Work::Attach(conn) => self.attach(conn),
            Work::Recover(conv) => self.owe_recovered(conv),
            Work::Marks(user, conv) => self.log_marks_of(user, conv),
            Work::Receipt { from, receipt } => self.take_receipt(from, &receipt),
            Work::Watch(user) => self.begin_watch(user),
            Work::Command(request) => self.take_command(&request),
            Work::Page(conn) => self.page_places(conn),
            Work::Places { from, request } => self.page(from, request),
            Work::Show(answer) => self.show_page(&answer),
            Work::Contacts(listing) => self.list_contacts(listing),
            Work::Typing { from, writer, reader } => self.pass_typing(from, writer, reader),
        }
    }

    /// There is no room to wait, or the store does not answer.
    pub(crate) fn give_up(&mut self, work: Work) {
        let retry_ms = self.config.limits.retry_after_ms;
        match work {
            Work::Submit(request) => self.refuse(&request, RefusalCode::RetryAfter, retry_ms),
            Work::Sequence { from, request } => {
                let outcome =
                    Outcome::Refused { code: RefusalCode::RetryAfter, retry_after_ms: retry_ms };
                self.answer(from, SendAnswer::to(&request, outcome));
            }
            Work::Append { from, append } => {
                let (user, conv) = (append.user, append.conv);
                self.reply(from, Relay::Busy { user, conv });
            }
            Work::Attach(conn) => {
                self.close(
                    conn,
                    CloseCode::Overloaded,
                    "no room for one more user, or no answer from the store",
                );
            }
            Work::Recover(conv) => self.retry_later(Retry::FanOut(conv)),
            Work::Marks(user, conv) => self.marks_later(user, conv),
            Work::Receipt { from, receipt } => {
                let (reader, conv) = (receipt.reader, receipt.conv);
                self.reply(from, Relay::ReceiptRefused { reader, conv });
            }
            Work::Watch(user) => self.watch_later(user),
            Work::Command(request) => self.command_given_up(&request),
            Work::Page(conn) => self.page_given_up(conn),
            Work::Places { from, request } => self.answer_page(from, &request, None),
            Work::Show(answer) => self.page_given_up(answer.conn),
            Work::Contacts(listing) => self.contacts_given_up(listing),
            Work::Typing { .. } => {}
        }
    }

    /// At the sender's home: counts new conversations, then on to the owner.
    fn submitted(&mut self, request: Box<SendRequest>) {
        let conv = request.conv;
        let owner = self.place.owner(conv);
        // Only number 1 starts a conversation; what is pipelined behind it waits for it anyway.
        if request.n == 1 && self.is_new(request.sender, conv) {
            let limits = &self.config.limits;
            let (burst, every) = (limits.new_conversations_burst, limits.new_conversation_ms);
            let now_us = self.now.mono_us;
            let Some(user) = self.users.get_mut(request.sender) else {
                // The session went while its send waited: nobody needs an answer.
                return;
            };
            if let Err(after_ms) = user.new_conversations.take(now_us, burst, every) {
                return self.refuse(&request, RefusalCode::NewConversationQuota, after_ms);
            }
        }
        if owner == self.place.me {
            return self.sequence(owner, request);
        }
        self.lanes[owner as usize].sends.push_back(request);
        self.drain_lane(owner);
    }

    fn is_new(&mut self, sender: UserId, conv: ConvKey) -> bool {
        self.members.ready((sender, conv)).taken == 0
    }

    /// At the owner, with everything loaded: gives the message its place, or says why not.
    pub(crate) fn sequence(&mut self, from: CoreIndex, request: Box<SendRequest>) {
        if self.waits_for_change(&request) {
            return self.await_target(from, request, None);
        }
        let outboxes_max = self.config.limits.outboxes_max;
        let conv = self.convs.ready(request.conv);
        let numbered =
            conv.judge(request.sender, request.device, request.outbox, request.n, outboxes_max);
        let outcome = match numbered {
            Numbered::Next(_) | Numbered::First => {
                match (self.room_for(&request), self.judge_change(&request)) {
                    (Ok(()), Judged::Allowed) => {
                        return self.take(from, &request, numbered == Numbered::First);
                    }
                    (Ok(()), Judged::Unknown(target)) => {
                        return self.await_target(from, request, Some(target));
                    }
                    (_, Judged::Refused) => {
                        Outcome::Refused { code: RefusalCode::NotAllowed, retry_after_ms: 0 }
                    }
                    (Err(code), _) => {
                        let retry_after_ms = self.config.limits.retry_after_ms;
                        let outcome = Outcome::Refused { code, retry_after_ms };
                        // It says nothing of what the log holds, and a log that stands still may
                        // be its cause.
                        return self.answer(from, SendAnswer::to(&request, outcome));
                    }
                }
            }
            Numbered::Known => Outcome::Known,
            Numbered::OutOfOrder { next } => Outcome::OutOfOrder { next },
            Numbered::TooManyOutboxes => {
                Outcome::Refused { code: RefusalCode::OutboxLimit, retry_after_ms: 0 }
            }
        };
        let answer = SendAnswer::to(&request, outcome);
        self.gate.hold(self.log.end(), Gated::Answer { to: from, answer });
    }

    /// Refuses before sequencing, never after (R5): what a message owes has its own reserve.
    fn room_for(&self, request: &SendRequest) -> Result<(), RefusalCode> {
        let limits = &self.config.limits;
        let body = match &request.content {
            Content::Body(body) | Content::Change(_, body) => body.len() as u64,
            Content::Void(_) => 0,
        };
        if self.owed.len() >= limits.owed_max as usize {
            return Err(RefusalCode::RetryAfter);
        }
        self.record_room(body + RECORD_OVERHEAD)
    }

    /// Whether a record of this many bytes may come that owes nothing to what was taken before.
    pub(crate) fn record_room(&self, bytes: u64) -> Result<(), RefusalCode> {
        let limits = &self.config.limits;
        let reserve = limits.reserve_bytes.min(u64::from(limits.segment_bytes) / 4);
        if self.log.room_bytes() < bytes + reserve {
            let full = self.log.device_full();
            return Err(if full { RefusalCode::StorageFull } else { RefusalCode::RetryAfter });
        }
        if self.gate.stalled_us(self.now) >= limits.log_stall_ms * 1_000 {
            return Err(RefusalCode::RetryAfter);
        }
        let tail_max = limits.tail_bytes_max - limits.reserve_bytes;
        let tail_full = self.log.tail_bytes() + bytes > tail_max
            || self.flush.unflushed_records() >= limits.tail_records_max;
        if tail_full { Err(RefusalCode::RetryAfter) } else { Ok(()) }
    }

    /// The message takes its place: one record holds it, the outbox's next number, the entries of
    /// the participants who live here, and the fan-out that it owes to the one who does not.
    fn take(&mut self, from: CoreIndex, request: &SendRequest, first: bool) {
        let key = request.conv;
        let time_us = self.record_time_us();
        let conv_seq = self.convs.ready(key).recent.head() + 1;
        let (mut inbox, mut marks, mut hidden) = ([0; 2], [false; 2], [false; 2]);
        let (owner, change) = (key.owner(), change_of(&request.content));
        for (index, user) in key.participants().into_iter().enumerate() {
            // The guest's entry is part of this record if it lives here and has taken all before.
            marks[index] = user != owner
                && self.place.is_home(user)
                && self.members.ready((user, key)).taken == conv_seq - 1;
            let here = user == owner || marks[index];
            let is_void = matches!(request.content, Content::Void(_));
            hidden[index] =
                here && user != request.sender && !is_void && self.hides(user, key, change);
            if here && !hidden[index] && (user == request.sender || !is_void) {
                inbox[index] = self.users.ready(user).next_seq();
            }
        }
        let (body, void) = parts_of(&request.content);
        let record = MessageRecord {
            conv: key,
            conv_seq,
            time_us,
            sender: request.sender,
            outbox: request.outbox,
            new_outbox_of: first.then_some(request.device),
            n: request.n,
            void,
            inbox,
            marks,
            hidden,
            change,
            body,
        };
        let at = self.append_record(&Record::Message(record.clone()));
        let (start, end) = (self.log.start_of_tail(), self.log.end());
        let conv = self.convs.ready(key);
        conv.forget_before(start);
        conv.take(&record, at, end);
        let (mut inbox_seq_of_sender, mut owes) = (0, false);
        for (index, user) in key.participants().into_iter().enumerate() {
            if inbox[index] != 0 {
                self.users.ready(user).push(inbox[index], at, end);
                if user == request.sender {
                    inbox_seq_of_sender = inbox[index];
                }
            }
            if user == owner || marks[index] {
                let quiet = user == request.sender || void.is_some() || change.is_some();
                let member = self.members.ready((user, key));
                member.take(conv_seq, inbox[index], quiet, end);
                if hidden[index] {
                    member.hide(conv_seq, conv_seq);
                }
            } else {
                self.convs.ready(key).owed.push_back(Owed { seq: conv_seq, at, end });
                self.owed.insert(at);
                owes = true;
            }
        }
        let inbox_seq = if from == self.place.me { inbox_seq_of_sender } else { 0 };
        let answer = SendAnswer::to(request, Outcome::Taken { conv_seq, time_us, inbox_seq });
        self.too_early(from, &answer, inbox);
        self.gate.hold(end, Gated::Message { to: from, answer, inbox, owes });
        self.stats.messages += 1;
    }

    /// Planted bugs: what must wait for the message's record does not.
    fn too_early(&mut self, from: CoreIndex, answer: &SendAnswer, inbox: [Seq; 2]) {
        let Outcome::Taken { conv_seq, time_us, .. } = answer.outcome else { return };
        if active(Bug::SentBeforeDurable) {
            let outcome = Outcome::Taken { conv_seq, time_us, inbox_seq: 0 };
            self.answer(from, SendAnswer { outcome, ..answer.clone() });
        }
        if active(Bug::AppendBeforeDurable) && !self.convs.ready(answer.conv).owed.is_empty() {
            self.queue_fan_out(answer.conv);
        }
        if active(Bug::DeliverBeforeDurable) {
            for (index, user) in answer.conv.participants().into_iter().enumerate() {
                if inbox[index] != 0 {
                    self.users.ready(user).visible = inbox[index];
                    self.pump_user(user);
                }
            }
        }
    }

    /// The message's record is durable.
    pub(crate) fn message_durable(
        &mut self,
        to: CoreIndex,
        answer: SendAnswer,
        inbox: [Seq; 2],
        owes: bool,
    ) {
        let key = answer.conv;
        if !active(Bug::SentBeforeDurable) {
            self.answer(to, answer);
        }
        for (index, user) in key.participants().into_iter().enumerate() {
            if inbox[index] != 0 && !active(Bug::DeliverBeforeDurable) {
                self.users.ready(user).visible = inbox[index];
                self.pump_user(user);
            }
        }
        if owes {
            self.queue_fan_out(key);
        }
    }

    /// Sends an answer to where its session lives.
    pub(crate) fn answer(&mut self, to: CoreIndex, answer: SendAnswer) {
        if to == self.place.me {
            self.deliver_answer(answer);
        } else {
            let relay = Relay::SendAnswer(Box::new(answer));
            self.effects.push_back(Effect::Relay { to, relay });
        }
    }

    /// Time of a record, Unix microseconds: never goes back, whatever the clock does (R9).
    pub(crate) fn record_time_us(&mut self) -> u64 {
        self.time_us = self.now.unix_us.max(self.time_us + 1);
        self.time_us
    }
}
