//! What the running server tells about itself, once a second, into a file.

use crate::driver::DriverStats;
use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// One reading. Counters count from the start of the process.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Stats {
    /// When, in Unix microseconds.
    pub unix_us: u64,
    /// This process.
    pub pid: u32,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Processor time of each thread, those of the store among them, in microseconds.
    pub threads_cpu_us: BTreeMap<String, u64>,
    /// Their sum.
    pub cpu_us: u64,
    /// In order of their index.
    pub cores: Vec<CoreStats>,
}

/// What one core counted.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct CoreStats {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// How often the core slept.
    pub sleeps: u64,
    /// How often a ring's queue of completions was too small.
    pub overflows: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections closed at once, because a limit was reached.
    pub refused: u64,
    /// How often accepting failed and paused.
    pub accept_pauses: u64,
    /// Receives that found no buffer and were repeated.
    pub buffers_empty: u64,
    /// What its shard counted.
    #[serde(flatten)]
    pub shard: shards::Stats,
}

impl CoreStats {
    /// From both sides of the seam.
    pub fn new(shard: shards::Stats, driver: DriverStats) -> CoreStats {
        CoreStats {
            enters: driver.enters,
            sleeps: driver.sleeps,
            overflows: driver.overflows,
            accepted: driver.sockets.accepted,
            refused: driver.sockets.refused,
            accept_pauses: driver.sockets.accept_pauses,
            buffers_empty: driver.sockets.buffers_empty,
            shard,
        }
    }
}

/// Reads what the kernel knows of this process, and adds the cores' own counts.
pub fn read(cores: Vec<CoreStats>) -> io::Result<Stats> {
    let threads_cpu_us = threads_cpu_us()?;
    Ok(Stats {
        unix_us: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64),
        pid: std::process::id(),
        rss_bytes: rss_bytes()?,
        cpu_us: threads_cpu_us.values().sum(),
        threads_cpu_us,
        cores,
    })
}

/// Replaces the file at once, so that a reader never sees half of it.
pub fn write(path: &Path, stats: &Stats) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(stats)?)?;
    fs::rename(new, path)
}

/// What the cores of a running server have yet to flush, a line each, from the file that it writes.
#[cfg(feature = "scylla")]
pub fn flush_lag(path: &Path) -> io::Result<Vec<String>> {
    let stats: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
    let number = |value: &serde_json::Value, name: &str| value[name].as_u64();
    let missing = || io::Error::other("it has no counters of cores");
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let age_us = now_us.saturating_sub(number(&stats, "unix_us").ok_or_else(missing)?);
    let lines = stats["cores"].as_array().ok_or_else(missing)?.iter().enumerate();
    lines
        .map(|(core, stats)| {
            let bytes = number(stats, "unflushed_bytes").ok_or_else(missing)?;
            let seconds = number(stats, "unflushed_us").ok_or_else(missing)? as f64 / 1e6;
            let age = age_us as f64 / 1e6;
            Ok(format!(
                "core {core}: {bytes} bytes to flush, {seconds:.3} s behind, {age:.1} s ago"
            ))
        })
        .collect()
}

fn rss_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.unwrap_or(0) * rustix::param::page_size() as u64)
}

/// Threads by name; those of one name (a pool) together.
fn threads_cpu_us() -> io::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        // A thread may end between the listing and here.
        let (Ok(name), Ok(times)) =
            (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        // schedstat: time on a processor in ns, time waiting for one in ns, time slices.
        let ran_ns = times.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        *threads.entry(name.trim().to_owned()).or_default() += ran_ns / 1000;
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_processor_time() {
        let spin = std::thread::Builder::new().name("spinner".to_owned()).spawn(|| {
            // By the thread's own clock: others may want the processors, too.
            let spun = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            while spun().tv_sec == 0 && spun().tv_nsec < 20_000_000 {}
            read(Vec::new()).unwrap()
        });
        let stats = spin.unwrap().join().unwrap();
        assert!(stats.threads_cpu_us["spinner"] > 10_000, "{stats:?}");
        assert!(stats.cpu_us >= stats.threads_cpu_us["spinner"]);
        assert!(stats.rss_bytes > 1 << 20);
    }
}
