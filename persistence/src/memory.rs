//! The tables of a backend, in memory: what the contract means, for simulations and tests. Rows are
//! joined, never set: older records are flushed again after a crash, when the record with the
//! newest value may have been retired already.

use crate::{
    Batch, ChangeRow, CommandOutbox, ContactState, Content, ConvKey, ConvState, DeviceInfo,
    DeviceState, Entry, EntryKind, Latest, Load, Loaded, MemberState, MessageRow, OutboxState,
    Page, Paged, PeerMarks, Row, Scan, Scanned, StoredMessage, UserState, join,
};
use std::collections::{BTreeMap, BTreeSet};
use wire::{Change, ConvSettings, DeviceId, OutboxId, Privacy, Seq, UserId};

type Member = (UserId, ConvKey);
type Outbox = (Seq, Option<DeviceId>);

const FIRST: UserId = UserId::new(1).expect("not 0");
const LAST: UserId = UserId::new(u64::MAX).expect("not 0");

/// All rows of a store.
#[derive(Debug, Default)]
pub struct MemoryStore {
    messages: BTreeMap<(ConvKey, Seq), MessageRow>,
    changes: BTreeMap<(ConvKey, Seq), ChangeRow>,
    entries: BTreeMap<(UserId, Seq), Entry>,
    conversations: BTreeMap<ConvKey, (Seq, u64)>,
    outboxes: BTreeMap<(ConvKey, UserId, OutboxId), Outbox>,
    heads: BTreeMap<UserId, Seq>,
    epochs: BTreeMap<UserId, u64>,
    trims: BTreeMap<UserId, Seq>,
    last_seen: BTreeMap<UserId, u64>,
    privacy: BTreeMap<UserId, Latest<Privacy>>,
    command_outboxes: BTreeMap<(UserId, OutboxId), Outbox>,
    cursors: BTreeMap<(UserId, DeviceId), Seq>,
    devices: BTreeMap<(UserId, DeviceId), DeviceInfo>,
    contacts: BTreeMap<(UserId, UserId), Latest<Option<String>>>,
    blocks: BTreeMap<(UserId, UserId), Latest<bool>>,
    taken: BTreeMap<Member, Seq>,
    reads: BTreeMap<Member, Seq>,
    delivered: BTreeMap<(UserId, ConvKey, DeviceId), Seq>,
    receipts: BTreeMap<Member, PeerMarks>,
    settings: BTreeMap<Member, Latest<ConvSettings>>,
    hidden: BTreeMap<Member, Vec<(Seq, Seq)>>,
    last_inbox: BTreeMap<Member, Seq>,
}

/// Joins the kept rows of a batch into a table.
fn merge<K: Ord + Clone, V: Row + Clone>(
    table: &mut BTreeMap<K, V>,
    rows: &BTreeMap<K, V>,
    keep: &mut impl FnMut() -> bool,
) {
    for (key, row) in rows.iter().filter(|_| keep()) {
        join(table, key.clone(), row.clone());
    }
}

impl MemoryStore {
    /// Writes those rows of a batch for which `keep` says so: all of them, or what a failed write
    /// left behind.
    pub fn write(&mut self, batch: &Batch, mut keep: impl FnMut() -> bool) {
        let keep = &mut keep;
        merge(&mut self.messages, &batch.message_rows(), keep);
        merge(&mut self.changes, &batch.changes, keep);
        merge(&mut self.trims, &batch.trims, keep);
        for (user, entry) in batch.entries.iter().filter(|_| keep()) {
            self.entries.insert((*user, entry.inbox_seq), entry.clone());
        }
        merge(&mut self.conversations, &batch.conversations, keep);
        merge(&mut self.outboxes, &batch.outboxes, keep);
        merge(&mut self.heads, &batch.heads, keep);
        merge(&mut self.epochs, &batch.epochs, keep);
        merge(&mut self.last_seen, &batch.last_seen, keep);
        merge(&mut self.privacy, &batch.privacy, keep);
        merge(&mut self.command_outboxes, &batch.command_outboxes, keep);
        merge(&mut self.cursors, &batch.cursors, keep);
        merge(&mut self.devices, &batch.devices, keep);
        merge(&mut self.contacts, &batch.contacts, keep);
        merge(&mut self.blocks, &batch.blocks, keep);
        merge(&mut self.taken, &batch.taken, keep);
        merge(&mut self.reads, &batch.reads, keep);
        merge(&mut self.delivered, &batch.delivered, keep);
        merge(&mut self.receipts, &batch.receipts, keep);
        merge(&mut self.settings, &batch.settings, keep);
        merge(&mut self.hidden, &batch.hidden, keep);
        merge(&mut self.last_inbox, &batch.last_inbox, keep);
        self.remove_deleted(batch);
    }

    /// What deletes and trims leave nothing of, whichever of the two came first.
    fn remove_deleted(&mut self, batch: &Batch) {
        let rows = batch.messages.iter().map(|row| (row.conv, row.conv_seq));
        for place in rows.chain(batch.changes.keys().copied()) {
            if self.changes.get(&place).is_some_and(|change| change.delete)
                && let Some(row) = self.messages.get_mut(&place)
            {
                row.content.empty();
            }
        }
        let users = batch.entries.iter().map(|(user, _)| *user);
        for user in users.chain(batch.trims.keys().copied()) {
            let upto = self.trims.get(&user).copied().unwrap_or(0);
            let gone = self.entries.range((user, 0)..=(user, upto));
            for key in gone.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.entries.remove(&key);
            }
        }
    }

    /// Reads one entity.
    pub fn load(&self, load: &Load) -> Loaded {
        match *load {
            Load::Conversation(conv) => Loaded::Conversation(self.conversation(conv)),
            Load::User(user) => Loaded::User(Box::new(self.user(user))),
            Load::Member(user, conv) => Loaded::Member(Box::new(self.member(user, conv))),
        }
    }

    fn conversation(&self, conv: ConvKey) -> ConvState {
        let (head, time_us) = self.conversations.get(&conv).copied().unwrap_or((0, 0));
        let mut outboxes = Vec::new();
        for user in conv.participants() {
            let names = (conv, user, OutboxId(0))..=(conv, user, OutboxId(u64::MAX));
            for (name, &(next, device)) in self.outboxes.range(names) {
                let device = device.unwrap_or(DeviceId(0));
                outboxes.push(OutboxState { user, device, outbox: name.2, next });
            }
        }
        ConvState { head, time_us, outboxes }
    }

    fn user(&self, user: UserId) -> UserState {
        let devices = (user, DeviceId(0))..=(user, DeviceId(u32::MAX));
        let told = self.devices.range(devices.clone()).map(|(key, _)| key.1);
        let devices = self.cursors.range(devices).map(|(key, _)| key.1).chain(told);
        let devices: BTreeSet<DeviceId> = devices.collect();
        let outboxes = (user, OutboxId(0))..=(user, OutboxId(u64::MAX));
        let outboxes = self.command_outboxes.range(outboxes);
        UserState {
            head: self.heads.get(&user).copied().unwrap_or(0),
            epoch: self.epochs.get(&user).copied().unwrap_or(0),
            trimmed: self.trims.get(&user).copied().unwrap_or(0),
            last_seen_us: self.last_seen.get(&user).copied().unwrap_or(0),
            privacy: self.privacy.get(&user).map(|row| row.value).unwrap_or_default(),
            privacy_by: self.privacy.get(&user).map_or(0, |row| row.by),
            devices: devices
                .into_iter()
                .map(|device| DeviceState {
                    device,
                    acked: self.cursors.get(&(user, device)).copied().unwrap_or(0),
                    info: self.devices.get(&(user, device)).cloned().unwrap_or_default(),
                })
                .collect(),
            outboxes: outboxes
                .map(|(&(_, outbox), &(next, device))| CommandOutbox {
                    outbox,
                    device: device.unwrap_or(DeviceId(0)),
                    next,
                })
                .collect(),
        }
    }

    fn member(&self, user: UserId, conv: ConvKey) -> MemberState {
        let key = (user, conv);
        let taken = self.taken.get(&key).copied().unwrap_or(0);
        let head = self.conversations.get(&conv).map_or(0, |head| head.0);
        let devices = (user, conv, DeviceId(0))..=(user, conv, DeviceId(u32::MAX));
        let devices = self.delivered.range(devices);
        let mut state = MemberState {
            taken: if user == conv.owner() { taken.max(head) } else { taken },
            read: self.reads.get(&key).copied().unwrap_or(0),
            delivered: devices.map(|(&(_, _, device), &upto)| (device, upto)).collect(),
            peer: self.receipts.get(&key).cloned().unwrap_or_default(),
            settings: self.settings.get(&key).map(|row| row.value).unwrap_or_default(),
            settings_by: self.settings.get(&key).map_or(0, |row| row.by),
            contact: self.contact(user, conv.peer_of(user)),
            hidden: self.hidden.get(&key).cloned().unwrap_or_default(),
            last_inbox: self.last_inbox.get(&key).copied().unwrap_or(0),
            own_above_read: Vec::new(),
        };
        let plain_of_peer = |seq| match self.messages.get(&(conv, seq)) {
            Some(row) => row.sender != user && row.is_plain(),
            None => false,
        };
        let hidden = |seq| state.hidden.iter().any(|range| range.0 <= seq && seq <= range.1);
        state.own_above_read =
            state.above_read().filter(|&seq| !plain_of_peer(seq) && !hidden(seq)).collect();
        state
    }

    fn contact(&self, user: UserId, peer: UserId) -> ContactState {
        let (contact, block) = (self.contacts.get(&(user, peer)), self.blocks.get(&(user, peer)));
        let name = contact.and_then(|row| row.value.clone());
        ContactState {
            contact: name.is_some(),
            blocked: block.is_some_and(|row| row.value),
            name: name.unwrap_or_default(),
            contact_by: contact.map_or(0, |row| row.by),
            blocked_by: block.map_or(0, |row| row.by),
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
            let mut entry = entry.clone();
            bytes += self.fill(&mut entry.kind);
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

    /// Joins an entry's body, and returns its length.
    fn fill(&self, kind: &mut EntryKind) -> usize {
        match kind {
            EntryKind::Peer { at, body } => {
                let row = self.messages.get(&(at.conv, at.conv_seq));
                *body = row.map(|row| row.content.body()).unwrap_or_default();
                body.len()
            }
            EntryKind::PeerChange { at, change, body } => {
                let row = self.changes.get(&(at.conv, change.target));
                change.delete |= row.is_none_or(|row| row.delete);
                let own = row.filter(|row| row.conv_seq == at.conv_seq);
                *body = own.map(|row| row.body.clone()).unwrap_or_default();
                body.len()
            }
            _ => 0,
        }
    }

    /// Reads a page of a list.
    pub fn page(&self, page: &Page) -> Paged {
        match *page {
            Page::Messages { conv, from, newer, limit, bytes_max } => {
                let rows: Box<dyn Iterator<Item = _>> = match newer {
                    true => Box::new(self.messages.range((conv, from)..=(conv, u64::MAX))),
                    false => Box::new(self.messages.range((conv, 0)..=(conv, from)).rev()),
                };
                let mut bytes = 0;
                let some = |message: &StoredMessage| {
                    let fits = bytes <= bytes_max as usize;
                    bytes += message.body.len();
                    fits
                };
                let messages = rows.take(limit as usize).map(|(_, row)| self.message(row));
                Paged::Messages(messages.take_while(some).collect())
            }
            Page::Chats { user, before, limit } => {
                let all = self.last_inbox.iter().filter(|((of, _), _)| *of == user);
                let mut chats: Vec<_> = all.map(|((_, conv), &seq)| (*conv, seq)).collect();
                chats.retain(|(_, seq)| *seq < before);
                chats.sort_by_key(|(_, seq)| std::cmp::Reverse(*seq));
                chats.truncate(limit as usize);
                Paged::Chats(chats)
            }
            Page::Contacts { user, after, limit } => {
                let keys = (user, FIRST)..=(user, LAST);
                let known = self.contacts.range(keys.clone()).map(|(key, _)| key.1);
                let blocked = self.blocks.range(keys).map(|(key, _)| key.1);
                let mut peers: Vec<_> = known.chain(blocked).collect();
                peers.sort_unstable();
                peers.dedup();
                let states = peers.into_iter().filter(|peer| peer.get() > after);
                let states = states.map(|peer| (peer, self.contact(user, peer)));
                let all = limit == u32::MAX;
                let shown = states.filter(|(_, state)| all || state.contact || state.blocked);
                Paged::Contacts(shown.take(limit as usize).collect())
            }
        }
    }

    /// A message is lost, as no store should lose one.
    pub fn lose(&mut self, conv: ConvKey, conv_seq: Seq) {
        self.messages.remove(&(conv, conv_seq));
    }

    /// The number of the user's oldest entry.
    pub fn oldest_entry(&self, user: UserId) -> Option<Seq> {
        let entries = self.entries.range((user, 0)..=(user, Seq::MAX));
        entries.map(|((_, inbox_seq), _)| *inbox_seq).next()
    }

    fn message(&self, row: &MessageRow) -> StoredMessage {
        let place = (row.conv, row.conv_seq);
        let target = match row.content {
            Content::Change(Change { target, .. }, _) => (row.conv, target),
            _ => place,
        };
        StoredMessage::new(row, self.changes.get(&target))
    }
}
