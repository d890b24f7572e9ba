//! Which node has which slots: claimed again with every heartbeat, so that it is whole again one
//! heartbeat after it was lost, and gone soon after the last one.

use crate::config::{Config, OpenError, connect};
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How often a node says that it lives.
pub const BEAT: Duration = Duration::from_secs(1);
/// Heartbeats and routes go so long after they were said last.
pub const ROUTE_LIFE: Duration = Duration::from_secs(5);

/// Who claims what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where clients connect.
    pub address: String,
    /// Grows with each start: a slot goes to the higher one.
    pub epoch: u64,
    /// Its slots.
    pub slots: RangeInclusive<u16>,
}

/// What the windows of a node did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pages that came from a window.
    pub hits: u64,
    /// Pages of a conversation that came from the store.
    pub misses: u64,
    /// Batches that no window knows of: Redis was away or slow.
    pub dropped: u64,
}

/// Slots in a row that one node has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which.
    pub slots: RangeInclusive<u16>,
    /// Whose: its address.
    pub node: String,
    /// Since which epoch.
    pub epoch: u64,
    /// Its last heartbeat; `None`: longer ago than a heartbeat lives.
    pub heartbeat: Option<Heartbeat>,
}

/// A node's last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long ago, in ms.
    pub age_ms: u64,
    /// What it said.
    pub counts: Counts,
}

fn slots_key(prefix: &str) -> String {
    format!("{prefix}:slots")
}

fn beat_key(prefix: &str, node: &str) -> String {
    format!("{prefix}:node:{node}")
}

/// Says that the node lives and what it has. How many of its slots somebody else has.
pub async fn claim(
    connection: &mut MultiplexedConnection,
    script: &Script,
    prefix: &str,
    node: &Node,
    counts: Counts,
) -> Result<u64, RedisError> {
    let mut call = script.key(beat_key(prefix, &node.address));
    call.key(slots_key(prefix)).arg(&node.address).arg(node.epoch);
    call.arg(format!("{} {} {}", counts.hits, counts.misses, counts.dropped));
    call.arg(ROUTE_LIFE.as_millis() as u64).arg(*node.slots.start()).arg(*node.slots.end());
    call.invoke_async(connection).await
}

/// The table as it is now.
pub async fn read(config: &Config) -> Result<Vec<Route>, OpenError> {
    let client = config.client()?;
    let refused = |error: RedisError| OpenError::Refused(config.words(&error));
    let mut connection = connect(&client).await.map_err(refused)?;
    let mut command = redis::cmd("HGETALL");
    command.arg(slots_key(&config.prefix));
    let slots: BTreeMap<u16, String> =
        command.query_async(&mut connection).await.map_err(refused)?;
    let mut routes: Vec<Route> = Vec::new();
    for (slot, claim) in slots {
        let Some((epoch, node)) = claim.split_once(' ') else { continue };
        let Ok(epoch) = epoch.parse() else { continue };
        match routes.last_mut() {
            Some(last)
                if (last.epoch, &*last.node) == (epoch, node)
                    && slot.checked_sub(1) == Some(*last.slots.end()) =>
            {
                last.slots = *last.slots.start()..=slot;
            }
            _ => {
                let (slots, node) = (slot..=slot, node.to_owned());
                routes.push(Route { slots, node, epoch, heartbeat: None });
            }
        }
    }
    for route in &mut routes {
        let key = beat_key(&config.prefix, &route.node);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("PTTL").arg(&key).cmd("GET").arg(&key);
        let (left_ms, said): (i64, Option<String>) =
            pipe.query_async(&mut connection).await.map_err(refused)?;
        route.heartbeat = said.map(|said| heartbeat(left_ms, &said));
    }
    Ok(routes)
}

fn heartbeat(left_ms: i64, said: &str) -> Heartbeat {
    let age_ms = (ROUTE_LIFE.as_millis() as u64).saturating_sub(left_ms.max(0) as u64);
    let mut numbers = said.split(' ').skip(1).map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Heartbeat { age_ms, counts: Counts { hits: next(), misses: next(), dropped: next() } }
}
