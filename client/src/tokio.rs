//! A client over a TCP connection, for async programs: one task, the journal written beside it.

use std::io;
use std::time::Duration;

use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::TcpStream;
use ::tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use ::tokio::sync::{mpsc, oneshot};
use ::tokio::task::{JoinHandle, spawn, spawn_blocking};
use ::tokio::time::{Instant, sleep_until, timeout};

use crate::journal_file::JournalFile;
use crate::{Client, ClientEvent, ComposeError, Conv, Device, SendId};

/// An attempt to connect, and a write that the server does not take, end after this time.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest sleep without a deadline.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What the program wants from `run`.
pub enum Command {
    /// Queue a message. The answer says under which name; `ClientEvent::Queued` that it is safe.
    Compose {
        /// The conversation.
        conv: Conv,
        /// The message.
        body: Vec<u8>,
        /// Gets the answer.
        answer: oneshot::Sender<Result<SendId, ComposeError>>,
    },
    /// Give a send up.
    GiveUp(SendId),
    /// Do anything else with the client: mark read, command, ask for history, watch.
    With(Box<dyn FnOnce(&mut Client) + Send>),
}

/// Keeps the device connected to `server` (`HOST:PORT`) until `commands` closes; then it leaves in
/// order. A full or slow `events` holds the client up, and with it, by the window, the server; a
/// closed one ends `run` too. An error is the journal's: the device must not be used any more.
pub async fn run(
    device: Device,
    server: &str,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<ClientEvent>,
) -> io::Result<()> {
    let (client, file) = device.into_parts();
    let mut runner = Runner {
        client,
        file: Some(file),
        started: Instant::now(),
        connecting: None,
        socket: None,
    };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        runner.pump().await?;
        runner.connect(server);
        while let Some(event) = runner.client.event() {
            if events.send(event).await.is_err() {
                return runner.close().await;
            }
        }
        let wake = runner.wake();
        ::tokio::select! {
            command = commands.recv() => match command {
                Some(command) => runner.obey(command),
                None => return runner.close().await,
            },
            count = read(&mut runner.socket, &mut buffer) => runner.received(count, &buffer),
            socket = connected(&mut runner.connecting) => runner.connected(socket),
            () = sleep_until(wake) => {}
        }
    }
}

struct Runner {
    client: Client,
    /// Away while a thread writes it.
    file: Option<JournalFile>,
    started: Instant,
    connecting: Option<JoinHandle<io::Result<TcpStream>>>,
    socket: Option<(OwnedReadHalf, OwnedWriteHalf)>,
}

/// Waits for ever without a socket.
async fn read(
    socket: &mut Option<(OwnedReadHalf, OwnedWriteHalf)>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match socket {
        Some((reader, _)) => reader.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Waits for ever without an attempt to connect.
async fn connected(
    connecting: &mut Option<JoinHandle<io::Result<TcpStream>>>,
) -> io::Result<TcpStream> {
    match connecting {
        Some(attempt) => attempt.await.unwrap_or_else(|error| Err(io::Error::other(error))),
        None => std::future::pending().await,
    }
}

impl Runner {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn wake(&self) -> Instant {
        let client = &self.client;
        let connect_at = client.connect_at_ms().filter(|_| self.connecting.is_none());
        let due = client.next_deadline_ms().into_iter().chain(connect_at).min();
        due.map_or(Instant::now() + SLEEP_MAX, |due_ms| {
            self.started + Duration::from_millis(due_ms)
        })
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Compose { conv, body, answer } => {
                // Who asked may be gone; the message is queued all the same.
                let _ = answer.send(self.client.compose(conv, &body));
            }
            Command::GiveUp(id) => {
                self.client.give_up(id);
            }
            Command::With(change) => change(&mut self.client),
        }
    }

    fn received(&mut self, count: io::Result<usize>, buffer: &[u8]) {
        match count {
            Ok(0) | Err(_) => self.disconnect(),
            Ok(count) => {
                let now_ms = self.now_ms();
                self.client.received(&buffer[..count], now_ms);
            }
        }
    }

    async fn pump(&mut self) -> io::Result<()> {
        let now_ms = self.now_ms();
        self.client.advance(now_ms);
        self.commit().await?;
        let bytes = self.client.output();
        if let Some((_, writer)) = &mut self.socket {
            let written = timeout(SOCKET_TIMEOUT, writer.write_all(&bytes)).await;
            if !matches!(written, Ok(Ok(()))) || self.client.is_closing() {
                self.disconnect();
            }
        }
        self.commit().await
    }

    fn connect(&mut self, server: &str) {
        let due = self.client.connect_at_ms().is_some_and(|at| at <= self.now_ms());
        if due && self.connecting.is_none() {
            let server = server.to_owned();
            self.connecting = Some(spawn(async move {
                let socket = timeout(SOCKET_TIMEOUT, TcpStream::connect(server)).await??;
                socket.set_nodelay(true)?;
                Ok(socket)
            }));
        }
    }

    fn connected(&mut self, socket: io::Result<TcpStream>) {
        self.connecting = None;
        let now_ms = self.now_ms();
        match socket {
            Ok(socket) => {
                self.socket = Some(socket.into_split());
                self.client.connected(now_ms);
            }
            Err(_) => self.client.disconnected(now_ms),
        }
    }

    fn disconnect(&mut self) {
        self.socket = None;
        let now_ms = self.now_ms();
        self.client.disconnected(now_ms);
    }

    async fn commit(&mut self) -> io::Result<()> {
        let bytes = self.client.journal();
        if bytes.is_empty() {
            return Ok(());
        }
        let mut file = self.file.take().expect("at home between commits");
        let written = spawn_blocking(move || file.append(&bytes).map(|()| file)).await;
        let mut file = written.expect("an append does not panic")?;
        self.client.committed();
        file.compact(|| self.client.snapshot())?;
        self.file = Some(file);
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        self.client.close();
        self.pump().await
    }
}
