//! `ringmail store copy`, killed twice on its way: the real server then runs over a real Cassandra
//! with everything that it wrote into its data directory.

mod support;

use bench::crowd::{Crowd, Habits};
use bench::server::{Launch, Scratch};
use std::process::Stdio;
use std::time::Duration;

const USERS: usize = 8;
const MESSAGES: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs Java and Maven: bench/test-store runs it"]
fn a_killed_copy_goes_on_and_the_server_has_everything() {
    support::build_server_with_stores();
    let scratch = Scratch::new(Some(&support::dir())).expect("a directory");
    let node = bench::cassandra::Cassandra::start(scratch.path()).expect("Cassandra starts");
    let mut launch = Launch::new(scratch.path(), 2);
    launch.keep_every_entry();
    let server = launch.start_ready().expect("starts");
    let mut crowd = Crowd::new(launch.tokens(1, 1, USERS).expect("tokens"), 1, 77);
    let habits = Habits { depth: 16, body_bytes: 64 };
    let enough = |crowd: &mut Crowd| crowd.ledger.composed() >= MESSAGES;
    assert!(crowd.run(launch.address, Some(habits), PATIENCE, enough), "too slow");
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    assert!(crowd.run(launch.address, None, PATIENCE, settled), "{}", crowd.waits_for());

    let embedded = launch.clone();
    node.serve(&mut launch).expect("migrated");
    let busy = launch.run(&["store", "copy"]).expect_err("a server runs");
    assert!(busy.to_string().contains("is in use by process"), "{busy}");
    let early = launch.start_ready().expect_err("the messages are elsewhere");
    drop(server);
    assert!(early.to_string().contains("in use"), "{early}");
    let early = launch.start_ready().expect_err("the messages are elsewhere");
    assert!(early.to_string().contains("ringmail store copy"), "{early}");

    // Killed once some of it is noted.
    let noted = |launch: &Launch| std::fs::read(launch.data_dir.join("copy")).unwrap_or_default();
    for _ in 0..2 {
        let mut copy = launch.program(&["store", "copy"]).expect("a program");
        let mut copy = copy.stderr(Stdio::null()).spawn().expect("runs");
        let before = noted(&launch);
        while noted(&launch) == before && copy.try_wait().expect("ours").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        copy.kill().expect("ours");
        assert!(!copy.wait().expect("ours").success(), "it was killed before it was done");
    }
    let said = launch.run(&["store", "copy"]).expect("copied");
    assert!(said.contains(&format!("{} messages among them", crowd.ledger.composed())), "{said}");
    let again = launch.run(&["store", "copy"]).expect_err("done already");
    assert!(again.to_string().contains("in the store already"), "{again}");
    let back = embedded.start_ready().expect_err("the messages are elsewhere");
    assert!(back.to_string().contains("scylla"), "{back}");

    let server = launch.start_ready().expect("starts over Cassandra");
    for (user, token) in (0..).zip(launch.tokens(1, 2, USERS).expect("tokens")) {
        crowd.add_reader(user, token);
    }
    assert!(crowd.run(launch.address, None, PATIENCE, |crowd| crowd.readers_are_level()));
    crowd.compose_to(0, 1, 64);
    assert!(crowd.run(launch.address, None, PATIENCE, settled), "{}", crowd.waits_for());
    let verdict = crowd.ledger.check();
    assert!(verdict.is_clean() && crowd.faults.is_empty(), "{verdict:?} {:?}", crowd.faults);
    server.stop().expect("stops");
}
