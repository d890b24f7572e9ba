//! The load: one thread, one ring, pairs of users who write to each other. Closed loop to find
//! saturation; open loop, with the times at which sends were intended, to measure latency.

use crate::body::Stamp;
use crate::ledger::{Ledger, Stream};
use crate::process;
use crate::speak::{Heard, Speak};
use crate::watch::{Reading, Watch};
use hdrhistogram::Histogram;
use ring::{Completion, Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const RECV: u8 = 0;
const SEND: u8 = 1;
/// Connections that may be in their handshake together.
const HANDSHAKES: usize = 256;
/// Completions of one turn, and so about as many sends: the next burst is late by no more.
const COMPLETIONS_MAX: usize = 32;
/// How often a pair's messages change direction: after so many for each one in flight.
const TURN_MESSAGES: u32 = 64;
/// How long a server may take for anything that is still unanswered when a phase ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum GeneratorError {
    /// The system refuses.
    #[error("generator: {0}")]
    System(#[from] io::Error),
    /// The server broke the protocol, refused or closed.
    #[error("user {user}: {what}")]
    Server {
        /// Whose connection.
        user: u32,
        /// What it said.
        what: String,
    },
    /// Something is unanswered.
    #[error("{0} after {PATIENCE:?}")]
    Silent(String),
}

/// How sends are timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Each pair keeps `depth` messages in flight.
    Closed {
        /// Messages in flight in each pair.
        depth: u32,
    },
    /// Bursts of `depth` messages of one pair, at intended times, whatever the server does.
    Open {
        /// Messages of a burst.
        depth: u32,
        /// Messages in all pairs, per second.
        per_second: f64,
    },
}

/// What a phase measured.
#[derive(Debug)]
pub struct Measured {
    /// Messages delivered within the phase, per second.
    pub delivered_per_s: f64,
    /// The same per second of processor time of all the server's threads.
    pub delivered_per_server_cpu_s: f64,
    /// From the intended time to SENT, in ns.
    pub sent: Histogram<u64>,
    /// From the intended time to the receiver, in ns.
    pub delivered: Histogram<u64>,
    /// From the intended time to the send, in ns.
    pub lag: Histogram<u64>,
    /// Before and after.
    pub readings: (Reading, Reading),
    /// Messages delivered within the phase.
    pub count: u64,
}

impl Measured {
    /// How late the generator was, at the 99th percentile, in ns.
    pub fn lag_p99_ns(&self) -> u64 {
        self.lag.value_at_quantile(0.99)
    }
}

struct Conn<C> {
    target: Target,
    state: C,
    out: Vec<u8>,
    sending: bool,
    dirty: bool,
    attached: bool,
    /// What its user sees of the peer.
    stream: Stream,
}

/// A message that is not yet both sent and delivered.
#[derive(Clone, Copy)]
struct Flight {
    at_ns: u64,
    pair: u32,
    open: u8,
}

const SENT: u8 = 1;
const DELIVERED: u8 = 2;

/// The generator, connected to one server.
pub struct Generator<S: Speak> {
    speak: S,
    ring: Ring,
    conns: Vec<Conn<S::Conn>>,
    dirty: Vec<u32>,
    heard: Vec<Heard>,
    /// By message number, as in the ledger.
    flights: Vec<Flight>,
    in_flight: u64,
    /// Messages so far, by pair.
    composed: Vec<u32>,
    ledger: Ledger,
    epoch: Instant,
    phase: Phase,
}

/// What the phase at hand has gathered.
struct Phase {
    load: Option<Load>,
    /// Measured between these, in ns of the epoch.
    window: (u64, u64),
    next_burst: u64,
    first_burst_ns: u64,
    delivered_count: u64,
    sent: Histogram<u64>,
    delivered: Histogram<u64>,
    lag: Histogram<u64>,
}

impl Phase {
    fn new(load: Option<Load>, start_ns: u64) -> Phase {
        // 1 ns to a minute, three digits.
        let new = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        let histogram = || new().expect("bounds that are allowed");
        Phase {
            load,
            window: (u64::MAX, u64::MAX),
            next_burst: 0,
            first_burst_ns: start_ns,
            delivered_count: 0,
            sent: histogram(),
            delivered: histogram(),
            lag: histogram(),
        }
    }

    fn holds(&self, ns: u64) -> bool {
        self.window.0 <= ns && ns < self.window.1
    }
}

impl<S: Speak> Generator<S> {
    /// Connects and attaches the users 0 … `users - 1`, an even number; 2k and 2k + 1 are a pair.
    pub fn connect(speak: S, users: u32, server: SocketAddr) -> Result<Self, GeneratorError> {
        assert!(users > 0 && users.is_multiple_of(2));
        process::raise_open_files()?;
        let ring = Ring::new(&RingConfig {
            entries: 4096,
            completions: 65_536,
            files: users,
            buffers: Some((4096, 4096)),
            mode: RingMode::Deferred,
        })?;
        let mut generator = Generator {
            speak,
            ring,
            conns: Vec::new(),
            dirty: Vec::new(),
            heard: Vec::new(),
            flights: Vec::new(),
            in_flight: 0,
            composed: vec![0; users as usize / 2],
            ledger: Ledger::default(),
            epoch: Instant::now(),
            phase: Phase::new(None, 0),
        };
        while generator.conns.len() < users as usize {
            let end = (generator.conns.len() + HANDSHAKES).min(users as usize);
            for user in generator.conns.len()..end {
                generator.connect_one(user as u32, server)?;
            }
            let waits = |g: &Self| g.conns.iter().rev().take(HANDSHAKES).any(|c| !c.attached);
            generator.run_while(waits, "a user is not attached")?;
        }
        generator.introduce()?;
        Ok(generator)
    }

    /// The first message of each pair, for which a server looks up what it does not know: some at a
    /// time, since it lets no more than so many wait for its store.
    fn introduce(&mut self) -> Result<(), GeneratorError> {
        let now = self.ns(Instant::now());
        self.phase = Phase::new(Some(Load::Open { depth: 1, per_second: 1.0 }), now);
        for pair in 0..self.composed.len() {
            self.send(pair as u32, now);
            if (pair + 1) % HANDSHAKES == 0 || pair + 1 == self.composed.len() {
                self.run_while(|g| g.in_flight > 0, "a first message is unanswered")?;
            }
        }
        self.phase = Phase::new(None, 0);
        Ok(())
    }

    fn connect_one(&mut self, user: u32, server: SocketAddr) -> Result<(), GeneratorError> {
        let socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        let target = Target::Direct(self.ring.install(socket.into())?);
        let stream = self.ledger.stream(user ^ 1, user, 0);
        let mut out = Vec::new();
        self.speak.hello(user, &mut out);
        let (sending, dirty, attached) = (false, true, false);
        let state = S::Conn::default();
        self.conns.push(Conn { target, state, out, sending, dirty, attached, stream });
        self.dirty.push(user);
        self.ring.recv_multi(Token::new(RECV, user, 0), target);
        Ok(())
    }

    /// Loads the server: `warm_up` unmeasured, `length` measured, then waits until everything is
    /// answered.
    pub fn measure(
        &mut self,
        load: Load,
        warm_up: Duration,
        length: Duration,
        watch: &Watch,
    ) -> Result<Measured, GeneratorError> {
        let begun = Instant::now();
        self.phase = Phase::new(Some(load), self.ns(begun));
        if let Load::Closed { depth } = load {
            for pair in (0..self.composed.len() as u32).flat_map(|p| (0..depth).map(move |_| p)) {
                self.send(pair, self.ns(begun));
            }
        }
        self.run_until(begun + warm_up)?;
        let before = watch.read()?;
        let start = Instant::now();
        self.phase.window = (self.ns(start), self.ns(start + length));
        self.run_until(start + length)?;
        let seconds = start.elapsed().as_secs_f64();
        let after = watch.read()?;
        let count = self.phase.delivered_count;
        self.phase.load = None;
        self.run_while(|g| g.in_flight > 0, "a message is unanswered")?;
        let phase = std::mem::replace(&mut self.phase, Phase::new(None, 0));
        let cpu_s = (after.cpu_ns() - before.cpu_ns()) as f64 / 1e9;
        Ok(Measured {
            delivered_per_s: count as f64 / seconds,
            delivered_per_server_cpu_s: count as f64 / cpu_s.max(1e-9),
            sent: phase.sent,
            delivered: phase.delivered,
            lag: phase.lag,
            readings: (before, after),
            count,
        })
    }

    /// Acknowledges what is left, and gives the ledger for its check.
    pub fn finish(mut self) -> Result<Ledger, GeneratorError> {
        for user in 0..self.conns.len() as u32 {
            let conn = &mut self.conns[user as usize];
            self.speak.acknowledge(&mut conn.state, true, &mut conn.out);
            mark(&mut self.dirty, conn, user);
        }
        self.run_while(|g| g.conns.iter().any(|conn| conn.sending || conn.dirty), "a last ACK")?;
        Ok(self.ledger)
    }

    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    fn run_until(&mut self, end: Instant) -> Result<(), GeneratorError> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let next = self.send_due(now).unwrap_or(end).min(end);
            self.turn(next.saturating_duration_since(now))?;
        }
    }

    fn run_while(
        &mut self,
        waits: impl Fn(&Self) -> bool,
        what: &str,
    ) -> Result<(), GeneratorError> {
        let end = Instant::now() + PATIENCE;
        while waits(self) {
            if Instant::now() >= end {
                return Err(GeneratorError::Silent(what.to_owned()));
            }
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Sends what is due by now; when the next burst is.
    fn send_due(&mut self, now: Instant) -> Option<Instant> {
        let Some(Load::Open { depth, per_second }) = self.phase.load else { return None };
        let interval_ns = 1e9 * f64::from(depth) / per_second;
        loop {
            let after = (self.phase.next_burst as f64 * interval_ns) as u64;
            let at_ns = self.phase.first_burst_ns + after;
            if at_ns > self.ns(now) {
                return Some(self.epoch + Duration::from_nanos(at_ns));
            }
            let pair = (self.phase.next_burst % self.composed.len() as u64) as u32;
            self.phase.next_burst += 1;
            for _ in 0..depth {
                self.send(pair, at_ns);
            }
        }
    }

    fn turn(&mut self, patience: Duration) -> Result<(), GeneratorError> {
        self.flush();
        let busy = self.ring.work_is_deferred() || self.ring.ready() > 0;
        let wait = if busy { Wait::No } else { Wait::Until(Some(patience)) };
        self.ring.enter(wait);
        for _ in 0..COMPLETIONS_MAX {
            let Some(completion) = self.ring.reap() else { break };
            self.completed(completion)?;
        }
        Ok(())
    }

    /// Composes a message of the pair and queues it.
    fn send(&mut self, pair: u32, at_ns: u64) {
        let composed = &mut self.composed[pair as usize];
        let depth = match self.phase.load {
            Some(Load::Closed { depth } | Load::Open { depth, .. }) => depth,
            None => return,
        };
        let turns = *composed / (TURN_MESSAGES * depth);
        *composed += 1;
        // Half of the pairs begin on the other side.
        let sender = 2 * pair + (pair + turns) % 2;
        let receiver = sender ^ 1;
        let number = self.ledger.compose(sender, receiver);
        self.flights.push(Flight { at_ns, pair, open: SENT | DELIVERED });
        self.in_flight += 1;
        let conn = &mut self.conns[sender as usize];
        self.speak.send(&mut conn.state, &Stamp { number, sender, receiver }, &mut conn.out);
        mark(&mut self.dirty, conn, sender);
        if self.phase.holds(at_ns) {
            let lag = self.ns(Instant::now()).saturating_sub(at_ns);
            self.phase.lag.saturating_record(lag);
        }
    }

    fn completed(&mut self, completion: Completion) -> Result<(), GeneratorError> {
        let Completion { token, result, more, given, .. } = completion;
        let user = token.index;
        if token.kind == SEND {
            return self.sent(user, result, given);
        }
        match (result, given) {
            (Ok(_), Given::Received(buffer)) => {
                let conn = &mut self.conns[user as usize];
                let bytes = self.ring.bytes(&buffer);
                let received = self.speak.received(&mut conn.state, bytes, &mut self.heard);
                mark(&mut self.dirty, conn, user);
                self.ring.give_back(buffer);
                received.map_err(|what| GeneratorError::Server { user, what })?;
                self.handle(user);
            }
            // The pool was empty for a moment: it is not any more.
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            (result, _) => {
                let what = format!("the connection ended: {result:?}");
                return Err(GeneratorError::Server { user, what });
            }
        }
        if !more {
            let target = self.conns[user as usize].target;
            self.ring.recv_multi(Token::new(RECV, user, 0), target);
        }
        Ok(())
    }

    fn sent(
        &mut self,
        user: u32,
        result: io::Result<u32>,
        given: Given,
    ) -> Result<(), GeneratorError> {
        let Given::Buffer(mut buffer) = given else { unreachable!("a send owns a buffer") };
        let whole = buffer.len();
        if result.as_ref().ok().map(|&bytes| bytes as usize) != Some(whole) {
            let what = format!("a send of {whole} bytes ended with {result:?}");
            return Err(GeneratorError::Server { user, what });
        }
        let conn = &mut self.conns[user as usize];
        conn.sending = false;
        buffer.clear();
        if conn.out.is_empty() {
            conn.out = buffer;
        }
        mark(&mut self.dirty, conn, user);
        Ok(())
    }

    fn handle(&mut self, user: u32) {
        let now = self.ns(Instant::now());
        let mut heard = std::mem::take(&mut self.heard);
        for heard in heard.drain(..) {
            match heard {
                Heard::Attached => self.conns[user as usize].attached = true,
                Heard::Sent(number, conv_seq) => {
                    self.ledger.acked(number, conv_seq);
                    self.settle(number, SENT, now);
                }
                Heard::Delivered(stamp, conv_seq) => {
                    let stream = self.conns[user as usize].stream;
                    self.ledger.delivered(stream, stamp.number, conv_seq);
                    self.settle(stamp.number, DELIVERED, now);
                }
                Heard::Foreign => self.ledger.foreign(),
            }
        }
        self.heard = heard;
    }

    /// One of the two ends of a message came.
    fn settle(&mut self, number: u64, end: u8, now: u64) {
        let Some(flight) = self.flights.get_mut(number as usize) else { return };
        if flight.open & end == 0 {
            return;
        }
        flight.open &= !end;
        let Flight { at_ns, pair, open } = *flight;
        if self.phase.holds(at_ns) {
            let ends = if end == SENT { &mut self.phase.sent } else { &mut self.phase.delivered };
            ends.saturating_record(now - at_ns);
        }
        self.phase.delivered_count += u64::from(end == DELIVERED && self.phase.holds(now));
        if open == 0 {
            self.in_flight -= 1;
            if let Some(Load::Closed { .. }) = self.phase.load {
                self.send(pair, now);
            }
        }
    }

    fn flush(&mut self) {
        for user in self.dirty.drain(..) {
            let conn = &mut self.conns[user as usize];
            conn.dirty = false;
            if conn.sending {
                continue;
            }
            self.speak.acknowledge(&mut conn.state, false, &mut conn.out);
            if !conn.out.is_empty() {
                conn.sending = true;
                let out = std::mem::take(&mut conn.out);
                self.ring.send(Token::new(SEND, user, 0), conn.target, out, 0);
            }
        }
    }
}

fn mark<C>(dirty: &mut Vec<u32>, conn: &mut Conn<C>, user: u32) {
    if !conn.dirty {
        conn.dirty = true;
        dirty.push(user);
    }
}
