//! Presence at its source, the watched user's home: who is there, who may know, and one relay per
//! pair of cores and window.
//!
//! A user is online while a session is in the foreground, and for a grace after that. A change
//! waits for the window; what is then as it was before is told to nobody. Who may see it is
//! decided here, for each watcher.

use crate::circle::{Standing, hidden};
use crate::lane::Lane;
use crate::session::Session;
use crate::shard::Shard;
use crate::table::Map;
use crate::work::Work;
use crate::{ConnId, CoreIndex, Relay};
use persistence::Record;
use std::collections::{BTreeSet, VecDeque};
use wire::{DeviceId, UserId, UserPresence};

/// States on their way to one core.
#[derive(Clone, Debug, Default)]
pub struct PresenceBatch {
    /// Each with how many of `watchers` it is for; they follow each other there.
    pub states: Vec<(UserPresence, u32)>,
    /// Users of that core, sorted within each state.
    pub watchers: Vec<UserId>,
}

/// A subscription that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchChange {
    /// Who watches.
    pub watcher: UserId,
    /// Whom.
    pub target: UserId,
    /// Begins, or asks for the state again.
    pub begins: bool,
}

/// The source's state on one core.
#[derive(Default)]
pub(crate) struct Source {
    /// Users whose grace ends, by its end on the monotonic clock.
    graces: BTreeSet<(u64, UserId)>,
    /// Users with a change for their watchers.
    dirty: Vec<UserId>,
    /// When the window ends within which the last change was told.
    window_us: u64,
    /// Watchers of users whose circle loads.
    arriving: Map<UserId, Vec<UserId>>,
    /// Users whose circle could not load, with the time of the next try.
    retries: VecDeque<(u64, UserId)>,
    /// Per core, not yet sent.
    out: Vec<PresenceBatch>,
    /// Subscriptions, arriving ones included.
    watching: u32,
    /// Circles with watchers.
    circles: u32,
    /// The newest version that was given out.
    version: u64,
    /// Users who came or went since that was logged.
    unlogged: Vec<UserId>,
    log_due_us: u64,
}

impl Source {
    pub fn new(cores: u16, version: u64) -> Source {
        let out = vec![PresenceBatch::default(); cores as usize];
        Source { out, version, ..Source::default() }
    }

    /// When there is something to do. A batch that waits for a credit waits for an event.
    pub fn deadline_us(&self, lanes: &[Lane]) -> Option<u64> {
        if self.out.iter().zip(lanes).any(|(batch, lane)| !batch.is_empty() && lane.credits > 0) {
            return Some(0);
        }
        let grace = self.graces.first().map(|(due_us, _)| *due_us);
        let window = (!self.dirty.is_empty() && self.all_sent()).then_some(self.window_us);
        let log = (!self.unlogged.is_empty()).then_some(self.log_due_us);
        let retry = self.retries.front().map(|(due_us, _)| *due_us);
        [grace, window, log, retry].into_iter().flatten().min()
    }

    fn all_sent(&self) -> bool {
        self.out.iter().all(PresenceBatch::is_empty)
    }

    /// A version above every one that was given out.
    fn next_version(&mut self, unix_us: u64) -> u64 {
        self.version = unix_us.max(self.version + 1);
        self.version
    }
}

impl PresenceBatch {
    fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// For those of `watchers` that `select` picks.
    fn push(
        &mut self,
        presence: UserPresence,
        watchers: &[UserId],
        mut select: impl FnMut(UserId) -> bool,
    ) {
        let before = self.watchers.len();
        self.watchers.extend(watchers.iter().copied().filter(|&watcher| select(watcher)));
        let count = self.watchers.len() - before;
        if count > 0 {
            self.states.push((presence, count as u32));
        }
    }
}

impl Shard {
    /// ACTIVITY.
    pub(crate) fn activity(&mut self, conn: ConnId, foreground: bool) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let (id, device) = (session.user, session.device);
        self.set_foreground(id, device, foreground);
    }

    pub(crate) fn set_foreground(&mut self, id: UserId, device: DeviceId, foreground: bool) {
        let device = self.users.ready(id).device_mut(device).expect("attached");
        device.foreground = foreground;
        self.attendance(id);
    }

    /// The user's sessions changed: comes at once, goes after the grace.
    pub(crate) fn attendance(&mut self, id: UserId) {
        let Some(user) = self.users.get_mut(id) else { return };
        let grace_us = self.config.limits.presence_grace_ms * 1_000;
        if user.in_foreground() {
            if let Some(due_us) = user.leaves_us.take() {
                self.source.graces.remove(&(due_us, id));
            }
            if !user.standing.online {
                self.set_standing(id, Standing { online: true, last_seen_us: 0 });
            }
        } else if user.standing.online && user.leaves_us.is_none() {
            let due_us = self.now.mono_us + grace_us;
            user.leaves_us = Some(due_us);
            user.left_us = self.now.unix_us;
            self.source.graces.insert((due_us, id));
        }
    }

    fn set_standing(&mut self, id: UserId, standing: Standing) {
        let now_us = self.now.unix_us;
        let user = self.users.ready(id);
        user.standing = standing;
        user.seen_us = if standing.online { now_us } else { standing.last_seen_us };
        if !std::mem::replace(&mut user.seen_unlogged, true) {
            if self.source.unlogged.is_empty() {
                let due_us = self.now.mono_us + self.config.limits.last_seen_ms * 1_000;
                self.source.log_due_us = due_us;
            }
            self.source.unlogged.push(id);
        }
        if let Some(circle) = self.circles.get_mut(id) {
            circle.current = standing;
            self.circle_dirty(id, false);
        }
    }

    /// What the user's watchers know has changed, or who may know it (`anew`).
    pub(crate) fn circle_dirty(&mut self, id: UserId, anew: bool) {
        let Some(circle) = self.circles.get_mut(id) else { return };
        if circle.watchers().is_empty() {
            return;
        }
        circle.anew |= anew;
        if !std::mem::replace(&mut circle.dirty, true) {
            self.source.dirty.push(id);
        }
    }

    /// Timers of the source.
    pub(crate) fn advance_presence(&mut self) {
        let now_us = self.now.mono_us;
        while let Some(&(due_us, id)) = self.source.graces.first() {
            if due_us > now_us {
                break;
            }
            self.source.graces.pop_first();
            self.leaves(id);
        }
        while let Some(&(due_us, target)) = self.source.retries.front() {
            if due_us > now_us {
                break;
            }
            self.source.retries.pop_front();
            self.work(Work::Watch(target));
        }
        if self.source.log_due_us <= now_us {
            self.log_last_seen();
        }
    }

    fn leaves(&mut self, id: UserId) {
        let user = self.users.ready(id);
        user.leaves_us = None;
        let last_seen_us = user.left_us;
        self.set_standing(id, Standing { online: false, last_seen_us });
    }

    /// The process stops in order: nobody waits for the grace.
    pub(crate) fn everyone_leaves(&mut self) {
        while let Some((_, id)) = self.source.graces.pop_first() {
            self.leaves(id);
        }
        self.log_last_seen();
    }

    fn log_last_seen(&mut self) {
        while let Some(id) = self.source.unlogged.pop() {
            if self.log.room_bytes() < self.reserve(8) {
                // No room: the next round tries again.
                self.source.unlogged.push(id);
                self.source.log_due_us = self.now.mono_us + self.config.limits.last_seen_ms * 1_000;
                return;
            }
            let user = self.users.ready(id);
            user.seen_unlogged = false;
            let record = Record::LastSeen { user: id, time_us: user.seen_us };
            self.append_record(&record);
            self.users.ready(id).dirty_until = self.log.end();
        }
    }

    /// Another core's watchers come and go.
    pub(crate) fn watched(&mut self, from: CoreIndex, changes: &[WatchChange]) {
        for change in changes {
            match change.begins {
                true => self.watch_begins(change.watcher, change.target),
                false => self.watch_ends(change.watcher, change.target),
            }
        }
        self.reply(from, Relay::Noted);
    }

    fn watch_begins(&mut self, watcher: UserId, target: UserId) {
        let limits = &self.config.limits;
        let mut full = self.source.watching >= limits.watches_max;
        if let Some(circle) = self.circles.get_mut(target)
            && !circle.watchers().is_empty()
        {
            let known = circle.is_watched_by(self.place, watcher);
            if !known && !full {
                circle.add_watcher(self.place, watcher);
                self.source.watching += 1;
            }
            return self.tell(watcher, target, known || !full);
        }
        // Watched circles stay: some room is left for those of commands.
        full |= self.source.circles + self.source.arriving.len() as u32
            >= limits.circles_max - limits.circles_max / 4;
        let arriving = self.source.arriving.get_mut(&target);
        if arriving.as_ref().is_some_and(|others| others.contains(&watcher)) {
            return;
        }
        if full {
            return self.tell(watcher, target, false);
        }
        self.source.watching += 1;
        match arriving {
            Some(arriving) => arriving.push(watcher),
            None => {
                self.source.arriving.insert(target, vec![watcher]);
                self.work(Work::Watch(target));
            }
        }
    }

    /// The target and its circle are loaded: those who came to watch it do.
    pub(crate) fn begin_watch(&mut self, target: UserId) {
        let Some(arriving) = self.source.arriving.remove(&target) else { return };
        if arriving.is_empty() {
            return;
        }
        let user = self.users.ready(target);
        let (standing, visibility) = (user.standing, user.privacy.visibility);
        let circle = self.circles.ready(target);
        (circle.told, circle.current, circle.visibility) = (standing, standing, visibility);
        circle.version = self.source.next_version(self.now.unix_us);
        self.source.circles += 1;
        for watcher in arriving {
            self.circles.ready(target).add_watcher(self.place, watcher);
            self.tell(watcher, target, true);
        }
    }

    /// The target cannot be loaded now; its watchers know nothing meanwhile.
    pub(crate) fn watch_later(&mut self, target: UserId) {
        let due_us = self.now.mono_us + self.config.limits.retry_after_ms * 1_000;
        self.source.retries.push_back((due_us, target));
    }

    /// Tells a new watcher what the others know, or nothing where it has no `place`.
    fn tell(&mut self, watcher: UserId, target: UserId, place: bool) {
        let presence = match self.circles.get_mut(target) {
            Some(circle) if place && circle.shows(watcher) => circle.presence(target),
            // Its own version: the time of the last change is hidden too.
            _ => hidden(target, self.source.next_version(self.now.unix_us)),
        };
        let out = &mut self.source.out[self.place.home(watcher) as usize];
        out.push(presence, &[watcher], |_| true);
    }

    fn watch_ends(&mut self, watcher: UserId, target: UserId) {
        if let Some(arriving) = self.source.arriving.get_mut(&target) {
            let before = arriving.len();
            arriving.retain(|&other| other != watcher);
            self.source.watching -= (before - arriving.len()) as u32;
        }
        let Some(circle) = self.circles.get_mut(target) else { return };
        if circle.remove_watcher(self.place, watcher) {
            self.source.watching -= 1;
            self.source.circles -= u32::from(circle.watchers().is_empty());
        }
    }

    /// Sends what waits, and opens the next window where every core has room for what comes of it.
    pub(crate) fn presence_step(&mut self) {
        self.send_presence();
        let due = !self.source.dirty.is_empty() && self.source.window_us <= self.now.mono_us;
        if due && self.source.all_sent() {
            self.source.window_us =
                self.now.mono_us + self.config.limits.presence_window_ms * 1_000;
            self.tell_changes();
            self.send_presence();
        }
    }

    fn tell_changes(&mut self) {
        let (version, place) = (self.source.next_version(self.now.unix_us), self.place);
        for target in std::mem::take(&mut self.source.dirty) {
            let circle = self.circles.ready(target);
            circle.dirty = false;
            let anew = std::mem::take(&mut circle.anew);
            if circle.current == circle.told && !anew {
                continue;
            }
            (circle.told, circle.version) = (circle.current, version);
            let presence = circle.presence(target);
            let everyone = circle.shows_everyone();
            let mut rest = circle.watchers();
            while let Some(&first) = rest.first() {
                let core = place.home(first);
                let (here, behind) =
                    rest.split_at(rest.partition_point(|&watcher| place.home(watcher) == core));
                let out = &mut self.source.out[core as usize];
                out.push(presence, here, |watcher| everyone || circle.shows(watcher));
                if anew && !everyone {
                    out.push(hidden(target, version), here, |watcher| !circle.shows(watcher));
                }
                rest = behind;
            }
        }
    }

    fn send_presence(&mut self) {
        for core in 0..self.place.cores {
            let ready = !self.source.out[core as usize].is_empty();
            if ready && self.lanes[core as usize].credits > 0 {
                let batch = std::mem::take(&mut self.source.out[core as usize]);
                self.request(core, Relay::Presence(Box::new(batch)));
                self.drain_lane(core);
            }
        }
    }
}
