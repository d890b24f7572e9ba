//! All devices of a user show the same once there is rest, also one that just began with a snapshot
//! and read all pages: so a snapshot and what follows equal the full stream (P5, P6, R11).

use super::{Checker, ensure, orders::Orders};
use crate::fact::{End, Fact, Shown, View};
use client::{Kind, Message};
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::Seq;

/// All views.
#[derive(Default)]
pub struct Views {
    orders: Orders,
}

impl Views {
    fn equal(&self, view: &View, newcomer: &View) -> Result<(), String> {
        let (user, device) = (view.user, view.device);
        let contacts = view.contacts == newcomer.contacts;
        ensure(contacts, || {
            let (here, there) = (&view.contacts, &newcomer.contacts);
            format!("contacts of {user:?}: {device:?} has {here:?}, a newcomer {there:?}")
        })?;
        let convs = view.convs.keys().chain(newcomer.convs.keys());
        for conv in convs {
            let (here, there) = (view.convs.get(conv), newcomer.convs.get(conv));
            let differs = match self.changes_alike(view, *conv) {
                true => differs(here, there, Message::eq),
                false => differs(here, there, |a, b| (a.kind, a.time_ms) == (b.kind, b.time_ms)),
            };
            if let Some(differs) = differs {
                return Err(format!("{conv:?} of {user:?}, {device:?} and a newcomer: {differs}"));
            }
        }
        Ok(())
    }

    /// What a blocked user changes is hidden like what they write, but a text that is gone is gone
    /// for all: a device that was there before the block may show more.
    fn changes_alike(&self, view: &View, conv: ConvKey) -> bool {
        !self.orders.blocked(view.user, conv.peer_of(view.user))
    }
}

/// What the user sees of a conversation. The hash of a peer's message is not known to all devices
/// once it was changed.
fn seen(shown: Option<&Shown>) -> BTreeMap<Seq, Message> {
    let messages = shown.into_iter().flat_map(|shown| &shown.messages);
    let visible = messages.filter(|(_, message)| {
        !matches!(message.kind, Kind::Hidden | Kind::PeerVoid | Kind::PeerChange)
    });
    let unhashed = |message: &Message| Message { hash: wire::BodyHash(0), ..message.clone() };
    visible.map(|(seq, message)| (*seq, unhashed(message))).collect()
}

fn differs(
    here: Option<&Shown>,
    there: Option<&Shown>,
    same: impl Fn(&Message, &Message) -> bool,
) -> Option<String> {
    let (ours, theirs) = (seen(here), seen(there));
    for seq in ours.keys().chain(theirs.keys()) {
        let (a, b) = (ours.get(seq), theirs.get(seq));
        if !matches!((a, b), (Some(a), Some(b)) if same(a, b)) {
            let raw = |shown: Option<&Shown>| shown.map(|shown| shown.messages.get(seq).cloned());
            return Some(format!("at {seq} {:?}, and {:?}", raw(here), raw(there)));
        }
    }
    let (here, there) = (&here?.chat, &there?.chat);
    // The peer's marks may have moved until the newcomer came.
    let same = here.read == there.read
        && here.unread == there.unread
        && here.peer_read <= there.peer_read
        && here.settings == there.settings;
    (!same).then(|| format!("{here:?}, and {there:?}"))
}

/// The peer's marks are the same on all devices that were there.
fn marks_equal(view: &View, other: &View) -> Result<(), String> {
    for (conv, shown) in &view.convs {
        let Some(also) = other.convs.get(conv) else { continue };
        let marks = |shown: &Shown| (shown.chat.peer_read, shown.chat.peer_delivered.clone());
        ensure(marks(shown) == marks(also), || {
            let (here, there) = (view.device, other.device);
            let (a, b) = (marks(shown), marks(also));
            format!("marks in {conv:?}: {here:?} has {a:?}, and {there:?} {b:?}")
        })?;
    }
    Ok(())
}

impl Checker for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        self.orders.observe(fact);
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        let first = |user| end.views.iter().find(|view| view.user == user).expect("it is one");
        end.views.iter().try_for_each(|view| marks_equal(view, first(view.user)))?;
        let mut views = end.views.iter().chain(&end.readers);
        views.try_for_each(|view| self.equal(view, &end.newcomers[&view.user]))
    }
}
