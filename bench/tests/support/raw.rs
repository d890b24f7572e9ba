//! A device that speaks the wire's frames by hand, and reads only when it is told to.

use client::wire::{
    self, Ack, AckLevel, Answer, ClientFrame, Conv, Deframer, FRAME_BYTES_MAX, Hello, OutboxId,
    Send, SendKey, ServerFrame,
};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a server said, as far as the tests look at it.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Welcome,
    /// `None`: it was known.
    Sent {
        n: u64,
        level: Option<AckLevel>,
    },
    Refused {
        n: u64,
        code: wire::RefusalCode,
        limit: u64,
    },
    Message {
        body: Vec<u8>,
    },
    Closed {
        code: wire::CloseCode,
    },
    Other,
}

pub struct Raw {
    stream: TcpStream,
    deframer: Deframer,
    /// Read and not looked at.
    unread: Vec<u8>,
    /// Bytes of one read, at most, and the pause before it.
    pub read_bytes_max: usize,
    pub read_pause: Duration,
    /// Newest inbox entry that was seen.
    position: u64,
}

impl Raw {
    /// Connects and says HELLO. `receive_bytes`: of the kernel's buffer.
    pub fn connect(address: SocketAddr, token: &[u8], receive_bytes: Option<usize>) -> Raw {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        // Before it is connected: the connection's window follows from it.
        if let Some(bytes) = receive_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes).unwrap();
        }
        rustix::net::connect(&socket, &address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        let (deframer, unread) = (Deframer::default(), Vec::new());
        let (read_bytes_max, read_pause) = (64 * 1024, Duration::ZERO);
        let mut raw = Raw { stream, deframer, unread, read_bytes_max, read_pause, position: 0 };
        raw.say(&ClientFrame::Hello(Hello {
            name: "",
            platform: "",
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            features: wire::FEATURES,
            outbox: OutboxId(7),
            // From the first entry on: no new device, which would begin with a snapshot.
            inbox_epoch: 1,
            acked: 0,
            foreground: true,
            token,
        }));
        raw
    }

    pub fn say(&mut self, frame: &ClientFrame<'_>) {
        let mut out = Vec::new();
        wire::encode_client(&mut out, frame);
        self.stream.write_all(&out).unwrap();
    }

    /// SEND number `n` to a user.
    pub fn send(&mut self, peer: u64, n: u64, body: &[u8]) {
        let key = SendKey { conv: Conv::Direct(peer), outbox: None, n };
        self.say(&ClientFrame::Send(Send { key, change: None, body }));
    }

    /// Everything that was seen is committed.
    pub fn acknowledge(&mut self) {
        self.say(&ClientFrame::Ack(Ack { inbox_seq: self.position }));
    }

    /// The next frame; `None` if none came within this time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Said> {
        let end = Instant::now() + patience;
        loop {
            let mut input = self.unread.as_slice();
            let frame = self.deframer.next(&mut input, FRAME_BYTES_MAX, |content| {
                said(&wire::decode_server(content).expect("a good frame"))
            });
            let left = input.len();
            self.unread.drain(..self.unread.len() - left);
            if let Some((said, entries)) = frame.expect("a good stream") {
                self.position += entries;
                return Some(said);
            }
            let now = Instant::now();
            if now >= end {
                return None;
            }
            self.stream.set_read_timeout(Some(end - now)).unwrap();
            std::thread::sleep(self.read_pause);
            let mut buffer = vec![0; self.read_bytes_max];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed without a word"),
                Ok(bytes) => self.unread.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads until a SEND is SENT, durable at the server's level.
    pub fn await_sent(&mut self, n: u64) {
        self.await_said(&Said::Sent { n, level: Some(level()) });
    }

    /// Reads until this comes.
    pub fn await_said(&mut self, wanted: &Said) {
        self.next(&format!("{wanted:?}"), |said| (said == *wanted).then_some(()));
    }

    /// Reads until something comes that is wanted.
    pub fn next<T>(&mut self, what: &str, wanted: impl Fn(Said) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let said = self.next_within(left).unwrap_or_else(|| panic!("never: {what}"));
            if let Some(found) = wanted(said) {
                return found;
            }
        }
    }
}

/// The level that is configured, as the server reads it; its default without.
fn level() -> AckLevel {
    match std::env::var("RINGMAIL_ACK").as_deref() {
        Err(_) | Ok("local") => AckLevel::Local,
        Ok("replicated") => AckLevel::Replicated,
        Ok("geo") => AckLevel::Geo,
        Ok(other) => panic!("no level: {other}"),
    }
}

/// What a frame says, and how many inbox entries further it leads.
fn said(frame: &ServerFrame<'_>) -> (Said, u64) {
    match frame {
        ServerFrame::Welcome(_) => (Said::Welcome, 0),
        ServerFrame::Sent(sent) => {
            let (level, entries) = match sent.answer {
                Answer::Fresh { level, d_inbox, .. } => (Some(level), d_inbox),
                Answer::Known => (None, 0),
            };
            (Said::Sent { n: sent.key.n, level }, entries)
        }
        ServerFrame::Refused(refused) => {
            let (n, code, limit) = (refused.key.n, refused.code, refused.limit);
            (Said::Refused { n, code, limit }, 0)
        }
        ServerFrame::Deliver(deliver) => {
            (Said::Message { body: deliver.body.to_vec() }, deliver.d_inbox)
        }
        ServerFrame::Own(own) => (Said::Other, own.d_inbox),
        ServerFrame::Close(close) => (Said::Closed { code: close.code }, 0),
        _ => (Said::Other, 0),
    }
}
