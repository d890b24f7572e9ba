//! Bytes → messages. Takes the content of one frame (see `Deframer`), allocates nothing.

use crate::encode::{KIND_DIRECT, flag, op};
use crate::frame::*;
use crate::{
    BodyHash, CloseCode, Conv, DeviceId, OutboxId, REASON_BYTES_MAX, Reader, RefusalCode, UserId,
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
            let (key, _) = key(r, 0)?;
            ClientFrame::Send(Send { key, body: r.rest() })
        }
        op::VOID => {
            let (key, _) = key(r, 0)?;
            ClientFrame::Void(Void { key, hash: hash(r)? })
        }
        op::ACK => ClientFrame::Ack(Ack { inbox_seq: r.varint("inbox_seq")? }),
        op::PING => ClientFrame::Ping(Ping { acked: r.varint("acked")? }),
        op::CLIENT_CLOSE => ClientFrame::Close(close(r)?),
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
            let code = RefusalCode::from_number(r.varint("code")?);
            ServerFrame::Refused(Refused {
                key,
                code: code.ok_or(r.error("code", "is unknown"))?,
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
        other => return Err(DecodeError::UnknownType(other)),
    };
    r.end("frame")?;
    Ok(frame)
}

fn hello<'a>(r: &mut Reader<'a>) -> Result<Hello<'a>, DecodeError> {
    let hello = Hello {
        version_min: r.varint("version_min")?,
        version_max: r.varint("version_max")?,
        features: r.varint("features")?,
        outbox: outbox(r)?,
        inbox_epoch: r.varint("inbox_epoch")?,
        acked: r.varint("acked")?,
        // Unknown bits are optional: skipped.
        foreground: r.byte("flags")? & flag::FOREGROUND != 0,
        token: counted(r, "token")?,
    };
    skip_extensions(r)?;
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
            1 => Verdict::Restart,
            _ => return Err(r.error("verdict", "is unknown")),
        },
        from: r.varint("from")?,
        head: r.varint("head")?,
        window_frames: r.varint("window_frames")?,
        window_bytes: r.varint("window_bytes")?,
        heartbeat_ms: r.varint("heartbeat_ms")?,
        server_time_ms: r.varint("server_time_ms")?,
        body_bytes_max: r.varint("body_bytes_max")?,
    };
    skip_extensions(r)?;
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
    let flags = r.byte("flags")?;
    if flags & !flag::VOID != 0 {
        return Err(r.error("flags", "have unknown bits"));
    }
    Ok(Own {
        d_inbox,
        void: flags & flag::VOID != 0,
        conv: conv(r)?,
        conv_seq: r.varint("conv_seq")?,
        time_ms: r.varint("time_ms")?,
        outbox: outbox(r)?,
        n: r.varint("n")?,
        hash: hash(r)?,
    })
}

fn close<'a>(r: &mut Reader<'a>) -> Result<Close<'a>, DecodeError> {
    let code = CloseCode::from_number(r.varint("code")?);
    let code = code.ok_or(r.error("code", "is unknown"))?;
    let retry_after_ms = r.varint("retry_after_ms")?;
    let reason = counted(r, "reason")?;
    if reason.len() > REASON_BYTES_MAX {
        return Err(r.error("reason", "is too long"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| r.error("reason", "is not UTF-8"))?;
    Ok(Close { code, retry_after_ms, reason })
}

/// Flags, conversation, outbox, number. `flags_known`: bits that the frame allows besides OUTBOX.
fn key(r: &mut Reader<'_>, flags_known: u8) -> Result<(SendKey, u8), DecodeError> {
    let flags = r.byte("flags")?;
    if flags & !(flags_known | flag::OUTBOX) != 0 {
        return Err(r.error("flags", "have unknown bits"));
    }
    let conv = conv(r)?;
    let outbox = if flags & flag::OUTBOX != 0 { Some(outbox(r)?) } else { None };
    Ok((SendKey { conv, outbox, n: r.varint("n")? }, flags))
}

fn conv(r: &mut Reader<'_>) -> Result<Conv, DecodeError> {
    match r.byte("kind")? {
        KIND_DIRECT => Ok(Conv::Direct(r.varint("peer")?)),
        _ => Err(r.error("kind", "is unknown")),
    }
}

/// Distance to the entry before: entries never share a number.
fn d_inbox(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match r.varint("d_inbox")? {
        0 => Err(r.error("d_inbox", "is 0")),
        distance => Ok(distance),
    }
}

fn user(r: &mut Reader<'_>, field: &'static str) -> Result<UserId, DecodeError> {
    UserId::new(r.varint(field)?).ok_or(r.error(field, "is 0"))
}

fn device(r: &mut Reader<'_>) -> Result<DeviceId, DecodeError> {
    let device = u32::try_from(r.varint("device")?);
    Ok(DeviceId(device.map_err(|_| r.error("device", "is longer than 32 bits"))?))
}

fn outbox(r: &mut Reader<'_>) -> Result<OutboxId, DecodeError> {
    Ok(OutboxId(r.u64_le("outbox")?))
}

fn hash(r: &mut Reader<'_>) -> Result<BodyHash, DecodeError> {
    Ok(BodyHash(r.u64_le("hash")?))
}

fn counted<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(r.varint(field)?);
    r.take(length.map_err(|_| r.error(field, "is cut off"))?, field)
}

/// Optional fields of later versions: (tag, length, bytes) to the end, skipped.
fn skip_extensions(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    while r.clone().byte("extension").is_ok() {
        r.varint("extension")?;
        counted(r, "extension")?;
    }
    Ok(())
}
