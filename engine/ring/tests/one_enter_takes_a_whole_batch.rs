//! The kernel runs 20 deferred completions per call unless more are awaited: the ring learns the
//! size of a batch, so that calls do not grow with completions.

use ring::{Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use std::io::Write;
use std::os::unix::net::UnixStream;

#[test]
fn one_enter_takes_a_whole_batch() {
    const SOCKETS: usize = 200;
    const ROUNDS: usize = 20;
    let mut ring = Ring::new(&RingConfig {
        entries: 256,
        completions: 1024,
        files: 0,
        buffers: Some((256, 16)),
        mode: RingMode::Deferred,
    })
    .unwrap();
    let mut pairs: Vec<_> = (0..SOCKETS).map(|_| UnixStream::pair().unwrap()).collect();
    for (i, (socket, _)) in pairs.iter().enumerate() {
        ring.recv_multi(Token::new(1, i as u32, 0), Target::from(socket));
    }
    ring.enter(Wait::No);
    let before = ring.enters();
    for _ in 0..ROUNDS {
        pairs.iter_mut().for_each(|(_, peer)| peer.write_all(b"x").unwrap());
        let mut received = 0;
        while received < SOCKETS {
            ring.enter(Wait::No);
            while let Some(completion) = ring.reap() {
                let Given::Received(buffer) = completion.given else { panic!("received") };
                ring.give_back(buffer);
                received += 1;
            }
        }
    }
    let per_round = (ring.enters() - before) as usize / ROUNDS;
    assert!(per_round <= 4, "{per_round} calls for {SOCKETS} completions");
}
