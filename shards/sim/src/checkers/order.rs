//! One order: a place holds one thing, the same for everybody, and places have no holes (P2).

use super::{Checker, ensure};
use crate::fact::{End, Entry, Fact, Placed, View};
use client::Kind;
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::{BodyHash, Seq};

/// The first sight of each place.
#[derive(Default)]
pub struct Order {
    places: BTreeMap<(ConvKey, Seq), Placed>,
}

impl Order {
    fn place(&mut self, placed: &Placed) -> Result<(), String> {
        ensure(placed.conv_seq > 0, || format!("place 0: {placed:?}"))?;
        let first = self.places.entry((placed.conv, placed.conv_seq)).or_insert(*placed);
        if untold(first) && first.sender == placed.sender {
            first.hash = placed.hash;
        }
        let first = *first;
        let same = first.sender == placed.sender
            && (first.hash == placed.hash || untold(&first) || untold(placed))
            && first.void == placed.void
            && first.time_ms == placed.time_ms
            && (first.origin.is_none() || placed.origin.is_none() || first.origin == placed.origin);
        ensure(same, || format!("two things at one place:\n  {first:?}\n  {placed:?}"))
    }

    /// Within one inbox a conversation's places ascend, and only what the peer gave up or what is
    /// hidden is missing.
    fn inbox(&self, entries: &[Entry], newcomer: &View) -> Result<(), String> {
        let mut next: BTreeMap<ConvKey, Seq> = BTreeMap::new();
        for entry in entries {
            let placed = &entry.placed;
            let next = next.entry(placed.conv).or_insert(1);
            ensure(placed.conv_seq >= *next, || format!("{entry:?} comes after {}", *next - 1))?;
            for missing in *next..placed.conv_seq {
                let there = newcomer.at(placed.conv, missing).map(|message| message.kind);
                ensure(matches!(there, Some(Kind::PeerVoid | Kind::Hidden)), || {
                    format!("place {missing} of {:?} is missing before {entry:?}", placed.conv)
                })?;
            }
            *next = placed.conv_seq + 1;
        }
        Ok(())
    }
}

/// Its text was changed later, and this observer is not told what it was.
fn untold(placed: &Placed) -> bool {
    placed.hash == BodyHash(0)
}

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Promised { placed } => self.place(placed),
            Fact::Received { entry, .. } => self.place(&entry.placed),
            Fact::Item { placed: Some(placed), .. } => self.place(placed),
            Fact::Shown { conv, conv_seq, hash: Some(hash), .. } => {
                let there = self.places.get(&(*conv, *conv_seq));
                ensure(there.is_some_and(|there| there.hash == *hash), || {
                    format!("{hash:?} is shown at {conv_seq} of {conv:?}: {there:?}")
                })
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        let mut inboxes = end.inboxes.iter();
        inboxes.try_for_each(|(user, entries)| self.inbox(entries, &end.newcomers[user]))
    }
}
