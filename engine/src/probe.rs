//! What the host must offer. Looks, changes nothing durable, and names the cure of what is missing.

use crate::{accept, config::Config, data_dir, disk, ledger, sockets::SocketsConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shards::AckLevel;
use std::{
    io,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Oldest kernel with everything that the rings use (`IORING_SETUP_NO_SQARRAY`).
const KERNEL_MIN: (u32, u32) = (6, 6);
/// Open files beside connections: segments, store, rings.
const FILES_BESIDE: u64 = 1_024;
/// The rings of a shard take less than 1 MiB. Twice that, because the kernel frees the rings of
/// this probe asynchronously, and they may still count when the real ones are made.
const LOCKED_BYTES_PER_SHARD: u64 = 2 << 20;
/// After a kill, the kernel may hold the dead server's listener a moment longer: its ring goes
/// asynchronously.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

/// One thing that was looked at.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    /// What.
    pub name: &'static str,
    /// Whether the server can run with it.
    pub ok: bool,
    /// What is there.
    pub found: String,
    /// What helps, where it is not ok.
    pub cure: String,
}

impl Finding {
    /// What is there, and what helps.
    pub fn line(&self) -> String {
        let Finding { found, cure, .. } = self;
        if cure.is_empty() { found.clone() } else { format!("{found}; {cure}") }
    }
}

fn good(name: &'static str, found: impl Into<String>) -> Finding {
    Finding { name, ok: true, found: found.into(), cure: String::new() }
}

fn bad(name: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
    Finding { name, ok: false, found: found.into(), cure: cure.into() }
}

/// Everything to look at, in the order in which a start needs it.
pub const CHECKS: [fn(&Config) -> Finding; 7] =
    [kernel, files, rings, memory, direct_io, data_dir_state, port];

/// Whether the kernel is new enough.
pub fn kernel(_config: &Config) -> Finding {
    kernel_release(&rustix::system::uname().release().to_string_lossy())
}

/// Whether the rings of all cores can be set up.
pub fn rings(config: &Config) -> Finding {
    match set_up_rings(config) {
        Ok(()) => good("io_uring", format!("{} rings can be set up", 2 * config.shards)),
        Err(error) => {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            ring_refused(&error, sysctl.unwrap_or_default().trim())
        }
    }
}

/// All rings of all cores at once, as a start does it: their memory counts together.
fn set_up_rings(config: &Config) -> io::Result<()> {
    let all_are_there = Barrier::new(config.shards.into());
    let set_up = || {
        let rings = ring_configs(config).map(|config| ring::Ring::new(&config));
        all_are_there.wait();
        rings.into_iter().try_for_each(|ring| ring.map(drop))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..config.shards).map(|_| scope.spawn(set_up)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic in it"))
    })
}

fn ring_configs(config: &Config) -> [ring::RingConfig; 2] {
    let sockets = SocketsConfig {
        connections_max: config.limits.connections_max,
        handshakes_max: config.limits.handshakes_max,
        recv_buffers: config.recv_buffers,
        recv_buffer_bytes: config.recv_buffer_bytes,
    };
    [sockets.ring_config(), disk::ring_config()]
}

fn memory(config: &Config) -> Finding {
    memory_of(ledger::total(&ledger::lines(config)), ledger::memory_bytes())
}

fn kernel_release(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return good("kernel", format!("Linux {release}"));
    }
    let (major, minor) = KERNEL_MIN;
    bad(
        "kernel",
        format!("Linux {release} is too old"),
        format!("run Linux {major}.{minor} or newer"),
    )
}

/// Why a ring could not be set up. `disabled` is the sysctl's value.
fn ring_refused(error: &io::Error, disabled: &str) -> Finding {
    use rustix::io::Errno;
    let seccomp = "a seccomp profile (of a container?) forbids it: allow the system calls \
                   io_uring_setup, io_uring_enter and io_uring_register";
    let cure = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) if disabled == "1" || disabled == "2" => {
            "run: sysctl -w kernel.io_uring_disabled=0".to_owned()
        }
        Some(Errno::PERM) => seccomp.to_owned(),
        Some(Errno::NOSYS) => format!("either the kernel is built without io_uring, or {seccomp}"),
        Some(Errno::NOMEM) => {
            let limit = getrlimit(Resource::Memlock).current;
            let limit = limit.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
            format!(
                "the limit of locked memory is {limit} bytes: raise it (ulimit -l unlimited, \
                 systemd: LimitMEMLOCK=infinity) or lower --shards"
            )
        }
        Some(Errno::INVAL) => {
            let (major, minor) = KERNEL_MIN;
            format!("the kernel lacks features of io_uring: run Linux {major}.{minor} or newer")
        }
        _ => "see `dmesg`".to_owned(),
    };
    bad("io_uring", format!("a ring cannot be set up: {error}"), cure)
}

/// Whether the process may have as many files open as it needs.
pub fn files(config: &Config) -> Finding {
    let limits = &config.limits;
    let (table, shards) = (u64::from(limits.connections_max), u64::from(config.shards));
    let needed = table.max(FILES_BESIDE + shards * u64::from(limits.handshakes_max));
    let limit = getrlimit(Resource::Nofile);
    // What the process may raise by itself at start counts.
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most >= needed {
        return good("open files", format!("limit {most}, needed {needed}"));
    }
    bad(
        "open files",
        format!("the limit of open files is {most}, a shard's table of connections needs {needed}"),
        format!(
            "raise it (ulimit -Hn {needed}, systemd: LimitNOFILE={needed}), or lower \
             limits.connections_max to {most} and limits.handshakes_max"
        ),
    )
}

/// How many shards' rings fit into the limit of locked memory.
pub fn lockable_shards() -> u64 {
    use rustix::thread::{CapabilitySet, capabilities};
    let unlimited =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let limit = getrlimit(Resource::Memlock).maximum.filter(|_| !unlimited);
    limit.map_or(u64::MAX, |bytes| bytes / LOCKED_BYTES_PER_SHARD)
}

/// Raises what a process may raise by itself: the soft limits of open files and locked memory.
pub fn raise_limits() -> io::Result<()> {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let Rlimit { maximum, .. } = getrlimit(resource);
        setrlimit(resource, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

fn memory_of(needed: u64, there: u64) -> Finding {
    let mib = |bytes: u64| bytes >> 20;
    if needed <= there {
        return good("memory", format!("ledger {} MiB of {} MiB", mib(needed), mib(there)));
    }
    bad(
        "memory",
        format!("the ledger adds up to {} MiB, there are {} MiB", mib(needed), mib(there)),
        "lower --shards, limits.connections_max or limits.output_bytes_max (`ringmail check` \
         prints the ledger), or add memory",
    )
}

fn direct_io(config: &Config) -> Finding {
    if config.ack != AckLevel::Local {
        return good("direct io", "not needed: the logs are in the store");
    }
    let dir = data_dir::nearest_existing(&config.data_dir);
    match data_dir::supports_direct_io(&dir) {
        Ok(()) => good("direct io", format!("{} takes O_DIRECT", dir.display())),
        Err(error) => bad(
            "direct io",
            format!("a file with O_DIRECT cannot be made in {}: {error}", dir.display()),
            "name a directory that this user can write, on a local disk with ext4, xfs or btrfs, \
             with --data-dir",
        ),
    }
}

/// Bytes that the logs need to start: two segments a shard where they are on the disk, and some
/// for the store.
pub fn disk_bytes_needed(config: &Config) -> u64 {
    let on_disk = config.ack == AckLevel::Local;
    let segments = if on_disk { 2 * u64::from(config.shards) } else { 0 };
    segments * u64::from(config.limits.segment_bytes) + (32 << 20)
}

fn data_dir_state(config: &Config) -> Finding {
    match data_dir::check(&config.data_dir, disk_bytes_needed(config)) {
        Ok(()) => good("data directory", config.data_dir.display().to_string()),
        // Its lines name the cure themselves.
        Err(error) => bad("data directory", error.to_string(), ""),
    }
}

/// Binds once without SO_REUSEPORT: with it, a second server would get half of the connections.
fn port(config: &Config) -> Finding {
    let start = Instant::now();
    let listen = config.listen;
    loop {
        match accept::probe(listen) {
            Ok(_) => return good("port", format!("{listen} is free")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if start.elapsed() >= PORT_PATIENCE {
                    let port = listen.port();
                    let cure = format!(
                        "stop what listens there (ss -ltnp 'sport = :{port}' shows it), or choose \
                         another with --listen"
                    );
                    return bad("port", format!("{listen} is taken"), cure);
                }
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                let cure = "choose an address of this machine, and a port that this user may use, \
                            with --listen";
                return bad("port", format!("cannot listen on {listen}: {error}"), cure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_told() {
        assert!(kernel_release("6.6.0-generic").ok);
        assert!(kernel_release("7.0").ok);
        let old = kernel_release("5.15.0-91-generic");
        assert!(!old.ok && old.cure.contains("6.6"), "{old:?}");
    }

    #[test]
    fn each_reason_has_its_cure() {
        let cure = |errno: rustix::io::Errno, disabled| ring_refused(&errno.into(), disabled).cure;
        use rustix::io::Errno;
        assert!(cure(Errno::PERM, "2").contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(cure(Errno::PERM, "0").contains("seccomp"));
        assert!(cure(Errno::NOSYS, "").contains("seccomp"));
        assert!(cure(Errno::NOMEM, "0").contains("LimitMEMLOCK"));
        assert!(cure(Errno::INVAL, "0").contains("6.6"));
    }

    #[test]
    fn a_ledger_above_memory_is_refused() {
        assert!(memory_of(1, 1).ok);
        assert!(memory_of(2 << 20, 1 << 20).cure.contains("--shards"));
    }
}
