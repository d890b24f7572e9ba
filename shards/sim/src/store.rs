//! The tables of a backend, in memory. Numbers only grow: older records are flushed again after a
//! crash, when the record with the newest value may have been retired already.

use persistence::{
    Batch, ConvKey, ConvState, Entry, EntryKind, Load, Loaded, MessageRow, OutboxState, Scan,
    Scanned, UserState,
};
use std::collections::BTreeMap;
use wire::{DeviceId, OutboxId, Seq, UserId};

type OutboxName = (ConvKey, UserId, OutboxId);

/// All rows.
#[derive(Debug, Default)]
pub struct Store {
    messages: BTreeMap<(ConvKey, Seq), MessageRow>,
    entries: BTreeMap<(UserId, Seq), Entry>,
    conversations: BTreeMap<ConvKey, (Seq, u64)>,
    outboxes: BTreeMap<OutboxName, Seq>,
    outbox_devices: BTreeMap<OutboxName, DeviceId>,
    heads: BTreeMap<UserId, Seq>,
    epochs: BTreeMap<UserId, u64>,
    marks: BTreeMap<(UserId, ConvKey), Seq>,
    cursors: BTreeMap<(UserId, DeviceId), Seq>,
}

impl Store {
    /// Writes those rows of a batch for which `keep` says so: all of them, or what a failed write
    /// left behind.
    pub fn write(&mut self, batch: &Batch, mut keep: impl FnMut() -> bool) {
        fn grow<K: Ord + Clone, V: Ord + Copy>(
            table: &mut BTreeMap<K, V>,
            rows: &BTreeMap<K, V>,
            keep: &mut impl FnMut() -> bool,
        ) {
            for (key, value) in rows.iter().filter(|_| keep()) {
                let row = table.entry(key.clone()).or_insert(*value);
                *row = (*row).max(*value);
            }
        }
        for row in batch.messages.iter().filter(|_| keep()) {
            self.messages.insert((row.conv, row.conv_seq), row.clone());
        }
        for (user, entry) in batch.entries.iter().filter(|_| keep()) {
            self.entries.insert((*user, entry.inbox_seq), entry.clone());
        }
        grow(&mut self.conversations, &batch.conversations, &mut keep);
        grow(&mut self.outboxes, &batch.outboxes, &mut keep);
        grow(&mut self.outbox_devices, &batch.outbox_devices, &mut keep);
        grow(&mut self.heads, &batch.heads, &mut keep);
        grow(&mut self.epochs, &batch.epochs, &mut keep);
        grow(&mut self.marks, &batch.marks, &mut keep);
        grow(&mut self.cursors, &batch.cursors, &mut keep);
    }

    /// Reads one entity.
    pub fn load(&self, load: &Load) -> Loaded {
        match *load {
            Load::Conversation(conv) => Loaded::Conversation(self.conversation(conv)),
            Load::User(user) => Loaded::User(self.user(user)),
            Load::Mark(user, conv) => {
                Loaded::Mark(self.marks.get(&(user, conv)).copied().unwrap_or(0))
            }
        }
    }

    fn conversation(&self, conv: ConvKey) -> ConvState {
        let (head, time_us) = self.conversations.get(&conv).copied().unwrap_or((0, 0));
        let mut outboxes = Vec::new();
        for user in conv.participants() {
            let names = (conv, user, OutboxId(0))..=(conv, user, OutboxId(u64::MAX));
            for (name, &next) in self.outboxes.range(names) {
                let device = self.outbox_devices.get(name).copied().unwrap_or(DeviceId(0));
                outboxes.push(OutboxState { user, device, outbox: name.2, next });
            }
        }
        ConvState { head, time_us, outboxes }
    }

    fn user(&self, user: UserId) -> UserState {
        let devices = (user, DeviceId(0))..=(user, DeviceId(u32::MAX));
        let devices = self.cursors.range(devices);
        UserState {
            head: self.heads.get(&user).copied().unwrap_or(0),
            epoch: self.epochs.get(&user).copied().unwrap_or(0),
            devices: devices.map(|((_, device), &acked)| (*device, acked)).collect(),
        }
    }

    /// Reads a range of an inbox, at most `entries_max` entries, as a store may at any time.
    pub fn scan(&self, scan: &Scan, entries_max: u32) -> Scanned {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let range = (scan.user, scan.after + 1)..=(scan.user, scan.upto.max(scan.after + 1));
        for ((_, inbox_seq), entry) in self.entries.range(range) {
            let full = entries.len() >= entries_max as usize || bytes > scan.bytes_max as usize;
            if *inbox_seq > scan.upto || (full && !entries.is_empty()) {
                break;
            }
            let entry = self.join(entry.clone());
            if let EntryKind::Peer { body } = &entry.kind {
                bytes += body.len();
            }
            entries.push(entry);
        }
        let last = entries.last().map_or(scan.after, |entry: &Entry| entry.inbox_seq);
        let more = self.entries.range((scan.user, last + 1)..=(scan.user, u64::MAX)).next();
        let covered = match more {
            Some(((_, next), _)) if *next <= scan.upto => last,
            _ => scan.upto,
        };
        Scanned { entries, covered }
    }

    fn join(&self, mut entry: Entry) -> Entry {
        if let EntryKind::Peer { body } = &mut entry.kind {
            let message = self.messages.get(&(entry.conv, entry.conv_seq));
            *body = message.map(|row| row.body.clone()).unwrap_or_default();
        }
        entry
    }
}
