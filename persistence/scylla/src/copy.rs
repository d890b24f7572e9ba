//! Filling a keyspace from another store, and reading all of it back.

use crate::error::Failure;
use crate::read::{MessageColumns, Place, device_of, number, user_of};
use crate::write::{Writes, mark};
use crate::{Config, Connection, OpenError, Scylla, Side, Tally, schema};
use persistence::values::{self, Stored, read};
use persistence::{BackendError, Batch, ConvKey, DeviceInfo};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::task::JoinSet;
use wire::OutboxId;

type Result<T> = std::result::Result<T, Failure>;
type Int = Option<i64>;
type Blob = Option<Vec<u8>>;

/// Pieces of the ring of tokens that are read one by one.
const PIECES: u64 = 16;
/// Pieces under way at once.
const CONCURRENCY: usize = 4;
const PAGE_ROWS: i32 = 1_000;
/// A piece that was not answered is read again so often.
const TRIES: u32 = 5;

/// Tables that hold what users have.
const TABLES: [&str; 9] = [
    "messages",
    "inbox",
    "conversations",
    "users",
    "devices",
    "command_outboxes",
    "contacts",
    "members",
    "marks",
];

/// What stands in a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The data directory that owns it.
    pub owner: Option<String>,
    /// No table has a row.
    pub empty: bool,
}

/// What is sent for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Statements.
    pub statements: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Scylla {
    /// Who has a keyspace, whose schema must be this build's.
    pub fn holder(config: &Config) -> std::result::Result<Holder, OpenError> {
        let config = config.clone();
        Side::start()?.run(async move {
            let session = schema::connect(&config).await?;
            schema::check(&session, &config).await?;
            let owner = schema::owner(&session, &config).await?;
            let mut empty = true;
            for table in TABLES {
                empty &= schema::is_empty(&session, &config, table).await?;
            }
            Ok(Holder { owner, empty })
        })
    }

    /// Writes rows as a server's batch would, without a word on how far a log is.
    pub fn put(&self, batch: &Batch) -> std::result::Result<(), BackendError> {
        let writes = Writes::of(batch, &BTreeMap::new());
        self.run(|connection| connection.write(writes))
    }

    /// What a batch makes in statements.
    pub fn weigh(&self, batch: &Batch) -> Weight {
        Writes::of(batch, &BTreeMap::new()).weigh()
    }

    /// Reads everything; `piece` is called after each of the `all` pieces.
    pub fn tally(
        &self,
        mut piece: impl FnMut(u64, u64),
    ) -> std::result::Result<Tally, BackendError> {
        let mut tally = Tally::default();
        for first in (0..PIECES).step_by(CONCURRENCY) {
            let pieces = first..(first + CONCURRENCY as u64).min(PIECES);
            let part = self.run(|connection| async move {
                let mut under_way = JoinSet::new();
                for index in pieces {
                    under_way.spawn(connection.clone().piece(index));
                }
                let mut part = Tally::default();
                while let Some(one) = under_way.join_next().await {
                    part.join(&one.expect("no reading panics")?);
                }
                Ok(part)
            })?;
            tally.join(&part);
            piece((first + CONCURRENCY as u64).min(PIECES), PIECES);
        }
        Ok(tally)
    }
}

/// The tokens of a piece: above the first one, up to the last one.
fn tokens(index: u64) -> (i64, i64) {
    let step = (u64::MAX / PIECES) as i128;
    let first = i128::from(i64::MIN) + step * i128::from(index);
    let last = if index + 1 == PIECES { i128::from(i64::MAX) } else { first + step };
    (first as i64, last as i64)
}

fn conv_of(user: i64, peer: i64) -> Result<ConvKey> {
    let conv = ConvKey::new(user_of(user as u64)?, user_of(peer as u64)?);
    conv.ok_or_else(|| Failure::Row("a peer is oneself".to_owned()))
}

fn add<T: Stored + Debug>(
    tally: &mut Tally,
    kind: &'static str,
    key: impl Debug,
    row: Blob,
) -> Result<()> {
    if let Some(row) = row {
        tally.add(kind, key, read::<T>(&row)?);
    }
    Ok(())
}

impl Connection {
    async fn piece(self: Arc<Self>, index: u64) -> Result<Tally> {
        let mut tries = 1;
        loop {
            match self.piece_once(index).await {
                Err(Failure::Unanswered(_)) if tries < TRIES => tries += 1,
                done => return done,
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }

    async fn piece_once(&self, index: u64) -> Result<Tally> {
        let (tally, session, tokens) = (&mut Tally::default(), &self.session, tokens(index));
        messages(session, tokens, tally).await?;
        entries(session, tokens, tally).await?;
        conversations(session, tokens, tally).await?;
        users(session, tokens, tally).await?;
        of_users(session, tokens, tally).await?;
        members(session, tokens, tally).await?;
        marks(session, tokens, tally).await?;
        Ok(std::mem::take(tally))
    }
}

/// Calls `take` with each row of the partitions of a piece.
async fn each<R>(
    session: &Session,
    (columns, table, partition): (&str, &str, &str),
    tokens: (i64, i64),
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm> + 'static,
{
    let text = format!(
        "SELECT {columns} FROM {table} WHERE token({partition}) > ? AND token({partition}) <= ?"
    );
    let unanswered = |error: &dyn std::fmt::Display| Failure::Unanswered(error.to_string());
    let prepared = session.prepare(text).await.map_err(|error| unanswered(&error))?;
    let mut state = scylla::response::PagingState::start();
    let mut prepared = prepared;
    prepared.set_page_size(PAGE_ROWS);
    loop {
        let (page, next) = session.execute_single_page(&prepared, tokens, state).await?;
        let page = page.into_rows_result()?;
        let rows = page.rows::<R>().map_err(|error| Failure::Row(error.to_string()))?;
        for row in rows {
            take(row.map_err(|error| Failure::Row(error.to_string()))?)?;
        }
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Continue(next) => state = next,
            std::ops::ControlFlow::Break(()) => return Ok(()),
        }
    }
}

async fn messages(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = "low, high, conv_seq, time_us, sender, outbox, n, kind, target, hash, body, \
                   emptied, changed";
    type Row = (i64, i64, i64, Int, Int, Int, Int, Option<i8>, Int, Int, Blob, Option<bool>, Blob);
    each(session, (columns, "messages", "low, high, bucket"), tokens, |row: Row| {
        let (low, high, a, b, c, d, e, f, g, h, i, j, k) = row;
        let columns: MessageColumns = (a, b, c, d, e, f, g, h, i, j, k);
        let (seq, place) = Place::of(conv_of(low, high)?, columns)?;
        let at = (conv_of(low, high)?, seq);
        place.row.iter().for_each(|row| tally.add("messages", at, row));
        place.change.iter().for_each(|change| tally.add("changes", at, change));
        Ok(())
    })
    .await
}

async fn entries(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = ("user, inbox_seq, entry", "inbox", "user, bucket");
    each(session, columns, tokens, |(user, seq, row): (i64, i64, Vec<u8>)| {
        let user = user_of(user as u64)?;
        tally.add("entries", user, values::read_entry(user, seq as u64, &row)?);
        Ok(())
    })
    .await
}

async fn conversations(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = "low, high, head, time_us, sender, outbox, next, device";
    let mut last = None;
    type Row = (i64, i64, Int, Int, Int, Int, Int, Int);
    each(session, (columns, "conversations", "low, high"), tokens, |row: Row| {
        let (low, high, head, time_us, sender, outbox, next, device) = row;
        let conv = conv_of(low, high)?;
        // Each row of a partition tells its head.
        if head.is_some() && last.replace(conv) != Some(conv) {
            tally.add("conversations", conv, (number(head), number(time_us)));
        }
        if let (Some(sender), Some(outbox)) = (sender, outbox) {
            let key = (conv, user_of(sender as u64)?, OutboxId(outbox as u64));
            let device = device.map(|device| device_of(device as u64)).transpose()?;
            tally.add("outboxes", key, (number(next), device));
        }
        Ok(())
    })
    .await
}

async fn users(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = "user, head, epoch, trimmed, last_seen_us, privacy";
    type Row = (i64, Int, Int, Int, Int, Blob);
    each(session, (columns, "users", "user"), tokens, |row: Row| {
        let (user, head, epoch, trimmed, last_seen, privacy) = row;
        let user = user_of(user as u64)?;
        for (kind, value) in
            [("heads", head), ("epochs", epoch), ("trims", trimmed), ("last_seen", last_seen)]
        {
            value.iter().for_each(|&value| tally.add(kind, user, value as u64));
        }
        add::<persistence::Latest<wire::Privacy>>(tally, "privacy", user, privacy)
    })
    .await
}

async fn of_users(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = ("user, device, acked, info, revoked", "devices", "user");
    type Device = (i64, i64, Int, Blob, Option<bool>);
    each(session, columns, tokens, |(user, device, acked, info, revoked): Device| {
        let key = (user_of(user as u64)?, device_of(device as u64)?);
        acked.iter().for_each(|&acked| tally.add("cursors", key, acked as u64));
        if let Some(info) = info {
            let info: DeviceInfo = read(&info)?;
            tally.add("devices", key, DeviceInfo { revoked: revoked == Some(true), ..info });
        }
        Ok(())
    })
    .await?;
    let columns = ("user, outbox, next, device", "command_outboxes", "user");
    each(session, columns, tokens, |(user, outbox, next, device): (i64, i64, Int, Int)| {
        let device = device.map(|device| device_of(device as u64)).transpose()?;
        let key = (user_of(user as u64)?, OutboxId(outbox as u64));
        tally.add("command_outboxes", key, (number(next), device));
        Ok(())
    })
    .await?;
    let columns = ("user, peer, contact, blocked", "contacts", "user");
    each(session, columns, tokens, |(user, peer, contact, blocked): (i64, i64, Blob, Blob)| {
        let key = (user_of(user as u64)?, user_of(peer as u64)?);
        add::<persistence::Latest<Option<String>>>(tally, "contacts", key, contact)?;
        add::<persistence::Latest<bool>>(tally, "blocks", key, blocked)
    })
    .await
}

async fn members(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = ("user, peer, taken, read, last_inbox, settings", "members", "user");
    type Row = (i64, i64, Int, Int, Int, Blob);
    each(session, columns, tokens, |(user, peer, taken, read, last_inbox, settings): Row| {
        let member = (user_of(user as u64)?, conv_of(user, peer)?);
        for (kind, value) in [("taken", taken), ("reads", read), ("last_inbox", last_inbox)] {
            value.iter().for_each(|&value| tally.add(kind, member, value as u64));
        }
        add::<persistence::Latest<wire::ConvSettings>>(tally, "settings", member, settings)
    })
    .await
}

async fn marks(session: &Session, tokens: (i64, i64), tally: &mut Tally) -> Result<()> {
    let columns = ("user, peer, kind, id, value", "marks", "user, peer");
    type Row = (i64, i64, i8, i64, Int);
    each(session, columns, tokens, |(user, peer, kind, id, value): Row| {
        let (user, conv) = (user_of(user as u64)?, conv_of(user, peer)?);
        let (id, value) = (id as u64, number(value));
        match kind {
            mark::DELIVERED => tally.add("delivered", (user, conv, device_of(id)?), value),
            mark::PEER_READ => tally.add("peer_read", (user, conv), value),
            mark::PEER_DELIVERED => tally.peer_delivered((user, conv), id, value),
            mark::HIDDEN => tally.hidden(user, conv, id, value),
            other => return Err(Failure::Row(format!("a mark of kind {other}"))),
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_ring_once() {
        assert_eq!((tokens(0).0, tokens(PIECES - 1).1), (i64::MIN, i64::MAX));
        for index in 1..PIECES {
            assert_eq!(tokens(index).0, tokens(index - 1).1);
            assert!(tokens(index).0 < tokens(index).1);
        }
    }
}
