//! The tables of PROTOCOL.md say what the code does.

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use support::listing::{Listing, Value, list};
use support::listing_later::list_command;
use support::tables::{PROTOCOL, Table, flag_bits, holds, layouts, number, table, tables};
use support::{Frame, content, encode};
use wire::*;

/// Encodes a value as its type in section 2 says.
fn put_value(out: &mut Vec<u8>, kind: &str, value: Value) {
    match (kind, value) {
        ("byte", Value::Byte(byte)) => out.push(byte),
        ("varint", Value::Varint(number)) => put_varint(out, number),
        ("u64", Value::U64(number)) => out.extend(number.to_le_bytes()),
        ("counted", Value::Counted(bytes)) => {
            put_varint(out, bytes.len() as u64);
            out.extend(bytes);
        }
        ("rest", Value::Rest(bytes)) => out.extend(bytes),
        ("numbers", Value::Numbers(numbers)) => {
            put_varint(out, numbers.len() as u64);
            numbers.into_iter().for_each(|number| put_varint(out, number));
        }
        ("states", Value::Presences(users)) => {
            put_varint(out, users.len() as u64);
            for (user, state, version, last_seen_ms) in users {
                put_varint(out, user);
                out.push(state);
                put_varint(out, version);
                put_varint(out, last_seen_ms);
            }
        }
        ("extensions", Value::Extensions(extensions)) => {
            for (tag, bytes) in extensions {
                put_varint(out, tag);
                put_value(out, "counted", Value::Counted(bytes));
            }
        }
        (kind, value) => panic!("{value:?} is no {kind}"),
    }
}

/// Encodes a listing with nothing but the tables.
fn encode_by_table(listing: &Listing) -> Vec<u8> {
    let Some(op) = listing.op else { return vec![0] };
    let layout = &layouts()[&(op, listing.name.to_owned())];
    let bits = flag_bits(listing.name);
    let mut fields: BTreeMap<_, _> = listing.fields.iter().cloned().collect();
    let byte = |field: &str| match fields.get(field) {
        Some(Value::Byte(byte)) => *byte,
        _ => 0,
    };
    let (flags, result) = (byte("flags"), byte("result"));
    let mut content = vec![op];
    for [field, kind, condition] in layout {
        let holds = holds(condition, &bits, flags, result);
        let value = if holds { fields.remove(field.as_str()) } else { None };
        match value {
            None => assert!(!holds || kind == "extensions", "{} has no {field}", listing.name),
            Some(value) => put_value(&mut content, kind, value),
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
        ("EDIT", flag::EDIT),
        ("DELETE", flag::DELETE),
        ("OWN", flag::OWN),
        ("HIDDEN", flag::HIDDEN),
        ("DELETED", flag::DELETED),
        ("EDITED", flag::EDITED),
        ("CHANGE_EDIT", flag::CHANGE_EDIT),
        ("CHANGE_DELETE", flag::CHANGE_DELETE),
        ("GAP", flag::GAP),
        ("PINNED", flag::PINNED),
        ("ARCHIVED", flag::ARCHIVED),
        ("CONTACT", flag::CONTACT),
        ("BLOCKED", flag::BLOCKED),
        ("PREVIEW_OWN", flag::PREVIEW_OWN),
        ("ATTACHED", flag::ATTACHED),
        ("THIS", flag::THIS),
        ("REVOKED", flag::REVOKED),
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
        // Every condition names flags of the frame.
        let bits = flag_bits(&frame);
        rows.iter().for_each(|[_, _, condition]| _ = holds(condition, &bits, 0, 0));
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
    let coded = [
        ("0", "RESUME", Verdict::Resume),
        ("1", "SNAPSHOT, NEW_DEVICE", Verdict::Snapshot(SnapshotReason::NewDevice)),
        ("2", "SNAPSHOT, EPOCH", Verdict::Snapshot(SnapshotReason::Epoch)),
        ("3", "SNAPSHOT, TOO_FAR", Verdict::Snapshot(SnapshotReason::TooFar)),
    ];
    assert!(verdicts.iter().map(|row| (&*row[0], &*row[1])).eq(coded.map(|row| (row.0, row.1))));
    for (number, _, verdict) in coded {
        let welcome = welcome(verdict);
        let listing = list(&Frame::Server(ServerFrame::Welcome(welcome)));
        let byte = Value::Byte(number.parse().unwrap());
        assert!(listing.fields.contains(&("verdict", byte)), "{number}");
    }
    let kinds = table(&["kind", "name", "fields after it"]).rows;
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0][0], KIND_DIRECT.to_string());
}

fn welcome(verdict: Verdict) -> Welcome {
    Welcome {
        version: 1,
        features: 0,
        user: UserId::new(1).expect("not 0"),
        device: DeviceId(1),
        inbox_epoch: 1,
        verdict,
        from: 0,
        head: 0,
        window_frames: 1,
        window_bytes: 1,
        heartbeat_ms: 1,
        server_time_ms: 1,
        body_bytes_max: 1,
        privacy: Privacy::default(),
    }
}

proptest! {
    #[test]
    fn commands_are_as_in_their_table(
        command in support::arbitrary_later::command(), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        prop_assert!(bytes.len() <= COMMAND_BYTES_MAX);
        prop_assert_eq!(Command::decode(&bytes), Ok(command));
        let (name, fields) = list_command(&command);
        let rows = table(&["tag", "command", "fields", "what it does"]).rows;
        prop_assert_eq!(rows.len(), 8);
        let row = rows.iter().find(|row| row[1] == name).expect(name);
        let mut by_table = vec![number(&row[0]) as u8];
        let mut values = fields.into_iter();
        for field in row[2].split(", ") {
            let (field, kind) = field.split_once(' ').expect("name and type");
            let (name, value) = values.next().expect(field);
            prop_assert_eq!(name, field);
            put_value(&mut by_table, kind, value);
        }
        prop_assert_eq!(values.next(), None);
        prop_assert_eq!(&by_table, &bytes);
        // Cut anywhere it is none, except within a name.
        let cut = &bytes[..cut.index(bytes.len())];
        let named = matches!(command, Command::ContactAdd { .. });
        prop_assert!(named || Command::decode(cut).is_err());
    }
}

#[test]
fn extensions_have_the_listed_tags() {
    let rows = table(&["tag", "extension", "frame", "meaning"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (number(&row[0]), &*row[1], &*row[2])).collect();
    assert_eq!(listed, [(1, "name", "HELLO"), (2, "platform", "HELLO")]);
}

#[test]
fn visibilities_states_and_directions_have_the_listed_numbers() {
    for row in table(&["visibility", "name", "who sees presence and last seen"]).rows {
        let coded = Visibility::from_number(number(&row[0]) as u8).expect("listed");
        assert_eq!(format!("{coded:?}").to_uppercase(), row[1]);
    }
    assert_eq!(Visibility::from_number(3), None);
    let states = [PresenceState::Unknown, PresenceState::Online, PresenceState::Offline];
    let rows = table(&["state", "name", "meaning"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let coded = states.map(|state| (state as u64, format!("{state:?}").to_uppercase()));
    assert_eq!(listed, coded);
    let rows = table(&["direction", "name", "the page goes"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let coded = [Direction::Older, Direction::Newer];
    assert_eq!(listed, coded.map(|way| (way as u64, format!("{way:?}").to_uppercase())));
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
        ("NAME_BYTES_MAX", NAME_BYTES_MAX),
        ("PLATFORM_BYTES_MAX", PLATFORM_BYTES_MAX),
        ("PREVIEW_BYTES_MAX", PREVIEW_BYTES_MAX),
        ("COMMAND_BYTES_MAX", COMMAND_BYTES_MAX),
    ];
    assert_eq!(listed, coded);
    let rows = table(&["limit", "items", "of"]).rows;
    let listed: Vec<_> = rows.iter().map(|row| (&*row[0], number(&row[1]))).collect();
    let coded = [
        ("HISTORY_LIMIT_MAX", HISTORY_LIMIT_MAX),
        ("CHATS_LIMIT_MAX", CHATS_LIMIT_MAX),
        ("CONTACTS_LIMIT_MAX", CONTACTS_LIMIT_MAX),
        ("WATCH_USERS_MAX", WATCH_USERS_MAX as u64),
        ("DEVICES_MAX", DEVICES_MAX as u64),
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
    for row in table(&["body", "edit of", "deletion of", "hash"]).rows {
        let change = match (row[1].parse(), row[2].parse()) {
            (Ok(target), Err(_)) => Change { target, delete: false },
            (Err(_), Ok(target)) => Change { target, delete: true },
            other => panic!("{other:?}"),
        };
        let hash = content_hash(row[0].as_bytes(), Some(change));
        assert_eq!(format!("{:#018x}", hash.0), row[3]);
        assert_ne!(hash, content_hash(row[0].as_bytes(), None));
        assert_eq!(body_hash(row[0].as_bytes()), content_hash(row[0].as_bytes(), None));
    }
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
