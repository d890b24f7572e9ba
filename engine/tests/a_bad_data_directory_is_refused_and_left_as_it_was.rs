//! One line that names the path and the cure, and nothing changed.

mod common;
use common::{Dir, refused, ringmail, start};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

/// A data directory of a server that ran and stopped.
fn used() -> Dir {
    let dir = Dir::new();
    let port = common::free_port();
    start(ringmail(&dir).args(["--listen", &format!("127.0.0.1:{port}")])).stop();
    dir
}

fn expect(dir: &Dir, command: &mut Command, words: &[&str]) {
    let before = dir.content();
    let port = common::free_port();
    let line = refused(command.args(["--listen", &format!("127.0.0.1:{port}")]));
    for word in words {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(dir.content() == before, "something changed after: {line}");
}

#[test]
fn of_another_format_version() {
    let dir = used();
    fs::write(dir.data().join("format"), "2\n").unwrap();
    expect(&dir, &mut ringmail(&dir), &["data", "format version 2, this build knows 4", "run the"]);
}

#[test]
fn that_is_something_else() {
    let dir = Dir::new();
    fs::create_dir(dir.data()).unwrap();
    fs::write(dir.data().join("thesis.txt"), "mine").unwrap();
    expect(&dir, &mut ringmail(&dir), &["not a Ringmail data directory", "thesis.txt"]);
    fs::remove_dir_all(dir.data()).unwrap();
    fs::write(dir.data(), "a file").unwrap();
    expect(&dir, &mut ringmail(&dir), &["data", "Not a directory"]);
}

#[test]
fn whose_key_others_can_read_or_is_cut_or_missing() {
    let dir = used();
    let key = dir.data().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    expect(&dir, &mut ringmail(&dir), &["has mode 0640", "chmod 600 data/key"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, [7; 31]).unwrap();
    expect(&dir, &mut ringmail(&dir), &["data/key has 31 bytes instead of 32"]);
    fs::remove_file(&key).unwrap();
    expect(&dir, &mut ringmail(&dir), &["data/key cannot be read", "restore it"]);
}

#[test]
fn that_cannot_be_made() {
    let dir = Dir::new();
    let mut command = ringmail(&dir);
    expect(&dir, command.args(["--data-dir", "/proc/sys/data"]), &["/proc/sys", "--data-dir"]);
}

#[test]
fn whose_disk_has_no_room_for_the_log() {
    let dir = Dir::new();
    let mut command = ringmail(&dir);
    command.args(["--shards", "256", "--set", "limits.segment_bytes=1073741824"]);
    command.args(["--set", "limits.tail_bytes_max=2147483648"]);
    // Refused for want of disk or, before that, of memory, on any machine that runs this test.
    expect(&dir, &mut command, &["; ", "lower"]);
}
