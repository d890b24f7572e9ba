//! Everything that the store holds, table by table, as batches: to copy it into another store.

use crate::blocks::messages_of;
use crate::error::StoreError;
use crate::read::user_at;
use crate::tables::Tables;
use crate::{Embedded, keys, keys::member, keys::user};
use fjall::Keyspace;
use persistence::values::{self, Stored, device, number, read};
use persistence::{BackendError, Batch, ConvKey, Row, add_range};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use wire::{OutboxId, Reader, Seq, UserId};

type Done = Result<(), StoreError>;

/// Rows, or messages in them, and bytes after which a batch ends.
const ROWS_MAX: usize = 4_096;
const BYTES_MAX: usize = 4 << 20;
const TABLES: u8 = 5;

/// Where an export stands: behind this key of this table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPlace {
    /// Index of the table; 5: everything was read.
    pub table: u8,
    /// Key of the last row that was read; empty: none of this table yet.
    pub key: Vec<u8>,
}

/// Reads a store that nobody writes meanwhile. Rows come as they are, each once; an export that
/// goes on at the place of an older one may repeat inbox entries.
pub struct Export<'a> {
    store: &'a Embedded,
    place: ExportPlace,
    rows: u64,
    inbox: Option<Inbox>,
}

/// What is known of the inbox whose entries are being read.
struct Inbox {
    user: UserId,
    trimmed: Seq,
    /// Numbers that came already: rows may overlap.
    seen: Vec<(Seq, Seq)>,
}

impl Embedded {
    /// Reads everything from a place on.
    pub fn export(&self, place: ExportPlace) -> Export<'_> {
        Export { store: self, place, rows: 0, inbox: None }
    }

    /// About how many rows there are.
    pub fn rows_about(&self) -> Result<u64, BackendError> {
        self.with(|tables| {
            Ok((0..TABLES).map(|index| tables.numbered(index).approximate_len() as u64).sum())
        })
    }
}

impl Export<'_> {
    /// Where the next batch begins.
    pub fn place(&self) -> &ExportPlace {
        &self.place
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Some more rows; `None`: that was all.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, BackendError> {
        let store = self.store;
        store.with(|tables| self.read(tables))
    }

    fn read(&mut self, tables: &Tables) -> Result<Option<Batch>, StoreError> {
        while self.place.table < TABLES {
            let (mut batch, mut rows, mut bytes) = (Batch::default(), 0, 0);
            let from: (_, std::ops::Bound<Vec<u8>>) =
                (Excluded(std::mem::take(&mut self.place.key)), Unbounded);
            for row in tables.numbered(self.place.table).range(from) {
                let (key, row) = row.into_inner()?;
                match self.place.table {
                    0 => message(&mut batch, &key, &row)?,
                    1 => self.entries(tables, &mut batch, &key, &row)?,
                    2 => conversation(&mut batch, &key, &row)?,
                    3 => of_user(&mut batch, &key, &row)?,
                    _ => of_member(&mut batch, &key, &row)?,
                }
                (rows, bytes) = (rows + 1, bytes + row.len());
                self.place.key = key.to_vec();
                let messages = batch.messages.len();
                if rows.max(messages) >= ROWS_MAX || bytes >= BYTES_MAX {
                    break;
                }
            }
            self.rows += rows as u64;
            if rows > 0 {
                return Ok(Some(batch));
            }
            self.place = ExportPlace { table: self.place.table + 1, key: Vec::new() };
        }
        Ok(None)
    }

    fn entries(&mut self, tables: &Tables, batch: &mut Batch, key: &[u8], row: &[u8]) -> Done {
        let user = user_at(key, 0)?;
        if self.inbox.as_ref().is_none_or(|inbox| inbox.user != user) {
            let trimmed = tables.users.get(keys::of_user(user, user::TRIMMED))?;
            let trimmed = trimmed.map_or(Ok(0), |row| read(&row))?;
            self.inbox = Some(Inbox { user, trimmed, seen: Vec::new() });
        }
        let inbox = self.inbox.as_mut().expect("just made");
        let (last, first) = (number(key, 8)?, number(key, 16)?);
        let r = &mut Reader::new(row);
        for inbox_seq in first..=last {
            let length = r.varint("length")? as usize;
            let bytes = r.take(length, "entry")?;
            let at = inbox.seen.partition_point(|range| range.1 < inbox_seq);
            let seen = inbox.seen.get(at).is_some_and(|range| range.0 <= inbox_seq);
            if inbox_seq > inbox.trimmed && !seen {
                batch.entries.push((user, values::read_entry(user, inbox_seq, bytes)?));
            }
        }
        r.end("entries")?;
        add_range(&mut inbox.seen, first, last);
        Ok(())
    }
}

impl Tables {
    fn numbered(&self, index: u8) -> &Keyspace {
        [&self.messages, &self.entries, &self.conversations, &self.users, &self.members]
            [usize::from(index)]
    }
}

fn conv_at(key: &[u8], at: usize) -> Result<ConvKey, StoreError> {
    let conv = ConvKey::new(user_at(key, at)?, user_at(key, at + 8)?);
    Ok(conv.ok_or(Reader::new(key).error("peer", "is oneself"))?)
}

fn put<K: Ord, V: Stored + Row>(rows: &mut BTreeMap<K, V>, key: K, row: &[u8]) -> Done {
    rows.insert(key, read(row)?);
    Ok(())
}

fn unknown(key: &[u8]) -> StoreError {
    Reader::new(key).error("key", "is of an unknown kind").into()
}

fn message(batch: &mut Batch, key: &[u8], row: &[u8]) -> Done {
    let (conv, seq) = (conv_at(key, 0)?, number(key, 16)?);
    match key.get(24) {
        None | Some(&keys::MESSAGES) => batch.messages.extend(messages_of(conv, key, row)?),
        Some(&keys::CHANGE) => put(&mut batch.changes, (conv, seq), row)?,
        // An index of who wrote what.
        Some(&keys::AUTHORS) => {}
        Some(_) => return Err(unknown(key)),
    }
    Ok(())
}

fn conversation(batch: &mut Batch, key: &[u8], row: &[u8]) -> Done {
    let conv = conv_at(key, 0)?;
    if key.len() == 16 {
        return put(&mut batch.conversations, conv, row);
    }
    let outbox = (conv, user_at(key, 16)?, OutboxId(number(key, 24)?));
    put(&mut batch.outboxes, outbox, row)
}

fn of_user(batch: &mut Batch, key: &[u8], row: &[u8]) -> Done {
    let id = user_at(key, 0)?;
    match key.get(8) {
        Some(&user::HEAD) => put(&mut batch.heads, id, row),
        Some(&user::EPOCH) => put(&mut batch.epochs, id, row),
        Some(&user::TRIMMED) => put(&mut batch.trims, id, row),
        Some(&user::LAST_SEEN) => put(&mut batch.last_seen, id, row),
        Some(&user::PRIVACY) => put(&mut batch.privacy, id, row),
        Some(&user::OUTBOX) => {
            put(&mut batch.command_outboxes, (id, OutboxId(number(key, 9)?)), row)
        }
        Some(&user::CURSOR) => put(&mut batch.cursors, (id, device(key, 9)?), row),
        Some(&user::DEVICE) => put(&mut batch.devices, (id, device(key, 9)?), row),
        Some(&user::PEER) => {
            let peer = user_at(key, 9)?;
            match key.get(17) {
                Some(&keys::CONTACT) => put(&mut batch.contacts, (id, peer), row),
                Some(&keys::BLOCK) => put(&mut batch.blocks, (id, peer), row),
                _ => Err(unknown(key)),
            }
        }
        // An index of `last_inbox`.
        Some(&user::CHAT) => Ok(()),
        _ => Err(unknown(key)),
    }
}

fn of_member(batch: &mut Batch, key: &[u8], row: &[u8]) -> Done {
    let (id, conv) = (user_at(key, 0)?, conv_at(key, 0)?);
    match key.get(16) {
        Some(&member::TAKEN) => put(&mut batch.taken, (id, conv), row),
        Some(&member::READ) => put(&mut batch.reads, (id, conv), row),
        Some(&member::DELIVERED) => put(&mut batch.delivered, (id, conv, device(key, 17)?), row),
        Some(&member::PEER_MARKS) => put(&mut batch.receipts, (id, conv), row),
        Some(&member::SETTINGS) => put(&mut batch.settings, (id, conv), row),
        Some(&member::HIDDEN) => {
            let ranges = batch.hidden.entry((id, conv)).or_default();
            add_range(ranges, number(key, 17)?, read(row)?);
            Ok(())
        }
        Some(&member::LAST_INBOX) => put(&mut batch.last_inbox, (id, conv), row),
        _ => Err(unknown(key)),
    }
}
