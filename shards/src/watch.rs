//! Presence at the watchers' home: which session watches whom, and one frame per session and
//! window. What was known is kept once per watched user; a session notes only what changed.

use crate::circle::hidden;
use crate::lane::Lane;
use crate::presence::{PresenceBatch, WatchChange};
use crate::session::Session;
use crate::shard::Shard;
use crate::table::Map;
use crate::user::Bucket;
use crate::{ConnId, CoreIndex, Relay};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wire::planted::{Bug, active};
use wire::{PresenceState, RefusalCode, ServerFrame, UserId, UserPresence};

/// In `Watcher::watched`, below the target's index: the source answered …
const KNOWN: u32 = 1;
/// … and the watcher may see the presence.
const SHOWN: u32 = 2;
const FLAGS: u32 = KNOWN | SHOWN;

/// The watchers' side on one core.
#[derive(Default)]
pub(crate) struct Watching {
    index: Map<UserId, u32>,
    targets: Vec<Target>,
    free: Vec<u32>,
    /// Sessions that watch, by index of their connection.
    sessions: Vec<Option<Box<Watcher>>>,
    /// Pairs of session and target.
    count: u32,
    /// Sessions with something to tell, by the end of their window.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    /// Connections to be told at once.
    now: Vec<u32>,
    /// Per core, not yet sent.
    changes: Vec<Vec<WatchChange>>,
    /// One frame's list, kept for the next.
    frame: Vec<UserPresence>,
}

/// A user whom somebody here watches.
struct Target {
    presence: UserPresence,
    /// Version under which the source last told somebody here that it is hidden.
    hidden_version: u64,
    /// Sorted by watcher and connection.
    watches: Vec<Watch>,
}

/// A session that watches a target: 16 bytes.
#[derive(Clone, Copy)]
struct Watch {
    watcher: UserId,
    conn: u32,
    flags: u32,
}

/// A session that watches.
struct Watcher {
    conn: ConnId,
    user: UserId,
    /// Index of each target, and its flags; sorted.
    watched: Vec<u32>,
    /// Indexes of targets that changed; some perhaps twice.
    pending: Vec<u32>,
    /// Targets whose source has not answered.
    unknown: u32,
    /// A WATCH waits for its PRESENCE, which tells everything.
    asked: bool,
    /// One frame has left in this window; ends then.
    window_us: u64,
    /// Stands in the heap of due sessions.
    queued: bool,
    /// WATCHes that it may send.
    quota: Bucket,
}

impl Watching {
    pub fn new(cores: u16) -> Watching {
        Watching { changes: vec![Vec::new(); cores as usize], ..Watching::default() }
    }

    /// When a session's window ends. Changes that wait for a credit wait for an event.
    pub fn deadline_us(&self, lanes: &[Lane]) -> Option<u64> {
        let sendable = |(changes, lane): (&Vec<_>, &Lane)| !changes.is_empty() && lane.credits > 0;
        if self.changes.iter().zip(lanes).any(sendable) {
            return Some(0);
        }
        self.due.peek().map(|Reverse((due_us, _))| *due_us)
    }

    fn target(&mut self, user: UserId) -> u32 {
        if let Some(&index) = self.index.get(&user) {
            return index;
        }
        let presence =
            UserPresence { user, state: PresenceState::Unknown, version: 0, last_seen_ms: 0 };
        let target = Target { presence, hidden_version: 0, watches: Vec::new() };
        let index = match self.free.pop() {
            Some(index) => {
                self.targets[index as usize] = target;
                index
            }
            None => {
                self.targets.push(target);
                self.targets.len() as u32 - 1
            }
        };
        self.index.insert(user, index);
        index
    }

    /// The session stops watching a target. Returns the target if its user does not watch it with
    /// another session either.
    fn unwatch(&mut self, index: u32, watcher: UserId, conn: u32) -> Option<UserId> {
        let target = &mut self.targets[index as usize];
        let user = target.presence.user;
        let at = target.watches.binary_search_by_key(&(watcher, conn), |w| (w.watcher, w.conn));
        target.watches.remove(at.expect("it watches"));
        self.count -= 1;
        let first = target.watches.partition_point(|w| w.watcher < watcher);
        let others = target.watches.get(first).is_some_and(|w| w.watcher == watcher);
        if target.watches.is_empty() {
            target.watches = Vec::new();
            self.index.remove(&user);
            self.free.push(index);
        }
        (!others).then_some(user)
    }

    /// A target has news for this session.
    fn note(&mut self, index: u32, at: usize, flags: u32, now_us: u64) {
        let watch = &mut self.targets[index as usize].watches[at];
        let watcher = self.sessions[watch.conn as usize].as_deref_mut().expect("it watches");
        if watch.flags != flags {
            let place = watcher.watched.binary_search_by_key(&index, |w| w >> 2);
            watcher.watched[place.expect("it watches")] = index << 2 | flags;
            watcher.unknown -= u32::from(watch.flags & KNOWN == 0);
            watch.flags = flags;
        }
        if watcher.pending.len() >= 2 * watcher.watched.len() {
            watcher.pending.sort_unstable();
            watcher.pending.dedup();
        }
        watcher.pending.push(index);
        let answered = watcher.asked && watcher.unknown == 0;
        if answered || (!watcher.asked && !watcher.queued && watcher.window_us <= now_us) {
            self.now.push(watch.conn);
        } else if !std::mem::replace(&mut watcher.queued, true) {
            self.due.push(Reverse((watcher.window_us, watch.conn)));
        }
    }
}

impl Shard {
    /// WATCH: replaces the set.
    pub(crate) fn watch(&mut self, conn: ConnId, mut users: Vec<UserId>) {
        let user = self.sessions.get(conn).and_then(Session::attached).expect("attached").user;
        if let Err(after_ms) = self.watch_quota(conn, user) {
            return self.refuse_request(conn, 0, RefusalCode::Quota, after_ms);
        }
        if users.len() > self.config.limits.watch_max as usize {
            return self.refuse_request(conn, 0, RefusalCode::Limit, 0);
        }
        users.retain(|&target| target != user);
        users.sort_unstable();
        users.dedup();
        let before = self.watcher(conn, user).watched.len() as u32;
        if self.watching.count - before + users.len() as u32 > self.config.limits.watches_max {
            let after_ms = self.config.limits.retry_after_ms;
            return self.refuse_request(conn, 0, RefusalCode::RetryAfter, after_ms);
        }
        self.replace_watched(conn, &users);
        let now_us = self.now.mono_us;
        let window_us = self.config.limits.presence_window_ms * 1_000;
        let watcher = self.watcher(conn, user);
        watcher.asked = true;
        if watcher.unknown == 0 {
            return self.tell_session(conn.index);
        }
        watcher.window_us = now_us + window_us;
        if !std::mem::replace(&mut watcher.queued, true) {
            let due_us = watcher.window_us;
            self.watching.due.push(Reverse((due_us, conn.index)));
        }
    }

    fn watch_quota(&mut self, conn: ConnId, user: UserId) -> Result<(), u64> {
        let limits = &self.config.limits;
        let (burst, every_ms, now_us) = (limits.watch_burst, limits.watch_ms, self.now.mono_us);
        self.watcher(conn, user).quota.take(now_us, burst, every_ms)
    }

    fn watcher(&mut self, conn: ConnId, user: UserId) -> &mut Watcher {
        let index = conn.index as usize;
        if self.watching.sessions.len() <= index {
            self.watching.sessions.resize_with(index + 1, || None);
        }
        let quota = Bucket::full(self.config.limits.watch_burst, self.now.mono_us);
        let watcher = self.watching.sessions[index].get_or_insert_with(|| {
            Box::new(Watcher {
                conn,
                user,
                watched: Vec::new(),
                pending: Vec::new(),
                unknown: 0,
                asked: false,
                window_us: 0,
                queued: false,
                quota,
            })
        });
        assert_eq!(watcher.conn, conn, "a session that ends watches nobody");
        watcher
    }

    fn replace_watched(&mut self, conn: ConnId, users: &[UserId]) {
        let watcher = self.watching.sessions[conn.index as usize].as_deref_mut().expect("made");
        let (id, before) = (watcher.user, std::mem::take(&mut watcher.watched));
        let mut watched = Vec::with_capacity(users.len());
        for entry in before {
            let target = self.watching.targets[(entry >> 2) as usize].presence.user;
            match users.binary_search(&target) {
                Ok(_) => watched.push(entry),
                Err(_) => self.stop_watching(entry >> 2, id, conn.index),
            }
        }
        let kept: Vec<u32> = watched.iter().map(|entry| entry >> 2).collect();
        for &user in users {
            let index = self.watching.index.get(&user);
            let stays = index.is_some_and(|index| kept.binary_search(index).is_ok());
            if stays {
                continue;
            }
            let index = self.watching.target(user);
            let watches = &mut self.watching.targets[index as usize].watches;
            let at = watches.partition_point(|w| (w.watcher, w.conn) < (id, conn.index));
            watches.insert(at, Watch { watcher: id, conn: conn.index, flags: 0 });
            self.watching.count += 1;
            watched.push(index << 2);
            self.tell_source(WatchChange { watcher: id, target: user, begins: true });
        }
        watched.sort_unstable();
        let watcher = self.watching.sessions[conn.index as usize].as_deref_mut().expect("made");
        watcher.unknown = watched.iter().filter(|&entry| entry & KNOWN == 0).count() as u32;
        watcher.pending.clear();
        watcher.watched = watched;
    }

    fn stop_watching(&mut self, index: u32, watcher: UserId, conn: u32) {
        if let Some(target) = self.watching.unwatch(index, watcher, conn) {
            self.tell_source(WatchChange { watcher, target, begins: false });
        }
    }

    fn tell_source(&mut self, change: WatchChange) {
        let home = self.place.home(change.target);
        self.watching.changes[home as usize].push(change);
    }

    /// The session ends: it watches nobody.
    pub(crate) fn unwatch_all(&mut self, conn: ConnId) {
        let Some(slot) = self.watching.sessions.get_mut(conn.index as usize) else { return };
        if slot.as_ref().is_none_or(|watcher| watcher.conn != conn) {
            return;
        }
        let watcher = slot.take().expect("looked at above");
        for entry in watcher.watched {
            self.stop_watching(entry >> 2, watcher.user, conn.index);
        }
    }

    /// States from a source: noted for every session that watches, told at once where its window
    /// is over.
    pub(crate) fn presence_came(&mut self, from: CoreIndex, batch: &PresenceBatch) {
        let now_us = self.now.mono_us;
        let mut watchers = batch.watchers.as_slice();
        for (presence, count) in &batch.states {
            let (here, behind) = watchers.split_at(*count as usize);
            watchers = behind;
            self.watching.take(presence, here, now_us);
        }
        while let Some(conn) = self.watching.now.pop() {
            self.tell_session(conn);
        }
        self.reply(from, Relay::Noted);
    }

    /// Timers of the watchers.
    pub(crate) fn advance_watching(&mut self) {
        while let Some(&Reverse((due_us, conn))) = self.watching.due.peek() {
            if due_us > self.now.mono_us {
                return;
            }
            self.watching.due.pop();
            let Some(Some(watcher)) = self.watching.sessions.get_mut(conn as usize) else {
                continue;
            };
            watcher.queued = false;
            self.tell_session(conn);
        }
    }

    /// One PRESENCE with what changed for this session, or with everything that a WATCH asked for.
    fn tell_session(&mut self, index: u32) {
        let output_max = self.config.limits.output_bytes_max as usize;
        let (now_us, watching) = (self.now.mono_us, &mut self.watching);
        let Some(watcher) = watching.sessions[index as usize].as_deref_mut() else { return };
        if watcher.pending.is_empty() && !watcher.asked {
            return;
        }
        let conn = watcher.conn;
        let full = self.sessions.get(conn).is_none_or(|s| s.out.len() >= output_max);
        let wait = watcher.window_us > now_us && !(watcher.asked && watcher.unknown == 0);
        if full || wait {
            let window_us = self.config.limits.presence_window_ms * 1_000;
            let due_us = if full { now_us + window_us } else { watcher.window_us };
            if !std::mem::replace(&mut watcher.queued, true) {
                watching.due.push(Reverse((due_us, index)));
            }
            return;
        }
        watcher.window_us = now_us + self.config.limits.presence_window_ms * 1_000;
        let everything = std::mem::take(&mut watcher.asked);
        watcher.pending.sort_unstable();
        watcher.pending.dedup();
        watching.frame.clear();
        let mut pending = watcher.pending.iter().copied().peekable();
        for &entry in &watcher.watched {
            while pending.next_if(|&changed| changed < entry >> 2).is_some() {}
            if pending.next_if_eq(&(entry >> 2)).is_none() && !everything {
                continue;
            }
            watching.frame.push(watching.targets[(entry >> 2) as usize].seen(entry & FLAGS));
        }
        watcher.pending.clear();
        let frame = std::mem::take(&mut watching.frame);
        let users = frame.as_slice().into();
        self.send(conn, &ServerFrame::Presence(wire::Presence { users }));
        self.stats.presences += frame.len() as u64;
        self.watching.frame = frame;
    }

    /// Sends subscriptions that begin and end, where there is a credit.
    pub(crate) fn watching_step(&mut self) {
        for core in 0..self.place.cores {
            let ready = !self.watching.changes[core as usize].is_empty();
            if ready && self.lanes[core as usize].credits > 0 {
                let changes = std::mem::take(&mut self.watching.changes[core as usize]);
                self.request(core, Relay::Watch(Box::new(changes)));
                self.drain_lane(core);
            }
        }
    }
}

impl Target {
    /// As a session with these flags sees it. What the source has not told yet has version 0, so
    /// that it takes nothing back.
    fn seen(&self, flags: u32) -> UserPresence {
        let version = if flags & KNOWN == 0 { 0 } else { self.hidden_version };
        match flags & SHOWN {
            0 => hidden(self.presence.user, version),
            _ => self.presence,
        }
    }
}

impl Watching {
    /// One state for those of its watchers who are named.
    fn take(&mut self, presence: &UserPresence, watchers: &[UserId], now_us: u64) {
        let Some(&index) = self.index.get(&presence.user) else { return };
        let target = &mut self.targets[index as usize];
        let shown = presence.state != PresenceState::Unknown;
        if shown {
            // Versions of one user only grow: an older state never wins.
            let newer = presence.version > target.presence.version;
            if target.presence.version == 0 || newer != active(Bug::OlderPresenceWins) {
                target.presence = *presence;
            }
        } else {
            target.hidden_version = target.hidden_version.max(presence.version);
        }
        let flags = if shown { FLAGS } else { KNOWN };
        let mut at = 0;
        for &watcher in watchers {
            let watches = &self.targets[index as usize].watches;
            if watches.get(at).is_some_and(|watch| watch.watcher < watcher) {
                at += watches[at..].partition_point(|watch| watch.watcher < watcher);
            }
            while self.targets[index as usize].watches.get(at).is_some_and(|w| w.watcher == watcher)
            {
                self.note(index, at, flags, now_us);
                at += 1;
            }
        }
    }
}
