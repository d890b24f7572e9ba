//! Under load, the kernel refuses the log's next write (its process may write to the first 4 KiB of
//! files alone).
//! The process ends with one line, and nothing was acked that is not there afterwards.

mod support;

use bench::crowd::{Crowd, Habits};
use bench::server::{Launch, Running, Scratch};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::process::Command;
use std::time::{Duration, Instant};

const USERS: usize = 8;
const LOAD: Option<Habits> = Some(Habits { depth: 4, body_bytes: 64 });
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the server deaf to SIGXFSZ, which would end it before it sees the error.
fn start(launch: &Launch) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    support::start_through(shell, launch).unwrap()
}

#[test]
fn a_failed_log_write_ends_the_process() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let mut launch = Launch::new(scratch.path(), 1);
    launch.keep_every_entry();
    let mut server = start(&launch);
    let mut crowd = Crowd::new(launch.tokens(1, 1, USERS).unwrap(), 1, 42);
    crowd.run(launch.address, LOAD, Duration::from_secs(1), |_| false);
    let acked = crowd.ledger.check().acked;
    assert!(acked > 0, "nothing was acked before: {:?}", crowd.faults);

    let pid = Pid::from_raw(server.pid() as i32);
    // Its hard limit is the one that it inherited from here.
    let maximum = getrlimit(Resource::Fsize).maximum;
    prlimit(pid, Resource::Fsize, Rlimit { current: Some(4096), maximum }).unwrap();
    let mut end = None;
    crowd.run(launch.address, LOAD, PATIENCE, |_| {
        end = end.take().or_else(|| server.has_ended());
        end.is_some()
    });
    let (status, words) = end.expect("the server ends");
    assert!(!status.success(), "{status}");
    let lines: Vec<&str> = words.lines().collect();
    let [line] = lines[..] else { panic!("one line: {words}") };
    assert!(line.contains("writing the log failed: File too large"), "{line}");
    assert!(line.contains("nothing more is acked"), "{line}");

    // What it had acked until then is there, and the rest goes out again, once.
    let server = launch.start_ready().unwrap();
    let begun = Instant::now();
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    let settled = crowd.run(launch.address, None, PATIENCE, settled);
    let verdict = crowd.ledger.check();
    assert!(settled, "{verdict:?} after {:?}", begun.elapsed());
    for (user, token) in (0..).zip(launch.tokens(1, 2, USERS).unwrap()) {
        crowd.add_reader(user, token);
    }
    assert!(crowd.run(launch.address, None, PATIENCE, |crowd| crowd.readers_are_level()));
    let verdict = crowd.ledger.check();
    assert!(verdict.is_clean() && verdict.acked >= acked, "{verdict:?}");
    assert_eq!(crowd.faults, Vec::<String>::new());
    server.stop().unwrap();
}
