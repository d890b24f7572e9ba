//! Counters of one core, copied out by the engine once a second.

/// Since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Messages and voids that got their place here.
    pub messages: u64,
    /// Fresh SENT frames to sessions of this core.
    pub sent: u64,
    /// Inbox entries put into sessions' output (those inside SENT not among them).
    pub entries: u64,
    /// Presence states put into sessions' output.
    pub presences: u64,
    /// Batches that the backend took.
    pub batches: u64,
    /// Bytes of the log that are not in the backend at the moment.
    pub unflushed_bytes: u64,
    /// How long the oldest record that is not in the backend has been turned into a row, in
    /// microseconds; 0: there is none.
    pub unflushed_us: u64,
    /// Batches that it could not take at the first try.
    pub batches_failed: u64,
    /// Loads and scans that failed or were not answered in time.
    pub loads_failed: u64,
    /// Answers that came too late and were dropped.
    pub answers_dropped: u64,
    /// Scans that found less than the inbox has: the store lost entries.
    pub store_holes: u64,
    /// Trims of inboxes.
    pub trims: u64,
    /// Bytes of message and fan-out records appended to the log.
    pub message_bytes: u64,
    /// Bytes of cursor, epoch and checkpoint records appended to the log.
    pub cursor_bytes: u64,
    /// Bytes of the log, with the headers and the padding of its groups.
    pub log_bytes: u64,
    /// Sessions at the moment.
    pub sessions: u64,
    /// Users in memory at the moment.
    pub users: u64,
    /// Conversations in memory at the moment.
    pub conversations: u64,
}
