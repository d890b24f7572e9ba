//! Bytes → messages. Takes the content of one frame (see `Deframer`), allocates nothing.

use crate::encode::{TAG_NAME, TAG_PLATFORM};
use crate::frame::*;
use crate::opcode::{KIND_DIRECT, flag, op};
use crate::{
    Activity, BodyHash, Changed, Chat, ChatHead, Chats, CloseCode, CommandAnswer, Commanded,
    ContactItem, Contacts, Conv, DeviceId, DeviceItem, Devices, End, History, HistoryItem,
    NAME_BYTES_MAX, NumberedCommand, OutboxId, PLATFORM_BYTES_MAX, Presence, Privacy,
    REASON_BYTES_MAX, Read, ReadMark, Reader, Receipt, RefusalCode, RequestRefused, Typing, UserId,
    Watch, entry,
};

/// A frame that is no message of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field is wrong.
    #[error("{field} {problem} (at byte {offset})")]
    Field {
        /// Bytes of the content that were read before.
        offset: usize,
        /// The field's name in PROTOCOL.md.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A type that this version does not know, or that the other side sends.
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
}

impl DecodeError {
    /// The code that the connection closes with.
    pub fn close_code(self) -> CloseCode {
        match self {
            DecodeError::Field { .. } => CloseCode::Malformed,
            DecodeError::UnknownType(_) => CloseCode::UnknownFrame,
        }
    }
}

/// The content of a client's frame.
pub fn decode_client(content: &[u8]) -> Result<ClientFrame<'_>, DecodeError> {
    if content.is_empty() {
        return Ok(ClientFrame::Ping(Ping { acked: 0 }));
    }
    let r = &mut Reader::new(content);
    let frame = match r.byte("type")? {
        op::HELLO => ClientFrame::Hello(hello(r)?),
        op::SEND => {
            let (key, flags) = key(r, flag::EDIT | flag::DELETE)?;
            let change = entry::change(r, flags)?;
            let deletes = change.is_some_and(|change| change.delete);
            ClientFrame::Send(Send { key, change, body: if deletes { &[] } else { r.rest() } })
        }
        op::VOID => {
            let (key, _) = key(r, 0)?;
            ClientFrame::Void(Void { key, hash: hash(r)? })
        }
        op::ACK => ClientFrame::Ack(Ack { inbox_seq: r.varint("inbox_seq")? }),
        op::PING => ClientFrame::Ping(Ping { acked: r.varint("acked")? }),
        op::CLIENT_CLOSE => ClientFrame::Close(close(r)?),
        op::READ => {
            let (conv, conv_seq) = (conv(r)?, r.varint("conv_seq")?);
            ClientFrame::Read(Read { conv, conv_seq })
        }
        op::COMMAND => ClientFrame::Command(NumberedCommand::read(r)?),
        op::HISTORY => ClientFrame::History(History::read(r)?),
        op::CHATS => ClientFrame::Chats(Chats::read(r)?),
        op::CHAT => ClientFrame::Chat(Chat { request: r.varint("request")?, conv: conv(r)? }),
        op::CONTACTS => ClientFrame::Contacts(Contacts::read(r)?),
        op::DEVICES => ClientFrame::Devices(Devices { request: r.varint("request")? }),
        op::WATCH => ClientFrame::Watch(Watch::read(r)?),
        op::ACTIVITY => ClientFrame::Activity(Activity::read(r)?),
        op::CLIENT_TYPING => ClientFrame::Typing(Typing { conv: conv(r)? }),
        other => return Err(DecodeError::UnknownType(other)),
    };
    r.end("frame")?;
    Ok(frame)
}

/// The content of a server's frame.
pub fn decode_server(content: &[u8]) -> Result<ServerFrame<'_>, DecodeError> {
    if content.is_empty() {
        return Ok(ServerFrame::Pong(Pong { head: 0 }));
    }
    let r = &mut Reader::new(content);
    let frame = match r.byte("type")? {
        op::WELCOME => ServerFrame::Welcome(welcome(r)?),
        op::SENT => ServerFrame::Sent(sent(r)?),
        op::OUT_OF_ORDER => {
            let (key, _) = key(r, 0)?;
            ServerFrame::OutOfOrder(OutOfOrder { key, next: r.varint("next")? })
        }
        op::REFUSED => {
            let (key, _) = key(r, 0)?;
            let number = r.varint("code")?;
            ServerFrame::Refused(Refused {
                key,
                code: refusal(r, number)?,
                retry_after_ms: r.varint("retry_after_ms")?,
                limit: r.varint("limit")?,
            })
        }
        op::DELIVER => ServerFrame::Deliver(Deliver {
            d_inbox: d_inbox(r)?,
            conv: conv(r)?,
            conv_seq: r.varint("conv_seq")?,
            time_ms: r.varint("time_ms")?,
            body: r.rest(),
        }),
        op::OWN => ServerFrame::Own(own(r)?),
        op::CAUGHT_UP => ServerFrame::CaughtUp(CaughtUp { head: r.varint("head")? }),
        op::PONG => ServerFrame::Pong(Pong { head: r.varint("head")? }),
        op::GOAWAY => ServerFrame::GoAway(GoAway { after_ms: r.varint("after_ms")? }),
        op::SERVER_CLOSE => ServerFrame::Close(close(r)?),
        other => later(r, other)?,
    };
    r.end("frame")?;
    Ok(frame)
}

/// The server's frames besides those of sessions and sends.
fn later<'a>(r: &mut Reader<'a>, op: u8) -> Result<ServerFrame<'a>, DecodeError> {
    Ok(match op {
        op::CHANGED => ServerFrame::Changed(Changed::read(r)?),
        op::RECEIPT => ServerFrame::Receipt(Receipt::read(r)?),
        op::READ_MARK => {
            let (d_inbox, conv, conv_seq) = (d_inbox(r)?, conv(r)?, r.varint("conv_seq")?);
            ServerFrame::ReadMark(ReadMark { d_inbox, conv, conv_seq })
        }
        op::COMMANDED => ServerFrame::Commanded(Commanded::read(r)?),
        op::COMMAND_ANSWER => ServerFrame::CommandAnswer(CommandAnswer::read(r)?),
        op::HISTORY_ITEM => ServerFrame::HistoryItem(HistoryItem::read(r)?),
        op::END => ServerFrame::End(End::read(r)?),
        op::REQUEST_REFUSED => ServerFrame::RequestRefused(RequestRefused::read(r)?),
        op::CHAT_HEAD => ServerFrame::ChatHead(ChatHead::read(r)?),
        op::CONTACT => ServerFrame::Contact(ContactItem::read(r)?),
        op::DEVICE => ServerFrame::Device(DeviceItem::read(r)?),
        op::PRESENCE => ServerFrame::Presence(Presence::read(r)?),
        op::SERVER_TYPING => ServerFrame::Typing(Typing { conv: conv(r)? }),
        other => return Err(DecodeError::UnknownType(other)),
    })
}

fn hello<'a>(r: &mut Reader<'a>) -> Result<Hello<'a>, DecodeError> {
    let mut hello = Hello {
        version_min: r.varint("version_min")?,
        version_max: r.varint("version_max")?,
        features: r.varint("features")?,
        outbox: outbox(r)?,
        inbox_epoch: r.varint("inbox_epoch")?,
        acked: r.varint("acked")?,
        // Unknown bits are optional: skipped.
        foreground: r.byte("flags")? & flag::FOREGROUND != 0,
        token: counted(r, "token")?,
        name: "",
        platform: "",
    };
    extensions(r, |r, tag, bytes| {
        match tag {
            TAG_NAME => hello.name = text(bytes, r, "name", NAME_BYTES_MAX)?,
            TAG_PLATFORM => hello.platform = text(bytes, r, "platform", PLATFORM_BYTES_MAX)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(hello)
}

fn welcome(r: &mut Reader<'_>) -> Result<Welcome, DecodeError> {
    let welcome = Welcome {
        version: r.varint("version")?,
        features: r.varint("features")?,
        user: user(r, "user")?,
        device: device(r)?,
        inbox_epoch: r.varint("inbox_epoch")?,
        verdict: match r.byte("verdict")? {
            0 => Verdict::Resume,
            1 => Verdict::Snapshot(SnapshotReason::NewDevice),
            2 => Verdict::Snapshot(SnapshotReason::Epoch),
            3 => Verdict::Snapshot(SnapshotReason::TooFar),
            _ => return Err(r.error("verdict", "is unknown")),
        },
        from: r.varint("from")?,
        head: r.varint("head")?,
        window_frames: r.varint("window_frames")?,
        window_bytes: r.varint("window_bytes")?,
        heartbeat_ms: r.varint("heartbeat_ms")?,
        server_time_ms: r.varint("server_time_ms")?,
        body_bytes_max: r.varint("body_bytes_max")?,
        privacy: Privacy::read(r)?,
    };
    extensions(r, |_, _, _| Ok(()))?;
    Ok(welcome)
}

fn sent(r: &mut Reader<'_>) -> Result<Sent, DecodeError> {
    let known = flag::VOID | flag::KNOWN | flag::INBOX | (3 << flag::LEVEL_SHIFT);
    let (key, flags) = key(r, known)?;
    let void = flags & flag::VOID != 0;
    if flags & flag::KNOWN != 0 {
        if flags & !(flag::VOID | flag::KNOWN | flag::OUTBOX) != 0 {
            return Err(r.error("flags", "do not go with KNOWN"));
        }
        return Ok(Sent { key, void, answer: Answer::Known });
    }
    let level = match flags >> flag::LEVEL_SHIFT & 3 {
        0 => AckLevel::Local,
        1 => AckLevel::Replicated,
        2 => AckLevel::Geo,
        _ => return Err(r.error("flags", "name an unknown level")),
    };
    let (conv_seq, time_ms) = (r.varint("conv_seq")?, r.varint("time_ms")?);
    let d_inbox = match flags & flag::INBOX {
        0 => 0,
        _ => d_inbox(r)?,
    };
    Ok(Sent { key, void, answer: Answer::Fresh { level, conv_seq, time_ms, d_inbox } })
}

fn own(r: &mut Reader<'_>) -> Result<Own, DecodeError> {
    let d_inbox = d_inbox(r)?;
    let flags = flags(r, flag::VOID | flag::EDIT | flag::DELETE)?;
    let void = flags & flag::VOID != 0;
    if void && flags != flag::VOID {
        return Err(r.error("flags", "do not go together"));
    }
    Ok(Own {
        d_inbox,
        void,
        conv: conv(r)?,
        conv_seq: r.varint("conv_seq")?,
        time_ms: r.varint("time_ms")?,
        outbox: outbox(r)?,
        n: r.varint("n")?,
        change: entry::change(r, flags)?,
        hash: hash(r)?,
    })
}

fn close<'a>(r: &mut Reader<'a>) -> Result<Close<'a>, DecodeError> {
    let code = CloseCode::from_number(r.varint("code")?);
    let code = code.ok_or(r.error("code", "is unknown"))?;
    let retry_after_ms = r.varint("retry_after_ms")?;
    let reason = counted(r, "reason")?;
    let reason = text(reason, r, "reason", REASON_BYTES_MAX)?;
    Ok(Close { code, retry_after_ms, reason })
}

/// Flags, conversation, outbox, number. `flags_known`: bits that the frame allows besides OUTBOX.
fn key(r: &mut Reader<'_>, flags_known: u8) -> Result<(SendKey, u8), DecodeError> {
    let flags = flags(r, flags_known | flag::OUTBOX)?;
    let conv = conv(r)?;
    let outbox = if flags & flag::OUTBOX != 0 { Some(outbox(r)?) } else { None };
    Ok((SendKey { conv, outbox, n: r.varint("n")? }, flags))
}

pub(crate) fn conv(r: &mut Reader<'_>) -> Result<Conv, DecodeError> {
    match r.byte("kind")? {
        KIND_DIRECT => Ok(Conv::Direct(r.varint("peer")?)),
        _ => Err(r.error("kind", "is unknown")),
    }
}

/// Distance to the entry before: entries never share a number.
pub(crate) fn d_inbox(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match r.varint("d_inbox")? {
        0 => Err(r.error("d_inbox", "is 0")),
        distance => Ok(distance),
    }
}

pub(crate) fn user(r: &mut Reader<'_>, field: &'static str) -> Result<UserId, DecodeError> {
    UserId::new(r.varint(field)?).ok_or(r.error(field, "is 0"))
}

pub(crate) fn device(r: &mut Reader<'_>) -> Result<DeviceId, DecodeError> {
    let device = u32::try_from(r.varint("device")?);
    Ok(DeviceId(device.map_err(|_| r.error("device", "is longer than 32 bits"))?))
}

pub(crate) fn outbox(r: &mut Reader<'_>) -> Result<OutboxId, DecodeError> {
    Ok(OutboxId(r.u64_le("outbox")?))
}

pub(crate) fn hash(r: &mut Reader<'_>) -> Result<BodyHash, DecodeError> {
    Ok(BodyHash(r.u64_le("hash")?))
}

pub(crate) fn counted<'a>(
    r: &mut Reader<'a>,
    field: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(r.varint(field)?);
    r.take(length.map_err(|_| r.error(field, "is cut off"))?, field)
}

/// At most `bytes_max` bytes of UTF-8 that end where `r` stands.
pub(crate) fn text<'a>(
    bytes: &'a [u8],
    r: &Reader<'_>,
    field: &'static str,
    bytes_max: usize,
) -> Result<&'a str, DecodeError> {
    if bytes.len() > bytes_max {
        return Err(r.error(field, "is too long"));
    }
    std::str::from_utf8(bytes).map_err(|_| r.error(field, "is not UTF-8"))
}

/// A byte that is 0 or 1.
pub(crate) fn boolean(r: &mut Reader<'_>, field: &'static str) -> Result<bool, DecodeError> {
    match r.byte(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.error(field, "is neither 0 nor 1")),
    }
}

/// A byte of flags that has no other bits than these.
pub(crate) fn flags(r: &mut Reader<'_>, known: u8) -> Result<u8, DecodeError> {
    let flags = r.byte("flags")?;
    if flags & !known == 0 { Ok(flags) } else { Err(r.error("flags", "have unknown bits")) }
}

/// The refusal code with this number, which was just read.
pub(crate) fn refusal(r: &Reader<'_>, number: u64) -> Result<RefusalCode, DecodeError> {
    RefusalCode::from_number(number).ok_or(r.error("code", "is unknown"))
}

/// Optional fields, (tag, length, bytes) to the end. Those that `handle` does not know are of
/// later versions, and skipped.
fn extensions<'a>(
    r: &mut Reader<'a>,
    mut handle: impl FnMut(&Reader<'a>, u64, &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while r.clone().byte("extension").is_ok() {
        let tag = r.varint("extension")?;
        let bytes = counted(r, "extension")?;
        handle(r, tag, bytes)?;
    }
    Ok(())
}
