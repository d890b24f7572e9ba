//! The connection as the client core sees it: its stage, its clocks, and when to come back.

use wire::{CloseCode, Deframer, OutboxId, Retry, Seq};

use crate::Config;

/// A HELLO that was not answered may reach the server for so long after its connection ended.
const STRAY_HELLO_MS: u64 = 60_000;

/// Named for what is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A connection.
    Offline,
    /// The commit that HELLO rests on (its journal mark).
    Hello { mark: u64 },
    /// WELCOME.
    Welcome,
    /// The end.
    Attached,
    /// The adapter, to close the socket.
    Closing,
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub stage: Stage,
    pub deframer: Deframer,
    /// The outbox that HELLO named.
    pub hello_outbox: OutboxId,
    /// When it was opened.
    pub opened_ms: u64,
    pub sent_ms: u64,
    pub heartbeat_ms: u64,
    /// When the first PING left after which nothing came.
    pub pinged_ms: Option<u64>,
    /// Newest inbox entry that the server told of.
    pub head: Seq,
    /// The backlog ended.
    pub caught_up: bool,
    /// The server told of entries, and none came since.
    pub behind_since_ms: Option<u64>,
    /// The server asked to leave: at this time.
    pub leave_ms: Option<u64>,
    /// Say this when closing.
    pub farewell: Option<CloseCode>,
    /// HELLO left, and neither WELCOME nor CLOSE came.
    pub unanswered: bool,
    /// When the last connection ended like that.
    pub stray_hello_ms: Option<u64>,
    /// Whether and when to come back.
    pub retry: (Retry, u64),
    /// Failures in a row.
    pub failures: u32,
    /// When to connect; `None`: not by itself.
    pub connect_at_ms: Option<u64>,
}

impl Connection {
    pub fn new() -> Connection {
        Connection {
            stage: Stage::Offline,
            deframer: Deframer::default(),
            hello_outbox: OutboxId(0),
            opened_ms: 0,
            sent_ms: 0,
            heartbeat_ms: 0,
            pinged_ms: None,
            head: 0,
            caught_up: false,
            behind_since_ms: None,
            leave_ms: None,
            farewell: None,
            unanswered: false,
            stray_hello_ms: None,
            retry: (Retry::Later, 0),
            failures: 0,
            connect_at_ms: Some(0),
        }
    }

    /// A connection stands. `mark`: what HELLO rests on.
    pub fn open(&mut self, mark: u64, hello_outbox: OutboxId, now_ms: u64) {
        let (failures, stray_hello_ms) = (self.failures, self.stray_hello_ms);
        *self = Connection::new();
        self.stray_hello_ms = stray_hello_ms;
        self.stage = Stage::Hello { mark };
        self.hello_outbox = hello_outbox;
        (self.opened_ms, self.sent_ms, self.failures) = (now_ms, now_ms, failures);
    }

    /// It is gone (or was never made).
    pub fn close(&mut self, config: &Config, now_ms: u64, random: &mut Random) {
        let (retry, after_ms) = std::mem::replace(&mut self.retry, (Retry::Later, 0));
        self.stage = Stage::Offline;
        if std::mem::take(&mut self.unanswered) {
            self.stray_hello_ms = Some(now_ms);
        }
        let doubled = config.reconnect_base_ms.saturating_mul(1 << self.failures.min(20));
        let spread = doubled.min(config.reconnect_cap_ms);
        self.failures += 1;
        let wait = after_ms.saturating_add(random.up_to(spread));
        self.connect_at_ms = (retry == Retry::Later).then(|| now_ms.saturating_add(wait));
    }
}

impl Connection {
    /// DISPLACED came: true if it may be by this client's own HELLO on an older connection, which
    /// a server that stood still reads after the newer one. Once for each such HELLO.
    pub fn displaced_itself(&mut self, now_ms: u64) -> bool {
        let stray_ms = self.stray_hello_ms.take();
        stray_ms.is_some_and(|ended_ms| now_ms.saturating_sub(ended_ms) <= STRAY_HELLO_MS)
    }
}

/// Numbers that follow from one seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `max`, both included.
    pub fn up_to(&mut self, max: u64) -> u64 {
        ((u128::from(self.number()) * (u128::from(max) + 1)) >> 64) as u64
    }
}
