//! A node's logs in the store: the state machines of `persistence::blocks` over statements.

use crate::error::Failure;
use crate::statements::Statement::*;
use crate::write::int;
use crate::{Connection, Scylla, Side};
use persistence::blocks::{
    BLOCKS_IN_FLIGHT, Block, BlockStore, Deposed, HeldNode, Lease, ListedLog, LogList, NodeNews,
    Owner, OwnerDone, OwnerOp, RENEW_US, Seal, TakeNode, TakenNode, Taker, TakerDone, TakerOp,
    TakerStep,
};
use persistence::{BackendError, IoDone, IoOp};
use scylla::response::PagingState;
use scylla::statement::Statement as Text;
use scylla::statement::batch::{Batch, BatchType};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// Blocks that one answer brings.
const PAGE: i32 = 64;
/// Timestamps: a block is always the same, and what was dropped stays so.
const WRITTEN: i64 = 1;
const DROPPED: i64 = 2;
/// A log that is gone stays so, however late its rows are written.
const GONE: i64 = 1 << 62;
/// A node gives a transaction up after 2 s; then another one is asked, while the lease holds.
const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(2_500);
/// After a failure the same is tried again this much later.
const RETRY: Duration = Duration::from_millis(100);
/// Who waits for the lease looks at it this often.
const LEASE_LOOK: Duration = Duration::from_millis(10);
/// What failed so often in a row is told of.
const SILENT: u32 = 3;
/// So often a taker tries before the start fails: about half a minute, or as many timeouts.
const TRIES: u32 = 10;

type Result<T> = std::result::Result<T, Failure>;

/// A node that this process holds.
struct Node {
    connection: Arc<Connection>,
    handle: Handle,
    seal: Seal,
    now_us: fn() -> u64,
    /// Until when the lease holds.
    lease_until_us: AtomicU64,
    /// Logs that go once nothing of them is needed.
    older: Mutex<Vec<ListedLog>>,
    deposed: OnceLock<()>,
    lease: OnceLock<AbortHandle>,
    /// The last block that was tried had no answer.
    silent: AtomicBool,
    tell: Box<dyn Fn(NodeNews) + Send + Sync>,
}

fn core_of(core: i32) -> Result<u16> {
    u16::try_from(core).map_err(|_| Failure::Row(format!("core {core} of a log")))
}

impl Connection {
    /// A transaction, or a read as one. It may happen twice, but is not asked of two nodes at once:
    /// each of the two stops the other one, and where a third node is dead and nobody knows yet, a
    /// stopped one waits for its whole timeout. So leases ended while a quorum was there.
    fn transaction(&self, text: &str) -> Text {
        let mut statement = Text::new(text);
        statement.set_is_idempotent(true);
        statement.set_request_timeout(Some(TRANSACTION_TIMEOUT));
        statement
    }

    /// The node's seal, as transactions see it.
    async fn seal(&self) -> Result<Option<Seal>> {
        let mut read =
            self.transaction("SELECT incarnation, taker, dir, beat FROM seals WHERE node = ?");
        read.set_consistency(self.serial_read);
        let result = self.session.query_unpaged(read, (&self.log,)).await?.into_rows_result()?;
        let row = result.maybe_first_row::<(i64, i64, i64, i64)>();
        let row = row.map_err(|error| Failure::Row(error.to_string()))?;
        Ok(row.map(|(incarnation, taker, dir, beat)| Seal {
            incarnation: incarnation as u64,
            taker: taker as u64,
            dir: dir as u64,
            beat: beat as u64,
        }))
    }

    /// A transaction; whether it happened is for a read of the seal to tell.
    async fn fence(&self, from: Option<Seal>, to: Seal) -> Result<()> {
        let Seal { incarnation, taker, dir, beat } = to;
        let to = [incarnation, taker, dir, beat].map(|value| value as i64);
        let text = match from {
            None => {
                "INSERT INTO seals (incarnation, taker, dir, beat, node) VALUES (?, ?, ?, ?, ?) \
                 IF NOT EXISTS"
            }
            Some(_) => {
                "UPDATE seals SET incarnation = ?, taker = ?, dir = ?, beat = ? WHERE node = ? \
                 IF incarnation = ? AND taker = ? AND beat = ?"
            }
        };
        let mut values: Vec<_> = to.map(scylla::value::CqlValue::BigInt).to_vec();
        values.push(scylla::value::CqlValue::Text(self.log.clone()));
        if let Some(from) = from {
            values.extend([int(from.incarnation), int(from.taker), int(from.beat)]);
        }
        self.session.query_unpaged(text, values).await?;
        Ok(())
    }

    /// Moves the beat of a lease, if this taker still has the node.
    async fn beat(&self, seal: Seal) -> Result<()> {
        let text = "UPDATE seals SET beat = ? WHERE node = ? IF incarnation = ? AND taker = ?";
        let text = self.transaction(text);
        let [beat, incarnation, taker] =
            [seal.beat, seal.incarnation, seal.taker].map(|value| value as i64);
        self.session.query_unpaged(text, (beat, &self.log, incarnation, taker)).await?;
        Ok(())
    }

    async fn list(&self) -> Result<LogList> {
        type Row = (Option<i64>, Option<i64>, Option<i32>, Option<i32>, Option<i32>);
        let mut list = LogList::default();
        for (oldest, generation, core, first, in_flight_max) in
            self.select::<Row>(GetLogs, (&self.log,)).await?
        {
            list.oldest = oldest.unwrap_or(0) as u64;
            // A static column alone is a row without a log.
            let (Some(generation), Some(core)) = (generation, core) else { continue };
            list.logs.push(ListedLog {
                generation: generation as u64,
                core: core_of(core)?,
                first: first.unwrap_or(0) as u32,
                in_flight_max: in_flight_max.unwrap_or(0) as u32,
            });
        }
        Ok(list)
    }

    async fn register(&self, generation: u64, cores: u16) -> Result<()> {
        // One partition: all of it or nothing.
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        let mut values = Vec::new();
        for core in 0..i32::from(cores) {
            for (statement, value) in [(PutFirst, 0), (PutInFlight, BLOCKS_IN_FLIGHT as i32)] {
                batch.append_statement(self.prepared.get(statement).clone());
                values.push((WRITTEN, value, self.log.clone(), generation as i64, core));
            }
        }
        self.session.batch(&batch, values).await?;
        Ok(())
    }

    async fn keep_from(&self, generation: u64, core: u16, segment: u32) -> Result<()> {
        let timestamp = WRITTEN + i64::from(segment);
        let (generation, core) = (generation as i64, i32::from(core));
        let values = (timestamp, segment as i32, &self.log, generation, core);
        self.session.execute_unpaged(self.prepared.get(PutFirst), values).await?;
        Ok(())
    }

    async fn write_block(&self, generation: u64, core: u16, block: &Block) -> Result<()> {
        let key = (generation as i64, i32::from(core), block.segment as i32, block.n as i64);
        let values = (
            WRITTEN,
            block.offset as i32,
            block.length as i32,
            &block.bytes[..],
            &self.log,
            key.0,
            key.1,
            key.2,
            key.3,
        );
        self.session.execute_unpaged(self.prepared.get(PutLogBlock), values).await?;
        Ok(())
    }

    async fn blocks(&self, generation: u64, core: u16, segment: u32) -> Result<Vec<Block>> {
        let mut statement = self.prepared.get(GetLogBlocks).clone();
        statement.set_page_size(PAGE);
        let key = (&self.log, generation as i64, i32::from(core), segment as i32);
        let (mut blocks, mut state) = (Vec::new(), PagingState::start());
        loop {
            let page = self.session.execute_single_page(&statement, key, state).await?;
            let result = page.0.into_rows_result()?;
            let rows = result.rows::<(i64, i32, i32, Vec<u8>)>();
            for row in rows.map_err(|error| Failure::Row(error.to_string()))? {
                let (n, place, length, bytes) = row.map_err(|e| Failure::Row(e.to_string()))?;
                let (n, offset, length) = (n as u64, place as u32, length as u32);
                blocks.push(Block { n, segment, offset, length, bytes: bytes.into() });
            }
            match page.1.into_paging_control_flow() {
                ControlFlow::Break(()) => return Ok(blocks),
                ControlFlow::Continue(next) => state = next,
            }
        }
    }

    async fn is_empty(&self, generation: u64, core: u16, segment: u32) -> Result<bool> {
        let key = (&self.log, generation as i64, i32::from(core), segment as i32);
        Ok(self.select::<(i64,)>(GetFirstLogBlock, key).await?.is_empty())
    }

    async fn drop_segment(&self, generation: u64, core: u16, segment: u32) -> Result<()> {
        let values = (DROPPED, &self.log, generation as i64, i32::from(core), segment as i32);
        self.session.execute_unpaged(self.prepared.get(DropSegment), values).await?;
        Ok(())
    }

    /// The incarnation that the seal names; a plain read.
    async fn incarnation(&self) -> Result<Option<u64>> {
        let rows: Vec<(i64,)> = self.select(GetSeal, (&self.log,)).await?;
        Ok(rows.first().map(|(incarnation,)| *incarnation as u64))
    }

    async fn taker_op(&self, op: &TakerOp) -> Result<TakerDone> {
        match op {
            TakerOp::ReadSeal => Ok(TakerDone::Seal(self.seal().await?)),
            TakerOp::List => Ok(TakerDone::List(self.list().await?)),
            TakerOp::Register { generation, cores } => {
                self.register(*generation, *cores).await.map(|()| TakerDone::Done)
            }
            TakerOp::Fence { from, to } => self.fence(*from, *to).await.map(|()| TakerDone::Done),
            TakerOp::Read { generation, core, segment } => {
                self.blocks(*generation, *core, *segment).await.map(TakerDone::Blocks)
            }
            TakerOp::Write { generation, core, block } => {
                self.write_block(*generation, *core, block).await.map(|()| TakerDone::Done)
            }
        }
    }

    async fn owner_op(&self, generation: u64, core: u16, op: &OwnerOp) -> Result<OwnerDone> {
        match op {
            OwnerOp::Write(block) => {
                self.write_block(generation, core, block).await?;
                Ok(OwnerDone::Written { n: block.n })
            }
            OwnerOp::ReadSeal => Ok(OwnerDone::Seal(self.incarnation().await?)),
            OwnerOp::KeepFrom { segment } => {
                self.keep_from(generation, core, *segment).await?;
                Ok(OwnerDone::Kept { segment: *segment })
            }
            OwnerOp::Drop { segment } => {
                self.drop_segment(generation, core, *segment).await?;
                Ok(OwnerDone::Dropped { segment: *segment })
            }
        }
    }
}

impl BlockStore for Scylla {
    fn take_node(
        &self,
        node: TakeNode,
        wait: &mut dyn FnMut(Duration) -> bool,
        tell: Box<dyn Fn(NodeNews) + Send + Sync>,
    ) -> std::result::Result<Option<TakenNode>, BackendError> {
        let TakeNode { cores, dir, taker, now_us } = node;
        let mut taker = Taker::new(taker, dir, cores);
        let mut unknown = 0;
        let taken = loop {
            let op = match taker.step(now_us()) {
                TakerStep::Taken(taken) => break taken,
                TakerStep::Ask(op) => op,
                TakerStep::Wait { until_us } => {
                    let length = Duration::from_micros(until_us.saturating_sub(now_us()));
                    if !wait(length) {
                        return Ok(None);
                    }
                    continue;
                }
            };
            let fences = matches!(op, TakerOp::Fence { .. });
            let done = self.run(|connection| async move {
                let mut failures = 0;
                loop {
                    match connection.taker_op(&op).await {
                        Err(Failure::Unanswered(_)) if !fences && failures < TRIES => failures += 1,
                        answer => return Ok(answer),
                    }
                    sleep(RETRY).await;
                }
            })?;
            // Whatever came back, the read that follows tells whether it happened.
            let done = match done {
                Err(_) if fences && unknown < TRIES => TakerDone::Done,
                done => done?,
            };
            unknown += u32::from(fences);
            taker.complete(done, now_us());
        };
        let listed = taken.logs.iter().map(|log| log.listed);
        let held = Arc::new(Node {
            connection: self.connection.clone(),
            handle: self.side.handle.clone(),
            seal: taken.seal,
            now_us,
            lease_until_us: AtomicU64::new(0),
            older: Mutex::new(taken.garbage.iter().copied().chain(listed).collect()),
            deposed: OnceLock::new(),
            lease: OnceLock::new(),
            silent: AtomicBool::new(false),
            tell,
        });
        let lease = self.side.handle.spawn(held.clone().keep_lease()).abort_handle();
        held.lease.set(lease).expect("set once");
        Ok(Some((Arc::new(Held(held, self.side.clone())), taken)))
    }
}

impl Node {
    fn depose(&self, deposed: Deposed) {
        if self.deposed.set(()).is_ok() {
            (self.tell)(NodeNews::Deposed(deposed));
        }
    }

    /// Renews the lease for as long as the process lives.
    async fn keep_lease(self: Arc<Self>) {
        let mut lease = Lease::new(self.seal, (self.now_us)());
        loop {
            let sent_us = (self.now_us)();
            // Whatever came back, the read tells what holds; without an answer the lease ends, and
            // writes of the log wait.
            let _ = self.connection.beat(lease.renewal()).await;
            if let Ok(found) = self.connection.seal().await {
                if let Err(deposed) = lease.renewed(sent_us, found) {
                    return self.depose(deposed);
                }
                self.lease_until_us.store(lease.until_us(), Relaxed);
            }
            let spent_us = (self.now_us)().saturating_sub(sent_us);
            sleep(Duration::from_micros(RENEW_US.saturating_sub(spent_us)).max(RETRY)).await;
        }
    }

    /// Tries until it is done.
    async fn persist(self: Arc<Self>, core: u16, op: OwnerOp) -> OwnerDone {
        // Without a lease the answer would not count, and the next read would follow at once.
        while op == OwnerOp::ReadSeal && (self.now_us)() >= self.lease_until_us.load(Relaxed) {
            sleep(LEASE_LOOK).await;
        }
        let mut failures = 0;
        loop {
            let failure = match self.connection.owner_op(self.seal.incarnation, core, &op).await {
                Err(failure) => failure,
                Ok(done) => {
                    if self.silent.swap(false, Relaxed) {
                        (self.tell)(NodeNews::Answers);
                    }
                    return done;
                }
            };
            failures += 1;
            if failures == SILENT && !self.silent.swap(true, Relaxed) {
                (self.tell)(NodeNews::Silent(failure.into()));
            }
            sleep(RETRY).await;
        }
    }

    /// Serves the log of one core until the core is gone, or the node is somebody else's.
    async fn serve(
        self: Arc<Self>,
        core: u16,
        mut ops: UnboundedReceiver<IoOp>,
        tell: Box<dyn Fn(IoDone) + Send>,
    ) {
        let mut owner = Owner::new(self.seal.incarnation);
        let mut under_way = JoinSet::new();
        loop {
            while let Some(op) = owner.poll() {
                under_way.spawn(self.clone().persist(core, op));
            }
            while let Some(done) = owner.poll_done() {
                tell(done);
            }
            tokio::select! {
                op = ops.recv() => match op {
                    Some(op) => owner.take(op),
                    None => return,
                },
                Some(done) = under_way.join_next() => {
                    let done = done.expect("no statement panics");
                    let until_us = self.lease_until_us.load(Relaxed);
                    if let Err(deposed) = owner.complete(done, (self.now_us)(), until_us) {
                        return self.depose(deposed);
                    }
                }
            }
        }
    }

    /// First the list says that older logs are not needed; then they go, highest segment first, so
    /// that a start which finds some of them finds all that are left.
    async fn remove(&self, older: &[ListedLog]) -> Result<()> {
        let (connection, oldest) = (&self.connection, self.seal.incarnation as i64);
        let values = (oldest, oldest, &connection.log);
        connection.session.execute_unpaged(connection.prepared.get(PutOldest), values).await?;
        for &ListedLog { generation, core, first, .. } in older {
            let mut end = first;
            while !connection.is_empty(generation, core, end).await? {
                end += 1;
            }
            for segment in (first..end).rev() {
                connection.drop_segment(generation, core, segment).await?;
            }
            let values = (GONE, &connection.log, generation as i64, i32::from(core));
            connection.session.execute_unpaged(connection.prepared.get(Unlist), values).await?;
        }
        Ok(())
    }
}

/// A node as the server holds it.
struct Held(Arc<Node>, #[expect(dead_code, reason = "its thread serves the logs")] Arc<Side>);

impl HeldNode for Held {
    fn device(&self, core: u16, tell: Box<dyn Fn(IoDone) + Send>) -> Box<dyn FnMut(IoOp) + Send> {
        let (send, ops) = unbounded_channel();
        self.0.handle.spawn(self.0.clone().serve(core, ops, tell));
        // Where the node is somebody else's, nobody listens, and nothing completes.
        Box::new(move |op| drop(send.send(op)))
    }

    fn remove_older(&self) {
        let older =
            std::mem::take(&mut *self.0.older.lock().unwrap_or_else(PoisonError::into_inner));
        let node = self.0.clone();
        self.0.handle.spawn(async move {
            while node.remove(&older).await.is_err() {
                sleep(RETRY).await;
            }
        });
    }

    fn give_back(&self) {
        self.0.lease.get().expect("was set").abort();
        let (node, (answer, answered)) = (self.0.clone(), std::sync::mpsc::channel());
        self.0.handle.spawn(async move {
            let _ = node.connection.beat(Seal { beat: 0, ..node.seal }).await;
            let _ = answer.send(());
        });
        // Without an answer the next process waits for the lease.
        let _ = answered.recv_timeout(Duration::from_secs(2));
    }
}
