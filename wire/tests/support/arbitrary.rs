//! Any frame that a peer may send, by proptest.

use super::{Frame, arbitrary_later};
use proptest::prelude::*;
use wire::*;

/// Numbers of every length.
pub fn number() -> impl Strategy<Value = u64> + Clone {
    (0u32..64, any::<u64>()).prop_map(|(shift, value)| value >> shift)
}

pub fn body() -> impl Strategy<Value = &'static [u8]> + Clone {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 100..300),
        1 => Just(vec![7; BODY_BYTES_MAX]),
    ]
    .prop_map(|bytes| &*bytes.leak())
}

fn key() -> impl Strategy<Value = SendKey> + Clone {
    (number(), any::<Option<u64>>(), number()).prop_map(|(peer, outbox, n)| SendKey {
        conv: Conv::Direct(peer),
        outbox: outbox.map(OutboxId),
        n,
    })
}

fn close() -> impl Strategy<Value = Close<'static>> + Clone {
    (prop::sample::select(CloseCode::ALL), number(), ".{0,16}").prop_map(
        |(code, retry_after_ms, reason)| Close { code, retry_after_ms, reason: reason.leak() },
    )
}

/// At most so many bytes, often exactly so many.
pub fn text(bytes_max: usize) -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![
        3 => ".{0,7}".prop_map(|text| &*text.leak()),
        1 => Just("x".repeat(bytes_max)).prop_map(|text| &*text.leak()),
    ]
}

/// A change, or none.
pub fn change() -> impl Strategy<Value = Option<Change>> + Clone {
    let change = (number(), any::<bool>());
    prop_oneof![Just(None), change.prop_map(|(target, delete)| Some(Change { target, delete }))]
}

fn hello() -> impl Strategy<Value = Hello<'static>> + Clone {
    let numbers = (number(), number(), number(), any::<u64>(), number(), number());
    let texts = (text(NAME_BYTES_MAX), text(PLATFORM_BYTES_MAX));
    (numbers, any::<bool>(), texts, body()).prop_map(|(numbers, foreground, texts, token)| Hello {
        version_min: numbers.0,
        version_max: numbers.1,
        features: numbers.2,
        outbox: OutboxId(numbers.3),
        inbox_epoch: numbers.4,
        acked: numbers.5,
        foreground,
        name: texts.0,
        platform: texts.1,
        token,
    })
}

fn welcome() -> impl Strategy<Value = Welcome> + Clone {
    let verdicts = prop_oneof![
        Just(Verdict::Resume),
        Just(Verdict::Snapshot(SnapshotReason::NewDevice)),
        Just(Verdict::Snapshot(SnapshotReason::Epoch)),
        Just(Verdict::Snapshot(SnapshotReason::TooFar)),
    ];
    let who = (1..=u64::MAX, any::<u32>(), verdicts, arbitrary_later::privacy());
    (who, prop::array::uniform10(number())).prop_map(|(who, numbers)| Welcome {
        version: numbers[0],
        features: numbers[1],
        user: UserId::new(who.0).expect("not 0"),
        device: DeviceId(who.1),
        inbox_epoch: numbers[2],
        verdict: who.2,
        privacy: who.3,
        from: numbers[3],
        head: numbers[4],
        window_frames: numbers[5],
        window_bytes: numbers[6],
        heartbeat_ms: numbers[7],
        server_time_ms: numbers[8],
        body_bytes_max: numbers[9],
    })
}

fn answer() -> impl Strategy<Value = Answer> + Clone {
    let levels = prop::sample::select(&[AckLevel::Local, AckLevel::Replicated, AckLevel::Geo][..]);
    let fresh = (levels, number(), number(), number());
    prop_oneof![
        Just(Answer::Known),
        fresh.prop_map(|(level, conv_seq, time_ms, d_inbox)| Answer::Fresh {
            level,
            conv_seq,
            time_ms,
            d_inbox
        }),
    ]
}

fn own() -> impl Strategy<Value = Own> + Clone {
    let numbers = prop::array::uniform5(number());
    (1..=u64::MAX, numbers, any::<bool>(), change(), any::<u64>()).prop_map(
        |(d_inbox, numbers, void, change, hash)| Own {
            d_inbox,
            conv: Conv::Direct(numbers[0]),
            conv_seq: numbers[1],
            time_ms: numbers[2],
            outbox: OutboxId(numbers[3]),
            n: numbers[4],
            void,
            change: change.filter(|_| !void),
            hash: BodyHash(hash),
        },
    )
}

fn client() -> impl Strategy<Value = ClientFrame<'static>> + Clone {
    prop_oneof![
        hello().prop_map(ClientFrame::Hello),
        (key(), change(), body()).prop_map(|(key, change, body)| {
            let deletes = change.is_some_and(|change| change.delete);
            ClientFrame::Send(Send { key, change, body: if deletes { &[] } else { body } })
        }),
        (key(), any::<u64>())
            .prop_map(|(key, hash)| ClientFrame::Void(Void { key, hash: BodyHash(hash) })),
        number().prop_map(|inbox_seq| ClientFrame::Ack(Ack { inbox_seq })),
        number().prop_map(|acked| ClientFrame::Ping(Ping { acked })),
        close().prop_map(ClientFrame::Close),
        arbitrary_later::client(),
        arbitrary_later::client(),
    ]
}

fn server() -> impl Strategy<Value = ServerFrame<'static>> + Clone {
    let refusals = prop::sample::select(RefusalCode::ALL);
    prop_oneof![
        welcome().prop_map(ServerFrame::Welcome),
        (key(), any::<bool>(), answer()).prop_map(|(key, void, answer)| ServerFrame::Sent(Sent {
            key,
            void,
            answer
        })),
        (key(), number()).prop_map(|(key, next)| ServerFrame::OutOfOrder(OutOfOrder { key, next })),
        (key(), refusals, number(), number()).prop_map(|(key, code, retry_after_ms, limit)| {
            ServerFrame::Refused(Refused { key, code, retry_after_ms, limit })
        }),
        (1..=u64::MAX, prop::array::uniform3(number()), body()).prop_map(
            |(d_inbox, [peer, conv_seq, time_ms], body)| {
                let conv = Conv::Direct(peer);
                ServerFrame::Deliver(Deliver { d_inbox, conv, conv_seq, time_ms, body })
            }
        ),
        own().prop_map(ServerFrame::Own),
        number().prop_map(|head| ServerFrame::CaughtUp(CaughtUp { head })),
        number().prop_map(|head| ServerFrame::Pong(Pong { head })),
        number().prop_map(|after_ms| ServerFrame::GoAway(GoAway { after_ms })),
        close().prop_map(ServerFrame::Close),
        arbitrary_later::entry(),
        arbitrary_later::page(),
    ]
}

/// A frame of either side.
pub fn frame() -> impl Strategy<Value = Frame<'static>> {
    prop_oneof![client().prop_map(Frame::Client), server().prop_map(Frame::Server)]
}
