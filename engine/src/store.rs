//! Which store stands behind the log, and `ringmail store`.

use crate::config::{Config, StoreKind};
use crate::data_dir::{DataDir, DataDirError};
use persistence::Backend;
use persistence::blocks::BlockStore;
use shards::AckLevel;
use std::path::Path;
use std::sync::Arc;

/// Why there is no store: one line.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The embedded one cannot be opened.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The distributed one cannot be used.
    #[cfg(feature = "scylla")]
    #[error(transparent)]
    Scylla(#[from] ringmail_scylla::OpenError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The messages of this data directory are in the other store.
    #[error(
        "the messages of {0} are in the {1} store; set store.kind = \"{1}\"{2}, or choose another \
         data directory"
    )]
    Other(String, &'static str, &'static str),
    /// A copy into the other store was begun, and what is known of it cannot be read or written.
    #[cfg(feature = "scylla")]
    #[error("{0}")]
    Copy(String),
    /// What reads logs on the disk cannot be done without them.
    #[error(
        "the logs of node {0} are in the store, and this needs them on the disk: it works with \
         ack = \"local\" only"
    )]
    InStore(String),
    /// A store that this build does not have.
    #[cfg(not(feature = "scylla"))]
    #[error(
        "this build has no distributed store; build it with `cargo build --release --features \
         scylla`, or set store.kind = \"embedded\""
    )]
    NotBuilt,
    /// Redis cannot be used as it is configured.
    #[cfg(feature = "redis")]
    #[error(transparent)]
    Redis(#[from] ringmail_redis::OpenError),
    /// Redis, which this build does not have.
    #[cfg(not(feature = "redis"))]
    #[error(
        "this build has no Redis; build it with `cargo build --release --features redis`, or \
         leave redis.address empty"
    )]
    RedisNotBuilt,
    /// `ringmail store routes` without Redis.
    #[cfg(feature = "redis")]
    #[error("routes are in Redis, and redis.address is empty; set it")]
    NoRedis,
    /// A value that only the store understands.
    #[cfg(feature = "scylla")]
    #[error("store.replication = {0:?}: must be a number of copies, or dc1:3,dc2:3")]
    Replication(String),
    /// A running server's counters cannot be read.
    #[cfg(feature = "scylla")]
    #[error("cannot read the counters in {0}: {1}; name the file of `ringmail run --stats-file`")]
    StatsFile(String, std::io::Error),
    /// `ringmail store` without such a store.
    #[cfg(feature = "scylla")]
    #[error(
        "`ringmail store` is about the distributed store, and store.kind is \"embedded\"; set \
         store.kind = \"scylla\" and store.addresses"
    )]
    NotDistributed,
}

/// A store of rows that also holds logs.
pub type NodeStore = (Arc<dyn Backend>, Arc<dyn BlockStore>);

/// Opens the store of a node whose logs are there as well.
pub fn open_node(config: &Config, dir: &DataDir) -> Result<NodeStore, StoreError> {
    match dir.has_embedded_rows() {
        true => Err(StoreError::Other(dir.path().display().to_string(), "embedded", "")),
        false => distributed::open_node(config),
    }
}

/// Opens the store of a data directory, whose logs are on the disk.
pub fn open(config: &Config, dir: &DataDir) -> Result<Arc<dyn Backend>, StoreError> {
    if config.ack != AckLevel::Local {
        return Err(StoreError::InStore(config.node.clone()));
    }
    let path = || dir.path().display().to_string();
    match config.store_kind {
        StoreKind::Embedded if dir.has_store_name() => Err(StoreError::Other(path(), "scylla", "")),
        StoreKind::Embedded => {
            dir.spoil_copy()?;
            let store = embedded::Embedded::open(&dir.store(), config.store_cache_bytes)?;
            Ok(Arc::new(store))
        }
        StoreKind::Scylla if dir.has_embedded_rows() => {
            Err(StoreError::Other(path(), "embedded", ", copy them with `ringmail store copy`"))
        }
        StoreKind::Scylla => distributed::open(config, dir),
    }
}

/// Reads and writes that the store takes at once.
pub fn threads(config: &Config) -> (usize, usize) {
    match config.store_kind {
        StoreKind::Embedded => (1, 1),
        // Answers come over the network; rows join by themselves, so cores need not wait.
        StoreKind::Scylla => (16, usize::from(config.shards)),
    }
}

#[cfg(feature = "scylla")]
pub use distributed::{copy, migrate, status};

#[cfg(feature = "scylla")]
pub(crate) mod distributed {
    use super::*;
    use ringmail_scylla::{Replication, Scylla, Status};
    use std::time::{SystemTime, UNIX_EPOCH};

    pub(crate) fn store_config(config: &Config) -> Result<ringmail_scylla::Config, StoreError> {
        if config.store_kind != StoreKind::Scylla {
            return Err(StoreError::NotDistributed);
        }
        let text = &config.store_replication;
        let replication = Replication::parse(text);
        Ok(ringmail_scylla::Config {
            addresses: config.store_addresses.clone(),
            keyspace: config.store_keyspace.clone(),
            user: config.store_user.clone(),
            password: config.store_password.clone(),
            tls_ca: config.store_tls_ca.clone(),
            datacenter: config.store_datacenter.clone(),
            replication: replication.ok_or_else(|| StoreError::Replication(text.clone()))?,
            level: config.ack,
        })
    }

    pub fn open(config: &Config, dir: &DataDir) -> Result<Arc<dyn Backend>, StoreError> {
        Ok(Arc::new(Scylla::open(&store_config(config)?, &dir.store_name()?)?))
    }

    /// `ringmail store copy`.
    pub fn copy(config: &Config) -> Result<String, StoreError> {
        crate::store_copy::copy(config).map_err(StoreError::Copy)
    }

    pub fn open_node(config: &Config) -> Result<NodeStore, StoreError> {
        let store = Arc::new(Scylla::open_node(&store_config(config)?, &config.node)?);
        Ok((store.clone(), store))
    }

    /// `ringmail store migrate`.
    pub fn migrate(config: &Config) -> Result<String, StoreError> {
        let done = Scylla::migrate(&store_config(config)?)?;
        let keyspace = &config.store_keyspace;
        Ok(if done.from == done.to {
            format!("keyspace {keyspace}: schema {}, nothing to do", done.to)
        } else {
            format!("keyspace {keyspace}: schema {} (was {})", done.to, done.from)
        })
    }

    /// `ringmail store status`.
    pub fn status(config: &Config, stats_file: Option<&Path>) -> Result<String, StoreError> {
        let lag = stats_file.map(crate::stats::flush_lag).transpose();
        let lag = lag.map_err(|error| {
            StoreError::StatsFile(stats_file.unwrap_or(Path::new("")).display().to_string(), error)
        })?;
        let status = Scylla::status(&store_config(config)?)?;
        let Status { version, wanted, replication, nodes, checkpoints } = status;
        let replication: Vec<String> =
            replication.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!(
            "keyspace {}\nschema {version}, this build needs {wanted}\nreplication {}\n",
            config.store_keyspace,
            replication.join(" ")
        );
        for (datacenter, (up, all)) in nodes {
            text += &format!("datacenter {datacenter}: {up} of {all} nodes reached\n");
        }
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros());
        for checkpoint in checkpoints {
            let (log, core, upto) = (checkpoint.log, checkpoint.core, checkpoint.upto);
            let ago_s = now_us.saturating_sub(checkpoint.flushed_us.into()) as f64 / 1e6;
            text += &format!(
                "log {log} core {core}: flushed up to byte {upto}, last batch {ago_s:.1} s ago\n"
            );
        }
        for line in lag.into_iter().flatten() {
            text += &line;
            text.push('\n');
        }
        Ok(text.trim_end().to_owned())
    }
}

#[cfg(not(feature = "scylla"))]
mod distributed {
    use super::*;

    pub fn open(_: &Config, _: &DataDir) -> Result<Arc<dyn Backend>, StoreError> {
        Err(StoreError::NotBuilt)
    }

    pub fn open_node(_: &Config) -> Result<NodeStore, StoreError> {
        Err(StoreError::NotBuilt)
    }
}

/// `ringmail store copy`.
#[cfg(not(feature = "scylla"))]
pub fn copy(_: &Config) -> Result<String, StoreError> {
    Err(StoreError::NotBuilt)
}

/// `ringmail store migrate`.
#[cfg(not(feature = "scylla"))]
pub fn migrate(_: &Config) -> Result<String, StoreError> {
    Err(StoreError::NotBuilt)
}

/// `ringmail store status`.
#[cfg(not(feature = "scylla"))]
pub fn status(_: &Config, _: Option<&Path>) -> Result<String, StoreError> {
    Err(StoreError::NotBuilt)
}
