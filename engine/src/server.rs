//! The start, the watch and the end of a server.

use crate::{
    announce, backend_port, cache,
    config::Config,
    core_thread::{self, Parts, Shared},
    data_dir::{self, DataDir, DataDirError},
    driver::KernelDriverConfig,
    log_dirs::{self, LogError},
    mesh::{self, MeshPorts},
    probe, store, watch,
};
use persistence::{Backend, Recovered};
use ring::Doorbell;
use shards::{CoreConfig, token};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU16, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

/// How a server runs, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Announce for programs: one JSON line.
    pub json: bool,
    /// Write counters here, once a second.
    pub stats_file: Option<PathBuf>,
}

/// Why a server did not start, or ended: one line.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The host lacks something.
    #[error("{0}")]
    Host(String),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The system refuses.
    #[error("cannot {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// It ran, and had to end.
    #[error("{0}")]
    Ended(String),
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}

/// What recovery did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Recovery {
    /// The generation that this start begins.
    pub generation: u64,
    /// Logs of older generations.
    pub logs: usize,
    /// Bytes read from them.
    pub bytes: u64,
    /// Bytes behind the last whole groups, cut.
    pub bytes_cut: u64,
    /// How long it took.
    pub ms: u64,
    /// What a start's time went into, each step's end since its begin.
    pub steps: Steps,
}

/// When the steps of a start ended, in milliseconds since its begin.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Steps {
    /// The host and the port are as they must be.
    pub checked_ms: u64,
    /// The logs are read.
    pub read_ms: u64,
    /// The store is open.
    pub opened_ms: u64,
    /// All cores listen.
    pub listening_ms: u64,
}

/// A running server.
pub struct Server {
    /// Its cores, in order.
    pub cores: Vec<RunningCore>,
    /// The store's threads.
    pub store_threads: backend_port::Threads,
    /// Counts the cores that need nothing of the older generations any more.
    pub cores_beyond_older: Arc<AtomicU16>,
    /// The older generations' directories.
    pub older: Vec<PathBuf>,
    /// Held to the end.
    pub data_dir: DataDir,
}

/// One of its cores.
pub struct RunningCore {
    /// Ends when the core has stopped.
    pub thread: JoinHandle<()>,
    /// What the watch sees.
    pub shared: Arc<Shared>,
    /// Wakes it.
    pub doorbell: Arc<Doorbell>,
}

/// Runs a server until it is told to stop.
pub fn serve(config: Config, options: &Options) -> Result<(), ServerError> {
    let begun = Instant::now();
    let ms = || begun.elapsed().as_millis() as u64;
    let mut steps = Steps::default();
    probe::raise_limits().map_err(system("raise the limit of open files"))?;
    for check in probe::CHECKS {
        let finding = check(&config);
        if !finding.ok {
            return Err(ServerError::Host(finding.line()));
        }
    }
    steps.checked_ms = ms();
    // From here on a signal stops in order.
    let signals = watch::Signals::install().map_err(system("listen for signals"))?;
    let data_dir = DataDir::open(&config.data_dir, probe::disk_bytes_needed(&config))?;
    let key = token::Key::new(data_dir.key()?);
    // The disk does both at once, and neither needs the other.
    let (found, store) = thread::scope(|scope| {
        let store = scope.spawn(|| {
            let store = store::open(&config, &data_dir);
            (store, ms())
        });
        let found = log_dirs::read(&data_dir.log());
        steps.read_ms = ms();
        (found, store.join().expect("opening the store does not panic"))
    });
    let found = found?;
    let store = store.0.inspect(|_| steps.opened_ms = store.1)?;
    let (logs, bytes, older) = (found.logs, found.bytes, found.older);
    let recovered = found.recovered;
    let mut recovery = Recovery {
        generation: recovered.generation(),
        logs,
        bytes,
        bytes_cut: recovered.bytes_cut(),
        ms: steps.read_ms,
        steps,
    };
    let store = cache::beside(&config, &data_dir, store, recovery.generation)?;
    let server = start(&config, data_dir, store, &key, recovered, older)?;
    recovery.steps.listening_ms = ms();
    announce::ready(&config, &key, &recovery, options.json);
    watch::run(server, &config, options, signals)
}

fn start(
    config: &Config,
    data_dir: DataDir,
    store: Arc<dyn Backend>,
    key: &token::Key,
    recovered: Recovered,
    older: Vec<PathBuf>,
) -> Result<Server, ServerError> {
    let generation = recovered.generation();
    log_dirs::create(&data_dir.log(), generation, config.shards)?;
    let meshes = mesh::mesh(config.shards, 2 * config.limits.lane_credits as usize)
        .map_err(system("make the doorbells"))?;
    let doorbells: Vec<Arc<Doorbell>> =
        meshes.iter().map(|mesh: &MeshPorts| mesh.doorbell().clone()).collect();
    let asks_max = config.limits.asks_max;
    let (ports, store_threads) =
        backend_port::start(store, doorbells.clone(), asks_max, store::threads(config))
            .map_err(system("start the store's threads"))?;
    let processors = core_thread::processors().map_err(system("see the processors"))?;
    let cores_beyond_older = Arc::new(AtomicU16::new(0));
    let (epoch_base, seed) = (data_dir.epoch_base()?, data_dir::random_seed());
    let (ready, reports) = mpsc::channel();
    let mut cores = Vec::new();
    for (index, (mesh, backend)) in (0..).zip(meshes.into_iter().zip(ports)) {
        let shared = Arc::new(Shared::default());
        let doorbell = doorbells[usize::from(index)].clone();
        let parts = Parts {
            core: CoreConfig {
                index,
                cores: config.shards,
                limits: config.limits.clone(),
                key: key.clone(),
                seed,
                epoch_base,
            },
            start: recovered.deal(index, config.shards),
            driver: KernelDriverConfig {
                listen: config.listen,
                limits: config.limits.clone(),
                recv_buffers: config.recv_buffers,
                recv_buffer_bytes: config.recv_buffer_bytes,
                log_dir: log_dirs::core_dir(&data_dir.log(), generation, index),
                cores_beyond_older: cores_beyond_older.clone(),
            },
            mesh,
            backend,
            shared: shared.clone(),
            processor: config.pin.then(|| processors[usize::from(index) % processors.len()]),
        };
        let thread =
            core_thread::spawn(parts, ready.clone()).map_err(system("start a core's thread"))?;
        cores.push(RunningCore { thread, shared, doorbell });
    }
    for report in reports.iter().take(cores.len()) {
        report.map_err(system("start a core"))?;
    }
    Ok(Server { cores, store_threads, cores_beyond_older, older, data_dir })
}
