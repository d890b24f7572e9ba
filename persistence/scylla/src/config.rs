//! Where the store is and how it keeps copies.

use crate::OpenError;
use scylla::statement::{Consistency, SerialConsistency};
use wire::AckLevel;

/// How to reach the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `host:port` of some nodes; the driver finds the others.
    pub addresses: Vec<String>,
    /// The keyspace: lower-case letters, digits, `_`.
    pub keyspace: String,
    /// Empty: the store asks for none.
    pub user: String,
    /// Of that user.
    pub password: String,
    /// File with the certificates, as PEM, that sign the nodes' own; empty: no TLS.
    pub tls_ca: String,
    /// The datacenter that is written and read here; empty: the only one (`Geo`: any).
    pub datacenter: String,
    /// Copies, where the keyspace is made.
    pub replication: Replication,
    /// How many of the copies each request waits for: a quorum of those in this datacenter, or of
    /// all (`Geo`). `Local` is the first: acks come from another log then.
    pub level: AckLevel,
}

/// How many copies of each row the store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many in every datacenter.
    Everywhere(u32),
    /// (datacenter, copies).
    Datacenters(Vec<(String, u32)>),
}

impl Replication {
    /// Reads `3`, or `dc1:3,dc2:2`.
    pub fn parse(text: &str) -> Option<Replication> {
        let copies = |text: &str| text.parse().ok().filter(|copies| (1..=99).contains(copies));
        let named = |pair: &str| {
            let (name, count) = pair.trim().split_once(':')?;
            let plain = |c: char| c.is_alphanumeric() || "_-".contains(c);
            let ok = !name.is_empty() && name.chars().all(plain);
            ok.then_some((name.to_owned(), copies(count)?))
        };
        match copies(text) {
            Some(copies) => Some(Replication::Everywhere(copies)),
            None => text.split(',').map(named).collect::<Option<_>>().map(Replication::Datacenters),
        }
    }

    /// Copies wanted in a datacenter.
    pub fn copies_in(&self, datacenter: &str) -> u32 {
        match self {
            Replication::Everywhere(copies) => *copies,
            Replication::Datacenters(named) => {
                named.iter().find(|(name, _)| name == datacenter).map_or(0, |(_, copies)| *copies)
            }
        }
    }

    /// As CQL wants it.
    pub(crate) fn cql(&self) -> String {
        let pairs: Vec<String> = match self {
            Replication::Everywhere(copies) => vec![format!("'replication_factor': {copies}")],
            Replication::Datacenters(named) => {
                named.iter().map(|(name, copies)| format!("'{name}': {copies}")).collect()
            }
        };
        format!("{{'class': 'NetworkTopologyStrategy', {}}}", pairs.join(", "))
    }
}

impl std::fmt::Display for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Replication::Everywhere(copies) => write!(f, "{copies}"),
            Replication::Datacenters(named) => {
                let pairs: Vec<_> = named.iter().map(|(name, n)| format!("{name}:{n}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

impl Config {
    /// Of plain requests.
    pub(crate) fn consistency(&self) -> Consistency {
        match self.level {
            AckLevel::Geo => Consistency::Quorum,
            AckLevel::Local | AckLevel::Replicated => Consistency::LocalQuorum,
        }
    }

    /// Of transactions.
    pub(crate) fn serial(&self) -> SerialConsistency {
        match self.level {
            AckLevel::Geo => SerialConsistency::Serial,
            AckLevel::Local | AckLevel::Replicated => SerialConsistency::LocalSerial,
        }
    }

    /// Of reads that see what transactions did.
    pub(crate) fn serial_read(&self) -> Consistency {
        match self.serial() {
            SerialConsistency::Serial => Consistency::Serial,
            SerialConsistency::LocalSerial => Consistency::LocalSerial,
        }
    }

    pub(crate) fn unreachable(&self, why: String) -> OpenError {
        OpenError::Unreachable { addresses: self.addresses.join(","), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_a_number_or_one_for_each_datacenter() {
        assert_eq!(Replication::parse("3"), Some(Replication::Everywhere(3)));
        let two = Replication::parse("dc1:3, dc2:1").expect("two datacenters");
        assert_eq!(two.to_string(), "dc1:3,dc2:1");
        assert_eq!((two.copies_in("dc2"), two.copies_in("dc3")), (1, 0));
        for wrong in ["", "0", "100", "dc1", "dc1:", ":3", "dc1:0", "dc'1:3", "dc1:3,"] {
            assert_eq!(Replication::parse(wrong), None, "{wrong}");
        }
    }
}
