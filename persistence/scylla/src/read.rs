//! Loads and scans.

use crate::error::Failure;
use crate::statements::Statement::{self, *};
use crate::write::{kind, mark, pair};
use crate::{Connection, INBOX_BUCKET, MESSAGE_BUCKET, schema};
use bytes::Bytes;
use persistence::values::{self, read};
use persistence::{
    ChangeRow, CommandOutbox, ContactState, Content, ConvKey, ConvState, DeviceInfo, DeviceState,
    Entry, EntryKind, Latest, Load, Loaded, MemberState, MessageRow, OutboxState, Position, Scan,
    Scanned, UserState, add_range,
};
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use wire::{BodyHash, Change, DeviceId, OutboxId, Privacy, Seq, UserId};

type Result<T> = std::result::Result<T, Failure>;
type Blob = Option<Vec<u8>>;
type Int = Option<i64>;
/// Of `GetMessages`.
pub type MessageColumns = (i64, Int, Int, Int, Int, Option<i8>, Int, Int, Blob, Option<bool>, Blob);

/// Entries whose bodies are read at once.
const FILLED_AT_ONCE: usize = 32;
/// A scan that took so long gives what it has: whoever waits for more gives it up.
const SCAN_TIME: Duration = Duration::from_millis(500);

/// What stands at a place of a conversation.
#[derive(Default)]
pub struct Place {
    /// `None`: only what changed it is here.
    pub row: Option<MessageRow>,
    /// What changed it.
    pub change: Option<ChangeRow>,
}

pub fn number(column: Int) -> u64 {
    column.unwrap_or(0) as u64
}

pub fn user_of(column: u64) -> Result<UserId> {
    UserId::new(column).ok_or_else(|| Failure::Row("user 0".to_owned()))
}

pub fn device_of(column: u64) -> Result<DeviceId> {
    let device = u32::try_from(column).map_err(|_| Failure::Row(format!("device {column}")))?;
    Ok(DeviceId(device))
}

/// The value, and the number of the entry that set it; 0 if none did.
fn latest<T: values::Setting + Default>(column: &Blob) -> Result<(T, Seq)> {
    let row = column.as_ref().map(|row| read::<Latest<T>>(row)).transpose()?;
    Ok(row.map(|row| (row.value, row.by)).unwrap_or_default())
}

/// What two columns say of a peer.
pub fn contact_of(contact: &Blob, blocked: &Blob) -> Result<ContactState> {
    let (name, contact_by): (Option<String>, Seq) = latest(contact)?;
    let (blocked, blocked_by) = latest(blocked)?;
    let contact = name.is_some();
    let name = name.unwrap_or_default();
    Ok(ContactState { contact, blocked, name, contact_by, blocked_by })
}

impl Place {
    pub fn of(conv: ConvKey, columns: MessageColumns) -> Result<(Seq, Place)> {
        let (seq, time, sender, outbox, n, kind, target, hash, body, emptied, changed) = columns;
        let change = changed.map(|row| read::<ChangeRow>(&row)).transpose()?;
        let Some(kind) = kind else { return Ok((seq as u64, Place { row: None, change })) };
        let hash = BodyHash(number(hash));
        let changes = |delete| Content::Change(Change { target: number(target), delete }, hash);
        let content = match kind {
            kind::BODY if emptied == Some(true) => Content::Emptied(hash),
            kind::BODY => Content::Body(Bytes::from(body.unwrap_or_default())),
            kind::VOID => Content::Void(hash),
            kind::EDIT => changes(false),
            kind::DELETE => changes(true),
            other => return Err(Failure::Row(format!("a message of kind {other}"))),
        };
        let row = MessageRow {
            conv,
            conv_seq: seq as u64,
            time_us: number(time),
            sender: user_of(number(sender))?,
            origin: outbox.zip(n).map(|(outbox, n)| (OutboxId(outbox as u64), n as u64)),
            content,
        };
        Ok((seq as u64, Place { row: Some(row), change }))
    }
}

impl Connection {
    /// The rows of a statement.
    pub async fn select<R>(&self, statement: Statement, values: impl SerializeRow) -> Result<Vec<R>>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let prepared = self.prepared.get(statement);
        let result = self.session.execute_unpaged(prepared, values).await?.into_rows_result()?;
        let rows = result.rows::<R>().map_err(|error| Failure::Row(error.to_string()))?;
        rows.collect::<std::result::Result<_, _>>().map_err(|e| Failure::Row(e.to_string()))
    }

    /// Says how far a core's log is in the store.
    pub async fn checkpoint(&self, core: u16, upto: Position) -> Result<()> {
        let now_us = schema::now_us() as i64;
        let values = (now_us, upto.0 as i64, now_us, &self.log, i32::from(core));
        self.session.execute_unpaged(self.prepared.get(PutCheckpoint), values).await?;
        Ok(())
    }

    /// Up to where these users' inboxes are trimmed.
    pub async fn trimmed(self: Arc<Self>, users: Vec<UserId>) -> Result<BTreeMap<UserId, Seq>> {
        let mut trimmed = BTreeMap::new();
        for user in users {
            trimmed.insert(user, self.ends(user).await?.1);
        }
        Ok(trimmed)
    }

    /// Head and trim of an inbox.
    pub async fn ends(&self, user: UserId) -> Result<(Seq, Seq)> {
        let rows: Vec<(Int, Int, Int, Int, Blob)> =
            self.select(GetUser, (user.get() as i64,)).await?;
        Ok(rows.first().map_or((0, 0), |row| (number(row.0), number(row.2))))
    }

    /// Reads one entity.
    pub async fn load(&self, load: Load) -> Result<Loaded> {
        Ok(match load {
            Load::Conversation(conv) => Loaded::Conversation(self.load_conversation(conv).await?),
            Load::User(user) => Loaded::User(Box::new(self.load_user(user).await?)),
            Load::Member(user, conv) => {
                Loaded::Member(Box::new(self.load_member(user, conv).await?))
            }
        })
    }

    async fn load_conversation(&self, conv: ConvKey) -> Result<ConvState> {
        let [low, high] = pair(conv).map(|id| id as i64);
        let rows: Vec<(Int, Int, Int, Int, Int, Int)> =
            self.select(GetConversation, (low, high)).await?;
        let mut state = ConvState::default();
        for (head, time_us, sender, outbox, next, device) in rows {
            (state.head, state.time_us) = (number(head), number(time_us));
            if let (Some(sender), Some(outbox)) = (sender, outbox) {
                state.outboxes.push(OutboxState {
                    user: user_of(sender as u64)?,
                    device: device_of(number(device))?,
                    outbox: OutboxId(outbox as u64),
                    next: number(next),
                });
            }
        }
        state.outboxes.sort_by_key(|outbox| (outbox.user, outbox.outbox.0));
        Ok(state)
    }

    async fn load_user(&self, id: UserId) -> Result<UserState> {
        let key = (id.get() as i64,);
        let (users, devices, outboxes) = tokio::try_join!(
            self.select::<(Int, Int, Int, Int, Blob)>(GetUser, key),
            self.devices(id),
            self.select::<(i64, Int, Int)>(GetCommandOutboxes, key),
        )?;
        let mut state = UserState { devices, ..UserState::default() };
        if let Some((head, epoch, trimmed, last_seen_us, privacy)) = users.first() {
            (state.head, state.epoch) = (number(*head), number(*epoch));
            (state.trimmed, state.last_seen_us) = (number(*trimmed), number(*last_seen_us));
            (state.privacy, state.privacy_by) = latest::<Privacy>(privacy)?;
        }
        for (outbox, next, device) in outboxes {
            let (outbox, device) = (OutboxId(outbox as u64), device_of(number(device))?);
            state.outboxes.push(CommandOutbox { outbox, device, next: number(next) });
        }
        state.outboxes.sort_by_key(|outbox| outbox.outbox.0);
        Ok(state)
    }

    /// A user's devices.
    pub async fn devices(&self, id: UserId) -> Result<Vec<DeviceState>> {
        let rows: Vec<(i64, Int, Blob, Option<bool>)> =
            self.select(GetDevices, (id.get() as i64,)).await?;
        let state = |(device, acked, info, revoked): (i64, Int, Blob, Option<bool>)| {
            let info = info.map(|row| read::<DeviceInfo>(&row)).transpose()?.unwrap_or_default();
            Ok(DeviceState {
                device: device_of(device as u64)?,
                acked: number(acked),
                info: DeviceInfo { revoked: revoked == Some(true), ..info },
            })
        };
        rows.into_iter().map(state).collect()
    }

    async fn load_member(&self, id: UserId, conv: ConvKey) -> Result<MemberState> {
        let key = (id.get() as i64, conv.peer_of(id).get() as i64);
        let [low, high] = pair(conv).map(|id| id as i64);
        let (members, marks, contacts, heads) = tokio::try_join!(
            self.select::<(Int, Int, Int, Blob)>(GetMember, key),
            self.select::<(i8, i64, i64)>(GetMarks, key),
            self.select::<(Blob, Blob)>(GetContact, key),
            self.select::<(Int,)>(GetConversationHead, (low, high)),
        )?;
        let mut state = MemberState::default();
        if let Some((taken, read, last_inbox, settings)) = members.first() {
            (state.taken, state.read) = (number(*taken), number(*read));
            state.last_inbox = number(*last_inbox);
            (state.settings, state.settings_by) = latest(settings)?;
        }
        for (kind, id, value) in marks {
            let (id, value) = (id as u64, value as u64);
            match kind {
                mark::DELIVERED => state.delivered.push((device_of(id)?, value)),
                mark::PEER_READ => state.peer.read = value,
                mark::PEER_DELIVERED => state.peer.delivered.push(value),
                mark::HIDDEN => add_range(&mut state.hidden, id, value),
                other => return Err(Failure::Row(format!("a mark of kind {other}"))),
            }
        }
        if let Some((contact, blocked)) = contacts.first() {
            state.contact = contact_of(contact, blocked)?;
        }
        // What its owner sequenced, it has taken.
        if id == conv.owner() {
            state.taken = heads.first().map_or(0, |head| number(head.0)).max(state.taken);
        }
        state.own_above_read = self.own_above_read(id, conv, &state).await?;
        Ok(state)
    }

    /// See `MemberState::own_above_read`.
    async fn own_above_read(
        &self,
        id: UserId,
        conv: ConvKey,
        state: &MemberState,
    ) -> Result<Vec<Seq>> {
        let (first, last) = state.above_read().into_inner();
        if first > last {
            return Ok(Vec::new());
        }
        let mut of_peer = vec![false; (last - first + 1) as usize];
        let [low, high] = pair(conv).map(|id| id as i64);
        for bucket in first / MESSAGE_BUCKET..=last / MESSAGE_BUCKET {
            let key = (low, high, bucket as i64, first as i64, last as i64);
            for (seq, sender, kind) in self.select::<(i64, Int, Option<i8>)>(GetPlaces, key).await?
            {
                let plain = kind == Some(kind::BODY);
                of_peer[(seq as u64 - first) as usize] = plain && number(sender) != id.get();
            }
        }
        Ok(state.own_among(of_peer))
    }

    /// Reads a range of an inbox and joins the bodies.
    pub async fn scan(self: Arc<Self>, scan: Scan) -> Result<Scanned> {
        let mut scanned = Scanned { entries: Vec::new(), covered: scan.upto };
        let (head, trimmed) = self.ends(scan.user).await?;
        let (mut from, upto) = (scan.after.max(trimmed).saturating_add(1), scan.upto.min(head));
        let (mut bytes, begun) = (0, Instant::now());
        while from <= upto {
            let end = upto.min((from / INBOX_BUCKET + 1) * INBOX_BUCKET - 1);
            let key = (scan.user.get() as i64, (from / INBOX_BUCKET) as i64);
            // One more than fits tells that there is more.
            let room = (scan.entries_max as usize).saturating_sub(scanned.entries.len()) + 1;
            let limit = room.min(FILLED_AT_ONCE);
            let key = (key.0, key.1, from as i64, end as i64, limit as i32);
            let rows: Vec<(i64, Vec<u8>)> = self.select(GetEntries, key).await?;
            from = match rows.last() {
                Some((last, _)) if rows.len() == limit => *last as u64 + 1,
                _ => end + 1,
            };
            let entries =
                rows.iter().map(|(seq, row)| values::read_entry(scan.user, *seq as u64, row));
            let entries = entries.collect::<std::result::Result<Vec<Entry>, _>>()?;
            for (entry, length) in self.clone().fill(entries).await? {
                let full = scanned.entries.len() >= scan.entries_max as usize;
                if let Some(last) = scanned.entries.last()
                    && (full || bytes > scan.bytes_max as usize)
                {
                    scanned.covered = last.inbox_seq;
                    return Ok(scanned);
                }
                bytes += length;
                scanned.entries.push(entry);
            }
            if let Some(last) = scanned.entries.last()
                && begun.elapsed() > SCAN_TIME
            {
                scanned.covered = last.inbox_seq;
                return Ok(scanned);
            }
        }
        Ok(scanned)
    }

    /// Joins the bodies of entries, and tells their lengths: one read for each partition.
    async fn fill(self: Arc<Self>, mut entries: Vec<Entry>) -> Result<Vec<(Entry, usize)>> {
        let mut wanted: BTreeMap<(ConvKey, u64), BTreeSet<i64>> = BTreeMap::new();
        for (conv, seq) in entries.iter().filter_map(body_of) {
            wanted.entry((conv, seq / MESSAGE_BUCKET)).or_default().insert(seq as i64);
        }
        let mut under_way = JoinSet::new();
        for ((conv, bucket), seqs) in wanted {
            let connection = self.clone();
            under_way.spawn(async move { connection.places(conv, bucket, seqs).await });
        }
        let mut places = BTreeMap::new();
        while let Some(some) = under_way.join_next().await {
            places.extend(some.expect("no reading panics")?);
        }
        entries.sort_by_key(|entry| entry.inbox_seq);
        let fill = |mut entry: Entry| {
            let place = body_of(&entry).and_then(|key| places.get(&key));
            let length = fill_one(&mut entry, place)?;
            Ok((entry, length))
        };
        entries.into_iter().map(fill).collect()
    }

    /// What stands at some places of one partition; nothing for those where nothing does.
    async fn places(
        &self,
        conv: ConvKey,
        bucket: u64,
        seqs: BTreeSet<i64>,
    ) -> Result<Vec<((ConvKey, Seq), Place)>> {
        let [low, high] = pair(conv).map(|id| id as i64);
        let seqs: Vec<i64> = seqs.into_iter().collect();
        let rows = self.select(GetMessagesAt, (low, high, bucket as i64, seqs)).await?;
        let place = |columns| Place::of(conv, columns).map(|(seq, place)| ((conv, seq), place));
        rows.into_iter().map(place).collect()
    }

    /// What stands at a place.
    pub async fn place(&self, conv: ConvKey, seq: Seq) -> Result<Place> {
        let [low, high] = pair(conv).map(|id| id as i64);
        let (bucket, seq) = ((seq / MESSAGE_BUCKET) as i64, seq as i64);
        let rows = self.select(GetMessages, (low, high, bucket, seq, seq, 1)).await?;
        let place = rows.into_iter().next().map(|columns| Place::of(conv, columns)).transpose()?;
        Ok(place.map(|(_, place)| place).unwrap_or_default())
    }
}

/// The place that an entry's body stands at.
fn body_of(entry: &Entry) -> Option<(ConvKey, Seq)> {
    match &entry.kind {
        EntryKind::Peer { at, .. } => Some((at.conv, at.conv_seq)),
        EntryKind::PeerChange { at, change, .. } => Some((at.conv, change.target)),
        _ => None,
    }
}

/// Joins the body, which stands at `place`, and tells its length.
fn fill_one(entry: &mut Entry, place: Option<&Place>) -> Result<usize> {
    Ok(match &mut entry.kind {
        EntryKind::Peer { body, .. } => {
            let row = place.and_then(|place| place.row.as_ref());
            let missing = || Failure::Row("a peer's message is missing".to_owned());
            *body = row.ok_or_else(missing)?.content.body();
            body.len()
        }
        EntryKind::PeerChange { at, change, body } => {
            let row = place.and_then(|place| place.change.as_ref());
            // It is gone only where its author is.
            change.delete |= row.is_none_or(|row| row.delete);
            let own = row.filter(|row| row.conv_seq == at.conv_seq);
            *body = own.map(|row| row.body.clone()).unwrap_or_default();
            body.len()
        }
        _ => 0,
    })
}
