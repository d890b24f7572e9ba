//! Every bound of a core, in one place. Memory follows from them and `memory.rs`.

/// Bounds of one core. `Default` is production; `test_min` makes rare paths common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one core, handshakes among them.
    pub connections_max: u32,
    /// Connections before WELCOME at one core.
    pub handshakes_max: u32,
    /// HELLO must be complete this long after accept, in ms.
    pub handshake_ms: u64,
    /// Clients must send something this often, in ms; 2.5 times that closes.
    pub heartbeat_ms: u64,
    /// Longest message body, in bytes.
    pub body_bytes_max: u32,
    /// Inbox entries in flight to a device, unacked.
    pub window_frames: u32,
    /// Bytes of inbox entries in flight to a device, unacked.
    pub window_bytes: u32,
    /// Output gathered for one connection before its input pauses, in bytes.
    pub output_bytes_max: u32,
    /// Users in memory at one core.
    pub users_max: u32,
    /// Conversations in memory at one core.
    pub conversations_max: u32,
    /// Marks in memory at one core.
    pub marks_max: u32,
    /// Known devices of one user.
    pub devices_max: u32,
    /// Outboxes of one device in one conversation.
    pub outboxes_max: u32,
    /// Events that wait for loads, all entities of a core together.
    pub waiting_max: u32,
    /// Requests under way from one core to another (a lane holds twice as many entries).
    pub lane_credits: u32,
    /// Loads and scans under way from one core.
    pub asks_max: u32,
    /// Entries that one scan asks for.
    pub scan_entries: u32,
    /// Bytes that one scan asks for.
    pub scan_bytes: u32,
    /// New conversations that one user may start at once …
    pub new_conversations_burst: u32,
    /// … and one more each time this many ms have passed.
    pub new_conversation_ms: u64,
    /// Messages whose fan-outs are unconfirmed, from one core.
    pub owed_max: u32,
    /// Durable but not flushed: bytes of one core.
    pub tail_bytes_max: u64,
    /// Durable but not flushed: records of one core.
    pub tail_records_max: u32,
    /// Part of the tail kept for fan-outs, cursors and checkpoints, in bytes.
    pub reserve_bytes: u64,
    /// Size of a log segment, in bytes; a multiple of 4096.
    pub segment_bytes: u32,
    /// Longest group, in bytes; a multiple of 4096.
    pub group_bytes_max: u32,
    /// Log writes in flight.
    pub log_writes_max: u32,
    /// A batch leaves after this many bytes of records …
    pub batch_bytes: u32,
    /// … or when its oldest record is this old, in ms.
    pub flush_ms: u64,
    /// A device's cursor is logged at most this often, in ms.
    pub cursor_ms: u64,
    /// What is told to a client whose send meets a full limit, in ms.
    pub retry_after_ms: u64,
    /// Events taken from the kernel in one turn.
    pub events_per_turn: u32,
    /// Effects given to the driver in one turn.
    pub effects_per_turn: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 18_000,
            handshakes_max: 1_024,
            handshake_ms: 10_000,
            heartbeat_ms: 240_000,
            body_bytes_max: 16 * 1024,
            window_frames: 256,
            window_bytes: 256 * 1024,
            output_bytes_max: 32 * 1024,
            users_max: 40_000,
            conversations_max: 40_000,
            marks_max: 80_000,
            devices_max: 16,
            outboxes_max: 64,
            waiting_max: 8_192,
            lane_credits: 8_192,
            asks_max: 256,
            scan_entries: 512,
            scan_bytes: 128 * 1024,
            new_conversations_burst: 1_000,
            new_conversation_ms: 1_000,
            owed_max: 65_536,
            tail_bytes_max: 256 << 20,
            tail_records_max: 2_000_000,
            reserve_bytes: 32 << 20,
            segment_bytes: 16 << 20,
            group_bytes_max: 256 * 1024,
            log_writes_max: 1,
            batch_bytes: 8 << 20,
            flush_ms: 1_000,
            cursor_ms: 1_000,
            retry_after_ms: 500,
            events_per_turn: 1_024,
            effects_per_turn: 1_024,
        }
    }
}

impl Limits {
    /// The smallest values that still work: in simulation they make rare paths common.
    pub fn test_min() -> Limits {
        Limits {
            connections_max: 64,
            handshakes_max: 8,
            handshake_ms: 1_000,
            heartbeat_ms: 2_000,
            body_bytes_max: 256,
            window_frames: 2,
            window_bytes: 512,
            output_bytes_max: 1_024,
            users_max: 6,
            conversations_max: 4,
            marks_max: 6,
            devices_max: 4,
            outboxes_max: 8,
            waiting_max: 8,
            lane_credits: 2,
            asks_max: 4,
            scan_entries: 2,
            scan_bytes: 256,
            new_conversations_burst: 4,
            new_conversation_ms: 20,
            owed_max: 8,
            tail_bytes_max: 96 * 1024,
            tail_records_max: 256,
            reserve_bytes: 32 * 1024,
            segment_bytes: 16 * 1024,
            group_bytes_max: 4 * 1024,
            log_writes_max: 1,
            batch_bytes: 2 * 1024,
            flush_ms: 20,
            cursor_ms: 20,
            retry_after_ms: 20,
            events_per_turn: 8,
            effects_per_turn: 8,
        }
    }
}
