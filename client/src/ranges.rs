//! Which places of a sequence are here, as continuous ranges.

use wire::Seq;

/// A set of places, kept as sorted ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<(Seq, Seq)>,
}

impl Ranges {
    /// Whether this place is here.
    pub fn contains(&self, seq: Seq) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < seq);
        self.ranges.get(at).is_some_and(|&(first, _)| first <= seq)
    }

    /// Whether all places from `first` to `last` are here.
    pub fn covers(&self, first: Seq, last: Seq) -> bool {
        let at = self.ranges.partition_point(|&(_, end)| end < first);
        self.ranges.get(at).is_some_and(|&(start, end)| start <= first && last <= end)
    }

    /// The highest place from 1 to `last` that is not here.
    pub fn highest_hole(&self, last: Seq) -> Option<Seq> {
        let at = self.ranges.partition_point(|&(_, end)| end < last);
        let hole = match self.ranges.get(at) {
            Some(&(start, _)) if start <= last => start.saturating_sub(1),
            _ => last,
        };
        (hole > 0).then_some(hole)
    }

    /// Adds all places from `first` to `last`.
    pub fn insert(&mut self, first: Seq, last: Seq) {
        debug_assert!(first <= last);
        // Everything that overlaps or touches becomes one range.
        let from = self.ranges.partition_point(|&(_, end)| end < first.saturating_sub(1));
        let upto = self.ranges.partition_point(|&(start, _)| start <= last.saturating_add(1));
        if from == upto {
            self.ranges.insert(from, (first, last));
            return;
        }
        let start = self.ranges[from].0.min(first);
        let end = self.ranges[upto - 1].1.max(last);
        self.ranges[from] = (start, end);
        self.ranges.drain(from + 1..upto);
    }

    /// The ranges, first and last place of each, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> + '_ {
        self.ranges.iter().copied()
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_agree_with_a_set_whatever_the_order() {
        let mut random = 7u64;
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..40 {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                let first = (random >> 33) % 50;
                let last = first + (random >> 50) % 4;
                ranges.insert(first, last);
                set.extend(first..=last);
            }
            assert!((0..60).all(|seq| ranges.contains(seq) == set.contains(&seq)));
            for last in 1..60 {
                let hole = (1..=last).rev().find(|seq| !set.contains(seq));
                assert_eq!(ranges.highest_hole(last), hole);
                let first = last / 2;
                let all = (first..=last).all(|seq| set.contains(&seq));
                assert_eq!(ranges.covers(first, last), all);
            }
            let all: Vec<_> = ranges.iter().collect();
            assert!(all.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{all:?}");
        }
    }

    #[test]
    fn the_last_number_does_not_overflow() {
        let mut ranges = Ranges::default();
        ranges.insert(u64::MAX, u64::MAX);
        ranges.insert(0, 0);
        assert!(ranges.contains(u64::MAX) && ranges.contains(0) && !ranges.contains(1));
    }
}
