//! PROTOCOL.md's table of what a client does with each frame of a server, cell by cell.

#[allow(dead_code, reason = "the other tests of the page use the rest")]
#[path = "../../wire/tests/support/tables.rs"]
mod tables;

use client::{Client, Config};
use std::collections::{BTreeMap, BTreeSet};
use tables::{number, table};
use wire::{
    ClientFrame, Deframer, DeviceId, Privacy, ServerFrame, SnapshotReason, UserId, Verdict, Welcome,
};

const STATES: [&str; 2] = ["before WELCOME", "attached"];

/// Whole frames of both sides from the golden vectors, by name: the first of each that has fields.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/vectors/ok");
    let files = std::fs::read_dir(folder).expect(folder);
    let mut paths: Vec<_> = files.map(|file| file.expect(folder).path()).collect();
    paths.sort();
    let mut found = BTreeMap::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "txt")) {
        let listing = std::fs::read_to_string(path).expect("a listing");
        let name = listing.lines().find_map(|line| line.strip_prefix("frame = ")).expect("a name");
        let hex = std::fs::read_to_string(path.with_extension("hex")).expect("its pair");
        let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex"));
        if !listing.contains("\nempty\n") {
            found.entry(name.to_owned()).or_insert(bytes.collect());
        }
    }
    found
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::put_varint(&mut frame, content.len() as u64);
    frame.extend_from_slice(content);
    frame
}

fn welcome() -> Vec<u8> {
    let welcome = Welcome {
        version: wire::VERSION,
        features: 0,
        user: UserId::new(1).expect("not 0"),
        device: DeviceId(1),
        inbox_epoch: 1,
        verdict: Verdict::Snapshot(SnapshotReason::NewDevice),
        from: 0,
        head: 0,
        window_frames: 256,
        window_bytes: 1 << 18,
        heartbeat_ms: 30_000,
        server_time_ms: 1_900_000_000_000,
        body_bytes_max: 1_000,
        privacy: Privacy::default(),
    };
    let mut bytes = Vec::new();
    wire::encode_server(&mut bytes, &ServerFrame::Welcome(welcome));
    bytes
}

/// Commits, and takes what the client says.
fn said(client: &mut Client) -> Vec<Vec<u8>> {
    client.journal();
    client.committed();
    let output = client.output();
    let (mut input, mut deframer, mut contents) = (&output[..], Deframer::default(), Vec::new());
    let limit = wire::FRAME_BYTES_MAX;
    while let Some(content) = deframer.next(&mut input, limit, <[u8]>::to_vec).expect("frames") {
        contents.push(content);
    }
    contents
}

/// What the client does with these bytes.
fn answer(state: &str, bytes: &[u8]) -> String {
    let mut client = Client::new(Config::new(b"token".to_vec()), 1);
    client.connected(0);
    let hello = said(&mut client);
    assert!(matches!(wire::decode_client(&hello[0]), Ok(ClientFrame::Hello(_))));
    if state == "attached" {
        client.received(&welcome(), 1);
        said(&mut client);
        assert!(client.is_attached());
    }
    client.received(bytes, 2);
    let closing = client.is_closing();
    let closes = said(&mut client).into_iter().find_map(|content| {
        match wire::decode_client(&content).expect("a client's frame") {
            ClientFrame::Close(close) => Some(format!("CLIENT_CLOSE {}", close.code.name())),
            _ => None,
        }
    });
    assert!(closing || closes.is_none());
    closes.unwrap_or(if closing { "end" } else { "taken" }.to_owned())
}

/// The frames that a row of the table stands for.
fn frames_of(row: &[String]) -> Vec<(String, Vec<u8>)> {
    let listed = table(&["type", "name", "sender", "what it says"]).rows;
    match &*row[0] {
        "empty" => vec![("empty".to_owned(), vec![0])],
        "other" => {
            let known: BTreeSet<u64> = listed.iter().map(|row| number(&row[0])).collect();
            let others = (0..=255u8).filter(|op| !known.contains(&u64::from(*op)));
            others.map(|op| (format!("{op:#04x}"), framed(&[op, 1, 2, 3]))).collect()
        }
        "wrong" => {
            let servers = listed.iter().filter(|row| row[2] == "server");
            let wrong = |row: &Vec<String>| framed(&[number(&row[0]) as u8]);
            servers.map(|row| (format!("wrong {}", row[1]), wrong(row))).collect()
        }
        "long" => {
            let mut bytes = Vec::new();
            wire::put_varint(&mut bytes, wire::FRAME_BYTES_MAX as u64 + 1);
            vec![("long".to_owned(), bytes)]
        }
        op => {
            let listed = listed.iter().find(|listed| listed[0] == op).expect(op);
            assert_eq!(listed[1], row[1].trim_end_matches(", not asked for"), "{op}");
            let name = &listed[1];
            let bytes = if name == "WELCOME" { welcome() } else { vectors()[name].clone() };
            vec![(op.to_owned(), bytes)]
        }
    }
}

#[test]
fn every_type_in_every_state_is_answered() {
    let rows = table(&["type", "frame", "before WELCOME", "attached"]).rows;
    let (mut ran, mut failed) = (BTreeSet::new(), Vec::new());
    for row in &rows {
        for (sent, bytes) in frames_of(row) {
            for (state, due) in STATES.iter().zip(&row[2..]) {
                let got = answer(state, &bytes);
                if got != *due {
                    failed.push(format!("{sent} {}, {state}: {due}, got {got}", row[1]));
                }
                assert!(ran.insert((sent.clone(), *state)), "twice");
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), ran.len(), failed.join("\n"));
    for op in 0..=255u8 {
        let sent = format!("{op:#04x}");
        assert!(STATES.iter().all(|state| ran.contains(&(sent.clone(), *state))), "{sent}");
    }
    // What is not asked for by a number, because it answers WATCH.
    let code = wire::RefusalCode::Quota;
    let refused = wire::RequestRefused { request: 0, code, retry_after_ms: 500 };
    let mut bytes = Vec::new();
    wire::encode_server(&mut bytes, &ServerFrame::RequestRefused(refused));
    assert_eq!(answer("attached", &bytes), "taken");
    // All types, the empty frame, every type of a server with a wrong field, a long one.
    assert_eq!(ran.len(), (256 + 1 + 23 + 1) * STATES.len());
}
