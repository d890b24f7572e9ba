//! A batch: durable records turned into rows for a backend.

use crate::{ConvKey, Entry, Position};
use std::collections::BTreeMap;
use wire::{BodyHash, DeviceId, OutboxId, Seq, UserId};

/// What a backend writes at once. Writing it again changes nothing; batches of one core are
/// written in order. The maps hold one final value per entity, so a hot conversation costs one
/// row per batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The core that it comes from.
    pub core: u16,
    /// Everything before this position is in this batch or an earlier one.
    pub upto: Position,
    /// Messages: (conversation, place) → time, sender, void hash, body.
    pub messages: Vec<MessageRow>,
    /// Inbox entries: (user, inbox number) → entry.
    pub entries: Vec<(UserId, Entry)>,
    /// Heads: conversation → newest place and its time in microseconds.
    pub conversations: BTreeMap<ConvKey, (Seq, u64)>,
    /// Outboxes: (conversation, sender, outbox) → number taken next.
    pub outboxes: BTreeMap<(ConvKey, UserId, OutboxId), Seq>,
    /// Devices of new outboxes: (conversation, sender, outbox) → device.
    pub outbox_devices: BTreeMap<(ConvKey, UserId, OutboxId), DeviceId>,
    /// Inbox heads: user → newest number.
    pub heads: BTreeMap<UserId, Seq>,
    /// Inbox epochs.
    pub epochs: BTreeMap<UserId, u64>,
    /// Marks: (user, conversation) → newest place taken.
    pub marks: BTreeMap<(UserId, ConvKey), Seq>,
    /// Cursors: (user, device) → acked.
    pub cursors: BTreeMap<(UserId, DeviceId), Seq>,
    /// See `Batch::bytes`.
    pub(crate) bytes: usize,
}

/// A row of the messages table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// The conversation.
    pub conv: ConvKey,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix microseconds.
    pub time_us: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Given up: hash of the body that was given up.
    pub void: Option<BodyHash>,
    /// The message.
    pub body: bytes::Bytes,
}
