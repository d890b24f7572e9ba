//! Receipts: the reader's home tells the peer's home how far the reader's devices are and what is
//! read. Owed like fan-outs: they rest on durable records, are sent until confirmed, and again
//! after a crash. What they tell is absolute, so one under way per conversation is enough, and a
//! later one covers what an earlier one told.

use crate::gate::Gated;
use crate::shard::Shard;
use crate::work::Retry;
use crate::{CoreIndex, Receipt, Relay};
use persistence::{ConvKey, PeerMarks, Position, Record, Row};
use wire::{Seq, UserId};

/// Bytes of a receipt's record, at most, with the padding of a group of its own.
const RECORD_BYTES: u64 = 512;

/// What a member owes to the peer's home.
#[derive(Default)]
pub(crate) struct Owing {
    /// First record that no receipt told of.
    pub next: Option<Position>,
    /// First record that the receipt under way tells of.
    sent: Option<Position>,
    /// End of the newest record to tell of.
    end: Position,
    /// Stands in its lane's queue.
    queued: bool,
    /// The peer's home took none: nothing is sent before the retry.
    pub waits: bool,
}

impl Owing {
    fn owes(&self) -> bool {
        self.next.is_some() || self.sent.is_some()
    }

    /// Nothing is owed or queued.
    pub fn is_empty(&self) -> bool {
        !self.owes() && !self.queued
    }
}

impl Shard {
    /// Records from `first` to `end` moved marks that the peer is to know, unless it is shut out.
    pub(crate) fn owe_receipt(
        &mut self,
        user: UserId,
        conv: ConvKey,
        first: Position,
        end: Position,
    ) {
        if self.hides(user, conv, None) {
            self.owed.remove(&first);
            return;
        }
        let member = self.members.ready((user, conv));
        let owing = &mut member.owing;
        self.owing_members += u32::from(!owing.owes());
        owing.end = owing.end.max(end);
        if owing.next.is_none() {
            owing.next = Some(first);
            self.owed.insert(first);
        }
    }

    /// Members that owe receipts stay in memory until the peer's home, which needs room for its
    /// own members, has taken them: so that two cores never wait for each other, they are few.
    pub(crate) fn may_owe(&mut self, key: (UserId, ConvKey)) -> bool {
        self.owing_members < (self.config.limits.members_max / 4).max(1)
            || self.members.ready(key).owing.owes()
    }

    /// Some of what a member owed is done with.
    fn owed_less(&mut self, user: UserId, conv: ConvKey, at: Option<Position>) {
        let Some(at) = at else { return };
        self.owed.remove(&at);
        let owes = self.members.ready((user, conv)).owing.owes();
        self.owing_members -= u32::from(!owes);
    }

    /// Lets the receipt that a member owes leave, once all that it tells is durable.
    pub(crate) fn queue_receipt(&mut self, user: UserId, conv: ConvKey) {
        let to = self.place.home(conv.peer_of(user));
        let durable = self.log.durable();
        let owing = &mut self.members.ready((user, conv)).owing;
        let may_leave = owing.next.is_some() && owing.sent.is_none() && owing.end <= durable;
        if !may_leave || owing.waits || std::mem::replace(&mut owing.queued, true) {
            return;
        }
        self.lanes[to as usize].receipts.push_back((user, conv));
        self.drain_lane(to);
    }

    /// Sends a receipt; the lane has a credit.
    pub(crate) fn send_receipt(&mut self, to: CoreIndex, user: UserId, conv: ConvKey) {
        let durable = self.log.durable();
        let member = self.members.ready((user, conv));
        member.owing.queued = false;
        if member.contact.blocked {
            let at = member.owing.next.take();
            return self.owed_less(user, conv, at);
        }
        if member.owing.end > durable {
            // A newer record will be durable soon, and lets the receipt leave then.
            return;
        }
        member.owing.sent = member.owing.next.take();
        let mut delivered: Vec<Seq> = member.delivered.iter().map(|(_, seq)| *seq).collect();
        delivered.sort_unstable_by(|a, b| b.cmp(a));
        let receipt = Receipt { reader: user, conv, read: member.read, delivered };
        self.request(to, Relay::Receipt(Box::new(receipt)));
    }

    /// The peer's home has the receipt, durably.
    pub(crate) fn receipt_taken(&mut self, reader: UserId, conv: ConvKey) {
        let Some(member) = self.members.get_mut((reader, conv)) else { return };
        let at = member.owing.sent.take();
        self.owed_less(reader, conv, at);
        self.queue_receipt(reader, conv);
    }

    /// The peer's home has no room at the moment.
    pub(crate) fn receipt_refused(&mut self, reader: UserId, conv: ConvKey) {
        let Some(member) = self.members.get_mut((reader, conv)) else { return };
        let owing = &mut member.owing;
        if let (Some(sent), Some(later)) = (owing.sent, owing.next) {
            assert!(sent < later, "a receipt tells of the oldest records");
            self.owed.remove(&later);
        }
        owing.next = owing.sent.take().or(owing.next);
        owing.waits = true;
        self.retry_later(Retry::Marks(reader, conv));
    }

    /// At the peer's home, with user and member loaded.
    pub(crate) fn take_receipt(&mut self, from: CoreIndex, receipt: &Receipt) {
        let Receipt { reader, conv, read, ref delivered } = *receipt;
        let user = conv.peer_of(reader);
        let member = self.members.ready((user, conv));
        let mut marks = member.peer.clone();
        marks.join(PeerMarks { read, delivered: delivered.clone() });
        if marks == member.peer {
            let gated = Gated::Receipt { from, reader, conv, inbox_seq: 0 };
            return self.gate.hold(self.log.end(), gated);
        }
        // The reserve is for this: sends stop long before (R5).
        if self.log.room_bytes() < RECORD_BYTES {
            return self.reply(from, Relay::ReceiptRefused { reader, conv });
        }
        let inbox_seq = self.users.ready(user).next_seq();
        let (read, delivered) = (marks.read, marks.delivered.clone());
        self.members.ready((user, conv)).peer = marks;
        let record = Record::Receipt { user, conv, read, delivered, inbox_seq };
        let at = self.append_record(&record);
        let end = self.log.end();
        self.members.ready((user, conv)).dirty_until = end;
        self.users.ready(user).push(inbox_seq, at, end);
        self.gate.hold(end, Gated::Receipt { from, reader, conv, inbox_seq });
    }

    /// The receipt's record is durable: confirm it, and show its entry.
    pub(crate) fn receipt_durable(
        &mut self,
        from: CoreIndex,
        reader: UserId,
        conv: ConvKey,
        inbox_seq: Seq,
    ) {
        self.reply(from, Relay::ReceiptTaken { reader, conv });
        if inbox_seq != 0 {
            let user = conv.peer_of(reader);
            self.users.ready(user).visible = inbox_seq;
            self.pump_user(user);
        }
    }
}
