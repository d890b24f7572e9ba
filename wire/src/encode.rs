//! Messages → bytes. Every function appends one whole frame, length included.

use crate::frame::*;
use crate::opcode::{KIND_DIRECT, flag, op};
use crate::{
    BodyHash, Conv, NAME_BYTES_MAX, OutboxId, PLATFORM_BYTES_MAX, REASON_BYTES_MAX, entry,
    put_varint, varint_len,
};

/// HELLO's extension with the device's name.
pub(crate) const TAG_NAME: u64 = 1;
/// HELLO's extension with the device's platform.
pub(crate) const TAG_PLATFORM: u64 = 2;

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
            put_key(out, entry::change_flag(send.change), &send.key);
            if let Some(change) = send.change {
                put_varint(out, change.target);
            }
            if !send.change.is_some_and(|change| change.delete) {
                out.extend_from_slice(send.body);
            }
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
        ClientFrame::Read(read) => put_mark(out, op::READ, read.conv, read.conv_seq),
        ClientFrame::Command(command) => command.put(out),
        ClientFrame::History(history) => history.put(out),
        ClientFrame::Chats(chats) => chats.put(out),
        ClientFrame::Chat(chat) => {
            out.push(op::CHAT);
            put_varint(out, chat.request);
            put_conv(out, chat.conv);
        }
        ClientFrame::Contacts(contacts) => contacts.put(out),
        ClientFrame::Devices(devices) => {
            out.push(op::DEVICES);
            put_varint(out, devices.request);
        }
        ClientFrame::Watch(watch) => watch.put(out),
        ClientFrame::Activity(activity) => activity.put(out),
        ClientFrame::Typing(typing) => {
            out.push(op::CLIENT_TYPING);
            put_conv(out, typing.conv);
        }
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
        other => put_later(out, other),
    }
    put_length(out, at);
}

/// The server's frames besides those of sessions and sends.
fn put_later(out: &mut Vec<u8>, frame: &ServerFrame<'_>) {
    match frame {
        ServerFrame::Changed(changed) => changed.put(out),
        ServerFrame::Receipt(receipt) => receipt.put(out),
        ServerFrame::ReadMark(mark) => {
            out.push(op::READ_MARK);
            put_varint(out, mark.d_inbox);
            put_conv(out, mark.conv);
            put_varint(out, mark.conv_seq);
        }
        ServerFrame::Commanded(commanded) => commanded.put(out),
        ServerFrame::CommandAnswer(answer) => answer.put(out),
        ServerFrame::HistoryItem(item) => item.put(out),
        ServerFrame::End(end) => end.put(out),
        ServerFrame::RequestRefused(refused) => refused.put(out),
        ServerFrame::ChatHead(head) => head.put(out),
        ServerFrame::Contact(contact) => contact.put(out),
        ServerFrame::Device(device) => device.put(out),
        ServerFrame::Presence(presence) => presence.put(out),
        ServerFrame::Typing(typing) => {
            out.push(op::SERVER_TYPING);
            put_conv(out, typing.conv);
        }
        _ => unreachable!("{frame:?} is encoded by the caller"),
    }
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
    put_counted(out, hello.token);
    for (tag, text) in [
        (TAG_NAME, cut(hello.name, NAME_BYTES_MAX)),
        (TAG_PLATFORM, cut(hello.platform, PLATFORM_BYTES_MAX)),
    ] {
        if !text.is_empty() {
            put_varint(out, tag);
            put_counted(out, text.as_bytes());
        }
    }
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
        Verdict::Snapshot(SnapshotReason::NewDevice) => 1,
        Verdict::Snapshot(SnapshotReason::Epoch) => 2,
        Verdict::Snapshot(SnapshotReason::TooFar) => 3,
    });
    put_varint(out, welcome.from);
    put_varint(out, welcome.head);
    put_varint(out, welcome.window_frames);
    put_varint(out, welcome.window_bytes);
    put_varint(out, welcome.heartbeat_ms);
    put_varint(out, welcome.server_time_ms);
    put_varint(out, welcome.body_bytes_max);
    welcome.privacy.put(out);
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
    let change = own.change.filter(|_| !own.void);
    out.push(entry::change_flag(change) | if own.void { flag::VOID } else { 0 });
    put_conv(out, own.conv);
    put_varint(out, own.conv_seq);
    put_varint(out, own.time_ms);
    put_outbox(out, own.outbox);
    put_varint(out, own.n);
    if let Some(change) = change {
        put_varint(out, change.target);
    }
    put_hash(out, own.hash);
}

fn put_close(out: &mut Vec<u8>, op: u8, close: &Close<'_>) {
    out.push(op);
    put_varint(out, close.code.number());
    put_varint(out, close.retry_after_ms);
    put_counted(out, cut(close.reason, REASON_BYTES_MAX).as_bytes());
}

/// As much of the text as fits into `bytes_max`, in whole characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut cuts = (0..=bytes_max).rev();
    let end = cuts.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    if text.len() <= bytes_max { text } else { &text[..end] }
}

fn put_mark(out: &mut Vec<u8>, op: u8, conv: Conv, conv_seq: u64) {
    out.push(op);
    put_conv(out, conv);
    put_varint(out, conv_seq);
}

pub(crate) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_key(out: &mut Vec<u8>, flags: u8, key: &SendKey) {
    out.push(flags | if key.outbox.is_some() { flag::OUTBOX } else { 0 });
    put_conv(out, key.conv);
    if let Some(outbox) = key.outbox {
        put_outbox(out, outbox);
    }
    put_varint(out, key.n);
}

pub(crate) fn put_conv(out: &mut Vec<u8>, conv: Conv) {
    let Conv::Direct(peer) = conv;
    out.push(KIND_DIRECT);
    put_varint(out, peer);
}

pub(crate) fn put_outbox(out: &mut Vec<u8>, outbox: OutboxId) {
    out.extend_from_slice(&outbox.0.to_le_bytes());
}

pub(crate) fn put_hash(out: &mut Vec<u8>, hash: BodyHash) {
    out.extend_from_slice(&hash.0.to_le_bytes());
}
