//! Counts and checksums of everything that a store holds, to compare two of them.

use persistence::{Batch, ConvKey};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::Hasher;
use wire::{Seq, UserId};

/// Rows by kind: how many, and a sum over all of them that does not depend on their order. Only
/// meant to be compared within one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    kinds: BTreeMap<&'static str, (u64, u64)>,
    text: String,
}

impl Tally {
    /// Adds a row.
    pub(crate) fn add(&mut self, kind: &'static str, key: impl Debug, value: impl Debug) {
        self.text.clear();
        write!(self.text, "{kind} {key:?} {value:?}").expect("a string takes everything");
        let mut hasher = DefaultHasher::new();
        hasher.write(self.text.as_bytes());
        let (count, sum) = self.kinds.entry(kind).or_default();
        *count += 1;
        *sum = sum.wrapping_add(hasher.finish());
        self.text.clear();
    }

    fn add_all<K: Debug, V: Debug>(&mut self, kind: &'static str, rows: &BTreeMap<K, V>) {
        rows.iter().for_each(|(key, value)| self.add(kind, key, value));
    }

    /// Adds what was counted elsewhere.
    pub fn join(&mut self, other: &Tally) {
        for (kind, (count, sum)) in &other.kinds {
            let own = self.kinds.entry(kind).or_default();
            *own = (own.0 + count, own.1.wrapping_add(*sum));
        }
    }

    /// Adds the rows of a batch; a place must not come in two of them.
    pub fn add_batch(&mut self, batch: &Batch) {
        self.add_all("messages", &batch.message_rows());
        self.add_all("changes", &batch.changes);
        for (user, entry) in &batch.entries {
            self.add("entries", user, entry);
        }
        self.add_all("conversations", &batch.conversations);
        self.add_all("outboxes", &batch.outboxes);
        self.add_all("heads", &batch.heads);
        self.add_all("epochs", &batch.epochs);
        self.add_all("trims", &batch.trims);
        self.add_all("last_seen", &batch.last_seen);
        self.add_all("privacy", &batch.privacy);
        self.add_all("command_outboxes", &batch.command_outboxes);
        self.add_all("cursors", &batch.cursors);
        self.add_all("devices", &batch.devices);
        self.add_all("contacts", &batch.contacts);
        self.add_all("blocks", &batch.blocks);
        self.add_all("taken", &batch.taken);
        self.add_all("reads", &batch.reads);
        self.add_all("settings", &batch.settings);
        self.add_all("last_inbox", &batch.last_inbox);
        self.add_all("delivered", &batch.delivered);
        for (member, marks) in &batch.receipts {
            self.add("peer_read", member, marks.read);
            for (rank, upto) in (0..).zip(&marks.delivered) {
                self.peer_delivered(*member, rank, *upto);
            }
        }
        for (&(user, conv), ranges) in &batch.hidden {
            ranges.iter().for_each(|range| self.hidden(user, conv, range.0, range.1));
        }
    }

    pub(crate) fn peer_delivered(&mut self, member: (UserId, ConvKey), rank: u64, upto: Seq) {
        self.add("peer_delivered", (member, rank), upto);
    }

    pub(crate) fn hidden(&mut self, user: UserId, conv: ConvKey, first: Seq, last: Seq) {
        self.add("hidden", (user, conv), (first, last));
    }

    /// Rows of a kind.
    pub fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).map_or(0, |(count, _)| *count)
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.kinds.values().map(|(count, _)| count).sum()
    }

    /// The kinds that differ, with both counts; empty: the two are equal.
    pub fn differences(&self, other: &Tally) -> Vec<(&'static str, u64, u64)> {
        let kinds: std::collections::BTreeSet<_> =
            self.kinds.keys().chain(other.kinds.keys()).copied().collect();
        let of = |tally: &Tally, kind: &str| tally.kinds.get(kind).copied().unwrap_or_default();
        let differ = kinds.into_iter().filter(|kind| of(self, kind) != of(other, kind));
        differ.map(|kind| (kind, of(self, kind).0, of(other, kind).0)).collect()
    }
}

/// One line: kinds, counts and checksums.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds.iter().map(|(kind, (count, sum))| format!("{kind} {count}:{sum:x}"));
        f.write_str(&kinds.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_content_does() {
        let (mut a, mut b, mut c) = (Tally::default(), Tally::default(), Tally::default());
        for n in 0..9 {
            a.add("kind", n, "value");
            b.add("kind", 8 - n, "value");
            c.add("kind", n, if n == 4 { "other" } else { "value" });
        }
        assert_eq!(a.differences(&b), []);
        assert_eq!(a.differences(&c), [("kind", 9, 9)]);
        c.add("more", 1, 1);
        assert_eq!(c.differences(&a).last(), Some(&("more", 1, 0)));
        assert_eq!((c.rows(), c.count("kind")), (10, 9));
    }
}
