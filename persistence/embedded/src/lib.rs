//! Ringmail's default backend: tables in an embedded LSM store, no setup.
//!
//! A batch is synced, in pieces. Rows are read before they are written, joined, and never go
//! back: after a crash older records are flushed again, and the record that holds a row's newest
//! value may be retired already.

#![forbid(unsafe_code)]

mod authors;
mod blocks;
mod delete;
mod entries;
mod error;
mod export;
mod journal;
mod keys;
mod pages;
mod read;
mod tables;
mod write;

use error::StoreError;
use fjall::{Error, LsmError};
use persistence::{Backend, BackendError, Batch, Load, Loaded, Page, Paged, Removed};
use persistence::{Scan, Scanned};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock, RwLockReadGuard};
use tables::Tables;
use wire::UserId;

pub use export::{Export, ExportPlace};
pub use tables::WRITE_BUFFER_BYTES_MAX;

/// The store in one directory.
pub struct Embedded {
    path: PathBuf,
    cache_bytes: u64,
    /// `None` after an IO error until it could be opened again: the library refuses everything
    /// after a failed write, and what is on the disk is what counts.
    tables: RwLock<Option<Tables>>,
    /// Held while one writes.
    writer: Mutex<()>,
}

/// Why a store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store {} is in use; stop the other server or choose another directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses; often the disk is full or the directory belongs to another user.
    #[error("the store {} cannot be opened: {error}; check space and permissions", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// What is there is no store of this build.
    #[error(
        "the store {} cannot be read ({error}); restore it from a copy, or start this version of \
         Ringmail in another directory",
        path.display()
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What the library says.
        error: String,
    },
}

impl Embedded {
    /// Opens the store in a directory, or makes it. Beside `cache_bytes` for blocks that were
    /// read, it takes up to `WRITE_BUFFER_BYTES_MAX` for rows that were written.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Embedded, OpenError> {
        let tables = Tables::open(path, cache_bytes).map_err(|error| open_error(path, error))?;
        let tables = RwLock::new(Some(tables));
        Ok(Embedded { path: path.into(), cache_bytes, tables, writer: Mutex::new(()) })
    }

    fn tables(&self) -> RwLockReadGuard<'_, Option<Tables>> {
        self.tables.read().expect("no holder panics")
    }

    /// Runs a call on the tables; after an IO error they are closed.
    fn with<T>(
        &self,
        call: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) -> Result<T, BackendError> {
        match &*self.tables() {
            Some(tables) => call(tables).map_err(|error| self.error(error)),
            None => Err(BackendError::Unavailable(format!(
                "{} is closed after an error",
                self.path.display()
            ))),
        }
    }

    fn reopen_if_closed(&self) -> Result<(), BackendError> {
        if self.tables().is_some() {
            return Ok(());
        }
        let mut tables = self.tables.write().expect("no holder panics");
        let opened = Tables::open(&self.path, self.cache_bytes);
        *tables = Some(opened.map_err(|error| self.error(error.into()))?);
        Ok(())
    }

    fn error(&self, error: StoreError) -> BackendError {
        let path = self.path.display();
        let what = match error {
            StoreError::Library(
                error @ (Error::Io(_)
                | Error::Poisoned
                | Error::Locked
                | Error::Storage(LsmError::Io(_))),
            ) => {
                let what = format!("{path}: {error}; check the disk's space");
                return BackendError::Unavailable(what);
            }
            StoreError::Library(error) => error.to_string(),
            StoreError::Row(error) => format!("a row is not as it was written: {error}"),
        };
        BackendError::Broken(format!("{path}: {what}; restore the directory from a copy"))
    }

    /// Runs a call that writes; a library that failed is opened anew before the next one.
    fn writing<T>(
        &self,
        call: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) -> Result<T, BackendError> {
        // Rows are read, joined and written: two writers would lose each other's.
        let _one = self.writer.lock().expect("no holder panics");
        self.reopen_if_closed()?;
        let written = self.with(call);
        if let Err(BackendError::Unavailable(_)) = &written {
            // Waits for the reads that are under way.
            *self.tables.write().expect("no holder panics") = None;
        }
        written
    }
}

impl Backend for Embedded {
    fn write(&self, batch: &Batch) -> Result<(), BackendError> {
        self.writing(|tables| tables.write(batch))
    }

    fn load(&self, load: &Load) -> Result<Loaded, BackendError> {
        self.with(|tables| tables.load(load))
    }

    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError> {
        self.with(|tables| tables.scan(scan))
    }

    fn page(&self, page: &Page) -> Result<Paged, BackendError> {
        self.with(|tables| tables.page(page))
    }

    fn delete_user(&self, user: UserId) -> Result<Removed, BackendError> {
        self.writing(|tables| tables.delete_user(user))
    }
}

fn open_error(path: &Path, error: Error) -> OpenError {
    let path = path.into();
    match error {
        Error::Locked => OpenError::InUse { path },
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => OpenError::Io { path, error },
        other => OpenError::Damaged { path, error: other.to_string() },
    }
}
