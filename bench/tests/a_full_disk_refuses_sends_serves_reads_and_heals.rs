//! The server's disk is a small file system of its own, in memory, that fills up: sends are
//! refused with STORAGE_FULL, readers read on, and once there is space everything goes on in the
//! same process. The file system lives in a mount namespace, which needs no root where the kernel
//! lets users have namespaces; elsewhere this test fails and says so.

mod support;

use bench::crowd::{Crowd, Habits};
use bench::server::{Launch, Running, Scratch};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const USERS: usize = 8;
const LOAD: Option<Habits> = Some(Habits { depth: 4, body_bytes: 1_024 });
const PATIENCE: Duration = Duration::from_secs(30);
const FULL: &str = "STORAGE_FULL";

/// Starts the server with `disk` as a file system of 256 MiB that only it sees. Returns how it
/// is reached from here.
fn start(launch: &Launch, disk: &Path) -> (Running, PathBuf) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    unshare.arg("mount -t tmpfs -o size=256m tmpfs \"$0\" && exec \"$@\"").arg(disk);
    let server = support::start_through(unshare, launch).unwrap_or_else(|error| {
        panic!("{error}; this test needs util-linux and user namespaces (or root)")
    });
    let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
    (server, root.join(disk.strip_prefix("/").unwrap()))
}

/// Takes all space there is.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [1 << 20, 4096] {
        while file.write_all(&vec![1; bytes]).is_ok() {}
    }
}

#[test]
fn a_full_disk_refuses_sends_serves_reads_and_heals() {
    support::build_server();
    let scratch = Scratch::new(Some(&support::dir())).unwrap();
    let disk = scratch.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mut launch = Launch::new(&disk, 1);
    launch.keep_every_entry();
    launch.set("limits.segment_bytes", 1 << 20);
    launch.set("limits.retry_after_ms", 100);
    let (mut server, seen) = start(&launch, &disk);
    let reached = Launch { data_dir: seen.join("data"), ..launch.clone() };
    let mut crowd = Crowd::new(reached.tokens(1, 1, USERS).unwrap(), 1, 42);
    crowd.run(launch.address, LOAD, Duration::from_millis(500), |_| false);
    assert!(crowd.ledger.check().acked > 0, "nothing was acked before: {:?}", crowd.faults);

    let filler = seen.join("filler");
    fill(&filler);
    let refused = |crowd: &mut Crowd| crowd.refusals.contains_key(FULL);
    assert!(crowd.run(launch.address, LOAD, PATIENCE, refused), "{:?}", crowd.refusals);
    // Answers to what was taken before are on their way still.
    crowd.run(launch.address, None, Duration::from_millis(500), |_| false);
    let acked = crowd.ledger.check().acked;

    // New devices read everything that was acked, while the disk is full.
    for (user, token) in (0..).zip(reached.tokens(1, 2, USERS).unwrap()) {
        crowd.add_reader(user, token);
    }
    let level = crowd.run(launch.address, None, PATIENCE, |crowd| crowd.readers_are_level());
    assert!(level, "readers are not served: {:?}", crowd.ledger.check());
    let verdict = crowd.ledger.check();
    assert_eq!((verdict.lost, verdict.acked), (0, acked), "{verdict:?}");
    assert_eq!(server.has_ended(), None);

    fs::remove_file(&filler).unwrap();
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    let settled = crowd.run(launch.address, None, PATIENCE, settled);
    let verdict = crowd.ledger.check();
    assert!(settled && verdict.acked > acked && verdict.is_clean(), "{verdict:?}");
    assert_eq!(crowd.faults, Vec::<String>::new());
    assert_eq!(server.has_ended(), None, "the same process");
    server.stop().unwrap();
}
