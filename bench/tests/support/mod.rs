//! Builds the server beside the benchmark, and runs the benchmark.

#![allow(dead_code, reason = "every test uses a part of it")]

pub mod raw;

use bench::server::{Launch, Running, ServerError};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a server may take to be ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// Builds `ringmail` in the profile of this test, if it is not up to date.
pub fn build_server() {
    build("");
}

/// Builds it with the distributed store and with Redis.
pub fn build_server_with_stores() {
    build("scylla-tls,redis");
}

fn build(features: &str) {
    // By what runs all tests, with everything.
    if std::env::var_os("SERVER_IS_BUILT").is_some() {
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "ringmail-engine", "--bin", "ringmail"]);
    cargo.args(["--features", features]);
    // What the outer cargo says of this crate; build programs of others would run again for it.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars().filter(|(name, _)| own(name)).for_each(|(name, _)| {
        cargo.env_remove(name);
    });
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_ringmail-bench"));
    let target = program.parent().and_then(|profile| profile.parent()).expect("target/profile/x");
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(cargo.status().expect("cargo runs").success(), "the server builds");
}

/// Where tests keep files: on a disk.
pub fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Starts the server as the last arguments of another program, which runs it in its own place.
pub fn start_through(mut program: Command, launch: &Launch) -> Result<Running, ServerError> {
    let server = launch.command()?;
    program.arg(server.get_program()).args(server.get_args());
    let mut server = Running::spawn(program, None, &launch.errors_file())?;
    server.wait_ready(READY_PATIENCE)?;
    Ok(server)
}

/// Runs `ringmail-bench` with these arguments: its result, and whether it ended well.
pub fn bench(arguments: &[&str]) -> (Value, bool) {
    let name = format!("bench-{}-{}.json", arguments[0], std::process::id());
    let path = dir().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmail-bench"));
    let status = command.args(arguments).arg("--dir").arg(dir()).arg("--json").arg(&path).status();
    let text = std::fs::read_to_string(&path).expect("a result was written");
    let result = serde_json::from_str(&text).expect("it is JSON");
    std::fs::remove_file(&path).expect("the result is ours");
    (result, status.expect("the benchmark runs").success())
}
