//! The memory ledger: one line per allocation that grows with load, all bounds at once. Sizes are
//! those of the types; counts are limits.

use crate::{config::Config, conn::CONN_BYTES};
use shards::{Limits, memory};

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

/// Devices of a user, and outboxes of a conversation, that have room from the start. More are rare,
/// and no line of their own.
const ROOM_AT_FIRST: u64 = 4;
/// Marks of a few devices of either participant, settings and a contact's name.
const MEMBER_MARKS_BYTES: u64 = 192;
/// Marks of a few devices in one conversation, and who waits for them.
const MOVED_MARKS_BYTES: u64 = 192;
/// A circle without its contacts and watchers, and table entry.
const CIRCLE_BYTES: u64 = 320;
/// A watched user at a session: there, at the user watched, and as news; its share of the target.
const WATCH_BYTES: u64 = 16 + 12 + 8 + 32;
/// A contact with its name, in an answer of the store.
const CONTACT_BYTES: u64 = 128;
/// A record that waits to be durable, of a message of some 40 bytes: of those a segment and a half,
/// as many as are made ready, may gather while the disk stands still.
const GATED_RECORD_BYTES: u64 = 64;
/// What a batch of records becomes as rows, beside the bodies, which are shared with the log.
const BATCH_ROWS: u64 = 3;
/// Rings, stacks, the allocator, the code's own tables.
const FIXED_BYTES: u64 = 64 << 20;

/// The ledger of a configuration.
pub fn lines(config: &Config) -> Vec<Line> {
    let limits = &config.limits;
    let lines = [connection_lines(config), entity_lines(limits), log_lines(limits)].concat();
    let shards = u64::from(config.shards);
    let page = u64::from(limits.output_bytes_max) + u64::from(limits.body_bytes_max);
    let lanes = shards * shards.saturating_sub(1);
    let mut lines: Vec<Line> =
        lines.into_iter().map(|line| Line { count: line.count * shards, ..line }).collect();
    lines.extend([
        line("pages", shards * shards * u64::from(limits.pages_max), page),
        line("lanes", lanes * 2 * u64::from(limits.lane_credits), memory::LANE_ENTRY_BYTES),
        line("store cache", 1u32, config.store_cache_bytes),
        line("store write buffers", 1u32, embedded::WRITE_BUFFER_BYTES_MAX),
        line("fixed", 1u32, FIXED_BYTES),
    ]);
    #[cfg(feature = "redis")]
    if !config.redis_address.is_empty() {
        lines.push(line("Redis, written behind", 1u32, ringmail_redis::QUEUE_BYTES_MAX as u64));
    }
    lines
}

fn line(name: &'static str, count: impl Into<u64>, bytes_each: impl Into<u64>) -> Line {
    Line { name, count: count.into(), bytes_each: bytes_each.into() }
}

/// Of one shard.
fn connection_lines(config: &Config) -> Vec<Line> {
    let limits = &config.limits;
    let connections = limits.connections_max;
    let receive = u64::from(config.recv_buffer_bytes);
    let frame = u64::from(limits.body_bytes_max) + memory::FRAME_BYTES;
    let entries = u64::from(limits.window_frames);
    vec![
        line("connections", connections, memory::SESSION_BYTES + CONN_BYTES),
        line("entries in flight", connections, entries * memory::ENTRY_IN_FLIGHT_BYTES),
        // One buffer with the kernel and one that gathers; the last frame passes the limit.
        line("output", 2 * connections, u64::from(limits.output_bytes_max) + frame),
        line("cut frames", connections, frame),
        line("receive rests", connections, receive),
        // What came behind HELLO, from the same receive.
        line("held for WELCOME", connections, receive),
        // A cut HELLO, then a whole one on its way home.
        line("handshakes", limits.handshakes_max, memory::HELLO_BYTES + receive),
        line("receive buffers", config.recv_buffers, receive),
    ]
}

/// Of one shard.
fn entity_lines(limits: &Limits) -> Vec<Line> {
    let body = u64::from(limits.body_bytes_max);
    let user = memory::USER_BYTES + ROOM_AT_FIRST * memory::DEVICE_BYTES;
    let conversation = memory::CONVERSATION_BYTES + ROOM_AT_FIRST * memory::OUTBOX_BYTES;
    let contacts = u64::from(limits.contacts_max) * CONTACT_BYTES;
    let answer = (u64::from(limits.scan_bytes) + body).max(contacts);
    vec![
        line("users", limits.users_max, user),
        line("conversations", limits.conversations_max, conversation),
        line("members", limits.members_max, memory::MEMBER_BYTES + MEMBER_MARKS_BYTES),
        line("moved marks", limits.moved_marks_max, MOVED_MARKS_BYTES),
        line("circles", limits.circles_max, CIRCLE_BYTES),
        line("contacts", limits.circle_contacts_max, 8u64),
        line("watches", limits.watches_max, WATCH_BYTES),
        line("waiting", limits.waiting_max, memory::WAITING_BYTES + body),
        line("owed fan-outs", limits.owed_max, memory::OWED_BYTES),
        line("asks", limits.asks_max, memory::ASK_BYTES),
        line("store answers", limits.asks_max, answer),
        line("scans read ahead", limits.read_ahead_max, answer),
    ]
}

/// Of one shard.
fn log_lines(limits: &Limits) -> Vec<Line> {
    let gated = u64::from(limits.segment_bytes) * 3 / 2 / GATED_RECORD_BYTES;
    vec![
        line("log tail", 1u32, limits.tail_bytes_max),
        line("log tail, recovered", 1u32, limits.tail_bytes_max),
        line("log tail, index", limits.tail_records_max, memory::RECORD_BYTES),
        line("recovered, index", limits.tail_records_max, memory::RECOVERED_RECORD_BYTES),
        line("gated by the log", gated, memory::GATED_BYTES),
        line("batches", BATCH_ROWS, limits.batch_bytes),
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
    use crate::config_keys::KEYS;

    #[test]
    fn every_shard_costs() {
        let one = total(&lines(&Config { shards: 1, ..Config::default() }));
        let two = total(&lines(&Config { shards: 2, ..Config::default() }));
        assert!(two > one + (one - FIXED_BYTES) / 2, "{one} {two}");
    }

    #[test]
    fn every_limit_that_costs_memory_costs() {
        let keys = [
            "store.cache_bytes",
            "recv.buffers",
            "recv.buffer_bytes",
            "limits.connections_max",
            "limits.handshakes_max",
            "limits.body_bytes_max",
            "limits.window_frames",
            "limits.output_bytes_max",
            "limits.users_max",
            "limits.conversations_max",
            "limits.members_max",
            "limits.moved_marks_max",
            "limits.circles_max",
            "limits.circle_contacts_max",
            "limits.watches_max",
            "limits.waiting_max",
            "limits.lane_credits",
            "limits.asks_max",
            "limits.scan_bytes",
            "limits.read_ahead_max",
            "limits.pages_max",
            "limits.owed_max",
            "limits.tail_bytes_max",
            "limits.tail_records_max",
            "limits.segment_bytes",
            "limits.batch_bytes",
        ];
        let config = Config { shards: 2, ..Config::default() };
        for name in keys {
            let key = KEYS.iter().find(|key| key.name == name).expect("a key");
            let mut more = config.clone();
            let value: u64 = (key.get)(&config).parse().expect("a number");
            (key.set)(&mut more, &(2 * value).to_string()).expect("in its range");
            assert!(total(&lines(&more)) > total(&lines(&config)), "{name} costs nothing");
        }
    }

    #[test]
    fn little_memory_means_fewer_shards_but_one() {
        assert_eq!(automatic_shards(&Config::default(), 0, 8), 1);
        assert_eq!(automatic_shards(&Config::default(), u64::MAX, 0), 1);
        assert_eq!(automatic_shards(&Config::default(), u64::MAX, 1), 1);
    }
}
