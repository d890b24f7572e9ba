//! The connections of one core over its socket ring.
//!
//! An idle connection is parked on a one-shot poll, the cheapest thing to have armed (256 bytes of
//! kernel memory; a receive in waiting takes 866). When bytes are there it receives once, into a
//! buffer of the pool. One that was heard from lately has a receive that goes on, which saves two
//! operations a message. It is stopped when the core leaves bytes untaken, so a connection that is
//! not read takes no buffers beyond those that are under way; and by the first heartbeat after a
//! silence, which parks it. `shutdown` completes each of them.

use crate::conn::{Conn, ConnTable, Receiving, Socket, State};
use ring::{Completion, Doorbell, Given, Ring, RingConfig, RingMode, Target, Token, Wait};
use rustix::io::Errno;
use shards::{ConnId, Event, Handle};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Accepting goes on this long after it failed for want of descriptors or memory.
const ACCEPT_PAUSE_US: u64 = 100_000;
/// How long a peer has to end its side after we ended ours.
const LINGER_US: u64 = 1_000_000;
/// A connection that was heard from so lately is hot.
const HOT_S: u32 = 10;

/// Kinds of tokens.
const ACCEPT: u8 = 0;
const WAKE: u8 = 1;
const POLL: u8 = 2;
const RECV: u8 = 3;
const SEND: u8 = 4;
const SHUTDOWN: u8 = 5;
const STOP: u8 = 6;

/// What the sockets are made of.
#[derive(Clone, Debug)]
pub(crate) struct SocketsConfig {
    pub(crate) connections_max: u32,
    pub(crate) handshakes_max: u32,
    pub(crate) recv_buffers: u16,
    pub(crate) recv_buffer_bytes: u32,
}

impl SocketsConfig {
    /// The first ring of a core.
    pub(crate) fn ring_config(&self) -> RingConfig {
        RingConfig {
            entries: 4096,
            completions: 32_768,
            files: self.connections_max,
            buffers: Some((self.recv_buffers, self.recv_buffer_bytes)),
            mode: RingMode::Deferred,
        }
    }
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// Connections taken.
    pub accepted: u64,
    /// Connections closed at once, because a limit was reached.
    pub refused: u64,
    /// How often accepting failed and paused.
    pub accept_pauses: u64,
    /// Receives that found no buffer and were repeated.
    pub buffers_empty: u64,
}

/// See the head of this file.
pub(crate) struct Sockets {
    ring: Ring,
    config: SocketsConfig,
    conns: ConnTable,
    bell: Arc<Doorbell>,
    listener: Option<OwnedFd>,
    accept_again_us: Option<u64>,
    /// Connections whose rest the core asked for.
    offers: VecDeque<ConnId>,
    /// Connections that found no buffer.
    starved: VecDeque<ConnId>,
    /// Lingering connections with their deadlines, which are in order.
    lingering: VecDeque<(u64, ConnId)>,
    closed: VecDeque<ConnId>,
    now_us: u64,
    pub(crate) stats: SocketStats,
}

impl Sockets {
    pub(crate) fn new(
        config: SocketsConfig,
        listener: OwnedFd,
        bell: Arc<Doorbell>,
    ) -> io::Result<Sockets> {
        let mut ring = Ring::new(&config.ring_config())?;
        ring.accept(Token::new(ACCEPT, 0, 0), &listener);
        ring.read(Token::new(WAKE, 0, 0), bell.eventfd(), vec![0; 8]);
        Ok(Sockets {
            ring,
            config,
            conns: ConnTable::default(),
            bell,
            listener: Some(listener),
            accept_again_us: None,
            offers: VecDeque::new(),
            starved: VecDeque::new(),
            lingering: VecDeque::new(),
            closed: VecDeque::new(),
            now_us: 0,
            stats: SocketStats::default(),
        })
    }

    /// The time is now.
    pub(crate) fn advance(&mut self, now_us: u64) {
        self.now_us = now_us;
        if self.accept_again_us.is_some_and(|at| at <= now_us) {
            self.accept_again_us = None;
            self.accept();
        }
        while let Some((deadline, id)) = self.lingering.front().copied()
            && deadline <= now_us
        {
            self.lingering.pop_front();
            self.end(id);
        }
    }

    /// When `advance` has something to do.
    pub(crate) fn deadline_us(&self) -> Option<u64> {
        let linger = self.lingering.front().map(|(deadline, _)| *deadline);
        linger.into_iter().chain(self.accept_again_us).min()
    }

    /// Tells of at most `max` connections that are gone; returns how many more events may follow.
    pub(crate) fn reap_closed(&mut self, max: usize, handle: Handle<'_>) -> usize {
        let mut left = max;
        while left > 0
            && let Some(conn) = self.closed.pop_front()
        {
            handle(Event::Closed { conn });
            self.conns.release(conn);
            left -= 1;
        }
        left
    }

    /// Hands over at most `max` other events.
    pub(crate) fn reap(&mut self, max: usize, handle: Handle<'_>) {
        let mut left = max;
        while left > 0
            && let Some(id) = self.offers.pop_front()
        {
            self.offer_rest(id, handle);
            left -= 1;
        }
        while left > 0
            && let Some(completion) = self.ring.reap()
        {
            self.complete(completion, handle);
            left -= 1;
        }
        self.feed_starved();
    }

    /// Whether `reap` has something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.closed.is_empty()
            || !self.offers.is_empty()
            || self.ring.ready() > 0
            || self.ring.work_is_deferred()
    }

    /// Submits, and waits for completions.
    pub(crate) fn enter(&mut self, wait: Wait) {
        self.ring.enter(wait);
    }

    /// Bytes of a connection that the core has not taken.
    #[cfg(test)]
    pub(crate) fn held_bytes(&mut self, id: ConnId) -> usize {
        self.conn(id).rest.len()
    }

    /// Number of `io_uring_enter` calls so far.
    pub(crate) fn enters(&self) -> u64 {
        self.ring.enters()
    }

    /// How often the ring's queue of completions was too small.
    pub(crate) fn overflows(&self) -> u64 {
        self.ring.overflows()
    }

    /// Sends; the connection has no other send in flight. One that has ended takes nothing.
    pub(crate) fn send(&mut self, id: ConnId, buffer: Vec<u8>) {
        if let Some(conn) = self.conns.get(id)
            && conn.state == State::Open
        {
            assert!(!conn.sending, "one send in flight per connection");
            conn.sending = true;
            conn.sent = 0;
            self.send_rest(id, buffer);
        }
    }

    fn send_rest(&mut self, id: ConnId, buffer: Vec<u8>) {
        let conn = self.conns.get(id).expect("exists");
        conn.in_flight += 1;
        let (target, sent) = (conn.target(), conn.sent as usize);
        self.ring.send(token(SEND, id), target, buffer, sent);
    }

    /// The core wants more bytes.
    pub(crate) fn receive(&mut self, id: ConnId) {
        match self.conns.get(id) {
            Some(conn) if conn.state != State::Open => {}
            Some(conn) if !conn.rest.is_empty() => self.offers.push_back(id),
            Some(conn) if conn.receiving == Receiving::No => self.park(id),
            _ => {}
        }
    }

    /// Ends the connection from our side: what was sent still leaves, then the peer has a moment to
    /// end its own.
    pub(crate) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else { return };
        if conn.state != State::Open {
            return;
        }
        conn.state = State::Lingering;
        conn.rest = Vec::new();
        let (sending, receiving) = (conn.sending, conn.receiving != Receiving::No);
        self.lingering.push_back((self.now_us + LINGER_US, id));
        if !sending {
            self.shutdown(id, false);
        }
        if !receiving {
            self.park(id);
        }
    }

    /// Takes a connection out that moves to its home, with the bytes that nobody took.
    pub(crate) fn hand_over(&mut self, id: ConnId) -> (OwnedFd, Vec<u8>) {
        let conn = self.conns.remove(id);
        self.closed.push_back(id);
        match conn.socket {
            Socket::Plain(fd) => (fd, conn.rest),
            Socket::Direct(_) => panic!("only a connection in its handshake is handed over"),
        }
    }

    /// Takes a connection in. On an error it is closed.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> io::Result<ConnId> {
        if self.conns.count() >= self.config.connections_max {
            self.stats.refused += 1;
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let file = self.ring.install(fd)?;
        let id = self.conns.insert(Socket::Direct(file));
        self.park(id);
        Ok(id)
    }

    /// Takes no new connections any more.
    pub(crate) fn stop_accepting(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Ends the accept in flight, too; its last completion is ignored.
            let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        }
        self.accept_again_us = None;
    }

    fn accept(&mut self) {
        if let Some(listener) = &self.listener {
            self.ring.accept(Token::new(ACCEPT, 0, 0), listener);
        }
    }

    fn accepted(&mut self, completion: Completion, handle: Handle<'_>) {
        if let Given::Accepted(fd) = completion.given {
            if self.listener.is_none()
                || self.conns.count() >= self.config.connections_max
                // The core refuses those above its limit with a word; this one only bounds plain
                // descriptors.
                || self.conns.plain_count() >= 2 * self.config.handshakes_max
            {
                self.stats.refused += 1;
            } else {
                self.stats.accepted += 1;
                let conn = self.conns.insert(Socket::Plain(fd));
                self.park(conn);
                handle(Event::Accepted { conn });
            }
        }
        if completion.more {
            return;
        }
        match completion.result.map_err(|error| Errno::from_io_error(&error)) {
            Ok(_) | Err(Some(Errno::CONNABORTED | Errno::INTR | Errno::AGAIN)) => self.accept(),
            // No descriptors, no memory: asking at once would only spin.
            Err(_) if self.listener.is_some() => {
                self.stats.accept_pauses += 1;
                self.accept_again_us = Some(self.now_us + ACCEPT_PAUSE_US);
            }
            Err(_) => {}
        }
    }

    fn complete(&mut self, completion: Completion, handle: Handle<'_>) {
        let token = completion.token;
        match token.kind {
            ACCEPT => return self.accepted(completion, handle),
            WAKE => {
                let Given::Buffer(buffer) = completion.given else { unreachable!("a read") };
                return self.ring.read(token, self.bell.eventfd(), buffer);
            }
            _ => {}
        }
        let id = self.conns.id_at(token.index).expect("a connection outlives its operations");
        assert!(token.is_of(id.generation), "a connection outlives its operations");
        self.conn(id).in_flight -= u8::from(!completion.more);
        match token.kind {
            POLL if self.conn(id).state == State::Closing => {}
            POLL => self.recv_once(id),
            RECV => self.received(id, completion, handle),
            SEND => self.sent(id, completion, handle),
            SHUTDOWN | STOP => {}
            kind => unreachable!("no token has kind {kind}"),
        }
        self.free_if_done(id);
    }

    fn received(&mut self, id: ConnId, completion: Completion, handle: Handle<'_>) {
        let conn = self.conn(id);
        let stopped = conn.receiving == Receiving::Stops;
        if !completion.more {
            conn.receiving = Receiving::No;
        }
        match (completion.result, completion.given) {
            (Ok(_), Given::Received(buffer)) => {
                let (state, waits) = (conn.state, !conn.rest.is_empty());
                let bytes = self.ring.bytes(&buffer);
                if state == State::Open {
                    let taken = match waits {
                        true => 0,
                        false => handle(Event::Received { conn: id, bytes }).0,
                    };
                    // A copy, not the buffer: those who read slowly cannot empty the pool.
                    let conn = self.conns.get(id).expect("exists");
                    conn.rest.extend_from_slice(&bytes[taken..]);
                }
                self.ring.give_back(buffer);
                self.go_on(id, completion.nonempty);
            }
            (Ok(_), _) => self.end(id),
            (Err(error), _) => match Errno::from_io_error(&error) {
                Some(Errno::CANCELED | Errno::NOBUFS) if stopped => {
                    if self.wants_bytes(id) {
                        self.park(id);
                    }
                }
                Some(Errno::NOBUFS) => {
                    self.stats.buffers_empty += 1;
                    self.conn(id).receiving = Receiving::Once;
                    self.starved.push_back(id);
                }
                Some(Errno::AGAIN | Errno::INTR) => self.park(id),
                _ => self.end(id),
            },
        }
    }

    /// Whether it is time to receive, unless the core has to ask.
    fn wants_bytes(&mut self, id: ConnId) -> bool {
        let conn = self.conn(id);
        match (conn.state, &conn.socket) {
            (State::Open, Socket::Direct(_)) => conn.rest.is_empty(),
            (State::Lingering, _) => true,
            (State::Open, Socket::Plain(_)) | (State::Closing, _) => false,
        }
    }

    /// After bytes came or were taken.
    fn go_on(&mut self, id: ConnId, nonempty: bool) {
        let (now_s, wanted) = ((self.now_us / 1_000_000) as u32, self.wants_bytes(id));
        let conn = self.conn(id);
        let hot = now_s - std::mem::replace(&mut conn.heard_s, now_s) < HOT_S;
        let direct = matches!(conn.socket, Socket::Direct(_));
        match conn.receiving {
            Receiving::On if !wanted || !hot => self.stop_receiving(id),
            Receiving::No if wanted && hot && direct => self.recv_on(id),
            Receiving::No if wanted && nonempty => self.recv_once(id),
            Receiving::No if wanted => self.park(id),
            _ => {}
        }
    }

    fn offer_rest(&mut self, id: ConnId, handle: Handle<'_>) {
        let Some(conn) = self.conns.get(id) else { return };
        let mut rest = std::mem::take(&mut conn.rest);
        if rest.is_empty() {
            return;
        }
        let taken = handle(Event::Received { conn: id, bytes: &rest }).0;
        rest.drain(..taken);
        self.conn(id).rest = rest;
        self.go_on(id, false);
    }

    fn sent(&mut self, id: ConnId, completion: Completion, handle: Handle<'_>) {
        let Given::Buffer(buffer) = completion.given else { unreachable!("a send") };
        let conn = self.conn(id);
        match completion.result {
            Ok(bytes) if bytes > 0 && conn.state != State::Closing => {
                conn.sent += bytes;
                if (conn.sent as usize) < buffer.len() {
                    return self.send_rest(id, buffer);
                }
                conn.sending = false;
                match conn.state {
                    State::Open => {
                        handle(Event::Sent { conn: id, buffer });
                    }
                    State::Lingering => self.shutdown(id, false),
                    State::Closing => unreachable!("see above"),
                }
            }
            _ => self.end(id),
        }
    }

    /// Ends the connection for good, once nothing of it is in flight.
    fn end(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id) else { return };
        if conn.state != State::Closing {
            conn.state = State::Closing;
            if conn.in_flight > 0 {
                self.shutdown(id, true);
            }
            self.free_if_done(id);
        }
    }

    fn free_if_done(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && conn.state == State::Closing
            && conn.in_flight == 0
        {
            match self.conns.remove(id).socket {
                Socket::Plain(fd) => drop(fd),
                Socket::Direct(file) => self.ring.close_direct(file),
            }
            self.closed.push_back(id);
        }
    }

    fn feed_starved(&mut self) {
        for _ in 0..self.starved.len().min(self.ring.buffers_available() as usize) {
            let id = self.starved.pop_front().expect("counted");
            if let Some(conn) = self.conns.get(id)
                && conn.state != State::Closing
            {
                self.recv_once(id);
            }
        }
    }

    fn park(&mut self, id: ConnId) {
        let target = self.start_receiving(id, Receiving::Once);
        self.ring.poll(token(POLL, id), target);
    }

    fn recv_once(&mut self, id: ConnId) {
        let target = self.start_receiving(id, Receiving::Once);
        self.ring.recv(token(RECV, id), target);
    }

    fn recv_on(&mut self, id: ConnId) {
        let target = self.start_receiving(id, Receiving::On);
        self.ring.recv_multi(token(RECV, id), target);
    }

    fn start_receiving(&mut self, id: ConnId, receiving: Receiving) -> Target {
        let conn = self.conn(id);
        conn.receiving = receiving;
        conn.in_flight += 1;
        conn.target()
    }

    fn stop_receiving(&mut self, id: ConnId) {
        let conn = self.conn(id);
        conn.receiving = Receiving::Stops;
        conn.in_flight += 1;
        self.ring.stop_recv(token(STOP, id), token(RECV, id));
    }

    fn shutdown(&mut self, id: ConnId, both: bool) {
        let conn = self.conn(id);
        conn.in_flight += 1;
        let target = conn.target();
        self.ring.shutdown(token(SHUTDOWN, id), target, both);
    }

    fn conn(&mut self, id: ConnId) -> &mut Conn {
        self.conns.get(id).expect("the caller knows that it exists")
    }
}

fn token(kind: u8, id: ConnId) -> Token {
    Token::new(kind, id.index, id.generation)
}
