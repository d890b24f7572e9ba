//! A plain loop of the driver: rows of messages, prepared, in unlogged batches of a partition.
//! No timestamps of its own, no order between tables, no joins: what the driver and the node can.

use crate::store::{Message, PAGE, Source};
use persistence::ConvKey;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue::{self, BigInt, Blob, TinyInt};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// Statement and values.
type Row = (usize, Vec<CqlValue>);

/// As the store's writer has it.
const STATEMENTS_MAX: usize = 100;
const CONCURRENCY: usize = 64;
const MESSAGE_BUCKET: u64 = 512;
const INBOX_BUCKET: u64 = 4_096;

const TEXTS: [&str; 8] = [
    "INSERT INTO messages (low, high, bucket, conv_seq, time_us, sender, outbox, n, kind, target, \
     hash, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "INSERT INTO inbox (user, bucket, inbox_seq, entry) VALUES (?, ?, ?, ?)",
    "UPDATE conversations SET head=?, time_us=? WHERE low=? AND high=?",
    "UPDATE conversations SET next=? WHERE low=? AND high=? AND sender=? AND outbox=?",
    "UPDATE users SET head=? WHERE user=?",
    "INSERT INTO members (user, peer, taken, last_inbox) VALUES (?, ?, ?, ?)",
    "UPDATE devices SET acked=? WHERE user=? AND device=?",
    "UPDATE marks SET value=? WHERE user=? AND peer=? AND kind=? AND id=?",
];
/// Bytes of an inbox entry, about: of the sender's, and of the recipient's.
const ENTRY_BYTES: [usize; 2] = [36, 16];

/// The loop, connected.
pub struct Floor {
    runtime: Runtime,
    connection: Arc<Connection>,
}

struct Connection {
    session: Session,
    statements: Vec<PreparedStatement>,
    page: PreparedStatement,
}

fn int(value: u64) -> CqlValue {
    BigInt(value as i64)
}

impl Floor {
    /// Connects to a keyspace that has the store's tables.
    pub fn open(addresses: &[String], keyspace: &str) -> Done<Floor> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build()?;
        let connection = runtime.block_on(async {
            let session =
                SessionBuilder::new().known_nodes(addresses).use_keyspace(keyspace, false);
            let session = session.build().await?;
            let mut statements = Vec::new();
            for text in TEXTS {
                statements.push(session.prepare(text).await?);
            }
            let page = "SELECT conv_seq, time_us, sender, outbox, n, kind, target, hash, body, \
                        emptied, changed FROM messages WHERE low=? AND high=? AND bucket=? \
                        ORDER BY conv_seq DESC LIMIT ?";
            let page = session.prepare(page).await?;
            Done::Ok(Connection { session, statements, page })
        })?;
        Ok(Floor { runtime, connection: Arc::new(connection) })
    }

    /// `share` messages of each source, at most `batch` of one under way.
    pub fn write(&self, sources: Vec<Source>, share: u64, batch: u64, body: &[u8]) -> Done<()> {
        self.runtime.block_on(async {
            let mut threads = JoinSet::new();
            for mut source in sources {
                let (connection, body) = (self.connection.clone(), body.to_vec());
                threads.spawn(async move {
                    let mut left = share;
                    while left > 0 {
                        let messages = source.take(left.min(batch));
                        left -= messages.len() as u64;
                        connection.clone().write(&messages, &body).await?;
                    }
                    Done::Ok(())
                });
            }
            while let Some(done) = threads.join_next().await {
                done??;
            }
            Ok(())
        })
    }

    /// The newest places of a conversation.
    pub fn page(&self, conv: ConvKey) -> Done<()> {
        let [low, high] = conv.participants().map(|user| user.get() as i64);
        self.runtime.block_on(async {
            let Connection { session, page, .. } = &*self.connection;
            let values = (low, high, 0i64, PAGE as i32);
            let found = session.execute_unpaged(page, values).await?.into_rows_result()?;
            match found.rows_num() {
                0 => Err("no page".into()),
                _ => Ok(()),
            }
        })
    }
}

/// Statements by table and partition.
fn rows_of(messages: &[Message], body: &[u8]) -> BTreeMap<(usize, [u64; 3]), Vec<Row>> {
    let mut rows: BTreeMap<(usize, [u64; 3]), Vec<Row>> = BTreeMap::new();
    let mut put = |table: usize, partition: [u64; 3], statement: usize, values: Vec<CqlValue>| {
        rows.entry((table, partition)).or_default().push((statement, values));
    };
    let mut newest = BTreeMap::new();
    for message in messages {
        let &Message { conv, n, time_us } = message;
        let [low, high] = conv.participants().map(|user| user.get());
        let bucket = n / MESSAGE_BUCKET;
        let mut values = vec![int(low), int(high), int(bucket), int(n), int(time_us), int(low)];
        values.extend([int(low), int(n), TinyInt(1), int(0), int(time_us), Blob(body.to_vec())]);
        put(0, [low, high, bucket], 0, values);
        for (user, bytes) in [low, high].into_iter().zip(ENTRY_BYTES) {
            let bucket = n / INBOX_BUCKET;
            let values = vec![int(user), int(bucket), int(n), Blob(vec![1; bytes])];
            put(1, [user, bucket, 0], 1, values);
        }
        newest.insert(conv, (n, time_us));
    }
    for (conv, (n, time_us)) in newest {
        let [low, high] = conv.participants().map(|user| user.get());
        put(2, [low, high, 0], 2, vec![int(n), int(time_us), int(low), int(high)]);
        put(2, [low, high, 0], 3, vec![int(n + 1), int(low), int(high), int(low), int(low)]);
        for (user, peer) in [(low, high), (high, low)] {
            put(3, [user, 0, 0], 4, vec![int(n), int(user)]);
            put(4, [user, 0, 0], 5, vec![int(user), int(peer), int(n), int(n)]);
        }
        put(5, [high, 0, 0], 6, vec![int(n), int(high), int(1)]);
        put(6, [high, low, 0], 7, vec![int(n), int(high), int(low), TinyInt(1), int(1)]);
    }
    rows
}

impl Connection {
    async fn write(self: Arc<Self>, messages: &[Message], body: &[u8]) -> Done<()> {
        let rows = rows_of(messages, body).into_values();
        let mut left = rows.flat_map(|rows| {
            let chunks = rows.chunks(STATEMENTS_MAX).map(<[Row]>::to_vec);
            chunks.collect::<Vec<_>>()
        });
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < CONCURRENCY
                && let Some(rows) = left.next()
            {
                let connection = self.clone();
                under_way.spawn(async move {
                    let mut batch = Batch::new(BatchType::Unlogged);
                    let mut all = Vec::new();
                    for (statement, values) in rows {
                        batch.append_statement(connection.statements[statement].clone());
                        all.push(values);
                    }
                    connection.session.batch(&batch, all).await.map(|_| ())
                });
            }
            match under_way.join_next().await {
                Some(done) => done??,
                None => return Ok(()),
            }
        }
    }
}
