//! Where a server's logs are: on its disk, or in the store, where a node of this name has them.

use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::log_device::LogPlace;
use crate::log_dirs::{self, LogError};
use persistence::blocks::{BlockStore, HeldNode, NodeNews, OldLog, TakeNode, Taken};
use persistence::{BackendError, Reading, Recovered};
use shards::AckLevel;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The logs of a running server.
pub enum Logs {
    /// Directories, and those of older generations.
    Disk {
        /// What is above them.
        log: PathBuf,
        /// Of older generations.
        older: Vec<PathBuf>,
    },
    /// In the store.
    Node(Arc<dyn HeldNode>),
}

/// What a start found.
pub struct Opened {
    /// Where new logs go.
    pub logs: Logs,
    /// What the older ones hold.
    pub recovered: Recovered,
    /// How many older ones there are.
    pub count: usize,
    /// Bytes read.
    pub bytes: u64,
}

/// Reads the logs on the disk.
pub fn open_disk(dir: &DataDir) -> Result<Opened, LogError> {
    let log_dirs::Found { recovered, logs: count, older, bytes } = log_dirs::read(&dir.log())?;
    Ok(Opened { logs: Logs::Disk { log: dir.log(), older }, recovered, count, bytes })
}

/// Takes the node over, and reads its logs in the store; `None` if `wait` said no.
pub fn open_node(
    config: &Config,
    dir: &DataDir,
    store: &dyn BlockStore,
    wait: &mut dyn FnMut(Duration) -> bool,
) -> Result<Option<Opened>, LogError> {
    assert!(config.ack != AckLevel::Local, "acks come from the store");
    if !log_dirs::is_empty(&dir.log())? {
        return Err(LogError::Local(dir.log()));
    }
    let dir_name =
        u64::from_str_radix(&dir.store_name()?, 16).unwrap_or_else(|_| data_dir::random_seed());
    let node = TakeNode {
        cores: config.shards,
        dir: dir_name,
        taker: data_dir::random_seed() >> 1,
        now_us: ring::sys::boot_time_us,
    };
    let Some((held, taken)) = store.take_node(node, wait, Box::new(told))? else { return Ok(None) };
    let bytes =
        |log: &OldLog| log.blocks.values().map(|block| u64::from(block.length)).sum::<u64>();
    let (count, bytes) = (taken.logs.len(), taken.logs.iter().map(bytes).sum());
    let recovered =
        recover(&taken).map_err(|error| LogError::Node { node: config.node.clone(), error })?;
    Ok(Some(Opened { logs: Logs::Node(held), recovered, count, bytes }))
}

fn recover(taken: &Taken) -> Result<Recovered, persistence::RecoverError> {
    let mut reading = Reading::new(taken.seal.incarnation - 1);
    for log in taken.logs.iter().rev() {
        reading.take(&log.found())?;
    }
    Ok(reading.finish())
}

/// Says what happens to the node. Once another process has it, this one ends: what it would ack
/// from here on, that one does not have.
fn told(news: NodeNews) {
    match news {
        NodeNews::Deposed(why) => {
            eprintln!("ringmail: {why}; this process ends and nothing more is acked");
            std::process::exit(1);
        }
        NodeNews::Silent(why) => eprintln!("ringmail: {why}; nothing is acked until it answers"),
        NodeNews::Answers => eprintln!("ringmail: the store answers again, and acks go on"),
    }
}

impl Logs {
    /// Makes room for the logs of a new generation.
    pub fn create(&self, generation: u64, cores: u16) -> Result<(), LogError> {
        match self {
            Logs::Disk { log, .. } => Ok(log_dirs::create(log, generation, cores)?),
            // They are in the node's list since it was taken.
            Logs::Node(_) => Ok(()),
        }
    }

    /// Where one core's new log goes.
    pub fn place(&self, generation: u64, core: u16) -> LogPlace {
        match self {
            Logs::Disk { log, .. } => LogPlace::Dir(log_dirs::core_dir(log, generation, core)),
            Logs::Node(node) => LogPlace::Node { node: node.clone(), core },
        }
    }

    /// No core needs the older generations any more.
    pub fn remove_older(&mut self) {
        match self {
            Logs::Disk { older, .. } if older.is_empty() => {}
            Logs::Disk { log, older } => {
                if let Err(error) = log_dirs::remove(log, &std::mem::take(older)) {
                    let path = log.display();
                    eprintln!("ringmail: older logs stay in {path} until the next start: {error}");
                }
            }
            Logs::Node(node) => node.remove_older(),
        }
    }

    /// The cores have ended in order.
    pub fn give_back(&self) {
        if let Logs::Node(node) = self {
            node.give_back();
        }
    }
}

impl From<BackendError> for LogError {
    fn from(error: BackendError) -> LogError {
        LogError::Store(error)
    }
}
