//! What is encoded decodes to the same frame, and no bytes make the decoder panic.

mod support;

use proptest::prelude::*;
use support::{Frame, content, encode};
use wire::*;

/// The frame's body where it has one; it goes to the frame's end.
fn body<'a>(frame: &Frame<'a>) -> Option<&'a [u8]> {
    match frame {
        Frame::Client(ClientFrame::Send(send)) => Some(send.body),
        Frame::Server(ServerFrame::Deliver(deliver)) => Some(deliver.body),
        Frame::Server(ServerFrame::Changed(changed)) => Some(changed.body),
        Frame::Server(ServerFrame::HistoryItem(item)) => match item.kind {
            HistoryKind::Message { body, .. } | HistoryKind::Edit { body, .. } => Some(body),
            _ => None,
        },
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_frame_survives(frame in support::arbitrary::frame()) {
        let bytes = encode(&frame);
        let content = content(&bytes);
        match &frame {
            Frame::Client(frame) => prop_assert_eq!(decode_client(content), Ok(frame.clone())),
            Frame::Server(frame) => prop_assert_eq!(decode_server(content), Ok(frame.clone())),
        }
        // HELLO has a limit of its own, and a client waits for nothing smaller than this.
        match (&frame, body(&frame)) {
            (Frame::Client(ClientFrame::Hello(_)), _) => {}
            (Frame::Client(ClientFrame::Watch(_)), _) => {
                prop_assert!(content.len() <= WATCH_BYTES_MAX);
            }
            (Frame::Server(ServerFrame::Welcome(_)), _) => {
                prop_assert!(content.len() <= HELLO_BYTES_MAX);
            }
            (_, Some(body)) => prop_assert!(bytes.len() <= body.len() + FRAME_OVERHEAD_MAX),
            (Frame::Client(_), None) => prop_assert!(bytes.len() <= FRAME_OVERHEAD_MAX),
            (Frame::Server(_), None) => prop_assert!(content.len() <= FRAME_BYTES_MAX),
        }
    }

    #[test]
    fn frames_append(first in support::arbitrary::frame(), second in support::arbitrary::frame()) {
        let mut bytes = encode(&first);
        match &second {
            Frame::Client(frame) => encode_client(&mut bytes, frame),
            Frame::Server(frame) => encode_server(&mut bytes, frame),
        }
        prop_assert_eq!(bytes, [encode(&first), encode(&second)].concat());
    }

    #[test]
    fn a_changed_byte_never_panics(
        frame in support::arbitrary::frame(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&frame);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = (decode_client(&bytes[1..]), decode_server(&bytes[1..]));
    }
}

#[test]
fn nothing_to_say_is_one_byte() {
    assert_eq!(encode(&Frame::Client(ClientFrame::Ping(Ping { acked: 0 }))), [0]);
    assert_eq!(encode(&Frame::Server(ServerFrame::Pong(Pong { head: 0 }))), [0]);
    assert_eq!(decode_client(&[]), Ok(ClientFrame::Ping(Ping { acked: 0 })));
    assert_eq!(decode_server(&[]), Ok(ServerFrame::Pong(Pong { head: 0 })));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let reason = format!("{}{}", "x".repeat(63), "ü".repeat(10));
    let close = Close { code: CloseCode::Malformed, retry_after_ms: 0, reason: &reason };
    let bytes = encode(&Frame::Server(ServerFrame::Close(close)));
    let Ok(ServerFrame::Close(close)) = decode_server(content(&bytes)) else { panic!() };
    assert_eq!(close.reason, "x".repeat(63));
}

#[test]
fn a_delivered_text_costs_few_bytes_over_its_body() {
    let deliver = Deliver {
        d_inbox: 1,
        conv: Conv::Direct(1 << 31),
        conv_seq: 100_000,
        time_ms: 1_900_000_000_000,
        body: b"see you at eight",
    };
    let bytes = encode(&Frame::Server(ServerFrame::Deliver(deliver)));
    assert!(bytes.len() - 16 <= 20, "{}", bytes.len() - 16);
}

#[test]
fn a_clipped_send_still_says_that_its_body_is_too_long() {
    let body = vec![7; 5_000];
    let key = SendKey { conv: Conv::Direct(u64::MAX), outbox: Some(OutboxId(1)), n: u64::MAX };
    let mut stream =
        encode(&Frame::Client(ClientFrame::Send(Send { key, change: None, body: &body })));
    stream.push(0);
    let (body_max, mut input, mut deframer) = (1_000, &stream[..], Deframer::default());
    let kept_max = body_max + FRAME_OVERHEAD_MAX;
    let refused = deframer.next_clipped(&mut input, kept_max, FRAME_BYTES_MAX, |content| {
        let Ok(ClientFrame::Send(send)) = decode_client(content) else { panic!() };
        send.key == key && send.body.len() > body_max
    });
    assert_eq!(refused, Ok(Some(true)));
    let next = deframer.next_clipped(&mut input, kept_max, FRAME_BYTES_MAX, <[u8]>::len);
    assert_eq!(next, Ok(Some(0)), "the connection goes on with the next frame");
}
