//! The backend as cores meet it: slow, out of order, failing, unknown outcomes, late answers.
//! What it acknowledged is there for ever.

use crate::seed::Rng;
use persistence::{BackendError, Batch, Load, MemoryStore, Page, Scan};
use shards::{Answer, Ask, AskId, CoreIndex, Reply};
use std::sync::Arc;

/// The latest that an answer comes: long after anybody has given it up, in microseconds.
const LATE_MAX_US: u64 = 6_000_000;

/// The store and what is under way to it and from it.
#[derive(Debug)]
pub struct Backend {
    rng: Rng,
    store: MemoryStore,
    pending: Vec<Pending>,
    outage: bool,
    slow: bool,
}

#[derive(Debug)]
struct Pending {
    at: u64,
    core: CoreIndex,
    id: AskId,
    work: Work,
}

/// What is left to do when the answer leaves.
#[derive(Debug)]
enum Work {
    Write(Arc<Batch>),
    Load(Load),
    Scan(Scan),
    Page(Page),
    /// Nothing: it was read when it was asked.
    Answer(Result<Reply, BackendError>),
}

impl Backend {
    /// An empty store.
    pub fn new(rng: Rng) -> Backend {
        let store = MemoryStore::default();
        Backend { rng, store, pending: Vec::new(), outage: false, slow: false }
    }

    /// Everything fails, until told otherwise; a failed write may have been applied.
    pub fn set_outage(&mut self, outage: bool) {
        self.outage = outage;
    }

    /// Answers take up to a second.
    pub fn set_slow(&mut self, slow: bool) {
        self.slow = slow;
    }

    /// Takes a request.
    pub fn ask(&mut self, now: u64, core: CoreIndex, id: AskId, ask: Ask) {
        let at = now + self.delay();
        if self.fails() {
            return self.fail(now, at, core, id, &ask);
        }
        let work = match ask {
            Ask::Write(batch) => Work::Write(batch),
            // Read now and answered later, or read when it is answered.
            Ask::Load(load) if self.rng.chance(500) => Work::Answer(Ok(self.load(&load))),
            Ask::Load(load) => Work::Load(load),
            Ask::Scan(scan) if self.rng.chance(500) => Work::Answer(Ok(self.scan(&scan))),
            Ask::Scan(scan) => Work::Scan(scan),
            Ask::Page(page) if self.rng.chance(500) => Work::Answer(Ok(self.page(&page))),
            Ask::Page(page) => Work::Page(page),
        };
        self.pending.push(Pending { at, core, id, work });
    }

    fn delay(&mut self) -> u64 {
        let high = match (self.slow, self.rng.chance(30)) {
            (false, false) => 500,
            (false, true) | (true, false) => 20_000,
            (true, true) => 1_000_000,
        };
        self.rng.scaled(20, high)
    }

    fn fails(&mut self) -> bool {
        let per_mille = if self.outage { 950 } else { 5 };
        self.rng.chance(per_mille)
    }

    /// An error, or silence for longer than anybody waits. A failed write is not undone: any part
    /// of its batch may be there.
    fn fail(&mut self, now: u64, mut at: u64, core: CoreIndex, id: AskId, ask: &Ask) {
        let mut reply = Err(BackendError::Unavailable("no answer in time".into()));
        let late = self.rng.chance(500);
        match ask {
            Ask::Write(batch) => {
                let kept = *self.rng.pick(&[0, 500, 1_000]);
                self.store.write(batch, || self.rng.chance(kept));
            }
            Ask::Load(load) if late => reply = Ok(self.load(load)),
            Ask::Scan(scan) if late => reply = Ok(self.scan(scan)),
            Ask::Page(page) if late => reply = Ok(self.page(page)),
            Ask::Load(_) | Ask::Scan(_) | Ask::Page(_) => {}
        }
        if late {
            at = now + self.rng.scaled(10_000, LATE_MAX_US);
        }
        self.pending.push(Pending { at, core, id, work: Work::Answer(reply) });
    }

    fn load(&self, load: &Load) -> Reply {
        Reply::Loaded(self.store.load(load))
    }

    fn scan(&mut self, scan: &Scan) -> Reply {
        let entries_max = self.rng.between(1, scan.entries_max.max(1) as u64) as u32;
        Reply::Scanned(self.store.scan(scan, entries_max))
    }

    fn page(&self, page: &Page) -> Reply {
        Reply::Paged(self.store.page(page))
    }

    /// When this core has an answer next.
    pub fn next_at(&self, core: CoreIndex) -> Option<u64> {
        self.pending.iter().filter(|pending| pending.core == core).map(|pending| pending.at).min()
    }

    /// The core's next answer that is due.
    pub fn answer(&mut self, now: u64, core: CoreIndex) -> Option<Answer> {
        let due = self.pending.iter().enumerate();
        let due = due.filter(|(_, pending)| pending.core == core && pending.at <= now);
        let (index, _) = due.min_by_key(|(index, pending)| (pending.at, *index))?;
        let Pending { id, work, .. } = self.pending.remove(index);
        let reply = match work {
            Work::Answer(reply) => reply,
            Work::Load(load) => Ok(self.load(&load)),
            Work::Scan(scan) => Ok(self.scan(&scan)),
            Work::Page(page) => Ok(self.page(&page)),
            Work::Write(batch) => {
                self.store.write(&batch, || true);
                Ok(Reply::Written)
            }
        };
        Some(Answer { id, reply })
    }

    /// The process dies: a batch under way is there, in part, or not at all.
    pub fn crash(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            if let Work::Write(batch) = pending.work {
                let kept = *self.rng.pick(&[0, 500, 1_000]);
                self.store.write(&batch, || self.rng.chance(kept));
            }
        }
    }
}
