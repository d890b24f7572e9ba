//! Every key of the configuration: one table that sets, prints and explains.

use crate::config::Config;
use crate::{redis_keys, store_keys};
use shards::AckLevel;
use std::ops::RangeInclusive;

/// One key.
pub struct Key {
    /// As in the file: `section.key`.
    pub name: &'static str,
    /// Unit of its value.
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// What a larger value costs.
    pub cost: &'static str,
    /// Its value, as text.
    pub get: fn(&Config) -> String,
    /// Takes a value, or says what it must be.
    pub set: fn(&mut Config, &str) -> Result<(), String>,
}

/// A number in a range.
pub(crate) fn number<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let value = text.replace('_', "").parse::<u64>().ok().filter(|value| range.contains(value));
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
}

/// As `number`, and a multiple of a page, as the log's device wants it.
fn pages<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let value: u64 = number(text, range.clone())?;
    if !value.is_multiple_of(4096) {
        return Err("a multiple of 4096".to_owned());
    }
    number(text, range)
}

/// A lower-case name that starts with a letter.
pub(crate) fn plain(text: &str, length_max: usize, also: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    match starts && text.len() <= length_max && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("a lower-case name of at most {length_max} letters, digits, {also}")),
    }
}

/// `host:port`.
pub(crate) fn has_port(address: &str) -> bool {
    let port = |(host, port): (&str, &str)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    address.rsplit_once(':').is_some_and(port)
}

macro_rules! limit {
    ($field:ident, $parse:ident, $range:expr, $unit:literal, $meaning:literal, $cost:literal) => {
        Key {
            name: concat!("limits.", stringify!($field)),
            unit: $unit,
            meaning: $meaning,
            cost: $cost,
            get: |config| config.limits.$field.to_string(),
            set: |config, text| {
                config.limits.$field = $parse(text, $range)?;
                Ok(())
            },
        }
    };
}

const LEVELS: [AckLevel; 3] = [AckLevel::Local, AckLevel::Replicated, AckLevel::Geo];

/// All keys, in the order of `ringmail config print`.
pub const KEYS: &[Key] = &[
    Key {
        name: "listen",
        unit: "address:port",
        meaning: "where clients connect",
        cost: "an address that others reach lets them try; there is no TLS yet",
        get: |config| config.listen.to_string(),
        set: |config, text| {
            config.listen = text
                .parse()
                .ok()
                .filter(|address: &std::net::SocketAddr| address.port() != 0)
                .ok_or("an IP address and a port from 1 to 65535, as in 127.0.0.1:4848")?;
            Ok(())
        },
    },
    Key {
        name: "data_dir",
        unit: "path",
        meaning: "everything durable: key, log, store; created if it is missing",
        cost: "must be on a local disk whose file system knows O_DIRECT",
        get: |config| config.data_dir.display().to_string(),
        set: |config, text| {
            if text.is_empty() {
                return Err("a path".to_owned());
            }
            config.data_dir = text.into();
            Ok(())
        },
    },
    Key {
        name: "shards",
        unit: "threads",
        meaning: "cores, one pinned thread each; 0: as many as processors and memory allow",
        cost: "all limits.* count once per shard; may change between starts",
        get: |config| config.shards.to_string(),
        set: |config, text| {
            config.shards = number(text, 0..=256)?;
            Ok(())
        },
    },
    Key {
        name: "pin",
        unit: "true|false",
        meaning: "keep each core's thread on one processor",
        cost: "two servers pinned on one machine share processors",
        get: |config| config.pin.to_string(),
        set: |config, text| {
            config.pin = text.parse().map_err(|_| "true or false")?;
            Ok(())
        },
    },
    Key {
        name: "watchdog_s",
        unit: "s",
        meaning: "a core that does not finish a turn for so long ends the process",
        cost: "time that clients wait for a core that hangs",
        get: |config| config.watchdog_s.to_string(),
        set: |config, text| {
            config.watchdog_s = number(text, 1..=3600)?;
            Ok(())
        },
    },
    Key {
        name: "ack",
        unit: "local|replicated|geo",
        meaning: "a message is acked once it is on this server's disk, at a quorum of the \
                  distributed store's nodes in this datacenter, or at one over three datacenters \
                  or more; for life: another level needs another keyspace and data directory",
        cost: "two round trips to the store for each ack, and no ack while it is away",
        get: |config| format!("{:?}", config.ack).to_lowercase(),
        set: |config, text| {
            let level = LEVELS.iter().find(|level| format!("{level:?}").to_lowercase() == text);
            config.ack = *level.ok_or("local, replicated or geo")?;
            Ok(())
        },
    },
    Key {
        name: "node",
        unit: "name",
        meaning: "name of the logs in the store where ack is not local; a process with the same \
                  name takes over, once the lease of the other one is over",
        cost: "nothing",
        get: |config| config.node.clone(),
        set: |config, text| {
            config.node = if text.is_empty() { String::new() } else { plain(text, 48, "_-")? };
            Ok(())
        },
    },
    store_keys::KIND,
    store_keys::ADDRESSES,
    store_keys::KEYSPACE,
    store_keys::USER,
    store_keys::PASSWORD,
    store_keys::TLS_CA,
    store_keys::DATACENTER,
    store_keys::REPLICATION,
    store_keys::CACHE_BYTES,
    redis_keys::ADDRESS,
    redis_keys::USER,
    redis_keys::PASSWORD,
    redis_keys::TLS,
    redis_keys::CA_FILE,
    redis_keys::PREFIX,
    redis_keys::WINDOW_S,
    Key {
        name: "recv.buffers",
        unit: "buffers",
        meaning: "receive buffers of one shard; a power of two",
        cost: "recv.buffers × recv.buffer_bytes of memory per shard; with fewer than connections \
               that speak at once, receives fail and are made again",
        get: |config| config.recv_buffers.to_string(),
        set: |config, text| {
            let buffers: u16 = number(text, 16..=32768)?;
            if !buffers.is_power_of_two() {
                return Err("a power of two from 16 to 32768".to_owned());
            }
            config.recv_buffers = buffers;
            Ok(())
        },
    },
    Key {
        name: "recv.buffer_bytes",
        unit: "bytes",
        meaning: "size of a receive buffer",
        cost: "see recv.buffers",
        get: |config| config.recv_buffer_bytes.to_string(),
        set: |config, text| {
            config.recv_buffer_bytes = number(text, 256..=1 << 20)?;
            Ok(())
        },
    },
    limit!(
        connections_max,
        number,
        2..=1_000_000,
        "connections",
        "connections at one shard, handshakes among them",
        "memory per connection; must stay below the limit of open files"
    ),
    limit!(
        handshakes_max,
        number,
        1..=100_000,
        "connections",
        "connections before WELCOME at one shard",
        "an open file and 4 KiB each"
    ),
    limit!(
        handshake_ms,
        number,
        100..=600_000,
        "ms",
        "HELLO must be complete so long after accept",
        "how long a silent connection holds its place"
    ),
    limit!(
        heartbeat_ms,
        number,
        1_000..=3_600_000,
        "ms",
        "clients must send something so often; 2.5 times that closes",
        "how long a dead connection holds its place; shorter drains phones"
    ),
    limit!(
        body_bytes_max,
        number,
        1..=65_536,
        "bytes",
        "longest message body",
        "the longest frame that one connection may make the server keep"
    ),
    limit!(
        window_frames,
        number,
        1..=65_536,
        "entries",
        "inbox entries in flight to a device, unacked",
        "memory of a slow device's connection"
    ),
    limit!(
        window_bytes,
        number,
        256..=16 << 20,
        "bytes",
        "bytes of inbox entries in flight to a device, unacked",
        "memory of a slow device's connection"
    ),
    limit!(
        output_bytes_max,
        number,
        1024..=16 << 20,
        "bytes",
        "output gathered for one connection before its input pauses",
        "twice so many bytes per connection that does not read"
    ),
    limit!(
        users_max,
        number,
        1..=100_000_000,
        "users",
        "users in memory at one shard; one who left stays for presence_grace_ms + last_seen_ms",
        "memory; fewer means more loads from the store, and attaches refused while all are in use"
    ),
    limit!(
        conversations_max,
        number,
        1..=100_000_000,
        "conversations",
        "conversations in memory at one shard",
        "memory; fewer means more loads from the store"
    ),
    limit!(
        members_max,
        number,
        1..=100_000_000,
        "members",
        "(user, conversation) pairs in memory at one shard",
        "memory; fewer means more loads from the store"
    ),
    limit!(
        devices_max,
        number,
        1..=1_000,
        "devices",
        "known devices of one user",
        "memory per user"
    ),
    limit!(
        outboxes_max,
        number,
        1..=1_000,
        "outboxes",
        "outboxes of one device in one conversation",
        "memory per conversation"
    ),
    limit!(
        waiting_max,
        number,
        1..=10_000_000,
        "events",
        "events that wait for loads at one shard, with their bodies",
        "memory while the store is slow"
    ),
    limit!(
        lane_credits,
        number,
        1..=1 << 20,
        "requests",
        "requests under way from one shard to another",
        "128 bytes each for every pair of shards"
    ),
    limit!(
        asks_max,
        number,
        1..=65_536,
        "requests",
        "loads and scans under way from one shard",
        "a scan's answer each"
    ),
    limit!(
        scans_max,
        number,
        1..=65_536,
        "scans",
        "reads of inboxes under way from one shard; further ones take turns",
        "other reads wait behind them in the store"
    ),
    limit!(
        read_ahead_max,
        number,
        1..=65_536,
        "sessions",
        "sessions of one shard that may read an inbox ahead of their credit",
        "a scan's answer each"
    ),
    limit!(
        scan_entries,
        number,
        1..=65_536,
        "entries",
        "entries that one scan asks for",
        "memory per scan"
    ),
    limit!(
        scan_bytes,
        number,
        256..=16 << 20,
        "bytes",
        "bytes that one scan asks for",
        "memory per scan"
    ),
    limit!(
        pages_max,
        number,
        1..=65_536,
        "pages",
        "pages of history under way from one shard to another, and from one shard to the store",
        "limits.output_bytes_max each, for every pair of shards"
    ),
    limit!(
        page_burst,
        number,
        1..=1_000_000,
        "pages",
        "pages of history that one user may ask for at once",
        "more reads for one user; beyond it pages are refused with QUOTA"
    ),
    limit!(
        page_ms,
        number,
        1..=600_000,
        "ms",
        "one more page each time that so much time passed",
        "shorter lets one user read more"
    ),
    limit!(
        new_conversations_burst,
        number,
        1..=1_000_000,
        "conversations",
        "new conversations that one user may start at once",
        "what one abuser may create"
    ),
    limit!(
        new_conversation_ms,
        number,
        1..=86_400_000,
        "ms",
        "one more new conversation each time that so much time passed",
        "shorter lets one abuser create more"
    ),
    limit!(
        owed_max,
        number,
        1..=100_000_000,
        "messages",
        "messages whose fan-outs are unconfirmed, from one shard",
        "memory while another shard is slow"
    ),
    limit!(
        tail_bytes_max,
        pages,
        64 << 10..=1 << 40,
        "bytes",
        "log of one shard that is durable but not in the store yet",
        "as much memory and as much disk; longer recovery"
    ),
    limit!(
        tail_records_max,
        number,
        16..=1_000_000_000,
        "records",
        "records of one shard that are durable but not in the store yet",
        "memory; longer recovery"
    ),
    limit!(
        reserve_bytes,
        pages,
        8192..=1 << 40,
        "bytes",
        "part of the tail kept for fan-outs, cursors and checkpoints",
        "room that sends cannot use"
    ),
    limit!(
        segment_bytes,
        pages,
        16 << 10..=1 << 30,
        "bytes",
        "size of a segment of the log",
        "disk; every segment is written with zeros once"
    ),
    limit!(
        group_bytes_max,
        pages,
        4096..=64 << 20,
        "bytes",
        "longest group of records that is written at once",
        "latency of what waits behind it"
    ),
    limit!(
        log_writes_max,
        number,
        1..=64,
        "writes",
        "log writes in flight at one shard, where the log is on the disk; in the store: 8",
        "smaller groups"
    ),
    limit!(
        batch_bytes,
        number,
        1024..=1 << 30,
        "bytes",
        "a batch for the store leaves after so many bytes of records",
        "memory per batch"
    ),
    limit!(
        flush_ms,
        number,
        1..=600_000,
        "ms",
        "a batch for the store leaves when its oldest record is so old",
        "a longer tail; shorter means more work for the store"
    ),
    limit!(
        cursor_ms,
        number,
        1..=600_000,
        "ms",
        "a device's cursor is logged at most so often",
        "more entries sent twice after a crash"
    ),
    limit!(
        send_burst,
        number,
        1..=4_000_000_000,
        "sends",
        "sends that one device may make at once",
        "more work from one device; beyond it sends are refused with QUOTA"
    ),
    limit!(
        send_ms,
        number,
        1..=600_000,
        "ms",
        "and one more each time so much has passed",
        "fewer sends of one device in the long run"
    ),
    limit!(
        trim_entries,
        number,
        1..=4_294_967_295,
        "entries",
        "an inbox is trimmed when so many entries may go",
        "inboxes that are trimmed less often"
    ),
    limit!(
        inbox_age_ms,
        number,
        1_000..=315_360_000_000,
        "ms",
        "inbox entries go at this age although a device has not passed them",
        "disk; a device that stays away for longer begins anew with a snapshot"
    ),
    limit!(
        edit_window_ms,
        number,
        0..=1_000_000_000_000,
        "ms",
        "a message may be edited so long",
        "texts that change later"
    ),
    limit!(
        delete_window_ms,
        number,
        0..=1_000_000_000_000,
        "ms",
        "a message may be deleted for everyone so long",
        "messages that go later"
    ),
    limit!(
        receipt_ms,
        number,
        1..=600_000,
        "ms",
        "delivered and read marks of a conversation are logged and told at most so often",
        "later receipts; shorter means more records and entries"
    ),
    limit!(
        receipt_rest_ms,
        number,
        0..=600_000,
        "ms",
        "a device whose marks were told so lately waits so long with the next ones",
        "where messages come quickly, a receipt tells of more of them and comes later; shorter \
         means more sends, records and entries"
    ),
    limit!(
        moved_marks_max,
        number,
        1..=100_000_000,
        "conversations",
        "conversations with marks that are not in the log, before input pauses",
        "memory"
    ),
    limit!(
        log_stall_ms,
        number,
        100..=600_000,
        "ms",
        "log writes (to the disk, or to the store that acks come from) that are under way so long \
         and do not end: sends are refused for now, until one does",
        "what was sent before waits; below the time that the store needs without one of its nodes, \
         sends are refused that would only have waited"
    ),
    limit!(
        retry_after_ms,
        number,
        1..=600_000,
        "ms",
        "what a client is told whose send meets a full limit",
        "its message leaves later; shorter means more retries"
    ),
    limit!(
        circles_max,
        number,
        1..=100_000_000,
        "users",
        "users in memory at one shard with contacts, blocks and watchers",
        "memory; fewer means more loads, or no presence of further users"
    ),
    limit!(
        circle_contacts_max,
        number,
        1..=1_000_000_000,
        "contacts",
        "contacts and blocks of those users, together",
        "8 bytes each"
    ),
    limit!(
        contacts_max,
        number,
        1..=100_000,
        "contacts",
        "contacts and blocked users of one user",
        "memory per user whose circle is loaded"
    ),
    limit!(
        watch_max,
        number,
        1..=512,
        "users",
        "users whom one session may watch",
        "presence to tell; memory per session"
    ),
    limit!(
        watches_max,
        number,
        1..=1_000_000_000,
        "watches",
        "watched users of a shard's sessions, and watchers of its users",
        "24 bytes each"
    ),
    limit!(
        watch_burst,
        number,
        1..=1_000_000,
        "frames",
        "WATCHes that one session may send at once",
        "what one abuser may cost"
    ),
    limit!(
        watch_ms,
        number,
        1..=86_400_000,
        "ms",
        "one more WATCH each time that so much time passed",
        "shorter lets one abuser cost more"
    ),
    limit!(
        presence_grace_ms,
        number,
        0..=600_000,
        "ms",
        "a user is online so long after leaving the foreground",
        "later news; shorter means more of them"
    ),
    limit!(
        presence_window_ms,
        number,
        1..=60_000,
        "ms",
        "presence is told at most so often",
        "later news; shorter means more frames"
    ),
    limit!(
        last_seen_ms,
        number,
        1..=600_000,
        "ms",
        "when users were last seen is logged so often",
        "older answers after a crash"
    ),
    limit!(
        typing_ms,
        number,
        1..=600_000,
        "ms",
        "TYPING of a session in a conversation passes so often",
        "shorter means more frames"
    ),
    limit!(
        requests_max,
        number,
        1..=65_536,
        "requests",
        "requests of one session that wait for the store",
        "memory per session"
    ),
    limit!(
        hidden_ranges_max,
        number,
        1..=1_000_000,
        "ranges",
        "ranges that one user may delete in a conversation for themselves",
        "16 bytes each"
    ),
    limit!(
        command_burst,
        number,
        1..=1_000_000,
        "commands",
        "commands that one user may give at once",
        "what one abuser may write"
    ),
    limit!(
        command_ms,
        number,
        1..=86_400_000,
        "ms",
        "one more command each time that so much time passed",
        "shorter lets one abuser write more"
    ),
    limit!(
        attach_burst,
        number,
        1..=1_000_000,
        "attaches",
        "times that one user's devices may attach at once",
        "what one abuser may cost"
    ),
    limit!(
        attach_ms,
        number,
        1..=86_400_000,
        "ms",
        "one more attach each time that so much time passed",
        "shorter lets one abuser cost more"
    ),
    limit!(
        events_per_turn,
        number,
        1..=1 << 20,
        "events",
        "events taken from the kernel in one turn",
        "latency of what comes later in the turn"
    ),
    limit!(
        effects_per_turn,
        number,
        1..=1 << 20,
        "effects",
        "effects given to the kernel in one turn",
        "latency of what comes later in the turn"
    ),
];
