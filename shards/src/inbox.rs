//! Fan-outs at a participant's home: taken in order, each once (R4).

use crate::gate::Gated;
use crate::relay::FanOut;
use crate::shard::Shard;
use crate::work::Work;
use crate::{CoreIndex, InboxAppend, Relay};
use persistence::{ConvKey, InboxKind, InboxRecord, Record};
use wire::planted::{Bug, active};
use wire::{Change, Seq, UserId};

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
        let hides = !active(Bug::BlockSecondDevice)
            && match &append.entry {
                FanOut::Peer(_) => self.hides(user, conv, None),
                FanOut::PeerChange(change, _) => self.hides(user, conv, Some(*change)),
                FanOut::Own { .. } | FanOut::Nothing => false,
            };
        let (kind, body) = match &append.entry {
            FanOut::Peer(_) | FanOut::PeerChange(..) if hides => (InboxKind::Hidden, 0),
            FanOut::Peer(body) => (InboxKind::Peer { body }, body.len()),
            &FanOut::PeerChange(change, ref body) => {
                (InboxKind::PeerChange { change, body }, body.len())
            }
            &FanOut::Own { outbox, n, void, change, hash } => {
                (InboxKind::Own { outbox, n, void, change, hash }, 0)
            }
            FanOut::Nothing => (InboxKind::Nothing, 0),
        };
        let has_entry = !matches!(kind, InboxKind::Hidden | InboxKind::Nothing);
        let quiet = !matches!(kind, InboxKind::Peer { .. });
        // The reserve is for this: sends stop long before (R5).
        if self.log.room_bytes() < body as u64 + 512 {
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
        member.take(append.conv_seq, inbox_seq, quiet, end);
        if hides {
            member.hide(append.conv_seq, append.conv_seq);
        }
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
        let upto = append.conv_seq;
        self.gate.hold(end, Gated::Append { from, user, conv, upto, inbox_seq });
    }

    /// Whether `user`, with user and member loaded, does not see what the peer sends: it blocked
    /// the peer, refuses strangers, or (in a change) does not see what is changed. The place is
    /// taken without an entry, and nobody is told (R4).
    pub(crate) fn hides(&mut self, user: UserId, conv: ConvKey, change: Option<Change>) -> bool {
        let member = self.members.ready((user, conv));
        let contact = &member.contact;
        contact.blocked
            || change.is_some_and(|change| member.is_hidden(change.target))
            || !contact.contact && self.users.ready(user).privacy.refuse_strangers
    }

    /// The fan-out's record is durable: confirm it, and show its entry.
    pub(crate) fn append_durable(
        &mut self,
        from: CoreIndex,
        user: UserId,
        conv: ConvKey,
        upto: Seq,
        inbox_seq: Seq,
    ) {
        if !active(Bug::ConfirmBeforeDurable) {
            self.reply(from, Relay::Confirm { user, conv, upto });
        }
        if inbox_seq != 0 && !active(Bug::DeliverBeforeDurable) {
            self.users.ready(user).visible = inbox_seq;
            self.pump_user(user);
        }
    }

    /// Counts a fan-out or receipt that must wait for loads. False: its lane has its quarter
    /// waiting already.
    pub(crate) fn count_parked(&mut self, work: &Work) -> bool {
        let (Work::Append { from, .. } | Work::Receipt { from, .. }) = work else { return true };
        let lane = &mut self.lanes[*from as usize];
        if lane.parked >= (self.config.limits.lane_credits / 4).max(1) {
            return false;
        }
        lane.parked += 1;
        true
    }

    /// It waits no longer.
    pub(crate) fn unparked(&mut self, work: &Work) {
        if let Work::Append { from, .. } | Work::Receipt { from, .. } = work {
            self.lanes[*from as usize].parked -= 1;
        }
    }
}
