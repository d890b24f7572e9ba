//! Keys. Numbers are big-endian, so that a range of numbers is a range of keys.
//!
//! | table | key | row |
//! | --- | --- | --- |
//! | messages | low user, high user, last conv_seq of 16, `b` | those messages that are short |
//! | messages | low user, high user, conv_seq | a message that is long |
//! | messages | low user, high user, conv_seq, `c` | what changed that message |
//! | messages | low user, high user, last conv_seq of 256, `w` | who wrote which of those |
//! | entries | user, last inbox_seq, first | inbox entries, from the first on |
//! | conversations | low user, high user | head and its time |
//! | conversations | low user, high user, sender, outbox | next and device |
//! | users | user, `h` | inbox head |
//! | users | user, `e` | inbox epoch |
//! | users | user, `t` | trimmed up to here |
//! | users | user, `s` | last seen |
//! | users | user, `p` | privacy |
//! | users | user, `o`, outbox | next and device, of commands |
//! | users | user, `d`, device | cursor |
//! | users | user, `i`, device | what the device said of itself |
//! | users | user, `x`, peer, `c` | contact |
//! | users | user, `x`, peer, `x` | block |
//! | users | user, `y`, inbox_seq | peer whose conversation has its newest message there |
//! | members | user, peer, `t` | newest place taken |
//! | members | user, peer, `r` | own read mark |
//! | members | user, peer, `d`, device | how far the device is |
//! | members | user, peer, `p` | the peer's marks |
//! | members | user, peer, `s` | settings |
//! | members | user, peer, `h`, first | last place of a hidden range |
//! | members | user, peer, `l` | inbox number of the newest message |

use crate::{authors, blocks};
use persistence::ConvKey;
use wire::{DeviceId, OutboxId, Seq, UserId};

pub const MESSAGES: u8 = b'b';
pub const CHANGE: u8 = b'c';
pub const AUTHORS: u8 = b'w';

/// Tags of users' rows; those from `PEER` on are not part of a user's own state.
pub mod user {
    pub const HEAD: u8 = b'h';
    pub const EPOCH: u8 = b'e';
    pub const TRIMMED: u8 = b't';
    pub const LAST_SEEN: u8 = b's';
    pub const PRIVACY: u8 = b'p';
    pub const OUTBOX: u8 = b'o';
    pub const CURSOR: u8 = b'd';
    pub const DEVICE: u8 = b'i';
    pub const PEER: u8 = b'x';
    pub const CHAT: u8 = b'y';
}

/// Kinds of rows below a user's `PEER`.
pub const CONTACT: u8 = b'c';
pub const BLOCK: u8 = b'x';

/// Tags of members' rows.
pub mod member {
    pub const TAKEN: u8 = b't';
    pub const READ: u8 = b'r';
    pub const DELIVERED: u8 = b'd';
    pub const PEER_MARKS: u8 = b'p';
    pub const SETTINGS: u8 = b's';
    pub const HIDDEN: u8 = b'h';
    pub const LAST_INBOX: u8 = b'l';
}

fn numbers<const N: usize>(parts: [u64; N]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.to_be_bytes()).collect()
}

fn tagged<const N: usize>(parts: [u64; N], tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = numbers(parts);
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

fn pair(conv: ConvKey) -> [u64; 2] {
    conv.participants().map(UserId::get)
}

pub fn message(conv: ConvKey, conv_seq: Seq) -> Vec<u8> {
    let [low, high] = pair(conv);
    numbers([low, high, conv_seq])
}

pub fn change(conv: ConvKey, target: Seq) -> Vec<u8> {
    let [low, high] = pair(conv);
    tagged([low, high, target], CHANGE, &[])
}

/// The row of the `block`th run of `blocks::PLACES` places.
pub fn messages(conv: ConvKey, block: u64) -> Vec<u8> {
    let [low, high] = pair(conv);
    tagged([low, high, block * blocks::PLACES + (blocks::PLACES - 1)], MESSAGES, &[])
}

/// The row of the `block`th run of `authors::PLACES` places.
pub fn authors(conv: ConvKey, block: u64) -> Vec<u8> {
    let [low, high] = pair(conv);
    tagged([low, high, block * authors::PLACES + (authors::PLACES - 1)], AUTHORS, &[])
}

pub fn entries(user: UserId, last: Seq, first: Seq) -> Vec<u8> {
    numbers([user.get(), last, first])
}

pub fn conversation(conv: ConvKey) -> Vec<u8> {
    numbers(pair(conv))
}

pub fn outbox(conv: ConvKey, sender: UserId, outbox: OutboxId) -> Vec<u8> {
    let [low, high] = pair(conv);
    numbers([low, high, sender.get(), outbox.0])
}

pub fn all_of_user(user: UserId) -> Vec<u8> {
    numbers([user.get()])
}

pub fn of_user(user: UserId, tag: u8) -> Vec<u8> {
    tagged([user.get()], tag, &[])
}

pub fn device(user: UserId, tag: u8, device: DeviceId) -> Vec<u8> {
    tagged([user.get()], tag, &device.0.to_be_bytes())
}

pub fn command_outbox(user: UserId, outbox: OutboxId) -> Vec<u8> {
    tagged([user.get()], self::user::OUTBOX, &outbox.0.to_be_bytes())
}

/// A row about a peer; without a kind, where those of the peer start.
pub fn peer(user: UserId, peer: u64, kind: Option<u8>) -> Vec<u8> {
    let mut key = tagged([user.get()], self::user::PEER, &peer.to_be_bytes());
    key.extend(kind);
    key
}

pub fn chat(user: UserId, last_inbox: Seq) -> Vec<u8> {
    tagged([user.get()], self::user::CHAT, &last_inbox.to_be_bytes())
}

pub fn all_of_member(user: UserId, conv: ConvKey) -> Vec<u8> {
    numbers([user.get(), conv.peer_of(user).get()])
}

pub fn of_member(user: UserId, conv: ConvKey, tag: u8) -> Vec<u8> {
    tagged([user.get(), conv.peer_of(user).get()], tag, &[])
}

pub fn delivered(user: UserId, conv: ConvKey, device: DeviceId) -> Vec<u8> {
    let device = device.0.to_be_bytes();
    tagged([user.get(), conv.peer_of(user).get()], member::DELIVERED, &device)
}

pub fn hidden(user: UserId, conv: ConvKey, first: Seq) -> Vec<u8> {
    let first = first.to_be_bytes();
    tagged([user.get(), conv.peer_of(user).get()], member::HIDDEN, &first)
}
