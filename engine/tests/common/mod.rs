//! Starts the built `ringmail` in a directory of its own.

#![allow(dead_code, reason = "every test uses a part of it")]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// A directory that goes with the value.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmail-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Every file below with its content, to see that nothing changed.
    pub fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut left = vec![self.0.clone()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path.clone());
                    found.push((path, Vec::new()));
                } else {
                    let content = fs::read(&path).unwrap();
                    found.push((path, content));
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `ringmail` with this directory as its working directory, and small segments.
pub fn ringmail(dir: &Dir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmail"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGMAIL_")) {
        command.env_remove(name);
    }
    command.current_dir(&dir.0).args(["--data-dir", "data", "--shards", "2", "--pin", "false"]);
    command.args(["--set", "limits.segment_bytes=1048576"]);
    command.args(["--set", "limits.connections_max=200", "--set", "limits.handshakes_max=50"]);
    command
}

/// Runs a command that fails: its one line on standard error.
pub fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let line = String::from_utf8(stderr).unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert!(!status.success() && status.code().is_some(), "{status}: {line}{said}");
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    assert_eq!(said, "");
    line.trim_end().to_owned()
}

/// Runs a command that succeeds: its standard output.
pub fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// A server that listens; killed with the value.
pub struct Running {
    pub child: Child,
    pub ready: Value,
}

/// Starts a server and waits until it is ready.
pub fn start(command: &mut Command) -> Running {
    let begun = Instant::now();
    let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "ready after {:?}", begun.elapsed());
    let ready: Value = serde_json::from_str(&line).expect("a ready line");
    assert_eq!(ready["ready"], true);
    Running { child, ready }
}

impl Running {
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Tells it to stop, and waits until it did.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until this holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The flags of a process's open files whose path contains this.
pub fn open_flags(pid: u32, path: &str) -> Vec<i32> {
    let fds = Path::new("/proc").join(pid.to_string()).join("fd");
    let mut flags = Vec::new();
    for entry in fs::read_dir(&fds).unwrap() {
        let fd = entry.unwrap();
        let target = fs::read_link(fd.path()).unwrap_or_default();
        if target.to_string_lossy().contains(path) {
            let info = fs::read_to_string(fds.with_file_name("fdinfo").join(fd.file_name()));
            let info = info.unwrap_or_default();
            let line = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0");
            flags.push(i32::from_str_radix(line.trim(), 8).unwrap());
        }
    }
    flags
}
