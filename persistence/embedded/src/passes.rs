//! Rows of the messages that a run of inbox entries names. Where a conversation has many of them,
//! its rows are read in one pass: to go on to the next row costs a tenth of finding one.

use crate::error::StoreError;
use crate::keys;
use crate::tables::Tables;
use fjall::{Iter, Readable, Snapshot, UserValue};
use persistence::values::number;
use persistence::{ConvKey, Entry, EntryKind, PlaceAt};
use std::collections::BTreeMap;
use wire::Seq;

/// To begin a pass costs as much as to find a few rows.
const ENTRIES_MIN: u64 = 4;
/// Rows of a pass for each that is wanted, at most.
const ROWS_PER_ENTRY_MAX: u64 = 4;

/// Finds messages, on one snapshot.
pub struct Passes<'a> {
    tables: &'a Tables,
    snapshot: &'a Snapshot,
    by_conv: BTreeMap<ConvKey, Pass>,
}

/// The places of one conversation that are wanted.
struct Pass {
    first: Seq,
    last: Seq,
    count: u64,
    /// The place of the last row that was read.
    at: Seq,
    rows: Option<Iter>,
}

impl<'a> Passes<'a> {
    /// For the peers' messages among these entries.
    pub fn new(tables: &'a Tables, snapshot: &'a Snapshot, entries: &[Entry]) -> Passes<'a> {
        let mut by_conv = BTreeMap::new();
        for entry in entries {
            let EntryKind::Peer { at: PlaceAt { conv, conv_seq, .. }, .. } = entry.kind else {
                continue;
            };
            let new = Pass { first: conv_seq, last: conv_seq, count: 0, at: 0, rows: None };
            let pass = by_conv.entry(conv).or_insert(new);
            pass.first = pass.first.min(conv_seq);
            pass.last = pass.last.max(conv_seq);
            pass.count += 1;
        }
        by_conv.retain(|_, pass| {
            let rows = pass.last - pass.first + 1;
            pass.count >= ENTRIES_MIN && rows <= pass.count * ROWS_PER_ENTRY_MAX
        });
        Passes { tables, snapshot, by_conv }
    }

    /// The row of the message at a place; `None` if there is none.
    pub fn message(&mut self, conv: ConvKey, seq: Seq) -> Result<Option<UserValue>, StoreError> {
        let messages = &self.tables.messages;
        if let Some(pass) = self.by_conv.get_mut(&conv) {
            let (first, last) = (keys::message(conv, pass.first), keys::message(conv, pass.last));
            let rows = pass.rows.get_or_insert_with(|| self.snapshot.range(messages, first..=last));
            while pass.at < seq
                && let Some(row) = rows.next()
            {
                let (key, row) = row.into_inner()?;
                // Others say what changed a message.
                if key.len() == 24 {
                    pass.at = number(&key, 16)?;
                    if pass.at == seq {
                        return Ok(Some(row));
                    }
                }
            }
        }
        Ok(self.snapshot.get(messages, keys::message(conv, seq))?)
    }
}
