//! The server's configuration: defaults, then the file, then the environment, then flags.

use crate::config_keys::{KEYS, Key};
use shards::{AckLevel, Limits};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Everything that can be set. `config_keys::KEYS` documents each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Cores; 0 stands for as many as processors and memory allow.
    pub shards: u16,
    /// Whether each core's thread stays on one processor.
    pub pin: bool,
    /// A turn that takes this long ends the process, in seconds.
    pub watchdog_s: u32,
    /// Where a message is durable when its sender is told so.
    pub ack: AckLevel,
    /// Name of this server's logs in the store; empty: it has none there.
    pub node: String,
    /// Which store stands behind the log.
    pub store_kind: StoreKind,
    /// `host:port` of some of the distributed store's nodes.
    pub store_addresses: Vec<String>,
    /// Its keyspace.
    pub store_keyspace: String,
    /// Its user; empty: none.
    pub store_user: String,
    /// That user's password.
    pub store_password: String,
    /// PEM file of the certificates that sign its nodes' own; empty: no TLS.
    pub store_tls_ca: String,
    /// The datacenter beside this server; empty: the only one.
    pub store_datacenter: String,
    /// Copies: a number, or one for each datacenter.
    pub store_replication: String,
    /// Cache of the embedded store, in bytes.
    pub store_cache_bytes: u64,
    /// `host:port` of Redis; empty: there is none.
    pub redis_address: String,
    /// Its user; empty: the default one.
    pub redis_user: String,
    /// That user's password; empty: none.
    pub redis_password: String,
    /// Redis speaks TLS.
    pub redis_tls: bool,
    /// Who may sign its certificate; empty: whom the system trusts.
    pub redis_ca_file: PathBuf,
    /// What its keys begin with.
    pub redis_prefix: String,
    /// Seconds that the newest messages of a conversation stay there.
    pub redis_window_s: u64,
    /// Receive buffers of one core; a power of two.
    pub recv_buffers: u16,
    /// Size of a receive buffer, in bytes.
    pub recv_buffer_bytes: u32,
    /// Bounds of one core.
    pub limits: Limits,
}

/// A store behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In the data directory.
    Embedded,
    /// ScyllaDB or Apache Cassandra.
    Scylla,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 4848)),
            data_dir: PathBuf::from("ringmail-data"),
            shards: 0,
            pin: true,
            watchdog_s: 30,
            ack: AckLevel::Local,
            node: String::new(),
            store_kind: StoreKind::Embedded,
            store_addresses: vec!["127.0.0.1:9042".to_owned()],
            store_keyspace: "ringmail".to_owned(),
            store_user: String::new(),
            store_password: String::new(),
            store_tls_ca: String::new(),
            store_datacenter: String::new(),
            store_replication: "3".to_owned(),
            store_cache_bytes: 64 << 20,
            redis_address: String::new(),
            redis_user: String::new(),
            redis_password: String::new(),
            redis_tls: false,
            redis_ca_file: PathBuf::new(),
            redis_prefix: "ringmail".to_owned(),
            redis_window_s: 3_600,
            recv_buffers: 16_384,
            recv_buffer_bytes: 512,
            limits: Limits::default(),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// This file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// A flag of the command line.
    Flag,
}

impl Origin {
    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File(_) => "file",
            Origin::Env(_) => "env",
            Origin::Flag => "flag",
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Env(name) => write!(f, "env {name}"),
            other => f.write_str(other.word()),
        }
    }
}

/// A configuration, and for each of `KEYS` where its value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// In the order of `KEYS`.
    pub origins: Vec<Origin>,
}

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`: must exist.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// (key, value) of each flag.
    pub flags: Vec<(String, String)>,
}

/// Why there is no configuration: one line that names key, origin, value and cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

const FILE: &str = "ringmail.toml";
const ENV_PREFIX: &str = "RINGMAIL_";
const ENV_FILE: &str = "RINGMAIL_CONFIG";

/// The environment variable of a key.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Reads all sources. `automatic_shards` says how many cores to run where nobody said it.
pub fn load(
    sources: &Sources,
    automatic_shards: impl Fn(&Config) -> u16,
) -> Result<Loaded, ConfigError> {
    let mut loaded =
        Loaded { config: Config::default(), origins: vec![Origin::Default; KEYS.len()] };
    if let Some((path, text)) = read_file(sources)? {
        loaded.apply_file(&path, &text)?;
    }
    for (name, value) in &sources.env {
        if name.starts_with(ENV_PREFIX) && name != ENV_FILE {
            let names = || KEYS.iter().map(|key| env_name(key.name));
            let index = names()
                .position(|known| known == *name)
                .ok_or_else(|| unknown("environment variable", name, names(), "the environment"))?;
            loaded.set(index, value, Origin::Env(name.clone()))?;
        }
    }
    for (name, value) in &sources.flags {
        loaded.set_named(name, value, Origin::Flag)?;
    }
    loaded.check()?;
    if loaded.config.shards == 0 {
        loaded.config.shards = automatic_shards(&loaded.config);
    }
    Ok(loaded)
}

fn read_file(sources: &Sources) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let from_env = sources.env.iter().find(|(name, _)| name == ENV_FILE);
    let named = sources.file.clone().or_else(|| from_env.map(|(_, path)| PathBuf::from(path)));
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(ConfigError(format!(
            "cannot read the configuration file {}: {error}; name another with --config, or \
             leave it out to run with defaults",
            path.display()
        ))),
    }
}

impl Loaded {
    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let message = error.message().replace('\n', ", ");
            ConfigError(format!("{} line {line} is not TOML: {message}", path.display()))
        })?;
        self.apply_table(path, "", &table)
    }

    fn apply_table(
        &mut self,
        path: &Path,
        prefix: &str,
        table: &toml::Table,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            let text = match value {
                toml::Value::Table(inner) => {
                    self.apply_table(path, &format!("{name}."), inner)?;
                    continue;
                }
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.set_named(&name, &text, Origin::File(path.to_owned()))?;
        }
        Ok(())
    }

    fn set_named(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), ConfigError> {
        let index = KEYS.iter().position(|key| key.name == name).ok_or_else(|| {
            let names = KEYS.iter().map(|key| key.name.to_owned());
            unknown("key", name, names, &origin.to_string())
        })?;
        self.set(index, value, origin)
    }

    fn set(&mut self, index: usize, value: &str, origin: Origin) -> Result<(), ConfigError> {
        let key = &KEYS[index];
        (key.set)(&mut self.config, value)
            .map_err(|why| refuse(key, value, &origin, &format!("must be {why}")))?;
        self.origins[index] = origin;
        Ok(())
    }

    /// The value of a key, as text.
    pub fn value(&self, key: &Key) -> String {
        (key.get)(&self.config)
    }

    /// What no key can see alone.
    fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.config.limits;
        let pairs = [
            (
                "limits.handshakes_max",
                limits.handshakes_max as u64,
                limits.connections_max as u64,
                "at most limits.connections_max",
            ),
            (
                "limits.group_bytes_max",
                limits.group_bytes_max as u64,
                limits.segment_bytes as u64 / 2,
                "at most half of limits.segment_bytes, whose header needs room too",
            ),
            (
                "limits.body_bytes_max",
                limits.body_bytes_max as u64 + 8192,
                limits.group_bytes_max as u64,
                "8192 below limits.group_bytes_max, so that a record \
             fits into a group",
            ),
            (
                "limits.reserve_bytes",
                limits.reserve_bytes * 2,
                limits.tail_bytes_max,
                "at most half of limits.tail_bytes_max",
            ),
            (
                "limits.segment_bytes",
                limits.segment_bytes as u64 * 2,
                limits.tail_bytes_max,
                "at most half of limits.tail_bytes_max",
            ),
        ];
        for (name, value, most, why) in pairs {
            if value > most {
                return Err(self.refused(name, why));
            }
        }
        if self.config.ack != AckLevel::Local {
            if self.config.store_kind == StoreKind::Embedded {
                return Err(self.refused("ack", "local where store.kind is embedded"));
            }
            if self.config.node.is_empty() {
                return Err(self.refused("node", "a name where ack is not local"));
            }
        }
        Ok(())
    }

    fn refused(&self, name: &str, why: &str) -> ConfigError {
        let index = KEYS.iter().position(|key| key.name == name).expect("a known key");
        let key = &KEYS[index];
        refuse(key, &self.value(key), &self.origins[index], &format!("must be {why}"))
    }
}

fn refuse(key: &Key, value: &str, origin: &Origin, why: &str) -> ConfigError {
    let default = (key.get)(&Config::default());
    ConfigError(format!(
        "{} = {value:?} ({origin}): {why} (default {default}); `ringmail config print` explains it",
        key.name
    ))
}

fn unknown(
    what: &str,
    name: &str,
    known: impl Iterator<Item = String>,
    origin: &str,
) -> ConfigError {
    let nearest = known.min_by_key(|candidate| distance(name, candidate)).expect("keys exist");
    ConfigError(format!(
        "unknown {what} {name} in {origin}; did you mean {nearest}? `ringmail config print` lists \
         all keys"
    ))
}

/// Edits (insert, delete, replace) between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_flags(flags: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let flags = flags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        load(&Sources { flags, ..Sources::default() }, |_| 3)
    }

    #[test]
    fn every_key_takes_its_own_default_back() {
        let mut config = Config::default();
        for key in KEYS {
            let text = (key.get)(&config);
            (key.set)(&mut config, &text).unwrap_or_else(|why| panic!("{}: {why}", key.name));
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_limit_has_a_key() {
        let fields = format!("{:?}", Limits::default()).matches(": ").count();
        assert_eq!(KEYS.iter().filter(|key| key.name.starts_with("limits.")).count(), fields);
    }

    #[test]
    fn nobody_said_how_many_shards() {
        assert_eq!(with_flags(&[]).unwrap().config.shards, 3);
        assert_eq!(with_flags(&[("shards", "2")]).unwrap().config.shards, 2);
    }

    #[test]
    fn a_limit_that_another_forbids_is_refused_by_name() {
        let error = with_flags(&[("limits.group_bytes_max", "33554432")]).unwrap_err().to_string();
        assert!(error.contains("limits.group_bytes_max = \"33554432\" (flag)"), "{error}");
        assert!(error.contains("at most half of limits.segment_bytes"), "{error}");
    }

    #[test]
    fn acks_from_the_store_need_a_store_and_a_name() {
        let error = with_flags(&[("ack", "geo")]).unwrap_err().to_string();
        assert!(error.contains("ack = \"geo\"") && error.contains("store.kind"), "{error}");
        let distributed = [("ack", "replicated"), ("store.kind", "scylla")];
        let error = with_flags(&distributed).unwrap_err().to_string();
        assert!(error.contains("node = \"\""), "{error}");
        with_flags(&[&distributed[..], &[("node", "one")]].concat()).unwrap();
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("shards", "shards"), 0);
        assert_eq!(distance("shard", "shards"), 1);
        assert_eq!(distance("pin", "listen"), 4);
    }
}
