//! A session's stream: inbox entries while there is credit and room, from the log or the store.
//!
//! What only the store has is read ahead while the client works off its window, for a bounded
//! number of sessions; the others read as much as their credit allows. Scans under way are few,
//! so that a crowd that comes back after an outage takes turns.

use super::{Attached, Session};
use crate::loads::Pending;
use crate::shard::Shard;
use crate::{Ask, ConnId};
use persistence::{Entry, Scan, Scanned};
use std::collections::VecDeque;
use wire::{CaughtUp, CloseCode, Seq, ServerFrame, UserId};

/// A session that was not heard from for this long holds nothing that is read ahead, if another
/// one wants to.
const STALLED_US: u64 = 1_000_000;

/// Scans of a core's sessions.
#[derive(Default)]
pub(crate) struct Scans {
    /// With the backend.
    under_way: u32,
    /// Sessions that wait for their turn, in order.
    waiting: VecDeque<ConnId>,
    /// Sessions that may read ahead.
    ahead: VecDeque<ConnId>,
}

impl Shard {
    /// New entries of a user are durable: every attached device gets them.
    pub(crate) fn pump_user(&mut self, id: UserId) {
        let count = self.users.ready(id).devices.len();
        for index in 0..count {
            if let Some(conn) = self.users.ready(id).devices[index].session {
                self.pump(conn);
            }
        }
    }

    /// Puts inbox entries into the session's output while it has credit and room.
    pub(crate) fn pump(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let (frames, bytes) = (limits.window_frames, limits.window_bytes);
        let output_max = limits.output_bytes_max as usize;
        loop {
            let Some(session) = self.sessions.get(conn) else { return };
            let room = session.out.len() < output_max;
            let Some(attached) = session.attached() else { return };
            let user = self.users.ready(attached.user);
            user.recent.forget_before(self.log.start_of_tail());
            if attached.sent >= user.visible {
                attached.ahead = Ahead::default();
                if !std::mem::replace(&mut attached.caught_up, true) {
                    let head = user.visible;
                    self.send(conn, &ServerFrame::CaughtUp(CaughtUp { head }));
                }
                return;
            }
            if !room || !attached.has_credit(frames, bytes) {
                return self.read_on(conn);
            }
            let id = attached.user;
            if let Some(entry) = attached.ahead.pop_front() {
                assert_eq!(entry.inbox_seq, attached.sent + 1, "read ahead without a hole");
                self.send_stored(conn, id, &entry);
                continue;
            }
            match user.recent.position(attached.sent + 1) {
                Some(at) => self.send_logged(conn, id, at),
                None => return self.read_on(conn),
            }
        }
    }

    /// Lets the session wait for a scan, if there is something to read and to do with it.
    fn read_on(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let enough = limits.scan_entries as usize / 2;
        let (frames, bytes) = (limits.window_frames, limits.window_bytes);
        let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let user = self.users.ready(attached.user);
        let all_read = attached.read_upto() >= user.visible.min(user.recent.first() - 1);
        if attached.scanning != Scanning::No || all_read || attached.ahead.len() > enough {
            return;
        }
        let starves = attached.ahead.is_empty() && attached.has_credit(frames, bytes);
        if starves || self.may_read_ahead(conn) {
            let attached = self.sessions.get(conn).and_then(Session::attached).expect("as above");
            attached.scanning = Scanning::Waits;
            self.scans.waiting.push_back(conn);
            self.scan_next();
        }
    }

    /// Whether the session is among those that read ahead, or becomes one of them.
    fn may_read_ahead(&mut self, conn: ConnId) -> bool {
        if self.scans.ahead.contains(&conn) {
            return true;
        }
        if self.scans.ahead.len() >= self.config.limits.read_ahead_max as usize {
            let Some(oldest) = self.scans.ahead.pop_front() else { return false };
            let heard_us = self.idle_deadline_us() - STALLED_US;
            let session = self.sessions.get(oldest).filter(|s| s.deadline_us >= heard_us);
            if session.is_some_and(|s| s.attached().is_some_and(|a| !a.caught_up)) {
                self.scans.ahead.push_back(oldest);
                return false;
            }
            if let Some(stalled) = self.sessions.get(oldest).and_then(Session::attached) {
                stalled.ahead = Ahead::default();
            }
        }
        self.scans.ahead.push_back(conn);
        true
    }

    /// Asks the store for the sessions whose turn it is.
    fn scan_next(&mut self) {
        while self.scans.under_way < self.config.limits.scans_max {
            let Some(conn) = self.scans.waiting.pop_front() else { return };
            let limits = &self.config.limits;
            let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else {
                continue;
            };
            let credit = limits.window_frames - attached.in_flight.len() as u32;
            let entries_max = match self.scans.ahead.contains(&conn) {
                true => limits.scan_entries,
                false => limits.scan_entries.min(credit.max(1)),
            };
            let after = attached.read_upto();
            attached.scanning = Scanning::After(after);
            let user = self.users.ready(attached.user);
            let scan = Scan {
                user: attached.user,
                after,
                upto: user.visible.min(user.recent.first() - 1),
                entries_max,
                bytes_max: limits.scan_bytes,
            };
            self.scans.under_way += 1;
            self.ask(Ask::Scan(scan), Pending::Scan(conn));
        }
    }

    /// A scan ended, with an answer or without.
    fn scan_ended(&mut self) {
        self.scans.under_way = self.scans.under_way.saturating_sub(1);
        self.scan_next();
    }

    /// The store answered a scan.
    pub(crate) fn scanned(&mut self, conn: ConnId, scanned: Scanned) {
        self.scan_ended();
        let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let before = attached.read_upto();
        // What was read ahead may have been dropped meanwhile; then it is read again.
        let fits = attached.scanning == Scanning::After(before);
        attached.scanning = Scanning::No;
        for entry in scanned.entries.into_iter().filter(|_| fits) {
            if entry.inbox_seq == attached.read_upto() + 1 {
                attached.ahead.push_back(entry);
            }
        }
        if fits && attached.read_upto() == before {
            // The store lacks an entry that was flushed: nothing here may skip it in silence.
            self.stats.store_holes += 1;
            return self.close(conn, CloseCode::Overloaded, "the store lost inbox entries");
        }
        self.pump(conn);
    }

    /// The store did not answer a scan.
    pub(crate) fn scan_failed(&mut self, conn: ConnId) {
        self.scan_ended();
        self.stats.loads_failed += 1;
        let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else { return };
        attached.scanning = Scanning::No;
        // The device keeps its place; it comes back and reads on from there.
        self.close(conn, CloseCode::Overloaded, "the store does not answer");
    }
}

impl Attached {
    /// Newest inbox entry that was sent or read ahead.
    fn read_upto(&self) -> Seq {
        self.sent + self.ahead.len() as u64
    }
}

/// What was read ahead: the entries behind `Attached::sent`.
pub(crate) type Ahead = VecDeque<Entry>;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanning {
    No,
    /// Its turn.
    Waits,
    /// The entries above this one.
    After(Seq),
}
