//! Pages of lists, each on one snapshot.

use crate::blocks::{PLACES, WholeBlocks, block_of};
use crate::error::StoreError;
use crate::read::{add_contact, user_at};
use crate::tables::Tables;
use crate::{keys, keys::user};
use fjall::{Guard, Readable, Snapshot};
use persistence::StoredMessage;
use persistence::values::{number, read};
use persistence::{ChangeRow, ContactState, Content, ConvKey, MessageRow, Page, Paged};
use wire::{Reader, Seq, UserId};

type Result<T> = std::result::Result<T, StoreError>;

impl Tables {
    /// Reads a page.
    pub fn page(&self, page: &Page) -> Result<Paged> {
        let snapshot = self.database.snapshot();
        match *page {
            Page::Messages { conv, from, newer, limit, bytes_max } => {
                let limits = (limit as usize, bytes_max as usize);
                self.messages(&snapshot, conv, (from, newer), limits).map(Paged::Messages)
            }
            Page::Chats { user, before, limit } => {
                let rows = keys::chat(user, 0)..keys::chat(user, before);
                let mut chats = Vec::new();
                for row in snapshot.range(&self.users, rows).rev().take(limit as usize) {
                    let (key, row) = row.into_inner()?;
                    let peer = UserId::new(read(&row)?);
                    let conv = peer.and_then(|peer| ConvKey::new(user, peer));
                    let wrong = Reader::new(&key).error("peer", "is nobody or oneself");
                    chats.push((conv.ok_or(wrong)?, number(&key, 9)?));
                }
                Ok(Paged::Chats(chats))
            }
            Page::Contacts { user, after, limit } => {
                self.contacts(&snapshot, user, after, limit as usize).map(Paged::Contacts)
            }
        }
    }

    /// The messages from a place on in either direction, up to a number and a number of bytes.
    fn messages(
        &self,
        snapshot: &Snapshot,
        conv: ConvKey,
        (from, newer): (Seq, bool),
        (limit, bytes_max): (usize, usize),
    ) -> Result<Vec<StoredMessage>> {
        let block = block_of(from);
        let first = keys::message(conv, if newer { block * PLACES } else { 0 });
        let last = keys::change(conv, if newer { Seq::MAX } else { block * PLACES + (PLACES - 1) });
        let rows = snapshot.range(&self.messages, first..=last);
        let rows: Box<dyn Iterator<Item = Guard>> =
            if newer { Box::new(rows) } else { Box::new(rows.rev()) };
        let mut blocks = WholeBlocks::new(conv, rows);
        let (mut messages, mut bytes): (Vec<StoredMessage>, _) = (Vec::new(), 0);
        while let Some(mut block) = blocks.next()? {
            block.retain(|row| if newer { row.conv_seq >= from } else { row.conv_seq <= from });
            if !newer {
                block.reverse();
            }
            for row in block {
                if messages.len() >= limit || bytes > bytes_max {
                    return Ok(messages);
                }
                let change = self.change_of(snapshot, &row)?;
                let message = StoredMessage::new(&row, change.as_ref());
                bytes += message.body.len();
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// What changed the row's message, or where it is a change itself, its target.
    fn change_of(&self, snapshot: &Snapshot, row: &MessageRow) -> Result<Option<ChangeRow>> {
        let target: Seq = match row.content {
            Content::Body(_) => row.conv_seq,
            Content::Change(change, _) => change.target,
            Content::Void(_) | Content::Emptied(_) => return Ok(None),
        };
        self.change(snapshot, row.conv, target)
    }

    fn contacts(
        &self,
        snapshot: &Snapshot,
        id: UserId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(UserId, ContactState)>> {
        let mut contacts: Vec<(UserId, ContactState)> = Vec::new();
        let Some(from) = after.checked_add(1) else { return Ok(contacts) };
        let rows = keys::peer(id, from, None)..keys::of_user(id, user::PEER + 1);
        let all = limit == u32::MAX as usize;
        let shown = |(_, state): &(UserId, ContactState)| all || state.contact || state.blocked;
        for row in snapshot.range(&self.users, rows) {
            let (key, row) = row.into_inner()?;
            let peer = user_at(&key, 9)?;
            if contacts.last().is_none_or(|(last, _)| *last != peer) {
                // The one before is whole now.
                contacts.pop_if(|last| !shown(last));
                if contacts.len() >= limit {
                    return Ok(contacts);
                }
                contacts.push((peer, ContactState::default()));
            }
            let (_, state) = contacts.last_mut().expect("pushed above");
            add_contact(state, &key, &row)?;
        }
        contacts.pop_if(|last| !shown(last));
        Ok(contacts)
    }
}
