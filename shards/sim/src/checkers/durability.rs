//! An ack is the truth: what a device saw as SENT stands in every participant's inbox, and so on
//! every surviving device (P1, P4, P5).

use super::{Checker, ensure};
use crate::fact::{End, Fact, Placed};
use persistence::ConvKey;
use std::collections::{BTreeMap, BTreeSet};
use wire::{BodyHash, Seq, UserId};

/// All promises so far.
#[derive(Default)]
pub struct Durability {
    promised: Vec<Placed>,
    /// What some device received as an inbox entry is a promise too.
    received: BTreeSet<(UserId, ConvKey, Seq, u64)>,
}

type Inbox = BTreeMap<(ConvKey, Seq), (BodyHash, bool)>;

impl Durability {
    fn promise(&self, placed: &Placed, inboxes: &BTreeMap<UserId, Inbox>) -> Result<(), String> {
        for user in placed.conv.participants() {
            if placed.void && user != placed.sender {
                continue;
            }
            let there = inboxes.get(&user).and_then(|i| i.get(&(placed.conv, placed.conv_seq)));
            let kept = there == Some(&(placed.hash, placed.void));
            ensure(kept, || format!("{placed:?} is not in the inbox of {user:?}: {there:?}"))?;
        }
        Ok(())
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Promised { placed } => self.promised.push(*placed),
            Fact::Received { entry, .. } => {
                let placed = &entry.placed;
                self.received.insert((entry.user, placed.conv, placed.conv_seq, placed.hash.0));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        let inbox = |entries: &Vec<crate::fact::Entry>| -> Inbox {
            let placed = entries.iter().map(|entry| entry.placed);
            placed.map(|p| ((p.conv, p.conv_seq), (p.hash, p.void))).collect()
        };
        let inboxes = end.inboxes.iter().map(|(user, entries)| (*user, inbox(entries))).collect();
        self.promised.iter().try_for_each(|placed| self.promise(placed, &inboxes))?;
        for (user, conv, conv_seq, hash) in &self.received {
            let there = inboxes.get(user).and_then(|inbox| inbox.get(&(*conv, *conv_seq)));
            ensure(there.is_some_and(|(kept, _)| kept.0 == *hash), || {
                format!("{user:?} received {conv_seq} of {conv:?}, and lost it: {there:?}")
            })?;
        }
        for (device, (user, history)) in &end.histories {
            for (place, (hash, void)) in &inboxes[user] {
                let here = history.get(place);
                ensure(here == Some(hash) || (*void && here.is_none()), || {
                    format!("{device:?} of {user:?} has {here:?} at {place:?}, not {hash:?}")
                })?;
            }
        }
        Ok(())
    }
}
