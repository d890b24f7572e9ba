//! Removing a user: see `persistence::Backend::delete_user`.

use crate::Connection;
use crate::error::Failure;
use persistence::Removed;
use std::sync::Arc;
use wire::UserId;

impl Connection {
    /// See `Backend::delete_user`.
    pub async fn delete_user(self: Arc<Self>, _user: UserId) -> Result<Removed, Failure> {
        Err(Failure::Unanswered("this store cannot remove users yet".to_owned()))
    }
}
