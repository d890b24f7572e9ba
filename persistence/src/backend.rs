//! The contract of a backend: batches in, loads, scans and pages out.

use crate::{Batch, Load, Loaded, Page, Paged, Scan, Scanned};
use wire::UserId;

/// The store behind the log. Calls block; `engine` runs them on threads of their own, one for
/// writes and one for reads. A read sees every batch whose `write` returned.
pub trait Backend: Send + Sync {
    /// Writes a batch and makes it durable. On an error any part may be there; the same batch is
    /// written again. Rows never go back: after a crash older records are flushed again, and the
    /// one with a row's newest value may be retired by then (see `Row`).
    fn write(&self, batch: &Batch) -> Result<(), BackendError>;
    /// Reads one entity.
    fn load(&self, load: &Load) -> Result<Loaded, BackendError>;
    /// Reads a range of an inbox.
    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError>;
    /// Reads a page of a list.
    fn page(&self, page: &Page) -> Result<Paged, BackendError>;
    /// Removes what the store holds of a user, durably, while no server runs and no log holds
    /// records of the user: devices, settings, contacts, inbox entries, bodies. The places of
    /// their messages stay and read as deleted; numbers stay, so that none is given out twice,
    /// and the inbox gets a new epoch. Doing it again changes nothing but that.
    fn delete_user(&self, user: UserId) -> Result<Removed, BackendError>;
}

/// What `Backend::delete_user` removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Devices.
    pub devices: u64,
    /// Contacts and blocks.
    pub contacts: u64,
    /// Inbox entries.
    pub entries: u64,
    /// Conversations with something of the user in them.
    pub conversations: u64,
    /// Messages whose bodies went.
    pub messages: u64,
}

/// Why a backend could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// May work later; the same call is made again.
    #[error("the store does not answer at the moment: {0}")]
    Unavailable(String),
    /// Will not work again without a person; the message names path and cure.
    #[error("the store is broken: {0}")]
    Broken(String),
}
