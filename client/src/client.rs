//! The client: order and dispatch. What is durable is in `state`, what came in is handled in
//! `inbound`, what is due in `deadlines`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::{Ack, ClientFrame, Close, CloseCode, Conv, Hello, OutboxId, Ping, Seq, encode_client};

use crate::ack::Acks;
use crate::commands::Attempt;
use crate::connection::{Connection, Random, Stage};
use crate::entry::Entry;
use crate::journal::{Journal, JournalError, read, snapshot};
use crate::live::Live;
use crate::overview::Overview;
use crate::queue::Round;
use crate::requests::Requests;
use crate::state::State;
use crate::{ClientEvent, Config};

/// One device of one user: a sans-IO state machine.
///
/// After anything that changes it, its driver takes `journal()`, makes those bytes durable behind
/// the earlier ones, calls `committed()`, and then takes `output()` and `event()` until both are
/// empty. Nothing comes out of those that rests on bytes that are not committed.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) connection: Connection,
    pub(crate) acks: Acks,
    pub(crate) random: Random,
    pub(crate) now_ms: u64,
    pub(crate) command_attempt: Attempt,
    /// Read marks that were told on this attach, and when.
    pub(crate) reads_told: BTreeMap<Conv, (Seq, u64)>,
    pub(crate) requests: Requests,
    /// A snapshot that is under way.
    pub(crate) overview: Option<Overview>,
    /// What asking did not bring on this attach: conversations whose own entries were skipped …
    pub(crate) searched: BTreeSet<Conv>,
    /// … and the texts of other own devices that did not come, each with its last edit then.
    pub(crate) futile: BTreeMap<(Conv, Seq), Seq>,
    pub(crate) live: Live,
    events: VecDeque<(u64, ClientEvent)>,
}

impl Client {
    /// A client without a past. `random` must be random: outbox names and jitter follow from it.
    pub fn new(config: Config, random: u64) -> Client {
        let epoch = config.inbox_epoch;
        let mut client = Client::with(config, State::new(), Journal::new(), random);
        client.rotate_outbox();
        if epoch != 0 {
            client.record(&Entry::Inbox { epoch, position: 0 });
        }
        client
    }

    /// A client with the past that its journal holds, and how many bytes of the journal count: cut
    /// off the rest before appending. `random` as in `new`, and different at each opening.
    pub fn open(
        config: Config,
        journal: &[u8],
        random: u64,
    ) -> Result<(Client, usize), JournalError> {
        match read(journal)? {
            (_, 0) => Ok((Client::new(config, random), 0)),
            (state, bytes) => Ok((Client::with(config, state, Journal::default(), random), bytes)),
        }
    }

    fn with(config: Config, state: State, journal: Journal, random: u64) -> Client {
        Client {
            command_attempt: Attempt::default(),
            reads_told: BTreeMap::new(),
            requests: Requests::default(),
            overview: None,
            searched: BTreeSet::new(),
            futile: BTreeMap::new(),
            live: Live::new(config.foreground),
            config,
            state,
            journal,
            connection: Connection::new(),
            acks: Acks::default(),
            random: Random(random),
            now_ms: 0,
            events: VecDeque::new(),
        }
    }

    /// A connection to the server stands.
    pub fn connected(&mut self, now_ms: u64) {
        assert_eq!(self.connection.stage, Stage::Offline, "one connection at a time");
        self.now_ms = now_ms;
        self.connection.open(self.journal.written, self.state.outbox, now_ms);
    }

    /// The connection is gone, or an attempt to make one failed.
    pub fn disconnected(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.connection.close(&self.config, now_ms, &mut self.random);
        for conv in &self.state.sending {
            if let Some(found) = self.state.conversations.get_mut(conv) {
                found.queue.detach();
            }
        }
        self.command_attempt = Attempt::Unsent;
        self.reads_told.clear();
        self.requests.detach();
        self.overview = None;
        self.searched.clear();
        self.futile.clear();
        self.live.detach();
    }

    /// Leaves in order: `output()` says so, then the adapter closes. It does not come back by
    /// itself.
    pub fn close(&mut self) {
        self.connection.retry.0 = wire::Retry::Never;
        match self.connection.stage {
            Stage::Offline => self.connection.connect_at_ms = None,
            Stage::Closing => {}
            _ => self.leave(CloseCode::Normal),
        }
    }

    /// Whether the adapter must close the socket once `output()` is written.
    pub fn is_closing(&self) -> bool {
        self.connection.stage == Stage::Closing
    }

    /// Whether a session stands.
    pub fn is_attached(&self) -> bool {
        self.connection.stage == Stage::Attached
    }

    /// Bytes to append durably; then call `committed`. Empty: nothing changed.
    pub fn journal(&mut self) -> Vec<u8> {
        if !self.journal.is_dirty() {
            return Vec::new();
        }
        if self.overview.is_none() {
            self.acks.take(self.state.position);
        }
        self.journal.take()
    }

    /// The bytes that `journal` gave last are durable.
    pub fn committed(&mut self) {
        self.journal.committed = self.journal.taken;
        self.acks.commit();
    }

    /// A journal that holds the present state, to replace the old one with. All that `journal`
    /// gave must be committed and nothing may wait there.
    pub fn snapshot(&self) -> Vec<u8> {
        assert_eq!(self.journal.committed, self.journal.written, "commit first");
        snapshot(&self.state)
    }

    /// Bytes to send; empty if none. Take it again after each commit and each other call.
    pub fn output(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.connection.stage {
            Stage::Offline | Stage::Welcome => {}
            Stage::Hello { mark } if self.journal.committed >= mark => self.put_hello(&mut out),
            Stage::Hello { .. } => {}
            Stage::Attached => self.put_attached(&mut out),
            Stage::Closing => {
                if let Some(code) = self.connection.farewell.take() {
                    let close = Close { code, retry_after_ms: 0, reason: "" };
                    encode_client(&mut out, &ClientFrame::Close(close));
                }
            }
        }
        if !out.is_empty() {
            self.connection.sent_ms = self.now_ms;
        }
        out
    }

    fn put_hello(&mut self, out: &mut Vec<u8>) {
        self.connection.stage = Stage::Welcome;
        self.connection.unanswered = true;
        let hello = Hello {
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            features: wire::FEATURES,
            outbox: self.connection.hello_outbox,
            inbox_epoch: self.state.epoch,
            // Committed: nothing moved it since the connection was opened.
            acked: self.state.position,
            foreground: self.live.hello(),
            token: &self.config.token,
            name: &self.config.device_name,
            platform: &self.config.platform,
        };
        encode_client(out, &ClientFrame::Hello(hello));
    }

    fn put_attached(&mut self, out: &mut Vec<u8>) {
        let round = Round {
            now_ms: self.now_ms,
            committed: self.journal.committed,
            hello_outbox: self.connection.hello_outbox,
            config: &self.config,
        };
        for &conv in &self.state.sending {
            if let Some(found) = self.state.conversations.get_mut(&conv) {
                found.queue.round(conv, &round, |frame| encode_client(out, &frame));
            }
        }
        self.ask_lacking();
        let mut emit = |frame: ClientFrame<'_>| encode_client(out, &frame);
        self.put_command(&mut emit);
        self.put_reads(&mut emit);
        self.requests.put(self.now_ms, &mut emit);
        self.live.put(self.now_ms, &mut emit);
        if out.is_empty() && self.now_ms >= self.ping_due_ms() {
            let acked = self.acks.tell(self.now_ms).unwrap_or(0);
            encode_client(out, &ClientFrame::Ping(Ping { acked }));
            self.connection.pinged_ms.get_or_insert(self.now_ms);
        }
        let due = self.acks.due_ms(&self.config);
        if due.is_some_and(|due| !out.is_empty() || due <= self.now_ms)
            && let Some(inbox_seq) = self.acks.tell(self.now_ms)
        {
            encode_client(out, &ClientFrame::Ack(Ack { inbox_seq }));
        }
    }

    /// Whether `event` gives one now.
    pub fn has_event(&self) -> bool {
        self.events.front().is_some_and(|&(mark, _)| mark <= self.journal.committed)
    }

    /// The next event, in order; `None`: none that is committed.
    pub fn event(&mut self) -> Option<ClientEvent> {
        if !self.has_event() {
            return None;
        }
        self.events.pop_front().map(|(_, event)| event)
    }

    pub(crate) fn record(&mut self, entry: &Entry<'_>) {
        self.journal.push(entry);
        let applied = self.state.apply(entry, self.journal.written);
        applied.expect("a live entry fits its state");
    }

    /// The event comes out once everything recorded so far is committed.
    pub(crate) fn tell(&mut self, event: ClientEvent) {
        self.events.push_back((self.journal.written, event));
    }

    /// New messages go into a new outbox: nothing else can have given out its numbers.
    pub(crate) fn rotate_outbox(&mut self) {
        let outbox = OutboxId(self.random.number());
        self.record(&Entry::Outbox { outbox });
    }

    /// Closes from this side, saying why.
    pub(crate) fn leave(&mut self, code: CloseCode) {
        self.connection.stage = Stage::Closing;
        self.connection.farewell = Some(code);
    }
}
