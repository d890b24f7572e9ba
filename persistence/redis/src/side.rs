//! The side thread: tokio, one connection, heartbeats, and the windows' changes as they come.
//!
//! A connection that failed once is not used again, since a reply may come late and be taken for
//! another's: it is made anew, once a second at most.

use crate::config::{Config, OpenError, connect};
use crate::routes::{self, BEAT, Counts, Node, ROUTE_LIFE};
use crate::window::{PLACES_MAX, Update};
use persistence::ConvKey;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError, Script};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

/// What waits to be written behind, in bytes; what finds no room is dropped.
pub const QUEUE_BYTES_MAX: usize = 8 << 20;
/// … and in batches.
const QUEUE_BATCHES_MAX: usize = 1024;
/// Windows that are written with one round trip.
const PIPELINE_MAX: usize = 64;
/// A page does not wait longer for Redis before it goes to the store.
const READ_PATIENCE: Duration = Duration::from_millis(500);
/// From a failure to the next try.
const RETRY: Duration = Duration::from_millis(500);

/// It is back when it did not fail for so long: one that comes and goes is told of once.
const CALM: Duration = Duration::from_secs(2);
/// Heartbeats before it is told that somebody else has slots of this node: a claim from before a
/// data directory was made anew or restored is gone by then.
const REFUSED_BEATS: u32 = (ROUTE_LIFE.as_millis() / BEAT.as_millis()) as u32 + 2;

/// Called with each line that the operator should see.
pub type Tell = Box<dyn Fn(&str) + Send>;

/// The thread, seen from outside.
pub struct Side {
    shared: Arc<Shared>,
    handle: Handle,
    /// Dropped first: the thread ends.
    updates: Option<mpsc::Sender<Vec<Update>>>,
    thread: Option<JoinHandle<()>>,
}

/// What both sides see.
struct Shared {
    /// While Redis answers.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// A read failed: the connection is given up.
    failed: AtomicBool,
    queued_bytes: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    dropped: AtomicU64,
    windows: Windows,
}

/// How windows are named, written and read.
struct Windows {
    prefix: String,
    epoch: u64,
    life_ms: u64,
    put: Script,
    get: Script,
}

impl Windows {
    fn key(&self, conv: ConvKey) -> String {
        let [low, high] = conv.participants();
        format!("{}:conv:{:016x}:{}:{}", self.prefix, self.epoch, low.get(), high.get())
    }
}

impl Side {
    /// Starts it; it connects by itself. `epoch`: of the windows.
    pub fn start(config: &Config, epoch: u64, node: Node, tell: Tell) -> Result<Side, OpenError> {
        let client = config.client()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(OpenError::Thread)?;
        let windows = Windows {
            prefix: config.prefix.clone(),
            epoch,
            life_ms: config.window_s.saturating_mul(1_000),
            put: Script::new(include_str!("put.lua")),
            get: Script::new(include_str!("get.lua")),
        };
        let shared = Arc::new(Shared {
            connection: Mutex::new(None),
            failed: AtomicBool::new(false),
            queued_bytes: AtomicUsize::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            windows,
        });
        let (sender, updates) = mpsc::channel(QUEUE_BATCHES_MAX);
        let handle = runtime.handle().clone();
        let link = Link {
            config: config.clone(),
            client,
            shared: shared.clone(),
            updates,
            node,
            claim: Script::new(include_str!("claim.lua")),
            tell,
            told: None,
            failed: Instant::now(),
            refused_beats: 0,
        };
        let thread = std::thread::Builder::new().name("redis".to_owned());
        let thread = thread.spawn(move || runtime.block_on(link.run()));
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Side { shared, handle, updates: Some(sender), thread })
    }

    /// Whether Redis answered last.
    pub fn is_up(&self) -> bool {
        self.shared.connection().is_some()
    }

    /// What the windows did.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// A page came from a window, or did not.
    pub fn count(&self, hit: bool) {
        let counter = if hit { &self.shared.hits } else { &self.shared.misses };
        counter.fetch_add(1, Relaxed);
    }

    /// Takes a batch's changes to write them later. Never waits.
    pub fn put(&self, updates: Vec<Update>) {
        let bytes: usize = updates.iter().map(Update::bytes).sum();
        let shared = &self.shared;
        let room = shared.queued_bytes.fetch_add(bytes, Relaxed) + bytes <= QUEUE_BYTES_MAX;
        let sender = self.updates.as_ref().expect("there until it is dropped");
        if !room || !self.is_up() || sender.try_send(updates).is_err() {
            shared.queued_bytes.fetch_sub(bytes, Relaxed);
            shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// What `get.lua` finds; nothing where Redis does not answer.
    pub fn get(&self, conv: ConvKey, from: u64, newer: bool, limit: u32) -> Vec<Vec<u8>> {
        let Some(mut connection) = self.shared.connection().clone() else { return Vec::new() };
        let (shared, (answer, answers)) = (self.shared.clone(), blocking::channel());
        self.handle.spawn(async move {
            let windows = &shared.windows;
            let mut call = windows.get.key(windows.key(conv));
            call.arg(from).arg(u8::from(newer)).arg(limit);
            let found = timeout(READ_PATIENCE, call.invoke_async(&mut connection)).await;
            let found = found.ok().and_then(Result::ok);
            if found.is_none() {
                *shared.connection() = None;
                shared.failed.store(true, Relaxed);
            }
            // Whoever asked waits.
            let _ = answer.send(found.unwrap_or_default());
        });
        // The thread may have ended while this one still read.
        answers.recv().unwrap_or_default()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.updates = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn connection(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().expect("nobody panics with it")
    }

    fn counts(&self) -> Counts {
        let [hits, misses, dropped] =
            [&self.hits, &self.misses, &self.dropped].map(|counter| counter.load(Relaxed));
        Counts { hits, misses, dropped }
    }

    /// The batch has left the queue.
    fn taken(&self, updates: &[Update]) {
        let bytes: usize = updates.iter().map(Update::bytes).sum();
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }
}

/// The thread, seen from inside.
struct Link {
    config: Config,
    client: Client,
    shared: Arc<Shared>,
    updates: mpsc::Receiver<Vec<Update>>,
    node: Node,
    claim: Script,
    tell: Tell,
    /// What was told last of a Redis that is not there.
    told: Option<String>,
    /// When it failed last.
    failed: Instant,
    /// Heartbeats since somebody else has slots of this node.
    refused_beats: u32,
}

impl Link {
    async fn run(mut self) {
        loop {
            let ended = match connect(&self.client).await {
                Ok(connection) => self.serve(connection).await,
                Err(error) => Err(error),
            };
            *self.shared.connection() = None;
            let Err(error) = ended else { return };
            self.failed = Instant::now();
            let words = self.config.words(&error);
            if self.told.as_ref() != Some(&words) {
                (self.tell)(&format!("{words}; it is not needed: all is in the store"));
                self.told = Some(words);
            }
            if self.rest().await {
                return;
            }
        }
    }

    /// Until the next try. What waits is too old by then. True: nobody needs this thread.
    async fn rest(&mut self) -> bool {
        let end = Instant::now() + RETRY;
        loop {
            match timeout_at(end, self.updates.recv()).await {
                Ok(Some(updates)) => {
                    self.shared.taken(&updates);
                    self.shared.dropped.fetch_add(1, Relaxed);
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Until it fails, or nobody needs it any more.
    async fn serve(&mut self, mut connection: MultiplexedConnection) -> Result<(), RedisError> {
        self.shared.failed.store(false, Relaxed);
        self.shared.windows.put.load_async(&mut connection).await?;
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beats.tick() => self.beat(&mut connection).await?,
                updates = self.updates.recv() => {
                    let Some(updates) = updates else { return Ok(()) };
                    self.shared.taken(&updates);
                    for some in updates.chunks(PIPELINE_MAX) {
                        self.shared.windows.write(&mut connection, some).await?;
                    }
                }
            }
        }
    }

    async fn beat(&mut self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        if self.shared.failed.load(Relaxed) {
            return Err((ErrorKind::Io, "a read was not answered").into());
        }
        let (prefix, counts) = (&self.config.prefix, self.shared.counts());
        let refused = routes::claim(connection, &self.claim, prefix, &self.node, counts).await?;
        *self.shared.connection() = Some(connection.clone());
        if self.failed.elapsed() >= CALM && self.told.take().is_some() {
            (self.tell)(&format!("Redis at {} is back", self.config.address));
        }
        self.refused_beats = if refused > 0 { self.refused_beats.saturating_add(1) } else { 0 };
        if self.refused_beats == REFUSED_BEATS {
            (self.tell)(&format!(
                "{refused} slots are routed to another server at this epoch or a higher one; give \
                 each cluster its own redis.prefix"
            ));
        }
        Ok(())
    }
}

impl Windows {
    async fn write(
        &self,
        connection: &mut MultiplexedConnection,
        updates: &[Update],
    ) -> Result<(), RedisError> {
        let mut pipe = redis::pipe();
        for Update { conv, first, values } in updates {
            let call = pipe.cmd("EVALSHA").arg(self.put.get_hash()).arg(1).arg(self.key(*conv));
            call.arg(PLACES_MAX).arg(self.life_ms).arg(*first).arg(values).ignore();
        }
        pipe.query_async(connection).await
    }
}
