//! What Redis holds beside a store, all of which may vanish at any time: the newest places of
//! conversations, heartbeats of nodes, and which node has which slots.
//!
//! Redis supplies pages of conversations only, and only where the store's own head says that they
//! are whole (`window.rs`). Heads, marks, inboxes and outboxes come from the store. Nothing waits
//! for Redis but a page, and that not for long.
//!
//! tokio and the driver live in one side thread; callers block on a channel.

#![forbid(unsafe_code)]

mod config;
mod routes;
mod side;
mod window;

pub use config::{Config, OpenError};
pub use routes::{BEAT, Counts, Heartbeat, Node, ROUTE_LIFE, Route};
pub use side::{QUEUE_BYTES_MAX, Tell};

use persistence::{
    Backend, BackendError, Batch, Load, Loaded, Page, Paged, Removed, Scan, Scanned, StoredMessage,
};
use side::Side;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use wire::UserId;

/// A store with Redis beside it.
pub struct Cached {
    store: Arc<dyn Backend>,
    side: Side,
    epoch: u64,
    /// A user was deleted: windows of this epoch may hold bodies that are gone.
    outdated: AtomicBool,
}

impl Cached {
    /// Starts the side thread, which connects by itself and claims the node's slots. Windows of
    /// another `epoch` are never read: it must be a new one after `Backend::delete_user`, which
    /// changes rows without a new place. `tell` gets a line when Redis goes and when it is back.
    pub fn start(
        config: &Config,
        store: Arc<dyn Backend>,
        epoch: u64,
        node: Node,
        tell: Tell,
    ) -> Result<Cached, OpenError> {
        let side = Side::start(config, epoch, node, tell)?;
        Ok(Cached { store, side, epoch, outdated: AtomicBool::new(false) })
    }

    /// Whether Redis answered last.
    pub fn is_up(&self) -> bool {
        self.side.is_up()
    }

    /// What the windows did so far.
    pub fn counts(&self) -> Counts {
        self.side.counts()
    }

    /// A page of a conversation, if its window has all of it and the store knows of nothing newer.
    fn page_of_window(&self, page: &Page) -> Option<Vec<StoredMessage>> {
        let Page::Messages { conv, from, newer, limit, .. } = *page else { return None };
        let found = self.side.get(conv, from, newer, limit);
        if found.is_empty() {
            return None;
        }
        match self.store.load(&Load::Conversation(conv)) {
            Ok(Loaded::Conversation(state)) => {
                window::page(self.epoch, page, (state.head, state.time_us), &found)
            }
            _ => None,
        }
    }
}

impl Backend for Cached {
    fn write(&self, batch: &Batch) -> Result<(), BackendError> {
        self.store.write(batch)?;
        let updates = window::updates(self.epoch, batch);
        if !updates.is_empty() {
            self.side.put(updates);
        }
        Ok(())
    }

    fn load(&self, load: &Load) -> Result<Loaded, BackendError> {
        self.store.load(load)
    }

    fn scan(&self, scan: &Scan) -> Result<Scanned, BackendError> {
        self.store.scan(scan)
    }

    fn page(&self, page: &Page) -> Result<Paged, BackendError> {
        let of_conversation = matches!(page, Page::Messages { .. });
        if !of_conversation || self.outdated.load(Relaxed) {
            return self.store.page(page);
        }
        let found = self.page_of_window(page);
        self.side.count(found.is_some());
        match found {
            Some(messages) => Ok(Paged::Messages(messages)),
            None => self.store.page(page),
        }
    }

    fn delete_user(&self, user: UserId) -> Result<Removed, BackendError> {
        self.outdated.store(true, Relaxed);
        self.store.delete_user(user)
    }
}

/// The routes that are known now, lowest slot first.
pub fn routes(config: &Config) -> Result<Vec<Route>, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(OpenError::Thread)?.block_on(routes::read(config))
}
