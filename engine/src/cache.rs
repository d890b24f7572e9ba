//! Redis beside the store, and `ringmail store routes`.

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::store::StoreError;
use persistence::Backend;
use std::sync::Arc;

#[cfg(feature = "redis")]
pub use built::{beside, routes};

#[cfg(feature = "redis")]
mod built {
    use super::*;
    use persistence::SLOTS;
    use ringmail_redis::{Cached, Node, Route};

    fn redis_config(config: &Config) -> ringmail_redis::Config {
        ringmail_redis::Config {
            address: config.redis_address.clone(),
            user: config.redis_user.clone(),
            password: config.redis_password.clone(),
            tls: config.redis_tls,
            ca_file: config.redis_ca_file.clone(),
            prefix: config.redis_prefix.clone(),
            window_s: config.redis_window_s,
        }
    }

    /// The store with Redis beside it, if there is one. `generation` of the log, which grows with
    /// each start.
    pub fn beside(
        config: &Config,
        dir: &DataDir,
        store: Arc<dyn Backend>,
        generation: u64,
    ) -> Result<Arc<dyn Backend>, StoreError> {
        if config.redis_address.is_empty() {
            return Ok(store);
        }
        let (address, slots) = (config.listen.to_string(), 0..=SLOTS - 1);
        let node = Node { address, epoch: generation, slots };
        let tell = Box::new(|line: &str| eprintln!("ringmail: {line}"));
        let epoch = dir.windows_epoch()?;
        Ok(Arc::new(Cached::start(&redis_config(config), store, epoch, node, tell)?))
    }

    /// `ringmail store routes`.
    pub fn routes(config: &Config) -> Result<String, StoreError> {
        if config.redis_address.is_empty() {
            return Err(StoreError::NoRedis);
        }
        let routes = ringmail_redis::routes(&redis_config(config))?;
        if routes.is_empty() {
            return Ok("no routes: no server has told Redis of itself in the last 5 s".to_owned());
        }
        let mut text = format!(
            "{:<12}{:<24}{:>8}  {:<16}{}",
            "slots", "node", "epoch", "heartbeat", "pages from Redis, from the store; lost batches"
        );
        routes.iter().for_each(|route| text += &format!("\n{}", row(route)));
        Ok(text)
    }

    fn row(route: &Route) -> String {
        let slots = format!("{}-{}", route.slots.start(), route.slots.end());
        let (age, counts) = match route.heartbeat {
            Some(beat) => (
                format!("{:.1} s ago", beat.age_ms as f64 / 1e3),
                format!("{}, {}; {}", beat.counts.hits, beat.counts.misses, beat.counts.dropped),
            ),
            None => ("none".to_owned(), String::new()),
        };
        let row = format!("{slots:<12}{:<24}{:>8}  {age:<16}{counts}", route.node, route.epoch);
        row.trim_end().to_owned()
    }
}

/// The store, if nobody wants Redis.
#[cfg(not(feature = "redis"))]
pub fn beside(
    config: &Config,
    _: &DataDir,
    store: Arc<dyn Backend>,
    _: u64,
) -> Result<Arc<dyn Backend>, StoreError> {
    if config.redis_address.is_empty() { Ok(store) } else { Err(StoreError::RedisNotBuilt) }
}

/// `ringmail store routes`.
#[cfg(not(feature = "redis"))]
pub fn routes(_: &Config) -> Result<String, StoreError> {
    Err(StoreError::RedisNotBuilt)
}
