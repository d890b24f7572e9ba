//! Loads and scans, each on one snapshot.

use crate::blocks::Messages;
use crate::error::StoreError;
use crate::tables::Tables;
use crate::{keys, keys::member, keys::user};
use fjall::{Readable, Snapshot};
use persistence::values::{device, number, read};
use persistence::{
    ChangeRow, CommandOutbox, ContactState, ConvKey, ConvState, DeviceInfo, DeviceState, EntryKind,
    Latest, Load, Loaded, MemberState, OutboxState, Scan, Scanned, UserState,
};
use std::collections::BTreeMap;
use wire::{ConvSettings, DeviceId, OutboxId, Privacy, Reader, Seq, UserId};

type Result<T> = std::result::Result<T, StoreError>;
/// An outbox's next number, and its device.
type Outbox = (Seq, Option<DeviceId>);

impl Tables {
    /// Reads one entity.
    pub fn load(&self, load: &Load) -> Result<Loaded> {
        let snapshot = self.database.snapshot();
        Ok(match *load {
            Load::Conversation(conv) => {
                Loaded::Conversation(self.load_conversation(&snapshot, conv)?)
            }
            Load::User(user) => Loaded::User(Box::new(self.load_user(&snapshot, user)?)),
            Load::Member(user, conv) => {
                Loaded::Member(Box::new(self.load_member(&snapshot, user, conv)?))
            }
        })
    }

    fn load_conversation(&self, snapshot: &Snapshot, conv: ConvKey) -> Result<ConvState> {
        let mut state = ConvState::default();
        for row in snapshot.prefix(&self.conversations, keys::conversation(conv)) {
            let (key, row) = row.into_inner()?;
            if key.len() == 16 {
                (state.head, state.time_us) = read(&row)?;
                continue;
            }
            let (next, device) = read::<Outbox>(&row)?;
            state.outboxes.push(OutboxState {
                user: user_at(&key, 16)?,
                device: device.unwrap_or(DeviceId(0)),
                outbox: OutboxId(number(&key, 24)?),
                next,
            });
        }
        Ok(state)
    }

    fn load_user(&self, snapshot: &Snapshot, id: UserId) -> Result<UserState> {
        let mut state = UserState::default();
        let mut devices: BTreeMap<DeviceId, DeviceState> = BTreeMap::new();
        let at = |device| DeviceState { device, acked: 0, info: DeviceInfo::default() };
        let rows = keys::all_of_user(id)..keys::of_user(id, user::PEER);
        for row in snapshot.range(&self.users, rows) {
            let (key, row) = row.into_inner()?;
            match key.get(8) {
                Some(&user::HEAD) => state.head = read(&row)?,
                Some(&user::EPOCH) => state.epoch = read(&row)?,
                Some(&user::TRIMMED) => state.trimmed = read(&row)?,
                Some(&user::LAST_SEEN) => state.last_seen_us = read(&row)?,
                Some(&user::PRIVACY) => {
                    let row = read::<Latest<Privacy>>(&row)?;
                    (state.privacy, state.privacy_by) = (row.value, row.by);
                }
                Some(&user::CURSOR) => {
                    let device = device(&key, 9)?;
                    devices.entry(device).or_insert(at(device)).acked = read(&row)?;
                }
                Some(&user::DEVICE) => {
                    let device = device(&key, 9)?;
                    devices.entry(device).or_insert(at(device)).info = read(&row)?;
                }
                Some(&user::OUTBOX) => {
                    let (next, device) = read::<Outbox>(&row)?;
                    let device = device.unwrap_or(DeviceId(0));
                    let outbox = OutboxId(number(&key, 9)?);
                    state.outboxes.push(CommandOutbox { outbox, device, next });
                }
                _ => return Err(unknown(&key)),
            }
        }
        state.devices = devices.into_values().collect();
        Ok(state)
    }

    fn load_member(&self, snapshot: &Snapshot, id: UserId, conv: ConvKey) -> Result<MemberState> {
        let mut state = MemberState::default();
        for row in snapshot.prefix(&self.members, keys::all_of_member(id, conv)) {
            let (key, row) = row.into_inner()?;
            match key.get(16) {
                Some(&member::TAKEN) => state.taken = read(&row)?,
                Some(&member::READ) => state.read = read(&row)?,
                Some(&member::DELIVERED) => {
                    state.delivered.push((device(&key, 17)?, read(&row)?));
                }
                Some(&member::PEER_MARKS) => state.peer = read(&row)?,
                Some(&member::SETTINGS) => {
                    let row = read::<Latest<ConvSettings>>(&row)?;
                    (state.settings, state.settings_by) = (row.value, row.by);
                }
                Some(&member::HIDDEN) => state.hidden.push((number(&key, 17)?, read(&row)?)),
                Some(&member::LAST_INBOX) => state.last_inbox = read(&row)?,
                _ => return Err(unknown(&key)),
            }
        }
        // What its owner sequenced, it has taken.
        if id == conv.owner()
            && let Some(row) = snapshot.get(&self.conversations, keys::conversation(conv))?
        {
            state.taken = read::<(Seq, u64)>(&row)?.0.max(state.taken);
        }
        let peer = conv.peer_of(id).get();
        for row in snapshot.prefix(&self.users, keys::peer(id, peer, None)) {
            let (key, row) = row.into_inner()?;
            add_contact(&mut state.contact, &key, &row)?;
        }
        state.own_above_read = self.own_above_read(snapshot, id, conv, &state)?;
        Ok(state)
    }

    /// Reads a range of an inbox and joins the bodies.
    pub fn scan(&self, scan: &Scan) -> Result<Scanned> {
        let snapshot = self.database.snapshot();
        // A row may hold entries that are trimmed before others.
        let trimmed = snapshot.get(&self.users, keys::of_user(scan.user, user::TRIMMED))?;
        let after = trimmed.map_or(Ok(0), |row| read(&row))?.max(scan.after);
        if after >= scan.upto {
            return Ok(Scanned { entries: Vec::new(), covered: scan.upto });
        }
        let (range, count) = ((after, scan.upto), u64::from(scan.entries_max));
        let mut entries = self.entries_after(&snapshot, scan.user, range, count)?;
        let mut messages = Messages::new(self, &snapshot);
        let (mut filled, mut bytes) = (0, 0);
        for entry in &mut entries {
            let full = filled >= scan.entries_max as usize || bytes > scan.bytes_max as usize;
            if full && filled > 0 {
                break;
            }
            bytes += self.fill(&snapshot, &mut messages, &mut entry.kind)?;
            filled += 1;
        }
        let cut = filled < entries.len();
        entries.truncate(filled);
        let last = entries.last().filter(|_| cut);
        let covered = last.map_or(scan.upto, |entry| entry.inbox_seq);
        Ok(Scanned { entries, covered })
    }

    /// Joins an entry's body, and returns its length.
    fn fill(
        &self,
        snapshot: &Snapshot,
        messages: &mut Messages<'_>,
        kind: &mut EntryKind,
    ) -> Result<usize> {
        match kind {
            EntryKind::Peer { at, body } => {
                let row = messages.get(at.conv, at.conv_seq)?;
                let missing = Reader::new(&[]).error("peer's message", "is missing");
                *body = row.ok_or(missing)?.content.into_body();
                Ok(body.len())
            }
            EntryKind::PeerChange { at, change, body } => {
                let row = self.change(snapshot, at.conv, change.target)?;
                // It is gone only where its author is.
                change.delete |= row.as_ref().is_none_or(|row| row.delete);
                let own = row.filter(|row| row.conv_seq == at.conv_seq);
                *body = own.map(|row| row.body).unwrap_or_default();
                Ok(body.len())
            }
            _ => Ok(0),
        }
    }

    pub fn change(
        &self,
        snapshot: &Snapshot,
        conv: ConvKey,
        target: Seq,
    ) -> Result<Option<ChangeRow>> {
        let row = snapshot.get(&self.messages, keys::change(conv, target))?;
        Ok(row.map(|row| read(&row)).transpose()?)
    }
}

/// Adds a row of a user's about a peer.
pub fn add_contact(state: &mut ContactState, key: &[u8], row: &[u8]) -> Result<()> {
    match key.get(17) {
        Some(&keys::CONTACT) => {
            let Latest { by, value } = read::<Latest<Option<String>>>(row)?;
            (state.contact, state.contact_by) = (value.is_some(), by);
            state.name = value.unwrap_or_default();
        }
        Some(&keys::BLOCK) => {
            let row = read::<Latest<bool>>(row)?;
            (state.blocked, state.blocked_by) = (row.value, row.by);
        }
        _ => return Err(unknown(key)),
    }
    Ok(())
}

/// The user at a byte of a key.
pub fn user_at(key: &[u8], at: usize) -> Result<UserId> {
    let number = number(key, at)?;
    Ok(UserId::new(number).ok_or(Reader::new(key).error("user", "is 0"))?)
}

fn unknown(key: &[u8]) -> StoreError {
    Reader::new(key).error("key", "is of an unknown kind").into()
}
