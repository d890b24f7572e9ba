//! The distributed store is wrong or away: at a start the server says so in one line with the cure;
//! while it runs, it serves on, acks from the log until that is full, then refuses with a time to
//! retry, and heals by itself.

mod support;

use bench::cassandra::Cassandra;
use bench::crowd::{Crowd, Habits};
use bench::server::{Launch, Scratch};
use std::time::Duration;

const USERS: usize = 6;
const LOAD: Option<Habits> = Some(Habits { depth: 8, body_bytes: 1_024 });
const PATIENCE: Duration = Duration::from_secs(90);
/// So many messages fit into the logs below, and several times more.
const LOGGED_MIN: u64 = 1_000;

/// What a start with another setting says: one line.
fn refused(launch: &Launch, key: &str, value: &str) -> String {
    let mut launch = launch.clone();
    launch.set(key, value);
    let error = launch.start_ready().expect_err("refused").to_string();
    assert_eq!(error.matches(" / ").count(), 0, "one line: {error}");
    error
}

#[test]
#[ignore = "needs Java and Maven: bench/test-store runs it"]
fn a_store_that_is_away_costs_no_message() {
    support::build_server_with_stores();
    let scratch = Scratch::new(Some(&support::dir())).expect("a directory");
    let mut node = Cassandra::start(scratch.path()).expect("Cassandra starts");
    let mut launch = Launch::new(scratch.path(), 2);
    launch.keep_every_entry();
    launch.set("limits.segment_bytes", 1 << 20);
    launch.set("limits.group_bytes_max", 1 << 19);
    launch.set("limits.tail_bytes_max", 8 << 20);
    launch.set("limits.reserve_bytes", 1 << 20);
    launch.set("limits.retry_after_ms", 100);
    node.serve(&mut launch).expect("migrated");
    let line = refused(&launch, "store.keyspace", "elsewhere");
    assert!(line.contains("no keyspace elsewhere") && line.contains("store migrate"), "{line}");
    let line = refused(&launch, "store.addresses", "127.0.0.1:1");
    assert!(line.contains("no store answers at 127.0.0.1:1"), "{line}");
    let line = refused(&launch, "store.tls_ca", "/nonexistent.pem");
    assert!(line.contains("scylla-tls") || line.contains("store.tls_ca"), "{line}");

    let mut server = launch.start_ready().expect("starts");
    let mut crowd = Crowd::new(launch.tokens(1, 1, USERS).expect("tokens"), 1, 4_711);
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    // Little beside what the log holds, and something in every conversation.
    let some = |crowd: &mut Crowd| crowd.ledger.composed() >= 500;
    assert!(crowd.run(launch.address, LOAD, PATIENCE, some), "{}", crowd.waits_for());
    assert!(crowd.run(launch.address, None, PATIENCE, settled), "{}", crowd.waits_for());
    let before = crowd.ledger.check().acked;
    crowd.refusals.clear();

    node.kill();
    let full = |crowd: &mut Crowd| {
        ["RETRY_AFTER", "STORAGE_FULL"].iter().any(|code| crowd.refusals.contains_key(code))
    };
    assert!(crowd.run(launch.address, LOAD, PATIENCE, full), "{:?}", crowd.refusals);
    crowd.run(launch.address, None, Duration::from_millis(500), |_| false);
    let acked = crowd.ledger.check().acked;
    assert!(acked >= before + LOGGED_MIN, "{before}, then {acked} acked from the log alone");
    assert_eq!(server.has_ended(), None);

    node.start_again().expect("starts again");
    assert!(crowd.run(launch.address, None, PATIENCE, settled), "{}", crowd.waits_for());
    let verdict = crowd.ledger.check();
    assert!(verdict.is_clean() && crowd.faults.is_empty(), "{verdict:?} {:?}", crowd.faults);
    server.stop().expect("stops");

    node.kill();
    let error = launch.start_ready().expect_err("refused").to_string();
    assert!(error.contains("no store answers") && error.contains("store.addresses"), "{error}");
}
