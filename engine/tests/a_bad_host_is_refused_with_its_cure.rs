//! What the host lacks is one line with the cure, and nothing changed.

mod common;
use common::{Dir, free_port, refused, ringmail};
use serde_json::Value;
use std::{net::TcpListener, process::Command};

#[test]
fn with_the_port_taken() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let line = refused(ringmail(&dir).args(["--listen", &address]));
    assert!(line.contains(&format!("{address} is taken")), "{line}");
    assert!(line.contains("--listen"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn with_an_address_of_another_machine() {
    let dir = Dir::new();
    let line = refused(ringmail(&dir).args(["--listen", "192.0.2.1:4848"]));
    assert!(line.contains("cannot listen on 192.0.2.1:4848"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn with_too_few_open_files() {
    let dir = Dir::new();
    let mut limited = Command::new("sh");
    let script = "ulimit -n 300; exec \"$0\" --set limits.connections_max=5000 --shards 1";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_ringmail")]).current_dir(&dir.0);
    let line = refused(&mut limited);
    assert!(line.contains("the limit of open files is 300"), "{line}");
    assert!(line.contains("needs 5000") && line.contains("ulimit -Hn 5000"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn with_too_little_memory_for_the_ledger() {
    let dir = Dir::new();
    let mut command = ringmail(&dir);
    command.args(["--set", "limits.users_max=100000000", "--shards", "256"]);
    let line = refused(&mut command);
    assert!(line.contains("the ledger adds up to") && line.contains("lower --shards"), "{line}");
    assert!(dir.content().is_empty());
}

#[test]
fn and_a_check_tells_all_of_it_without_a_start() {
    let dir = Dir::new();
    let address = format!("127.0.0.1:{}", free_port());
    let said = common::succeeds(ringmail(&dir).args(["check", "--json", "--listen", &address]));
    let check: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(check["ok"], true, "{check}");
    assert_eq!(check["findings"].as_array().unwrap().len(), 7);
    assert!(check["ledger_bytes"].as_u64().unwrap() > 0);
    let _taken = TcpListener::bind(&address).unwrap();
    let check = ringmail(&dir).args(["check", "--listen", &address]).output().unwrap();
    let said = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(said.contains("BAD   port") && said.contains("total"), "{said}");
    assert!(dir.content().is_empty());
}
