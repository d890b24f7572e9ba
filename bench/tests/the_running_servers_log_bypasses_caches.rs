//! kill -9 alone cannot see a missing sync: the kernel writes a killed program's pages all the
//! same. So the log's descriptors themselves must say that writes are direct and synchronous.

mod support;

use bench::process::descriptors;
use bench::server::{Launch, Scratch};
use bench::steady::is_log;
use std::time::{Duration, Instant};

#[test]
fn the_running_servers_log_bypasses_caches() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let launch = Launch::new(scratch.path(), 2);
    let server = launch.start_ready().unwrap();
    // A core may be ready before the first segment of its log is written with zeros.
    let deadline = Instant::now() + Duration::from_secs(20);
    let logs = loop {
        let mut open = descriptors(server.pid()).unwrap();
        open.retain(|(path, _)| is_log(path));
        if open.len() >= 2 {
            break open;
        }
        assert!(Instant::now() < deadline, "each core has a log: {open:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    for (path, flags) in &logs {
        assert_ne!(flags & libc::O_DIRECT, 0, "{} lacks O_DIRECT", path.display());
        assert_eq!(flags & libc::O_DSYNC, libc::O_DSYNC, "{} lacks O_DSYNC", path.display());
    }
    server.stop().unwrap();
}
