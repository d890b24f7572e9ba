//! Messages → bytes. Every function appends one whole frame, length included.

use crate::frame::*;
use crate::{BodyHash, Conv, OutboxId, REASON_BYTES_MAX, put_varint, varint_len};

#[allow(missing_docs, reason = "PROTOCOL.md is their documentation, and a test compares")]
pub mod op {
    //! Frame types. Client to server below 0x80, server to client from 0x80.
    pub const HELLO: u8 = 0x01;
    pub const SEND: u8 = 0x02;
    pub const VOID: u8 = 0x03;
    pub const ACK: u8 = 0x04;
    pub const PING: u8 = 0x05;
    pub const CLIENT_CLOSE: u8 = 0x06;
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
}

pub mod flag {
    //! Bits of flag bytes.
    /// HELLO: attached in the foreground.
    pub const FOREGROUND: u8 = 0x01;
    /// SEND, VOID, SENT, OUT_OF_ORDER, REFUSED: the outbox stands in the frame.
    pub const OUTBOX: u8 = 0x01;
    /// SENT, OWN: a void.
    pub const VOID: u8 = 0x02;
    /// SENT: the number was taken before.
    pub const KNOWN: u8 = 0x04;
    /// SENT: also the next inbox entry.
    pub const INBOX: u8 = 0x08;
    /// SENT: the ack level stands in these bits (0 local, 1 replicated, 2 geo).
    pub const LEVEL_SHIFT: u8 = 4;
}

/// The kind byte of a one-to-one conversation.
pub const KIND_DIRECT: u8 = 1;

/// Appends a client's frame.
pub fn encode_client(out: &mut Vec<u8>, frame: &ClientFrame<'_>) {
    let at = out.len();
    match frame {
        ClientFrame::Ping(Ping { acked: 0 }) => return out.push(0),
        ClientFrame::Ping(ping) => {
            out.push(op::PING);
            put_varint(out, ping.acked);
        }
        ClientFrame::Hello(hello) => put_hello(out, hello),
        ClientFrame::Send(send) => {
            out.push(op::SEND);
            put_key(out, 0, &send.key);
            out.extend_from_slice(send.body);
        }
        ClientFrame::Void(void) => {
            out.push(op::VOID);
            put_key(out, 0, &void.key);
            put_hash(out, void.hash);
        }
        ClientFrame::Ack(ack) => {
            out.push(op::ACK);
            put_varint(out, ack.inbox_seq);
        }
        ClientFrame::Close(close) => put_close(out, op::CLIENT_CLOSE, close),
    }
    put_length(out, at);
}

/// Appends a server's frame.
pub fn encode_server(out: &mut Vec<u8>, frame: &ServerFrame<'_>) {
    let at = out.len();
    match frame {
        ServerFrame::Pong(Pong { head: 0 }) => return out.push(0),
        ServerFrame::Pong(pong) => {
            out.push(op::PONG);
            put_varint(out, pong.head);
        }
        ServerFrame::Welcome(welcome) => put_welcome(out, welcome),
        ServerFrame::Sent(sent) => put_sent(out, sent),
        ServerFrame::OutOfOrder(refusal) => {
            out.push(op::OUT_OF_ORDER);
            put_key(out, 0, &refusal.key);
            put_varint(out, refusal.next);
        }
        ServerFrame::Refused(refused) => {
            out.push(op::REFUSED);
            put_key(out, 0, &refused.key);
            put_varint(out, refused.code.number());
            put_varint(out, refused.retry_after_ms);
            put_varint(out, refused.limit);
        }
        ServerFrame::Deliver(deliver) => {
            out.push(op::DELIVER);
            put_varint(out, deliver.d_inbox);
            put_conv(out, deliver.conv);
            put_varint(out, deliver.conv_seq);
            put_varint(out, deliver.time_ms);
            out.extend_from_slice(deliver.body);
        }
        ServerFrame::Own(own) => put_own(out, own),
        ServerFrame::CaughtUp(caught_up) => {
            out.push(op::CAUGHT_UP);
            put_varint(out, caught_up.head);
        }
        ServerFrame::GoAway(go_away) => {
            out.push(op::GOAWAY);
            put_varint(out, go_away.after_ms);
        }
        ServerFrame::Close(close) => put_close(out, op::SERVER_CLOSE, close),
    }
    put_length(out, at);
}

/// Puts the length in front of the content that starts at `at`. Most contents are shorter than
/// 128 bytes or move once by one more byte: cheaper than knowing the length before.
fn put_length(out: &mut Vec<u8>, at: usize) {
    let content = out.len() - at;
    let bytes = varint_len(content as u64);
    out.resize(out.len() + bytes, 0);
    out.copy_within(at..at + content, at + bytes);
    let mut length = content as u64;
    for slot in &mut out[at..at + bytes] {
        *slot = length as u8 & 0x7f | if length >= 0x80 { 0x80 } else { 0 };
        length >>= 7;
    }
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello<'_>) {
    out.push(op::HELLO);
    put_varint(out, hello.version_min);
    put_varint(out, hello.version_max);
    put_varint(out, hello.features);
    put_outbox(out, hello.outbox);
    put_varint(out, hello.inbox_epoch);
    put_varint(out, hello.acked);
    out.push(if hello.foreground { flag::FOREGROUND } else { 0 });
    put_varint(out, hello.token.len() as u64);
    out.extend_from_slice(hello.token);
}

fn put_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    out.push(op::WELCOME);
    put_varint(out, welcome.version);
    put_varint(out, welcome.features);
    put_varint(out, welcome.user.get());
    put_varint(out, u64::from(welcome.device.0));
    put_varint(out, welcome.inbox_epoch);
    out.push(match welcome.verdict {
        Verdict::Resume => 0,
        Verdict::Restart => 1,
    });
    put_varint(out, welcome.from);
    put_varint(out, welcome.head);
    put_varint(out, welcome.window_frames);
    put_varint(out, welcome.window_bytes);
    put_varint(out, welcome.heartbeat_ms);
    put_varint(out, welcome.server_time_ms);
    put_varint(out, welcome.body_bytes_max);
}

fn put_sent(out: &mut Vec<u8>, sent: &Sent) {
    out.push(op::SENT);
    let mut flags = if sent.void { flag::VOID } else { 0 };
    match sent.answer {
        Answer::Known => put_key(out, flags | flag::KNOWN, &sent.key),
        Answer::Fresh { level, conv_seq, time_ms, d_inbox } => {
            flags |= (level as u8) << flag::LEVEL_SHIFT;
            flags |= if d_inbox != 0 { flag::INBOX } else { 0 };
            put_key(out, flags, &sent.key);
            put_varint(out, conv_seq);
            put_varint(out, time_ms);
            if d_inbox != 0 {
                put_varint(out, d_inbox);
            }
        }
    }
}

fn put_own(out: &mut Vec<u8>, own: &Own) {
    out.push(op::OWN);
    put_varint(out, own.d_inbox);
    out.push(if own.void { flag::VOID } else { 0 });
    put_conv(out, own.conv);
    put_varint(out, own.conv_seq);
    put_varint(out, own.time_ms);
    put_outbox(out, own.outbox);
    put_varint(out, own.n);
    put_hash(out, own.hash);
}

fn put_close(out: &mut Vec<u8>, op: u8, close: &Close<'_>) {
    out.push(op);
    put_varint(out, close.code.number());
    put_varint(out, close.retry_after_ms);
    let mut cuts = (0..=REASON_BYTES_MAX).rev();
    let end = cuts.find(|end| close.reason.is_char_boundary(*end)).unwrap_or(0);
    let reason = &close.reason[..end];
    put_varint(out, reason.len() as u64);
    out.extend_from_slice(reason.as_bytes());
}

fn put_key(out: &mut Vec<u8>, flags: u8, key: &SendKey) {
    out.push(flags | if key.outbox.is_some() { flag::OUTBOX } else { 0 });
    put_conv(out, key.conv);
    if let Some(outbox) = key.outbox {
        put_outbox(out, outbox);
    }
    put_varint(out, key.n);
}

fn put_conv(out: &mut Vec<u8>, conv: Conv) {
    let Conv::Direct(peer) = conv;
    out.push(KIND_DIRECT);
    put_varint(out, peer);
}

fn put_outbox(out: &mut Vec<u8>, outbox: OutboxId) {
    out.extend_from_slice(&outbox.0.to_le_bytes());
}

fn put_hash(out: &mut Vec<u8>, hash: BodyHash) {
    out.extend_from_slice(&hash.0.to_le_bytes());
}
