//! The session, and the schema in numbered migrations.

use crate::{Config, OpenError, levels, tls};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::{Consistency, Statement};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::AckLevel;

/// Version `n` is the file at index `n - 1`. A file that was released is never edited.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/001.cql"),
    include_str!("../migrations/002.cql"),
    include_str!("../migrations/003.cql"),
];
const NEWEST: i32 = MIGRATIONS.len() as i32;
/// A holder that died loses the lock after this long.
const LOCK_S: u64 = 60;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A node makes a table slower than anything else: it writes and syncs a file for each kind of row.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Of a transaction; a node gives one up after 2 s.
const DECIDE_TRIES: u32 = 8;
/// Of `migrate`, a tenth of a second apart.
const USE_TRIES: u32 = 30;

/// What `Scylla::migrate` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Version before; 0: there was nothing.
    pub from: i32,
    /// Version now.
    pub to: i32,
}

/// What the store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version of the schema; 0: none.
    pub version: i32,
    /// Version that this build needs.
    pub wanted: i32,
    /// As the store keeps it: one pair for each setting.
    pub replication: BTreeMap<String, String>,
    /// Nodes by datacenter: those that the driver reaches, and all.
    pub nodes: BTreeMap<String, (usize, usize)>,
    /// How far logs are in the store.
    pub checkpoints: Vec<Checkpoint>,
}

/// How far the log of one core is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which data directory's.
    pub log: String,
    /// Which core's.
    pub core: i32,
    /// Bytes of its log that are in the store.
    pub upto: u64,
    /// When that was written, Unix microseconds.
    pub flushed_us: u64,
}

/// Now, in Unix microseconds; 0 before.
pub fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// How requests are made; `datacenter`: whose nodes are asked, empty: any.
fn profile(config: &Config, datacenter: &str) -> ExecutionProfile {
    // A quorum over all datacenters is the same wherever it is asked for.
    let mut policy = DefaultPolicy::builder().permit_dc_failover(config.level == AckLevel::Geo);
    if !datacenter.is_empty() {
        policy = policy.prefer_datacenter(datacenter.to_owned());
    }
    ExecutionProfile::builder()
        .consistency(config.consistency())
        .serial_consistency(Some(config.serial()))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .load_balancing_policy(policy.build())
        .build()
}

/// Connects, to no keyspace yet.
pub async fn connect(config: &Config) -> Result<Session, OpenError> {
    let mut requests = profile(config, &config.datacenter).into_handle();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.addresses)
        .connection_timeout(CONNECT_TIMEOUT)
        .default_execution_profile_handle(requests.clone());
    if !config.user.is_empty() {
        builder = builder.user(&config.user, &config.password);
    }
    if !config.tls_ca.is_empty() {
        builder = tls::with(builder, &config.tls_ca)?;
    }
    let session = builder.build().await.map_err(|error| {
        let why = format!("{error:?}");
        if ["uthenticat", "redentials", "Unauthorized"].iter().any(|word| why.contains(word)) {
            let addresses = config.addresses.join(",");
            return OpenError::Refused { addresses, user: config.user.clone() };
        }
        if why.contains("InvalidCertificate") {
            let (addresses, path) = (config.addresses.join(","), config.tls_ca.clone());
            return OpenError::Untrusted { addresses, path, why: error.to_string() };
        }
        config.unreachable(error.to_string())
    })?;
    if config.level != AckLevel::Geo {
        // A quorum of one datacenter is one of that whose node is asked: always of the same, also
        // when there are more some day.
        let there = nodes(&session).into_keys().collect();
        let datacenter = levels::datacenter(&config.datacenter, there)?;
        requests.map_to_another_profile(profile(config, &datacenter));
    }
    Ok(session)
}

/// The keyspace is there and its tables are this build's.
pub async fn check(session: &Session, config: &Config) -> Result<(), OpenError> {
    use_keyspace(session, config).await?;
    let (found, keyspace) = (version(session, config).await?, config.keyspace.clone());
    match found.cmp(&NEWEST) {
        std::cmp::Ordering::Less => Err(OpenError::Old { keyspace, found, wanted: NEWEST }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(OpenError::New { keyspace, found, wanted: NEWEST }),
    }
}

/// Takes the keyspace for the logs of one data directory or node, for ever.
pub async fn own(session: &Session, config: &Config, log: &str) -> Result<(), OpenError> {
    assert!(!log.contains('\''), "{log:?} is a plain name");
    let take = format!("INSERT INTO owner (one, log) VALUES (1, '{log}') IF NOT EXISTS");
    match decided(session, config, &take, "SELECT log FROM owner WHERE one = 1").await? {
        Some(owner) if owner != log => {
            let (keyspace, log) = (config.keyspace.clone(), log.to_owned());
            Err(OpenError::Owned { keyspace, owner, log })
        }
        _ => Ok(()),
    }
}

/// The data directory that owns the keyspace in use.
pub async fn owner(session: &Session, config: &Config) -> Result<Option<String>, OpenError> {
    let text = "SELECT log FROM owner WHERE one = 1";
    let found: Vec<(Option<String>,)> = rows(session, config, text).await?;
    Ok(found.into_iter().next().and_then(|(log,)| log))
}

/// Whether a table of the keyspace in use has no row.
pub async fn is_empty(session: &Session, config: &Config, table: &str) -> Result<bool, OpenError> {
    let key = if table == "messages" || table == "conversations" { "low" } else { "user" };
    let text = format!("SELECT {key} FROM {table} LIMIT 1");
    let found: Vec<(i64,)> = rows(session, config, text).await?;
    Ok(found.is_empty())
}

/// Runs a lightweight transaction, and reads what holds now: the answer itself has other columns in
/// either store, and may be lost.
async fn decided(
    session: &Session,
    config: &Config,
    change: &str,
    read: &str,
) -> Result<Option<String>, OpenError> {
    // What had no answer may have happened, and may be done again: a start waits for a moment in
    // which the nodes do not know yet that one of them is dead.
    let mut tries = 0;
    while let Err(error) = session.query_unpaged(change, ()).await {
        tries += 1;
        if tries == DECIDE_TRIES {
            return Err(config.unreachable(error.to_string()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut read = Statement::new(read);
    read.set_consistency(config.serial_read());
    let found: Vec<(Option<String>,)> = rows(session, config, read).await?;
    Ok(found.into_iter().next().and_then(|(text,)| text))
}

/// See `Scylla::claim_version`.
pub async fn claim_version(config: &Config, version: i32) -> Result<(), OpenError> {
    let session = connect(config).await?;
    use_keyspace(&session, config).await?;
    done(&session, version).await
}

async fn done(session: &Session, version: i32) -> Result<(), OpenError> {
    let applied_us = now_us();
    let text = format!(
        "INSERT INTO migrations (one, version, applied_us) VALUES (1, {version}, {applied_us})"
    );
    change(session, &text).await
}

async fn use_keyspace(session: &Session, config: &Config) -> Result<(), OpenError> {
    if replication(session, config).await?.is_none() {
        return Err(OpenError::NoKeyspace(config.keyspace.clone()));
    }
    let used = session.use_keyspace(&config.keyspace, false).await;
    used.map_err(|error| config.unreachable(error.to_string()))
}

async fn rows<R>(
    session: &Session,
    config: &Config,
    statement: impl Into<Statement>,
) -> Result<Vec<R>, OpenError>
where
    R: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
{
    let mut statement = statement.into();
    // The system's own tables are kept by each node.
    if statement.contents.contains("FROM system") {
        statement.set_consistency(Consistency::One);
    }
    let result = session.query_unpaged(statement, ()).await;
    let result = result.map_err(|error| config.unreachable(error.to_string()))?;
    let result = result.into_rows_result().map_err(|error| OpenError::Schema(error.to_string()))?;
    let rows = result.rows::<R>().map_err(|error| OpenError::Schema(error.to_string()))?;
    rows.collect::<Result<_, _>>().map_err(|error| OpenError::Schema(error.to_string()))
}

pub async fn replication(
    session: &Session,
    config: &Config,
) -> Result<Option<BTreeMap<String, String>>, OpenError> {
    let text = format!(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = '{}'",
        config.keyspace
    );
    let found: Vec<(BTreeMap<String, String>,)> = rows(session, config, text).await?;
    Ok(found.into_iter().next().map(|(replication,)| replication))
}

/// Version of the schema in the keyspace; 0: none.
async fn version(session: &Session, config: &Config) -> Result<i32, OpenError> {
    let tables: Vec<(String,)> = rows(
        session,
        config,
        format!(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{}' AND \
             table_name = 'migrations'",
            config.keyspace
        ),
    )
    .await?;
    if tables.is_empty() {
        return Ok(0);
    }
    let text = "SELECT version FROM migrations WHERE one = 1";
    let versions: Vec<(i32,)> = rows(session, config, text).await?;
    Ok(versions.into_iter().map(|(version,)| version).max().unwrap_or(0))
}

pub fn nodes(session: &Session) -> BTreeMap<String, (usize, usize)> {
    let mut nodes = BTreeMap::new();
    for node in session.get_cluster_state().get_nodes_info() {
        let name = node.datacenter.clone().unwrap_or_default();
        let (up, all) = nodes.entry(name).or_insert((0, 0));
        *up += usize::from(node.is_connected());
        *all += 1;
    }
    nodes
}

async fn change(session: &Session, text: &str) -> Result<(), OpenError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(CHANGE_TIMEOUT));
    let done = session.query_unpaged(statement, ()).await;
    done.map(|_| ()).map_err(|error| OpenError::Schema(error.to_string()))
}

/// See `Scylla::migrate`.
pub async fn migrate(config: &Config) -> Result<Migrated, OpenError> {
    let session = connect(config).await?;
    if replication(&session, config).await?.is_none() {
        make_keyspace(&session, config).await?;
    }
    // One that another process makes just now is listed a moment before it can be used.
    let mut tries = 0;
    while let Err(error) = use_keyspace(&session, config).await {
        tries += 1;
        if tries == USE_TRIES {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    change(
        &session,
        "CREATE TABLE IF NOT EXISTS migrations (one tinyint, version int, applied_us bigint, \
         PRIMARY KEY (one, version))",
    )
    .await?;
    change(
        &session,
        "CREATE TABLE IF NOT EXISTS migration_lock (one tinyint PRIMARY KEY, holder text)",
    )
    .await?;
    let holder = format!("process {} since {}", std::process::id(), now_us());
    lock(&session, config, &holder).await?;
    let migrated = migrate_locked(&session, config).await;
    let unlock = format!("DELETE FROM migration_lock WHERE one = 1 IF holder = '{holder}'");
    // Otherwise it goes by itself.
    let _ = change(&session, &unlock).await;
    migrated
}

async fn make_keyspace(session: &Session, config: &Config) -> Result<(), OpenError> {
    let nodes = nodes(session);
    let wanted: Vec<(String, u32)> = match &config.replication {
        crate::Replication::Everywhere(copies) => {
            nodes.keys().map(|name| (name.clone(), *copies)).collect()
        }
        crate::Replication::Datacenters(named) => named.clone(),
    };
    for (datacenter, copies) in wanted {
        let nodes = nodes.get(&datacenter).map_or(0, |(_, all)| *all);
        if nodes < copies as usize {
            return Err(OpenError::TooFewNodes { datacenter, nodes, copies });
        }
    }
    let replication = config.replication.cql();
    let keyspace = &config.keyspace;
    let text = format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication}");
    change(session, &text).await
}

async fn lock(session: &Session, config: &Config, holder: &str) -> Result<(), OpenError> {
    let take = format!(
        "INSERT INTO migration_lock (one, holder) VALUES (1, '{holder}') IF NOT EXISTS \
         USING TTL {LOCK_S}"
    );
    let mut other = None;
    for _ in 0..=LOCK_S {
        other = decided(session, config, &take, "SELECT holder FROM migration_lock WHERE one = 1")
            .await?;
        if other.as_deref() == Some(holder) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(OpenError::Locked(other.unwrap_or_else(|| "somebody".to_owned())))
}

async fn migrate_locked(session: &Session, config: &Config) -> Result<Migrated, OpenError> {
    let from = version(session, config).await?;
    if from > NEWEST {
        let keyspace = config.keyspace.clone();
        return Err(OpenError::New { keyspace, found: from, wanted: NEWEST });
    }
    for (version, text) in (1..).zip(MIGRATIONS).skip(from as usize) {
        for statement in statements(text) {
            change(session, &statement).await?;
        }
        done(session, version).await?;
    }
    Ok(Migrated { from, to: NEWEST })
}

/// The statements of a file, without its comments.
fn statements(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("--")).collect();
    let text = lines.join("\n");
    text.split(';').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

/// See `Scylla::status`.
pub async fn status(config: &Config) -> Result<Status, OpenError> {
    let session = connect(config).await?;
    let replication = replication(&session, config).await?.unwrap_or_default();
    use_keyspace(&session, config).await?;
    let (version, mut checkpoints) = (version(&session, config).await?, Vec::new());
    if version > 0 {
        let text = "SELECT log, core, upto, flushed_us FROM checkpoints";
        let found: Vec<(String, i32, i64, i64)> = rows(&session, config, text).await?;
        checkpoints.extend(found.into_iter().map(|(log, core, upto, flushed_us)| Checkpoint {
            log,
            core,
            upto: upto as u64,
            flushed_us: flushed_us as u64,
        }));
    }
    Ok(Status { version, wanted: NEWEST, replication, nodes: nodes(&session), checkpoints })
}
