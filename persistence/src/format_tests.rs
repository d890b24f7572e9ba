//! FORMAT.md says what the code does, and the vectors hold what it did when it was released.

use crate::group::{self, Found, GroupHeader, find_group};
use crate::record_codec::{self as codec, encode_head};
use crate::record_decode::decode;
use crate::{ConvKey, InboxKind, InboxRecord, IoDone, IoOp, Log, LogConfig, MessageRecord, Record};
use crate::{FoundLog, Recovered};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use wire::{BodyHash, DeviceId, OutboxId, Reader, UserId};

const FORMAT: &str = include_str!("../FORMAT.md");
const FLOOR_US: u64 = 1_700_000_000_000_000;

/// The rows of the tables with this head, without their last column.
fn rows(head: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<&str> {
        line.trim_matches('|').split('|').map(str::trim).collect()
    };
    let mut lines = FORMAT.lines();
    let mut rows = Vec::new();
    while lines.by_ref().any(|line| line == head) {
        rows.extend(lines.by_ref().skip(1).take_while(|line| line.starts_with('|')).map(cells));
    }
    rows
}

/// The fields of one record's section.
fn fields(section: &str) -> Vec<Vec<&'static str>> {
    let start = FORMAT.find(&format!("### {section}\n")).expect(section);
    let lines = FORMAT[start..].lines().skip_while(|line| !line.starts_with("|---"));
    let lines = lines.skip(1).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn hex_number(text: &str) -> u8 {
    u8::from_str_radix(text.trim_start_matches("0x"), 16).expect(text)
}

#[test]
fn the_group_header_is_as_its_table_says() {
    let header = GroupHeader {
        previous: 12,
        generation: 16,
        position: 24,
        durable: 32,
        floor_us: 40,
        core: 48,
        cores: 50,
        segment: 52,
        segment_bytes: 56,
        offset: 60,
        length: group::HEADER_BYTES as u32,
        count: 68,
    };
    let mut bytes = vec![0; group::HEADER_BYTES];
    let crc = header.seal(&mut bytes);
    let mut end = 0;
    for row in rows("| offset | field | type | meaning |") {
        let (offset, width) = (row[0].parse::<usize>().unwrap(), row[2][1..].parse::<usize>());
        let width = width.unwrap() / 8;
        assert_eq!(offset, end, "{} follows the field before", row[1]);
        end = offset + width;
        let mut number = [0; 8];
        number[..width].copy_from_slice(&bytes[offset..end]);
        let expected = match row[1] {
            "magic" => u64::from(u32::from_le_bytes(*b"RMLG")),
            "version" => row[3].parse().unwrap(),
            "checksum" => u64::from(crc),
            "length" => group::HEADER_BYTES as u64,
            _ => offset as u64,
        };
        assert_eq!(u64::from_le_bytes(number), expected, "{}", row[1]);
    }
    assert_eq!(end, group::HEADER_BYTES);
    assert!(matches!(find_group(&bytes, 0), Found::Group(read, c) if read == header && c == crc));
}

#[test]
fn tags_and_flags_are_as_their_tables_say() {
    let tags = rows("| tag | record |");
    let tags: BTreeMap<_, _> = tags.iter().map(|row| (row[1], hex_number(row[0]))).collect();
    let known = [
        ("MESSAGE", codec::MESSAGE),
        ("INBOX_PEER", codec::INBOX_PEER),
        ("INBOX_OWN", codec::INBOX_OWN),
        ("INBOX_OWN_VOID", codec::INBOX_OWN_VOID),
        ("INBOX_NOTHING", codec::INBOX_NOTHING),
        ("CURSOR", codec::CURSOR),
        ("EPOCH", codec::EPOCH),
        ("CHECKPOINT", codec::CHECKPOINT),
    ];
    assert_eq!(tags, BTreeMap::from(known));
    let flags = rows("| flag | of | bit | meaning |");
    let flags: BTreeMap<_, _> = flags.iter().map(|row| (row[0], hex_number(row[2]))).collect();
    let known = [
        ("sender_high", codec::SENDER_HIGH),
        ("void", codec::VOID),
        ("new_outbox", codec::NEW_OUTBOX),
        ("mark_low", codec::MARK[0]),
        ("mark_high", codec::MARK[1]),
        ("inbox_low", codec::INBOX[0]),
        ("inbox_high", codec::INBOX[1]),
        ("user_high", codec::USER_HIGH),
    ];
    assert_eq!(flags, BTreeMap::from(known));
}

/// Which section of FORMAT.md describes a record, and its fields' values as numbers.
fn listing(record: &Record<'_>) -> (&'static str, BTreeMap<&'static str, u64>) {
    match record {
        Record::Message(m) => {
            let [low, high] = m.conv.participants();
            let hash = m.void.map_or(0, |hash| hash.0);
            let device = m.new_outbox_of.map_or(0, |device| device.0.into());
            (
                "MESSAGE",
                BTreeMap::from([
                    ("time", m.time_us),
                    ("low", low.get()),
                    ("high", high.get()),
                    ("conv_seq", m.conv_seq),
                    ("outbox", m.outbox.0),
                    ("n", m.n),
                    ("inbox_low", m.inbox[0]),
                    ("inbox_high", m.inbox[1]),
                    ("device", device),
                    ("hash", hash),
                    ("body", m.body.len() as u64),
                ]),
            )
        }
        Record::Inbox(i) => {
            let [low, high] = i.conv.participants();
            let mut fields = BTreeMap::from([
                ("time", i.time_us),
                ("low", low.get()),
                ("high", high.get()),
                ("conv_seq", i.conv_seq),
                ("inbox_seq", i.inbox_seq),
            ]);
            let section = match i.kind {
                InboxKind::Peer { body } => {
                    fields.insert("body", body.len() as u64);
                    "INBOX_PEER"
                }
                InboxKind::Own { outbox, n, hash, .. } => {
                    fields.extend([("outbox", outbox.0), ("n", n), ("hash", hash.0)]);
                    "INBOX_OWN"
                }
                InboxKind::Nothing => "INBOX_NOTHING",
            };
            (section, fields)
        }
        Record::Cursor { user, device, acked } => (
            "CURSOR",
            BTreeMap::from([("user", user.get()), ("device", device.0.into()), ("acked", *acked)]),
        ),
        Record::Epoch { user, epoch } => {
            ("EPOCH", BTreeMap::from([("user", user.get()), ("epoch", *epoch)]))
        }
        Record::Checkpoint { flushed, confirmed } => {
            ("CHECKPOINT", BTreeMap::from([("flushed", *flushed), ("confirmed", *confirmed)]))
        }
    }
}

/// Reads a record with nothing but the tables.
fn read_by_table(section: &str, bytes: &[u8], floor_us: u64) -> BTreeMap<&'static str, u64> {
    let mut r = Reader::new(bytes);
    let tag = r.byte("tag").unwrap();
    let flags = rows("| flag | of | bit | meaning |");
    let mut values = BTreeMap::new();
    for row in fields(section) {
        let flag = flags.iter().find(|flag| flag[0] == row[2]);
        if flag.is_some_and(|flag| tag & hex_number(flag[2]) == 0) {
            continue;
        }
        assert!(flag.is_some() || row[2] == "always", "{}", row[2]);
        let unzigzag = |z: u64| (z >> 1) ^ (z & 1).wrapping_neg();
        let value = match row[1] {
            "varint" => r.varint(row[0]).unwrap(),
            "u64" => r.u64_le(row[0]).unwrap(),
            "time" => floor_us.wrapping_add(unzigzag(r.varint(row[0]).unwrap())),
            "near" => u64::wrapping_add(values["conv_seq"], unzigzag(r.varint(row[0]).unwrap())),
            "rest" => r.rest().len() as u64,
            other => panic!("{other}"),
        };
        values.insert(row[0], value);
    }
    r.end("record").unwrap();
    values
}

fn encoded(record: &Record<'_>, floor_us: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = encode_head(&mut bytes, record, floor_us);
    bytes.extend_from_slice(body);
    bytes
}

static BODY: [u8; 300] = [0x5a; 300];

/// A number of any length.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(number, shift)| number >> shift)
}

fn conv() -> impl Strategy<Value = ConvKey> {
    (number(), number())
        .prop_filter_map("two users", |(a, b)| ConvKey::new(UserId::new(a)?, UserId::new(b)?))
}

fn body() -> impl Strategy<Value = &'static [u8]> {
    (0..=BODY.len()).prop_map(|len| &BODY[..len])
}

fn message() -> impl Strategy<Value = Record<'static>> {
    let place = (conv(), number(), number(), any::<bool>(), number(), number());
    let parts = (
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u64>()),
        [number(), number()],
        any::<[bool; 2]>(),
        body(),
    );
    (place, parts).prop_map(|((conv, conv_seq, time_us, high, outbox, n), parts)| {
        let (device, void, inbox, marks, body) = parts;
        Record::Message(MessageRecord {
            conv,
            conv_seq,
            time_us,
            sender: conv.participants()[usize::from(high)],
            outbox: OutboxId(outbox),
            new_outbox_of: device.map(DeviceId),
            n,
            void: void.map(BodyHash),
            inbox,
            marks,
            body: if void.is_some() { &[] } else { body },
        })
    })
}

fn inbox() -> impl Strategy<Value = Record<'static>> {
    let own = (number(), number(), any::<bool>(), any::<u64>());
    let own = own.prop_map(|(outbox, n, void, hash)| InboxKind::Own {
        outbox: OutboxId(outbox),
        n,
        void,
        hash: BodyHash(hash),
    });
    let peer = body().prop_map(|body| InboxKind::Peer { body });
    let kind = prop_oneof![own, peer, Just(InboxKind::Nothing)];
    (conv(), any::<bool>(), number(), number(), number(), kind).prop_map(
        |(conv, high, inbox_seq, conv_seq, time_us, kind)| {
            let inbox_seq = if kind == InboxKind::Nothing { 0 } else { inbox_seq };
            let user = conv.participants()[usize::from(high)];
            Record::Inbox(InboxRecord { user, inbox_seq, conv, conv_seq, time_us, kind })
        },
    )
}

fn record() -> impl Strategy<Value = Record<'static>> {
    let user = || number().prop_filter_map("a user", UserId::new);
    let device = any::<u32>().prop_map(DeviceId);
    prop_oneof![
        4 => message(),
        3 => inbox(),
        1 => (user(), device, number())
            .prop_map(|(user, device, acked)| Record::Cursor { user, device, acked }),
        1 => (user(), number()).prop_map(|(user, epoch)| Record::Epoch { user, epoch }),
        1 => (number(), number())
            .prop_map(|(flushed, confirmed)| Record::Checkpoint { flushed, confirmed }),
    ]
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record(), floor_us in number()) {
        let bytes = encoded(&record, floor_us);
        prop_assert_eq!(decode(&bytes, floor_us), Ok(record.clone()));
        let overhead = bytes.len() + 10 - listing(&record).1.get("body").map_or(0, |b| *b as usize);
        prop_assert!(overhead <= codec::RECORD_OVERHEAD_MAX);
    }

    #[test]
    fn a_record_is_written_as_the_tables_say(record in record(), floor_us in number()) {
        let (section, mut listed) = listing(&record);
        let read = read_by_table(section, &encoded(&record, floor_us), floor_us);
        listed.retain(|field, value| read.contains_key(field) || *value != 0 && *field != "hash");
        if matches!(&record, Record::Message(m) if m.new_outbox_of.is_none()) {
            listed.remove("device");
        }
        prop_assert_eq!(read, listed);
    }

    #[test]
    fn any_bytes_are_one_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(record) = decode(&bytes, FLOOR_US) {
            prop_assert_eq!(encoded(&record, FLOOR_US), bytes, "one spelling");
        }
    }

    #[test]
    fn a_changed_record_is_another_record_or_an_error(
        record in record(), at in any::<prop::sample::Index>(), bit in 0u32..8
    ) {
        let mut bytes = encoded(&record, FLOOR_US);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert_ne!(decode(&bytes, FLOOR_US), Ok(record));
    }
}

fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

/// One record of every kind, with and without every part.
fn examples() -> Vec<(&'static str, Record<'static>)> {
    let conv = ConvKey::new(user(1_000), user(2_000)).expect("two");
    let message = MessageRecord {
        conv,
        conv_seq: 17,
        time_us: FLOOR_US + 1_234,
        sender: user(1_000),
        outbox: OutboxId(0x0123_4567_89ab_cdef),
        new_outbox_of: None,
        n: 9,
        void: None,
        inbox: [20, 16],
        marks: [true, true],
        body: b"good morning",
    };
    let first = MessageRecord { new_outbox_of: Some(DeviceId(3)), n: 1, ..message.clone() };
    let owed = MessageRecord {
        sender: user(2_000),
        inbox: [0, 300],
        marks: [false, true],
        ..message.clone()
    };
    let void =
        MessageRecord { void: Some(BodyHash(7)), inbox: [20, 0], body: b"", ..message.clone() };
    let inbox = |kind| InboxRecord {
        user: user(2_000),
        inbox_seq: 16,
        conv,
        conv_seq: 17,
        time_us: FLOOR_US - 5,
        kind,
    };
    let (outbox, hash) = (OutboxId(0x0123_4567_89ab_cdef), BodyHash(u64::MAX));
    let own = |void| Record::Inbox(inbox(InboxKind::Own { outbox, n: 9, void, hash }));
    let nothing = InboxRecord { inbox_seq: 0, ..inbox(InboxKind::Nothing) };
    let low = InboxRecord { user: user(1_000), ..inbox(InboxKind::Peer { body: b"hi" }) };
    vec![
        ("message", Record::Message(message)),
        ("message-first-of-outbox", Record::Message(first)),
        ("message-owed", Record::Message(owed)),
        ("message-void", Record::Message(void)),
        ("inbox-peer", Record::Inbox(inbox(InboxKind::Peer { body: b"hi" }))),
        ("inbox-peer-low", Record::Inbox(low)),
        ("inbox-own", own(false)),
        ("inbox-own-void", own(true)),
        ("inbox-nothing", Record::Inbox(nothing)),
        ("cursor", Record::Cursor { user: user(5), device: DeviceId(u32::MAX), acked: u64::MAX }),
        ("epoch", Record::Epoch { user: user(u64::MAX), epoch: 2 }),
        ("checkpoint", Record::Checkpoint { flushed: 4096, confirmed: 0 }),
    ]
}

/// Bytes that are no record, and why.
fn counterexamples() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", vec![]),
        ("unknown-tag", vec![0x05]),
        ("cursor-with-a-flag", vec![0x50, 1, 1, 1]),
        ("user-0", vec![0x11, 0, 1]),
        ("device-too-long", vec![0x10, 1, 0xff, 0xff, 0xff, 0xff, 0x1f, 1]),
        ("bytes-behind", vec![0x12, 1, 1, 1]),
        ("users-out-of-order", vec![0x04, 0, 2, 1, 1]),
        ("oneself", vec![0x04, 0, 2, 2, 1]),
        ("inbox-number-0", vec![0xa0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
        ("void-with-a-body", [&[0x82, 0, 1, 2, 1][..], &[0; 8], &[1], &[7; 8], &[1]].concat()),
        ("superfluous-byte", vec![0x11, 0x81, 0x00, 1]),
        ("cut-off", vec![0x12, 1]),
    ]
}

/// A log of two groups, the second generation over an older one.
fn example_groups() -> Vec<u8> {
    let config = LogConfig { segment_bytes: 16_384, group_bytes_max: 8_192, writes_max: 1 };
    let written = |recovered: &Recovered, rounds: usize| {
        let mut log = Log::start(config.clone(), recovered.deal(0, 1));
        let mut segment = vec![0; config.segment_bytes as usize];
        for _ in 0..rounds {
            for (_, record) in examples() {
                log.append(&record);
            }
            while let Some(op) = log.poll() {
                match op {
                    IoOp::Prepare { segment } => log.complete(IoDone::Prepared { segment }),
                    IoOp::Write { id, offset, bytes, .. } => {
                        let offset = offset as usize;
                        segment[offset..offset + bytes.len()].copy_from_slice(&bytes);
                        log.complete(IoDone::Written { id })
                    }
                    other => panic!("{other:?}"),
                };
            }
        }
        segment
    };
    let first = written(&Recovered::read(vec![]).expect("nothing"), 1);
    let log = FoundLog { generation: 1, core: 0, segments: vec![(0, first.into())] };
    let empty = FoundLog { generation: 1, core: 1, segments: vec![] };
    written(&Recovered::read(vec![log, empty]).expect("sound"), 2)[..8_192].to_vec()
}

/// All vectors: name, bytes, text.
fn vectors() -> Vec<(String, Vec<u8>, String)> {
    let mut vectors = Vec::new();
    for (index, (name, record)) in examples().into_iter().enumerate() {
        let text = format!("floor_us = {FLOOR_US}\n{record:#?}\n");
        vectors.push((format!("ok/{:03}-{name}", index + 1), encoded(&record, FLOOR_US), text));
    }
    let groups = example_groups();
    let mut text = String::new();
    for offset in [0, 4_096] {
        let Found::Group(header, crc) = find_group(&groups, offset) else { panic!("a group") };
        writeln!(text, "checksum = {crc:#010x}\n{header:#?}").unwrap();
    }
    let (fences, _) = group::decode_log_header(&groups[group::HEADER_BYTES..]).unwrap();
    writeln!(text, "{fences:#?}").unwrap();
    vectors.push((format!("ok/{:03}-two-groups", vectors.len() + 1), groups, text));
    for (index, (name, bytes)) in counterexamples().into_iter().enumerate() {
        let text = format!("{}\n", decode(&bytes, FLOOR_US).expect_err(name));
        vectors.push((format!("err/{:03}-{name}", index + 1), bytes, text));
    }
    vectors
}

/// `BLESS=1 cargo test` writes the files anew: only for a new version of the format.
#[test]
fn vectors_are_as_they_were_released() {
    let folder = format!("{}/vectors", env!("CARGO_MANIFEST_DIR"));
    let mut files = 0;
    for (name, bytes, text) in vectors() {
        let mut hex = String::new();
        for line in bytes.chunks(32) {
            let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(hex, "{}", line.join(" ")).unwrap();
        }
        for (extension, content) in [("hex", hex), ("txt", text)] {
            let path = format!("{folder}/{name}.{extension}");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, &content).unwrap();
            }
            assert_eq!(std::fs::read_to_string(&path).expect(&path), content, "{path}");
            files += 1;
        }
    }
    let count = |side| std::fs::read_dir(format!("{folder}/{side}")).unwrap().count();
    assert_eq!(files, count("ok") + count("err"), "no file without a test");
}

#[test]
fn every_truncated_record_is_an_error_or_a_shorter_body() {
    for (name, record) in examples() {
        let bytes = encoded(&record, FLOOR_US);
        for end in 0..bytes.len() {
            let Ok(cut) = decode(&bytes[..end], FLOOR_US) else { continue };
            let (section, mut whole) = listing(&record);
            let body = whole.get_mut("body").expect(name);
            *body -= (bytes.len() - end) as u64;
            assert_eq!(listing(&cut), (section, whole), "{name} cut at {end}");
        }
    }
}

#[test]
fn a_message_on_one_core_costs_at_most_24_bytes_over_its_body() {
    let config = LogConfig { segment_bytes: 1 << 20, group_bytes_max: 1 << 18, writes_max: 1 };
    let mut log = Log::start(config, Recovered::read(vec![]).expect("nothing").deal(0, 1));
    let (count, body) = (2_000, 100);
    let start = log.end().0;
    for n in 0..count {
        // 2,000 messages in 10 ms between users below 16,384, about the 1,000th of each pair.
        log.append(&Record::Message(MessageRecord {
            conv: ConvKey::new(user(1 + n % 16_000), user(16_001 + n % 300)).expect("two"),
            conv_seq: 1_000 + n % 50,
            time_us: FLOOR_US + n * 5,
            sender: user(1 + n % 16_000),
            outbox: OutboxId(n << 40),
            new_outbox_of: None,
            n: 500,
            void: None,
            inbox: [1_020, 1_050],
            marks: [true, true],
            body: &BODY[..body],
        }));
    }
    let bytes = log.end().0 - start;
    assert!(bytes <= count * (body as u64 + 24), "{} a message", bytes / count);
}
