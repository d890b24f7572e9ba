//! A SEND above the deployment's limit costs the sender that SEND, one above the protocol's own
//! limit the connection.

mod support;

use bench::server::{Launch, Scratch};
use client::wire::{BODY_BYTES_MAX, CloseCode, RefusalCode};
use support::raw::{Raw, Said};

const LIMIT: usize = 1_000;

#[test]
fn a_body_that_is_too_long_is_refused_and_the_session_stays() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let mut launch = Launch::new(scratch.path(), 1);
    launch.set("limits.body_bytes_max", LIMIT);
    let server = launch.start_ready().unwrap();
    let tokens = launch.tokens(1, 1, 2).unwrap();
    let mut one = Raw::connect(launch.address, &tokens[0], None);
    one.await_said(&Said::Welcome);
    for (n, bytes) in [LIMIT + 1, 10 * LIMIT, BODY_BYTES_MAX].into_iter().enumerate() {
        let n = n as u64 + 5;
        one.send(2, n, &vec![b'x'; bytes]);
        let (code, limit) = (RefusalCode::TooBig, LIMIT as u64);
        one.await_said(&Said::Refused { n, code, limit });
    }
    // Nothing of them was taken, and nothing of them is read as a frame.
    let longest = vec![b'y'; LIMIT];
    one.send(2, 1, &longest);
    one.await_sent(1);
    let mut two = Raw::connect(launch.address, &tokens[1], None);
    let body = two.next("the message", |said| match said {
        Said::Message { body } => Some(body),
        _ => None,
    });
    assert!(body == longest);
    one.send(2, 2, &vec![b'z'; BODY_BYTES_MAX + 100]);
    one.await_said(&Said::Closed { code: CloseCode::FrameTooBig });
    server.stop().unwrap();
}
