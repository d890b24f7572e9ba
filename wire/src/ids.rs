//! The names that cross the wire: users, devices, outboxes, conversations, hashes.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A position in a conversation or an inbox: 1, 2, 3 …; 0 means "nothing yet". Never recycled.
pub type Seq = u64;

/// A user's number. Any number but 0 is a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(u64);

impl UserId {
    /// The user with this number; `None` for 0, which is nobody.
    pub const fn new(number: u64) -> Option<UserId> {
        if number == 0 { None } else { Some(UserId(number)) }
    }

    /// The number, never 0.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A device of a user: unique within the user, named by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

/// The name of an outbox: a random 64-bit number made together with the outbox's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub u64);

/// XXH3-64 of a message body, see `content_hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyHash(pub u64);

/// A conversation as one of its participants names it. On the wire it starts with a kind byte,
/// so that other kinds (groups) can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conv {
    /// Kind 1: the one-to-one conversation with the user of this number. Not yet validated: a
    /// server refuses 0 and the sender's own number.
    Direct(u64),
}

/// What a message changes that is no plain one: an earlier message of its sender in the same
/// conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change {
    /// Place of that message.
    pub target: Seq,
    /// Deleted for everyone; otherwise edited.
    pub delete: bool,
}

/// The hash of a send, as own entries carry it and as VOID names it: of its body, with seed 0 for
/// a plain message, `2 * target` for an edit, `2 * target + 1` for a deletion (modulo 2^64).
pub fn content_hash(body: &[u8], change: Option<Change>) -> BodyHash {
    let seed = change.map_or(0, |change| (change.target << 1) | u64::from(change.delete));
    BodyHash(xxh3_64_with_seed(body, seed))
}

/// The content hash of a plain message, as own entries carry it and as VOID names it.
pub fn body_hash(body: &[u8]) -> BodyHash {
    BodyHash(xxh3_64(body))
}

/// The outbox into which a body moves when its number turns out to hold another body (a cloned or
/// restored device): XXH3-64 of the old outbox, the old number and the body's hash, each as eight
/// little-endian bytes. Every copy of the device derives the same name, so a body moves once.
pub fn outbox_of_moved(outbox: OutboxId, n: Seq, hash: BodyHash) -> OutboxId {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&outbox.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&n.to_le_bytes());
    bytes[16..].copy_from_slice(&hash.0.to_le_bytes());
    OutboxId(xxh3_64(&bytes))
}
