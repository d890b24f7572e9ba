//! All chance of a run: one seed, one generator per part, so that parts do not disturb each other.

/// Xoshiro256**, seeded by SplitMix64 (Blackman and Vigna, 2018).
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Rng {
        let mut state = seed;
        Rng(std::array::from_fn(|_| split_mix(&mut state)))
    }

    /// A generator of its own for a part of the run.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.next())
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in 0..`n`; `n` > 0. The bias of at most n / 2^64 does not matter here.
    pub fn below(&mut self, n: u64) -> u64 {
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// A number in `low`..=`high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "{low} > {high}");
        low + self.below(high - low + 1)
    }

    /// A number in `low`..=`high`, every power of two about as likely as the others.
    pub fn scaled(&mut self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        let (bits_low, bits_high) = (64 - low.leading_zeros(), 64 - high.leading_zeros());
        let bits = self.between(bits_low as u64, bits_high as u64) as u32;
        let floor = if bits == 0 { 0 } else { 1u64 << (bits - 1) };
        let ceiling = if bits == 0 { 0 } else { floor + (floor - 1) };
        self.between(floor.clamp(low, high), ceiling.clamp(low, high))
    }

    /// True this many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_ranges() {
        let mut rng = Rng::new(7);
        for _ in 0..10_000 {
            assert!((3..=9).contains(&rng.between(3, 9)));
            assert!((20..=1_000).contains(&rng.scaled(20, 1_000)));
            assert!(rng.below(5) < 5);
        }
        assert_eq!(rng.scaled(4, 4), 4);
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Rng::new(1), Rng::new(1));
        assert!((0..100).all(|_| a.next() == b.next()));
    }
}
