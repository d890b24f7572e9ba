//! A core's way to the backend: some threads write for all cores, some read, so that a load does
//! not wait behind a batch. Nothing is retried here: an error is an answer, and the core asks
//! again.

use crossbeam::channel::{Receiver, Sender, bounded};
use persistence::{Backend, BackendError};
use ring::Doorbell;
use shards::{Answer, Ask, AskId, CoreIndex, Limits, Reply};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

/// What a reader yields to a core that wants its processor: it takes about a tenth of it, so that a
/// device which reads its backlog does not slow down those that write to each other.
const READER_NICE: i32 = 10;
/// What a writer yields: it takes about a quarter. A batch that was full before it was due is
/// written by a thread that yields nothing: a log that the store does not follow fills up, and
/// sends are refused.
const WRITER_NICE: i32 = 5;

struct Request {
    core: CoreIndex,
    id: AskId,
    ask: Ask,
}

/// One core's end.
#[derive(Debug)]
pub struct BackendPort {
    core: CoreIndex,
    /// Batches of so many bytes are full.
    batch_bytes: usize,
    writes: Sender<Request>,
    full_writes: Sender<Request>,
    reads: Sender<Request>,
    answers: Receiver<Answer>,
}

impl BackendPort {
    /// Asks; the answer comes later. There is always room: a core counts its requests.
    pub fn ask(&self, id: AskId, ask: Ask) {
        let lane = match &ask {
            Ask::Write(batch) if batch.bytes() >= self.batch_bytes => &self.full_writes,
            Ask::Write(_) => &self.writes,
            Ask::Load(_) | Ask::Scan(_) | Ask::Page(_) => &self.reads,
        };
        let request = Request { core: self.core, id, ask };
        assert!(lane.try_send(request).is_ok(), "a core asks more than Limits::asks_max");
    }

    /// The next answer, if there is one.
    pub fn poll(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// The threads. They end when every port is gone.
pub type Threads = Vec<thread::JoinHandle<()>>;

/// Starts the threads. Each core has at most `asks_max` reads and one write under way; an answer
/// rings its doorbell. `readers` and `writers`: threads of each kind, the latter twice.
pub fn start(
    backend: Arc<dyn Backend>,
    doorbells: Vec<Arc<Doorbell>>,
    limits: &Limits,
    (readers, writers): (usize, usize),
) -> io::Result<(Vec<BackendPort>, Threads)> {
    let cores = doorbells.len();
    let (asks_max, batch_bytes) = (limits.asks_max as usize, limits.batch_bytes as usize);
    let (writes, to_write) = bounded(cores);
    let (full_writes, to_write_full) = bounded(cores);
    let (reads, to_read) = bounded(cores * asks_max);
    let mut ports = Vec::new();
    let mut lines = Vec::new();
    for (core, doorbell) in doorbells.into_iter().enumerate() {
        let (answer, answers) = bounded(asks_max + 1);
        let (writes, full_writes) = (writes.clone(), full_writes.clone());
        let (core, reads) = (core as CoreIndex, reads.clone());
        ports.push(BackendPort { core, batch_bytes, writes, full_writes, reads, answers });
        lines.push((answer, doorbell));
    }
    let mut threads = Vec::new();
    for (name, count, requests, nice) in [
        ("store-write", writers, to_write, WRITER_NICE),
        ("store-write-all", writers, to_write_full, 0),
        ("store-read", readers, to_read, READER_NICE),
    ] {
        let failing = Arc::new(AtomicBool::new(false));
        for _ in 0..count {
            let (requests, backend) = (requests.clone(), backend.clone());
            let (lines, failing) = (lines.clone(), failing.clone());
            let serve = move || {
                // Where this is refused, it takes as much time from a core as it wants.
                let _ = rustix::process::nice(nice);
                serve(requests, backend, lines, &failing);
            };
            threads.push(thread::Builder::new().name(name.to_owned()).spawn(serve)?);
        }
    }
    Ok((ports, threads))
}

fn serve(
    requests: Receiver<Request>,
    backend: Arc<dyn Backend>,
    lines: Vec<(Sender<Answer>, Arc<Doorbell>)>,
    failing: &AtomicBool,
) {
    for Request { core, id, ask } in requests {
        let reply = match &ask {
            Ask::Write(batch) => backend.write(batch).map(|()| Reply::Written),
            Ask::Load(load) => backend.load(load).map(Reply::Loaded),
            Ask::Scan(scan) => backend.scan(scan).map(Reply::Scanned),
            Ask::Page(page) => backend.page(page).map(Reply::Paged),
        };
        // The core asks again and again: the first failure of a row tells all.
        if let Err(error) = &reply
            && !failing.swap(true, Relaxed)
        {
            tell(error);
        }
        if reply.is_ok() {
            failing.store(false, Relaxed);
        }
        // A batch goes back to its core, which uses its memory again.
        drop(ask);
        let (answers, doorbell) = &lines[core as usize];
        // A core that stopped does not listen any more.
        if answers.send(Answer { id, reply }).is_ok() {
            doorbell.ring();
        }
    }
}

fn tell(error: &BackendError) {
    eprintln!("ringmail: {error}; the log keeps what is acked, and refuses once it is full");
}
