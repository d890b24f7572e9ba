//! Writing a batch: one atomic write, synced before it returns.

use crate::tables::Tables;
use crate::{keys, values};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use persistence::Batch;
use wire::Seq;

impl Tables {
    /// Writes a batch and makes it durable.
    pub fn write(&self, batch: &Batch) -> fjall::Result<()> {
        let mut out = self.database.batch().durability(Some(PersistMode::SyncAll));
        for row in &batch.messages {
            let key = keys::message(row.conv, row.conv_seq);
            out.insert(&self.messages, key, values::message(row));
        }
        for (user, entry) in &batch.entries {
            let key = keys::entry(*user, entry.inbox_seq);
            out.insert(&self.entries, key, values::entry(*user, entry));
        }
        for (&conv, &(head, time_us)) in &batch.conversations {
            let key = keys::conversation(conv);
            raise(&mut out, &self.conversations, key, head, &time_us.to_be_bytes())?;
        }
        for (&(conv, sender, outbox), &(next, device)) in &batch.outboxes {
            let key = keys::outbox(conv, sender, outbox);
            let device = match device {
                Some(device) => device.0.to_be_bytes().to_vec(),
                // The device stands in the row since the outbox's first record.
                None => match self.conversations.get(&key)? {
                    Some(row) => row.get(8..).unwrap_or_default().to_vec(),
                    None => Vec::new(),
                },
            };
            raise(&mut out, &self.conversations, key, next, &device)?;
        }
        for (&user, &head) in &batch.heads {
            raise(&mut out, &self.users, keys::of_user(user, keys::HEAD), head, &[])?;
        }
        for (&user, &epoch) in &batch.epochs {
            raise(&mut out, &self.users, keys::of_user(user, keys::EPOCH), epoch, &[])?;
        }
        for (&(user, device), &acked) in &batch.cursors {
            raise(&mut out, &self.users, keys::device(user, device), acked, &[])?;
        }
        for (&(user, conv), &mark) in &batch.taken {
            raise(&mut out, &self.marks, keys::mark(user, conv), mark, &[])?;
        }
        out.commit()
    }
}

/// Puts a row that starts with a number, unless the one that is there has a higher one.
fn raise(
    out: &mut OwnedWriteBatch,
    table: &Keyspace,
    key: Vec<u8>,
    number: Seq,
    rest: &[u8],
) -> fjall::Result<()> {
    let number = number.to_be_bytes();
    if let Some(there) = table.get(&key)?
        && there.get(..8).is_some_and(|there| there > &number[..])
    {
        return Ok(());
    }
    out.insert(table, key, [&number[..], rest].concat());
    Ok(())
}
