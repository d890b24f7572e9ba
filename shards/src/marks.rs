//! How far a user's devices are, and what the user has read: gathered for a window, then logged,
//! each conversation once. Receipts tell the peer (`receipts.rs`).
//!
//! A device's cursor is logged behind the marks that its ACKs moved: what a crash takes away of
//! them, the device's next HELLO brings back (R13).

use crate::gate::Gated;
use crate::loads::Pending;
use crate::session::{Session, Telling, entries};
use crate::shard::Shard;
use crate::table::Map;
use crate::work::{Retry, Work};
use crate::{Ask, ConnId};
use persistence::{ConvKey, Position, Record, Scan, Scanned};
use std::collections::VecDeque;
use wire::planted::{Bug, active};
use wire::{CloseCode, Conv, DeviceId, Seq, UserId};

/// Sessions that one turn looks at, and conversations whose marks it logs: some 100 µs.
const MARKS_PER_TURN: usize = 256;
/// A session with so many places to report does not wait longer.
const PLACES_MAX: usize = 32;
/// Bytes of a mark's record, at most, with its share of a group.
const RECORD_BYTES: u64 = 256;

/// Marks that moved and are not in the log.
#[derive(Default)]
pub(crate) struct Marks {
    moved: Map<(UserId, ConvKey), Moved>,
    /// Those of `moved` that nothing else waits for.
    queue: VecDeque<(UserId, ConvKey)>,
    /// Sessions with acked places.
    sessions: VecDeque<ConnId>,
    /// End of the window, on the monotonic clock.
    due_us: Option<u64>,
    /// Sessions that told of some lately, and when it is their turn again.
    later: VecDeque<(u64, ConnId)>,
    /// What devices acked of an earlier life of this server.
    gaps: VecDeque<Gap>,
}

/// What moved in one conversation.
#[derive(Default)]
struct Moved {
    read: Seq,
    delivered: Vec<(DeviceId, Seq)>,
}

/// Inbox entries of a device in (`after`, `upto`] whose places are to be reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    user: UserId,
    device: DeviceId,
    after: Seq,
    upto: Seq,
}

impl Marks {
    /// Conversations with marks that are not in the log.
    pub fn len(&self) -> usize {
        self.moved.len()
    }

    /// End of the window: what moved is logged then.
    pub fn due_us(&self) -> Option<u64> {
        self.due_us
    }

    /// When there is something to do.
    pub fn deadline_us(&self) -> Option<u64> {
        let later = self.later.front().map(|(due_us, _)| *due_us);
        self.due_us.into_iter().chain(later).min()
    }

    /// A session reports the places that its device acked, at the end of the window.
    fn session_tells(&mut self, conn: ConnId, due_us: u64) {
        self.sessions.push_back(conn);
        self.due_us.get_or_insert(due_us);
    }
}

impl Shard {
    fn marks_due_us(&self) -> u64 {
        self.now.mono_us + self.config.limits.receipt_ms * 1_000
    }

    /// READ: everything up to here is read.
    pub(crate) fn read(&mut self, conn: ConnId, read: wire::Read) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let (user, Conv::Direct(peer)) = (session.user, read.conv);
        let Some(conv) = UserId::new(peer).and_then(|peer| ConvKey::new(user, peer)) else {
            return self.close(conn, CloseCode::Malformed, "READ names no conversation");
        };
        let moved = self.moved((user, conv));
        moved.read = match active(Bug::ReadMarkBack) {
            true => read.conv_seq,
            false => moved.read.max(read.conv_seq),
        };
    }

    /// The device has committed what was sent to it, and its places do not wait for the window.
    /// After a quiet time they are reported with the next one; in a lively one, some together.
    pub(crate) fn places_acked(&mut self, conn: ConnId) {
        let (now_us, due_us) = (self.now.mono_us, self.marks_due_us());
        let rest_us = self.config.limits.receipt_rest_ms * 1_000;
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        if now_us >= session.told_us + rest_us || session.places.len() >= PLACES_MAX {
            session.telling = Telling::Soon;
            self.marks.session_tells(conn, due_us);
        } else if session.telling == Telling::Nothing {
            session.telling = Telling::Later;
            self.marks.later.push_back((now_us + rest_us, conn));
        }
    }

    /// Sessions whose turn it is again report with the next window.
    fn tell_later(&mut self) {
        let (now_us, window_us) = (self.now.mono_us, self.marks_due_us());
        while self.marks.later.front().is_some_and(|(due_us, _)| *due_us <= now_us) {
            let Some((_, conn)) = self.marks.later.pop_front() else { return };
            let Some(session) = self.sessions.get(conn).and_then(Session::attached) else {
                continue;
            };
            if session.telling == Telling::Later {
                session.telling = Telling::Soon;
                self.marks.session_tells(conn, window_us);
            }
        }
    }

    /// Up to which entry the places of a session's device are reported.
    pub(crate) fn told(&mut self, conn: ConnId) -> Option<Seq> {
        let session = self.sessions.get(conn).and_then(Session::attached)?;
        (session.telling != Telling::Nothing).then_some(session.told)
    }

    /// Takes over the places that a session's device acked.
    pub(crate) fn collect_places(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let (user, device) = (session.user, session.device);
        session.telling = Telling::Nothing;
        (session.told_us, session.told) = (self.now.mono_us, session.acked);
        for (peer, seq) in std::mem::take(&mut session.places) {
            self.delivered(user, device, peer, seq);
        }
    }

    fn delivered(&mut self, user: UserId, device: DeviceId, peer: UserId, seq: Seq) {
        let conv = ConvKey::new(user, peer).expect("an entry of a conversation");
        let moved = self.moved((user, conv));
        match moved.delivered.iter_mut().find(|(id, _)| *id == device) {
            Some((_, mark)) => *mark = seq.max(*mark),
            None => moved.delivered.push((device, seq)),
        }
    }

    fn moved(&mut self, key: (UserId, ConvKey)) -> &mut Moved {
        let due_us = self.marks_due_us();
        let (marks, users) = (&mut self.marks, &mut self.users);
        marks.moved.entry(key).or_insert_with(|| {
            users.ready(key.0).marks += 1;
            marks.queue.push_back(key);
            marks.due_us.get_or_insert(due_us);
            Moved::default()
        })
    }

    /// The window is over: logs what moved.
    pub(crate) fn log_marks(&mut self) {
        self.tell_later();
        if self.marks.due_us.is_none_or(|due_us| due_us > self.now.mono_us) {
            return;
        }
        for _ in 0..MARKS_PER_TURN {
            let Some(conn) = self.marks.sessions.pop_front() else { break };
            self.collect_places(conn);
        }
        for _ in 0..MARKS_PER_TURN {
            let Some((user, conv)) = self.marks.queue.pop_front() else { break };
            self.work(Work::Marks(user, conv));
        }
        let done = self.marks.queue.is_empty() && self.marks.sessions.is_empty();
        self.marks.due_us = (!done).then_some(self.now.mono_us);
    }

    /// No room, or no answer of the store: again after a while.
    pub(crate) fn marks_later(&mut self, user: UserId, conv: ConvKey) {
        self.retry_later(Retry::Marks(user, conv));
    }

    /// User and member are loaded: logs the conversation's marks, which owe a receipt.
    pub(crate) fn log_marks_of(&mut self, user: UserId, conv: ConvKey) {
        let key = (user, conv);
        let moved = self.marks.moved.get(&key);
        let records = moved.map_or(0, |moved| 1 + moved.delivered.len() as u64);
        let room = self.log.room_bytes() >= self.reserve(8).max(records * RECORD_BYTES);
        let owes = records > 0 || self.recovered.owes_receipt(key);
        if owes && (!room || !self.may_owe(key)) {
            return self.marks_later(user, conv);
        }
        if let Some(at) = self.recovered.take_receipt(key) {
            self.owe_receipt(user, conv, at, Position(0));
        }
        let Some(moved) = self.marks.moved.remove(&key) else {
            return self.queue_receipt(user, conv);
        };
        self.users.ready(user).marks -= 1;
        let mut first = None;
        for (device, upto) in moved.delivered {
            let member = self.members.ready(key);
            let upto = upto.min(member.taken);
            if upto > member.delivered_to(device) {
                member.deliver(device, upto);
                let at = self.append_record(&Record::Delivered { user, conv, device, upto });
                first.get_or_insert(at);
            }
        }
        let inbox_seq = self.log_read(user, conv, moved.read, &mut first);
        if let Some(first) = first {
            let end = self.log.end();
            self.members.ready(key).dirty_until = end;
            self.owe_receipt(user, conv, first, end);
            self.gate.hold(end, Gated::Marks { user, conv, inbox_seq });
        }
    }

    /// Logs a read mark, which is no higher than what the home has, and never goes back. Returns
    /// the number of its entry, or 0 if it did not move.
    fn log_read(
        &mut self,
        user: UserId,
        conv: ConvKey,
        read: Seq,
        first: &mut Option<Position>,
    ) -> Seq {
        let member = self.members.ready((user, conv));
        let upto = read.min(member.taken);
        let back = active(Bug::ReadMarkBack) && upto != 0 && upto != member.read;
        if upto <= member.read && !back {
            return 0;
        }
        member.read = upto;
        let inbox_seq = self.users.ready(user).next_seq();
        let at = self.append_record(&Record::Read { user, conv, upto, inbox_seq });
        let end = self.log.end();
        self.users.ready(user).push(inbox_seq, at, end);
        first.get_or_insert(at);
        inbox_seq
    }

    /// The marks' records are durable: the own devices learn a read mark, the peer a receipt.
    pub(crate) fn marks_durable(&mut self, user: UserId, conv: ConvKey, inbox_seq: Seq) {
        if inbox_seq != 0 {
            self.users.ready(user).visible = inbox_seq;
            self.pump_user(user);
        }
        self.queue_receipt(user, conv);
    }

    /// A device comes back and has more than this server knows: it acked that to an earlier life
    /// of it. Cursors of the user wait until its places are reported.
    pub(crate) fn acked_before(&mut self, user: UserId, device: DeviceId, after: Seq, upto: Seq) {
        if after >= upto {
            return;
        }
        let of_user = self.users.ready(user);
        of_user.marks += 1;
        let known = of_user.device_mut(device).expect("it attaches");
        if known.acked == known.logged {
            self.cursors.push((user, device));
        }
        known.acked = upto;
        self.report_gap(Gap { user, device, after, upto });
    }

    /// Reports what the log has; what only the store has is asked for.
    fn report_gap(&mut self, mut gap: Gap) {
        self.users.ready(gap.user).recent.forget_before(self.log.start_of_tail());
        while gap.after < gap.upto {
            let Some(at) = self.users.ready(gap.user).recent.position(gap.after + 1) else {
                break;
            };
            let record = self.log.read(at);
            let place = entries::peer_place(&entries::logged(&record, gap.user));
            gap.after += 1;
            if let Some((peer, seq)) = place {
                self.delivered(gap.user, gap.device, peer, seq);
            }
        }
        if gap.after >= gap.upto {
            self.users.ready(gap.user).marks -= 1;
            return;
        }
        self.marks.gaps.push_back(gap);
        if self.marks.gaps.len() == 1 {
            self.scan_gap();
        }
    }

    /// Reads the first gap, one at a time.
    pub(crate) fn scan_gap(&mut self) {
        let Some(&gap) = self.marks.gaps.front() else { return };
        let recent = &mut self.users.ready(gap.user).recent;
        recent.forget_before(self.log.start_of_tail());
        let first = recent.first();
        let scan = Scan {
            user: gap.user,
            after: gap.after,
            upto: gap.upto.min(first - 1),
            entries_max: self.config.limits.scan_entries,
            bytes_max: self.config.limits.scan_bytes,
        };
        self.ask(Ask::Scan(scan), Pending::Gap);
    }

    /// The store answered, or (`None`) did not.
    pub(crate) fn gap_scanned(&mut self, scanned: Option<Scanned>) {
        let Some(scanned) = scanned else { return self.retry_later(Retry::Gap) };
        let mut gap = self.marks.gaps.pop_front().expect("one was asked for");
        for entry in &scanned.entries {
            if let Some((peer, seq)) = entries::peer_place(&entries::stored(entry, gap.user)) {
                self.delivered(gap.user, gap.device, peer, seq);
            }
        }
        // Entries that the store no longer has are trimmed: every device has passed them.
        gap.after = scanned.covered.max(gap.after + 1);
        let others = !self.marks.gaps.is_empty();
        self.report_gap(gap);
        if others {
            self.scan_gap();
        }
    }
}
