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
    /// Users in memory at one core. Who left stays until grace and last seen are over.
    pub users_max: u32,
    /// Conversations in memory at one core.
    pub conversations_max: u32,
    /// Members (user and conversation) in memory at one core.
    pub members_max: u32,
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
    /// Scans under way from one core; further ones take turns.
    pub scans_max: u32,
    /// Sessions of one core that may read a scan ahead of their credit.
    pub read_ahead_max: u32,
    /// Entries that one scan asks for.
    pub scan_entries: u32,
    /// Bytes that one scan asks for.
    pub scan_bytes: u32,
    /// Pages of history under way from one core to another, and from one core to the store.
    pub pages_max: u32,
    /// Pages that one user may ask for at once …
    pub page_burst: u32,
    /// … and one more each time this many ms have passed.
    pub page_ms: u64,
    /// Entries that have to go before a trim is logged.
    pub trim_entries: u32,
    /// Inbox entries go at this age, in ms, although a device has not passed them.
    pub inbox_age_ms: u64,
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
    /// Sends that one device may make at once …
    pub send_burst: u32,
    /// … and one more each time this many ms have passed.
    pub send_ms: u64,
    /// A message may be edited this long, in ms.
    pub edit_window_ms: u64,
    /// A message may be deleted for everyone this long, in ms.
    pub delete_window_ms: u64,
    /// Delivered and read marks are logged and told to the peer at most this often, in ms.
    pub receipt_ms: u64,
    /// A device that told of what it acked so lately, in ms, waits until then: first comes a quick
    /// receipt, then one for many messages.
    pub receipt_rest_ms: u64,
    /// Conversations with marks that moved and are not in the log, before input pauses.
    pub moved_marks_max: u32,
    /// Log writes that were under way so long and did not end, in ms: sends are refused until one
    /// does.
    pub log_stall_ms: u64,
    /// What is told to a client whose send meets a full limit, in ms.
    pub retry_after_ms: u64,
    /// Circles (contacts, blocks, watchers of a user) in memory at one core.
    pub circles_max: u32,
    /// Contacts and blocks in all circles in memory at one core, about.
    pub circle_contacts_max: u32,
    /// Contacts and blocked users of one user.
    pub contacts_max: u32,
    /// Users whom one session may watch.
    pub watch_max: u32,
    /// Watched users of all sessions of a core, and watchers of all its users.
    pub watches_max: u32,
    /// WATCHes that one session may send at once …
    pub watch_burst: u32,
    /// … and one more each time this many ms have passed.
    pub watch_ms: u64,
    /// A user is online this long after the last session left the foreground, in ms.
    pub presence_grace_ms: u64,
    /// Presence of a user, and frames about it to one session: at most one in this many ms.
    pub presence_window_ms: u64,
    /// When users were last seen is logged this often, in ms.
    pub last_seen_ms: u64,
    /// One TYPING of a session and conversation in this many ms is passed on.
    pub typing_ms: u64,
    /// Requests of one session that wait for the store before its input pauses.
    pub requests_max: u32,
    /// Ranges of places that one user may hide in one conversation.
    pub hidden_ranges_max: u32,
    /// Commands that one user may give at once …
    pub command_burst: u32,
    /// … and one more each time this many ms have passed.
    pub command_ms: u64,
    /// Times that one user's devices may attach at once …
    pub attach_burst: u32,
    /// … and one more each time this many ms have passed.
    pub attach_ms: u64,
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
            window_frames: 512,
            window_bytes: 256 * 1024,
            output_bytes_max: 32 * 1024,
            users_max: 40_000,
            conversations_max: 40_000,
            members_max: 80_000,
            devices_max: 16,
            outboxes_max: 64,
            waiting_max: 8_192,
            lane_credits: 8_192,
            asks_max: 256,
            scans_max: 8,
            read_ahead_max: 64,
            scan_entries: 2_048,
            scan_bytes: 128 * 1024,
            pages_max: 32,
            page_burst: 512,
            page_ms: 10,
            trim_entries: 16,
            inbox_age_ms: 30 * 86_400_000,
            new_conversations_burst: 1_000,
            new_conversation_ms: 1_000,
            owed_max: 65_536,
            tail_bytes_max: 256 << 20,
            tail_records_max: 2_000_000,
            reserve_bytes: 32 << 20,
            segment_bytes: 16 << 20,
            group_bytes_max: 256 * 1024,
            log_writes_max: 1,
            batch_bytes: 64 << 20,
            flush_ms: 4_000,
            cursor_ms: 1_000,
            send_burst: 2_000,
            send_ms: 1,
            edit_window_ms: 2 * 86_400_000,
            delete_window_ms: 2 * 86_400_000,
            receipt_ms: 100,
            receipt_rest_ms: 800,
            moved_marks_max: 65_536,
            log_stall_ms: 5_000,
            retry_after_ms: 500,
            circles_max: 100_000,
            circle_contacts_max: 4_000_000,
            contacts_max: 1_000,
            watch_max: 200,
            watches_max: 2_000_000,
            watch_burst: 20,
            watch_ms: 1_000,
            presence_grace_ms: 3_000,
            presence_window_ms: 200,
            last_seen_ms: 7_000,
            typing_ms: 3_000,
            requests_max: 8,
            hidden_ranges_max: 1_000,
            command_burst: 1_000,
            command_ms: 20,
            attach_burst: 100,
            attach_ms: 1_000,
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
            members_max: 8,
            devices_max: 4,
            outboxes_max: 8,
            waiting_max: 8,
            lane_credits: 2,
            asks_max: 4,
            scans_max: 2,
            read_ahead_max: 2,
            scan_entries: 2,
            scan_bytes: 256,
            pages_max: 2,
            page_burst: 16,
            page_ms: 5,
            trim_entries: 4,
            inbox_age_ms: 600_000,
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
            send_burst: 64,
            send_ms: 1,
            edit_window_ms: 10_000,
            delete_window_ms: 20_000,
            receipt_ms: 5,
            receipt_rest_ms: 1,
            moved_marks_max: 8,
            log_stall_ms: 100,
            retry_after_ms: 20,
            circles_max: 6,
            circle_contacts_max: 12,
            contacts_max: 4,
            watch_max: 4,
            watches_max: 12,
            watch_burst: 4,
            watch_ms: 20,
            presence_grace_ms: 60,
            presence_window_ms: 20,
            last_seen_ms: 50,
            typing_ms: 30,
            requests_max: 2,
            hidden_ranges_max: 4,
            command_burst: 16,
            command_ms: 5,
            attach_burst: 16,
            attach_ms: 5,
            events_per_turn: 8,
            effects_per_turn: 8,
        }
    }
}
