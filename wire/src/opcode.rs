//! Type bytes, flag bits and kind bytes, as in PROTOCOL.md.

#[allow(missing_docs, reason = "PROTOCOL.md is their documentation, and a test compares")]
pub mod op {
    //! Frame types. Client to server below 0x80, server to client from 0x80.
    pub const HELLO: u8 = 0x01;
    pub const SEND: u8 = 0x02;
    pub const VOID: u8 = 0x03;
    pub const ACK: u8 = 0x04;
    pub const PING: u8 = 0x05;
    pub const CLIENT_CLOSE: u8 = 0x06;
    pub const READ: u8 = 0x07;
    pub const COMMAND: u8 = 0x08;
    pub const HISTORY: u8 = 0x09;
    pub const CHATS: u8 = 0x0a;
    pub const CHAT: u8 = 0x0b;
    pub const CONTACTS: u8 = 0x0c;
    pub const DEVICES: u8 = 0x0d;
    pub const WATCH: u8 = 0x0e;
    pub const ACTIVITY: u8 = 0x0f;
    pub const CLIENT_TYPING: u8 = 0x10;
    pub const WELCOME: u8 = 0x81;
    pub const SENT: u8 = 0x82;
    pub const OUT_OF_ORDER: u8 = 0x83;
    pub const REFUSED: u8 = 0x84;
    pub const DELIVER: u8 = 0x85;
    pub const OWN: u8 = 0x86;
    pub const CAUGHT_UP: u8 = 0x87;
    pub const PONG: u8 = 0x88;
    pub const GOAWAY: u8 = 0x89;
    pub const SERVER_CLOSE: u8 = 0x8a;
    pub const CHANGED: u8 = 0x8b;
    pub const RECEIPT: u8 = 0x8c;
    pub const READ_MARK: u8 = 0x8d;
    pub const COMMANDED: u8 = 0x8e;
    pub const COMMAND_ANSWER: u8 = 0x8f;
    pub const HISTORY_ITEM: u8 = 0x90;
    pub const END: u8 = 0x91;
    pub const REQUEST_REFUSED: u8 = 0x92;
    pub const CHAT_HEAD: u8 = 0x93;
    pub const CONTACT: u8 = 0x94;
    pub const DEVICE: u8 = 0x95;
    pub const PRESENCE: u8 = 0x96;
    pub const SERVER_TYPING: u8 = 0x97;
}

pub mod flag {
    //! Bits of flag bytes.
    /// HELLO: attached in the foreground.
    pub const FOREGROUND: u8 = 0x01;
    /// SEND, VOID, SENT, OUT_OF_ORDER, REFUSED: the outbox stands in the frame.
    pub const OUTBOX: u8 = 0x01;
    /// SENT, OWN, HISTORY_ITEM: a void.
    pub const VOID: u8 = 0x02;
    /// SENT: the number was taken before.
    pub const KNOWN: u8 = 0x04;
    /// SENT: also the next inbox entry.
    pub const INBOX: u8 = 0x08;
    /// SENT: the ack level stands in these bits (0 local, 1 replicated, 2 geo).
    pub const LEVEL_SHIFT: u8 = 4;
    /// SEND, OWN, CHANGED: an edit of the message at `target`.
    pub const EDIT: u8 = 0x04;
    /// SEND, OWN, CHANGED: the message at `target` is deleted for everyone.
    pub const DELETE: u8 = 0x08;
    /// HISTORY_ITEM: one of the user's own devices sent it.
    pub const OWN: u8 = 0x01;
    /// HISTORY_ITEM: the user does not see what is there.
    pub const HIDDEN: u8 = 0x04;
    /// HISTORY_ITEM: its sender deleted it for everyone.
    pub const DELETED: u8 = 0x08;
    /// HISTORY_ITEM: the body is the one of the newest edit.
    pub const EDITED: u8 = 0x10;
    /// HISTORY_ITEM: an edit of `target`.
    pub const CHANGE_EDIT: u8 = 0x20;
    /// HISTORY_ITEM: a deletion of `target`.
    pub const CHANGE_DELETE: u8 = 0x40;
    /// HISTORY_ITEM: the server lost this place.
    pub const GAP: u8 = 0x80;
    /// CHAT_HEAD, command SETTINGS: on top of the list.
    pub const PINNED: u8 = 0x01;
    /// CHAT_HEAD, command SETTINGS: out of the list.
    pub const ARCHIVED: u8 = 0x02;
    /// CHAT_HEAD, CONTACT: the peer is a contact.
    pub const CONTACT: u8 = 0x04;
    /// CHAT_HEAD, CONTACT: the peer is blocked.
    pub const BLOCKED: u8 = 0x08;
    /// CHAT_HEAD: the preview is one's own message.
    pub const PREVIEW_OWN: u8 = 0x10;
    /// DEVICE: has a session now.
    pub const ATTACHED: u8 = 0x01;
    /// DEVICE: the one that asks.
    pub const THIS: u8 = 0x02;
    /// DEVICE: revoked.
    pub const REVOKED: u8 = 0x04;
}

/// The kind byte of a one-to-one conversation.
pub const KIND_DIRECT: u8 = 1;
