//! What a client is told at its start.

/// Bounds and habits of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Proves user and device; opaque.
    pub token: Vec<u8>,
    /// What the user's other devices call this one; at most `wire::NAME_BYTES_MAX` bytes.
    pub device_name: String,
    /// What it runs on; at most `wire::PLATFORM_BYTES_MAX` bytes.
    pub platform: String,
    /// A device without a past begins with the first entry of the inbox of this epoch, not with a
    /// snapshot; 0: with a snapshot. What the server has trimmed makes it a snapshot all the same.
    pub inbox_epoch: u64,
    /// Attach in the foreground: a person looks at it.
    pub foreground: bool,
    /// Keep the messages themselves in memory and journal; without it only which ones were seen.
    pub keep_history: bool,
    /// Sends of one conversation under way at most, at least 1.
    pub in_flight_max: usize,
    /// Bytes of bodies of one conversation under way at most (one send always fits).
    pub in_flight_bytes_max: usize,
    /// An ACK waits this long for a frame to ride on, in ms.
    pub ack_delay_ms: u64,
    /// An ACK waits for this many entries at most (a quarter of the session's window, if less).
    pub ack_entries_max: u64,
    /// A read mark that does not come back is told again after this time, in ms.
    pub read_repeat_ms: u64,
    /// WELCOME, PONG and the answers to sends, commands and requests must come within this time,
    /// in ms.
    pub answer_timeout_ms: u64,
    /// Spread of the first reconnect, in ms; doubles with each failure.
    pub reconnect_base_ms: u64,
    /// Widest spread of a reconnect, in ms.
    pub reconnect_cap_ms: u64,
}

impl Config {
    /// Production values, with this token.
    pub fn new(token: Vec<u8>) -> Config {
        Config {
            token,
            device_name: String::new(),
            platform: String::new(),
            inbox_epoch: 0,
            foreground: true,
            keep_history: true,
            in_flight_max: 64,
            in_flight_bytes_max: 64 * 1024,
            ack_delay_ms: 100,
            ack_entries_max: 32,
            read_repeat_ms: 10_000,
            answer_timeout_ms: 30_000,
            reconnect_base_ms: 500,
            reconnect_cap_ms: 30_000,
        }
    }
}
