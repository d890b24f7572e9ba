//! What the kernel tells of processes, sockets and disks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Raises this process's limit of open files to what is allowed.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

pub(crate) fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot read {what}"))
}

/// Processor time of a process by its threads' names, in nanoseconds. Threads that ended do not
/// count.
pub fn cpu_ns_by_thread(pid: u32) -> io::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end between the listing and here.
        let Ok(times) = fs::read_to_string(task.join("schedstat")) else { continue };
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        // Time on a processor, time waiting for one, slices.
        let ran = times.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
        *threads.entry(name.trim().to_owned()).or_default() +=
            ran.ok_or_else(|| odd("schedstat"))?;
    }
    Ok(threads)
}

/// Processor time of a process, all its threads, in nanoseconds.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    Ok(cpu_ns_by_thread(pid)?.values().sum())
}

/// Most memory that was resident at any time, in bytes.
pub fn rss_peak_bytes(pid: u32) -> io::Result<u64> {
    kib_line(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// Resident memory now, in bytes.
pub fn rss_bytes(pid: u32) -> io::Result<u64> {
    kib_line(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Proportional share of memory, in bytes.
pub fn pss_bytes(pid: u32) -> io::Result<u64> {
    kib_line(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// The machine's memory, in bytes.
pub fn memory_bytes() -> io::Result<u64> {
    kib_line("/proc/meminfo", "MemTotal:")
}

fn kib_line(path: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| odd(name))?;
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| odd(name))? * 1024)
}

/// TCP segments that this network namespace sent since its start.
pub fn segments_out() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(odd("/proc/net/snmp"));
    };
    let found = names.split_whitespace().zip(values.split_whitespace());
    let mut out = found.filter(|&(name, _)| name == "OutSegs");
    let value = out.next().and_then(|(_, value)| value.parse().ok());
    value.ok_or_else(|| odd("OutSegs"))
}

/// Bytes written to the device under `path` since the machine's start; `None` where it has none.
pub fn device_bytes_written(path: &Path) -> Option<u64> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh number counts sectors of 512 bytes.
    Some(stat.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

/// Paths and flags of a process's open descriptors.
pub fn descriptors(pid: u32) -> io::Result<Vec<(std::path::PathBuf, i32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(path) = fs::read_link(entry.path()) else { continue };
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", name.to_string_lossy()));
        let Ok(info) = info else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok());
        found.push((path, flags.ok_or_else(|| odd("fdinfo"))?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(cpu_ns(pid).unwrap() > 0);
        assert!(rss_peak_bytes(pid).unwrap() >= rss_bytes(pid).unwrap() / 2);
        assert!(pss_bytes(pid).unwrap() > 0);
        assert!(segments_out().is_ok());
        assert!(!descriptors(pid).unwrap().is_empty());
    }
}
