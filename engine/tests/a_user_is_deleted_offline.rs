//! `ringmail user delete`: what the user wrote and had is gone, also from the logs; it refuses
//! while a server runs, and while messages are on their way.

mod common;
use common::{Dir, free_port, refused, ringmail, start, succeeds};
use embedded::Embedded;
use persistence::{
    Backend, ConvKey, IoDone, IoOp, Load, Loaded, Log, LogConfig, MessageRecord, Page, Paged,
    Record, Recovered, UserId,
};
use std::fs;

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

fn conv() -> ConvKey {
    ConvKey::new(user(7), user(9)).unwrap()
}

/// A data directory of a stopped server whose log holds a message of user 7; `taken`: also by the
/// home of the one who does not own the conversation.
fn stopped(taken: bool) -> Dir {
    let dir = Dir::new();
    let listen = format!("127.0.0.1:{}", free_port());
    start(ringmail(&dir).args(["--listen", &listen])).stop();
    let log = dir.data().join("log");
    fs::remove_dir_all(&log).unwrap();
    fs::create_dir_all(log.join("1/0")).unwrap();
    fs::write(log.join("1/0/0.log"), segment(taken)).unwrap();
    dir
}

fn segment(taken: bool) -> Vec<u8> {
    let config = LogConfig { segment_bytes: 1 << 16, group_bytes_max: 1 << 13, writes_max: 1 };
    let mut log = Log::start(config, Recovered::read(vec![]).unwrap().deal(0, 1));
    let owner = usize::from(conv().participants()[1] == conv().owner());
    log.append(&Record::Message(MessageRecord {
        conv: conv(),
        conv_seq: 1,
        time_us: 1_700_000_000_000_000,
        sender: user(7),
        outbox: persistence::OutboxId(5),
        new_outbox_of: Some(persistence::DeviceId(1)),
        n: 1,
        void: None,
        inbox: [0, 1].map(|side| u64::from(taken || side == owner)),
        marks: [0, 1].map(|side| taken && side != owner),
        hidden: [false; 2],
        change: None,
        body: b"a secret",
    }));
    let device = persistence::DeviceId(1);
    log.append(&Record::Cursor { user: user(7), device, acked: 1 });
    let mut segment = vec![0; 1 << 16];
    while let Some(op) = log.poll() {
        match op {
            IoOp::Prepare { segment } => log.complete(IoDone::Prepared { segment }),
            IoOp::Write { id, offset, bytes, .. } => {
                segment[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                log.complete(IoDone::Written { id })
            }
            other => panic!("{other:?}"),
        };
    }
    segment
}

fn store(dir: &Dir) -> Embedded {
    Embedded::open(&dir.data().join("store"), 1 << 20).unwrap()
}

fn message(store: &Embedded) -> (bool, Vec<u8>) {
    let page = Page::Messages { conv: conv(), from: 1, newer: true, limit: 9, bytes_max: 99 };
    match store.page(&page).unwrap() {
        Paged::Messages(messages) => (messages[0].deleted, messages[0].body.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_it_wrote_is_gone_from_store_and_log() {
    let dir = stopped(true);
    let said = succeeds(ringmail(&dir).args(["user", "delete", "7"]));
    assert!(said.contains("1 messages") && said.contains("1 devices"), "{said}");
    assert_eq!(message(&store(&dir)), (true, Vec::new()));
    assert_eq!(fs::read_dir(dir.data().join("log")).unwrap().count(), 0);
    let listen = format!("127.0.0.1:{}", free_port());
    start(ringmail(&dir).args(["--listen", &listen])).stop();
    let store = store(&dir);
    assert_eq!(message(&store), (true, Vec::new()), "no start brings it back");
    let Loaded::User(state) = store.load(&Load::User(user(7))).unwrap() else { panic!("a user") };
    assert_eq!((state.head, state.trimmed, state.devices.len()), (1, 1, 0));
}

#[test]
fn messages_on_their_way_arrive_first() {
    let dir = stopped(false);
    let line = refused(ringmail(&dir).args(["user", "delete", "7"]));
    assert!(line.contains("start the server"), "{line}");
    assert_eq!(message(&store(&dir)), (false, b"a secret".to_vec()));
    let listen = format!("127.0.0.1:{}", free_port());
    start(ringmail(&dir).args(["--listen", &listen])).stop();
    succeeds(ringmail(&dir).args(["user", "delete", "7"]));
    assert_eq!(message(&store(&dir)), (true, Vec::new()));
}

#[test]
fn a_running_server_is_left_alone() {
    let dir = Dir::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let server = start(ringmail(&dir).args(["--listen", &listen]));
    let line = refused(ringmail(&dir).args(["user", "delete", "7"]));
    assert!(line.contains("in use by process"), "{line}");
    server.stop();
}

#[test]
fn no_directory_is_made_for_it() {
    let dir = Dir::new();
    let line = refused(ringmail(&dir).args(["user", "delete", "7"]));
    assert!(line.contains("no data directory"), "{line}");
    assert!(!dir.data().exists());
    refused(ringmail(&dir).args(["user", "delete", "0"]));
}
