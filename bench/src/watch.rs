//! What is read of a server from outside, before and after a phase.

use crate::process;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The server's process.
    pub pid: u32,
    /// Its counters, if it writes any.
    pub stats_file: Option<PathBuf>,
    /// A directory on the disk that it writes to.
    pub dir: PathBuf,
}

/// What was seen at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Processor time by its threads' names.
    pub cpu_ns_by_thread: BTreeMap<String, u64>,
    /// TCP segments that this machine sent.
    pub segments_out: u64,
    /// Bytes that went to the disk, whoever wrote them.
    pub device_bytes: Option<u64>,
    /// The server's own counters, up to a second old.
    pub stats: Option<Value>,
}

impl Reading {
    /// Processor time of all threads.
    pub fn cpu_ns(&self) -> u64 {
        self.cpu_ns_by_thread.values().sum()
    }
}

impl Watch {
    /// Reads everything now.
    pub fn read(&self) -> io::Result<Reading> {
        let text = self.stats_file.as_ref().and_then(|path| std::fs::read(path).ok());
        Ok(Reading {
            cpu_ns_by_thread: process::cpu_ns_by_thread(self.pid)?,
            segments_out: process::segments_out()?,
            device_bytes: process::device_bytes_written(&self.dir),
            stats: text.and_then(|text| serde_json::from_slice(&text).ok()),
        })
    }
}
