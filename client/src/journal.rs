//! The client's journal as bytes: frames of length (u32), CRC32C (u32) and entries.
//!
//! A frame is one commit: it counts whole or not at all. Reading stops at the first frame that is
//! cut or damaged; the adapter truncates there before it appends again.

use wire::Reader;

use crate::entry::{Entry, entry, put_entry};
use crate::state::State;

/// First bytes of every journal; the last one is the format's version.
const MAGIC: [u8; 8] = *b"ringjrn\x01";
/// A snapshot's frames close after this many bytes.
const SNAPSHOT_FRAME_BYTES: usize = 64 * 1024;

/// A journal that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Some other file, or one of another version.
    #[error("this is no client journal of this version")]
    Foreign,
    /// A whole frame with a right checksum makes no sense.
    #[error("the journal contradicts itself at byte {offset}")]
    Contradiction {
        /// Start of the frame.
        offset: usize,
    },
}

/// Entries that wait for their commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    /// Magic, if this is the journal's start.
    head: Vec<u8>,
    payload: Vec<u8>,
    /// Entries written so far.
    pub written: u64,
    /// Entries handed out by `take`.
    pub taken: u64,
    /// Entries that are durable.
    pub committed: u64,
}

impl Journal {
    /// The journal of a new client: starts with the magic.
    pub fn new() -> Journal {
        Journal { head: MAGIC.to_vec(), ..Journal::default() }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        put_entry(&mut self.payload, entry);
        self.written += 1;
    }

    /// The bytes that must become durable now; empty if none.
    pub fn take(&mut self) -> Vec<u8> {
        self.taken = self.written;
        let mut bytes = std::mem::take(&mut self.head);
        put_frame(&mut bytes, &self.payload);
        self.payload.clear();
        bytes
    }

    /// Whether there are bytes to take.
    pub fn is_dirty(&self) -> bool {
        self.taken < self.written
    }
}

fn put_frame(bytes: &mut Vec<u8>, payload: &[u8]) {
    if payload.is_empty() {
        return;
    }
    let length = u32::try_from(payload.len()).expect("commits stay below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// A journal that holds exactly this state.
pub(crate) fn snapshot(state: &State) -> Vec<u8> {
    let (mut bytes, mut payload) = (MAGIC.to_vec(), Vec::new());
    state.entries(&mut |entry| {
        put_entry(&mut payload, entry);
        if payload.len() >= SNAPSHOT_FRAME_BYTES {
            put_frame(&mut bytes, &payload);
            payload.clear();
        }
    });
    put_frame(&mut bytes, &payload);
    bytes
}

/// Reads a journal; with the state, how many of its bytes count. 0: nothing of it was committed.
pub(crate) fn read(journal: &[u8]) -> Result<(State, usize), JournalError> {
    let mut state = State::new();
    let head = &journal[..journal.len().min(MAGIC.len())];
    // A start that was cut, or whose blocks were never written.
    if head.len() < MAGIC.len() && MAGIC.starts_with(head) || head.iter().all(|&byte| byte == 0) {
        return Ok((state, 0));
    }
    if head != MAGIC {
        return Err(JournalError::Foreign);
    }
    let mut at = MAGIC.len();
    while let Some(payload) = frame_at(journal, at) {
        apply_all(&mut state, payload).ok_or(JournalError::Contradiction { offset: at })?;
        at += 8 + payload.len();
    }
    Ok(if at == MAGIC.len() { (state, 0) } else { (state, at) })
}

fn frame_at(journal: &[u8], at: usize) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = journal.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("took four")))
    };
    let (length, crc) = (word(at)? as usize, word(at + 4)?);
    let payload = journal.get(at + 8..(at + 8).checked_add(length)?)?;
    (length > 0 && crc32c::crc32c(payload) == crc).then_some(payload)
}

fn apply_all(state: &mut State, payload: &[u8]) -> Option<()> {
    let reader = &mut Reader::new(payload);
    while reader.offset() < payload.len() {
        let entry = entry(reader).ok()?;
        state.apply(&entry, 0).ok()?;
    }
    Some(())
}
