//! Commands: what a user changes about their own account, numbered by outbox like sends.

use crate::decode::{boolean, conv, device, flags, user};
use crate::encode::put_conv;
use crate::opcode::flag;
use crate::{Conv, DecodeError, DeviceId, NAME_BYTES_MAX, Reader, Seq, UserId, put_varint};

/// One command. Its bytes stand in COMMAND and COMMANDED, and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// How the user keeps a conversation; replaces what was set before.
    Settings {
        /// Which.
        conv: Conv,
        /// The new settings.
        settings: ConvSettings,
    },
    /// Hides places of a conversation from this user, on all devices, for ever.
    DeleteForMe {
        /// Which.
        conv: Conv,
        /// The first place, from 1.
        first: Seq,
        /// The last place, not below `first`.
        last: Seq,
    },
    /// Adds a contact, or renames it.
    ContactAdd {
        /// Who.
        peer: UserId,
        /// The user's own name for them, at most `NAME_BYTES_MAX` bytes, perhaps empty.
        name: &'a str,
    },
    /// Removes a contact.
    ContactRemove {
        /// Who.
        peer: UserId,
    },
    /// Takes no more messages from this user.
    Block {
        /// Whom.
        peer: UserId,
    },
    /// Takes messages again.
    Unblock {
        /// From whom.
        peer: UserId,
    },
    /// Who sees whether the user is online, and whether strangers may write.
    Privacy(Privacy),
    /// Ends a device: its sessions close with REVOKED, and it never attaches again.
    Revoke {
        /// Which of the user's devices.
        device: DeviceId,
    },
}

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

impl Visibility {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The visibility with this number.
    pub const fn from_number(number: u8) -> Option<Visibility> {
        match number {
            0 => Some(Visibility::Everyone),
            1 => Some(Visibility::Contacts),
            2 => Some(Visibility::Nobody),
            _ => None,
        }
    }
}

impl Privacy {
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.extend([self.visibility.number(), u8::from(self.refuse_strangers)]);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Privacy, DecodeError> {
        let visibility = Visibility::from_number(r.byte("visibility")?);
        let visibility = visibility.ok_or(r.error("visibility", "is unknown"))?;
        Ok(Privacy { visibility, refuse_strangers: boolean(r, "refuse_strangers")? })
    }
}

impl ConvSettings {
    /// PINNED and ARCHIVED, as in SETTINGS and CHAT_HEAD.
    pub fn flags(self) -> u8 {
        let pinned = if self.pinned { flag::PINNED } else { 0 };
        pinned | if self.archived { flag::ARCHIVED } else { 0 }
    }
}

impl<'a> Command<'a> {
    /// The tag byte.
    pub const fn tag(&self) -> u8 {
        match self {
            Command::Settings { .. } => 1,
            Command::DeleteForMe { .. } => 2,
            Command::ContactAdd { .. } => 3,
            Command::ContactRemove { .. } => 4,
            Command::Block { .. } => 5,
            Command::Unblock { .. } => 6,
            Command::Privacy(_) => 7,
            Command::Revoke { .. } => 8,
        }
    }

    /// Appends the command's bytes, at most `COMMAND_BYTES_MAX`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match *self {
            Command::Settings { conv, settings } => {
                put_conv(out, conv);
                put_varint(out, settings.muted_until_ms);
                out.push(settings.flags());
            }
            Command::DeleteForMe { conv, first, last } => {
                put_conv(out, conv);
                put_varint(out, first);
                put_varint(out, last);
            }
            Command::ContactAdd { peer, name } => {
                put_varint(out, peer.get());
                out.extend_from_slice(crate::encode::cut(name, NAME_BYTES_MAX).as_bytes());
            }
            Command::ContactRemove { peer }
            | Command::Block { peer }
            | Command::Unblock { peer } => put_varint(out, peer.get()),
            Command::Privacy(privacy) => privacy.put(out),
            Command::Revoke { device } => put_varint(out, u64::from(device.0)),
        }
    }

    /// Reads all of `bytes`. An error is BAD_COMMAND: the number is taken, nothing changes.
    pub fn decode(bytes: &'a [u8]) -> Result<Command<'a>, DecodeError> {
        let r = &mut Reader::new(bytes);
        let command = match r.byte("tag")? {
            1 => settings(r)?,
            2 => delete_for_me(r)?,
            3 => {
                let peer = user(r, "peer")?;
                let name = crate::decode::text(r.rest(), r, "name", NAME_BYTES_MAX)?;
                Command::ContactAdd { peer, name }
            }
            4 => Command::ContactRemove { peer: user(r, "peer")? },
            5 => Command::Block { peer: user(r, "peer")? },
            6 => Command::Unblock { peer: user(r, "peer")? },
            7 => Command::Privacy(Privacy::read(r)?),
            8 => Command::Revoke { device: device(r)? },
            _ => return Err(r.error("tag", "is unknown")),
        };
        r.end("command")?;
        Ok(command)
    }
}

fn settings<'a>(r: &mut Reader<'a>) -> Result<Command<'a>, DecodeError> {
    let (conv, muted_until_ms) = (conv(r)?, r.varint("muted_until_ms")?);
    let flags = flags(r, flag::PINNED | flag::ARCHIVED)?;
    let (pinned, archived) = (flags & flag::PINNED != 0, flags & flag::ARCHIVED != 0);
    Ok(Command::Settings { conv, settings: ConvSettings { muted_until_ms, pinned, archived } })
}

fn delete_for_me<'a>(r: &mut Reader<'a>) -> Result<Command<'a>, DecodeError> {
    let (conv, first, last) = (conv(r)?, r.varint("first")?, r.varint("last")?);
    if first == 0 || first > last {
        return Err(r.error("last", "makes no range"));
    }
    Ok(Command::DeleteForMe { conv, first, last })
}
