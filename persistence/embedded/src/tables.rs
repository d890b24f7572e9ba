//! The tables and how the library keeps them.

use crate::journal::open_with_repair;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};
use std::path::Path;

/// A table's rows are written out when they take this much memory.
const TABLE_BUFFER_BYTES: u64 = 8 << 20;
const TABLES: u64 = 5;
/// Most memory for rows that were written: per table one buffer that fills, four that wait to be
/// written out (the library then holds back the writer), and room for one batch on top.
pub const WRITE_BUFFER_BYTES_MAX: u64 = TABLES * 5 * TABLE_BUFFER_BYTES + (32 << 20);
/// Most bytes of journal that an opening reads; the library's lowest value.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// One thread writes out and merges: the store is not on any message's way.
const WORKER_THREADS: usize = 1;

/// The open store.
pub struct Tables {
    pub database: Database,
    pub messages: Keyspace,
    pub entries: Keyspace,
    pub conversations: Keyspace,
    pub users: Keyspace,
    pub members: Keyspace,
}

impl Tables {
    /// Opens the tables in a directory, or makes them.
    pub fn open(path: &Path, cache_bytes: u64) -> fjall::Result<Tables> {
        open_with_repair(path, || Tables::open_sound(path, cache_bytes))
    }

    fn open_sound(path: &Path, cache_bytes: u64) -> fjall::Result<Tables> {
        let database = Database::builder(path)
            .cache_size(cache_bytes)
            .worker_threads(WORKER_THREADS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            // Bodies may be encrypted, and the journal is short-lived.
            .journal_compression(CompressionType::None)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(TABLE_BUFFER_BYTES);
        Ok(Tables {
            messages: database.keyspace("messages", options)?,
            entries: database.keyspace("entries", options)?,
            conversations: database.keyspace("conversations", options)?,
            users: database.keyspace("users", options)?,
            members: database.keyspace("members", options)?,
            database,
        })
    }
}
