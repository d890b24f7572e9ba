//! Ringmail's default backend: tables in an embedded LSM store, no setup.
//!
//! A batch is one atomic, synced write. Rows that only grow (heads, marks, cursors, outboxes,
//! epochs) are read before they are written and never go back: after a crash older records are
//! flushed again, and the record that holds a row's newest value may be retired already.

#![forbid(unsafe_code)]

mod journal;
mod keys;
mod read;
mod tables;
mod values;
mod write;

use fjall::{Error, LsmError};
use persistence::{Backend, BackendError, Batch, Load, Loaded, Page, Paged, Removed};
use persistence::{Scan, Scanned};
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};
use tables::Tables;
use wire::UserId;

pub use tables::WRITE_BUFFER_BYTES_MAX;

/// The store in one directory.
pub struct Embedded {
    path: PathBuf,
    cache_bytes: u64,
    /// `None` after an IO error until it could be opened again: the library refuses everything
    /// after a failed write, and what is on the disk is what counts.
    tables: RwLock<Option<Tables>>,
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
        Ok(Embedded { path: path.into(), cache_bytes, tables: RwLock::new(Some(tables)) })
    }

    fn tables(&self) -> RwLockReadGuard<'_, Option<Tables>> {
        self.tables.read().expect("no holder panics")
    }

    /// Runs a call on the tables; after an IO error they are closed.
    fn with<T>(
        &self,
        call: impl FnOnce(&Tables) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match &*self.tables() {
            Some(tables) => call(tables),
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
        *tables = Some(opened.map_err(|error| self.error(error))?);
        Ok(())
    }

    fn error(&self, error: Error) -> BackendError {
        match error {
            Error::Io(_) | Error::Poisoned | Error::Locked | Error::Storage(LsmError::Io(_)) => {
                BackendError::Unavailable(format!(
                    "{}: {error}; check the disk's space",
                    self.path.display()
                ))
            }
            _ => self.broken(&error.to_string()),
        }
    }

    fn broken(&self, what: &str) -> BackendError {
        let path = self.path.display();
        BackendError::Broken(format!("{path}: {what}; restore the directory from a copy"))
    }
}

impl Backend for Embedded {
    fn write(&self, batch: &Batch) -> Result<(), BackendError> {
        self.reopen_if_closed()?;
        let written = self.with(|tables| tables.write(batch).map_err(|error| self.error(error)));
        if let Err(BackendError::Unavailable(_)) = &written {
            // Waits for the reads that are under way.
            *self.tables.write().expect("no holder panics") = None;
        }
        written
    }

    fn load(&self, load: &Load) -> Result<Loaded, BackendError> {
        self.with(|tables| tables.load(load).map_err(|error| self.read_error(error)))
    }

    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError> {
        self.with(|tables| tables.scan(scan).map_err(|error| self.read_error(error)))
    }

    fn page(&self, _page: &Page) -> Result<Paged, BackendError> {
        Err(BackendError::Unavailable("pages are not written yet".into()))
    }

    fn delete_user(&self, _user: UserId) -> Result<Removed, BackendError> {
        Err(BackendError::Unavailable("users cannot be deleted yet".into()))
    }
}

impl Embedded {
    fn read_error(&self, error: read::ReadError) -> BackendError {
        match error {
            read::ReadError::Library(error) => self.error(error),
            read::ReadError::Row(what) => self.broken(what),
        }
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
