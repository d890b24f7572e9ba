//! What a power cut does to the library's journal, and how the store opens all the same.
//!
//! Each batch is synced before the next one starts, so only the last batch of the newest journal
//! may be damaged. The library drops it by itself where it merely ends early; where a middle
//! sector of it is missing and later ones are there, the library refuses to open. Then the last
//! batch is cut here. It was never acknowledged: `write` had not returned.

use fjall::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The library's journal entries, as its format 3 has them.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: &[u8] = b"FJL\x03";

/// Opens a store; if its journal is damaged, cuts the last batch and opens again. If that is not
/// the damaged one, the journal is put back as it was.
pub fn open_with_repair<T>(store: &Path, open: impl Fn() -> fjall::Result<T>) -> fjall::Result<T> {
    let error = match open() {
        Err(error @ Error::JournalRecovery(_)) => error,
        other => return other,
    };
    let Some(journal) = newest_journal(store)? else { return Err(error) };
    let before = std::fs::read(&journal)?;
    let ends = batch_ends(&before);
    // Behind the last whole batch, or the last whole batch itself.
    for &end in ends.iter().rev().take(2) {
        let file = OpenOptions::new().write(true).open(&journal)?;
        file.set_len(end as u64)?;
        file.sync_all()?;
        match open() {
            Err(Error::JournalRecovery(_)) => {}
            other => return other,
        }
    }
    let mut file = File::create(&journal)?;
    file.write_all(&before)?;
    file.sync_all()?;
    Err(error)
}

/// The journal with the highest number: the one that is written.
fn newest_journal(store: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for file in std::fs::read_dir(store)? {
        let path = file?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && newest.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where each batch ends, from 0 on, as far as the journal has the form of one.
fn batch_ends(journal: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while let Some(length) = entry_length(&journal[at..]) {
        let ends_batch = journal[at] == END;
        at += length;
        if ends_batch {
            ends.push(at);
        }
    }
    ends
}

/// Length of the entry at the start of `bytes`; `None` if none of the kinds that we write is
/// there as a whole.
fn entry_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes.first()? {
        // Number of items, sequence number.
        START => 1 + 4 + 8,
        // Kind, compression, table, key's and value's length, value's length as written.
        ITEM => {
            let head: &[u8; 21] = bytes.get(..21)?.try_into().ok()?;
            let key = u16::from_le_bytes([head[11], head[12]]) as usize;
            let value = u32::from_le_bytes([head[17], head[18], head[19], head[20]]) as usize;
            21 + key + value
        }
        // Checksum, trailer.
        END if bytes.get(9..13) == Some(TRAILER) => 13,
        _ => return None,
    };
    (length <= bytes.len()).then_some(length)
}
