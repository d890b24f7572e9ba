//! A server without a free descriptor serves those who are there, asks for new connections some
//! ten times a second and not all the time, and takes them once it can.
//!
//! Its own limits keep sockets from using descriptors up. So it inherits so many that a few are
//! left, and connections that say nothing take those.

mod support;

use bench::process::{descriptors, raise_open_files};
use bench::server::{Launch, Running, Scratch, counter};
use std::fs::{self, File};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use support::raw::{PATIENCE, Raw, Said};

/// Accepting pauses so long.
const PAUSE: Duration = Duration::from_millis(100);
const STARVED: Duration = Duration::from_millis(1_500);
const HANDSHAKES: usize = 50;
/// Open files that the server wants to be allowed, at least.
const LIMIT: usize = 1_024 + HANDSHAKES;
/// How many of them are left to it.
const SPARE: usize = 20;

fn used(server: &Running) -> usize {
    // What the start opens late is open then.
    thread::sleep(Duration::from_secs(1));
    descriptors(server.pid()).unwrap().len()
}

/// Descriptors that every child inherits.
fn hoard(count: usize) -> Vec<File> {
    let open = || {
        let file = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        file
    };
    (0..count).map(|_| open()).collect()
}

/// Starts a server that may open `LIMIT` files, of which `inherited` are open.
fn start(launch: &Launch, inherited: usize) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"")]);
    let _hoard = hoard(inherited);
    support::start_through(shell, launch).unwrap()
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    support::build_server();
    raise_open_files().unwrap();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let mut launch = Launch::new(scratch.path(), 1);
    launch.set("limits.connections_max", 200);
    launch.set("limits.handshakes_max", HANDSHAKES);
    let server = start(&launch, 0);
    let alone = used(&server);
    server.stop().unwrap();
    let server = start(&launch, LIMIT - SPARE - alone);
    let tokens = launch.tokens(1, 1, 2).unwrap();
    let mut one = Raw::connect(launch.address, &tokens[0], None);
    one.await_said(&Said::Welcome);
    assert!(used(&server) < LIMIT, "some are left");

    let begun = Instant::now();
    let silent: Vec<_> =
        (0..2 * SPARE).map(|_| TcpStream::connect(launch.address).unwrap()).collect();
    let mut two = Raw::connect(launch.address, &tokens[1], None);
    assert_eq!(two.next_within(STARVED / 2), None, "no descriptor, no session");
    for n in 1..10 {
        one.send(2, n, b"meanwhile");
        one.await_sent(n);
    }
    thread::sleep(STARVED.saturating_sub(begun.elapsed()));
    drop(silent);
    two.await_said(&Said::Welcome);
    let starved = begun.elapsed();
    for _ in 1..10 {
        two.next("every message", |said| matches!(said, Said::Message { .. }).then_some(()));
    }
    let pauses = || {
        let stats = serde_json::from_slice(&fs::read(launch.stats_file()).ok()?).ok()?;
        counter(&stats, "accept_pauses").filter(|&pauses| pauses > 0)
    };
    let end = Instant::now() + PATIENCE;
    let pauses = loop {
        match pauses() {
            Some(pauses) => break pauses,
            None => assert!(Instant::now() < end, "no pause was counted"),
        }
        thread::sleep(Duration::from_millis(50));
    };
    let most = starved.as_millis() / PAUSE.as_millis() + 2;
    assert!(u128::from(pauses) <= most, "{pauses} tries in {starved:?}");
    server.stop().unwrap();
}
