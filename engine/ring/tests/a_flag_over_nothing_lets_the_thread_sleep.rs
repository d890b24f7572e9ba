//! The kernel takes its flag of deferred work down before it does the work, and does what comes
//! meanwhile as well: then the flag stays up over nothing. A thread that took it for work would
//! not sleep again.

use ring::{Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5_000;
const SOCKETS: usize = 32;

#[test]
fn a_flag_over_nothing_lets_the_thread_sleep() {
    let mut ring = Ring::new(&RingConfig {
        entries: 64,
        completions: 256,
        files: 0,
        buffers: Some((64, 16)),
        mode: RingMode::Deferred,
    })
    .unwrap();
    let (sockets, mut peers): (Vec<_>, Vec<_>) =
        (0..SOCKETS).map(|_| UnixStream::pair().unwrap()).unzip();
    let (mut go, mut gone) = UnixStream::pair().unwrap();
    let peer = thread::spawn(move || {
        for _ in 0..ROUNDS {
            peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
            gone.read_exact(&mut [0]).unwrap();
        }
        // What comes while the flag is of no use.
        thread::sleep(Duration::from_millis(20));
        peers[0].write_all(b"y").unwrap();
        peers
    });
    for (index, socket) in sockets.iter().enumerate() {
        ring.recv_multi(Token::new(1, index as u32, 0), Target::from(socket));
    }
    for round in 0..ROUNDS {
        (0..SOCKETS).for_each(|_| receive(&mut ring, Wait::No));
        // The other thread waits for its byte: nothing can come.
        ring.enter(Wait::No);
        ring.enter(Wait::No);
        assert!(!ring.work_is_deferred(), "round {round}: work, though nothing comes");
        go.write_all(b"z").unwrap();
    }
    let begun = Instant::now();
    receive(&mut ring, Wait::Until(Some(Duration::from_secs(10))));
    assert!(begun.elapsed() < Duration::from_secs(5), "the thread slept on");
    peer.join().unwrap();
}

fn receive(ring: &mut Ring, wait: Wait) {
    loop {
        if let Some(completion) = ring.reap() {
            let Given::Received(buffer) = completion.given else { panic!("a receive ended") };
            return ring.give_back(buffer);
        }
        ring.enter(wait);
    }
}
