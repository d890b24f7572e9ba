//! A client over a TCP connection, for a thread that waits: journal on disk, one more thread that
//! reads the socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Client, ClientEvent, Device};

/// An attempt to connect, and a write that the server does not take, end after this time.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// What a `Connection` waits for.
#[derive(Debug)]
pub enum Incoming<T> {
    /// Of its own threads.
    Socket(SocketInput),
    /// Sent by the user of the connection, to be returned by `turn`.
    Other(T),
}

/// What the threads of the socket say. `attempt` tells late words of old sockets apart.
#[derive(Debug)]
pub struct SocketInput {
    attempt: u64,
    kind: SocketInputKind,
}

#[derive(Debug)]
enum SocketInputKind {
    Connected(TcpStream),
    Bytes(Vec<u8>),
    Gone(String),
}

/// A device that stays connected. `T`: what else wakes its thread.
#[derive(Debug)]
pub struct Connection<T = ()> {
    device: Device,
    server: String,
    started: Instant,
    attempt: u64,
    connecting: bool,
    socket: Option<TcpStream>,
    trouble: Option<String>,
    sender: Sender<Incoming<T>>,
    receiver: Receiver<Incoming<T>>,
}

impl<T: Send + 'static> Connection<T> {
    /// A connection of this device to `server` (`HOST:PORT`); it is made by `turn`.
    pub fn new(device: Device, server: &str) -> Connection<T> {
        let (sender, receiver) = channel();
        Connection {
            device,
            server: server.to_owned(),
            started: Instant::now(),
            attempt: 0,
            connecting: false,
            socket: None,
            trouble: None,
            sender,
            receiver,
        }
    }

    /// Wakes `turn` with other input.
    pub fn sender(&self) -> Sender<Incoming<T>> {
        self.sender.clone()
    }

    /// The client, to look at.
    pub fn client(&self) -> &Client {
        &self.device.client
    }

    /// The client, to compose with and to give up; takes effect with the next `turn`.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.device.client
    }

    /// The next event that is committed.
    pub fn event(&mut self) -> Option<ClientEvent> {
        let event = self.device.client.event();
        if let Some(ClientEvent::Closed { code, reason }) = &event {
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            self.trouble =
                Some(format!("the server closed the session, {}: {reason}", code.name()));
        }
        event
    }

    /// Why the last connection ended, or the last attempt failed; empty once connected.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// How long until the next attempt to connect; `None` while connected or connecting, or if
    /// there will be none.
    pub fn connects_in(&self) -> Option<Duration> {
        let at_ms = self.client().connect_at_ms().filter(|_| !self.connecting)?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.now_ms())))
    }

    /// Commits and sends what changed, waits for something to happen, but no longer than `wait`,
    /// handles it, commits and sends again. Then take the events. Returns other input.
    ///
    /// An error is the journal's; the process must end.
    pub fn turn(&mut self, wait: Duration) -> io::Result<Option<T>> {
        self.pump()?;
        let now_ms = self.now_ms();
        let client = self.client();
        let connect_at = client.connect_at_ms().filter(|_| !self.connecting);
        let due = client.next_deadline_ms().into_iter().chain(connect_at).min();
        let due = due.map(|due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms)));
        let ready = self.client().has_event().then_some(Duration::ZERO);
        let wait = [due, ready].into_iter().flatten().fold(wait, Duration::min);
        let mut incoming = self.receiver.recv_timeout(wait).ok();
        // What came meanwhile shares one commit.
        let mut other = None;
        while let Some(next) = incoming {
            match next {
                Incoming::Socket(input) => self.handle(input),
                Incoming::Other(input) => {
                    other = Some(input);
                    break;
                }
            }
            incoming = self.receiver.try_recv().ok();
        }
        self.pump()?;
        Ok(other)
    }

    /// Leaves in order: what is committed and may leave is sent, then the socket is closed.
    pub fn close(mut self) -> io::Result<()> {
        self.pump()?;
        self.device.client.close();
        self.pump()
    }

    fn pump(&mut self) -> io::Result<()> {
        let now_ms = self.now_ms();
        self.device.client.advance(now_ms);
        self.device.commit()?;
        if self.client().connect_at_ms().is_some_and(|at| at <= now_ms) && !self.connecting {
            self.connect();
        }
        let bytes = self.device.client.output();
        let written = self.socket.as_mut().map_or(Ok(()), |socket| socket.write_all(&bytes));
        match written {
            Err(error) => self.disconnect(error.to_string()),
            Ok(()) if self.client().is_closing() => {
                self.disconnect("the session ended".to_owned());
            }
            Ok(()) => {}
        }
        // What closing told is committed too.
        self.device.commit()
    }

    fn connect(&mut self) {
        self.attempt += 1;
        self.connecting = true;
        let (attempt, server, sender) = (self.attempt, self.server.clone(), self.sender.clone());
        thread::spawn(move || read(attempt, &server, &sender));
    }

    fn handle(&mut self, input: SocketInput) {
        let now_ms = self.now_ms();
        if input.attempt != self.attempt {
            return;
        }
        match input.kind {
            SocketInputKind::Connected(socket) => {
                self.socket = Some(socket);
                (self.connecting, self.trouble) = (false, None);
                self.device.client.connected(now_ms);
            }
            SocketInputKind::Bytes(bytes) => self.device.client.received(&bytes, now_ms),
            SocketInputKind::Gone(why) => self.disconnect(why),
        }
    }

    fn disconnect(&mut self, why: String) {
        let now_ms = self.now_ms();
        if let Some(socket) = self.socket.take() {
            // Ends the reading thread.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Late words of that thread count no more.
        self.attempt += 1;
        self.connecting = false;
        self.trouble = Some(why);
        self.device.client.disconnected(now_ms);
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// Connects, then reads until the end, and says all of it.
fn read<T>(attempt: u64, server: &str, sender: &Sender<Incoming<T>>) {
    let say = |kind| sender.send(Incoming::Socket(SocketInput { attempt, kind })).is_ok();
    let mut socket = match connect(server) {
        Ok(socket) => socket,
        Err(error) => {
            say(SocketInputKind::Gone(format!("{server}: {error}")));
            return;
        }
    };
    let Ok(writer) = socket.try_clone() else {
        say(SocketInputKind::Gone("no descriptor left".to_owned()));
        return;
    };
    let mut going = say(SocketInputKind::Connected(writer));
    let mut buffer = vec![0; 64 * 1024];
    while going {
        let end = match socket.read(&mut buffer) {
            Ok(0) => "the server closed".to_owned(),
            Ok(count) => {
                going = say(SocketInputKind::Bytes(buffer[..count].to_vec()));
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => error.to_string(),
        };
        going = false;
        say(SocketInputKind::Gone(end));
    }
}

fn connect(server: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, SOCKET_TIMEOUT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_write_timeout(Some(SOCKET_TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
