//! Messages. A row holds those of a block of places, so that a busy conversation costs few rows, to
//! write and to merge, and a page or a scan reads few. A message that is long has a row of its own:
//! a block is read and written again with each batch that adds to it.

use crate::error::StoreError;
use crate::keys;
use crate::tables::Tables;
use fjall::{Guard, OwnedWriteBatch, Readable, Snapshot, UserValue};
use persistence::values::{self, number};
use persistence::{Content, ConvKey, MessageRow};
use std::collections::BTreeMap;
use wire::{Reader, Seq, put_varint};

type Result<T> = std::result::Result<T, StoreError>;

/// Places of one row.
pub const PLACES: u64 = 16;
/// A longer row stands apart.
const ROW_BYTES_MAX: usize = 1 << 10;

/// The block of a place.
pub fn block_of(seq: Seq) -> u64 {
    seq / PLACES
}

/// Reads a block's row: for each message its place within the block, its length, its bytes.
struct Block<'r> {
    first: Seq,
    row: &'r [u8],
}

impl<'r> Block<'r> {
    fn new(seq: Seq, row: &'r [u8]) -> Block<'r> {
        Block { first: block_of(seq) * PLACES, row }
    }

    /// The next message's place and bytes, lowest place first.
    fn next(&mut self) -> Result<Option<(Seq, &'r [u8])>> {
        if self.row.is_empty() {
            return Ok(None);
        }
        let r = &mut Reader::new(self.row);
        let seq = self.first + u64::from(r.byte("place")?);
        let length = r.varint("length")? as usize;
        let bytes = r.take(length, "message")?;
        self.row = r.rest();
        Ok(Some((seq, bytes)))
    }

    fn find(mut self, seq: Seq) -> Result<Option<&'r [u8]>> {
        while let Some((at, bytes)) = self.next()? {
            if at == seq {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

fn put(row: &mut Vec<u8>, seq: Seq, bytes: &[u8]) {
    row.push((seq % PLACES) as u8);
    put_varint(row, bytes.len() as u64);
    row.extend_from_slice(bytes);
}

/// The messages that a row of the table holds; none, if it says something else about them.
pub fn messages_of(conv: ConvKey, key: &[u8], row: &[u8]) -> Result<Vec<MessageRow>> {
    let (seq, mut messages) = (number(key, 16)?, Vec::new());
    match key.get(24) {
        None => messages.push(values::read_message(conv, seq, row)?),
        Some(&keys::MESSAGES) => {
            let mut block = Block::new(seq, row);
            while let Some((seq, bytes)) = block.next()? {
                messages.push(values::read_message(conv, seq, bytes)?);
            }
        }
        Some(_) => {}
    }
    Ok(messages)
}

/// Reads rows of a conversation, in either direction, as whole blocks: a long message, or one of an
/// older build, stands in a row beside its block.
pub struct WholeBlocks<I> {
    conv: ConvKey,
    rows: I,
    /// Of the block that comes next.
    begun: BTreeMap<Seq, MessageRow>,
}

impl<I: Iterator<Item = Guard>> WholeBlocks<I> {
    pub fn new(conv: ConvKey, rows: I) -> WholeBlocks<I> {
        WholeBlocks { conv, rows, begun: BTreeMap::new() }
    }

    /// The messages of the next block that has some, lowest place first.
    pub fn next(&mut self) -> Result<Option<Vec<MessageRow>>> {
        let mut whole = std::mem::take(&mut self.begun);
        while self.begun.is_empty()
            && let Some(row) = self.rows.next()
        {
            let (key, row) = row.into_inner()?;
            for message in messages_of(self.conv, &key, &row)? {
                let seq = message.conv_seq;
                let ended = whole.keys().next().is_some_and(|at| block_of(*at) != block_of(seq));
                let into = if ended { &mut self.begun } else { &mut whole };
                // What stands in the block was written last.
                if key.get(24) == Some(&keys::MESSAGES) || !into.contains_key(&seq) {
                    into.insert(seq, message);
                }
            }
        }
        Ok((!whole.is_empty()).then(|| whole.into_values().collect()))
    }
}

/// Finds messages, on one snapshot; of each conversation it keeps the last block.
pub struct Messages<'a> {
    tables: &'a Tables,
    snapshot: &'a Snapshot,
    blocks: BTreeMap<ConvKey, (u64, Option<UserValue>)>,
}

impl<'a> Messages<'a> {
    pub fn new(tables: &'a Tables, snapshot: &'a Snapshot) -> Messages<'a> {
        Messages { tables, snapshot, blocks: BTreeMap::new() }
    }

    /// The message at a place; `None` if there is none.
    pub fn get(&mut self, conv: ConvKey, seq: Seq) -> Result<Option<MessageRow>> {
        let table = &self.tables.messages;
        let kept = self.blocks.get(&conv).is_some_and(|(block, _)| *block == block_of(seq));
        if !kept {
            let row = self.snapshot.get(table, keys::messages(conv, block_of(seq)))?;
            self.blocks.insert(conv, (block_of(seq), row));
        }
        if let Some((_, Some(row))) = self.blocks.get(&conv)
            && let Some(bytes) = Block::new(seq, row).find(seq)?
        {
            return Ok(Some(values::read_message(conv, seq, bytes)?));
        }
        let row = self.snapshot.get(table, keys::message(conv, seq))?;
        Ok(row.map(|row| values::read_message(conv, seq, &row)).transpose()?)
    }
}

impl Tables {
    /// Writes messages of one block, lowest place first, instead of what stands at their places.
    pub fn write_block(&self, out: &mut OwnedWriteBatch, messages: &[MessageRow]) -> Result<()> {
        assert!(messages.is_sorted_by(|a, b| a.conv_seq < b.conv_seq), "would lose some");
        let Some(&MessageRow { conv, conv_seq: seq, .. }) = messages.first() else { return Ok(()) };
        let key = keys::messages(conv, block_of(seq));
        let all = messages.len() as u64 == PLACES;
        let there = if all { None } else { self.messages.get(&key)? };
        let mut there = Block::new(seq, there.as_deref().unwrap_or_default());
        let mut kept = there.next()?;
        let mut row = Vec::new();
        for message in messages {
            while let Some((seq, bytes)) = kept.filter(|(seq, _)| *seq <= message.conv_seq) {
                if seq < message.conv_seq {
                    put(&mut row, seq, bytes);
                }
                kept = there.next()?;
            }
            let bytes = values::message(message);
            let apart = keys::message(conv, message.conv_seq);
            if bytes.len() > ROW_BYTES_MAX {
                out.insert(&self.messages, apart, bytes);
                continue;
            }
            put(&mut row, message.conv_seq, &bytes);
            if matches!(message.content, Content::Emptied(_)) {
                // What it had may have been long.
                out.remove(&self.messages, apart);
            }
        }
        while let Some((seq, bytes)) = kept {
            put(&mut row, seq, bytes);
            kept = there.next()?;
        }
        if !row.is_empty() {
            out.insert(&self.messages, key, row);
        }
        Ok(())
    }
}
