//! Memory of operations in flight.

use crate::Token;
use bytes::Bytes;

/// What an operation owns until its completion.
#[derive(Debug)]
pub(crate) enum Memory {
    /// Sent from, or read into.
    Buffer(Vec<u8>),
    /// Written from.
    Bytes(Bytes),
}

/// The table of operations that own memory: index = the low half of their user data.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    entries: Vec<Option<(Token, Memory)>>,
    free: Vec<u32>,
}

impl Memories {
    /// Keeps the memory until `take`. Moving the `Vec` or the `Bytes` does not move their heap
    /// memory, so pointers into it stay good.
    pub(crate) fn keep(&mut self, token: Token, memory: Memory) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        assert!(entry.is_none(), "a free entry owns nothing");
        *entry = Some((token, memory));
        index
    }

    /// The operation has completed: gives its memory back.
    pub(crate) fn take(&mut self, index: u32) -> (Token, Memory) {
        let kept = self.entries[index as usize].take().expect("one completion per operation");
        self.free.push(index);
        kept
    }
}
