//! A batch: durable records turned into rows for a backend.

use crate::row::{ChangeRow, Latest, MessageRow, Row};
use crate::{ConvKey, DeviceInfo, Entry, PeerMarks, Position};
use std::collections::BTreeMap;
use wire::{ConvSettings, DeviceId, OutboxId, Privacy, Seq, UserId};

/// What a user has in a conversation, as a key.
type Member = (UserId, ConvKey);

/// What a backend writes at once. Writing it again changes nothing; batches of one core are
/// written in order. The maps hold one joined row per entity (see `Row`), so a hot conversation
/// costs few rows per batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The core that it comes from.
    pub core: u16,
    /// Everything before this position is in this batch or an earlier one.
    pub upto: Position,
    /// Messages, in the order of their records; `Batch::message_rows` joins those of one place.
    pub messages: Vec<MessageRow>,
    /// Changes: (conversation, changed place) → what changed it. A delete also empties the body
    /// of that place's message row, whichever of the two comes first.
    pub changes: BTreeMap<(ConvKey, Seq), ChangeRow>,
    /// Inbox entries: (user, inbox number) → entry.
    pub entries: Vec<(UserId, Entry)>,
    /// Heads: conversation → newest place and its time in microseconds.
    pub conversations: BTreeMap<ConvKey, (Seq, u64)>,
    /// Outboxes: (conversation, sender, outbox) → number taken next, and the device if this batch
    /// holds the outbox's first record.
    pub outboxes: BTreeMap<(ConvKey, UserId, OutboxId), (Seq, Option<DeviceId>)>,
    /// Inbox heads: user → newest number.
    pub heads: BTreeMap<UserId, Seq>,
    /// Inbox epochs.
    pub epochs: BTreeMap<UserId, u64>,
    /// Trims: user → entries up to here are gone; the backend removes those that it has.
    pub trims: BTreeMap<UserId, Seq>,
    /// When users were last seen, Unix microseconds.
    pub last_seen: BTreeMap<UserId, u64>,
    /// Who sees what.
    pub privacy: BTreeMap<UserId, Latest<Privacy>>,
    /// Outboxes as sources of commands, as `outboxes`.
    pub command_outboxes: BTreeMap<(UserId, OutboxId), (Seq, Option<DeviceId>)>,
    /// Cursors: (user, device) → acked.
    pub cursors: BTreeMap<(UserId, DeviceId), Seq>,
    /// What devices said of themselves.
    pub devices: BTreeMap<(UserId, DeviceId), DeviceInfo>,
    /// Contacts: (user, peer) → their name, `None` where they are none any more.
    pub contacts: BTreeMap<(UserId, UserId), Latest<Option<String>>>,
    /// Blocks: (user, peer).
    pub blocks: BTreeMap<(UserId, UserId), Latest<bool>>,
    /// Newest places that homes took.
    pub taken: BTreeMap<Member, Seq>,
    /// Own read marks.
    pub reads: BTreeMap<Member, Seq>,
    /// How far own devices are.
    pub delivered: BTreeMap<(UserId, ConvKey, DeviceId), Seq>,
    /// The peers' marks.
    pub receipts: BTreeMap<Member, PeerMarks>,
    /// Settings.
    pub settings: BTreeMap<Member, Latest<ConvSettings>>,
    /// Places to hide: ranges as `add_range` keeps them, to be joined with those that are there.
    pub hidden: BTreeMap<Member, Vec<(Seq, Seq)>>,
    /// Inbox number of the newest message. The backend keeps an index of it by user.
    pub last_inbox: BTreeMap<Member, Seq>,
    /// See `Batch::bytes`.
    pub(crate) bytes: usize,
}

impl Batch {
    /// An empty one, whose longest lists have room already.
    pub fn emptied(self) -> Batch {
        let Batch { mut messages, mut entries, .. } = self;
        messages.clear();
        entries.clear();
        Batch { messages, entries, ..Batch::default() }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// There is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The messages table's rows: one for each place, without the bodies that this batch deletes.
    pub fn message_rows(&self) -> BTreeMap<(ConvKey, Seq), MessageRow> {
        let place = |row: &MessageRow| (row.conv, row.conv_seq);
        let mut rows = self.messages.clone();
        rows.sort_by_key(place);
        rows.dedup_by(|row, before| {
            let same = place(row) == place(before);
            if same {
                before.join(row.clone());
            }
            same
        });
        let rows = rows.into_iter().map(|row| (place(&row), row));
        let mut rows: BTreeMap<_, _> = rows.collect();
        for (place, _) in self.changes.iter().filter(|(_, change)| change.delete) {
            rows.get_mut(place).map(|row| row.content.empty());
        }
        rows
    }
}
