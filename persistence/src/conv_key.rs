//! A conversation's own name, and where users live.

use wire::{Conv, UserId};

/// Pieces of the user space: the unit of ownership.
pub const SLOTS: u16 = 4096;

/// The slot of a user: a fixed mix of the number, so that neighbours spread.
pub fn slot_of(user: UserId) -> u16 {
    (mix(user.get()) % SLOTS as u64) as u16
}

/// SplitMix64's finaliser: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A one-to-one conversation, the same from both sides: `low` < `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvKey {
    low: UserId,
    high: UserId,
}

impl ConvKey {
    /// The conversation of two users; `None` with oneself.
    pub fn new(a: UserId, b: UserId) -> Option<ConvKey> {
        match a.cmp(&b) {
            std::cmp::Ordering::Less => Some(ConvKey { low: a, high: b }),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(ConvKey { low: b, high: a }),
        }
    }

    /// The one that `user` names so; `None` if nobody's or the user's own number is named.
    pub fn of(user: UserId, conv: Conv) -> Option<ConvKey> {
        let Conv::Direct(peer) = conv;
        ConvKey::new(user, UserId::new(peer)?)
    }

    /// Both participants, lower number first.
    pub fn participants(self) -> [UserId; 2] {
        [self.low, self.high]
    }

    /// The other participant. Panics if `user` takes no part: our mistake.
    pub fn peer_of(self, user: UserId) -> UserId {
        assert!(user == self.low || user == self.high, "{user:?} is not in {self:?}");
        if user == self.low { self.high } else { self.low }
    }

    /// The name that `user` gives it.
    pub fn seen_by(self, user: UserId) -> Conv {
        Conv::Direct(self.peer_of(user).get())
    }

    /// The participant whose home sequences the conversation: picked by a hash of the pair, so
    /// that load is even between the two homes.
    pub fn owner(self) -> UserId {
        let pair = mix(self.low.get()).wrapping_add(self.high.get());
        if mix(pair) & 1 == 0 { self.low } else { self.high }
    }
}
