//! What was acked, and what each taker found: nothing is lost, nothing changes its place, and who
//! was deposed acks nothing more. Written without a look at how takers work.

use std::collections::{BTreeMap, BTreeSet};

/// Messages by core and place: which one stands there.
pub type Places = BTreeMap<(u16, u64), u64>;

#[derive(Default)]
pub struct Checker {
    /// Everything that anybody acked, and the incarnation that did.
    acked: BTreeMap<(u16, u64), (u64, u64)>,
    /// In the rows of the backend, for ever.
    pub flushed: Places,
    /// Of those, what the logs need not hold any more: its fan-outs are confirmed.
    let_go: BTreeSet<(u16, u64)>,
    /// What takers started from, by incarnation: found or flushed.
    taken: BTreeMap<u64, Places>,
    pub acks: u64,
    /// The first thing that is wrong.
    pub wrong: Option<String>,
}

impl Checker {
    fn is_wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    /// An owner acks a message.
    pub fn ack(&mut self, incarnation: u64, place: (u16, u64), message: u64) {
        self.acks += 1;
        let (other, _) = *self.acked.entry(place).or_insert((message, incarnation));
        if other != message {
            self.is_wrong(format!("{place:?} was acked as {other} and as {message}"));
        }
        let newer = self.taken.range(incarnation + 1..);
        let misses = |(_, taken): &(&u64, &Places)| taken.get(&place) != Some(&message);
        if let Some((newer, _)) = newer.clone().find(misses) {
            let what = format!("{incarnation} acks {place:?}, which {newer} did not find");
            self.is_wrong(what);
        }
    }

    /// An owner makes a row of a durable message.
    pub fn flush(&mut self, place: (u16, u64), message: u64) {
        let other = *self.flushed.entry(place).or_insert(message);
        if other != message {
            self.is_wrong(format!("the row of {place:?} was {other}, now {message}"));
        }
    }

    /// A core's log drops what it flushed.
    pub fn let_go(&mut self, core: u16) {
        let rows = self.flushed.range((core, 0)..=(core, u64::MAX));
        self.let_go.extend(rows.map(|(place, _)| *place));
    }

    /// A taker starts with these messages.
    pub fn take(&mut self, incarnation: u64, found: Places) {
        let owed =
            |place: &&(u16, u64)| !self.let_go.contains(*place) && !found.contains_key(*place);
        if let Some(place) = self.flushed.keys().find(owed) {
            let what = format!("{place:?} is a row, and {incarnation} does not send its fan-outs");
            self.is_wrong(what);
        }
        let mut taken = self.flushed.clone();
        for (place, message) in found {
            let other = *taken.entry(place).or_insert(message);
            if other != message {
                self.is_wrong(format!("{place:?} has row {other}, {message} is found"));
            }
        }
        for (place, (message, by)) in self.acked.clone() {
            if by < incarnation && taken.get(&place) != Some(&message) {
                self.is_wrong(format!("{incarnation} misses {place:?}, acked as {message}"));
            }
        }
        if self.taken.insert(incarnation, taken).is_some() {
            self.is_wrong(format!("two owners have incarnation {incarnation}"));
        }
    }

    /// The highest place that is a row.
    pub fn head(&self, core: u16) -> u64 {
        let rows = self.flushed.range((core, 0)..=(core, u64::MAX));
        rows.last().map_or(0, |((_, place), _)| *place)
    }
}

impl Checker {
    /// How often the node was taken.
    pub fn takeovers(&self) -> u64 {
        self.taken.len() as u64
    }
}
