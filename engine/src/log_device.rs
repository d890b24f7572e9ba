//! The device of one core's log: files of its own, or blocks in the store.

use crate::disk::{Disk, DiskConfig};
use crossbeam::channel::{Receiver, unbounded};
use persistence::blocks::HeldNode;
use persistence::{IoDone, IoOp};
use ring::Doorbell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fmt, io, time::Duration};

/// Where a core's log is.
#[derive(Clone)]
pub enum LogPlace {
    /// In this directory; it exists.
    Dir(PathBuf),
    /// In the store.
    Node {
        /// The node that this process took.
        node: Arc<dyn HeldNode>,
        /// Which core's log.
        core: u16,
    },
}

impl fmt::Debug for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogPlace::Dir(dir) => f.debug_tuple("Dir").field(dir).finish(),
            LogPlace::Node { core, .. } => f.debug_struct("Node").field("core", core).finish(),
        }
    }
}

/// See the head of this file.
pub(crate) enum LogDevice {
    Disk(Box<Disk>),
    Blocks(Blocks),
}

/// A log in the store: its work is done on the store's thread, which rings when something is done.
pub(crate) struct Blocks {
    ops: Box<dyn FnMut(IoOp) + Send>,
    done: Receiver<IoDone>,
    cores_beyond_older: Arc<AtomicU16>,
}

impl LogDevice {
    /// Completions ring the doorbell.
    pub(crate) fn new(
        place: LogPlace,
        segment_bytes: u32,
        cores_beyond_older: Arc<AtomicU16>,
        bell: Arc<Doorbell>,
    ) -> io::Result<LogDevice> {
        match place {
            LogPlace::Dir(dir) => {
                let config = DiskConfig { dir, segment_bytes, cores_beyond_older };
                Ok(LogDevice::Disk(Box::new(Disk::new(config, bell)?)))
            }
            LogPlace::Node { node, core } => {
                let (tell, done) = unbounded();
                let tell = move |io_done| {
                    // A core that has stopped does not listen any more.
                    if tell.send(io_done).is_ok() {
                        bell.ring();
                    }
                };
                let ops = node.device(core, Box::new(tell));
                Ok(LogDevice::Blocks(Blocks { ops, done, cores_beyond_older }))
            }
        }
    }

    /// Takes an operation.
    pub(crate) fn take(&mut self, op: IoOp) {
        match self {
            LogDevice::Disk(disk) => disk.take(op),
            LogDevice::Blocks(blocks) => match op {
                IoOp::RetireOlder => {
                    blocks.cores_beyond_older.fetch_add(1, Ordering::Release);
                }
                op => (blocks.ops)(op),
            },
        }
    }

    /// The next completion.
    pub(crate) fn poll(&mut self) -> Option<IoDone> {
        match self {
            LogDevice::Disk(disk) => disk.poll(),
            LogDevice::Blocks(blocks) => blocks.done.try_recv().ok(),
        }
    }

    /// Whether `poll` would give something.
    pub(crate) fn has_work(&self) -> bool {
        match self {
            LogDevice::Disk(disk) => disk.has_work(),
            LogDevice::Blocks(blocks) => !blocks.done.is_empty(),
        }
    }

    /// Whether `sleep` waits for a write. The store answers after milliseconds and rings: for so
    /// long a core does not turn away from its sockets.
    pub(crate) fn is_writing(&self) -> bool {
        match self {
            LogDevice::Disk(disk) => disk.is_writing(),
            LogDevice::Blocks(_) => false,
        }
    }

    /// Sleeps until a write completes, at most this long.
    pub(crate) fn sleep(&mut self, timeout: Duration) {
        match self {
            LogDevice::Disk(disk) => disk.sleep(timeout),
            LogDevice::Blocks(_) => unreachable!("is never said to be writing"),
        }
    }

    /// Number of `io_uring_enter` calls so far.
    pub(crate) fn enters(&self) -> u64 {
        match self {
            LogDevice::Disk(disk) => disk.enters(),
            LogDevice::Blocks(_) => 0,
        }
    }
}
