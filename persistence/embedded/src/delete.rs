//! Removing a user. Numbers stay (heads, epochs, outboxes, places taken), so that none is given
//! out twice; everything else goes, and the places of the user's messages read as deleted.

use crate::blocks::{block_of, messages_of};
use crate::error::StoreError;
use crate::read::user_at;
use crate::tables::Tables;
use crate::{keys, keys::member, keys::user};
use persistence::values::{read, written};
use persistence::{Content, ConvKey, MessageRow, Removed};
use std::collections::BTreeSet;
use wire::{Reader, Seq, UserId};

type Result<T> = std::result::Result<T, StoreError>;

impl Tables {
    /// See `Backend::delete_user`. Cut by a crash, it is done again from the start.
    pub fn delete_user(&self, id: UserId) -> Result<Removed> {
        let mut removed = Removed::default();
        for conv in self.conversations_of(id)? {
            let messages = self.empty_messages(id, conv)?;
            removed.messages += messages;
            removed.conversations += u64::from(self.leave(id, conv)? || messages > 0);
        }
        removed.entries = self.remove_entries(id)?;
        for (tag, count) in [
            (user::DEVICE, None),
            (user::CURSOR, Some(&mut removed.devices)),
            (user::PRIVACY, None),
            (user::LAST_SEEN, None),
            (user::PEER, Some(&mut removed.contacts)),
            (user::CHAT, None),
        ] {
            let rows = self.users.prefix(keys::of_user(id, tag));
            let gone = self.remove_all(&self.users, rows)?;
            if let Some(count) = count {
                *count = gone;
            }
        }
        let number = |tag| -> Result<u64> {
            let row = self.users.get(keys::of_user(id, tag))?;
            Ok(row.map_or(Ok(0), |row| read(&row))?)
        };
        let mut out = self.begin();
        let head = number(user::HEAD)?;
        out.insert(&self.users, keys::of_user(id, user::TRIMMED), written(&head));
        let epoch = number(user::EPOCH)? + 1;
        out.insert(&self.users, keys::of_user(id, user::EPOCH), written(&epoch));
        out.commit()?;
        Ok(removed)
    }

    /// Where the user has anything.
    fn conversations_of(&self, id: UserId) -> Result<BTreeSet<ConvKey>> {
        let mut convs = BTreeSet::new();
        for row in self.members.prefix(keys::all_of_user(id)) {
            let key = row.key()?;
            let conv = ConvKey::new(id, user_at(&key, 8)?);
            convs.insert(conv.ok_or(Reader::new(&key).error("peer", "is oneself"))?);
        }
        Ok(convs)
    }

    /// Empties the user's messages in a conversation, and says how many had something.
    fn empty_messages(&self, id: UserId, conv: ConvKey) -> Result<u64> {
        let (mut out, mut count) = (self.begin(), 0);
        // Of one block: long ones stand beside it, and are written into it.
        let mut emptied: Vec<MessageRow> = Vec::new();
        for row in self.messages.prefix(keys::conversation(conv)) {
            let (key, row) = row.into_inner()?;
            for mut row in messages_of(conv, &key, &row)? {
                if emptied.first().is_some_and(|e| block_of(e.conv_seq) != block_of(row.conv_seq)) {
                    self.write_block(&mut out, std::mem::take(&mut emptied))?;
                    self.commit_some(&mut out)?;
                }
                if row.sender != id {
                    continue;
                }
                if let Content::Change(change, _) = row.content {
                    // Its text stands beside the message that it changed, the user's own.
                    out.remove(&self.messages, keys::change(conv, change.target));
                } else if row.content.empty() {
                    count += 1;
                    emptied.push(row);
                }
            }
        }
        self.write_block(&mut out, emptied)?;
        out.commit()?;
        Ok(count)
    }

    /// Removes what the user has in a conversation, but for the places that were taken: those
    /// are hidden from whoever gets this number. True if something went.
    fn leave(&self, id: UserId, conv: ConvKey) -> Result<bool> {
        let taken_key = keys::of_member(id, conv, member::TAKEN);
        let mut taken = self.members.get(&taken_key)?.map_or(Ok(0), |row| read(&row))?;
        if let Some(row) = self.conversations.get(keys::conversation(conv))? {
            taken = read::<(Seq, u64)>(&row)?.0.max(taken);
        }
        let (mut out, mut gone) = (self.begin(), false);
        for row in self.members.prefix(keys::all_of_member(id, conv)) {
            let key = row.key()?;
            let kept = *key == *taken_key || *key == *keys::hidden(id, conv, 1);
            if !kept {
                gone = true;
                out.remove(&self.members, key);
            }
        }
        if taken > 0 {
            out.insert(&self.members, keys::hidden(id, conv, 1), written(&taken));
        }
        out.commit()?;
        Ok(gone)
    }
}
