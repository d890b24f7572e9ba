//! Fan-outs at a participant's home: taken in order, each once (R4).

use crate::gate::Gated;
use crate::relay::FanOut;
use crate::shard::Shard;
use crate::work::Work;
use crate::{CoreIndex, InboxAppend, Relay};
use persistence::{InboxKind, InboxRecord, Position, Record};
use wire::planted::{Bug, active};

impl Shard {
    /// A fan-out, with its user and member loaded.
    pub(crate) fn append(&mut self, from: CoreIndex, append: &InboxAppend) {
        let (user, conv) = (append.user, append.conv);
        let mark = self.members.ready((user, conv)).taken;
        if append.conv_seq <= mark {
            let gated = Gated::Confirm { from, user, conv, upto: mark };
            return self.gate.hold(self.log.end(), gated);
        }
        if append.conv_seq > mark + 1 && !active(Bug::HigherPlaceTaken) {
            return self.reply(from, Relay::Expect { user, conv, next: mark + 1 });
        }
        let (kind, has_entry) = match &append.entry {
            FanOut::Peer(body) => (InboxKind::Peer { body }, true),
            FanOut::Own { outbox, n, void, hash } => {
                let (outbox, n, void, change, hash) = (*outbox, *n, *void, None, *hash);
                (InboxKind::Own { outbox, n, void, change, hash }, true)
            }
            FanOut::Nothing => (InboxKind::Nothing, false),
        };
        let is_peer = matches!(append.entry, FanOut::Peer(_));
        let body = if let FanOut::Peer(body) = &append.entry { body.len() as u64 } else { 0 };
        // The reserve is for this: sends stop long before (R5).
        if self.log.room_bytes() < body + 512 {
            return self.reply(from, Relay::Busy { user, conv });
        }
        let inbox_seq = if has_entry { self.users.ready(user).next_seq() } else { 0 };
        let record = Record::Inbox(InboxRecord {
            user,
            inbox_seq,
            conv,
            conv_seq: append.conv_seq,
            time_us: append.time_us,
            kind,
        });
        let at = self.append_record(&record);
        let end = self.log.end();
        let member = self.members.ready((user, conv));
        member.take(append.conv_seq, inbox_seq, !is_peer, end);
        if has_entry {
            self.users.ready(user).push(inbox_seq, at, end);
        }
        if active(Bug::ConfirmBeforeDurable) {
            self.reply(from, Relay::Confirm { user, conv, upto: append.conv_seq });
        }
        if active(Bug::DeliverBeforeDurable) && has_entry {
            self.users.ready(user).visible = inbox_seq;
            self.pump_user(user);
        }
        self.gate.hold(end, Gated::Append { at, from });
    }

    /// The fan-out's record is durable: confirm it, and show its entry.
    pub(crate) fn append_durable(&mut self, at: Position, from: CoreIndex) {
        let Record::Inbox(record) = self.log.read(at) else {
            unreachable!("a fan-out stands there")
        };
        let (user, conv, inbox_seq) = (record.user, record.conv, record.inbox_seq);
        let upto = record.conv_seq;
        if !active(Bug::ConfirmBeforeDurable) {
            self.reply(from, Relay::Confirm { user, conv, upto });
        }
        if inbox_seq != 0 && !active(Bug::DeliverBeforeDurable) {
            self.users.ready(user).visible = inbox_seq;
            self.pump_user(user);
        }
    }

    /// Counts a fan-out that must wait for loads. False: its lane has its quarter waiting already.
    pub(crate) fn count_parked(&mut self, work: &Work) -> bool {
        let Work::Append { from, .. } = work else { return true };
        let lane = &mut self.lanes[*from as usize];
        if lane.parked >= (self.config.limits.lane_credits / 4).max(1) {
            return false;
        }
        lane.parked += 1;
        true
    }

    /// It waits no longer.
    pub(crate) fn unparked(&mut self, work: &Work) {
        if let Work::Append { from, .. } = work {
            self.lanes[*from as usize].parked -= 1;
        }
    }
}
