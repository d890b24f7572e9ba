//! CONTACTS: a page of the store, and over it the commands that are not in the store yet.

use crate::circle::Circle;
use crate::loads::Pending;
use crate::session::Session;
use crate::shard::Shard;
use crate::work::Work;
use crate::{Ask, ConnId};
use persistence::{ContactState, Page, Position};
use std::collections::BTreeMap;
use wire::{Command, ContactItem, Contacts, End, RefusalCode, ServerFrame, UserId};

/// A CONTACTS of a session of this core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    pub conn: ConnId,
    pub user: UserId,
    pub ask: Contacts,
}

/// What a command did to a contact, until the store has it.
#[derive(Debug)]
pub(crate) struct Unflushed {
    peer: UserId,
    change: Change,
    end: Position,
}

#[derive(Debug)]
enum Change {
    Contact(Option<String>),
    Blocked(bool),
}

impl Circle {
    /// A contact command was taken, in the order of the log.
    pub fn apply_command(&mut self, command: &Command<'_>, end: Position) {
        let (peer, change) = match *command {
            Command::ContactAdd { peer, name } => (peer, Change::Contact(Some(name.into()))),
            Command::ContactRemove { peer } => (peer, Change::Contact(None)),
            Command::Block { peer } => (peer, Change::Blocked(true)),
            Command::Unblock { peer } => (peer, Change::Blocked(false)),
            _ => return,
        };
        match &change {
            Change::Contact(name) => self.set_contact(peer, name.is_some()),
            Change::Blocked(blocked) => self.set_blocked(peer, *blocked),
        }
        self.dirty_until = end;
        self.unflushed.push(Unflushed { peer, change, end });
    }

    /// Forgets what the store has, unless a page is under way that was read before it had.
    pub fn forget_flushed(&mut self, flushed: Position) {
        if self.listings == 0 {
            self.unflushed.retain(|unflushed| unflushed.end > flushed);
        }
    }

    /// The page after `after` with at most `limit` items, and where the next one goes on: rows of
    /// the store, and what is not there yet.
    fn page(
        &self,
        rows: Vec<(UserId, ContactState)>,
        after: u64,
        limit: usize,
    ) -> (Vec<(UserId, ContactState)>, u64) {
        let full = rows.len() >= limit;
        let covered = rows.last().filter(|_| full).map_or(u64::MAX, |(peer, _)| peer.get());
        let mut all: BTreeMap<UserId, ContactState> = rows.into_iter().collect();
        for Unflushed { peer, change, .. } in &self.unflushed {
            if peer.get() <= after || peer.get() > covered {
                continue;
            }
            let state = all.entry(*peer).or_default();
            match change {
                Change::Contact(name) => {
                    state.contact = name.is_some();
                    state.name = name.clone().unwrap_or_default();
                }
                Change::Blocked(blocked) => state.blocked = *blocked,
            }
        }
        let mut page: Vec<_> = all.into_iter().filter(|(_, s)| s.contact || s.blocked).collect();
        let next = if page.len() > limit {
            page.truncate(limit);
            page.last().map_or(0, |(peer, _)| peer.get())
        } else if full {
            covered
        } else {
            0
        };
        (page, next)
    }
}

impl Shard {
    /// CONTACTS.
    pub(crate) fn contacts(&mut self, conn: ConnId, ask: Contacts) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let listing = Listing { conn, user: session.user, ask };
        session.asking += 1;
        self.work(Work::Contacts(listing));
    }

    /// The circle is loaded: the store is asked for the rest.
    pub(crate) fn list_contacts(&mut self, listing: Listing) {
        let circle = self.circles.ready(listing.user);
        circle.forget_flushed(self.flush.flushed());
        circle.listings += 1;
        let (after, limit) = (listing.ask.after, listing.ask.limit as u32);
        let page = Page::Contacts { user: listing.user, after, limit };
        self.ask(Ask::Page(page), Pending::Contacts(listing));
    }

    /// The store answered, or (`None`) did not.
    pub(crate) fn contacts_read(
        &mut self,
        listing: Listing,
        rows: Option<Vec<(UserId, ContactState)>>,
    ) {
        let request = listing.ask.request;
        let circle = self.circles.ready(listing.user);
        circle.listings -= 1;
        let Some(rows) = rows else { return self.contacts_given_up(listing) };
        let (page, next) = circle.page(rows, listing.ask.after, listing.ask.limit as usize);
        let mut frames: Vec<_> = page
            .iter()
            .map(|(peer, state)| {
                let ContactState { contact, blocked, ref name, .. } = *state;
                ServerFrame::Contact(ContactItem { request, peer: *peer, contact, blocked, name })
            })
            .collect();
        frames.push(ServerFrame::End(End { request, next, head: 0 }));
        self.send_gated(listing.conn, &frames);
        self.asked(listing.conn);
    }

    /// One request of a session has its answer.
    fn asked(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get(conn).and_then(Session::attached) {
            session.asking -= 1;
        }
    }

    /// The store does not answer, or there is no room to wait for it.
    pub(crate) fn contacts_given_up(&mut self, listing: Listing) {
        let retry_after_ms = self.config.limits.retry_after_ms;
        let code = RefusalCode::RetryAfter;
        self.refuse_request(listing.conn, listing.ask.request, code, retry_after_ms);
        self.asked(listing.conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u64) -> UserId {
        UserId::new(number).expect("not 0")
    }

    fn contact(name: &str) -> ContactState {
        ContactState { contact: true, name: name.into(), ..ContactState::default() }
    }

    #[test]
    fn pages_join_the_store_and_what_it_misses_without_a_hole() {
        let mut circle = Circle::default();
        let end = Position(1);
        circle.apply_command(&Command::ContactAdd { peer: user(3), name: "new" }, end);
        circle.apply_command(&Command::Block { peer: user(5) }, end);
        circle.apply_command(&Command::ContactRemove { peer: user(4) }, end);
        circle.apply_command(&Command::ContactAdd { peer: user(9), name: "last" }, end);
        let store: Vec<_> = [2, 4, 6, 8].map(|n| (user(n), contact("old"))).into();
        let read = |after: u64, limit: usize| {
            let rows = store.iter().filter(|(peer, _)| peer.get() > after).take(limit);
            circle.page(rows.cloned().collect(), after, limit)
        };
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let (page, next) = read(after, 2);
            assert!(page.len() <= 2);
            all.extend(page);
            match next {
                0 => break,
                next => after = next,
            }
        }
        let numbers: Vec<u64> = all.iter().map(|(peer, _)| peer.get()).collect();
        assert_eq!(numbers, [2, 3, 5, 6, 8, 9]);
        assert_eq!(all[1].1, contact("new"));
        assert!(all[2].1.blocked && !all[2].1.contact);
        circle.forget_flushed(end);
        assert!(circle.unflushed.is_empty() && circle.knows(user(3)));
    }
}
