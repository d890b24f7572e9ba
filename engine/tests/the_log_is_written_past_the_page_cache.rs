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
        // A segment is filled with zeros under a name of its own before it is opened to be written.
        ["0", "1"].iter().all(|core| {
            let flags = open_flags(server.child.id(), &format!("/data/log/1/{core}/0.log"));
            assert!(flags.iter().all(|flags| flags & wanted == wanted), "{flags:?}");
            !flags.is_empty()
        })
    });
    server.stop();
}
