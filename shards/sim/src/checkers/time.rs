//! Time within a conversation never goes back (R9).

use super::{Checker, ensure};
use crate::fact::{End, Fact, Placed};
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::Seq;

/// The time at every place.
#[derive(Default)]
pub struct Time {
    places: BTreeMap<ConvKey, BTreeMap<Seq, u64>>,
}

impl Time {
    fn place(&mut self, placed: &Placed) -> Result<(), String> {
        let places = self.places.entry(placed.conv).or_default();
        let before = places.range(..placed.conv_seq).next_back();
        let after = places.range(placed.conv_seq + 1..).next();
        let fits = before.is_none_or(|(_, time_ms)| *time_ms <= placed.time_ms)
            && after.is_none_or(|(_, time_ms)| *time_ms >= placed.time_ms);
        ensure(fits, || format!("between {before:?} and {after:?}: {placed:?}"))?;
        places.insert(placed.conv_seq, placed.time_ms);
        Ok(())
    }
}

impl Checker for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Promised { placed } => self.place(placed),
            Fact::Received { entry, .. } => self.place(&entry.placed),
            Fact::Item { placed: Some(placed), .. } => self.place(placed),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _end: &End) -> Result<(), String> {
        Ok(())
    }
}
