//! What a user sets about conversations and about themselves.

/// How a user keeps a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvSettings {
    /// No alerts until then, Unix milliseconds; 0: not muted, `u64::MAX`: for ever.
    pub muted_until_ms: u64,
    /// On top of the list.
    pub pinned: bool,
    /// Out of the list.
    pub archived: bool,
}

/// A user's privacy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Who sees presence and last seen.
    pub visibility: Visibility,
    /// Messages of users who are no contacts are hidden, like those of blocked ones.
    pub refuse_strangers: bool,
}

/// Who sees a user's presence. Blocked users never do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Everyone.
    #[default]
    Everyone,
    /// The user's contacts.
    Contacts,
    /// Nobody.
    Nobody,
}
