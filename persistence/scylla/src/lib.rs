//! Ringmail's distributed backend: tables in ScyllaDB or Apache Cassandra.
//!
//! Nothing is read before it is written: each cell carries a timestamp that comes from its value,
//! so the store itself keeps the highest, whatever order writes come in and however often. A
//! write that timed out is unknown, and is made again until it is acknowledged.
//!
//! tokio and the driver live in one side thread; callers block on a channel.

#![forbid(unsafe_code)]

mod blocks;
mod config;
mod copy;
mod delete;
mod error;
mod levels;
mod pace;
mod pages;
mod read;
mod schema;
mod statements;
mod tally;
mod tls;
mod write;

pub use config::{Config, Replication};
pub use copy::{Holder, Weight};
pub use error::OpenError;
pub use schema::{Checkpoint, Migrated, Status};
pub use tally::Tally;

use error::Failure;
use pace::Pace;
use persistence::{
    Backend, BackendError, Batch, Load, Loaded, Page, Paged, Removed, Scan, Scanned,
};
use scylla::client::session::Session;
use scylla::statement::Consistency;
use statements::Prepared;
use std::future::Future;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use wire::UserId;
use write::Writes;

/// Places of a conversation in one partition (see migrations/001.cql).
const MESSAGE_BUCKET: u64 = 512;
/// Inbox entries in one partition.
const INBOX_BUCKET: u64 = 4_096;

/// The store, connected.
pub struct Scylla {
    side: Arc<Side>,
    connection: Arc<Connection>,
}

/// What requests need.
struct Connection {
    session: Session,
    prepared: Prepared,
    /// Whose checkpoints these are, and whose blocks.
    log: String,
    /// Of reads that see what transactions did.
    serial_read: Consistency,
    /// Of batches.
    pace: Pace,
}

/// The thread that tokio lives in.
struct Side {
    handle: Handle,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Side {
    fn start() -> Result<Side, OpenError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(OpenError::Thread)?;
        let (handle, stop) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("store-driver".to_owned());
        let thread = thread.spawn(move || runtime.block_on(stopped.notified()));
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok(Side { handle, stop, thread })
    }

    /// Runs it there, and waits.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (answer, answers) = mpsc::channel();
        self.handle.spawn(async move {
            // Whoever asked waits.
            let _ = answer.send(work.await);
        });
        answers.recv().expect("the side thread lives as long as its owner, and no work panics")
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Scylla {
    /// Connects to a store whose schema is this build's. `log` is the name of the data
    /// directory, letters and digits: the keyspace belongs to the first one that opens it.
    pub fn open(config: &Config, log: &str) -> Result<Scylla, OpenError> {
        assert!(log.chars().all(|c| c.is_ascii_alphanumeric()), "{log:?} is a plain name");
        Scylla::open_for(config, log, false)
    }

    /// As `open`, for a node whose logs are in the store as well; `node`: its name, without
    /// quotes. The keyspace belongs to the first node that opens it, at the level (not `Local`)
    /// and in the datacenter where it did.
    pub fn open_node(config: &Config, node: &str) -> Result<Scylla, OpenError> {
        Scylla::open_for(config, node, true)
    }

    fn open_for(config: &Config, log: &str, is_node: bool) -> Result<Scylla, OpenError> {
        let side = Side::start()?;
        let (config, log) = (config.clone(), log.to_owned());
        let connection = side.run(async move {
            let session = schema::connect(&config).await?;
            schema::check(&session, &config).await?;
            let owner = match is_node {
                true => levels::check(&session, &config, &log).await?,
                false => log.clone(),
            };
            schema::own(&session, &config, &owner).await?;
            let prepared = Prepared::new(&session, |why| config.unreachable(why)).await?;
            let serial_read = config.serial_read();
            let pace = Pace::default();
            Ok::<_, OpenError>(Connection { session, prepared, log, serial_read, pace })
        })?;
        Ok(Scylla { side: Arc::new(side), connection: Arc::new(connection) })
    }

    /// Makes the keyspace and tables, or brings them to this build's version. Doing it again
    /// changes nothing; of several at once one works, and the others wait for it.
    pub fn migrate(config: &Config) -> Result<Migrated, OpenError> {
        let config = config.clone();
        Side::start()?.run(async move { schema::migrate(&config).await })
    }

    /// Says that the schema has a version, as a later build would.
    #[doc(hidden)]
    pub fn claim_version(config: &Config, version: i32) -> Result<(), OpenError> {
        let config = config.clone();
        Side::start()?.run(async move { schema::claim_version(&config, version).await })
    }

    /// What the store says of itself.
    pub fn status(config: &Config) -> Result<Status, OpenError> {
        let config = config.clone();
        Side::start()?.run(async move { schema::status(&config).await })
    }

    fn run<T, F>(&self, work: impl FnOnce(Arc<Connection>) -> F) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.side.run(work(self.connection.clone())).map_err(Failure::into)
    }
}

impl Backend for Scylla {
    fn write(&self, batch: &Batch) -> Result<(), BackendError> {
        let (core, upto) = (batch.core, batch.upto);
        let trimming: Vec<UserId> = batch.trims.keys().copied().collect();
        let trimmed = match trimming.is_empty() {
            true => Default::default(),
            false => self.run(|connection| connection.trimmed(trimming))?,
        };
        let writes = Writes::of(batch, &trimmed);
        self.run(|connection| async move {
            connection.clone().write(writes).await?;
            connection.checkpoint(core, upto).await
        })
    }

    fn load(&self, load: &Load) -> Result<Loaded, BackendError> {
        let load = *load;
        self.run(|connection| async move { connection.load(load).await })
    }

    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError> {
        let scan = *scan;
        self.run(|connection| connection.scan(scan))
    }

    fn page(&self, page: &Page) -> Result<Paged, BackendError> {
        let page = *page;
        self.run(|connection| async move { connection.page(page).await })
    }

    fn delete_user(&self, user: UserId) -> Result<Removed, BackendError> {
        self.run(|connection| connection.delete_user(user))
    }
}
