//! Placement: which core is a user's home, and which sequences a conversation.

use crate::CoreIndex;
use persistence::{ConvKey, slot_of};
use wire::UserId;

/// The placement of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub me: CoreIndex,
    pub cores: u16,
}

impl Place {
    /// Where the user's devices, inbox and cursors live.
    pub fn home(self, user: UserId) -> CoreIndex {
        slot_of(user) % self.cores
    }

    /// Whether this core is the user's home.
    pub fn is_home(self, user: UserId) -> bool {
        self.home(user) == self.me
    }

    /// Which core gives the conversation its places.
    pub fn owner(self, conv: ConvKey) -> CoreIndex {
        self.home(conv.owner())
    }
}
