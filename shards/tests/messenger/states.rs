//! Every type of frame in every state of a session: PROTOCOL.md's table of answers, cell by cell.

use crate::tables::{number, table};
use crate::world::{World, limits};
use std::collections::{BTreeMap, BTreeSet};
use wire::{
    Ack, Activity, Chat, Chats, ClientFrame, Close, CloseCode, Command, Contacts, Conv,
    ConvSettings, Devices, Direction, History, List, NumberedCommand, OutboxId, Read, Send,
    SendKey, ServerFrame, SnapshotReason, Typing, UserId, Verdict, Void, Watch,
};

const PEER: Conv = Conv::Direct(2);
const STATES: [&str; 5] = ["before HELLO", "HELLO under way", "open", "snapshot", "closing"];

/// Whole frames of both sides from the golden vectors, by name: the first of each that has fields.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/vectors/ok");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect(folder).map(|f| f.unwrap().path()).collect();
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

/// A frame of a client that is right in every state but for the state. `head`: of the inbox.
fn sample(name: &str, head: u64, hello: &[u8]) -> Vec<u8> {
    let key = |outbox| SendKey { conv: PEER, outbox: Some(OutboxId(outbox)), n: 1 };
    let settings = ConvSettings { pinned: true, ..ConvSettings::default() };
    let mut command = Vec::new();
    Command::Settings { conv: PEER, settings }.encode(&mut command);
    let watched = [UserId::new(2).expect("not 0")];
    let frame = match name {
        "HELLO" => return hello.to_vec(),
        "SEND" => ClientFrame::Send(Send { key: key(77), change: None, body: b"hello" }),
        "VOID" => ClientFrame::Void(Void { key: key(78), hash: wire::body_hash(b"given up") }),
        "ACK" => ClientFrame::Ack(Ack { inbox_seq: head }),
        // The long spelling of the empty frame.
        "PING" => return framed(&[0x05, 0]),
        "CLIENT_CLOSE" => {
            let code = CloseCode::Normal;
            ClientFrame::Close(Close { code, retry_after_ms: 0, reason: "" })
        }
        "READ" => ClientFrame::Read(Read { conv: PEER, conv_seq: 1 }),
        "COMMAND" => {
            let (outbox, n) = (OutboxId(79), 1);
            ClientFrame::Command(NumberedCommand { outbox, n, command: &command })
        }
        "HISTORY" => {
            let direction = Direction::Older;
            ClientFrame::History(History { request: 1, conv: PEER, from: 0, direction, limit: 100 })
        }
        "CHATS" => ClientFrame::Chats(Chats { request: 1, before: 0, limit: 64 }),
        "CHAT" => ClientFrame::Chat(Chat { request: 1, conv: PEER }),
        "CONTACTS" => ClientFrame::Contacts(Contacts { request: 1, after: 0, limit: 100 }),
        "DEVICES" => ClientFrame::Devices(Devices { request: 1 }),
        "WATCH" => ClientFrame::Watch(Watch { users: List::from(&watched[..]) }),
        "ACTIVITY" => ClientFrame::Activity(Activity { foreground: false }),
        "CLIENT_TYPING" => ClientFrame::Typing(Typing { conv: PEER }),
        other => panic!("{other} is no type of a client"),
    };
    let mut bytes = Vec::new();
    wire::encode_client(&mut bytes, &frame);
    bytes
}

/// A server whose user 1 has a conversation, a contact and a device that was here before.
struct Fixture {
    world: World,
    /// HELLO of that device, and of one without a past.
    resume: Vec<u8>,
    first: Vec<u8>,
    head: u64,
}

impl Fixture {
    fn new() -> Fixture {
        let mut world = World::new(1, limits());
        let peer = world.attach(2, 1, false);
        let key = |peer| SendKey { conv: Conv::Direct(peer), outbox: None, n: 1 };
        let send = |peer, body| ClientFrame::Send(Send { key: key(peer), change: None, body });
        world.send(peer, send(1, b"hello"));
        let device = world.attach(1, 1, false);
        world.send(device, send(2, b"hello back"));
        let mut command = Vec::new();
        Command::ContactAdd { peer: watched(), name: "Ann" }.encode(&mut command);
        let (outbox, n) = (OutboxId(1), 1);
        let add = NumberedCommand { outbox, n, command: &command };
        world.send(device, ClientFrame::Command(add));
        world.run_ms(20);
        let (mut epoch, mut head) = (0, 0);
        let seen = world.take(device, |frame| {
            match frame {
                ServerFrame::Welcome(welcome) => {
                    (epoch, head) = (welcome.inbox_epoch, welcome.from);
                }
                ServerFrame::Deliver(deliver) => head += deliver.d_inbox,
                ServerFrame::Own(own) => head += own.d_inbox,
                ServerFrame::Commanded(commanded) => head += commanded.d_inbox,
                ServerFrame::Sent(sent) => match sent.answer {
                    wire::Answer::Fresh { d_inbox, .. } => head += d_inbox,
                    wire::Answer::Known => panic!("nothing was sent twice"),
                },
                ServerFrame::CaughtUp(_) => return None,
                other => panic!("{other:?}"),
            }
            Some(())
        });
        assert!(seen.len() >= 3, "WELCOME, SENT, COMMANDED");
        world.send(device, ClientFrame::Ack(Ack { inbox_seq: head }));
        world.run_ms(5);
        world.cut(device);
        let resume = world.hello(1, 1, epoch, head);
        let first = world.hello(1, 2, 0, 0);
        Fixture { world, resume, first, head }
    }

    /// What the server answers to these bytes in this state, and whether it closed.
    fn answers(mut self, state: &str, bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut client = self.world.accept();
        let hello = if state == "snapshot" { &self.first } else { &self.resume };
        match state {
            "before HELLO" => self.world.put(client, bytes),
            "HELLO under way" => self.world.put(client, &[hello, bytes].concat()),
            _ => {
                self.world.put(client, hello);
                self.world.run_ms(10);
                client = self.world.moved(client);
                let snapshot = Verdict::Snapshot(SnapshotReason::NewDevice);
                let due = if state == "snapshot" { snapshot } else { Verdict::Resume };
                let verdict = self.world.take(client, |frame| match frame {
                    ServerFrame::Welcome(welcome) => Some(welcome.verdict),
                    ServerFrame::CaughtUp(_) => None,
                    other => panic!("{other:?}"),
                });
                assert_eq!(verdict, [due]);
                if state == "closing" {
                    self.world.hold_sends(true);
                    self.world.put(client, hello);
                    self.world.run_ms(2);
                    let closes = self.world.contents(client);
                    assert_eq!(names(&closes), ["close OUT_OF_STATE"]);
                }
                self.world.put(client, bytes);
            }
        }
        self.world.run_ms(400);
        let client = self.world.moved(client);
        let mut contents = self.world.contents(client);
        if state == "HELLO under way" {
            assert_eq!(names(&contents[..1]), ["WELCOME"], "nothing comes before it");
            contents.remove(0);
        }
        contents.retain(|content| names(std::slice::from_ref(content)) != ["CAUGHT_UP"]);
        (contents, self.world.closed(client))
    }
}

fn watched() -> UserId {
    UserId::new(2).expect("not 0")
}

/// A server's frames as the table names them.
fn names(contents: &[Vec<u8>]) -> Vec<String> {
    let listed = table(&["type", "name", "sender", "what it says"]).rows;
    let name = |content: &Vec<u8>| match wire::decode_server(content).expect("a server's frame") {
        ServerFrame::Close(close) => format!("close {}", close.code.name()),
        ServerFrame::Pong(_) => "PONG".to_owned(),
        _ => {
            let row = listed.iter().find(|row| number(&row[0]) == u64::from(content[0]));
            row.expect("listed")[1].clone()
        }
    };
    contents.iter().map(name).collect()
}

/// Whether the answer is the first one that the cell names. The others are for a server that is
/// short of something.
fn check(cell: &str, state: &str, sent: &str, (contents, closed): (Vec<Vec<u8>>, bool)) {
    let got = names(&contents);
    let context = format!("{sent}, {state}: `{cell}`, got {got:?}, closed: {closed}");
    let due = cell.split(" or ").next().expect("an answer");
    let due = due.strip_prefix("WELCOME, ").filter(|_| state == "HELLO under way").unwrap_or(due);
    let ends = due == "end" || due.starts_with("close ");
    // What is closing stays so until its last bytes have left, which they have not here.
    assert_eq!(closed, ends, "{context}");
    let others = ["OWN"].map(str::to_owned);
    match due.split_once(", ") {
        // A page, of which this server has something.
        Some((item, last)) => {
            let (end, items) = got.split_last().expect(&context);
            assert_eq!(end, last, "{context}");
            assert!(!items.is_empty() && items.iter().all(|name| name == item), "{context}");
        }
        None if matches!(due, "nothing" | "end") => assert_eq!(got, [""; 0], "{context}"),
        // The entry of a send may follow its answer.
        None if due == "SENT" => {
            assert!(got[0] == due && got[1..].iter().all(|n| others.contains(n)), "{context}");
        }
        None => assert_eq!(got, [due], "{context}"),
    }
}

/// The frames that a row of the table stands for: what they are, and their bytes.
fn frames_of(row: &[String], fixture: &Fixture, state: &str) -> Vec<(String, Vec<u8>)> {
    let listed = table(&["type", "name", "sender", "what it says"]).rows;
    let hello = &fixture.resume;
    let clients = listed.iter().filter(|row| row[2] == "client");
    match &*row[0] {
        "empty" => vec![("empty".to_owned(), vec![0])],
        "other" => {
            let known: BTreeSet<u64> = listed.iter().map(|row| number(&row[0])).collect();
            let others = (0..=255u8).filter(|op| !known.contains(&u64::from(*op)));
            others.map(|op| (format!("{op:#04x}"), framed(&[op, 1, 2, 3]))).collect()
        }
        "ack" => vec![
            ("ACK above".to_owned(), framed(&[0x04, 0xff, 0x7f])),
            ("PING above".to_owned(), framed(&[0x05, 0xff, 0x7f])),
        ],
        "wrong" => clients
            .map(|row| (format!("wrong {}", row[1]), framed(&[number(&row[0]) as u8])))
            .collect(),
        "long" => {
            let mut bytes = Vec::new();
            let limit = match state {
                "before HELLO" => wire::HELLO_BYTES_MAX,
                _ => wire::FRAME_BYTES_MAX,
            };
            wire::put_varint(&mut bytes, limit as u64 + 1);
            vec![("long".to_owned(), bytes)]
        }
        op => {
            let sender = listed.iter().find(|listed| listed[0] == op).expect(op);
            assert_eq!(sender[1], row[1], "{op}");
            let bytes = match &*sender[2] {
                "client" => sample(&row[1], fixture.head, hello),
                _ => vectors()[&row[1]].clone(),
            };
            vec![(op.to_owned(), bytes)]
        }
    }
}

#[test]
fn every_type_in_every_state_gets_its_answer() {
    let mut header = vec!["type", "frame"];
    header.extend(STATES);
    let rows = table(&header).rows;
    let (mut ran, mut failed) = (BTreeSet::new(), Vec::new());
    for (state, column) in STATES.iter().zip(2..) {
        for row in &rows {
            for (sent, bytes) in frames_of(row, &Fixture::new(), state) {
                let cell = row[column].clone();
                let case = (sent.clone(), bytes.clone());
                let check_one = move || {
                    let fixture = Fixture::new();
                    check(&cell, state, &case.0, fixture.answers(state, &case.1));
                };
                if let Err(panic) = std::panic::catch_unwind(check_one) {
                    let text = panic.downcast_ref::<String>().cloned();
                    failed.push(format!("{sent}, {state}: {}", text.unwrap_or_default()));
                }
                assert!(ran.insert((sent, *state)), "twice");
            }
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), ran.len(), failed.join("\n"));
    // All 256 types, the empty frame, two numbers above what was sent, every type of a client with
    // a wrong field, a long one; nothing of it left out.
    for op in 0..=255u8 {
        let sent = format!("{op:#04x}");
        assert!(STATES.iter().all(|state| ran.contains(&(sent.clone(), *state))), "{sent}");
    }
    assert_eq!(ran.len(), (256 + 1 + 2 + 16 + 1) * STATES.len());
}

#[test]
fn a_session_goes_on_behind_what_gets_no_answer() {
    for state in ["HELLO under way", "open", "snapshot"] {
        for name in ["ACK", "ACTIVITY", "CLIENT_TYPING"] {
            let fixture = Fixture::new();
            let mut bytes = sample(name, fixture.head, &[]);
            bytes.push(0);
            let (contents, closed) = fixture.answers(state, &bytes);
            assert_eq!((names(&contents), closed), (vec!["PONG".to_owned()], false), "{name}");
        }
    }
}
