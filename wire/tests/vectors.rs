//! The golden vectors: every frame type, flag, code and error, as bytes and as a list of fields.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use support::listing::{Value, list};
use support::listing_later::list_command;
use support::tables::{flag_bits, layouts};
use support::{Frame, content, encode};
use wire::*;

struct Vector {
    name: String,
    bytes: Vec<u8>,
    /// `key = value` lines about the vector.
    about: BTreeMap<String, String>,
    /// All other lines: the listing.
    listing: String,
}

/// The vectors of one side, `ok` or `err`, in the order of their numbers.
fn vectors(side: &str) -> Vec<Vector> {
    let folder = format!("{}/vectors/{side}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(&folder).expect(&folder).map(|file| file.expect(&folder).path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let vectors = files.chunks(2).enumerate().map(|(index, pair)| {
        let [hex, txt] = pair else { panic!("{pair:?} is no pair") };
        let name = hex.file_stem().unwrap().to_str().unwrap().to_owned();
        assert_eq!(hex.with_extension("txt"), *txt, "files come in pairs");
        assert!(name.starts_with(&format!("{:03}-", index + 1)), "{name} is out of number");
        let mut vector = Vector {
            bytes: parse_hex(&fs::read_to_string(hex).unwrap()),
            about: BTreeMap::new(),
            listing: String::new(),
            name,
        };
        for line in fs::read_to_string(txt).unwrap().lines() {
            let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
            if ["sender", "content_max", "error", "close", "encodes", "says"].contains(&key) {
                vector.about.insert(key.to_owned(), value.to_owned());
            } else {
                vector.listing += &format!("{line}\n");
            }
        }
        vector
    });
    vectors.collect()
}

fn parse_hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect(byte)).collect()
}

fn decode<'a>(sender: &str, content: &'a [u8]) -> Result<Frame<'a>, DecodeError> {
    match sender {
        "client" => decode_client(content).map(Frame::Client),
        "server" => decode_server(content).map(Frame::Server),
        other => panic!("{other} sends nothing"),
    }
}

/// The frame without its body, and the body.
fn split_body<'a>(frame: Frame<'a>) -> (Frame<'a>, &'a [u8]) {
    match frame {
        Frame::Client(ClientFrame::Send(mut send)) => {
            let body = std::mem::take(&mut send.body);
            (Frame::Client(ClientFrame::Send(send)), body)
        }
        Frame::Server(ServerFrame::Changed(mut changed)) => {
            let body = std::mem::take(&mut changed.body);
            (Frame::Server(ServerFrame::Changed(changed)), body)
        }
        Frame::Server(ServerFrame::HistoryItem(mut item)) => {
            let body = match &mut item.kind {
                HistoryKind::Message { body, .. } | HistoryKind::Edit { body, .. } => {
                    std::mem::take(body)
                }
                _ => &[],
            };
            (Frame::Server(ServerFrame::HistoryItem(item)), body)
        }
        Frame::Client(ClientFrame::Command(mut command)) => {
            let bytes = std::mem::take(&mut command.command);
            (Frame::Client(ClientFrame::Command(command)), bytes)
        }
        Frame::Server(ServerFrame::Commanded(mut commanded)) => {
            let bytes = std::mem::take(&mut commanded.command);
            (Frame::Server(ServerFrame::Commanded(commanded)), bytes)
        }
        Frame::Server(ServerFrame::Deliver(mut deliver)) => {
            let body = std::mem::take(&mut deliver.body);
            (Frame::Server(ServerFrame::Deliver(deliver)), body)
        }
        other => (other, &[]),
    }
}

#[test]
fn ok_vectors_decode_to_their_listing_and_encode_to_their_bytes() {
    for Vector { name, bytes, about, listing } in vectors("ok") {
        let frame = decode(&about["sender"], content(&bytes)).expect(&name);
        assert_eq!(list(&frame).to_string(), listing, "{name}");
        // Where a peer may spell more than we do, the vector says what we make of it.
        let encoded = about.get("encodes").map_or(bytes.clone(), |hex| parse_hex(hex));
        assert_eq!(encode(&frame), encoded, "{name}");
        assert!(!about.contains_key("encodes") || encoded != bytes, "{name}");
        let command = list(&frame).fields.into_iter().find_map(|field| match field {
            ("command", Value::Rest(bytes)) => Some(said(&bytes)),
            _ => None,
        });
        assert_eq!(command.as_ref(), about.get("says"), "{name}");
    }
}

/// What a command's bytes say, or why they are none.
fn said(bytes: &[u8]) -> String {
    let command = match Command::decode(bytes) {
        Ok(command) => command,
        Err(error) => return format!("no command: {error}"),
    };
    let (name, fields) = list_command(&command);
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{name} {}", fields.join(", "))
}

#[test]
fn err_vectors_give_their_error() {
    for Vector { name, bytes, about, .. } in vectors("err") {
        let limit = about["content_max"].parse().expect("a number");
        let (mut deframer, mut input) = (Deframer::default(), &bytes[..]);
        let decode =
            |content: &[u8]| decode(&about["sender"], content).map(|frame| list(&frame).name);
        let (error, code) = match deframer.next(&mut input, limit, decode) {
            Err(error) => (error.to_string(), error.close_code()),
            Ok(Some(Err(error))) => (error.to_string(), error.close_code()),
            Ok(other) => panic!("{name} is no error but {other:?}"),
        };
        assert_eq!((&error, code.name()), (&about["error"], &*about["close"]), "{name}");
    }
}

#[test]
fn a_truncated_vector_is_an_error_or_a_shorter_body() {
    for Vector { name, bytes, about, .. } in vectors("ok") {
        let whole = content(&bytes);
        let frame = decode(&about["sender"], whole).expect(&name);
        let (without_body, body) = split_body(frame);
        for end in 1..whole.len() {
            let Ok(cut) = decode(&about["sender"], &whole[..end]) else { continue };
            let (cut, cut_body) = split_body(cut);
            if name.contains("extensions") {
                continue;
            }
            assert_eq!(cut, without_body, "{name} cut at {end}");
            let bodied = !body.is_empty() && cut_body.len() + whole.len() - end == body.len();
            assert!(bodied, "{name} cut at {end}");
            assert!(body.starts_with(cut_body));
        }
        for end in 0..bytes.len() {
            let (mut deframer, mut input) = (Deframer::default(), &bytes[..end]);
            assert_eq!(deframer.next(&mut input, FRAME_BYTES_MAX, |_| ()), Ok(None), "{name}");
        }
    }
}

#[test]
fn a_truncated_error_is_never_a_panic() {
    for Vector { bytes, .. } in vectors("err") {
        for (start, end) in (0..bytes.len()).flat_map(|end| [(0, end), (1, end.max(1))]) {
            let cut = &bytes[start..end];
            let _ = (decode_client(cut), decode_server(cut));
            let _ = Deframer::default().next(&mut &cut[..], FRAME_BYTES_MAX, |_| ());
        }
    }
}

#[test]
fn every_frame_flag_and_code_has_vectors() {
    let (mut ok, mut bits, mut codes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut commands = BTreeSet::new();
    for Vector { bytes, about, .. } in vectors("ok") {
        let listing = list(&decode(&about["sender"], content(&bytes)).unwrap());
        ok.extend(listing.op);
        for (field, value) in listing.fields {
            match (field, value) {
                ("flags", Value::Byte(flags)) => {
                    bits.extend((0..8).map(|bit| (listing.name, flags & 1 << bit)));
                }
                ("code", Value::Varint(code)) => drop(codes.insert((listing.name, code))),
                ("command", Value::Rest(bytes)) => {
                    commands.extend(Command::decode(&bytes).map(|command| command.tag()));
                }
                _ => {}
            }
        }
    }
    let errors = vectors("err");
    let first = |vector: &Vector| {
        let right = !vector.about["error"].starts_with("unknown") && vector.bytes.len() > 1;
        right.then(|| vector.bytes[1 + usize::from(vector.bytes[0] > 0x7f)])
    };
    let err: BTreeSet<_> = errors.iter().filter_map(first).collect();
    for (op, name) in layouts().into_keys() {
        assert!(ok.contains(&op) && err.contains(&op), "{name} has no pair");
        for (flag, mask) in flag_bits(&name) {
            let mut set = (0..8).map(|bit| mask & 1 << bit).filter(|bit| *bit != 0);
            assert!(set.all(|bit| bits.contains(&(&*name, bit))), "{name} without {flag}");
        }
    }
    assert!(commands.into_iter().eq(1..=8), "every command has a vector");
    for code in RefusalCode::ALL {
        assert!(codes.contains(&("REFUSED", code.number())), "{}", code.name());
    }
    for code in CloseCode::ALL {
        assert!(codes.contains(&("SERVER_CLOSE", code.number())), "{}", code.name());
    }
}

/// The problems that the decoder's source names, and the close codes of framing.
#[test]
fn every_error_has_a_vector() {
    let errors: Vec<_> = vectors("err").into_iter().map(|vector| vector.about).collect();
    let covered = |text: &str| errors.iter().any(|about| about["error"].contains(text));
    let mut problems = 0;
    let sources = [
        include_str!("../src/decode.rs"),
        include_str!("../src/varint.rs"),
        include_str!("../src/list.rs"),
        include_str!("../src/entry.rs"),
        include_str!("../src/page.rs"),
        include_str!("../src/presence.rs"),
    ];
    // What only a command can have wrong is no error of a frame: the vector says it.
    let said: Vec<_> =
        vectors("ok").into_iter().filter_map(|v| v.about.get("says").cloned()).collect();
    for call in include_str!("../src/command.rs").split(".error(").skip(1) {
        let problem = call.split('"').nth(3).expect("a field and a problem");
        assert!(said.iter().any(|said| said.contains(problem)), "{problem} has no vector");
    }
    for source in sources {
        for call in source.split(".error(").skip(1) {
            let arguments = call.split(')').next().expect("the rest");
            if let Some(problem) = arguments
                .rsplit(", ")
                .next()
                .and_then(|last| last.strip_prefix('"').and_then(|last| last.strip_suffix('"')))
            {
                assert!(covered(problem), "{problem} has no vector");
                problems += 1;
            }
        }
    }
    assert!(problems >= 30, "{problems}: the source is read no more");
    for text in ["unknown frame type", "or more, where", "no varint"] {
        assert!(covered(text), "{text} has no vector");
    }
}
