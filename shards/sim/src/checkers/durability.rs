//! An ack is the truth: what a device saw as SENT, or received, is shown by every surviving device
//! of every participant, and by new ones (P1, P4, P5).

use super::{Checker, ensure, orders::Orders};
use crate::fact::{End, Fact, Placed, View};
use client::{Kind, Message};
use std::collections::BTreeMap;
use wire::{BodyHash, UserId};

/// All promises so far.
#[derive(Default)]
pub struct Durability {
    promised: Vec<Placed>,
    /// What some device of this user received as an inbox entry is a promise too.
    received: Vec<(UserId, Placed)>,
    orders: Orders,
}

impl Durability {
    /// Whether a view has what was promised, or a good reason not to show it.
    fn kept(&self, view: &View, placed: &Placed, received: bool) -> bool {
        let Placed { conv, conv_seq, sender, .. } = *placed;
        let user = view.user;
        let shown = view.at(conv, conv_seq);
        if shown.is_some_and(|message| is(message, placed, user)) {
            return true;
        }
        let gone = shown.is_none_or(|message| message.kind == Kind::Hidden);
        let blocked = !received && user != sender && self.orders.blocked(user, sender);
        gone && (self.orders.hid(user, conv, conv_seq) || blocked)
    }
}

/// Whether this is what was placed there. What a peer's message was before it was changed, not
/// every device is told.
fn is(message: &Message, placed: &Placed, user: UserId) -> bool {
    let own = placed.sender == user;
    let kind = match message.kind {
        Kind::Own | Kind::OwnChange => own && !placed.void,
        Kind::OwnVoid => own && placed.void,
        Kind::Peer | Kind::PeerChange => !own,
        _ => false,
    };
    let changed = message.deleted || message.edited_by > 0 || message.kind == Kind::PeerChange;
    let untold = !own && (changed || message.body.is_none() || placed.hash == BodyHash(0));
    kind && (message.hash == placed.hash || untold)
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        self.orders.observe(fact);
        match fact {
            Fact::Promised { placed } => self.promised.push(*placed),
            Fact::Received { entry, .. } => self.received.push((entry.user, entry.placed)),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        let mut views: BTreeMap<UserId, Vec<&View>> = BTreeMap::new();
        for view in end.views.iter().chain(&end.readers).chain(end.newcomers.values()) {
            views.entry(view.user).or_default().push(view);
        }
        let promised = self.promised.iter().flat_map(|placed| {
            let users = placed.conv.participants().into_iter();
            let sees = move |user: &UserId| !placed.void || *user == placed.sender;
            users.filter(sees).map(move |user| (user, placed, false))
        });
        let received = self.received.iter().map(|(user, placed)| (*user, placed, true));
        for (user, placed, received) in promised.chain(received) {
            for view in &views[&user] {
                ensure(self.kept(view, placed, received), || {
                    let there = view.at(placed.conv, placed.conv_seq);
                    let device = view.device;
                    format!("{device:?} of {user:?} shows {there:?}, not {placed:?}")
                })?;
            }
        }
        Ok(())
    }
}
