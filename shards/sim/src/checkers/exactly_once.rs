//! Exactly once: a send has one place, in the conversation that its author composed it for; nothing
//! that a surviving device holds vanishes (P3).

use super::{Checker, ensure};
use crate::fact::{DeviceIndex, End, Fact, Placed};
use persistence::ConvKey;
use std::collections::{BTreeMap, BTreeSet};
use wire::{BodyHash, Seq, UserId};

/// Every body is another, and every message is deleted once: this names a send.
type Name = (ConvKey, BodyHash);

/// Every send, and where it stands.
#[derive(Default)]
pub struct ExactlyOnce {
    composed: BTreeMap<Name, UserId>,
    queued: Vec<(DeviceIndex, Name)>,
    places: BTreeMap<Name, Placed>,
    shown: BTreeSet<(DeviceIndex, ConvKey, Seq)>,
    settled: Vec<(UserId, ConvKey, Seq, BodyHash, bool)>,
}

impl ExactlyOnce {
    fn place(&mut self, placed: &Placed) -> Result<(), String> {
        if placed.hash == BodyHash(0) {
            return Ok(());
        }
        let name = (placed.conv, placed.hash);
        let genuine = self.composed.get(&name) == Some(&placed.sender);
        ensure(genuine, || format!("nobody wrote that there: {placed:?}"))?;
        let first = *self.places.entry(name).or_insert(*placed);
        ensure(first.conv_seq == placed.conv_seq, || {
            format!("stored twice:\n  {first:?}\n  {placed:?}")
        })
    }
}

impl Checker for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Composed { sender, conv, hash } => {
                self.composed.insert((conv, hash), sender);
                Ok(())
            }
            Fact::Queued { device, conv, hash } => {
                self.queued.push((device, (conv, hash)));
                Ok(())
            }
            Fact::Promised { ref placed } => self.place(placed),
            Fact::Received { ref entry, .. } => self.place(&entry.placed),
            Fact::Item { placed: Some(ref placed), .. } => self.place(placed),
            Fact::Settled { sender, conv, conv_seq, hash, void } => {
                self.settled.push((sender, conv, conv_seq, hash, void));
                Ok(())
            }
            Fact::Shown { device, conv, conv_seq, hash, .. } => {
                let new = self.shown.insert((device, conv, conv_seq));
                ensure(new, || format!("{device:?} shows {conv_seq} of {conv:?} twice: {hash:?}"))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        for (sender, conv, conv_seq, hash, void) in &self.settled {
            let placed = self.places.get(&(*conv, *hash));
            let true_so = placed.is_some_and(|placed| {
                placed.void == *void && (*void || placed.conv_seq == *conv_seq)
            });
            ensure(true_so, || {
                format!("shown as settled at {conv_seq} of {conv:?} by {sender:?}: {placed:?}")
            })?;
        }
        for (device, name) in &self.queued {
            let kept = end.intact.contains(device);
            let unsettled = end.unsettled.contains(&(*device, name.1));
            ensure(!kept || unsettled || self.places.contains_key(name), || {
                format!("{name:?} vanished from {device:?}")
            })?;
        }
        let mut seen = BTreeSet::new();
        for (user, entries) in &end.inboxes {
            for entry in entries.iter().filter(|entry| entry.placed.hash != BodyHash(0)) {
                let new = seen.insert((*user, entry.placed.conv, entry.placed.hash));
                ensure(new, || format!("twice in the inbox of {user:?}: {entry:?}"))?;
            }
        }
        Ok(())
    }
}
