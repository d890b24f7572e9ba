//! The tables of PROTOCOL.md say what the code does.

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use support::listing::{Listing, Value, list};
use support::tables::{PROTOCOL, Table, flag_bits, layouts, number, table, tables};
use support::{Frame, content, encode};
use wire::*;

/// Encodes a listing with nothing but the tables.
fn encode_by_table(listing: &Listing) -> Vec<u8> {
    let Some(op) = listing.op else { return vec![0] };
    let layout = &layouts()[&(op, listing.name.to_owned())];
    let bits = flag_bits(listing.name);
    let mut fields: BTreeMap<_, _> = listing.fields.iter().cloned().collect();
    let flags = match fields.get("flags") {
        Some(Value::Byte(flags)) => *flags,
        _ => 0,
    };
    let mut content = vec![op];
    for [field, kind, condition] in layout {
        let holds = match condition.strip_prefix("not ") {
            Some(name) => flags & bits[name] == 0,
            None => condition.is_empty() || flags & bits[condition] != 0,
        };
        let value = if holds { fields.remove(field.as_str()) } else { None };
        match (kind.as_str(), value) {
            ("byte", Some(Value::Byte(byte))) => content.push(byte),
            ("varint", Some(Value::Varint(number))) => put_varint(&mut content, number),
            ("u64", Some(Value::U64(number))) => content.extend(number.to_le_bytes()),
            ("counted", Some(Value::Counted(bytes))) => {
                put_varint(&mut content, bytes.len() as u64);
                content.extend(bytes);
            }
            ("rest", Some(Value::Rest(bytes))) => content.extend(bytes),
            ("extensions", None) => {}
            (_, None) => assert!(!holds, "{} has no {field}", listing.name),
            (kind, value) => panic!("{}: {field} is {value:?}, no {kind}", listing.name),
        }
    }
    assert!(fields.is_empty(), "{}: {fields:?} is in no table", listing.name);
    let mut frame = Vec::new();
    put_varint(&mut frame, content.len() as u64);
    frame.extend(content);
    frame
}

proptest! {
    #[test]
    fn the_encoder_writes_what_the_tables_say(frame in support::arbitrary::frame()) {
        prop_assert_eq!(encode_by_table(&list(&frame)), encode(&frame));
    }

    #[test]
    fn flags_that_no_table_lists_are_malformed(
        frame in support::arbitrary::frame(), bit in 0u8..8
    ) {
        let listing = list(&frame);
        let known = flag_bits(listing.name).values().fold(0, |known, bit| known | bit);
        let mut changed = listing.fields;
        let flags = changed.iter_mut().find_map(|field| match field {
            ("flags", Value::Byte(flags)) => Some(flags),
            _ => None,
        });
        if let Some(flags) = flags.filter(|_| known & (1u8 << bit) == 0) {
            *flags |= 1u8 << bit;
            let bytes = encode_by_table(&Listing { fields: changed, ..listing });
            match &frame {
                Frame::Client(hello @ ClientFrame::Hello(_)) => {
                    prop_assert_eq!(&decode_client(content(&bytes)), &Ok(hello.clone()));
                }
                Frame::Client(_) => prop_assert!(decode_client(content(&bytes)).is_err()),
                Frame::Server(_) => prop_assert!(decode_server(content(&bytes)).is_err()),
            }
        }
    }
}

#[test]
fn the_list_of_frames_is_complete_and_exclusive() {
    let rows = table(&["type", "name", "sender", "what it says"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (number(&row[0]) as u8, row[1].clone())).collect();
    assert!(layouts().into_keys().eq(listed.iter().cloned()), "one table a frame, in order");
    for op in 0..=u8::MAX {
        let sender = rows.iter().find(|row| number(&row[0]) as u8 == op).map(|row| &*row[2]);
        let unknown = DecodeError::UnknownType(op);
        assert_eq!(decode_client(&[op]) != Err(unknown), sender == Some("client"), "{op:#04x}");
        assert_eq!(decode_server(&[op]) != Err(unknown), sender == Some("server"), "{op:#04x}");
    }
}

#[test]
fn flags_have_the_listed_bits() {
    let rows = table(&["bit", "name", "frames", "meaning"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (&*row[1], number(&row[0]) as u8)).collect();
    let coded = [
        ("FOREGROUND", flag::FOREGROUND),
        ("OUTBOX", flag::OUTBOX),
        ("VOID", flag::VOID),
        ("KNOWN", flag::KNOWN),
        ("INBOX", flag::INBOX),
        ("LEVEL", 3 << flag::LEVEL_SHIFT),
    ];
    assert_eq!(listed, coded);
    // The flags named in a frame's table are those that list the frame.
    for ((_, frame), rows) in layouts() {
        let row = tables().into_iter().find(|table| table.heading.ends_with(&format!(" {frame}")));
        let rows_with_meaning = row.expect("a table").rows;
        let flags = rows_with_meaning.iter().find(|row| row[0] == "flags");
        let mut named: Vec<_> = flags.map_or("", |row| &row[3]).split(", ").collect();
        named.retain(|name| !name.is_empty());
        named.sort_unstable();
        assert!(flag_bits(&frame).keys().eq(named), "{frame}");
        assert!(rows.iter().all(|[_, _, condition]| {
            let name = condition.trim_start_matches("not ");
            name.is_empty() || flag_bits(&frame).contains_key(name)
        }));
    }
}

#[test]
fn levels_verdicts_and_kinds_have_the_listed_numbers() {
    let levels = table(&["level", "bits", "name", "the message is durable …"]).rows;
    let coded = [AckLevel::Local, AckLevel::Replicated, AckLevel::Geo];
    for (row, level) in levels.iter().zip(coded) {
        assert_eq!(format!("{level:?}").to_uppercase(), row[2]);
        assert_eq!(number(&row[0]) << flag::LEVEL_SHIFT, number(&row[1]));
        let key = SendKey { conv: Conv::Direct(2), outbox: None, n: 1 };
        let answer = Answer::Fresh { level, conv_seq: 1, time_ms: 1, d_inbox: 0 };
        let sent = ServerFrame::Sent(Sent { key, void: false, answer });
        assert_eq!(u64::from(encode(&Frame::Server(sent))[2]), number(&row[1]));
    }
    assert_eq!(levels.len(), 3);
    let verdicts = table(&["verdict", "name", "meaning"]).rows;
    let coded = [("0", Verdict::Resume), ("1", Verdict::Restart)];
    assert!(verdicts.iter().map(|row| &*row[0]).eq(coded.map(|(number, _)| number)));
    assert!(
        verdicts
            .iter()
            .zip(coded)
            .all(|(row, (_, verdict))| { row[1] == format!("{verdict:?}").to_uppercase() })
    );
    let kinds = table(&["kind", "name", "fields after it"]).rows;
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0][0], KIND_DIRECT.to_string());
}

#[test]
fn limits_have_the_listed_values() {
    let rows = table(&["limit", "bytes", "of"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (&*row[0], number(&row[1]) as usize)).collect();
    let coded = [
        ("HELLO_BYTES_MAX", HELLO_BYTES_MAX),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX),
        ("BODY_BYTES_MAX", BODY_BYTES_MAX),
        ("FRAME_OVERHEAD_MAX", FRAME_OVERHEAD_MAX),
        ("REASON_BYTES_MAX", REASON_BYTES_MAX),
    ];
    assert_eq!(listed, coded);
    assert!(PROTOCOL.starts_with(&format!("# The Ringmail protocol, version {VERSION}\n")));
    assert_eq!(FEATURES, 0, "PROTOCOL.md lists no feature bit");
}

/// The table of codes that starts with this one: number, name, retry.
fn codes(first: &str) -> Vec<(u64, String, String)> {
    let is_codes = |table: &Table| table.header == ["number", "code", "retry", "when"];
    let found = tables().into_iter().find(|table| is_codes(table) && table.rows[0][1] == first);
    let rows = found.expect("a table of codes").rows.into_iter();
    rows.map(|row| (number(&row[0]), row[1].clone(), row[2].clone())).collect()
}

fn retry_name(retry: Retry) -> &'static str {
    match retry {
        Retry::Later => "later",
        Retry::Never => "never",
    }
}

#[test]
fn codes_have_the_listed_numbers_and_policies() {
    let coded = |number, name: &str, retry| (number, name.to_owned(), retry_name(retry).to_owned());
    let refusals = RefusalCode::ALL.iter().map(|c| coded(c.number(), c.name(), c.retry()));
    assert!(codes("RETRY_AFTER").into_iter().eq(refusals));
    let closes = CloseCode::ALL.iter().map(|c| coded(c.number(), c.name(), c.retry()));
    assert!(codes("NORMAL").into_iter().eq(closes));
    for code in CloseCode::ALL {
        assert_eq!(CloseCode::from_number(code.number()), Some(*code));
        assert_eq!(code.number() < 100, code.retry() == Retry::Later);
    }
    for code in RefusalCode::ALL {
        assert_eq!(RefusalCode::from_number(code.number()), Some(*code));
    }
    assert_eq!((CloseCode::from_number(0), RefusalCode::from_number(0)), (None, None));
}

#[test]
fn hashes_are_as_in_the_example() {
    for row in table(&["body", "hash", "outbox", "n", "moved"]).rows {
        let hash = body_hash(row[0].as_bytes());
        assert_eq!(format!("{:#018x}", hash.0), row[1]);
        let moved = outbox_of_moved(OutboxId(number(&row[2])), number(&row[3]), hash);
        assert_eq!(format!("{:#018x}", moved.0), row[4]);
    }
}

#[test]
fn examples_are_frames() {
    let rows = table(&["frame", "bytes", "says"]).rows;
    assert!(rows.len() >= 5);
    for row in rows {
        let bytes: Vec<_> =
            row[1].split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
        let frame = match (decode_client(content(&bytes)), decode_server(content(&bytes))) {
            (Ok(frame), Err(_)) => Frame::Client(frame),
            (Err(_), Ok(frame)) => Frame::Server(frame),
            (Ok(frame), Ok(_)) if bytes == [0] => Frame::Client(frame),
            other => panic!("{row:?}: {other:?}"),
        };
        let listing = list(&frame);
        assert_eq!(listing.name, row[0]);
        let said: Vec<_> =
            listing.fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
        assert_eq!(said.join(", "), row[2]);
        assert_eq!(encode(&frame), bytes);
    }
}
