//! Writing a batch, synced before it returns: messages, in pieces where they are many, so that the
//! log's writes, on the same disk, wait for no more than a piece; then, in one piece, the entries
//! that name them and everything else. Rows are read, joined and put back, so what stands in a
//! table never goes back.

use crate::authors::NewAuthors;
use crate::blocks::{Messages, block_of};
use crate::error::StoreError;
use crate::tables::Tables;
use crate::{keys, keys::member, keys::user};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use persistence::values::{self, Stored, read, written};
use persistence::{Batch, ChangeRow, Content, ConvKey, MessageRow, Row, add_range};
use std::collections::BTreeSet;
use wire::{Seq, UserId};

/// So many messages of one conversation in a batch are looked up together.
const RUN_MIN: usize = 4;

type Done = Result<(), StoreError>;

/// Rows that one write of the library takes at most, where they may be many: some MiB of blocks of
/// messages.
const ROWS_AT_ONCE: usize = 2_048;

impl Tables {
    /// Writes a batch and makes it durable. One call at a time.
    pub fn write(&self, batch: &Batch) -> Done {
        let mut out = self.begin();
        self.write_messages(&mut out, batch)?;
        self.write_entries(&mut out, batch)?;
        self.write_users(&mut out, batch)?;
        self.write_members(&mut out, batch)?;
        Ok(out.commit()?)
    }

    /// Syncs what was gathered, once it is enough for one write.
    pub fn commit_some(&self, out: &mut OwnedWriteBatch) -> Done {
        if out.len() >= ROWS_AT_ONCE {
            std::mem::replace(out, self.begin()).commit()?;
        }
        Ok(())
    }

    pub fn begin(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::SyncAll))
    }

    /// Removes rows, some at a time, and counts them.
    pub fn remove_all(&self, table: &Keyspace, rows: fjall::Iter) -> Result<u64, StoreError> {
        let (mut out, mut count) = (self.begin(), 0);
        for row in rows {
            out.remove(table, row.key()?);
            count += 1;
            self.commit_some(&mut out)?;
        }
        out.commit()?;
        Ok(count)
    }

    fn write_messages(&self, out: &mut OwnedWriteBatch, batch: &Batch) -> Done {
        let mut rows = batch.message_rows();
        let snapshot = self.database.snapshot();
        let mut there = Messages::new(self, &snapshot);
        for (&(conv, target), change) in &batch.changes {
            join_row(out, &self.messages, keys::change(conv, target), change)?;
            // A delete reaches the body that is here already; one that comes later finds it.
            if change.delete
                && !rows.contains_key(&(conv, target))
                && let Some(row) = there.get(conv, target)?
            {
                rows.insert((conv, target), row);
            }
        }
        let deleted = self.deleted(batch, rows.keys().copied())?;
        let mut authors = NewAuthors::default();
        for (&(conv, conv_seq), row) in &mut rows {
            if row.origin.is_none()
                && let Some(there) = there.get(conv, conv_seq)?
            {
                row.join(there);
            }
            if matches!(row.content, Content::Body(_)) && deleted.contains(&(conv, conv_seq)) {
                row.content.empty();
            }
            authors.add(row);
        }
        let rows: Vec<_> = rows.into_values().collect();
        let place = |row: &MessageRow| (row.conv, block_of(row.conv_seq));
        for block in rows.chunk_by(|a, b| place(a) == place(b)) {
            self.write_block(out, block)?;
            self.commit_some(out)?;
        }
        authors.write(out, self)?;
        for (&conv, head) in &batch.conversations {
            join_row(out, &self.conversations, keys::conversation(conv), head)?;
        }
        for (&(conv, sender, outbox), next) in &batch.outboxes {
            let key = keys::outbox(conv, sender, outbox);
            join_row(out, &self.conversations, key, next)?;
        }
        Ok(())
    }

    /// Which of these messages, in order, were deleted, here or in the batch. A conversation's
    /// messages are looked up together: a range costs as much as some rows.
    fn deleted(
        &self,
        batch: &Batch,
        messages: impl Iterator<Item = (ConvKey, Seq)>,
    ) -> Result<BTreeSet<(ConvKey, Seq)>, StoreError> {
        let messages: Vec<_> = messages.collect();
        let of_batch = batch.changes.iter().filter(|(_, change)| change.delete);
        let mut deleted: BTreeSet<_> = of_batch.map(|(&place, _)| place).collect();
        for run in messages.chunk_by(|a, b| a.0 == b.0) {
            let (conv, first, last) = (run[0].0, run[0].1, run[run.len() - 1].1);
            if run.len() < RUN_MIN {
                for &(_, seq) in run {
                    let there = self.messages.get(keys::change(conv, seq))?;
                    let change = there.map(|row| read::<ChangeRow>(&row)).transpose()?;
                    deleted.extend(change.filter(|change| change.delete).map(|_| (conv, seq)));
                }
                continue;
            }
            for row in self.messages.range(keys::change(conv, first)..=keys::change(conv, last)) {
                let (key, row) = row.into_inner()?;
                if key.get(24) == Some(&keys::CHANGE) && read::<ChangeRow>(&row)?.delete {
                    deleted.insert((conv, values::number(&key, 16)?));
                }
            }
        }
        Ok(deleted)
    }

    fn write_users(&self, out: &mut OwnedWriteBatch, batch: &Batch) -> Done {
        let users = &self.users;
        for (map, tag) in [
            (&batch.heads, user::HEAD),
            (&batch.epochs, user::EPOCH),
            (&batch.trims, user::TRIMMED),
            (&batch.last_seen, user::LAST_SEEN),
        ] {
            for (&user, row) in map {
                join_row(out, users, keys::of_user(user, tag), row)?;
            }
        }
        for (&user, row) in &batch.privacy {
            join_row(out, users, keys::of_user(user, user::PRIVACY), row)?;
        }
        for (&(user, outbox), row) in &batch.command_outboxes {
            join_row(out, users, keys::command_outbox(user, outbox), row)?;
        }
        for (&(user, device), row) in &batch.cursors {
            join_row(out, users, keys::device(user, user::CURSOR, device), row)?;
        }
        for (&(user, device), row) in &batch.devices {
            join_row(out, users, keys::device(user, user::DEVICE, device), row)?;
        }
        for (&(user, peer), row) in &batch.contacts {
            join_row(out, users, keys::peer(user, peer.get(), Some(keys::CONTACT)), row)?;
        }
        for (&(user, peer), row) in &batch.blocks {
            join_row(out, users, keys::peer(user, peer.get(), Some(keys::BLOCK)), row)?;
        }
        Ok(())
    }

    fn write_members(&self, out: &mut OwnedWriteBatch, batch: &Batch) -> Done {
        let members = &self.members;
        for (map, tag) in [(&batch.taken, member::TAKEN), (&batch.reads, member::READ)] {
            for (&(user, conv), row) in map {
                join_row(out, members, keys::of_member(user, conv, tag), row)?;
            }
        }
        for (&(user, conv, device), row) in &batch.delivered {
            join_row(out, members, keys::delivered(user, conv, device), row)?;
        }
        for (&(user, conv), row) in &batch.receipts {
            join_row(out, members, keys::of_member(user, conv, member::PEER_MARKS), row)?;
        }
        for (&(user, conv), row) in &batch.settings {
            join_row(out, members, keys::of_member(user, conv, member::SETTINGS), row)?;
        }
        for (&(user, conv), ranges) in &batch.hidden {
            self.hide(out, user, conv, ranges)?;
        }
        for (&(user, conv), &newest) in &batch.last_inbox {
            let key = keys::of_member(user, conv, member::LAST_INBOX);
            let before = members.get(&key)?.map_or(Ok(0), |row| read(&row))?;
            if newest > before {
                if before != 0 {
                    out.remove(&self.users, keys::chat(user, before));
                }
                let peer = conv.peer_of(user).get();
                out.insert(&self.users, keys::chat(user, newest), written(&peer));
                out.insert(members, key, written(&newest));
            }
        }
        Ok(())
    }

    /// Joins ranges with those that they touch.
    fn hide(
        &self,
        out: &mut OwnedWriteBatch,
        user: UserId,
        conv: ConvKey,
        ranges: &[(Seq, Seq)],
    ) -> Done {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(()) };
        let below = keys::hidden(user, conv, 0)..=keys::hidden(user, conv, first.0);
        let within = keys::hidden(user, conv, first.0.saturating_add(1))
            ..=keys::hidden(user, conv, last.1.saturating_add(1));
        let below = self.members.range(below).next_back();
        let mut there = Vec::new();
        for row in below.into_iter().chain(self.members.range(within)) {
            let (key, row) = row.into_inner()?;
            there.push((values::number(&key, 17)?, read::<Seq>(&row)?));
        }
        let mut joined = there.clone();
        ranges.iter().for_each(|range| add_range(&mut joined, range.0, range.1));
        for range in there.iter().filter(|range| joined.binary_search(range).is_err()) {
            if joined.binary_search_by_key(&range.0, |range| range.0).is_err() {
                out.remove(&self.members, keys::hidden(user, conv, range.0));
            }
        }
        for range in joined.iter().filter(|range| there.binary_search(range).is_err()) {
            out.insert(&self.members, keys::hidden(user, conv, range.0), written(&range.1));
        }
        Ok(())
    }
}

/// Joins a row into what the table has.
fn join_row<V: Stored>(out: &mut OwnedWriteBatch, table: &Keyspace, key: Vec<u8>, row: &V) -> Done {
    let Some(there) = table.get(&key)? else {
        out.insert(table, key, written(row));
        return Ok(());
    };
    let there: V = read(&there)?;
    let mut joined = there.clone();
    joined.join(row.clone());
    if joined != there {
        out.insert(table, key, written(&joined));
    }
    Ok(())
}
