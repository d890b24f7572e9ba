//! `ringmail config print` shows each value and where it came from.

mod common;
use common::{Dir, ringmail, succeeds};
use serde_json::Value;
use std::{fs, process::Command};

fn value_and_origin(command: &mut Command, key: &str) -> (String, String) {
    let said = succeeds(command.args(["config", "print", "--json"]));
    let keys: Value = serde_json::from_str(&said).unwrap();
    let row = keys.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn for_one_key() {
    let dir = Dir::new();
    let key = "limits.flush_ms";
    let expect = |command: &mut Command, value: &str, origin: &str| {
        assert_eq!(value_and_origin(command, key), (value.to_owned(), origin.to_owned()));
    };
    expect(&mut ringmail(&dir), "4000", "default");
    fs::write(dir.0.join("ringmail.toml"), "[limits]\nflush_ms = 1_111\n").unwrap();
    expect(&mut ringmail(&dir), "1111", "file");
    expect(ringmail(&dir).env("RINGMAIL_LIMITS__FLUSH_MS", "222"), "222", "env");
    let mut both = ringmail(&dir);
    both.env("RINGMAIL_LIMITS__FLUSH_MS", "222").args(["--set", "limits.flush_ms=333"]);
    expect(&mut both, "333", "flag");
}

#[test]
fn the_table_for_people_explains_every_key() {
    let dir = Dir::new();
    let said = succeeds(ringmail(&dir).args(["config", "print"]));
    for word in ["listen", "data_dir", "shards", "limits.connections_max", "origin", "costs:"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert!(said.contains("env RINGMAIL_LIMITS__CONNECTIONS_MAX"), "{said}");
}
