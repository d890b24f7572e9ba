//! Presence and typing: what nobody stores.

use crate::decode::boolean;
use crate::list::Item;
use crate::opcode::op;
use crate::{Conv, DecodeError, List, Reader, UserId, WATCH_USERS_MAX, put_varint};

/// WATCH: the users whose presence this session wants; replaces those of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch<'a> {
    /// At most `WATCH_USERS_MAX`.
    pub users: List<'a, UserId>,
}

/// ACTIVITY: whether a person looks at this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// It is in the foreground.
    pub foreground: bool,
}

/// TYPING, either way: somebody writes in this conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typing {
    /// Which.
    pub conv: Conv,
}

/// PRESENCE: what is known of watched users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence<'a> {
    /// At most `WATCH_USERS_MAX`.
    pub users: List<'a, UserPresence>,
}

/// One user's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserPresence {
    /// Whose.
    pub user: UserId,
    /// Online or not.
    pub state: PresenceState,
    /// Only grows per user; a lower one than was seen is stale.
    pub version: u64,
    /// Unix milliseconds; 0 where it is not known or not shown.
    pub last_seen_ms: u64,
}

/// Whether a user is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceState {
    /// Hidden, or nobody knows.
    Unknown,
    /// At least one session in the foreground.
    Online,
    /// None.
    Offline,
}

impl Item for UserPresence {
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.user.get());
        out.push(self.state as u8);
        put_varint(out, self.version);
        put_varint(out, self.last_seen_ms);
    }

    fn read(r: &mut Reader<'_>) -> Result<UserPresence, DecodeError> {
        Ok(UserPresence {
            user: crate::decode::user(r, "user")?,
            state: match r.byte("state")? {
                0 => PresenceState::Unknown,
                1 => PresenceState::Online,
                2 => PresenceState::Offline,
                _ => return Err(r.error("state", "is unknown")),
            },
            version: r.varint("version")?,
            last_seen_ms: r.varint("last_seen_ms")?,
        })
    }
}

impl<'a> Watch<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::WATCH);
        self.users.put(out);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Watch { users: List::read(r, "users", WATCH_USERS_MAX)? })
    }
}

impl Activity {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::ACTIVITY);
        out.push(u8::from(self.foreground));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Activity { foreground: boolean(r, "foreground")? })
    }
}

impl<'a> Presence<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::PRESENCE);
        self.users.put(out);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Presence { users: List::read(r, "users", WATCH_USERS_MAX)? })
    }
}
