//! The start, the watch and the end of a server.

use crate::{
    announce, backend_port, cache,
    config::Config,
    core_thread::{self, Parts, Shared},
    data_dir::{self, DataDir, DataDirError},
    driver::KernelDriverConfig,
    log_dirs::LogError,
    logs::{self, Logs, Opened},
    mesh::{self, MeshPorts},
    probe, store, watch,
};
use persistence::Backend;
use persistence::blocks::BLOCKS_IN_FLIGHT;
use ring::Doorbell;
use shards::{AckLevel, CoreConfig, Limits, token};
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
    /// Where the logs are.
    pub logs: Logs,
    /// The older generations' logs are told to go.
    pub older_removed: bool,
    /// Held to the end.
    pub _data_dir: DataDir,
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
    let mut signals = watch::Signals::install().map_err(system("listen for signals"))?;
    let data_dir = DataDir::open(&config.data_dir, probe::disk_bytes_needed(&config))?;
    let key = token::Key::new(data_dir.key()?);
    let opened = match config.ack {
        AckLevel::Local => Some(open_local(&config, &data_dir, &mut steps, &ms)?),
        _ => open_node(&config, &data_dir, &mut signals, &mut steps, &ms)?,
    };
    // A signal came while another process had the node.
    let Some((opened, store)) = opened else { return Ok(()) };
    let mut recovery = Recovery {
        generation: opened.recovered.generation(),
        logs: opened.count,
        bytes: opened.bytes,
        bytes_cut: opened.recovered.bytes_cut(),
        ms: steps.read_ms,
        steps,
    };
    let store = cache::beside(&config, &data_dir, store, recovery.generation)?;
    let server = start(&config, data_dir, store, &key, opened)?;
    recovery.steps.listening_ms = ms();
    announce::ready(&config, &key, &recovery, options.json);
    watch::run(server, &config, options, signals)
}

/// The logs and the store of rows.
type WithStore = (Opened, Arc<dyn Backend>);

/// Reads the logs on the disk while it opens the store: neither needs the other.
fn open_local(
    config: &Config,
    data_dir: &DataDir,
    steps: &mut Steps,
    ms: &(impl Fn() -> u64 + Sync),
) -> Result<WithStore, ServerError> {
    let (opened, store) = thread::scope(|scope| {
        let store = scope.spawn(|| {
            let store = store::open(config, data_dir);
            (store, ms())
        });
        let opened = logs::open_disk(data_dir);
        steps.read_ms = ms();
        (opened, store.join().expect("opening the store does not panic"))
    });
    let opened = opened?;
    steps.opened_ms = store.1;
    Ok((opened, store.0?))
}

/// Opens the store, and takes the node over whose logs are in it; `None` if a signal came first.
fn open_node(
    config: &Config,
    data_dir: &DataDir,
    signals: &mut watch::Signals,
    steps: &mut Steps,
    ms: &impl Fn() -> u64,
) -> Result<Option<WithStore>, ServerError> {
    let (store, blocks) = store::open_node(config, data_dir)?;
    steps.opened_ms = ms();
    let mut told = false;
    let mut wait = |length| {
        if !std::mem::replace(&mut told, true) {
            let node = &config.node;
            eprintln!("ringmail: another process has node {node}; waiting for its lease to end");
        }
        !signals.wait(length).unwrap_or(false)
    };
    let opened = logs::open_node(config, data_dir, &*blocks, &mut wait)?;
    steps.read_ms = ms();
    Ok(opened.map(|opened| (opened, store)))
}

/// Those of a core: a log in the store has several writes in flight.
fn limits_of(config: &Config) -> Limits {
    let mut limits = config.limits.clone();
    if config.ack != AckLevel::Local {
        limits.log_writes_max = BLOCKS_IN_FLIGHT;
    }
    limits
}

fn start(
    config: &Config,
    data_dir: DataDir,
    store: Arc<dyn Backend>,
    key: &token::Key,
    opened: Opened,
) -> Result<Server, ServerError> {
    let Opened { logs, recovered, .. } = opened;
    let generation = recovered.generation();
    logs.create(generation, config.shards)?;
    let meshes = mesh::mesh(config.shards, 2 * config.limits.lane_credits as usize)
        .map_err(system("make the doorbells"))?;
    let doorbells: Vec<Arc<Doorbell>> =
        meshes.iter().map(|mesh: &MeshPorts| mesh.doorbell().clone()).collect();
    let (ports, store_threads) =
        backend_port::start(store, doorbells.clone(), &config.limits, store::threads(config))
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
                level: config.ack,
                limits: limits_of(config),
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
                log: logs.place(generation, index),
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
    let older_removed = false;
    Ok(Server {
        cores,
        store_threads,
        cores_beyond_older,
        logs,
        older_removed,
        _data_dir: data_dir,
    })
}
