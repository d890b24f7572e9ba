//! What a message owes to the participant whose home is elsewhere: sent in order until confirmed.

use crate::conversation::Owed;
use crate::relay::FanOut;
use crate::shard::Shard;
use crate::work::{Retry, Work};
use crate::{CoreIndex, Effect, InboxAppend, Relay};
use bytes::Bytes;
use persistence::{ConvKey, MessageRecord, Record};
use wire::planted::{Bug, active};
use wire::{Seq, UserId};

impl Shard {
    /// The guest's home.
    fn guest_home(&self, conv: ConvKey) -> (UserId, CoreIndex) {
        let guest = conv.peer_of(conv.owner());
        (guest, self.place.home(guest))
    }

    /// The conversation has something to send to its guest.
    pub(crate) fn queue_fan_out(&mut self, key: ConvKey) {
        let (_, to) = self.guest_home(key);
        let conv = self.convs.ready(key);
        if conv.waits || std::mem::replace(&mut conv.queued, true) {
            return;
        }
        self.lanes[to as usize].fan_outs.push_back(key);
        self.drain_lane(to);
    }

    /// Sends what waits for this lane, as far as credits go: fan-outs first, since messages that
    /// have their place must not wait behind ones that have not.
    pub(crate) fn drain_lane(&mut self, to: CoreIndex) {
        while self.lanes[to as usize].credits > 0 {
            if let Some(key) = self.lanes[to as usize].fan_outs.pop_front() {
                self.send_fan_out(to, key);
            } else if let Some((user, conv)) = self.lanes[to as usize].receipts.pop_front() {
                self.send_receipt(to, user, conv);
            } else if let Some(conn) = self.lanes[to as usize].hand_offs.pop_front() {
                self.hand_off(conn);
            } else if let Some(request) = self.lanes[to as usize].sends.pop_front() {
                self.request(to, Relay::Send(request));
            } else if self.lanes[to as usize].pages_out < self.config.limits.pages_max
                && let Some(request) = self.lanes[to as usize].pages.pop_front()
            {
                self.send_page(to, request);
            } else {
                break;
            }
        }
        let lane = &mut self.lanes[to as usize];
        let blocked = !lane.open();
        match (std::mem::replace(&mut lane.blocked, blocked), blocked) {
            (false, true) => self.lanes_blocked += 1,
            (true, false) => self.lanes_blocked -= 1,
            _ => {}
        }
    }

    /// Sends the conversation's next fan-out; it stays in the queue while there are more.
    fn send_fan_out(&mut self, to: CoreIndex, key: ConvKey) {
        let early = active(Bug::AppendBeforeDurable);
        let durable = if early { self.log.end() } else { self.log.durable() };
        let conv = self.convs.ready(key);
        let Some(owed) = conv.next_fan_out(durable).filter(|_| !conv.waits) else {
            conv.queued = false;
            return;
        };
        conv.sent = owed.seq;
        let guest = key.peer_of(key.owner());
        let Record::Message(record) = self.log.read(owed.at) else {
            unreachable!("a message stands there")
        };
        let append = Box::new(fan_out(guest, &record));
        self.lanes[to as usize].fan_outs.push_back(key);
        self.request(to, Relay::InboxAppend(append));
    }

    /// Sends a request, which costs a credit.
    pub(crate) fn request(&mut self, to: CoreIndex, relay: Relay) {
        let lane = &mut self.lanes[to as usize];
        lane.credits = lane.credits.checked_sub(1).expect("checked by the caller");
        if to == self.place.me {
            self.loopback.push_back((to, relay));
        } else {
            self.effects.push_back(Effect::Relay { to, relay });
        }
    }

    /// Sends a reply, which always has room.
    pub(crate) fn reply(&mut self, to: CoreIndex, relay: Relay) {
        if to == self.place.me {
            self.loopback.push_back((to, relay));
        } else {
            self.effects.push_back(Effect::Relay { to, relay });
        }
    }

    /// A request to `from` was answered.
    pub(crate) fn credit_back(&mut self, from: CoreIndex) {
        let lane = &mut self.lanes[from as usize];
        lane.credits += 1;
        assert!(lane.credits <= self.config.limits.lane_credits, "one reply per request");
        self.drain_lane(from);
    }

    /// The guest's home has everything up to `upto`, durably.
    pub(crate) fn confirmed(&mut self, key: ConvKey, upto: Seq) {
        let Some(conv) = self.convs.get_mut(key) else { return };
        while let Some(&Owed { seq, at, .. }) = conv.owed.front() {
            if seq > upto {
                break;
            }
            conv.owed.pop_front();
            self.owed.remove(&at);
        }
        conv.sent = conv.sent.max(upto);
    }

    /// The guest's home takes only `next`: goes back to it.
    pub(crate) fn expected(&mut self, key: ConvKey, next: Seq) {
        let Some(conv) = self.convs.get_mut(key) else { return };
        if let Some(front) = conv.owed.front() {
            assert!(
                front.seq <= next || next > conv.sent,
                "a confirmed fan-out is asked for again"
            );
            conv.sent = conv.sent.min(next - 1);
        }
        self.wait_for_retry(key);
    }

    /// The guest's home has no room at the moment.
    pub(crate) fn busy(&mut self, key: ConvKey) {
        let Some(conv) = self.convs.get_mut(key) else { return };
        if let Some(front) = conv.owed.front() {
            conv.sent = conv.sent.min(front.seq - 1);
        }
        self.wait_for_retry(key);
    }

    /// Nothing leaves before the retry: sent again at once, it would be refused again, and a core
    /// that is its own guest would do nothing else.
    fn wait_for_retry(&mut self, key: ConvKey) {
        if !std::mem::replace(&mut self.convs.ready(key).waits, true) {
            self.retry_later(Retry::FanOut(key));
        }
    }

    /// Tries again after a while.
    pub(crate) fn retry_later(&mut self, retry: Retry) {
        let due_us = self.now.mono_us + self.config.limits.retry_after_ms * 1_000;
        self.retries.push_back((due_us, retry));
    }

    /// What waited for another try, and does no longer.
    pub(crate) fn retry(&mut self) {
        while let Some(&(due_us, retry)) = self.retries.front() {
            if due_us > self.now.mono_us {
                return;
            }
            self.retries.pop_front();
            match retry {
                Retry::FanOut(key) => self.retry_fan_outs(key),
                Retry::Marks(user, conv) => {
                    if let Some(member) = self.members.get_mut((user, conv)) {
                        member.owing.waits = false;
                    }
                    self.work(Work::Marks(user, conv));
                }
                Retry::Gap => self.scan_gap(),
            }
        }
    }

    fn retry_fan_outs(&mut self, key: ConvKey) {
        match self.convs.get_mut(key) {
            Some(conv) => {
                conv.waits = false;
                self.owe_recovered(key);
            }
            None => self.work(Work::Recover(key)),
        }
    }

    /// A conversation is loaded: what it owes since an earlier start is known, and leaves.
    pub(crate) fn owe_recovered(&mut self, key: ConvKey) {
        self.recovered.owed_known(key);
        if !self.convs.ready(key).owed.is_empty() {
            self.queue_fan_out(key);
        }
    }
}

/// What the guest's home needs of a message.
fn fan_out(guest: UserId, record: &MessageRecord<'_>) -> InboxAppend {
    let own = record.sender == guest;
    let body = || Bytes::copy_from_slice(record.body);
    let entry = match (record.void, record.change) {
        (None, None) if !own => FanOut::Peer(body()),
        (None, Some(change)) if !own => FanOut::PeerChange(change, body()),
        (Some(_), _) if !own => FanOut::Nothing,
        (void, change) => FanOut::Own {
            outbox: record.outbox,
            n: record.n,
            void: void.is_some(),
            change,
            hash: void.unwrap_or_else(|| wire::content_hash(record.body, change)),
        },
    };
    InboxAppend {
        user: guest,
        conv: record.conv,
        conv_seq: record.conv_seq,
        time_us: record.time_us,
        entry,
    }
}
