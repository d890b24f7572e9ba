//! What those who write see of a store that is away for a while: how long nothing is acked, and
//! which sends wait.

use std::ops::Range;
use std::time::{Duration, Instant};

/// While a quorum is left, something is acked at least so often …
const GAP_MAX: Duration = Duration::from_secs(5);
/// … and of so many sends in a hundred, each is acked within that time.
const ACKED_PERCENT_MIN: f64 = 95.0;
/// Of a store without a quorum, acks that it gave before arrive by then.
const LAST_ACKS: Duration = Duration::from_secs(1);

/// A send and its ack.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// When it was composed.
    pub composed: Instant,
    /// When its ack came.
    pub acked: Instant,
}

/// Some nodes of the store were away.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// They were killed.
    pub killed: Instant,
    /// They were started again, all at once …
    pub started: Instant,
    /// … and answered.
    pub ready: Instant,
    /// Something was acked since, and a moment passed.
    pub back: Instant,
}

impl Outage {
    /// Whether one of these times is part of it.
    pub fn overlaps(&self, times: &[Range<Instant>]) -> bool {
        times.iter().any(|time| time.start < self.back && self.killed < time.end)
    }
}

/// What was seen of all outages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How many there were.
    pub outages: usize,
    /// The longest time without an ack.
    pub gap: Duration,
    /// The longest time without an ack once the nodes answered again.
    pub resumed: Duration,
    /// Sends of that time.
    pub sends: u64,
    /// Of those, sends that were acked within `GAP_MAX`.
    pub in_time: u64,
    /// Acks while the nodes were away, but for a moment after the kill.
    pub false_acks: u64,
}

impl Seen {
    /// Of all sends, in percent, those that were acked in time; 100 if there were none.
    pub fn in_time_percent(&self) -> f64 {
        if self.sends == 0 { 100.0 } else { 100.0 * self.in_time as f64 / self.sends as f64 }
    }

    /// What is promised and was not kept, in words.
    pub fn broken(&self, quorum_left: bool) -> Option<String> {
        let (gap, percent) = (self.gap, self.in_time_percent());
        if !quorum_left && self.false_acks > 0 {
            return Some(format!("{} acks while no quorum was left", self.false_acks));
        }
        if quorum_left && gap > GAP_MAX {
            return Some(format!("nothing was acked for {gap:?} although a quorum was left"));
        }
        let late = quorum_left && percent < ACKED_PERCENT_MIN;
        late.then(|| format!("{percent:.1} % of the sends were acked within {GAP_MAX:?}"))
    }
}

/// What acks, in order, and what is not acked (when it was composed) tell of outages.
pub fn seen<'a>(
    outages: impl IntoIterator<Item = &'a Outage>,
    acks: &[Acked],
    unacked: &[Instant],
) -> Seen {
    let mut seen = Seen::default();
    for outage in outages {
        let window = outage.killed..outage.back;
        seen.outages += 1;
        let mut last = outage.killed;
        for Acked { acked, .. } in acks.iter().filter(|ack| window.contains(&ack.acked)) {
            seen.gap = seen.gap.max(*acked - last);
            last = *acked;
        }
        seen.gap = seen.gap.max(outage.back - last);
        let first = acks.iter().find(|ack| ack.acked >= outage.started);
        let first = first.map_or(outage.back, |ack| ack.acked);
        seen.resumed = seen.resumed.max(first.saturating_duration_since(outage.ready));
        let sent = |ack: &&Acked| window.contains(&ack.composed);
        for ack in acks.iter().filter(sent) {
            seen.sends += 1;
            seen.in_time += u64::from(ack.acked - ack.composed <= GAP_MAX);
        }
        seen.sends += unacked.iter().filter(|composed| window.contains(composed)).count() as u64;
        let nothing = outage.killed + LAST_ACKS..outage.started;
        seen.false_acks += acks.iter().filter(|ack| nothing.contains(&ack.acked)).count() as u64;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after some instant: the outage begins at 100, is half over at 110, over at 120.
    fn of(acks: &[(u64, u64)], unacked: &[u64]) -> Seen {
        let begin = Instant::now();
        let at = |s: u64| begin + Duration::from_secs(s);
        let [killed, started, ready, back] = [100, 110, 111, 120].map(at);
        let outage = Outage { killed, started, ready, back };
        let acks: Vec<_> =
            acks.iter().map(|&(c, a)| Acked { composed: at(c), acked: at(a) }).collect();
        let unacked: Vec<_> = unacked.iter().map(|&composed| at(composed)).collect();
        seen([&outage], &acks, &unacked)
    }

    #[test]
    fn the_longest_time_without_an_ack_is_found() {
        let every = |seconds: &[u64]| seconds.iter().map(|&s| (s, s)).collect::<Vec<_>>();
        let seen = of(&every(&[90, 101, 104, 108, 112, 116, 119, 130]), &[]);
        assert_eq!((seen.gap, seen.resumed), (Duration::from_secs(4), Duration::from_secs(1)));
        assert_eq!((seen.sends, seen.in_time), (6, 6));
        assert_eq!(seen.broken(true), None);
        let seen = of(&every(&[90, 106, 110, 114, 118]), &[]);
        assert_eq!(seen.gap, Duration::from_secs(6));
        assert!(seen.broken(true).is_some_and(|words| words.starts_with("nothing")));
        assert_eq!(of(&[], &[]).gap, Duration::from_secs(20), "nothing at all");
    }

    #[test]
    fn sends_that_wait_are_counted() {
        let acks: Vec<_> = (100..120).map(|s| (s, s)).collect();
        assert_eq!(of(&acks, &[101]).in_time_percent(), 100.0 * 20.0 / 21.0);
        assert_eq!(of(&acks, &[101]).broken(true), None);
        let seen = of(&acks, &[101, 102]);
        assert!(seen.broken(true).is_some_and(|words| words.starts_with("90.9 %")));
        assert_eq!(of(&acks, &[90, 121]).sends, 20, "not of that time");
    }

    #[test]
    fn an_ack_without_a_quorum_is_false() {
        assert_eq!(of(&[(99, 100), (110, 115)], &[]).broken(false), None);
        assert_eq!(of(&[(99, 105)], &[]).false_acks, 1);
        assert!(of(&[(99, 105)], &[]).broken(false).is_some());
    }
}
