//! A lease on a node's seal: says when another process may try to take over. Whether it succeeds,
//! and what counts then, never rests on it.

use super::{Deposed, Seal};

/// How long a lease holds, from before its renewal was sent, in microseconds of the owner's own
/// clock (one that goes on while the machine sleeps).
pub const LEASE_US: u64 = 6_000_000;
/// How long after a renewal was sent the next one is, in microseconds.
pub const RENEW_US: u64 = 2_000_000;

/// An owner's lease.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    seal: Seal,
    until_us: u64,
}

impl Lease {
    /// The lease of a seal that was taken at `now_us`: over, until it is renewed.
    pub fn new(seal: Seal, now_us: u64) -> Lease {
        Lease { seal, until_us: now_us }
    }

    /// Until when it holds, on the owner's clock.
    pub fn until_us(&self) -> u64 {
        self.until_us
    }

    /// The seal with its next beat: to be set by a transaction that compares incarnation and
    /// taker, and read back serially, whatever the transaction's answer was.
    pub fn renewal(&self) -> Seal {
        Seal { beat: self.seal.beat + 1, ..self.seal }
    }

    /// What the serial read after a renewal found; `sent_us`: when the renewal was sent. A renewal
    /// that did not happen is tried again.
    pub fn renewed(&mut self, sent_us: u64, found: Option<Seal>) -> Result<(), Deposed> {
        let renewal = self.renewal();
        match found {
            Some(found) if found == renewal => {
                self.seal = renewal;
                self.until_us = sent_us + LEASE_US;
                Ok(())
            }
            // An older renewal may land late: the next one counts on from there.
            Some(found)
                if (found.incarnation, found.taker) == (renewal.incarnation, renewal.taker) =>
            {
                self.seal.beat = self.seal.beat.max(found.beat);
                Ok(())
            }
            found => Err(Deposed { by: found.map(|found| found.incarnation) }),
        }
    }
}
