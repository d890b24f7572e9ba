//! `--stats-file` shows programs outside what the server costs.

mod common;
use common::{Dir, eventually, free_port, ringmail, start};
use serde_json::Value;
use std::fs;

#[test]
fn for_every_thread_and_core() {
    let dir = Dir::new();
    let mut command = ringmail(&dir);
    command.args(["--listen", &format!("127.0.0.1:{}", free_port())]);
    let server = start(command.args(["run", "--stats-file", "stats.json"]));
    let read = || -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(dir.0.join("stats.json")).ok()?).ok()
    };
    eventually("counters are there", || read().is_some());
    let first = read().unwrap();
    eventually("they are written again", || read().unwrap()["unix_us"] != first["unix_us"]);
    let stats = read().unwrap();
    assert_eq!(stats["pid"], server.child.id());
    assert_eq!(stats["cores"].as_array().unwrap().len(), 2);
    assert!(stats["cores"][0]["enters"].as_u64().unwrap() > 0, "{stats}");
    for thread in ["core-0", "core-1", "store-write", "store-read"] {
        assert!(stats["threads_cpu_us"][thread].is_u64(), "{thread} in {stats}");
    }
    assert!(stats["rss_bytes"].as_u64().unwrap() > 1 << 20, "{stats}");
    server.stop();
}
