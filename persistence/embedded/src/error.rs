//! Why the store could not do a thing.

use wire::DecodeError;

/// Why a call on the tables failed.
pub enum StoreError {
    /// The library says so.
    Library(fjall::Error),
    /// A row is not as it was written.
    Row(DecodeError),
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> StoreError {
        StoreError::Library(error)
    }
}

impl From<DecodeError> for StoreError {
    fn from(error: DecodeError) -> StoreError {
        StoreError::Row(error)
    }
}
