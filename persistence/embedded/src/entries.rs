//! Inbox entries. A row holds a run of them, each number one above the one before, so a busy inbox
//! costs few rows, to write and to trim. Its key says which, last one first: the same key always
//! holds the same. After a crash batches are cut elsewhere, and rows may overlap.

use crate::error::StoreError;
use crate::tables::Tables;
use crate::{keys, keys::user};
use fjall::{OwnedWriteBatch, Readable, Snapshot};
use persistence::values::{self, number, read};
use persistence::{Batch, Entry};
use std::collections::BTreeMap;
use wire::{Reader, Seq, UserId, put_varint};

type Result<T> = std::result::Result<T, StoreError>;

/// A row that has so many bytes is full: some 100 entries.
const ROW_BYTES: usize = 4 << 10;

impl Tables {
    /// Writes the entries of a batch, but for those that are trimmed.
    pub fn write_entries(&self, out: &mut OwnedWriteBatch, batch: &Batch) -> Result<()> {
        let trimmed = self.trim(out, batch)?;
        let above = |(user, entry): &&(UserId, Entry)| entry.inbox_seq > trimmed[user];
        let mut entries: Vec<_> = batch.entries.iter().filter(above).collect();
        entries.sort_by_key(|(user, entry)| (*user, entry.inbox_seq));
        entries.dedup_by_key(|(user, entry)| (*user, entry.inbox_seq));
        let (mut row, mut first) = (Vec::new(), 0);
        for (index, (user, entry)) in entries.iter().enumerate() {
            if row.is_empty() {
                first = entry.inbox_seq;
            }
            let bytes = values::entry(*user, entry);
            put_varint(&mut row, bytes.len() as u64);
            row.extend_from_slice(&bytes);
            let goes_on = entries.get(index + 1).is_some_and(|(next, after)| {
                next == user && after.inbox_seq == entry.inbox_seq + 1
            });
            if !goes_on || row.len() >= ROW_BYTES {
                let key = keys::entries(*user, entry.inbox_seq, first);
                out.insert(&self.entries, key, std::mem::take(&mut row));
            }
        }
        Ok(())
    }

    /// Removes the rows that the batch trims, and says up to where each of its users' inboxes is
    /// trimmed. A record in the log says so too: it may happen before the rest is written.
    fn trim(&self, out: &mut OwnedWriteBatch, batch: &Batch) -> Result<BTreeMap<UserId, Seq>> {
        let mut trimmed = BTreeMap::new();
        for &user in batch.heads.keys().chain(batch.trims.keys()) {
            if trimmed.contains_key(&user) {
                continue;
            }
            let row = self.users.get(keys::of_user(user, user::TRIMMED))?;
            let before = row.map_or(Ok(0), |row| read(&row))?;
            let upto = batch.trims.get(&user).copied().unwrap_or(0).max(before);
            trimmed.insert(user, upto);
            // Often everything went before it was written, and there is nothing to look for: no
            // entry stands above the head, which is synced together with the entries.
            if upto > before && self.head(user)? > before {
                let keys = keys::entries(user, before + 1, 0)..=keys::entries(user, upto, Seq::MAX);
                for row in self.entries.range(keys) {
                    out.remove(&self.entries, row.key()?);
                    self.commit_some(out)?;
                }
            }
        }
        Ok(trimmed)
    }

    fn head(&self, user: UserId) -> Result<Seq> {
        let row = self.users.get(keys::of_user(user, user::HEAD))?;
        Ok(row.map_or(Ok(0), |row| read(&row))?)
    }

    /// Entries above `after` up to `upto`, lowest number first: all, or more than `count`.
    pub fn entries_after(
        &self,
        snapshot: &Snapshot,
        user: UserId,
        (after, upto): (Seq, Seq),
        count: u64,
    ) -> Result<Vec<Entry>> {
        let (mut found, mut run): (Vec<Entry>, Seq) = (Vec::new(), after);
        let keys = keys::entries(user, after + 1, 0)..=keys::entries(user, Seq::MAX, Seq::MAX);
        for row in snapshot.range(&self.entries, keys) {
            let (key, row) = row.into_inner()?;
            let r = &mut Reader::new(&row);
            for inbox_seq in number(&key, 16)?..=number(&key, 8)? {
                let length = r.varint("length")? as usize;
                let bytes = r.take(length, "entry")?;
                if inbox_seq > after
                    && inbox_seq <= upto
                    && let Some(at) = place_of_new(&found, inbox_seq)
                {
                    found.insert(at, values::read_entry(user, inbox_seq, bytes)?);
                }
            }
            r.end("entries")?;
            let is_at = |entry: &Entry, run| entry.inbox_seq == run + 1;
            while found.get((run - after) as usize).is_some_and(|entry| is_at(entry, run)) {
                run += 1;
            }
            // A number that is missing may stand in a later row, which overlaps this one.
            if run >= upto || run - after > count {
                break;
            }
        }
        Ok(found)
    }

    /// Removes a user's entries, and counts them.
    pub fn remove_entries(&self, user: UserId) -> Result<u64> {
        let keys = || keys::entries(user, 0, 0)..=keys::entries(user, Seq::MAX, Seq::MAX);
        let trimmed = self.users.get(keys::of_user(user, user::TRIMMED))?;
        let (mut upto, mut count) = (trimmed.map_or(Ok(0), |row| read::<Seq>(&row))?, 0);
        for row in self.entries.range(keys()) {
            let key = row.key()?;
            let (last, first) = (number(&key, 8)?, number(&key, 16)?);
            count += last.saturating_sub(upto.max(first - 1));
            upto = upto.max(last);
        }
        self.remove_all(&self.entries, self.entries.range(keys()))?;
        Ok(count)
    }
}

/// Where a number belongs; `None`: it is there.
fn place_of_new(found: &[Entry], inbox_seq: Seq) -> Option<usize> {
    match found.last() {
        Some(last) if last.inbox_seq >= inbox_seq => {
            found.binary_search_by_key(&inbox_seq, |entry| entry.inbox_seq).err()
        }
        _ => Some(found.len()),
    }
}
