//! Keys. Numbers are big-endian, so that a range of numbers is a range of keys.
//!
//! | table | key | row |
//! | --- | --- | --- |
//! | messages | low user, high user, conv_seq | message |
//! | entries | user, inbox_seq | inbox entry |
//! | conversations | low user, high user | head and its time |
//! | conversations | low user, high user, sender, outbox | next and device |
//! | users | user, `h` | inbox head |
//! | users | user, `e` | inbox epoch |
//! | users | user, `d`, device | cursor |
//! | marks | user, peer | newest place taken |

use persistence::ConvKey;
use wire::{DeviceId, OutboxId, Seq, UserId};

pub const HEAD: u8 = b'h';
pub const EPOCH: u8 = b'e';
pub const DEVICE: u8 = b'd';

fn numbers<const N: usize>(parts: [u64; N]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.to_be_bytes()).collect()
}

pub fn message(conv: ConvKey, conv_seq: Seq) -> Vec<u8> {
    let [low, high] = conv.participants();
    numbers([low.get(), high.get(), conv_seq])
}

pub fn entry(user: UserId, inbox_seq: Seq) -> Vec<u8> {
    numbers([user.get(), inbox_seq])
}

pub fn conversation(conv: ConvKey) -> Vec<u8> {
    let [low, high] = conv.participants();
    numbers([low.get(), high.get()])
}

pub fn outbox(conv: ConvKey, sender: UserId, outbox: OutboxId) -> Vec<u8> {
    let [low, high] = conv.participants();
    numbers([low.get(), high.get(), sender.get(), outbox.0])
}

pub fn user(user: UserId) -> Vec<u8> {
    numbers([user.get()])
}

pub fn of_user(id: UserId, tag: u8) -> Vec<u8> {
    let mut key = user(id);
    key.push(tag);
    key
}

pub fn device(id: UserId, device: DeviceId) -> Vec<u8> {
    let mut key = of_user(id, DEVICE);
    key.extend_from_slice(&device.0.to_be_bytes());
    key
}

pub fn mark(user: UserId, conv: ConvKey) -> Vec<u8> {
    numbers([user.get(), conv.peer_of(user).get()])
}
