//! Who wrote what: for each run of places, which ones hold a plain message of either participant.
//! What is unread is counted from these rows; the messages' own have bodies in between.

use crate::error::StoreError;
use crate::keys;
use crate::tables::Tables;
use fjall::{OwnedWriteBatch, Readable, Snapshot};
use persistence::{ConvKey, MemberState, MessageRow};
use std::collections::BTreeMap;
use wire::{Reader, Seq, UserId};

/// Places of one row.
pub const PLACES: u64 = 256;
const SIDE_BYTES: usize = PLACES as usize / 8;

/// One bit for each place, of the participant with the lower number, then of the other.
#[derive(Clone, Copy, PartialEq)]
pub struct Authors([[u8; SIDE_BYTES]; 2]);

impl Authors {
    const NONE: Authors = Authors([[0; SIDE_BYTES]; 2]);

    fn read(row: &[u8]) -> Result<Authors, StoreError> {
        let wrong = Reader::new(row).error("authors", "has a wrong length");
        let (low, high) = row.split_at_checked(SIDE_BYTES).ok_or(wrong)?;
        Ok(Authors([low.try_into().map_err(|_| wrong)?, high.try_into().map_err(|_| wrong)?]))
    }

    fn side(conv: ConvKey, user: UserId) -> usize {
        usize::from(conv.participants()[1] == user)
    }

    fn set(&mut self, side: usize, seq: Seq) {
        let at = (seq % PLACES) as usize;
        self.0[side][at / 8] |= 1 << (at % 8);
    }

    fn has(&self, side: usize, seq: Seq) -> bool {
        let at = (seq % PLACES) as usize;
        self.0[side][at / 8] & 1 << (at % 8) != 0
    }
}

/// What a batch adds.
#[derive(Default)]
pub struct NewAuthors(BTreeMap<(ConvKey, u64), Authors>);

impl NewAuthors {
    /// The row goes into the table.
    pub fn add(&mut self, row: &MessageRow) {
        if row.is_plain() {
            let block = self.0.entry((row.conv, row.conv_seq / PLACES)).or_insert(Authors::NONE);
            block.set(Authors::side(row.conv, row.sender), row.conv_seq);
        }
    }

    /// Joins them with what the table has.
    pub fn write(self, out: &mut OwnedWriteBatch, tables: &Tables) -> Result<(), StoreError> {
        for ((conv, block), mut authors) in self.0 {
            let key = keys::authors(conv, block);
            let there = tables.messages.get(&key)?.map(|row| Authors::read(&row)).transpose()?;
            let there = there.unwrap_or(Authors::NONE);
            for (byte, there) in authors.0.iter_mut().flatten().zip(there.0.iter().flatten()) {
                *byte |= there;
            }
            if authors != there {
                out.insert(&tables.messages, key, authors.0.concat());
            }
        }
        Ok(())
    }
}

impl Tables {
    /// See `MemberState::own_above_read`.
    pub fn own_above_read(
        &self,
        snapshot: &Snapshot,
        id: UserId,
        conv: ConvKey,
        state: &MemberState,
    ) -> Result<Vec<Seq>, StoreError> {
        let side = Authors::side(conv, conv.peer_of(id));
        let mut block = (u64::MAX, Authors::NONE);
        let mut of_peer = Vec::new();
        for seq in state.above_read() {
            if block.0 != seq / PLACES {
                let row = snapshot.get(&self.messages, keys::authors(conv, seq / PLACES))?;
                let authors = row.map(|row| Authors::read(&row)).transpose()?;
                block = (seq / PLACES, authors.unwrap_or(Authors::NONE));
            }
            of_peer.push(block.1.has(side, seq));
        }
        Ok(state.own_among(of_peer))
    }
}
