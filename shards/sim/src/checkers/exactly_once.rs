//! Exactly once: a body has one place, the one that its author composed it for; nothing that a
//! surviving device holds vanishes (P3).

use super::{Checker, ensure};
use crate::fact::{DeviceIndex, End, Fact, Placed};
use persistence::ConvKey;
use std::collections::{BTreeMap, BTreeSet};
use wire::{BodyHash, Seq, UserId};

struct Composed {
    sender: UserId,
    conv: ConvKey,
}

/// Every body, and where it stands.
#[derive(Default)]
pub struct ExactlyOnce {
    composed: BTreeMap<BodyHash, Composed>,
    queued: Vec<(DeviceIndex, BodyHash)>,
    places: BTreeMap<BodyHash, Placed>,
    shown: BTreeSet<(DeviceIndex, ConvKey, Seq)>,
    settled: Vec<(UserId, ConvKey, Seq, BodyHash, bool)>,
}

impl ExactlyOnce {
    fn place(&mut self, placed: &Placed) -> Result<(), String> {
        let composed = self.composed.get(&placed.hash);
        let genuine = composed.is_some_and(|c| c.sender == placed.sender && c.conv == placed.conv);
        ensure(genuine, || format!("nobody wrote that there: {placed:?}"))?;
        let first = *self.places.entry(placed.hash).or_insert(*placed);
        let once = (first.conv, first.conv_seq) == (placed.conv, placed.conv_seq);
        ensure(once, || format!("stored twice:\n  {first:?}\n  {placed:?}"))
    }
}

impl Checker for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly once"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Composed { sender, conv, hash } => {
                self.composed.insert(hash, Composed { sender, conv });
                Ok(())
            }
            Fact::Queued { device, hash } => {
                self.queued.push((device, hash));
                Ok(())
            }
            Fact::Promised { ref placed } => self.place(placed),
            Fact::Received { ref entry, .. } => self.place(&entry.placed),
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
            let placed = self.places.get(hash);
            let true_so = placed.is_some_and(|placed| {
                placed.void == *void && (*void || placed.conv_seq == *conv_seq)
            });
            ensure(true_so, || {
                format!("shown as settled at {conv_seq} of {conv:?} by {sender:?}: {placed:?}")
            })?;
        }
        for (device, hash) in &self.queued {
            let kept = end.intact.contains(device);
            let unsettled = end.unsettled.contains(&(*device, *hash));
            ensure(!kept || unsettled || self.places.contains_key(hash), || {
                format!("{hash:?} vanished from {device:?}")
            })?;
        }
        let mut seen = BTreeSet::new();
        for (user, entries) in &end.inboxes {
            for entry in entries {
                let new = seen.insert((*user, entry.placed.hash));
                ensure(new, || format!("twice in the inbox of {user:?}: {entry:?}"))?;
            }
        }
        Ok(())
    }
}
