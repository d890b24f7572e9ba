//! A child process writes batches and says so after each; it is killed with SIGKILL at a random
//! instant. The test program runs itself as that child.

mod rows;

use embedded::Embedded;
use persistence::Backend;
use rows::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const KILLS: u64 = 12;
const STORE: &str = "RINGMAIL_TEST_KILLED_STORE";

#[test]
fn child() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = Embedded::open(path.as_ref(), CACHE_BYTES).expect("opens");
    let mut n = conversation(&store).head + 1;
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").expect("the parent reads");
    loop {
        store.write(&batch(n, n + 3)).expect("written");
        n += 3;
        writeln!(out, "written {}", n - 1).expect("the parent reads");
    }
}

#[test]
fn a_killed_writer_loses_nothing_it_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let mut reported = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child", "--nocapture"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("readable"));
        assert!(lines.any(|line| line == "open"), "the child opens the store");
        std::thread::sleep(Duration::from_millis(3 + kill * 7 % 40));
        child.kill().expect("killed");
        child.wait().expect("gone");
        for line in lines {
            if let Some(n) = line.strip_prefix("written ") {
                // The last line may be cut off.
                reported = n.parse::<u64>().expect("a number").max(reported);
            }
        }
        let store = Embedded::open(&path, CACHE_BYTES).expect("opens");
        let head = conversation(&store).head;
        assert!(head >= reported, "{reported} were reported, {head} are there");
        assert_holds(&store, head);
    }
    assert!(reported > 0, "something was written");
}
