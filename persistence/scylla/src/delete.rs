//! Removing a user: see `persistence::Backend::delete_user`. Each cell goes with the timestamp that
//! it has, so that whoever gets the number later writes above it.

use crate::Connection;
use crate::error::Failure;
use crate::read::{MessageColumns, Place, number};
use crate::statements::Statement::*;
use crate::write::{DELETES, Writes, at, int, mark, pair};
use crate::{INBOX_BUCKET, MESSAGE_BUCKET};
use persistence::{Content, ConvKey, Removed};
use scylla::value::CqlValue;
use std::sync::Arc;
use wire::{DeviceId, Seq, UserId};

type Result<T> = std::result::Result<T, Failure>;
type Int = Option<i64>;
type Blob = Option<Vec<u8>>;

impl Connection {
    /// See `Backend::delete_user`. Cut by a crash, it is done again from the start.
    pub async fn delete_user(self: Arc<Self>, id: UserId) -> Result<Removed> {
        let mut removed = Removed::default();
        let key = (id.get() as i64,);
        let users: Vec<(Int, Int, Int, Int, Blob)> = self.select(GetUser, key).await?;
        let (head, epoch, trimmed, seen, _) = users.into_iter().next().unwrap_or_default();
        let (head, trimmed, seen) = (number(head), number(trimmed), number(seen));
        let members: Vec<(i64, Int)> = self.select(GetMembers, key).await?;
        for (peer, _) in members {
            let conv = UserId::new(peer as u64).and_then(|peer| ConvKey::new(id, peer));
            let conv = conv.ok_or_else(|| Failure::Row("a peer is nobody or oneself".into()))?;
            let messages = self.clone().empty_messages(id, conv).await?;
            removed.messages += messages;
            let left = self.clone().leave(id, conv, head).await?;
            removed.conversations += u64::from(left || messages > 0);
        }
        let mut writes = Writes::default();
        removed.entries = self.count_entries(id, trimmed, head).await?;
        writes.trim(id, trimmed, head);
        removed.devices = self.delete_devices(id, &mut writes).await?;
        removed.contacts = self.delete_contacts(id, head, &mut writes).await?;
        for (statement, timestamp) in [(DeletePrivacy, head), (DeleteLastSeen, seen)] {
            writes.of_user("users", id, statement, vec![at(timestamp), int(id.get())]);
        }
        self.clone().write(writes).await?;
        // Last: until then it is done again.
        let mut writes = Writes::default();
        for (statement, value) in [(PutTrimmed, head), (PutEpoch, number(epoch) + 1)] {
            let values = vec![at(value), int(value), int(id.get())];
            writes.of_user("users", id, statement, values);
        }
        self.write(writes).await?;
        Ok(removed)
    }

    /// Empties the user's messages in a conversation, and says how many had something.
    async fn empty_messages(self: Arc<Self>, id: UserId, conv: ConvKey) -> Result<u64> {
        let ([low, high], last) = (pair(conv).map(|id| id as i64), self.last_place(conv).await?);
        let mut count = 0;
        for bucket in 0..=last / MESSAGE_BUCKET {
            let mut writes = Writes::default();
            let whole = MESSAGE_BUCKET as i32;
            let key = (low, high, bucket as i64, 0i64, i64::MAX, whole);
            let rows: Vec<MessageColumns> = self.select(GetMessages, key).await?;
            for columns in rows {
                let (seq, place) = Place::of(conv, columns)?;
                match place.row.filter(|row| row.sender == id).map(|row| row.content) {
                    Some(Content::Body(_)) => {
                        count += 1;
                        writes.empty(conv, seq);
                    }
                    // Its text stands beside the message that it changed, the user's own.
                    Some(Content::Change(change, _)) => {
                        self.delete_change(conv, change.target, &mut writes).await?;
                    }
                    _ => {}
                }
            }
            self.clone().write(writes).await?;
        }
        Ok(count)
    }

    async fn delete_change(&self, conv: ConvKey, target: Seq, writes: &mut Writes) -> Result<()> {
        let Some(change) = self.place(conv, target).await?.change else { return Ok(()) };
        let [low, high] = pair(conv);
        let bucket = target / MESSAGE_BUCKET;
        let rank = change.conv_seq as i64 | if change.delete { DELETES } else { 0 };
        let key = [int(low), int(high), int(bucket), int(target)];
        let values = [CqlValue::BigInt(rank)].into_iter().chain(key).collect();
        writes.of_message([low, high, bucket], DeleteChange, values);
        Ok(())
    }

    /// Removes what the user has in a conversation, but for the places that were taken: those
    /// are hidden from whoever gets this number. True if something went.
    async fn leave(self: Arc<Self>, id: UserId, conv: ConvKey, head: Seq) -> Result<bool> {
        let (user, peer) = (id.get(), conv.peer_of(id).get());
        let key = (user as i64, peer as i64);
        let [low, high] = pair(conv).map(|id| id as i64);
        let (members, marks, heads) = tokio::try_join!(
            self.select::<(Int, Int, Int, Blob)>(GetMember, key),
            self.select::<(i8, i64, i64)>(GetMarks, key),
            self.select::<(Int,)>(GetConversationHead, (low, high)),
        )?;
        let (taken, read, last_inbox, settings) = members.into_iter().next().unwrap_or_default();
        let mut gone = read.is_some() || last_inbox.is_some() || settings.is_some();
        let mut writes = Writes::default();
        for (statement, timestamp) in [
            (DeleteRead, number(read)),
            (DeleteLastInbox, number(last_inbox)),
            (DeleteSettings, head),
        ] {
            let values = vec![at(timestamp), int(user), int(peer)];
            writes.of_user("members", id, statement, values);
        }
        for (kind, place, value) in marks {
            if (kind, place) == (mark::HIDDEN, 1) {
                continue;
            }
            gone = true;
            let mut values = vec![at(value as u64), int(user), int(peer)];
            values.extend([CqlValue::TinyInt(kind), CqlValue::BigInt(place)]);
            writes.of_peer(id, peer, DeleteMark, values);
        }
        let taken = heads.first().map_or(0, |head| number(head.0)).max(number(taken));
        if taken > 0 {
            writes.mark(id, conv, mark::HIDDEN, 1, taken);
        }
        self.write(writes).await?;
        Ok(gone)
    }

    async fn count_entries(&self, id: UserId, trimmed: Seq, head: Seq) -> Result<u64> {
        let mut count = 0;
        for bucket in trimmed / INBOX_BUCKET..=head / INBOX_BUCKET {
            let (first, whole) = (trimmed as i64 + 1, INBOX_BUCKET as i32);
            let key = (id.get() as i64, bucket as i64, first, head as i64, whole);
            count += self.select::<(i64, Vec<u8>)>(GetEntries, key).await?.len() as u64;
        }
        Ok(count)
    }

    async fn delete_devices(&self, id: UserId, writes: &mut Writes) -> Result<u64> {
        let mut count = 0;
        for state in self.devices(id).await? {
            let DeviceId(device) = state.device;
            count += 1;
            for (statement, timestamp) in [
                (DeleteCursor, state.acked),
                (DeleteDevice, state.info.attached_us),
                (DeleteRevoked, 1),
            ] {
                let values = vec![at(timestamp), int(id.get()), int(device.into())];
                writes.of_user("devices", id, statement, values);
            }
        }
        Ok(count)
    }

    async fn delete_contacts(&self, id: UserId, head: Seq, writes: &mut Writes) -> Result<u64> {
        let (mut count, mut from) = (0, i64::MIN);
        loop {
            let key = (id.get() as i64, from, 1_000);
            let rows: Vec<(i64, Blob, Blob)> = self.select(GetContacts, key).await?;
            let next = rows.last().and_then(|(last, ..)| last.checked_add(1));
            for (peer, contact, blocked) in rows {
                count += u64::from(contact.is_some()) + u64::from(blocked.is_some());
                for statement in [DeleteContact, DeleteBlock] {
                    let values = vec![at(head), int(id.get()), CqlValue::BigInt(peer)];
                    writes.of_user("contacts", id, statement, values);
                }
            }
            let Some(next) = next else { return Ok(count) };
            from = next;
        }
    }
}
