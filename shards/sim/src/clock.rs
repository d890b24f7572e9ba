//! Virtual time: one clock that never goes back, one that jumps.

use shards::Now;

/// 2023-11-14, in microseconds since 1970: where the wall clock starts.
const UNIX_START_US: u64 = 1_700_000_000_000_000;

/// Both clocks of the node.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    mono_us: u64,
    jumped_us: i64,
}

impl Clock {
    /// Microseconds since the run began.
    pub fn us(&self) -> u64 {
        self.mono_us
    }

    /// Goes on to `us`; does nothing if that is past.
    pub fn advance_to(&mut self, us: u64) {
        self.mono_us = self.mono_us.max(us);
    }

    /// Sets the wall clock this much forward or back.
    pub fn jump(&mut self, by_us: i64) {
        self.jumped_us = (self.jumped_us + by_us).max(-(UNIX_START_US as i64) / 2);
    }

    /// What a core reads.
    pub fn now(&self) -> Now {
        let unix_us = (UNIX_START_US + self.mono_us).wrapping_add_signed(self.jumped_us);
        Now { mono_us: self.mono_us, unix_us }
    }
}
