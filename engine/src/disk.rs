//! The log's device: files on the local disk, written past the page cache through a ring of their
//! own. In the socket ring a write's completion would queue behind thousands of others.

use crate::segments::Segments;
use crossbeam::channel::{Receiver, Sender, unbounded};
use persistence::{IoDone, IoOp};
use ring::{Completion, Doorbell, Given, Ring, RingConfig, RingMode, Token, Wait, sys};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{io, process, thread};

/// Writes of a busy log are told to be done no faster than this. A fast disk takes 10,000 small
/// ones a second, each for a few messages only: fewer and larger ones cost less of the processor
/// and of the disk, and still end long before anybody notices.
pub(crate) const PACE_US: u64 = 500;

/// What the device is made of.
#[derive(Clone, Debug)]
pub(crate) struct DiskConfig {
    /// The directory of this core's log; it exists.
    pub(crate) dir: PathBuf,
    /// Size of each segment, in bytes; a multiple of 4096.
    pub(crate) segment_bytes: u32,
    /// Counts the cores that need nothing of the older generations any more.
    pub(crate) cores_beyond_older: Arc<AtomicU16>,
}

/// The second ring of a core.
pub(crate) fn ring_config() -> RingConfig {
    RingConfig {
        entries: 64,
        completions: 128,
        files: 0,
        buffers: None,
        mode: RingMode::Cooperative,
    }
}

/// What blocks: done on a thread beside the core.
enum Job {
    Prepare(u32),
    Retire(u32, File),
}

/// A write in flight.
struct Write {
    id: u64,
    segment: u32,
    offset: u32,
}

/// The log's device of one core.
pub(crate) struct Disk {
    ring: Ring,
    files: HashMap<u32, File>,
    /// By index in the write's token.
    writes: Vec<Option<Write>>,
    /// Prepared segments that were not yet told to the log.
    prepared: Receiver<(u32, Option<File>)>,
    jobs: Sender<Job>,
    done: VecDeque<IoDone>,
    /// When the last of what was done was told.
    told_us: u64,
    cores_beyond_older: Arc<AtomicU16>,
}

impl Disk {
    /// Completions ring the doorbell.
    pub(crate) fn new(config: DiskConfig, bell: Arc<Doorbell>) -> io::Result<Disk> {
        let ring = Ring::new(&ring_config())?;
        let (jobs, work) = unbounded();
        let (tell, prepared) = unbounded();
        let segments = Segments::new(config.dir, config.segment_bytes);
        thread::Builder::new()
            .name("log-segments".to_owned())
            .spawn(move || serve(segments, &work, &tell, &bell))?;
        Ok(Disk {
            ring,
            files: HashMap::new(),
            writes: Vec::new(),
            prepared,
            jobs,
            done: VecDeque::new(),
            told_us: 0,
            cores_beyond_older: config.cores_beyond_older,
        })
    }

    /// Takes an operation. A write leaves at once: the sends that rest on the last one can wait.
    pub(crate) fn take(&mut self, op: IoOp) {
        match op {
            IoOp::Prepare { segment } => self.job(Job::Prepare(segment)),
            IoOp::Write { id, segment, offset, bytes } => {
                assert!(
                    bytes.as_ptr().addr().is_multiple_of(persistence::BLOCK_BYTES)
                        && bytes.len().is_multiple_of(persistence::BLOCK_BYTES)
                        && (offset as usize).is_multiple_of(persistence::BLOCK_BYTES),
                    "log writes are aligned"
                );
                self.write(Write { id, segment, offset }, bytes);
            }
            IoOp::Retire { segment } => {
                let file = self.files.remove(&segment).expect("only a prepared segment retires");
                self.job(Job::Retire(segment, file));
            }
            IoOp::RetireOlder => {
                self.cores_beyond_older.fetch_add(1, Ordering::Release);
            }
        }
    }

    fn job(&self, job: Job) {
        assert!(self.jobs.send(job).is_ok(), "the segments' thread lives as long as its core");
    }

    fn write(&mut self, write: Write, bytes: bytes::Bytes) {
        let index = self.writes.iter().position(Option::is_none).unwrap_or_else(|| {
            self.writes.push(None);
            self.writes.len() - 1
        });
        let file = self.files.get(&write.segment).expect("writes go to prepared segments");
        self.ring.write_at(Token::new(0, index as u32, 0), file, write.offset.into(), bytes);
        self.ring.enter(Wait::No);
        self.writes[index] = Some(write);
    }

    /// The next completion.
    pub(crate) fn poll(&mut self) -> Option<IoDone> {
        if self.ring.work_is_deferred() {
            self.ring.enter(Wait::No);
        }
        while let Some(completion) = self.ring.reap() {
            self.complete(completion);
        }
        if let Ok((segment, file)) = self.prepared.try_recv() {
            self.done.push_back(match file {
                Some(file) => {
                    self.files.insert(segment, file);
                    IoDone::Prepared { segment }
                }
                None => IoDone::Full { segment },
            });
        }
        if self.done.is_empty() || self.held_us() > 0 {
            return None;
        }
        let done = self.done.pop_front();
        if self.done.is_empty() {
            self.told_us = sys::boot_time_us();
        }
        done
    }

    /// For how long completions must still wait.
    fn held_us(&self) -> u64 {
        (self.told_us + PACE_US).saturating_sub(sys::boot_time_us())
    }

    fn complete(&mut self, completion: Completion) {
        let write = self.writes[completion.token.index as usize].take().expect("is in flight");
        let Given::Bytes(bytes) = completion.given else { unreachable!("a write owns its bytes") };
        match completion.result {
            Ok(written) if written as usize == bytes.len() => {
                self.done.push_back(IoDone::Written { id: write.id });
            }
            Ok(written) if written > 0 => {
                let offset = write.offset + written;
                self.write(Write { offset, ..write }, bytes.slice(written as usize..));
            }
            Ok(_) => die("writing the log", &io::ErrorKind::WriteZero.into()),
            Err(error) => die("writing the log", &error),
        }
    }

    /// Whether a write is in flight, or done and not yet told.
    pub(crate) fn is_writing(&self) -> bool {
        !self.done.is_empty() || self.writes.iter().any(Option::is_some)
    }

    /// Sleeps until a write completes or the one that did may be told, at most this long.
    pub(crate) fn sleep(&mut self, timeout: Duration) {
        let held = Duration::from_micros(self.held_us());
        let timeout = if self.done.is_empty() { timeout } else { timeout.min(held) };
        self.ring.enter(Wait::Until(Some(timeout)));
    }

    /// Whether `poll` would give something.
    pub(crate) fn has_work(&self) -> bool {
        self.ring.ready() > 0
            || self.ring.work_is_deferred()
            || !self.prepared.is_empty()
            || (!self.done.is_empty() && self.held_us() == 0)
    }

    /// Number of `io_uring_enter` calls so far.
    pub(crate) fn enters(&self) -> u64 {
        self.ring.enters()
    }
}

fn serve(
    mut segments: Segments,
    work: &Receiver<Job>,
    tell: &Sender<(u32, Option<File>)>,
    bell: &Doorbell,
) {
    for job in work {
        match job {
            Job::Prepare(segment) => {
                let file = segments
                    .prepare(segment)
                    .unwrap_or_else(|error| die("preparing a segment of the log", &error));
                // A core that has stopped does not listen any more.
                if tell.send((segment, file)).is_ok() {
                    bell.ring();
                }
            }
            Job::Retire(segment, file) => {
                drop(file);
                segments
                    .retire(segment)
                    .unwrap_or_else(|error| die("retiring a segment of the log", &error));
            }
        }
    }
}

/// After a failed write or sync nobody knows what the disk holds, and asking again may hide it: the
/// process ends, and the next start reads what is really there.
fn die(what: &str, error: &io::Error) -> ! {
    eprintln!("ringmail: {what} failed: {error}; the process ends and nothing more is acked");
    process::abort()
}
