//! What one of each thing takes in memory, in bytes, for a ledger: from the types themselves. How
//! many there may be stands in `Limits`.
//!
//! Room that a vector has doubled into and does not use is not written to, so it is not resident
//! and not counted. A queue walks through all of its room, and a hash table scatters into it: both
//! count with their worst fill.

use crate::conversation::{Conversation, Owed};
use crate::gate::Gated;
use crate::loads::Pending;
use crate::member::Member;
use crate::session::{Attached, Greeting, InFlight, Session};
use crate::table::slot_bytes;
use crate::user::{Device, User};
use crate::work::Work;
use crate::{Ask, AskId, ConnId, InboxAppend, Relay, SendAnswer, SendRequest};
use persistence::{ConvKey, OutboxState, Position, RECOVERED_PLACE_BYTES};
use wire::{DeviceId, FRAME_OVERHEAD_MAX, HELLO_BYTES_MAX, Seq, UserId};

/// A queue's room is at most twice what it held.
const fn queued<T>() -> u64 {
    2 * size_of::<T>() as u64
}

/// A hash table is filled to 7/16 at least, with a byte of its own for each place.
pub(crate) const fn hashed<T>() -> u64 {
    (size_of::<T>() as u64 + 1) * 16 / 7
}

const fn max(a: usize, b: usize) -> u64 {
    if a > b { a as u64 } else { b as u64 }
}

/// A connection's session and its places in the core's queues; without frames and output.
pub const SESSION_BYTES: u64 = (size_of::<Option<Box<Session>>>() + size_of::<Session>()) as u64
    + max(size_of::<Attached>(), size_of::<Greeting>())
    // Ready, paused; who tells later; the cursor and the wheel's bucket.
    + 2 * queued::<ConnId>()
    + 2 * queued::<(u64, ConnId)>()
    + (size_of::<(UserId, DeviceId)>() + size_of::<u32>()) as u64;
/// An inbox entry in flight to a device.
pub const ENTRY_IN_FLIGHT_BYTES: u64 = queued::<InFlight>();
/// A frame beside its body, with the longest varint that its length may turn out to be.
pub const FRAME_BYTES: u64 = FRAME_OVERHEAD_MAX as u64 + 10;
/// A HELLO before WELCOME.
pub const HELLO_BYTES: u64 = HELLO_BYTES_MAX as u64 + 10;
/// A user; devices extra.
pub const USER_BYTES: u64 = slot_bytes::<UserId, User>();
/// A device of a user.
pub const DEVICE_BYTES: u64 = size_of::<Device>() as u64;
/// A conversation; outboxes extra.
pub const CONVERSATION_BYTES: u64 = slot_bytes::<ConvKey, Conversation>();
/// An outbox of a conversation.
pub const OUTBOX_BYTES: u64 = size_of::<OutboxState>() as u64;
/// A member; the marks of its devices extra.
pub const MEMBER_BYTES: u64 = slot_bytes::<(UserId, ConvKey), Member>();
/// An event that waits for a load, beside its body.
pub const WAITING_BYTES: u64 =
    queued::<Work>() + max(size_of::<SendRequest>(), size_of::<InboxAppend>());
/// A fan-out that is owed: with its conversation, and in the set of all. The set's leaves are half
/// full at least.
pub const OWED_BYTES: u64 = queued::<Owed>() + 3 * size_of::<Position>() as u64;
/// A load or scan under way.
pub const ASK_BYTES: u64 =
    hashed::<(AskId, Pending)>() + queued::<(u64, AskId)>() + queued::<(AskId, Ask)>();
/// A lane's entry with the box that it points to; its body stands in the log or in what waits.
pub const LANE_ENTRY_BYTES: u64 = size_of::<Relay>() as u64
    + max(
        size_of::<SendRequest>(),
        max(size_of::<InboxAppend>(), size_of::<SendAnswer>()) as usize,
    );
/// A record that is not in the backend: its place in two inboxes.
pub const RECORD_BYTES: u64 = 2 * queued::<Position>();
/// A record of an older generation: where it is, its place in two inboxes and a conversation.
pub const RECOVERED_RECORD_BYTES: u64 =
    RECOVERED_PLACE_BYTES + (2 * size_of::<(Seq, Position)>() + size_of::<Position>()) as u64;
/// What waits for a record to be durable.
pub const GATED_BYTES: u64 = queued::<(Position, Gated)>();
