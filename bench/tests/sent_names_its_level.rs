//! SENT names the level at which the message is durable: the one that is configured.

mod support;

use bench::server::{Launch, Scratch};
use support::raw::{Raw, Said};

#[test]
fn sent_names_the_configured_level_and_a_repeated_send_is_known() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let launch = Launch::new(scratch.path(), 2);
    let server = launch.start_ready().unwrap();
    let token = launch.tokens(1, 1, 1).unwrap().remove(0);
    let mut one = Raw::connect(launch.address, &token, None);
    one.await_said(&Said::Welcome);
    // To users of the same core and of the other one.
    for (n, peer) in (1..).zip([2, 3, 4, 5]) {
        one.send(peer, 1, format!("number {n}").as_bytes());
        one.await_sent(1);
    }
    one.send(2, 1, b"number 1");
    one.await_said(&Said::Sent { n: 1, level: None });
    server.stop().unwrap();
}
