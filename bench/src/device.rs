//! A real client: the client core with its journal in memory, on a socket that never blocks.

use client::{Client, ClientEvent, Config, Conv, Direction, SendId};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// The journal is replaced by a snapshot at this size.
const JOURNAL_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 64 * 1024;

/// One device of one user.
pub struct Device {
    client: Client,
    config: Config,
    journal: Vec<u8>,
    socket: Option<TcpStream>,
    unwritten: Vec<u8>,
    epoch: Instant,
}

impl Device {
    /// A device without a past. `random` must be random.
    pub fn new(config: Config, random: u64) -> Device {
        Device {
            client: Client::new(config.clone(), random),
            config,
            journal: Vec::new(),
            socket: None,
            unwritten: Vec::new(),
            epoch: Instant::now(),
        }
    }

    /// The device's program dies and starts again with what its journal holds.
    pub fn restart(&mut self, random: u64) -> Result<(), String> {
        let opened = Client::open(self.config.clone(), &self.journal, random);
        let (client, bytes) = opened.map_err(|error| error.to_string())?;
        self.journal.truncate(bytes);
        self.client = client;
        self.socket = None;
        self.unwritten.clear();
        Ok(())
    }

    /// What can be seen of the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Queues a message; it is committed at the next `turn`.
    pub fn compose(&mut self, peer: u64, body: &[u8]) -> Result<SendId, String> {
        self.client.compose(Conv::Direct(peer), body).map_err(|error| error.to_string())
    }

    /// Asks for the newest places of a conversation.
    pub fn load_history(&mut self, conv: Conv, places: u64) {
        self.client.load_history(conv, 0, Direction::Older, places);
    }

    /// The next thing that the client tells.
    pub fn event(&mut self) -> Option<ClientEvent> {
        self.client.event()
    }

    fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// Connects if it is time to, reads, commits and writes what the socket takes. Whether
    /// anything moved.
    pub fn turn(&mut self, server: SocketAddr, buffer: &mut Vec<u8>) -> bool {
        let now_ms = self.now_ms();
        let mut moved = self.connect(server, now_ms);
        buffer.resize(READ_BYTES, 0);
        moved |= self.read(buffer, now_ms);
        if self.client.next_deadline_ms().is_some_and(|due| due <= now_ms) {
            self.client.advance(now_ms);
        }
        moved |= self.commit();
        moved |= self.write(now_ms);
        moved
    }

    fn connect(&mut self, server: SocketAddr, now_ms: u64) -> bool {
        if self.socket.is_some() || self.client.connect_at_ms().is_none_or(|at| at > now_ms) {
            return false;
        }
        let connected = TcpStream::connect(server).and_then(|socket| {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                self.socket = Some(socket);
                self.client.connected(now_ms);
            }
            Err(_) => self.client.disconnected(now_ms),
        }
        true
    }

    fn read(&mut self, buffer: &mut [u8], now_ms: u64) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        match socket.read(buffer) {
            Ok(bytes) if bytes > 0 => self.client.received(&buffer[..bytes], now_ms),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => self.lose(now_ms),
        }
        true
    }

    fn lose(&mut self, now_ms: u64) {
        self.socket = None;
        self.unwritten.clear();
        self.client.disconnected(now_ms);
    }

    /// Until the client has nothing to commit and nothing to say.
    fn commit(&mut self) -> bool {
        let mut moved = false;
        loop {
            let bytes = self.client.journal();
            let changed = !bytes.is_empty();
            if changed {
                self.journal.extend_from_slice(&bytes);
                self.client.committed();
            }
            let out = self.client.output();
            if !changed && out.is_empty() {
                break;
            }
            moved = true;
            self.unwritten.extend_from_slice(&out);
        }
        if self.journal.len() > JOURNAL_BYTES_MAX {
            self.journal = self.client.snapshot();
        }
        moved
    }

    fn write(&mut self, now_ms: u64) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut moved = false;
        if !self.unwritten.is_empty() {
            match socket.write(&self.unwritten) {
                Ok(bytes) => {
                    self.unwritten.drain(..bytes);
                    moved = bytes > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.lose(now_ms);
                    return true;
                }
            }
        }
        if self.unwritten.is_empty() && self.client.is_closing() {
            self.lose(now_ms);
            moved = true;
        }
        moved
    }
}
