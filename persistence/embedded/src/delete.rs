//! Removing a user. Numbers stay (heads, epochs, outboxes, places taken), so that none is given
//! out twice; everything else goes, and the places of the user's messages read as deleted.

use crate::blocks::WholeBlocks;
use crate::error::StoreError;
use crate::read::user_at;
use crate::tables::Tables;
use crate::{keys, keys::member, keys::user};
use persistence::values::{device, read, written};
use persistence::{Content, ConvKey, Removed};
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
        removed.devices = self.devices_of(id)?;
        for tag in [user::DEVICE, user::CURSOR, user::PRIVACY, user::LAST_SEEN, user::CHAT] {
            self.remove_all(&self.users, self.users.prefix(keys::of_user(id, tag)))?;
        }
        let contacts = self.users.prefix(keys::of_user(id, user::PEER));
        removed.contacts = self.remove_all(&self.users, contacts)?;
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

    /// How many devices the user has, with a cursor or without.
    fn devices_of(&self, id: UserId) -> Result<u64> {
        let mut devices = BTreeSet::new();
        for tag in [user::DEVICE, user::CURSOR] {
            for row in self.users.prefix(keys::of_user(id, tag)) {
                devices.insert(device(&row.key()?, 9)?);
            }
        }
        Ok(devices.len() as u64)
    }

    /// Empties the user's messages in a conversation, and says how many had something.
    fn empty_messages(&self, id: UserId, conv: ConvKey) -> Result<u64> {
        let (mut out, mut count) = (self.begin(), 0);
        let mut blocks = WholeBlocks::new(conv, self.messages.prefix(keys::conversation(conv)));
        while let Some(block) = blocks.next()? {
            let mut emptied = Vec::new();
            for mut row in block.into_iter().filter(|row| row.sender == id) {
                if let Content::Change(change, _) = row.content {
                    // Its text stands beside the message that it changed, the user's own.
                    out.remove(&self.messages, keys::change(conv, change.target));
                } else if row.content.empty() {
                    count += 1;
                    emptied.push(row);
                }
            }
            self.write_block(&mut out, &emptied)?;
            self.commit_some(&mut out)?;
        }
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
