//! Ringmail's binary protocol: bytes ⇄ messages. Pure; decoding allocates nothing.
//!
//! `PROTOCOL.md` beside this crate is normative; a test parses its tables and compares them
//! with the constants here.

#![forbid(unsafe_code)]

mod code;
mod command;
mod decode;
mod deframe;
mod encode;
mod entry;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod list;
mod opcode;
mod page;
pub mod planted;
mod presence;
mod varint;

pub use code::{CloseCode, RefusalCode, Retry};
pub use command::{Command, ConvSettings, Privacy, Visibility};
pub use decode::{DecodeError, decode_client, decode_server};
pub use deframe::{Deframer, FrameError};
pub use encode::{encode_client, encode_server};
pub use entry::{
    COMMAND_BYTES_MAX, Changed, CommandAnswer, CommandResult, Commanded, NumberedCommand, Read,
    ReadMark, Receipt,
};
pub use frame::{
    Ack, AckLevel, Answer, CaughtUp, ClientFrame, Close, Deliver, GoAway, Hello, OutOfOrder, Own,
    Ping, Pong, Refused, Send, SendKey, Sent, ServerFrame, SnapshotReason, Verdict, Void, Welcome,
};
pub use ids::{
    BodyHash, Change, Conv, DeviceId, OutboxId, Seq, UserId, body_hash, content_hash,
    outbox_of_moved,
};
pub use list::{Item, List};
#[doc(hidden)]
pub use opcode::{KIND_DIRECT, flag, op};
pub use page::{
    CHATS_LIMIT_MAX, CONTACTS_LIMIT_MAX, Chat, ChatHead, Chats, ContactItem, Contacts, DeviceItem,
    Devices, Direction, End, HISTORY_LIMIT_MAX, History, HistoryItem, HistoryKind, OwnName,
    RequestRefused,
};
pub use presence::{Activity, Presence, PresenceState, Typing, UserPresence, Watch};
pub use varint::{Reader, put_varint, varint_len};

/// The protocol version that this build speaks. A server speaks N and N − 1.
pub const VERSION: u64 = 1;
/// Feature bits that this build knows; both sides use the intersection. None are defined yet.
pub const FEATURES: u64 = 0;
/// Longest message body in bytes that a deployment may allow (WELCOME names the allowed one).
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that a frame adds to its body: length, type and the fields before the body. A
/// client's frame without a body is no longer than this either, HELLO and WATCH apart.
pub const FRAME_OVERHEAD_MAX: usize = 96;
/// Longest frame content after HELLO, either way. It does not follow the deployment's own limit
/// of a body, so that a body above that one is refused, and the connection stays.
pub const FRAME_BYTES_MAX: usize = BODY_BYTES_MAX + FRAME_OVERHEAD_MAX;
/// Longest content of the first frame of a connection: a HELLO with its token and extensions.
pub const HELLO_BYTES_MAX: usize = 4 * 1024;
/// Longest reason in CLOSE, in bytes.
pub const REASON_BYTES_MAX: usize = 64;
/// Longest name of a device or a contact, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest platform in HELLO, in bytes.
pub const PLATFORM_BYTES_MAX: usize = 32;
/// Longest body that stands in CHAT_HEAD, in bytes.
pub const PREVIEW_BYTES_MAX: usize = 256;
/// Most users in WATCH and in PRESENCE.
pub const WATCH_USERS_MAX: usize = 512;
/// Longest content of WATCH.
pub const WATCH_BYTES_MAX: usize = 3 + 10 * WATCH_USERS_MAX;
/// Most devices of a user that any deployment may allow.
pub const DEVICES_MAX: usize = 256;
