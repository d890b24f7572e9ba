//! Records → rows: what a backend is told about each record, derived from it alone.

use crate::{Batch, Entry, EntryKind, InboxKind, InboxRecord, MessageRecord, MessageRow, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::{Seq, UserId, body_hash};

/// What a row is counted with beside its body: about what it takes in memory here.
const ROW_BYTES: usize = 96;

impl Batch {
    /// Adds what a record says about the users that `mine` names: those whose home is this core.
    /// The other part of a record that was dealt to two cores comes with the other core's batch.
    pub fn add(&mut self, record: &Record<'_>, mine: impl Fn(UserId) -> bool) {
        match record {
            Record::Message(message) => self.add_message(message, mine),
            Record::Inbox(inbox) if mine(inbox.user) => self.add_inbox(inbox),
            Record::Cursor { user, device, acked } if mine(*user) => {
                self.bytes += raise(&mut self.cursors, (*user, *device), *acked);
            }
            Record::Epoch { user, epoch } if mine(*user) => {
                self.bytes += raise(&mut self.epochs, *user, *epoch);
            }
            Record::Inbox(_)
            | Record::Cursor { .. }
            | Record::Epoch { .. }
            | Record::Checkpoint { .. } => {}
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// There is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn add_message(&mut self, message: &MessageRecord<'_>, mine: impl Fn(UserId) -> bool) {
        let conv = message.conv;
        let mut needs_row = false;
        if mine(conv.owner()) {
            needs_row = true;
            let place = (message.conv_seq, message.time_us);
            self.bytes += raise(&mut self.conversations, conv, place);
            let outbox = (conv, message.sender, message.outbox);
            self.bytes += raise(&mut self.outboxes, outbox, message.n + 1);
            if let Some(device) = message.new_outbox_of {
                self.outbox_devices.insert(outbox, device);
                self.bytes += ROW_BYTES;
            }
        }
        for (side, user) in conv.participants().into_iter().enumerate() {
            if !mine(user) {
                continue;
            }
            if message.marks[side] {
                self.bytes += raise(&mut self.marks, (user, conv), message.conv_seq);
            }
            if message.inbox[side] != 0 {
                needs_row = true;
                self.add_entry(user, entry_of(message, user, message.inbox[side]));
            }
        }
        if needs_row {
            self.add_row(MessageRow {
                conv,
                conv_seq: message.conv_seq,
                time_us: message.time_us,
                sender: message.sender,
                void: message.void,
                body: Bytes::copy_from_slice(message.body),
            });
        }
    }

    fn add_inbox(&mut self, inbox: &InboxRecord<'_>) {
        let &InboxRecord { user, inbox_seq, conv, conv_seq, time_us, ref kind } = inbox;
        self.bytes += raise(&mut self.marks, (user, conv), conv_seq);
        if inbox_seq == 0 {
            return;
        }
        let kind = match *kind {
            InboxKind::Peer { body } => {
                // The owner's core writes the same row; an entry must not wait for it.
                self.add_row(MessageRow {
                    conv,
                    conv_seq,
                    time_us,
                    sender: conv.peer_of(user),
                    void: None,
                    body: Bytes::copy_from_slice(body),
                });
                EntryKind::Peer { body: Bytes::new() }
            }
            InboxKind::Own { outbox, n, void, hash } => EntryKind::Own { outbox, n, void, hash },
            InboxKind::Nothing => unreachable!("nothing has no entry"),
        };
        self.add_entry(user, Entry { inbox_seq, conv, conv_seq, time_us, kind });
    }

    fn add_entry(&mut self, user: UserId, entry: Entry) {
        self.bytes += ROW_BYTES + raise(&mut self.heads, user, entry.inbox_seq);
        self.entries.push((user, entry));
    }

    fn add_row(&mut self, row: MessageRow) {
        self.bytes += ROW_BYTES + row.body.len();
        self.messages.push(row);
    }
}

/// The entry of a participant whose home is the owner's core.
fn entry_of(message: &MessageRecord<'_>, user: UserId, inbox_seq: Seq) -> Entry {
    let kind = if user == message.sender {
        EntryKind::Own {
            outbox: message.outbox,
            n: message.n,
            void: message.void.is_some(),
            hash: message.void.unwrap_or_else(|| body_hash(message.body)),
        }
    } else {
        assert!(message.void.is_none(), "a void makes no entry for the peer");
        EntryKind::Peer { body: Bytes::new() }
    };
    let &MessageRecord { conv, conv_seq, time_us, .. } = message;
    Entry { inbox_seq, conv, conv_seq, time_us, kind }
}

/// Raises a row to a value, never lowers it, and returns the bytes that this added.
fn raise<K: Ord, V: Ord + Copy>(rows: &mut BTreeMap<K, V>, key: K, value: V) -> usize {
    let before = rows.len();
    let row = rows.entry(key).or_insert(value);
    *row = value.max(*row);
    (rows.len() - before) * ROW_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConvKey;
    use wire::{BodyHash, DeviceId, OutboxId};

    fn user(number: u64) -> UserId {
        UserId::new(number).expect("not 0")
    }

    fn message(conv: ConvKey, body: &[u8]) -> MessageRecord<'_> {
        MessageRecord {
            conv,
            conv_seq: 5,
            time_us: 77,
            sender: user(1),
            outbox: OutboxId(3),
            new_outbox_of: Some(DeviceId(9)),
            n: 4,
            void: None,
            inbox: [10, 20],
            marks: [true, true],
            body,
        }
    }

    #[test]
    fn a_message_on_one_core_writes_everything() {
        let conv = ConvKey::new(user(1), user(2)).expect("two");
        let mut batch = Batch::default();
        assert!(batch.is_empty());
        batch.add(&Record::Message(message(conv, b"hi")), |_| true);
        assert_eq!(batch.messages.len(), 1);
        assert_eq!(batch.messages[0].body, &b"hi"[..]);
        assert_eq!(batch.conversations[&conv], (5, 77));
        assert_eq!(batch.outboxes[&(conv, user(1), OutboxId(3))], 5);
        assert_eq!(batch.outbox_devices[&(conv, user(1), OutboxId(3))], DeviceId(9));
        assert_eq!(batch.heads, BTreeMap::from([(user(1), 10), (user(2), 20)]));
        assert_eq!(batch.marks.len(), 2);
        let kinds: Vec<_> = batch.entries.iter().map(|(user, e)| (*user, &e.kind)).collect();
        let own = EntryKind::Own { outbox: OutboxId(3), n: 4, void: false, hash: body_hash(b"hi") };
        assert_eq!(kinds, [(user(1), &own), (user(2), &EntryKind::Peer { body: Bytes::new() })]);
        assert!(batch.bytes() > 2);
    }

    #[test]
    fn the_two_cores_of_a_dealt_message_write_all_of_it_together() {
        let conv = ConvKey::new(user(1), user(2)).expect("two");
        let record = Record::Message(message(conv, b"hi"));
        let mut whole = Batch::default();
        whole.add(&record, |_| true);
        let (mut low, mut high) = (Batch::default(), Batch::default());
        low.add(&record, |u| u == user(1));
        high.add(&record, |u| u == user(2));
        assert_eq!(low.messages, whole.messages);
        assert_eq!(high.messages, whole.messages, "an entry never waits for its message");
        assert_eq!([low.entries, high.entries].concat(), whole.entries);
        assert_eq!(low.conversations.len() + high.conversations.len(), 1);
        assert_eq!(low.outboxes.len() + high.outboxes.len(), 1);
        low.marks.append(&mut high.marks);
        assert_eq!(low.marks, whole.marks);
    }

    #[test]
    fn a_void_makes_an_own_entry_with_the_hash_that_was_given_up() {
        let conv = ConvKey::new(user(1), user(2)).expect("two");
        let void = MessageRecord { void: Some(BodyHash(6)), inbox: [10, 0], ..message(conv, b"") };
        let mut batch = Batch::default();
        batch.add(&Record::Message(void), |_| true);
        assert_eq!(batch.messages[0].void, Some(BodyHash(6)));
        let own = EntryKind::Own { outbox: OutboxId(3), n: 4, void: true, hash: BodyHash(6) };
        assert_eq!(batch.entries.len(), 1);
        assert_eq!(batch.entries[0].1.kind, own);
        assert_eq!(batch.marks.len(), 2);
    }

    #[test]
    fn rows_never_go_back() {
        let mut batch = Batch::default();
        for acked in [3, 9, 4] {
            batch.add(&Record::Cursor { user: user(1), device: DeviceId(1), acked }, |_| true);
            batch.add(&Record::Epoch { user: user(1), epoch: acked }, |_| true);
        }
        assert_eq!(batch.cursors[&(user(1), DeviceId(1))], 9);
        assert_eq!(batch.epochs[&user(1)], 9);
        batch.add(&Record::Checkpoint { flushed: 1, confirmed: 1 }, |_| true);
        batch.add(&Record::Epoch { user: user(2), epoch: 1 }, |_| false);
        assert_eq!(batch.epochs.len(), 1);
    }
}
