//! kill -9 alone cannot see a missing sync, so the log's descriptors are looked at.

mod common;
use common::{Dir, eventually, free_port, open_flags, ringmail, start};
use rustix::fs::OFlags;

#[test]
fn with_o_direct_and_o_dsync() {
    let dir = Dir::new();
    let server = start(ringmail(&dir).args(["--listen", &format!("127.0.0.1:{}", free_port())]));
    let wanted = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
    eventually("both cores have an open segment", || {
        let flags = open_flags(server.child.id(), ".log");
        assert!(flags.iter().all(|flags| flags & wanted == wanted), "{flags:?}");
        flags.len() >= 2
    });
    server.stop();
}
