//! A conversation at its owner: the next place, the outboxes' next numbers, the fan-outs owed.

use crate::change::Targets;
use crate::recent::Recent;
use crate::table::Entity;
use persistence::{ConvState, MessageRecord, OutboxState, Position};
use std::collections::VecDeque;
use wire::planted::{Bug, active};
use wire::{Change, DeviceId, OutboxId, Seq, UserId};

/// A conversation in memory.
pub(crate) struct Conversation {
    /// The newest place given out, and log positions of the newest messages.
    pub recent: Recent,
    /// Changes of earlier messages among those, by their own place, lowest first.
    pub changes: VecDeque<(Seq, Change)>,
    /// Time of the newest message, Unix microseconds.
    pub time_us: u64,
    pub outboxes: Vec<OutboxState>,
    /// End of the newest record about it.
    pub dirty_until: Position,
    /// Fan-outs to the participant whose home is not the owner, unconfirmed, lowest place first.
    pub owed: VecDeque<Owed>,
    /// Highest owed place that was sent and not refused.
    pub sent: Seq,
    /// Stands in its lane's queue of fan-outs.
    pub queued: bool,
    /// Sends that wait for what they change.
    pub targets: Targets,
    /// The guest's home took none: nothing is sent before the retry.
    pub waits: bool,
}

/// One unconfirmed fan-out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub seq: Seq,
    pub at: Position,
    pub end: Position,
}

/// What a number is to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// The next one, of an outbox that the conversation knows, at this index …
    Next(usize),
    /// … or of a new one.
    First,
    Known,
    OutOfOrder {
        next: Seq,
    },
    TooManyOutboxes,
}

impl Conversation {
    pub fn new(mut state: ConvState) -> Conversation {
        if active(Bug::NextForgotten) {
            state.outboxes.iter_mut().for_each(|o| o.next = (o.next - 1).max(1));
        }
        Conversation {
            recent: Recent::new(state.head),
            changes: VecDeque::new(),
            time_us: state.time_us,
            outboxes: state.outboxes,
            dirty_until: Position(0),
            owed: VecDeque::new(),
            sent: 0,
            queued: false,
            targets: Targets::default(),
            waits: false,
        }
    }

    /// Judges a send's number. Outboxes are never forgotten, so a number is never taken twice.
    pub fn judge(
        &self,
        user: UserId,
        device: DeviceId,
        outbox: OutboxId,
        n: Seq,
        outboxes_max: u32,
    ) -> Numbered {
        match self.outboxes.iter().position(|o| o.user == user && o.outbox == outbox) {
            Some(index) => match n.cmp(&self.outboxes[index].next) {
                std::cmp::Ordering::Less => Numbered::Known,
                std::cmp::Ordering::Equal => Numbered::Next(index),
                std::cmp::Ordering::Greater if active(Bug::HolesAccepted) => Numbered::Next(index),
                std::cmp::Ordering::Greater => {
                    Numbered::OutOfOrder { next: self.outboxes[index].next }
                }
            },
            None if n != 1 && !active(Bug::HolesAccepted) => Numbered::OutOfOrder { next: 1 },
            None => {
                let of_device = |o: &&OutboxState| o.user == user && o.device == device;
                let count = self.outboxes.iter().filter(of_device).count();
                let full = count >= outboxes_max as usize;
                if full { Numbered::TooManyOutboxes } else { Numbered::First }
            }
        }
    }

    /// A message got its place, in the record at `at`.
    pub fn take(&mut self, record: &MessageRecord<'_>, at: Position, end: Position) {
        self.recent.push(record.conv_seq, at);
        self.apply(record, end);
    }

    /// Forgets what the log has let go of; the store has it.
    pub fn forget_before(&mut self, start: Position) {
        self.recent.forget_before(start);
        let first = self.recent.first();
        while self.changes.front().is_some_and(|&(by, _)| by < first) {
            self.changes.pop_front();
        }
    }

    /// What a record says beside its place, which may be known already.
    pub fn apply(&mut self, record: &MessageRecord<'_>, end: Position) {
        self.dirty_until = end;
        self.time_us = self.time_us.max(record.time_us);
        if let Some(change) = record.change
            && record.conv_seq >= self.recent.first()
        {
            self.changes.push_back((record.conv_seq, change));
        }
        let of_record = |o: &&mut OutboxState| o.user == record.sender && o.outbox == record.outbox;
        let next = record.n + u64::from(record.void.is_none() || !active(Bug::VoidKeepsNext));
        match (self.outboxes.iter_mut().find(of_record), record.new_outbox_of) {
            (Some(outbox), _) => outbox.next = outbox.next.max(next),
            (None, Some(device)) => self.outboxes.push(OutboxState {
                user: record.sender,
                device,
                outbox: record.outbox,
                next,
            }),
            (None, None) => panic!("{:?} uses an outbox that nothing introduced", record.conv),
        }
    }

    /// The first owed fan-out that is durable and not sent.
    pub fn next_fan_out(&self, durable: Position) -> Option<Owed> {
        let index = self.owed.partition_point(|owed| owed.seq <= self.sent);
        self.owed.get(index).copied().filter(|owed| owed.end <= durable)
    }
}

impl Entity for Conversation {
    fn clean(&self, flushed: Position) -> bool {
        self.dirty_until <= flushed
            && self.owed.is_empty()
            && !self.queued
            && self.targets.is_empty()
    }
}
