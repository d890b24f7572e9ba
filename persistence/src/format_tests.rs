//! FORMAT.md says what the code does, and the vectors hold what it did when it was released.

use crate::format_samples::*;
use crate::group::{self, Found, GroupHeader, find_group};
use crate::record_codec::{self as codec, encode_head};
use crate::record_decode::decode;
use crate::{ConvKey, FoundLog, IoDone, IoOp, Log, LogConfig, MessageRecord, Record, Recovered};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use wire::{OutboxId, Reader};

const FORMAT: &str = include_str!("../FORMAT.md");
/// Head of the table of flags.
const FLAGS: &str = "| flag | of | in | bit | meaning |";

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
        ("INBOX_HIDDEN", codec::INBOX_HIDDEN),
        ("INBOX_PEER_EDIT", codec::INBOX_PEER_EDIT),
        ("INBOX_PEER_DELETE", codec::INBOX_PEER_DELETE),
        ("INBOX_OWN_EDIT", codec::INBOX_OWN_EDIT),
        ("INBOX_OWN_DELETE", codec::INBOX_OWN_DELETE),
        ("READ", codec::READ),
        ("DELIVERED", codec::DELIVERED),
        ("RECEIPT", codec::RECEIPT),
        ("CURSOR", codec::CURSOR),
        ("EPOCH", codec::EPOCH),
        ("CHECKPOINT", codec::CHECKPOINT),
        ("COMMAND", codec::COMMAND),
        ("DEVICE", codec::DEVICE),
        ("LAST_SEEN", codec::LAST_SEEN),
        ("TRIM", codec::TRIM),
    ];
    assert_eq!(tags, BTreeMap::from(known));
    let flags = rows(FLAGS);
    let flags: BTreeMap<_, _> =
        flags.iter().map(|row| (row[0], (row[2], hex_number(row[3])))).collect();
    let known = [
        ("sender_high", ("tag", codec::SENDER_HIGH)),
        ("extra", ("tag", codec::EXTRA)),
        ("new_outbox", ("tag", codec::NEW_OUTBOX)),
        ("mark_low", ("tag", codec::MARK[0])),
        ("mark_high", ("tag", codec::MARK[1])),
        ("inbox_low", ("tag", codec::INBOX[0])),
        ("inbox_high", ("tag", codec::INBOX[1])),
        ("void", ("extra", codec::VOID)),
        ("hidden_low", ("extra", codec::HIDDEN[0])),
        ("hidden_high", ("extra", codec::HIDDEN[1])),
        ("edit", ("extra", codec::EDIT)),
        ("delete", ("extra", codec::DELETE)),
        ("user_high", ("tag", codec::USER_HIGH)),
        ("first_command", ("tag", codec::FIRST_COMMAND)),
        ("revoked", ("tag", codec::REVOKED)),
    ];
    assert_eq!(flags, BTreeMap::from(known));
}

/// Reads a record with nothing but the tables.
fn read_by_table(section: &str, bytes: &[u8], floor_us: u64) -> Listed {
    let mut r = Reader::new(bytes);
    let tag = r.byte("tag").unwrap();
    let flags = rows(FLAGS);
    let bit = |name: &str, of: &str| {
        let row = flags.iter().find(|row| row[0] == name && row[2] == of);
        row.map(|row| hex_number(row[3]))
    };
    let with_extra = section == "MESSAGE" && tag & bit("extra", "tag").unwrap() != 0;
    let extra = if with_extra { r.byte("extra").unwrap() } else { 0 };
    let set = |name: &str| match (bit(name, "tag"), bit(name, "extra")) {
        (Some(bit), _) => tag & bit != 0,
        (_, Some(bit)) => extra & bit != 0,
        _ => panic!("{name} is no flag"),
    };
    let mut values = Listed::new();
    for row in fields(section) {
        if row[2] != "always" && !row[2].split(" or ").any(set) {
            continue;
        }
        let unzigzag = |z: u64| (z >> 1) ^ (z & 1).wrapping_neg();
        let value = match row[1] {
            "varint" => r.varint(row[0]).unwrap(),
            "u64" => r.u64_le(row[0]).unwrap(),
            "time" => floor_us.wrapping_add(unzigzag(r.varint(row[0]).unwrap())),
            "near" => u64::wrapping_add(values["conv_seq"], unzigzag(r.varint(row[0]).unwrap())),
            "rest" => r.rest().len() as u64,
            "text" => {
                let length = r.varint(row[0]).unwrap();
                r.take(length as usize, row[0]).unwrap().len() as u64
            }
            "marks" => {
                let count = r.varint(row[0]).unwrap();
                digest((0..count).map(|_| r.varint(row[0]).unwrap()))
            }
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

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record(), floor_us in number()) {
        let bytes = encoded(&record, floor_us);
        prop_assert_eq!(decode(&bytes, floor_us), Ok(record.clone()));
        let bytes_max = codec::RECORD_OVERHEAD_MAX + long_part_max(&record);
        prop_assert!(bytes.len() + 10 <= bytes_max, "{} of {:?}", bytes.len(), record);
    }

    #[test]
    fn a_record_is_written_as_the_tables_say(record in record(), floor_us in number()) {
        let (section, listed) = listing(&record);
        prop_assert_eq!(read_by_table(section, &encoded(&record, floor_us), floor_us), listed);
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

/// Bytes that are no record, and why.
fn counterexamples() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", vec![]),
        ("unknown-tag", vec![0x0d]),
        ("cursor-with-a-flag", vec![0x50, 1, 1, 1]),
        ("user-0", vec![0x11, 0, 1]),
        ("device-too-long", vec![0x10, 1, 0xff, 0xff, 0xff, 0xff, 0x1f, 1]),
        ("bytes-behind", vec![0x12, 1, 1, 1]),
        ("users-out-of-order", vec![0x04, 0, 2, 1, 1]),
        ("oneself", vec![0x04, 0, 2, 2, 1]),
        ("inbox-number-0", vec![0xa0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
        ("void-with-a-body", [&[0x82, 1, 0, 1, 2, 1][..], &[0; 8], &[1], &[7; 8], &[1]].concat()),
        ("extra-without-a-flag", [&[0x82, 0, 0, 1, 2, 1][..], &[0; 8], &[1]].concat()),
        ("extra-unknown", [&[0x82, 0x20, 0, 1, 2, 1][..], &[0; 8], &[1]].concat()),
        ("edit-and-delete", [&[0x82, 0x18, 0, 1, 2, 9][..], &[0; 8], &[1, 1]].concat()),
        ("edit-of-itself", [&[0x82, 0x08, 0, 1, 2, 9][..], &[0; 8], &[1, 0]].concat()),
        ("edit-of-nothing", [&[0x82, 0x08, 0, 1, 2, 9][..], &[0; 8], &[1, 17]].concat()),
        ("delete-with-a-body", [&[0x82, 0x10, 0, 1, 2, 9][..], &[0; 8], &[1, 1, 7]].concat()),
        ("hidden-with-an-entry", [&[0xa2, 0x02, 0, 1, 2, 1][..], &[0; 8], &[1, 2]].concat()),
        ("inbox-delete-with-a-body", vec![0x07, 0, 1, 2, 9, 0, 1, 7]),
        ("read-with-a-flag", vec![0x2a, 1, 2, 1, 1]),
        ("marks-that-grow", vec![0x0c, 1, 2, 1, 1, 2, 4, 5]),
        ("marks-missing", vec![0x0c, 1, 2, 1, 1, 3, 5, 4]),
        ("command-without-entry", [&[0x13, 1, 0][..], &[0; 8], &[1, 9, 0, 0]].concat()),
        ("command-of-no-kind", [&[0x13, 1, 0][..], &[0; 8], &[1, 0, 5, 0xff]].concat()),
        ("command-about-oneself", [&[0x13, 1, 0][..], &[0; 8], &[1, 0, 5, 5, 1]].concat()),
        ("name-too-long", vec![0x14, 1, 1, 0, 0, 9, 0x61]),
        ("name-no-text", vec![0x14, 1, 1, 0, 0, 1, 0xff]),
        ("platform-no-text", vec![0x14, 1, 1, 0, 0, 1, 0x61, 0xff]),
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
            let last = *fields(section).last().expect(name).first().expect(name);
            let rest = whole.get_mut(last).expect(name);
            *rest -= (bytes.len() - end) as u64;
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
            hidden: [false; 2],
            change: None,
            body: &BODY[..body],
        }));
    }
    let bytes = log.end().0 - start;
    assert!(bytes <= count * (body as u64 + 24), "{} a message", bytes / count);
}
