//! Retention: inbox entries go once every device has passed them, or when they are too old.
//!
//! A trim is a record, and what was trimmed is kept for ever: a device below it starts from a
//! snapshot. Age is found by asking the store for single entries, about twenty for a million.

use crate::Ask;
use crate::loads::Pending;
use crate::shard::Shard;
use persistence::{Entry, EntryKind, Record, Scan};
use wire::{Seq, UserId};

/// Users whose oldest entries are looked for at the same time.
const AGING_MAX: u32 = 4;
/// Users that wait for that; for others it is done another time.
const WAITING_MAX: usize = 1_024;
/// Entries that one look reads: one of them has a time.
const PROBE_ENTRIES: u32 = 8;

/// A search for the newest entry that is too old.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aging {
    user: UserId,
    /// Everything up to here is too old.
    old: Seq,
    /// This one is not, or has to stay.
    young: Seq,
    probe: Seq,
}

impl Shard {
    /// A device of the user passed entries, or more came: trims what all devices passed.
    pub(crate) fn trim_passed(&mut self, id: UserId) {
        // What devices passed is told to peers first.
        let Some(user) = self.users.get_mut(id).filter(|user| user.marks == 0) else { return };
        let mut passed = Seq::MAX;
        for device in user.devices.iter().filter(|device| !device.revoked) {
            let session = device.session.and_then(|conn| self.sessions.get(conn));
            let reads = session.and_then(|session| session.attached()).map(|a| a.acked);
            // One that is too far behind already needs a snapshot, and keeps nothing.
            let acked = reads.unwrap_or(device.acked);
            passed = passed.min(if acked < user.trimmed { Seq::MAX } else { acked });
        }
        if passed != Seq::MAX && passed >= user.trimmed + u64::from(self.config.limits.trim_entries)
        {
            self.trim(id, passed);
        }
    }

    fn trim(&mut self, user: UserId, upto: Seq) {
        if self.log.room_bytes() < self.reserve(8) {
            return;
        }
        self.append_record(&Record::Trim { user, upto });
        let end = self.log.end();
        let of_user = self.users.ready(user);
        (of_user.trimmed, of_user.dirty_until) = (upto, end);
        self.stats.trims += 1;
    }

    /// An entry got this number: now and then its user's oldest ones are looked at.
    pub(crate) fn entry_logged(&mut self, user: UserId, inbox_seq: Seq) {
        let every = u64::from(self.config.limits.trim_entries);
        if inbox_seq != 0 && inbox_seq.is_multiple_of(every) {
            self.look_for_old(user);
        }
    }

    /// The user's oldest entries may be too old.
    pub(crate) fn look_for_old(&mut self, user: UserId) {
        if self.aging.len() < WAITING_MAX {
            self.aging.push_back(user);
        }
    }

    /// Looks for entries that are too old, a few users at a time.
    pub(crate) fn age_some(&mut self) {
        while self.aging_now < AGING_MAX {
            let Some(id) = self.aging.pop_front() else { return };
            let now_us = self.now.unix_us;
            let Some(user) = self.users.get_mut(id).filter(|user| user.ages_us <= now_us) else {
                continue;
            };
            // What the log holds is young. What attached devices read has to stay, and what was
            // acked until its marks and then the cursor are logged: after a crash, these entries
            // tell which places were acked.
            let mut young = user.recent.first();
            for device in &user.devices {
                if device.session.is_some() || device.acked > device.logged {
                    young = young.min(device.logged + 1);
                }
            }
            let old = user.trimmed;
            // First the nearest that is worth a record: mostly it is young.
            let probe = old + u64::from(self.config.limits.trim_entries);
            if probe < young {
                self.aging_now += 1;
                self.probe(Aging { user: id, old, young, probe });
            }
        }
    }

    fn probe(&mut self, aging: Aging) {
        let Aging { user, probe, young, .. } = aging;
        let after = probe - 1;
        let upto = (after + u64::from(PROBE_ENTRIES)).min(young - 1);
        let scan = Scan { user, after, upto, entries_max: PROBE_ENTRIES, bytes_max: u32::MAX };
        self.ask(Ask::Scan(scan), Pending::Age(aging));
    }

    /// The store told of the entries at the probe, or (`None`) did not.
    pub(crate) fn probed(&mut self, aging: Aging, entries: Option<Vec<Entry>>) {
        let age_us = self.config.limits.inbox_age_ms * 1_000;
        let time_us = entries.as_ref().and_then(|entries| entries.iter().find_map(time_us));
        let is_old = time_us.is_some_and(|time_us| time_us + age_us <= self.now.unix_us);
        let mut next = aging;
        match is_old {
            true => next.old = aging.probe,
            false => next.young = aging.probe,
        }
        next.probe = next.old + (next.young - next.old) / 2;
        if entries.is_some() && next.old < next.probe && next.old > self.trimmed(aging.user) {
            return self.probe(next);
        }
        self.aging_now -= 1;
        let trimmed = self.trimmed(aging.user);
        let Some(user) = self.users.get_mut(aging.user) else { return };
        if next.old > trimmed {
            // Else a device came meanwhile that has passed some of them; later is soon enough.
            if user.marks == 0 {
                self.trim(aging.user, next.old);
            }
            return;
        }
        if let Some(time_us) = time_us {
            user.ages_us = time_us + age_us;
        }
    }

    fn trimmed(&mut self, id: UserId) -> Seq {
        self.users.get_mut(id).map_or(Seq::MAX, |user| user.trimmed)
    }
}

/// When an entry was made, if it says so.
fn time_us(entry: &Entry) -> Option<u64> {
    match &entry.kind {
        EntryKind::Peer { at, .. }
        | EntryKind::PeerChange { at, .. }
        | EntryKind::Own { at, .. } => Some(at.time_us),
        EntryKind::Commanded { time_us, .. } => Some(*time_us),
        EntryKind::Receipt { .. } | EntryKind::ReadMark { .. } => None,
    }
}
