//! A device with a tiny receive buffer that reads in small pieces: the kernel takes the server's
//! output piece by piece. Every byte comes, in order, and others are served as if it was not there.

mod support;

use bench::server::{Launch, Scratch};
use std::thread;
use std::time::{Duration, Instant};
use support::raw::{Raw, Said};

const MESSAGES: u64 = 60;
const BODY_BYTES: usize = 16 * 1024;

fn body(n: u64) -> Vec<u8> {
    (0..BODY_BYTES as u64).map(|i| (i * 31 + i / 251 + n * 7) as u8).collect()
}

#[test]
fn a_slow_reader_gets_every_byte_and_stalls_nobody() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let launch = Launch::new(scratch.path(), 1);
    let server = launch.start_ready().unwrap();
    let tokens = launch.tokens(1, 1, 4).unwrap();
    let mut slow = Raw::connect(launch.address, &tokens[1], Some(4 * 1024));
    slow.await_said(&Said::Welcome);
    (slow.read_bytes_max, slow.read_pause) = (3 * 1024, Duration::from_millis(10));

    let mut writer = Raw::connect(launch.address, &tokens[0], None);
    for n in 1..=MESSAGES {
        writer.send(2, n, &body(n));
        writer.await_sent(n);
    }
    let reading = thread::spawn(move || {
        for n in 1..=MESSAGES {
            let got = slow.next("a message", |said| match said {
                Said::Message { body } => Some(body),
                _ => None,
            });
            assert!(got == body(n), "message {n} is not what was sent");
            slow.acknowledge();
        }
        slow
    });
    let mut three = Raw::connect(launch.address, &tokens[2], None);
    let mut n = 0;
    while !reading.is_finished() {
        n += 1;
        let begun = Instant::now();
        three.send(4, n, b"quick");
        three.await_sent(n);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?} beside a slow reader");
        thread::sleep(Duration::from_millis(5));
    }
    let mut slow = reading.join().unwrap();
    assert!(n >= 5, "the reader was slow for {n} rounds only");
    let more = |said| matches!(said, Said::Message { .. });
    assert!(!slow.next_within(Duration::from_millis(200)).is_some_and(more), "one too many");
    server.stop().unwrap();
}
