//! Batches into statements. Each cell's timestamp comes from its value, so that the store's own
//! rule, the highest timestamp stays, is the join of `persistence::Row`; nothing is read before.

use crate::statements::Statement::{self, *};
use crate::{Connection, Failure, INBOX_BUCKET, MESSAGE_BUCKET, Weight};
use persistence::values::{self, written};
use persistence::{Batch, ChangeRow, Content, ConvKey, DeviceInfo, MessageRow};
use scylla::statement::batch::{Batch as Statements, BatchType};
use scylla::value::CqlValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::{Seq, UserId};

/// Statements and bytes of one unlogged batch, at most: far below what either store refuses.
const STATEMENTS_MAX: usize = 100;
const BYTES_MAX: usize = 64 << 10;
/// Between the tries of one of them: a store that fails one in a hundred gets it at once.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_600),
];
/// A delete wins over every edit.
pub const DELETES: i64 = 1 << 62;
/// The timestamp of whence a message came.
const ORIGIN: u64 = 1;
/// Emptying a body wins over the body.
const EMPTIES: i64 = 9;

/// Kinds of messages.
pub mod kind {
    pub const BODY: i8 = 1;
    pub const VOID: i8 = 2;
    pub const EDIT: i8 = 3;
    pub const DELETE: i8 = 4;
}

/// Kinds of marks.
pub mod mark {
    pub const DELIVERED: i8 = 1;
    pub const PEER_READ: i8 = 2;
    pub const PEER_DELIVERED: i8 = 3;
    pub const HIDDEN: i8 = 4;
}

/// A table and a partition key in it.
type Partition = (Table, [i64; 3]);
/// Which table a statement writes.
type Table = &'static str;
type Values = Vec<CqlValue>;

/// Statements by partition; one phase is complete before the next one starts.
#[derive(Default)]
pub struct Writes {
    phases: [BTreeMap<Partition, Vec<(Statement, Values)>>; 3],
}

/// Messages come first, then the entries that point to them, then heads and marks.
const MESSAGES: usize = 0;
const ENTRIES: usize = 1;
const REST: usize = 2;

pub fn int(value: u64) -> CqlValue {
    CqlValue::BigInt(value as i64)
}

pub fn blob(bytes: impl Into<Vec<u8>>) -> CqlValue {
    CqlValue::Blob(bytes.into())
}

/// The timestamp of a value that only grows.
pub fn at(value: u64) -> CqlValue {
    CqlValue::BigInt((value as i64).max(1))
}

pub fn pair(conv: ConvKey) -> [u64; 2] {
    conv.participants().map(UserId::get)
}

impl Writes {
    fn put(
        &mut self,
        phase: usize,
        table: &'static str,
        key: [u64; 3],
        statement: Statement,
        values: Values,
    ) {
        let key = key.map(|part| part as i64);
        self.phases[phase].entry((table, key)).or_default().push((statement, values));
    }

    /// What a batch says; `trimmed`: up to where inboxes were trimmed before.
    pub fn of(batch: &Batch, trimmed: &BTreeMap<UserId, Seq>) -> Writes {
        let mut writes = Writes::default();
        for row in batch.message_rows().values() {
            writes.message(row);
        }
        for (&(conv, target), change) in &batch.changes {
            writes.change(conv, target, change);
        }
        for (user, entry) in &batch.entries {
            let (user_key, bucket) = (user.get(), entry.inbox_seq / INBOX_BUCKET);
            let row = blob(values::entry(*user, entry));
            let values = vec![at(1), row, int(user_key), int(bucket), int(entry.inbox_seq)];
            writes.put(ENTRIES, "inbox", [user_key, bucket, 0], PutEntry, values);
        }
        for (&user, &upto) in &batch.trims {
            writes.trim(user, trimmed.get(&user).copied().unwrap_or(0), upto);
        }
        writes.conversations(batch);
        writes.users(batch);
        writes.members(batch);
        writes
    }

    fn message(&mut self, row: &MessageRow) {
        let ([low, high], bucket) = (pair(row.conv), row.conv_seq / MESSAGE_BUCKET);
        let key = || [int(low), int(high), int(bucket), int(row.conv_seq)];
        let (kind, target) = match &row.content {
            Content::Body(_) | Content::Emptied(_) => (kind::BODY, 0),
            Content::Void(_) => (kind::VOID, 0),
            Content::Change(change, _) if change.delete => (kind::DELETE, change.target),
            Content::Change(change, _) => (kind::EDIT, change.target),
        };
        let mut values = vec![at(kind as u64), int(row.time_us), int(row.sender.get())];
        values.extend([CqlValue::TinyInt(kind), int(target), int(row.content.hash().0)]);
        values.push(blob(row.content.body()));
        let partition = [low, high, bucket];
        let origin = row.origin.map(|(outbox, n)| [int(outbox.0), int(n)]);
        match origin {
            // Both have the same timestamp, and most messages are like that: one statement.
            Some(origin) if kind as u64 == ORIGIN => {
                values.extend(origin.into_iter().chain(key()));
                self.put(MESSAGES, "messages", partition, PutSent, values);
            }
            origin => {
                values.extend(key());
                self.put(MESSAGES, "messages", partition, PutMessage, values);
                if let Some(origin) = origin {
                    let values = [at(ORIGIN)].into_iter().chain(origin).chain(key()).collect();
                    self.put(MESSAGES, "messages", partition, PutOrigin, values);
                }
            }
        }
        if matches!(row.content, Content::Emptied(_)) {
            self.empty(row.conv, row.conv_seq);
        }
    }

    /// The body of a place goes, whether it is there already or comes later.
    pub fn empty(&mut self, conv: ConvKey, seq: Seq) {
        let ([low, high], bucket) = (pair(conv), seq / MESSAGE_BUCKET);
        let timestamp = CqlValue::BigInt(EMPTIES);
        let values = vec![timestamp, int(low), int(high), int(bucket), int(seq)];
        self.put(MESSAGES, "messages", [low, high, bucket], Empty, values);
    }

    fn change(&mut self, conv: ConvKey, target: Seq, change: &ChangeRow) {
        let ([low, high], bucket) = (pair(conv), target / MESSAGE_BUCKET);
        let rank = change.conv_seq as i64 | if change.delete { DELETES } else { 0 };
        let values = vec![CqlValue::BigInt(rank), blob(written(change))];
        let key = [int(low), int(high), int(bucket), int(target)];
        let values = values.into_iter().chain(key).collect();
        self.put(MESSAGES, "messages", [low, high, bucket], PutChange, values);
        if change.delete {
            self.empty(conv, target);
        }
    }

    /// Entries go for ever: entries have the timestamp 1, and readers start above the trim.
    pub fn trim(&mut self, user: UserId, before: Seq, upto: Seq) {
        let user = user.get();
        for bucket in before / INBOX_BUCKET..=upto / INBOX_BUCKET {
            let values = vec![at(2), int(user), int(bucket), int(upto)];
            self.put(REST, "inbox", [user, bucket, 0], Trim, values);
        }
    }

    fn conversations(&mut self, batch: &Batch) {
        for (&conv, &(head, time_us)) in &batch.conversations {
            let [low, high] = pair(conv);
            let values = vec![at(head), int(head), int(time_us), int(low), int(high)];
            self.put(REST, "conversations", [low, high, 0], PutConversation, values);
        }
        for (&(conv, sender, outbox), &(next, device)) in &batch.outboxes {
            let [low, high] = pair(conv);
            let key = [int(low), int(high), int(sender.get()), int(outbox.0)];
            let values = [at(next), int(next)].into_iter().chain(key.clone()).collect();
            self.put(REST, "conversations", [low, high, 0], PutNext, values);
            if let Some(device) = device {
                let values = [at(1), int(device.0.into())].into_iter().chain(key).collect();
                self.put(REST, "conversations", [low, high, 0], PutOutboxDevice, values);
            }
        }
    }

    pub fn of_user(
        &mut self,
        table: &'static str,
        user: UserId,
        statement: Statement,
        values: Values,
    ) {
        self.put(REST, table, [user.get(), 0, 0], statement, values);
    }

    fn users(&mut self, batch: &Batch) {
        for (map, statement) in [
            (&batch.heads, PutHead),
            (&batch.epochs, PutEpoch),
            (&batch.trims, PutTrimmed),
            (&batch.last_seen, PutLastSeen),
        ] {
            for (&user, &value) in map {
                let values = vec![at(value), int(value), int(user.get())];
                self.of_user("users", user, statement, values);
            }
        }
        for (&user, row) in &batch.privacy {
            let values = vec![at(row.by), blob(written(row)), int(user.get())];
            self.of_user("users", user, PutPrivacy, values);
        }
        for (&(user, outbox), &(next, device)) in &batch.command_outboxes {
            let (table, key) = ("command_outboxes", [int(user.get()), int(outbox.0)]);
            let values = [at(next), int(next)].into_iter().chain(key.clone()).collect();
            self.of_user(table, user, PutCommandNext, values);
            if let Some(device) = device {
                let values = [at(1), int(device.0.into())].into_iter().chain(key).collect();
                self.of_user(table, user, PutCommandDevice, values);
            }
        }
        for (&(user, device), &acked) in &batch.cursors {
            let values = vec![at(acked), int(acked), int(user.get()), int(device.0.into())];
            self.of_user("devices", user, PutCursor, values);
        }
        for (&(user, device), info) in &batch.devices {
            let key = [int(user.get()), int(device.0.into())];
            if info.revoked {
                let values = [at(1)].into_iter().chain(key.clone()).collect();
                self.of_user("devices", user, Revoke, values);
            }
            // The flag is a cell of its own, so the rest does not tell it.
            let row = blob(written(&DeviceInfo { revoked: false, ..info.clone() }));
            let values = [at(info.attached_us), row].into_iter().chain(key).collect();
            self.of_user("devices", user, PutDevice, values);
        }
        for (&(user, peer), row) in &batch.contacts {
            let values = vec![at(row.by), blob(written(row)), int(user.get()), int(peer.get())];
            self.of_user("contacts", user, PutContact, values);
        }
        for (&(user, peer), row) in &batch.blocks {
            let values = vec![at(row.by), blob(written(row)), int(user.get()), int(peer.get())];
            self.of_user("contacts", user, PutBlock, values);
        }
    }

    fn members(&mut self, batch: &Batch) {
        for (map, statement) in
            [(&batch.taken, PutTaken), (&batch.reads, PutRead), (&batch.last_inbox, PutLastInbox)]
        {
            for (&(user, conv), &value) in map {
                let peer = conv.peer_of(user).get();
                let values = vec![at(value), int(value), int(user.get()), int(peer)];
                self.of_user("members", user, statement, values);
            }
        }
        for (&(user, conv), row) in &batch.settings {
            let peer = conv.peer_of(user).get();
            let values = vec![at(row.by), blob(written(row)), int(user.get()), int(peer)];
            self.of_user("members", user, PutSettings, values);
        }
        for (&(user, conv, device), &upto) in &batch.delivered {
            self.mark(user, conv, mark::DELIVERED, device.0.into(), upto);
        }
        for (&(user, conv), marks) in &batch.receipts {
            self.mark(user, conv, mark::PEER_READ, 0, marks.read);
            for (rank, &upto) in (0..).zip(&marks.delivered) {
                self.mark(user, conv, mark::PEER_DELIVERED, rank, upto);
            }
        }
        for (&(user, conv), ranges) in &batch.hidden {
            for &(first, last) in ranges {
                self.mark(user, conv, mark::HIDDEN, first, last);
            }
        }
    }

    /// A statement about a user and a peer.
    pub fn of_peer(&mut self, user: UserId, peer: u64, statement: Statement, values: Values) {
        self.put(REST, "marks", [user.get(), peer, 0], statement, values);
    }

    /// A statement about a partition of messages.
    pub fn of_message(&mut self, partition: [u64; 3], statement: Statement, values: Values) {
        self.put(MESSAGES, "messages", partition, statement, values);
    }

    pub fn mark(&mut self, user: UserId, conv: ConvKey, kind: i8, id: u64, value: u64) {
        let (user, peer) = (user.get(), conv.peer_of(user).get());
        let mut values = vec![at(value), int(value), int(user), int(peer)];
        values.extend([CqlValue::TinyInt(kind), int(id)]);
        self.put(REST, "marks", [user, peer, 0], PutMark, values);
    }
}

impl Writes {
    /// What this sends.
    pub fn weigh(&self) -> Weight {
        let all = self.phases.iter().flat_map(BTreeMap::values).flatten();
        let mut weight = Weight::default();
        for (_, values) in all {
            weight.statements += 1;
            weight.bytes += length(values) as u64;
        }
        weight
    }
}

/// Statements of one partition that are sent together.
struct Piece {
    statements: Vec<(Statement, Values)>,
    tries: usize,
}

impl Connection {
    /// Writes everything, one unlogged batch for each partition. Without an answer a piece is
    /// written again, a few times: the rest, which may be a thousand times as long, need not be. On
    /// an error any part is there.
    pub async fn write(self: Arc<Self>, writes: Writes) -> Result<(), Failure> {
        for phase in writes.phases {
            let mut left = phase.into_values().flat_map(pieces);
            let (mut again, mut under_way) = (Vec::new(), JoinSet::new());
            loop {
                while under_way.len() < self.pace.pieces()
                    && let Some(piece) = again.pop().or_else(|| left.next())
                {
                    under_way.spawn(self.clone().write_piece(piece));
                }
                match under_way.join_next().await.map(|done| done.expect("no statement panics")) {
                    Some(Ok(())) => {}
                    Some(Err((piece, _))) if piece.tries <= PAUSES.len() => again.push(piece),
                    Some(Err((_, failure))) => return Err(failure),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn write_piece(self: Arc<Self>, mut piece: Piece) -> Result<(), (Piece, Failure)> {
        if let Some(before) = piece.tries.checked_sub(1) {
            sleep(PAUSES[before]).await;
        }
        let mut batch = Statements::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        for (statement, _) in &piece.statements {
            batch.append_statement(self.prepared.get(*statement).clone());
        }
        let all: Vec<&Values> = piece.statements.iter().map(|(_, values)| values).collect();
        let begun = Instant::now();
        let done = self.session.batch(&batch, &all).await;
        self.pace.took(begun, Instant::now());
        piece.tries += 1;
        done.map(|_| ()).map_err(|error| (piece, error.into()))
    }
}

/// Bytes of values.
fn length(values: &[CqlValue]) -> usize {
    let lengths = values.iter().map(|value| match value {
        CqlValue::Blob(bytes) => bytes.len(),
        CqlValue::TinyInt(_) => 1,
        _ => 8,
    });
    lengths.sum()
}

/// One partition's statements, in pieces.
fn pieces(statements: Vec<(Statement, Values)>) -> Vec<Piece> {
    let new = || Piece { statements: Vec::new(), tries: 0 };
    let (mut pieces, mut bytes) = (vec![new()], 0);
    for (statement, values) in statements {
        let long = length(&values);
        let last = &pieces.last().expect("never empty").statements;
        if !last.is_empty() && (last.len() == STATEMENTS_MAX || bytes + long > BYTES_MAX) {
            pieces.push(new());
            bytes = 0;
        }
        bytes += long;
        pieces.last_mut().expect("never empty").statements.push((statement, values));
    }
    pieces
}
