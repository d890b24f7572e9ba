//! One core's thread, and what it shares with the thread that watches it.

use crate::{
    backend_port::BackendPort,
    driver::{KernelDriver, KernelDriverConfig},
    mesh::MeshPorts,
    stats::CoreStats,
};
use persistence::CoreStart;
use shards::{Core, CoreConfig, Driver, Effect, Handle, Now, turn};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::Sender,
    },
    thread,
    time::Duration,
};

/// Far less than other threads have: a core that wakes does not wait for a thread of the store that
/// has its processor.
const TIME_SLICE: Duration = Duration::from_micros(100);

/// What the watching thread sees of a core, and what it tells it. Nothing here orders anything
/// else, so every access is relaxed; the doorbell wakes a core that sleeps.
#[derive(Debug, Default)]
pub struct Shared {
    /// Counts up when the core goes to sleep and when it wakes: odd while it works.
    pub phase: AtomicU64,
    /// The core shall stop.
    pub stop: Arc<AtomicBool>,
    /// The core has nothing left to do of its own; it goes on for the others.
    pub stopped: AtomicBool,
    /// No core has: the core may end.
    pub end: AtomicBool,
    /// The core shall copy its counters.
    pub stats_wanted: AtomicBool,
    /// The last copy.
    stats: Mutex<CoreStats>,
}

impl Shared {
    /// The last copy of the core's counters.
    pub fn stats(&self) -> CoreStats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy(&self, stats: CoreStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

/// Everything that a core starts with.
pub struct Parts {
    /// The deterministic part.
    pub core: CoreConfig,
    /// What older generations left for it.
    pub start: CoreStart,
    /// The kernel side.
    pub driver: KernelDriverConfig,
    /// Its ends of the lanes.
    pub mesh: MeshPorts,
    /// Its way to the store.
    pub backend: BackendPort,
    /// See `Shared`.
    pub shared: Arc<Shared>,
    /// The processor that it stays on.
    pub processor: Option<usize>,
}

/// Starts the thread. It reports once that it listens, or why it cannot.
pub fn spawn(parts: Parts, ready: Sender<io::Result<()>>) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("core-{}", parts.core.index);
    thread::Builder::new().name(name).spawn(move || run(parts, ready))
}

fn run(parts: Parts, ready: Sender<io::Result<()>>) {
    let Parts { core, start, driver, mesh, backend, shared, processor } = parts;
    let pinned = processor.map_or(Ok(()), ring::sys::pin_to_cpu);
    // Where this is refused, a core that wakes waits a little longer for its processor.
    let _ = ring::sys::set_time_slice(TIME_SLICE);
    let driver =
        pinned.and_then(|()| KernelDriver::new(driver, mesh, backend, shared.stop.clone()));
    let driver = match driver {
        Ok(driver) => driver,
        Err(error) => return ready.send(Err(error)).unwrap_or(()),
    };
    let mut driver = Watched { driver, shared: &shared };
    let now = driver.now();
    let mut core = Core::new(core, start, now);
    // The starting thread may have given up already, because another core failed.
    let _ = ready.send(Ok(()));
    shared.phase.fetch_add(1, Relaxed);
    while !core.stopped() || !shared.end.load(Relaxed) {
        turn(&mut core, &mut driver);
        shared.stopped.store(core.stopped(), Relaxed);
        if shared.stats_wanted.swap(false, Relaxed) {
            shared.copy(CoreStats::new(core.stats(), driver.driver.stats()));
        }
    }
    shared.copy(CoreStats::new(core.stats(), driver.driver.stats()));
    shared.phase.fetch_add(1, Relaxed);
}

/// The processors that this process may use.
pub fn processors() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor)).collect())
}

/// The kernel's driver, seen by the watching thread: when it sleeps.
struct Watched<'s> {
    driver: KernelDriver,
    shared: &'s Shared,
}

impl Driver for Watched<'_> {
    fn now(&mut self) -> Now {
        self.driver.now()
    }
    fn reap(&mut self, max: usize, handle: Handle<'_>) {
        self.driver.reap(max, handle);
    }
    fn drain(&mut self, max: usize, handle: Handle<'_>) {
        self.driver.drain(max, handle);
    }
    fn take(&mut self, effect: Effect) {
        self.driver.take(effect);
    }
    fn wait(&mut self, until_us: Option<u64>) {
        self.shared.phase.fetch_add(1, Relaxed);
        self.driver.wait(until_us);
        self.shared.phase.fetch_add(1, Relaxed);
    }
}
