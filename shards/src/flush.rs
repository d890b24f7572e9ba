//! From the log to the backend: durable records become batches, acks become checkpoints, and the
//! log lets go of what is two checkpoints old.

use crate::shard::Shard;
use crate::{Ask, AskId, Effect};
use persistence::{BLOCK_BYTES, Batch, Log, Position, Record};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::planted::{Bug, active};

/// Records that one turn turns into rows: some 100 µs.
const RECORDS_PER_TURN: usize = 256;
/// A batch gathers no longer than this while older generations are held.
const OLDER_FLUSH_US: u64 = 50_000;
/// A batch that failed is written again after this long.
const RETRY_US: u64 = 200_000;
/// Checkpoints that the log keeps behind the newest: a store that lied about its last batches is
/// repaired when the next start flushes them again.
const CHECKPOINTS_KEPT: usize = 2;

/// A core that stops waits no longer than this for the backend, and for other cores to take what
/// it owes them. What is left is done by the next start.
pub(crate) const STOP_US: u64 = 2_000_000;

/// Where flushing stands.
pub(crate) struct Flush {
    /// Gathers rows.
    batch: Batch,
    batch_records: u32,
    /// The next one: the room of the last one's lists.
    spare: Batch,
    /// When its first record came.
    since_us: u64,
    /// The next record to turn into rows.
    next: Position,
    /// With the backend, or waiting to be written again.
    in_flight: Option<InFlight>,
    /// Everything before is in the backend.
    flushed: Position,
    flushed_records: u64,
    appended_records: u64,
    checkpoints: VecDeque<Position>,
    /// When a core that stops waits no more; 0: it does not stop.
    pub stop_us: u64,
}

struct InFlight {
    batch: Arc<Batch>,
    records: u32,
    /// When its first record came.
    since_us: u64,
    /// `None`: failed; asked again at `retry_us`.
    id: Option<AskId>,
    retry_us: u64,
}

impl Flush {
    /// Everything in the log, recovered records first, is to be flushed.
    pub fn new(start: Position, recovered_records: u64) -> Flush {
        Flush {
            batch: Batch::default(),
            batch_records: 0,
            spare: Batch::default(),
            since_us: 0,
            next: start,
            in_flight: None,
            flushed: start,
            flushed_records: 0,
            appended_records: recovered_records,
            checkpoints: VecDeque::new(),
            stop_us: 0,
        }
    }

    pub fn flushed(&self) -> Position {
        self.flushed
    }

    /// Records appended and not in the backend.
    pub fn unflushed_records(&self) -> u32 {
        u32::try_from(self.appended_records - self.flushed_records).unwrap_or(u32::MAX)
    }

    /// When the oldest record came that is not in the backend; `None`: all are there.
    pub fn oldest_us(&self) -> Option<u64> {
        let gathering = (self.batch_records > 0).then_some(self.since_us);
        self.in_flight.as_ref().map(|in_flight| in_flight.since_us).or(gathering)
    }

    pub fn is_answer(&self, id: AskId) -> bool {
        self.in_flight.as_ref().is_some_and(|f| f.id == Some(id))
    }

    /// When there is something to do, beside what events bring.
    pub fn deadline_us(&self, flush_us: u64) -> Option<u64> {
        let stop_us = (self.stop_us != 0).then_some(self.stop_us);
        self.batch_deadline_us(flush_us).into_iter().chain(stop_us).min()
    }

    fn batch_deadline_us(&self, flush_us: u64) -> Option<u64> {
        match &self.in_flight {
            Some(InFlight { id: None, retry_us, .. }) => Some(*retry_us),
            Some(_) => None,
            None => (self.batch_records > 0).then_some(self.since_us + flush_us),
        }
    }
}

/// The next durable record, and the position behind it. What was recovered becomes rows once the
/// log's header says how far the older logs count: until then another opening may cut them shorter.
fn next_row(log: &Log, from: Position) -> Option<(Record<'_>, Position)> {
    let next = log.next(from).filter(|_| log.durable() > log.base());
    next.map(|(_, record, end)| (record, end))
}

impl Shard {
    /// Appends a record to the log.
    pub(crate) fn append_record(&mut self, record: &Record<'_>) -> Position {
        self.flush.appended_records += 1;
        let at = self.log.append(record);
        let bytes = self.log.end().0 - at.0;
        match record {
            Record::Message(m) => {
                let users = m.conv.participants().into_iter();
                users.zip(m.inbox).for_each(|(user, seq)| self.entry_logged(user, seq));
            }
            Record::Inbox(i) => self.entry_logged(i.user, i.inbox_seq),
            Record::Command(c) => self.entry_logged(c.user, c.inbox_seq),
            Record::Read { user, inbox_seq, .. } | Record::Receipt { user, inbox_seq, .. } => {
                self.entry_logged(*user, *inbox_seq);
            }
            _ => {}
        }
        match record {
            Record::Message(_) | Record::Inbox(_) => self.stats.message_bytes += bytes,
            _ => self.stats.cursor_bytes += bytes,
        }
        at
    }

    /// Turns some durable records into rows, and writes the batch when it is due.
    pub(crate) fn flush_step(&mut self) {
        let limits = &self.config.limits;
        let (batch_bytes, flush_us) = (limits.batch_bytes as usize, self.flush_us());
        let crowded = self.log_is_crowded();
        let (log, flush, place) = (&self.log, &mut self.flush, self.place);
        for _ in 0..RECORDS_PER_TURN {
            if flush.batch.bytes() >= batch_bytes {
                break;
            }
            let Some((record, end)) = next_row(log, flush.next) else { break };
            if flush.batch_records == 0 {
                flush.since_us = self.now.mono_us;
            }
            flush.batch.add(&record, |user| place.is_home(user));
            flush.batch_records += 1;
            flush.next = end;
        }
        match &flush.in_flight {
            Some(InFlight { id: None, retry_us, .. }) if *retry_us <= self.now.mono_us => {
                self.write_batch();
            }
            Some(_) => {}
            None => {
                let late = flush.since_us + flush_us <= self.now.mono_us;
                // An empty one only makes a checkpoint, which needs a segment with room.
                let due = late || (crowded && !flush.batch.is_empty()) || self.stopping;
                if flush.batch_records > 0 && (due || flush.batch.bytes() >= batch_bytes) {
                    self.seal_batch();
                }
            }
        }
    }

    /// A stop leaves nothing for the next start to flush or to send, or has waited long enough.
    pub(crate) fn flushed_to_stop(&self) -> bool {
        let nothing_owed = self.owed.is_empty() && self.recovered.all_owed_known();
        let flushed = self.flush.in_flight.is_none()
            && self.flush.batch_records == 0
            && next_row(&self.log, self.flush.next).is_none();
        (nothing_owed && flushed) || self.now.mono_us >= self.flush.stop_us
    }

    /// Little room is left in the log: nothing gathers any longer.
    fn log_is_crowded(&self) -> bool {
        2 * self.log.tail_bytes() > self.config.limits.tail_bytes_max
    }

    /// Recovered records are not retired: the older generations are still on the disk, and the
    /// next start would read them again.
    fn holds_older(&self) -> bool {
        self.log.start_of_tail() < self.log.base()
    }

    /// How long a batch gathers, in microseconds: shorter while older generations are held.
    pub(crate) fn flush_us(&self) -> u64 {
        let flush_us = self.config.limits.flush_ms * 1_000;
        if self.holds_older() { flush_us.min(OLDER_FLUSH_US) } else { flush_us }
    }

    /// More durable records wait than one turn takes.
    pub(crate) fn flush_behind(&self) -> bool {
        self.flush.batch.bytes() < self.config.limits.batch_bytes as usize
            && next_row(&self.log, self.flush.next).is_some()
    }

    fn seal_batch(&mut self) {
        let spare = std::mem::take(&mut self.flush.spare);
        let mut batch = std::mem::replace(&mut self.flush.batch, spare);
        let records = std::mem::take(&mut self.flush.batch_records);
        (batch.core, batch.upto) = (self.place.me, self.flush.next);
        if batch.is_empty() && !self.log_is_crowded() && !self.holds_older() {
            // Only checkpoints: nothing for the backend, and no checkpoint about it either. In a
            // crowded log, or while older generations are held, even an empty batch is written:
            // each ack is a checkpoint more, and lets the log go of an older one.
            self.flush.flushed = batch.upto;
            self.flush.flushed_records += u64::from(records);
            return self.let_go();
        }
        let (batch, since_us) = (Arc::new(batch), self.flush.since_us);
        self.flush.in_flight = Some(InFlight { batch, records, since_us, id: None, retry_us: 0 });
        self.write_batch();
    }

    fn write_batch(&mut self) {
        let id = self.asks.next_id();
        let in_flight = self.flush.in_flight.as_mut().expect("called with a batch");
        in_flight.id = Some(id);
        self.effects.push_back(Effect::Ask { id, ask: Ask::Write(in_flight.batch.clone()) });
    }

    /// The backend has the batch, or could not take it.
    pub(crate) fn flushed(&mut self, ok: bool) {
        let in_flight = self.flush.in_flight.as_mut().expect("its answer came");
        if !ok {
            in_flight.id = None;
            in_flight.retry_us = self.now.mono_us + RETRY_US;
            self.stats.batches_failed += 1;
            return;
        }
        let in_flight = self.flush.in_flight.take().expect("as above");
        self.flush.flushed = in_flight.batch.upto;
        self.flush.flushed_records += u64::from(in_flight.records);
        self.stats.batches += 1;
        self.flush.spare =
            Arc::into_inner(in_flight.batch).map_or_else(Batch::default, Batch::emptied);
        self.let_go();
        let confirmed = self.confirmed_until();
        if self.log.room_bytes() > self.reserve(4) {
            let flushed = self.flush.flushed.0;
            self.append_record(&Record::Checkpoint { flushed, confirmed: confirmed.0 });
        }
        self.flush.checkpoints.push_back(self.flush.flushed.min(confirmed));
        if self.flush.checkpoints.len() > CHECKPOINTS_KEPT {
            let before = self.flush.checkpoints.pop_front().expect("just counted");
            // The index of recovered records points into them until all are in the backend.
            if self.recovered.is_empty() {
                self.log.retire(before);
            }
        }
    }

    /// Room in blocks that others need more; always less than what is left of a segment when the
    /// log asks for the next one, or nothing would move any more.
    pub(crate) fn reserve(&self, blocks: u64) -> u64 {
        (blocks * BLOCK_BYTES as u64).min(u64::from(self.config.limits.segment_bytes) / 4)
    }

    /// Every fan-out that a record before this owes is confirmed.
    fn confirmed_until(&self) -> Position {
        if active(Bug::RetiredUnconfirmed) {
            return self.log.durable();
        }
        self.owed.first().copied().unwrap_or(self.log.durable())
    }

    /// Once every recovered record is in the backend, and every fan-out that they owe is known,
    /// loads need them no more.
    fn let_go(&mut self) {
        if self.flush.flushed >= self.log.base() && self.recovered.all_owed_known() {
            self.recovered.clear(self.asks.next_id());
        }
    }

    /// Logs the cursors that moved.
    pub(crate) fn log_cursors(&mut self) {
        let due_us = self.cursors_due_us.max(self.marks.due_us().unwrap_or(0));
        if self.now.mono_us < due_us || self.marks.due_us().is_some() || self.cursors.is_empty() {
            return;
        }
        self.cursors_due_us = self.now.mono_us + self.config.limits.cursor_ms * 1_000;
        for (id, device_id) in std::mem::take(&mut self.cursors) {
            if self.log.room_bytes() < self.reserve(8) || self.users.ready(id).marks > 0 {
                // No room: the device says its number again when it comes back. Or the marks that
                // the ACKs moved are not in the log: the cursor must not go before them.
                self.cursors.push((id, device_id));
                continue;
            }
            // Logged meanwhile with a new attach, and perhaps evicted.
            let device = self.users.get_mut(id).and_then(|user| user.device_mut(device_id));
            let Some(device) = device.filter(|device| device.acked != device.logged) else {
                continue;
            };
            let told = device.session.and_then(|conn| self.told(conn));
            let device = self.users.ready(id).device_mut(device_id).expect("just seen");
            let acked = told.map_or(device.acked, |told| told.clamp(device.logged, device.acked));
            if acked != device.acked {
                self.cursors.push((id, device_id));
            }
            if acked == device.logged {
                continue;
            }
            device.logged = acked;
            let record = Record::Cursor { user: id, device: device_id, acked };
            self.append_record(&record);
            let end = self.log.end();
            self.users.ready(id).dirty_until = end;
            self.trim_passed(id);
        }
    }
}
