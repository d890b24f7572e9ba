//! Records → rows: what a backend is told about each record, derived from it alone.

use crate::row::{ChangeRow, Content, Latest, Row, add_range, join};
use crate::{Batch, CommandRecord, ConvKey, DeviceInfo, Entry, EntryKind, InboxKind, InboxRecord};
use crate::{MessageRecord, MessageRow, PeerMarks, PlaceAt, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::{Change, Command, Seq, UserId, content_hash};

/// What a row is counted with beside its body: about what it takes in memory here.
const ROW_BYTES: usize = 96;

impl Batch {
    /// Adds what a record says about the users that `mine` names: those whose home is this core.
    /// The other part of a record that was dealt to two cores comes with the other core's batch.
    pub fn add(&mut self, record: &Record<'_>, mine: impl Fn(UserId) -> bool) {
        match record {
            Record::Message(message) => self.add_message(message, mine),
            other if other.user().is_some_and(mine) => self.add_of_user(other),
            _ => {}
        }
    }

    /// A record of one user's.
    fn add_of_user(&mut self, record: &Record<'_>) {
        match *record {
            Record::Message(_) | Record::Checkpoint { .. } => unreachable!("of no one user"),
            Record::Inbox(ref inbox) => self.add_inbox(inbox),
            Record::Command(ref command) => self.add_command(command),
            Record::Cursor { user, device, acked } => {
                self.bytes += put(&mut self.cursors, (user, device), acked);
            }
            Record::Epoch { user, epoch } => self.bytes += put(&mut self.epochs, user, epoch),
            Record::Read { user, conv, upto, inbox_seq } => {
                self.bytes += put(&mut self.reads, (user, conv), upto);
                self.add_entry(user, inbox_seq, EntryKind::ReadMark { conv, upto });
            }
            Record::Delivered { user, conv, device, upto } => {
                self.bytes += put(&mut self.delivered, (user, conv, device), upto);
            }
            Record::Receipt { user, conv, read, ref delivered, inbox_seq } => {
                let marks = PeerMarks { read, delivered: delivered.clone() };
                self.bytes += put(&mut self.receipts, (user, conv), marks);
                let delivered = delivered.clone();
                self.add_entry(user, inbox_seq, EntryKind::Receipt { conv, read, delivered });
            }
            Record::Device { user, device, revoked, attached_us, name, platform, acked } => {
                let (name, platform) = (name.to_owned(), platform.to_owned());
                let info = DeviceInfo { attached_us, name, platform, revoked };
                self.bytes += put(&mut self.devices, (user, device), info);
                self.bytes += put(&mut self.cursors, (user, device), acked);
            }
            Record::LastSeen { user, time_us } => {
                self.bytes += put(&mut self.last_seen, user, time_us);
            }
            Record::Trim { user, upto } => self.bytes += put(&mut self.trims, user, upto),
        }
    }

    fn add_message(&mut self, message: &MessageRecord<'_>, mine: impl Fn(UserId) -> bool) {
        let conv = message.conv;
        let mut needs_row = false;
        if mine(conv.owner()) {
            needs_row = true;
            let place = (message.conv_seq, message.time_us);
            self.bytes += put(&mut self.conversations, conv, place);
            let outbox = (conv, message.sender, message.outbox);
            let next = (message.n + 1, message.new_outbox_of);
            self.bytes += put(&mut self.outboxes, outbox, next);
        }
        for (side, user) in conv.participants().into_iter().enumerate() {
            if !mine(user) {
                continue;
            }
            if message.marks[side] {
                self.bytes += put(&mut self.taken, (user, conv), message.conv_seq);
            }
            if message.hidden[side] {
                self.hide(user, conv, message.conv_seq, message.conv_seq);
            }
            if message.inbox[side] != 0 {
                needs_row = true;
                self.bytes += put(&mut self.last_inbox, (user, conv), message.inbox[side]);
                self.add_entry(user, message.inbox[side], entry_of(message, user));
            }
        }
        if needs_row {
            let content = match (message.void, message.change) {
                (Some(hash), _) => Content::Void(hash),
                (None, Some(change)) => self.change(conv, message.conv_seq, change, message.body),
                (None, None) => Content::Body(Bytes::copy_from_slice(message.body)),
            };
            self.add_row(MessageRow {
                conv,
                conv_seq: message.conv_seq,
                time_us: message.time_us,
                sender: message.sender,
                origin: Some((message.outbox, message.n)),
                content,
            });
        }
    }

    fn add_inbox(&mut self, inbox: &InboxRecord<'_>) {
        let &InboxRecord { user, inbox_seq, conv, conv_seq, time_us, ref kind } = inbox;
        self.bytes += put(&mut self.taken, (user, conv), conv_seq);
        if *kind == InboxKind::Hidden {
            self.hide(user, conv, conv_seq, conv_seq);
        }
        if inbox_seq == 0 {
            return;
        }
        let at = PlaceAt { conv, conv_seq, time_us };
        // The owner's core writes a peer's row too; an entry must not wait for it.
        let (kind, content) = match *kind {
            InboxKind::Peer { body } => {
                let content = Content::Body(Bytes::copy_from_slice(body));
                (EntryKind::Peer { at, body: Bytes::new() }, Some(content))
            }
            InboxKind::PeerChange { change, body } => {
                let content = self.change(conv, conv_seq, change, body);
                (EntryKind::PeerChange { at, change, body: Bytes::new() }, Some(content))
            }
            InboxKind::Own { outbox, n, void, change, hash } => {
                (EntryKind::Own { at, outbox, n, void, change, hash }, None)
            }
            InboxKind::Hidden | InboxKind::Nothing => unreachable!("{kind:?} has no entry"),
        };
        if let Some(content) = content {
            let sender = conv.peer_of(user);
            self.add_row(MessageRow { conv, conv_seq, time_us, sender, origin: None, content });
        }
        self.bytes += put(&mut self.last_inbox, (user, conv), inbox_seq);
        self.add_entry(user, inbox_seq, kind);
    }

    fn add_command(&mut self, record: &CommandRecord<'_>) {
        let &CommandRecord { user, outbox, n, code, time_us, .. } = record;
        let next = (n + 1, record.new_outbox_of);
        self.bytes += put(&mut self.command_outboxes, (user, outbox), next);
        let command = Bytes::copy_from_slice(record.command);
        let kind = EntryKind::Commanded { outbox, n, code, time_us, command };
        self.add_entry(user, record.inbox_seq, kind);
        if let Some(command) = record.applied() {
            self.apply(user, record.inbox_seq, command);
        }
    }

    /// What a command sets, as of its inbox entry.
    fn apply(&mut self, user: UserId, by: Seq, command: Command<'_>) {
        let conv_key = |conv| ConvKey::of(user, conv).expect("an applied command names a peer");
        match command {
            Command::Settings { conv, settings } => {
                let row = Latest { by, value: settings };
                self.bytes += put(&mut self.settings, (user, conv_key(conv)), row);
            }
            Command::DeleteForMe { conv, first, last } => {
                self.hide(user, conv_key(conv), first, last);
            }
            Command::ContactAdd { peer, name } => {
                let row = Latest { by, value: Some(name.to_owned()) };
                self.bytes += put(&mut self.contacts, (user, peer), row);
            }
            Command::ContactRemove { peer } => {
                let row = Latest { by, value: None };
                self.bytes += put(&mut self.contacts, (user, peer), row);
            }
            Command::Block { peer } | Command::Unblock { peer } => {
                let row = Latest { by, value: matches!(command, Command::Block { .. }) };
                self.bytes += put(&mut self.blocks, (user, peer), row);
            }
            Command::Privacy(value) => {
                self.bytes += put(&mut self.privacy, user, Latest { by, value });
            }
            Command::Revoke { device } => {
                let info = DeviceInfo { revoked: true, ..DeviceInfo::default() };
                self.bytes += put(&mut self.devices, (user, device), info);
            }
        }
    }

    /// A change at a place: its row, and what it does to its target's.
    fn change(&mut self, conv: ConvKey, conv_seq: Seq, change: Change, body: &[u8]) -> Content {
        let row = ChangeRow { delete: change.delete, conv_seq, body: Bytes::copy_from_slice(body) };
        self.bytes += put(&mut self.changes, (conv, change.target), row) + body.len();
        Content::Change(change, content_hash(body, Some(change)))
    }

    fn hide(&mut self, user: UserId, conv: ConvKey, first: Seq, last: Seq) {
        add_range(self.hidden.entry((user, conv)).or_default(), first, last);
        self.bytes += ROW_BYTES;
    }

    /// Adds an entry, unless its number says that there is none.
    fn add_entry(&mut self, user: UserId, inbox_seq: Seq, kind: EntryKind) {
        if inbox_seq != 0 {
            self.bytes += ROW_BYTES + put(&mut self.heads, user, inbox_seq);
            self.entries.push((user, Entry { inbox_seq, kind }));
        }
    }

    fn add_row(&mut self, row: MessageRow) {
        let body = if let Content::Body(body) = &row.content { body.len() } else { 0 };
        self.bytes += ROW_BYTES + body;
        self.messages.push(row);
    }
}

/// The entry of a participant whose home is the owner's core.
fn entry_of(message: &MessageRecord<'_>, user: UserId) -> EntryKind {
    let &MessageRecord { conv, conv_seq, time_us, outbox, n, void, change, .. } = message;
    let at = PlaceAt { conv, conv_seq, time_us };
    if user == message.sender {
        let hash = void.unwrap_or_else(|| content_hash(message.body, change));
        return EntryKind::Own { at, outbox, n, void: void.is_some(), change, hash };
    }
    assert!(void.is_none(), "a void makes no entry for the peer");
    match change {
        Some(change) => EntryKind::PeerChange { at, change, body: Bytes::new() },
        None => EntryKind::Peer { at, body: Bytes::new() },
    }
}

/// Joins a value into its row, and returns the bytes that this added.
fn put<K: Ord, V: Row>(rows: &mut BTreeMap<K, V>, key: K, value: V) -> usize {
    if join(rows, key, value) { ROW_BYTES } else { 0 }
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
            hidden: [false; 2],
            change: None,
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
        assert_eq!(batch.messages[0].content, Content::Body(Bytes::from_static(b"hi")));
        assert_eq!(batch.messages[0].origin, Some((OutboxId(3), 4)));
        assert_eq!(batch.conversations[&conv], (5, 77));
        assert_eq!(batch.outboxes[&(conv, user(1), OutboxId(3))], (5, Some(DeviceId(9))));
        assert_eq!(batch.heads, BTreeMap::from([(user(1), 10), (user(2), 20)]));
        assert_eq!(batch.taken.len(), 2);
        let kinds: Vec<_> = batch.entries.iter().map(|(user, e)| (*user, &e.kind)).collect();
        let (at, outbox) = (PlaceAt { conv, conv_seq: 5, time_us: 77 }, OutboxId(3));
        let hash = content_hash(b"hi", None);
        let own = EntryKind::Own { at, outbox, n: 4, void: false, change: None, hash };
        let peer = EntryKind::Peer { at, body: Bytes::new() };
        assert_eq!(kinds, [(user(1), &own), (user(2), &peer)]);
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
        low.taken.append(&mut high.taken);
        assert_eq!(low.taken, whole.taken);
    }

    #[test]
    fn a_void_makes_an_own_entry_with_the_hash_that_was_given_up() {
        let conv = ConvKey::new(user(1), user(2)).expect("two");
        let void = MessageRecord { void: Some(BodyHash(6)), inbox: [10, 0], ..message(conv, b"") };
        let mut batch = Batch::default();
        batch.add(&Record::Message(void), |_| true);
        assert_eq!(batch.messages[0].content, Content::Void(BodyHash(6)));
        let (at, outbox) = (PlaceAt { conv, conv_seq: 5, time_us: 77 }, OutboxId(3));
        let (change, hash) = (None, BodyHash(6));
        let own = EntryKind::Own { at, outbox, n: 4, void: true, change, hash };
        assert_eq!(batch.entries.len(), 1);
        assert_eq!(batch.entries[0].1.kind, own);
        assert_eq!(batch.taken.len(), 2);
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
