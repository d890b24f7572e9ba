//! A frame as the list of its fields, under the names of PROTOCOL.md.

use super::Frame;
use super::listing_later;
use std::fmt;
use wire::*;

/// A field, as its type in PROTOCOL.md encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Varint(u64),
    U64(u64),
    Counted(Vec<u8>),
    Rest(Vec<u8>),
    /// A count and so many varints.
    Numbers(Vec<u64>),
    /// A count and so many states of users.
    Presences(Vec<(u64, u8, u64, u64)>),
    /// Tags and bytes.
    Extensions(Vec<(u64, Vec<u8>)>),
}

/// A frame's name, type byte (`None` for the empty frame), and fields in any order.
pub struct Listing {
    pub name: &'static str,
    pub op: Option<u8>,
    pub fields: Vec<(&'static str, Value)>,
}

use Value::{Byte, Counted, Extensions, Numbers, Presences, Rest, U64, Varint};

/// The fields of any frame.
pub fn list(frame: &Frame<'_>) -> Listing {
    let (name, op, fields) = match frame {
        Frame::Client(frame) => match frame {
            ClientFrame::Ping(Ping { acked: 0 }) => ("PING", None, vec![]),
            ClientFrame::Hello(hello) => ("HELLO", Some(op::HELLO), list_hello(hello)),
            ClientFrame::Send(Send { key, change, body }) => {
                let mut fields = list_key(change_flag(*change), key);
                fields.extend(change.map(|change| ("target", Varint(change.target))));
                if !change.is_some_and(|change| change.delete) {
                    fields.push(("body", Rest(body.to_vec())));
                }
                ("SEND", Some(op::SEND), fields)
            }
            ClientFrame::Void(Void { key, hash }) => {
                let fields = [list_key(0, key), vec![("hash", U64(hash.0))]].concat();
                ("VOID", Some(op::VOID), fields)
            }
            ClientFrame::Ack(ack) => {
                ("ACK", Some(op::ACK), vec![("inbox_seq", Varint(ack.inbox_seq))])
            }
            ClientFrame::Ping(ping) => {
                ("PING", Some(op::PING), vec![("acked", Varint(ping.acked))])
            }
            ClientFrame::Close(close) => {
                ("CLIENT_CLOSE", Some(op::CLIENT_CLOSE), list_close(close))
            }
            other => listing_later::list_client(other),
        },
        Frame::Server(frame) => return list_server(frame),
    };
    Listing { name, op, fields }
}

fn list_server(frame: &ServerFrame<'_>) -> Listing {
    let (name, op, fields) = match frame {
        ServerFrame::Pong(Pong { head: 0 }) => ("PONG", None, vec![]),
        ServerFrame::Welcome(welcome) => ("WELCOME", Some(op::WELCOME), list_welcome(welcome)),
        ServerFrame::Sent(sent) => ("SENT", Some(op::SENT), list_sent(sent)),
        ServerFrame::OutOfOrder(OutOfOrder { key, next }) => {
            let fields = [list_key(0, key), vec![("next", Varint(*next))]].concat();
            ("OUT_OF_ORDER", Some(op::OUT_OF_ORDER), fields)
        }
        ServerFrame::Refused(refused) => {
            let mut fields = list_key(0, &refused.key);
            fields.push(("code", Varint(refused.code.number())));
            fields.push(("retry_after_ms", Varint(refused.retry_after_ms)));
            fields.push(("limit", Varint(refused.limit)));
            ("REFUSED", Some(op::REFUSED), fields)
        }
        ServerFrame::Deliver(deliver) => {
            let mut fields = vec![("d_inbox", Varint(deliver.d_inbox))];
            fields.extend(list_conv(deliver.conv));
            fields.push(("conv_seq", Varint(deliver.conv_seq)));
            fields.push(("time_ms", Varint(deliver.time_ms)));
            fields.push(("body", Rest(deliver.body.to_vec())));
            ("DELIVER", Some(op::DELIVER), fields)
        }
        ServerFrame::Own(own) => ("OWN", Some(op::OWN), list_own(own)),
        ServerFrame::CaughtUp(caught_up) => {
            ("CAUGHT_UP", Some(op::CAUGHT_UP), vec![("head", Varint(caught_up.head))])
        }
        ServerFrame::Pong(pong) => ("PONG", Some(op::PONG), vec![("head", Varint(pong.head))]),
        ServerFrame::GoAway(go_away) => {
            ("GOAWAY", Some(op::GOAWAY), vec![("after_ms", Varint(go_away.after_ms))])
        }
        ServerFrame::Close(close) => ("SERVER_CLOSE", Some(op::SERVER_CLOSE), list_close(close)),
        other => listing_later::list_server(other),
    };
    Listing { name, op, fields }
}

pub type Fields = Vec<(&'static str, Value)>;

fn list_hello(hello: &Hello<'_>) -> Fields {
    let mut fields = vec![
        ("version_min", Varint(hello.version_min)),
        ("version_max", Varint(hello.version_max)),
        ("features", Varint(hello.features)),
        ("outbox", U64(hello.outbox.0)),
        ("inbox_epoch", Varint(hello.inbox_epoch)),
        ("acked", Varint(hello.acked)),
        ("flags", Byte(if hello.foreground { flag::FOREGROUND } else { 0 })),
        ("token", Counted(hello.token.to_vec())),
    ];
    let texts = [(1, hello.name), (2, hello.platform)].into_iter();
    let texts = texts.filter(|(_, text)| !text.is_empty());
    let stated: Vec<_> = texts.map(|(tag, text)| (tag, text.as_bytes().to_vec())).collect();
    if !stated.is_empty() {
        fields.push(("extensions", Extensions(stated)));
    }
    fields
}

fn list_welcome(welcome: &Welcome) -> Fields {
    vec![
        ("version", Varint(welcome.version)),
        ("features", Varint(welcome.features)),
        ("user", Varint(welcome.user.get())),
        ("device", Varint(u64::from(welcome.device.0))),
        ("inbox_epoch", Varint(welcome.inbox_epoch)),
        ("verdict", Byte(verdict(welcome.verdict))),
        ("from", Varint(welcome.from)),
        ("head", Varint(welcome.head)),
        ("window_frames", Varint(welcome.window_frames)),
        ("window_bytes", Varint(welcome.window_bytes)),
        ("heartbeat_ms", Varint(welcome.heartbeat_ms)),
        ("server_time_ms", Varint(welcome.server_time_ms)),
        ("body_bytes_max", Varint(welcome.body_bytes_max)),
        ("visibility", Byte(welcome.privacy.visibility.number())),
        ("refuse_strangers", Byte(welcome.privacy.refuse_strangers.into())),
    ]
}

fn verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Resume => 0,
        Verdict::Snapshot(SnapshotReason::NewDevice) => 1,
        Verdict::Snapshot(SnapshotReason::Epoch) => 2,
        Verdict::Snapshot(SnapshotReason::TooFar) => 3,
    }
}

fn change_flag(change: Option<Change>) -> u8 {
    match change {
        None => 0,
        Some(Change { delete: false, .. }) => flag::EDIT,
        Some(Change { delete: true, .. }) => flag::DELETE,
    }
}

fn list_sent(sent: &Sent) -> Fields {
    let void = if sent.void { flag::VOID } else { 0 };
    let Answer::Fresh { level, conv_seq, time_ms, d_inbox } = sent.answer else {
        return list_key(void | flag::KNOWN, &sent.key);
    };
    let level = match level {
        AckLevel::Local => 0,
        AckLevel::Replicated => 1,
        AckLevel::Geo => 2,
    };
    let inbox = if d_inbox > 0 { flag::INBOX } else { 0 };
    let mut fields = list_key(void | inbox | level << flag::LEVEL_SHIFT, &sent.key);
    fields.push(("conv_seq", Varint(conv_seq)));
    fields.push(("time_ms", Varint(time_ms)));
    if d_inbox > 0 {
        fields.push(("d_inbox", Varint(d_inbox)));
    }
    fields
}

fn list_own(own: &Own) -> Fields {
    let mut fields = vec![
        ("d_inbox", Varint(own.d_inbox)),
        ("flags", Byte(change_flag(own.change) | if own.void { flag::VOID } else { 0 })),
    ];
    fields.extend(list_conv(own.conv));
    fields.push(("conv_seq", Varint(own.conv_seq)));
    fields.push(("time_ms", Varint(own.time_ms)));
    fields.push(("outbox", U64(own.outbox.0)));
    fields.push(("n", Varint(own.n)));
    fields.extend(own.change.map(|change| ("target", Varint(change.target))));
    fields.push(("hash", U64(own.hash.0)));
    fields
}

fn list_close(close: &Close<'_>) -> Fields {
    vec![
        ("code", Varint(close.code.number())),
        ("retry_after_ms", Varint(close.retry_after_ms)),
        ("reason", Counted(close.reason.as_bytes().to_vec())),
    ]
}

fn list_key(flags: u8, key: &SendKey) -> Fields {
    let mut fields = Vec::new();
    let outbox = if key.outbox.is_some() { flag::OUTBOX } else { 0 };
    fields.push(("flags", Byte(flags | outbox)));
    fields.extend(list_conv(key.conv));
    if let Some(outbox) = key.outbox {
        fields.push(("outbox", U64(outbox.0)));
    }
    fields.push(("n", Varint(key.n)));
    fields
}

pub fn list_conv(conv: Conv) -> Fields {
    let Conv::Direct(peer) = conv;
    vec![("kind", Byte(KIND_DIRECT)), ("peer", Varint(peer))]
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "frame = {}", self.name)?;
        if self.op.is_none() {
            writeln!(f, "empty")?;
        }
        self.fields.iter().try_for_each(|(name, value)| writeln!(f, "{name} = {value}"))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Byte(byte) => write!(f, "{byte:#04x}"),
            Varint(number) => write!(f, "{number}"),
            U64(number) => write!(f, "{number:#018x}"),
            Counted(bytes) | Rest(bytes) => {
                write!(f, "{} bytes", bytes.len())?;
                bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Numbers(numbers) => {
                write!(f, "{} items", numbers.len())?;
                numbers.iter().try_for_each(|number| write!(f, " {number}"))
            }
            Presences(users) => {
                write!(f, "{} items", users.len())?;
                let mut users = users.iter();
                users.try_for_each(|(user, state, version, seen)| {
                    write!(f, " {user}:{state}:{version}:{seen}")
                })
            }
            Extensions(extensions) => {
                write!(f, "{} items", extensions.len())?;
                extensions.iter().try_for_each(|(tag, bytes)| {
                    write!(f, " {tag}:")?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
                })
            }
        }
    }
}
