//! The memory ledger: one line per allocation that grows with load, all bounds at once.

use crate::config::Config;

/// One line: what all shards together may allocate for one purpose.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// Who holds it.
    pub name: &'static str,
    /// How many, over all shards.
    pub count: u64,
    /// Bytes of each.
    pub bytes_each: u64,
}

impl Line {
    /// Bytes of this line.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.bytes_each)
    }
}

/// A session with its connection, socket state and table entries; without output.
const SESSION_BYTES: u64 = 1_024;
/// A user with its inbox head, and table entry; devices extra.
const USER_BYTES: u64 = 512;
/// With its name and platform.
const DEVICE_BYTES: u64 = 224;
/// A circle without its contacts and watchers, and table entry.
const CIRCLE_BYTES: u64 = 320;
/// A watched user at a session: there, at the user watched, and as news; its share of the target.
const WATCH_BYTES: u64 = 16 + 12 + 8 + 32;
/// A contact with its name, in an answer of the store.
const CONTACT_BYTES: u64 = 128;
/// A conversation with a few outboxes, and table entry.
const CONVERSATION_BYTES: u64 = 512;
/// With the marks of a few devices, and table entry.
const MEMBER_BYTES: u64 = 448;
/// Marks of a few devices in one conversation, and who waits for them.
const MOVED_MARKS_BYTES: u64 = 192;
/// Beside its body.
const WAITING_BYTES: u64 = 256;
/// A relay, and the box that it points to; its body stands in the log or in `waiting`.
const LANE_ENTRY_BYTES: u64 = 64 + 128;
const ASK_BYTES: u64 = 256;
const OWED_BYTES: u64 = 64;
/// Index of a record in the tail.
const RECORD_BYTES: u64 = 64;
/// What a batch of records becomes as rows, beside the bodies, which are shared with the log.
const BATCH_ROWS: u64 = 3;
/// Rings, stacks, the code's own tables, the store's write buffers.
const FIXED_BYTES: u64 = 160 << 20;

/// The ledger of a configuration.
pub fn lines(config: &Config) -> Vec<Line> {
    let limits = &config.limits;
    let shards = u64::from(config.shards);
    let lanes = shards * shards.saturating_sub(1);
    let each = |name, count: u64, bytes_each: u64| Line { name, count: count * shards, bytes_each };
    let body = u64::from(limits.body_bytes_max);
    vec![
        each("connections", limits.connections_max.into(), SESSION_BYTES),
        each("output", limits.connections_max.into(), limits.output_bytes_max.into()),
        each("handshakes", limits.handshakes_max.into(), 4_096),
        each("receive buffers", config.recv_buffers.into(), config.recv_buffer_bytes.into()),
        each("users", limits.users_max.into(), USER_BYTES + 2 * DEVICE_BYTES),
        each("conversations", limits.conversations_max.into(), CONVERSATION_BYTES),
        each("members", limits.members_max.into(), MEMBER_BYTES),
        each("moved marks", limits.moved_marks_max.into(), MOVED_MARKS_BYTES),
        each("circles", limits.circles_max.into(), CIRCLE_BYTES),
        each("contacts", limits.circle_contacts_max.into(), 8),
        each("watches", limits.watches_max.into(), WATCH_BYTES),
        each("waiting", limits.waiting_max.into(), WAITING_BYTES + body),
        each("owed fan-outs", limits.owed_max.into(), OWED_BYTES),
        each("asks", limits.asks_max.into(), ASK_BYTES),
        each(
            "store answers",
            limits.asks_max.into(),
            (u64::from(limits.scan_bytes) + body)
                .max(u64::from(limits.contacts_max) * CONTACT_BYTES),
        ),
        each("log tail", 1, limits.tail_bytes_max),
        each("log tail, recovered", 1, limits.tail_bytes_max),
        each("log tail, index", limits.tail_records_max.into(), RECORD_BYTES),
        each("batches", BATCH_ROWS, limits.batch_bytes.into()),
        Line {
            name: "lanes",
            count: lanes * 2 * u64::from(limits.lane_credits),
            bytes_each: LANE_ENTRY_BYTES,
        },
        Line { name: "store cache", count: 1, bytes_each: config.store_cache_bytes },
        Line { name: "fixed", count: 1, bytes_each: FIXED_BYTES },
    ]
}

/// Their sum.
pub fn total(lines: &[Line]) -> u64 {
    lines.iter().fold(0, |sum, line| sum.saturating_add(line.bytes()))
}

/// As many shards as there are processors, fewer where memory does not hold their ledger, or where
/// `most` is less.
pub fn automatic_shards(config: &Config, memory_bytes: u64, most: u64) -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let most = most.min(processors as u64).min(256) as u16;
    let fits =
        |shards: &u16| total(&lines(&Config { shards: *shards, ..config.clone() })) <= memory_bytes;
    (1..=most).rev().find(fits).unwrap_or(1)
}

/// Bytes that this process may use: the machine's, or its control group's if that is less.
pub fn memory_bytes() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024);
    cgroup_bytes().map_or(machine, |group| group.min(machine))
}

/// The lowest `memory.max` from this process's control group (v2) up to the root.
fn cgroup_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    root.join(own)
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| std::fs::read_to_string(dir.join("memory.max")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

/// The ledger for people.
pub fn table(lines: &[Line]) -> String {
    let mut text =
        format!("{:<22}{:>12} ×{:>12} ={:>12}\n", "memory ledger", "count", "bytes", "MiB");
    for line in lines {
        let mib = line.bytes() as f64 / (1 << 20) as f64;
        text += &format!(
            "  {:<20}{:>12} ×{:>12} ={mib:>12.1}\n",
            line.name, line.count, line.bytes_each
        );
    }
    text + &format!("  {:<47}={:>12.1}\n", "total", total(lines) as f64 / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_costs() {
        let one = total(&lines(&Config { shards: 1, ..Config::default() }));
        let two = total(&lines(&Config { shards: 2, ..Config::default() }));
        assert!(two > one + (one - FIXED_BYTES) / 2, "{one} {two}");
    }

    #[test]
    fn little_memory_means_fewer_shards_but_one() {
        assert_eq!(automatic_shards(&Config::default(), 0, 8), 1);
        assert_eq!(automatic_shards(&Config::default(), u64::MAX, 0), 1);
        assert_eq!(automatic_shards(&Config::default(), u64::MAX, 1), 1);
    }
}
