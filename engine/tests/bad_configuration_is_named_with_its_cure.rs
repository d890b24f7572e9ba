//! A wrong value tells its key, where it came from, what it was, and what it must be.

mod common;
use common::{Dir, refused, ringmail, succeeds};
use std::fs;

#[test]
fn in_a_flag() {
    let dir = Dir::new();
    let line = refused(ringmail(&dir).args(["--listen", "localhost"]));
    assert!(line.contains("listen = \"localhost\" (flag)"), "{line}");
    assert!(line.contains("127.0.0.1:4848"), "{line}");
    let line = refused(ringmail(&dir).args(["--set", "limits.users_max=0"]));
    assert!(line.contains("limits.users_max = \"0\" (flag): must be a number from 1"), "{line}");
    let line = refused(ringmail(&dir).args(["--set", "limits.users_max"]));
    assert!(line.contains("--set KEY=VALUE"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn in_the_environment() {
    let dir = Dir::new();
    let line = refused(ringmail(&dir).env("RINGMAIL_LIMITS__SEGMENT_BYTES", "many"));
    assert!(line.contains("limits.segment_bytes = \"many\""), "{line}");
    assert!(line.contains("env RINGMAIL_LIMITS__SEGMENT_BYTES"), "{line}");
    let line = refused(ringmail(&dir).env("RINGMAIL_LIMITS__SEGMENTBYTES", "4096"));
    assert!(line.contains("did you mean RINGMAIL_LIMITS__SEGMENT_BYTES?"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn in_the_file() {
    let dir = Dir::new();
    let file = dir.0.join("ringmail.toml");
    fs::write(&file, "[limits]\nuser_max = 7\n").unwrap();
    let line = refused(&mut ringmail(&dir));
    assert!(line.contains("unknown key limits.user_max in file ringmail.toml"), "{line}");
    assert!(line.contains("did you mean limits.users_max?"), "{line}");
    fs::write(&file, "listen = \"127.0.0.1:4848\"\n\nshards = [1\n").unwrap();
    let line = refused(&mut ringmail(&dir));
    assert!(line.contains("ringmail.toml line"), "{line}");
    let line = refused(ringmail(&dir).args(["--config", "missing.toml"]));
    assert!(line.contains("cannot read the configuration file missing.toml"), "{line}");
}

#[test]
fn a_file_named_by_the_environment_is_read() {
    let dir = Dir::new();
    fs::write(dir.0.join("other.toml"), "watchdog_s = 77\n").unwrap();
    let mut print = ringmail(&dir);
    let said = succeeds(print.env("RINGMAIL_CONFIG", "other.toml").args(["config", "print"]));
    assert!(said.lines().any(|line| line.starts_with("watchdog_s") && line.contains("77")));
}
