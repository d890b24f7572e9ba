//! Those around a user, at the user's home: contacts and blocks without names, and who watches
//! the user's presence. Loaded apart from the user, since most users are never watched.

use crate::contacts::Unflushed;
use crate::place::Place;
use crate::table::Entity;
use persistence::{ContactState, Position};
use wire::{UserId, UserPresence, Visibility};

/// Whether somebody is there, as far as others may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub online: bool,
    /// End of the last time in the foreground, Unix microseconds; 0 while it lasts.
    pub last_seen_us: u64,
}

/// A user's circle in memory.
#[derive(Default)]
pub(crate) struct Circle {
    /// Sorted.
    pub contacts: Vec<UserId>,
    /// Sorted.
    pub blocked: Vec<UserId>,
    /// End of the newest record about contacts or blocks.
    pub dirty_until: Position,
    /// Pages of contacts that the store reads for the user's devices.
    pub listings: u32,
    /// Commands about contacts that the store may not have, oldest first.
    pub unflushed: Vec<Unflushed>,
    /// Copied from the user while there are watchers.
    pub visibility: Visibility,
    /// Sorted by home, then by number: each core's watchers stand together.
    watchers: Vec<UserId>,
    /// What the watchers were told last …
    pub told: Standing,
    /// … in which version …
    pub version: u64,
    /// … and what they will be told.
    pub current: Standing,
    /// Stands among those whose change waits for the window.
    pub dirty: bool,
    /// Who may see changed: every watcher is told anew.
    pub anew: bool,
}

impl Circle {
    /// From all that the store has, lowest number first.
    pub fn new(rows: &[(UserId, ContactState)]) -> Circle {
        let those = |pick: fn(&ContactState) -> bool| {
            let picked = rows.iter().filter(|(_, state)| pick(state));
            picked.map(|(peer, _)| *peer).collect()
        };
        Circle {
            contacts: those(|state| state.contact),
            blocked: those(|state| state.blocked),
            ..Circle::default()
        }
    }

    /// Whether this user may see the presence.
    pub fn shows(&self, watcher: UserId) -> bool {
        self.blocked.binary_search(&watcher).is_err()
            && match self.visibility {
                Visibility::Everyone => true,
                Visibility::Contacts => self.contacts.binary_search(&watcher).is_ok(),
                Visibility::Nobody => false,
            }
    }

    /// Nobody needs to be asked for.
    pub fn shows_everyone(&self) -> bool {
        self.blocked.is_empty() && self.visibility == Visibility::Everyone
    }

    pub fn watchers(&self) -> &[UserId] {
        &self.watchers
    }

    pub fn is_watched_by(&self, place: Place, watcher: UserId) -> bool {
        self.find(place, watcher).is_ok()
    }

    pub fn add_watcher(&mut self, place: Place, watcher: UserId) {
        if let Err(index) = self.find(place, watcher) {
            self.watchers.insert(index, watcher);
        }
    }

    /// False: was not there.
    pub fn remove_watcher(&mut self, place: Place, watcher: UserId) -> bool {
        let found = self.find(place, watcher);
        if let Ok(index) = found {
            self.watchers.remove(index);
        }
        if self.watchers.is_empty() {
            self.watchers = Vec::new();
        }
        found.is_ok()
    }

    fn find(&self, place: Place, watcher: UserId) -> Result<usize, usize> {
        self.watchers.binary_search_by_key(&(place.home(watcher), watcher), |&w| (place.home(w), w))
    }

    /// What a watcher who may see it is told now.
    pub fn presence(&self, user: UserId) -> UserPresence {
        UserPresence {
            user,
            state: match self.told.online {
                true => wire::PresenceState::Online,
                false => wire::PresenceState::Offline,
            },
            version: self.version,
            last_seen_ms: self.told.last_seen_us / 1_000,
        }
    }

    /// Contacts and blocks together: what the cap counts.
    pub fn known(&self) -> usize {
        let both = self.blocked.iter().filter(|peer| self.contacts.binary_search(peer).is_ok());
        self.contacts.len() + self.blocked.len() - both.count()
    }

    /// Is a contact or blocked.
    pub fn knows(&self, peer: UserId) -> bool {
        self.contacts.binary_search(&peer).is_ok() || self.blocked.binary_search(&peer).is_ok()
    }

    /// Adds or removes a contact.
    pub fn set_contact(&mut self, peer: UserId, contact: bool) {
        set(&mut self.contacts, peer, contact);
    }

    /// Blocks or unblocks.
    pub fn set_blocked(&mut self, peer: UserId, blocked: bool) {
        set(&mut self.blocked, peer, blocked);
    }
}

/// Whether `user` stands in a sorted list, from now on.
fn set(sorted: &mut Vec<UserId>, user: UserId, there: bool) {
    match (sorted.binary_search(&user), there) {
        (Err(index), true) => sorted.insert(index, user),
        (Ok(index), false) => drop(sorted.remove(index)),
        _ => {}
    }
}

/// What a watcher is told who may not see the presence.
pub(crate) fn hidden(user: UserId, version: u64) -> UserPresence {
    UserPresence { user, state: wire::PresenceState::Unknown, version, last_seen_ms: 0 }
}

impl Entity for Circle {
    fn clean(&self, flushed: Position) -> bool {
        self.watchers.is_empty() && !self.dirty && self.listings == 0 && self.dirty_until <= flushed
    }
    /// Contacts and blocks.
    fn weight(&self) -> usize {
        self.contacts.len() + self.blocked.len()
    }
}
