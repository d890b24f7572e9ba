//! Pages: what a client asks for besides the stream, and the items of the answers.

use crate::decode::{conv, counted, flags, hash, outbox, refusal, text};
use crate::encode::{put_conv, put_counted, put_hash, put_outbox};
use crate::opcode::{flag, op};
use crate::{
    BodyHash, Conv, ConvSettings, DEVICES_MAX, DecodeError, DeviceId, List, NAME_BYTES_MAX,
    OutboxId, PLATFORM_BYTES_MAX, PREVIEW_BYTES_MAX, Reader, RefusalCode, Seq, UserId, put_varint,
};

/// Most items of a page of history.
pub const HISTORY_LIMIT_MAX: u64 = 100;
/// Most items of a page of conversations.
pub const CHATS_LIMIT_MAX: u64 = 64;
/// Most items of a page of contacts.
pub const CONTACTS_LIMIT_MAX: u64 = 100;

/// HISTORY: messages of one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Names the request on this connection.
    pub request: u64,
    /// Which conversation.
    pub conv: Conv,
    /// The first place that is wanted; 0 with `Older`: the head.
    pub from: Seq,
    /// Which way it goes on from there.
    pub direction: Direction,
    /// Most items, 1 to `HISTORY_LIMIT_MAX`.
    pub limit: u64,
}

/// Which way a page of history goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Downwards.
    Older,
    /// Upwards.
    Newer,
}

/// CHATS: the user's conversations, newest activity first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chats {
    /// Names the request on this connection.
    pub request: u64,
    /// Only those whose newest inbox entry is below this; 0: all.
    pub before: Seq,
    /// Most items, 1 to `CHATS_LIMIT_MAX`.
    pub limit: u64,
}

/// CHAT: one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Names the request on this connection.
    pub request: u64,
    /// Which.
    pub conv: Conv,
}

/// CONTACTS: whom the user added, named or blocked, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contacts {
    /// Names the request on this connection.
    pub request: u64,
    /// Only users with a higher number; 0: all.
    pub after: u64,
    /// Most items, 1 to `CONTACTS_LIMIT_MAX`.
    pub limit: u64,
}

/// DEVICES: the user's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// Names the request on this connection.
    pub request: u64,
}

/// HISTORY_ITEM: one place of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem<'a> {
    /// The request that it answers.
    pub request: u64,
    /// The place.
    pub conv_seq: Seq,
    /// Unix milliseconds; 0 for a gap.
    pub time_ms: u64,
    /// Set for the user's own: what an own entry says. Never with `Gap`.
    pub own: Option<OwnName>,
    /// What is there.
    pub kind: HistoryKind<'a>,
}

/// Which send of the user's own stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnName {
    /// Outbox that it came from.
    pub outbox: OutboxId,
    /// Its number there.
    pub n: Seq,
    /// Content hash of the send, as in OWN: also where the body is changed or gone.
    pub hash: BodyHash,
}

/// What stands at a place of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryKind<'a> {
    /// A message, perhaps edited.
    Message {
        /// What it says now.
        body: &'a [u8],
        /// The place of the edit that `body` is from.
        edited_by: Option<Seq>,
    },
    /// A message that its sender deleted for everyone.
    Deleted,
    /// An edit.
    Edit {
        /// The place that it changes.
        target: Seq,
        /// The new message; empty if that was deleted since.
        body: &'a [u8],
    },
    /// A deletion for everyone.
    Delete {
        /// The place that it deletes.
        target: Seq,
    },
    /// Given up: nothing was ever there.
    Void,
    /// The user does not see it: blocked, or deleted for themselves.
    Hidden,
    /// The server lost it.
    Gap,
}

/// END: the page is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The request that it answers.
    pub request: u64,
    /// Where the next page goes on (`from`, `before` or `after`); 0: there is nothing more.
    pub next: u64,
    /// HISTORY, CHAT: the conversation's head. CHATS: the inbox's head. Otherwise 0.
    pub head: Seq,
}

/// REQUEST_REFUSED: no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRefused {
    /// The request that it answers.
    pub request: u64,
    /// Why.
    pub code: RefusalCode,
    /// Ask again no earlier, in milliseconds; 0 where that is useless.
    pub retry_after_ms: u64,
}

/// CHAT_HEAD: one conversation, as a list of chats shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatHead<'a> {
    /// The request that it answers.
    pub request: u64,
    /// Which.
    pub conv: Conv,
    /// Pinned, archived, muted.
    pub settings: ConvSettings,
    /// The peer is a contact.
    pub contact: bool,
    /// The peer is blocked.
    pub blocked: bool,
    /// The preview is of one's own message.
    pub preview_own: bool,
    /// Newest place that the user's home has.
    pub head: Seq,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// Newest inbox entry of the conversation; 0: none.
    pub last_inbox: Seq,
    /// The user's own read mark.
    pub read: Seq,
    /// The peer's read mark.
    pub peer_read: Seq,
    /// As in RECEIPT.
    pub delivered: List<'a, Seq>,
    /// Messages of the peer above `read`.
    pub unread: u64,
    /// The message at `head`, whole, if it has at most `PREVIEW_BYTES_MAX` bytes; else empty.
    pub preview: &'a [u8],
}

/// CONTACT: what the user noted about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactItem<'a> {
    /// The request that it answers.
    pub request: u64,
    /// Who.
    pub peer: UserId,
    /// In the contacts.
    pub contact: bool,
    /// Blocked.
    pub blocked: bool,
    /// The user's own name for them, at most `NAME_BYTES_MAX` bytes.
    pub name: &'a str,
}

/// DEVICE: one of the user's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceItem<'a> {
    /// The request that it answers.
    pub request: u64,
    /// Which.
    pub device: DeviceId,
    /// Has a session now.
    pub attached: bool,
    /// The device that asks.
    pub this: bool,
    /// Revoked.
    pub revoked: bool,
    /// When it last attached, Unix milliseconds.
    pub attached_ms: u64,
    /// As HELLO said, at most `NAME_BYTES_MAX` bytes.
    pub name: &'a str,
    /// As HELLO said, at most `PLATFORM_BYTES_MAX` bytes.
    pub platform: &'a str,
}

impl History {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::HISTORY);
        put_varint(out, self.request);
        put_conv(out, self.conv);
        put_varint(out, self.from);
        out.push(self.direction as u8);
        put_varint(out, self.limit);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(History {
            request: r.varint("request")?,
            conv: conv(r)?,
            from: r.varint("from")?,
            direction: match r.byte("direction")? {
                0 => Direction::Older,
                1 => Direction::Newer,
                _ => return Err(r.error("direction", "is unknown")),
            },
            limit: limit(r, HISTORY_LIMIT_MAX)?,
        })
    }
}

impl Chats {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::CHATS);
        put_varint(out, self.request);
        put_varint(out, self.before);
        put_varint(out, self.limit);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (request, before) = (r.varint("request")?, r.varint("before")?);
        Ok(Chats { request, before, limit: limit(r, CHATS_LIMIT_MAX)? })
    }
}

impl Contacts {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::CONTACTS);
        put_varint(out, self.request);
        put_varint(out, self.after);
        put_varint(out, self.limit);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (request, after) = (r.varint("request")?, r.varint("after")?);
        Ok(Contacts { request, after, limit: limit(r, CONTACTS_LIMIT_MAX)? })
    }
}

impl<'a> HistoryItem<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::HISTORY_ITEM);
        put_varint(out, self.request);
        let own = self.own.filter(|_| self.kind != HistoryKind::Gap);
        out.push(self.kind.flag() | if own.is_some() { flag::OWN } else { 0 });
        put_varint(out, self.conv_seq);
        put_varint(out, self.time_ms);
        if let HistoryKind::Message { edited_by: Some(place), .. }
        | HistoryKind::Edit { target: place, .. }
        | HistoryKind::Delete { target: place } = self.kind
        {
            put_varint(out, place);
        }
        if let Some(own) = own {
            put_outbox(out, own.outbox);
            put_varint(out, own.n);
            put_hash(out, own.hash);
        }
        if let HistoryKind::Message { body, .. } | HistoryKind::Edit { body, .. } = self.kind {
            out.extend_from_slice(body);
        }
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let request = r.varint("request")?;
        let flags = flags(r, 0xff)?;
        let what = flags & !flag::OWN;
        if !matches!(what.count_ones(), 0 | 1) || flags == flag::GAP | flag::OWN {
            return Err(r.error("flags", "do not go together"));
        }
        let (conv_seq, time_ms) = (r.varint("conv_seq")?, r.varint("time_ms")?);
        let place = match what {
            flag::EDITED => r.varint("edited_by")?,
            flag::CHANGE_EDIT | flag::CHANGE_DELETE => r.varint("target")?,
            _ => 0,
        };
        let own = match flags & flag::OWN {
            0 => None,
            _ => Some(OwnName { outbox: outbox(r)?, n: r.varint("n")?, hash: hash(r)? }),
        };
        let kind = match what {
            0 => HistoryKind::Message { body: r.rest(), edited_by: None },
            flag::EDITED => HistoryKind::Message { body: r.rest(), edited_by: Some(place) },
            flag::DELETED => HistoryKind::Deleted,
            flag::CHANGE_EDIT => HistoryKind::Edit { target: place, body: r.rest() },
            flag::CHANGE_DELETE => HistoryKind::Delete { target: place },
            flag::VOID => HistoryKind::Void,
            flag::HIDDEN => HistoryKind::Hidden,
            _ => HistoryKind::Gap,
        };
        Ok(HistoryItem { request, conv_seq, time_ms, own, kind })
    }
}

impl HistoryKind<'_> {
    fn flag(&self) -> u8 {
        match self {
            HistoryKind::Message { edited_by: None, .. } => 0,
            HistoryKind::Message { .. } => flag::EDITED,
            HistoryKind::Deleted => flag::DELETED,
            HistoryKind::Edit { .. } => flag::CHANGE_EDIT,
            HistoryKind::Delete { .. } => flag::CHANGE_DELETE,
            HistoryKind::Void => flag::VOID,
            HistoryKind::Hidden => flag::HIDDEN,
            HistoryKind::Gap => flag::GAP,
        }
    }
}

impl End {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::END);
        put_varint(out, self.request);
        put_varint(out, self.next);
        put_varint(out, self.head);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(End { request: r.varint("request")?, next: r.varint("next")?, head: r.varint("head")? })
    }
}

impl RequestRefused {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::REQUEST_REFUSED);
        put_varint(out, self.request);
        put_varint(out, self.code.number());
        put_varint(out, self.retry_after_ms);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (request, number) = (r.varint("request")?, r.varint("code")?);
        let code = refusal(r, number)?;
        Ok(RequestRefused { request, code, retry_after_ms: r.varint("retry_after_ms")? })
    }
}

impl<'a> ChatHead<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::CHAT_HEAD);
        put_varint(out, self.request);
        put_conv(out, self.conv);
        let own = if self.preview_own { flag::PREVIEW_OWN } else { 0 };
        out.push(self.settings.flags() | contact_flags(self.contact, self.blocked) | own);
        for number in [self.head, self.time_ms, self.last_inbox, self.read, self.peer_read] {
            put_varint(out, number);
        }
        self.delivered.put(out);
        put_varint(out, self.unread);
        put_varint(out, self.settings.muted_until_ms);
        put_counted(out, self.preview);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (request, conv) = (r.varint("request")?, conv(r)?);
        let flags = flags(r, 0x1f)?;
        let (head, time_ms) = (r.varint("head")?, r.varint("time_ms")?);
        let (last_inbox, read) = (r.varint("last_inbox")?, r.varint("read")?);
        let peer_read = r.varint("peer_read")?;
        let delivered = List::read(r, "delivered", DEVICES_MAX)?;
        let (unread, muted_until_ms) = (r.varint("unread")?, r.varint("muted_until_ms")?);
        let (pinned, archived) = (flags & flag::PINNED != 0, flags & flag::ARCHIVED != 0);
        let preview = counted(r, "preview")?;
        if preview.len() > PREVIEW_BYTES_MAX {
            return Err(r.error("preview", "is too long"));
        }
        Ok(ChatHead {
            request,
            conv,
            settings: ConvSettings { muted_until_ms, pinned, archived },
            contact: flags & flag::CONTACT != 0,
            blocked: flags & flag::BLOCKED != 0,
            preview_own: flags & flag::PREVIEW_OWN != 0,
            head,
            time_ms,
            last_inbox,
            read,
            peer_read,
            delivered,
            unread,
            preview,
        })
    }
}

impl<'a> ContactItem<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::CONTACT);
        put_varint(out, self.request);
        put_varint(out, self.peer.get());
        out.push(contact_flags(self.contact, self.blocked));
        put_counted(out, crate::encode::cut(self.name, NAME_BYTES_MAX).as_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (request, peer) = (r.varint("request")?, crate::decode::user(r, "peer")?);
        let flags = flags(r, flag::CONTACT | flag::BLOCKED)?;
        let (contact, blocked) = (flags & flag::CONTACT != 0, flags & flag::BLOCKED != 0);
        let name = counted(r, "name")?;
        let name = text(name, r, "name", NAME_BYTES_MAX)?;
        Ok(ContactItem { request, peer, contact, blocked, name })
    }
}

impl<'a> DeviceItem<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::DEVICE);
        put_varint(out, self.request);
        put_varint(out, u64::from(self.device.0));
        let attached = if self.attached { flag::ATTACHED } else { 0 };
        let this = if self.this { flag::THIS } else { 0 };
        out.push(attached | this | if self.revoked { flag::REVOKED } else { 0 });
        put_varint(out, self.attached_ms);
        put_counted(out, crate::encode::cut(self.name, NAME_BYTES_MAX).as_bytes());
        put_counted(out, crate::encode::cut(self.platform, PLATFORM_BYTES_MAX).as_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (request, device) = (r.varint("request")?, crate::decode::device(r)?);
        let flags = flags(r, flag::ATTACHED | flag::THIS | flag::REVOKED)?;
        let attached_ms = r.varint("attached_ms")?;
        let (name, platform) = (counted(r, "name")?, counted(r, "platform")?);
        Ok(DeviceItem {
            request,
            device,
            attached: flags & flag::ATTACHED != 0,
            this: flags & flag::THIS != 0,
            revoked: flags & flag::REVOKED != 0,
            attached_ms,
            name: text(name, r, "name", NAME_BYTES_MAX)?,
            platform: text(platform, r, "platform", PLATFORM_BYTES_MAX)?,
        })
    }
}

fn contact_flags(contact: bool, blocked: bool) -> u8 {
    let contact = if contact { flag::CONTACT } else { 0 };
    contact | if blocked { flag::BLOCKED } else { 0 }
}

fn limit(r: &mut Reader<'_>, max: u64) -> Result<u64, DecodeError> {
    let limit = r.varint("limit")?;
    match (1..=max).contains(&limit) {
        true => Ok(limit),
        false => Err(r.error("limit", "is out of its range")),
    }
}
