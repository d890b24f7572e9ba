//! What the ack levels ask of the store, checked before anything is written.

use crate::{Config, OpenError, schema};
use scylla::client::session::Session;
use std::collections::BTreeMap;
use wire::AckLevel;

/// Datacenters that a quorum over datacenters needs.
const DATACENTERS_MIN: usize = 3;

/// Checks the level of a node's acks, and gives the name that the keyspace belongs to: level and
/// datacenter are kept for life, because transactions in one datacenter do not see another's.
pub async fn check(session: &Session, config: &Config, node: &str) -> Result<String, OpenError> {
    match config.level {
        AckLevel::Local => unreachable!("a node's acks come from the store"),
        AckLevel::Replicated => {
            let there = schema::nodes(session).into_keys().collect();
            let name = datacenter(&config.datacenter, there)?;
            Ok(format!("{node} with ack replicated in {name}").replace('\'', "_"))
        }
        AckLevel::Geo => {
            let replication = schema::replication(session, config).await?.unwrap_or_default();
            let copies = copies(&replication);
            if !survives_any(&copies) {
                let found: Vec<String> = copies.iter().map(|(dc, n)| format!("{dc}:{n}")).collect();
                let (keyspace, found) = (config.keyspace.clone(), found.join(","));
                return Err(OpenError::Geo { keyspace, found });
            }
            Ok(format!("{node} with ack geo"))
        }
    }
}

/// The datacenter beside this server.
pub fn datacenter(named: &str, there: Vec<String>) -> Result<String, OpenError> {
    match &there[..] {
        [only] if named.is_empty() => Ok(only.clone()),
        all if all.iter().any(|one| one == named) => Ok(named.to_owned()),
        _ => Err(OpenError::Datacenter { named: named.to_owned(), there: there.join(", ") }),
    }
}

/// Copies in each datacenter, as the store keeps them.
fn copies(replication: &BTreeMap<String, String>) -> BTreeMap<&str, u32> {
    let number = |(name, value): (_, &String)| Some((name, value.parse().ok()?));
    let pairs = replication.iter().filter(|(name, _)| *name != "class");
    pairs.map(|(name, value)| (name.as_str(), value)).filter_map(number).collect()
}

/// Whether a quorum is left when any one of the datacenters is gone.
fn survives_any(copies: &BTreeMap<&str, u32>) -> bool {
    let all: u32 = copies.values().sum();
    let quorum = all / 2 + 1;
    copies.len() >= DATACENTERS_MIN && copies.values().all(|one| all - one >= quorum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geo_survives_the_loss_of_any_datacenter() {
        let survives = |pairs: &[(&str, u32)]| survives_any(&pairs.iter().copied().collect());
        assert!(survives(&[("a", 1), ("b", 1), ("c", 1)]));
        assert!(survives(&[("a", 3), ("b", 3), ("c", 3)]));
        assert!(survives(&[("a", 2), ("b", 2), ("c", 1)]));
        assert!(!survives(&[("a", 3), ("b", 1), ("c", 1)]), "a holds a quorum");
        assert!(!survives(&[("a", 2), ("b", 1), ("c", 1)]), "without a no quorum is left");
        assert!(!survives(&[("a", 3), ("b", 3)]), "half is no quorum");
        assert!(!survives(&[("a", 3)]));
    }

    #[test]
    fn a_datacenter_is_named_where_there_are_several() {
        let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(datacenter("", there(&["a"])).unwrap(), "a");
        assert_eq!(datacenter("b", there(&["a", "b"])).unwrap(), "b");
        for (named, all) in [("", there(&["a", "b"])), ("c", there(&["a", "b"]))] {
            assert!(datacenter(named, all).is_err());
        }
        assert!(datacenter("c", there(&["a"])).is_err());
    }

    #[test]
    fn replication_is_read_as_the_store_says_it() {
        let text = [("class", "org.apache…NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "2")];
        let text = text.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(copies(&text), [("dc1", 3), ("dc2", 2)].into());
    }
}
