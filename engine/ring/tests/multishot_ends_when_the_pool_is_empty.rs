//! ENOBUFS ends a multishot receive, not the connection: armed again, it brings the rest in order.

use ring::{Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use std::io::Write;
use std::net::{TcpListener, TcpStream};

#[test]
fn multishot_ends_when_the_pool_is_empty() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let mut ring = Ring::new(&RingConfig {
        entries: 8,
        completions: 64,
        files: 1,
        buffers: Some((4, 16)),
        mode: RingMode::Deferred,
    })
    .unwrap();
    let file = Target::Direct(ring.install(socket.into()).unwrap());
    let token = Token::new(1, 0, 0);
    let sent: Vec<u8> = (0..=255).collect();
    peer.write_all(&sent).unwrap();

    let (mut received, mut held, mut ended) = (Vec::new(), Vec::new(), 0);
    ring.recv_multi(token, file);
    while received.len() < sent.len() {
        ring.enter(Wait::Until(None));
        while let Some(completion) = ring.reap() {
            assert_eq!(completion.token, token);
            if let Given::Received(buffer) = completion.given {
                received.extend_from_slice(ring.bytes(&buffer));
                held.push(buffer);
            }
            if !completion.more {
                ended += 1;
                assert!(!held.is_empty(), "the pool is empty because the buffers are here");
                held.drain(..).for_each(|buffer| ring.give_back(buffer));
                ring.recv_multi(token, file);
            }
        }
    }
    assert_eq!(received, sent);
    assert!(ended >= 3, "256 bytes do not fit into 4 buffers of 16");
}
