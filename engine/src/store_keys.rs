//! The keys of the store.

use crate::config::StoreKind;
use crate::config_keys::{Key, has_port, number, plain};

/// `store.kind`.
pub const KIND: Key = Key {
    name: "store.kind",
    unit: "embedded|scylla",
    meaning: "where messages go behind the log: the data directory, or ScyllaDB or Cassandra",
    cost: "a data directory keeps to the store that it was started with first",
    get: |config| match config.store_kind {
        StoreKind::Embedded => "embedded".to_owned(),
        StoreKind::Scylla => "scylla".to_owned(),
    },
    set: |config, text| {
        config.store_kind = match text {
            "embedded" => StoreKind::Embedded,
            "scylla" => StoreKind::Scylla,
            _ => return Err("embedded or scylla".to_owned()),
        };
        Ok(())
    },
};

/// `store.addresses`.
pub const ADDRESSES: Key = Key {
    name: "store.addresses",
    unit: "host:port,…",
    meaning: "some nodes of the distributed store; the others are found",
    cost: "a start needs one of them",
    get: |config| config.store_addresses.join(","),
    set: |config, text| {
        let addresses: Vec<String> = text.split(',').map(|one| one.trim().to_owned()).collect();
        if !addresses.iter().all(|one| has_port(one)) {
            return Err("host:port, several with commas, as in 127.0.0.1:9042".to_owned());
        }
        config.store_addresses = addresses;
        Ok(())
    },
};

/// `store.keyspace`.
pub const KEYSPACE: Key = Key {
    name: "store.keyspace",
    unit: "name",
    meaning: "keyspace of the distributed store; `ringmail store migrate` makes it",
    cost: "each data directory needs its own",
    get: |config| config.store_keyspace.clone(),
    set: |config, text| {
        config.store_keyspace = plain(text, 48, "_")?;
        Ok(())
    },
};

/// `store.user`.
pub const USER: Key = Key {
    name: "store.user",
    unit: "name",
    meaning: "user at the distributed store; empty: it asks for none",
    cost: "nothing",
    get: |config| config.store_user.clone(),
    set: |config, text| {
        config.store_user = text.to_owned();
        Ok(())
    },
};

/// `store.password`.
pub const PASSWORD: Key = Key {
    name: "store.password",
    unit: "text",
    meaning: "that user's password, never shown; others see flags, so use file or environment",
    cost: "nothing",
    get: |config| if config.store_password.is_empty() { "" } else { "(set)" }.to_owned(),
    set: |config, text| {
        config.store_password = text.to_owned();
        Ok(())
    },
};

/// `store.tls_ca`.
pub const TLS_CA: Key = Key {
    name: "store.tls_ca",
    unit: "file",
    meaning: "certificates, as PEM, that sign those of the store's nodes; empty: no TLS",
    cost: "needs a build with the feature scylla-tls",
    get: |config| config.store_tls_ca.clone(),
    set: |config, text| {
        config.store_tls_ca = text.to_owned();
        Ok(())
    },
};

/// `store.datacenter`.
pub const DATACENTER: Key = Key {
    name: "store.datacenter",
    unit: "name",
    meaning: "the distributed store's datacenter beside this server; empty: its only one",
    cost: "a quorum of its nodes must be up",
    get: |config| config.store_datacenter.clone(),
    set: |config, text| {
        config.store_datacenter = text.to_owned();
        Ok(())
    },
};

/// `store.replication`.
pub const REPLICATION: Key = Key {
    name: "store.replication",
    unit: "copies",
    meaning: "copies of each row in every datacenter, or dc1:3,dc2:2; used by `store migrate`",
    cost: "disk and writes; below 3 a node's loss stops the store, at 1 it loses messages",
    get: |config| config.store_replication.clone(),
    set: |config, text| {
        let digits = |text: &str| text.trim().parse::<u8>().is_ok_and(|copies| copies > 0);
        let named = |pair: &str| pair.split_once(':').is_some_and(|(_, copies)| digits(copies));
        if !digits(text) && !text.split(',').all(named) {
            return Err("a number of copies, or dc1:3,dc2:3".to_owned());
        }
        config.store_replication = text.to_owned();
        Ok(())
    },
};

/// `store.cache_bytes`.
pub const CACHE_BYTES: Key = Key {
    name: "store.cache_bytes",
    unit: "bytes",
    meaning: "the embedded store's cache, for all shards together",
    cost: "memory",
    get: |config| config.store_cache_bytes.to_string(),
    set: |config, text| {
        config.store_cache_bytes = number(text, 1 << 20..=1 << 40)?;
        Ok(())
    },
};
