//! A timer wheel for connections: coarse, lazily re-armed, no cost when a deadline moves away.
//!
//! A connection stands in at most one bucket. When the bucket comes, its owner looks at the real
//! deadline, and puts the connection back if that is later. So hearing from a client costs one
//! store, and each connection is looked at once per round of the wheel at most.

/// One bucket spans this many microseconds (2^16: 65.5 ms).
const TICK_SHIFT: u32 = 16;
const BUCKETS: usize = 512;

/// Buckets of connection indexes.
pub(crate) struct Wheel {
    buckets: Vec<Vec<u32>>,
    occupied: [u64; BUCKETS / 64],
    /// Ticks before this one have fired.
    tick: u64,
}

impl Wheel {
    pub fn new(mono_us: u64) -> Wheel {
        Wheel {
            buckets: vec![Vec::new(); BUCKETS],
            occupied: [0; BUCKETS / 64],
            tick: mono_us >> TICK_SHIFT,
        }
    }

    /// Lets `conn` come up at `deadline_us`, or at the end of the round if that is sooner.
    pub fn insert(&mut self, conn: u32, deadline_us: u64) {
        let due = (deadline_us >> TICK_SHIFT) + 1;
        let tick = due.clamp(self.tick, self.tick + BUCKETS as u64 - 1);
        let bucket = tick as usize % BUCKETS;
        self.buckets[bucket].push(conn);
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// One bucket that has come by `mono_us`, if there is one: call until `None`.
    pub fn expire(&mut self, mono_us: u64) -> Option<Vec<u32>> {
        let now = mono_us >> TICK_SHIFT;
        while self.tick <= now {
            let bucket = self.tick as usize % BUCKETS;
            if self.buckets[bucket].is_empty() {
                // After a long pause whole rounds are empty: jump.
                self.tick = match self.next_tick() {
                    Some(next) => next.min(now + 1),
                    None => now + 1,
                };
                continue;
            }
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            self.tick += 1;
            return Some(std::mem::take(&mut self.buckets[bucket]));
        }
        None
    }

    /// When `expire` has something, in microseconds.
    pub fn deadline_us(&self) -> Option<u64> {
        Some(self.next_tick()? << TICK_SHIFT)
    }

    fn next_tick(&self) -> Option<u64> {
        let start = self.tick as usize % BUCKETS;
        (0..=BUCKETS / 64)
            .find_map(|word| {
                let at = (start / 64 + word) % (BUCKETS / 64);
                let mask = match word {
                    0 => u64::MAX << (start % 64),
                    _ if word == BUCKETS / 64 => !(u64::MAX << (start % 64)),
                    _ => u64::MAX,
                };
                let bits = self.occupied[at] & mask;
                (bits != 0).then(|| at * 64 + bits.trailing_zeros() as usize)
            })
            .map(|bucket| self.tick + ((bucket + BUCKETS - start) % BUCKETS) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_up_after_its_deadline_and_never_before() {
        let mut wheel = Wheel::new(0);
        for (conn, ms) in [(1, 10), (2, 500), (3, 20_000), (4, 3_600_000)] {
            wheel.insert(conn, ms * 1_000);
        }
        let mut seen = Vec::new();
        for ms in (0..40_000).step_by(7) {
            while let Some(conns) = wheel.expire(ms * 1_000) {
                seen.extend(conns.into_iter().map(|conn| (conn, ms)));
            }
        }
        let at = |conn| seen.iter().find(|(c, _)| *c == conn).expect("came up").1;
        assert!((10..150).contains(&at(1)) && (500..700).contains(&at(2)));
        assert!((20_000..20_200).contains(&at(3)));
        assert!(at(4) < 34_000, "a far deadline comes up at the end of the round");
        assert_eq!(wheel.deadline_us(), None);
    }

    #[test]
    fn a_long_pause_fires_everything_once() {
        let mut wheel = Wheel::new(0);
        (0..100).for_each(|conn| wheel.insert(conn, u64::from(conn) * 400_000));
        let mut fired = 0;
        while let Some(conns) = wheel.expire(1 << 50) {
            fired += conns.len();
        }
        assert_eq!(fired, 100);
    }
}
