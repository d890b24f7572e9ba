//! Pages of lists.

use crate::error::Failure;
use crate::read::{MessageColumns, Place, contact_of, number};
use crate::statements::Statement::*;
use crate::write::pair;
use crate::{Connection, MESSAGE_BUCKET};
use persistence::{ChangeRow, ContactState, Content, ConvKey, Page, Paged, StoredMessage};
use std::sync::Arc;
use wire::{Seq, UserId};

type Result<T> = std::result::Result<T, Failure>;

impl Connection {
    /// Reads a page.
    pub async fn page(self: Arc<Self>, page: Page) -> Result<Paged> {
        match page {
            Page::Messages { conv, from, newer, limit, bytes_max } => {
                let limits = (limit as usize, bytes_max as usize);
                let messages = match newer {
                    true => self.newer(conv, from, limits).await?,
                    false => self.older(conv, from, limits).await?,
                };
                Ok(Paged::Messages(messages))
            }
            Page::Chats { user, before, limit } => {
                let rows: Vec<(i64, Option<i64>)> =
                    self.select(GetMembers, (user.get() as i64,)).await?;
                let mut chats = Vec::new();
                for (peer, last_inbox) in rows {
                    let last_inbox = number(last_inbox);
                    let conv = UserId::new(peer as u64).and_then(|peer| ConvKey::new(user, peer));
                    let wrong = || Failure::Row("a peer is nobody or oneself".to_owned());
                    if (1..before).contains(&last_inbox) {
                        chats.push((conv.ok_or_else(wrong)?, last_inbox));
                    }
                }
                chats.sort_by_key(|(_, last_inbox)| std::cmp::Reverse(*last_inbox));
                chats.truncate(limit as usize);
                Ok(Paged::Chats(chats))
            }
            Page::Contacts { user, after, limit } => {
                self.contacts(user, after, limit as usize).await.map(Paged::Contacts)
            }
        }
    }

    /// The highest place of a conversation that may have a row.
    pub async fn last_place(&self, conv: ConvKey) -> Result<Seq> {
        let [low, high] = pair(conv).map(|id| id as i64);
        type Member = (Option<i64>, Option<i64>, Option<i64>, Option<Vec<u8>>);
        let (heads, at_low, at_high) = tokio::try_join!(
            self.select::<(Option<i64>,)>(GetConversationHead, (low, high)),
            self.select::<Member>(GetMember, (low, high)),
            self.select::<Member>(GetMember, (high, low)),
        )?;
        let taken = at_low.iter().chain(&at_high).map(|member| number(member.0));
        Ok(heads.iter().map(|head| number(head.0)).chain(taken).max().unwrap_or(0))
    }

    async fn newer(
        &self,
        conv: ConvKey,
        mut from: Seq,
        limits: (usize, usize),
    ) -> Result<Vec<StoredMessage>> {
        let ([low, high], last) = (pair(conv).map(|id| id as i64), self.last_place(conv).await?);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while from <= last {
            let bucket = from / MESSAGE_BUCKET;
            let end = last.min((bucket + 1) * MESSAGE_BUCKET - 1);
            let limit = limits.0.clamp(1, MESSAGE_BUCKET as usize);
            let key = (low, high, bucket as i64, from as i64, end as i64, limit as i32);
            let rows: Vec<MessageColumns> = self.select(GetMessages, key).await?;
            from = match rows.last() {
                Some(row) if rows.len() == limit => row.0 as u64 + 1,
                _ => end + 1,
            };
            if self.add(conv, rows, limits, (&mut messages, &mut bytes)).await? {
                break;
            }
        }
        Ok(messages)
    }

    async fn older(
        &self,
        conv: ConvKey,
        from: Seq,
        limits: (usize, usize),
    ) -> Result<Vec<StoredMessage>> {
        let ([low, high], last) = (pair(conv).map(|id| id as i64), self.last_place(conv).await?);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let mut left = Some(from.min(last));
        while let Some(from) = left {
            let bucket = from / MESSAGE_BUCKET;
            let start = bucket * MESSAGE_BUCKET;
            let limit = limits.0.clamp(1, MESSAGE_BUCKET as usize);
            let key = (low, high, bucket as i64, start as i64, from as i64, limit as i32);
            let rows: Vec<MessageColumns> = self.select(GetMessagesDown, key).await?;
            left = match rows.last() {
                Some(row) if rows.len() == limit => (row.0 as u64).checked_sub(1),
                _ => start.checked_sub(1),
            };
            if self.add(conv, rows, limits, (&mut messages, &mut bytes)).await? {
                break;
            }
        }
        Ok(messages)
    }

    /// Adds the messages of rows; true once the page is full.
    async fn add(
        &self,
        conv: ConvKey,
        rows: Vec<MessageColumns>,
        (limit, bytes_max): (usize, usize),
        (messages, bytes): (&mut Vec<StoredMessage>, &mut usize),
    ) -> Result<bool> {
        for columns in rows {
            if messages.len() >= limit || *bytes > bytes_max {
                return Ok(true);
            }
            let (_, Place { row, change }) = Place::of(conv, columns)?;
            let Some(row) = row else { continue };
            let change: Option<ChangeRow> = match row.content {
                Content::Body(_) => change,
                Content::Change(own, _) => self.place(conv, own.target).await?.change,
                Content::Void(_) | Content::Emptied(_) => None,
            };
            let message = StoredMessage::new(&row, change.as_ref());
            *bytes += message.body.len();
            messages.push(message);
        }
        Ok(messages.len() >= limit || *bytes > bytes_max)
    }

    async fn contacts(
        &self,
        user: UserId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(UserId, ContactState)>> {
        let (mut contacts, all) = (Vec::new(), limit == u32::MAX as usize);
        let Some(from) = after.checked_add(1).filter(|_| limit > 0) else { return Ok(contacts) };
        // Numbers from 2^63 on are negative in the table, and come behind the others.
        let mut from = from as i64;
        loop {
            let (negative, want) = (from < 0, limit.min(1_000));
            type Row = (i64, Option<Vec<u8>>, Option<Vec<u8>>);
            let key = (user.get() as i64, from, want as i32);
            let rows: Vec<Row> = self.select(GetContacts, key).await?;
            let mut ended = rows.len() < want;
            for (number, contact, blocked) in rows {
                if negative && number >= 0 {
                    return Ok(contacts);
                }
                from = number.wrapping_add(1);
                ended |= number == -1;
                let state = contact_of(&contact, &blocked)?;
                let peer = UserId::new(number as u64);
                let peer = peer.ok_or_else(|| Failure::Row("contact 0".to_owned()))?;
                if all || state.contact || state.blocked {
                    contacts.push((peer, state));
                }
                if contacts.len() >= limit {
                    return Ok(contacts);
                }
            }
            match (ended, negative) {
                (true, true) => return Ok(contacts),
                (true, false) => from = i64::MIN,
                (false, _) => {}
            }
        }
    }
}
