//! The main thread of a running server: signals, the watchdog, counters, old generations.

use crate::{
    config::Config,
    core_thread::Shared,
    server::{Options, RunningCore, Server, ServerError},
    stats,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How often the watch looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it looks for the end, once told to stop.
const STOP_PERIOD: Duration = Duration::from_millis(5);

/// SIGTERM and SIGINT, as bytes of a stream.
pub struct Signals(UnixStream);

impl Signals {
    /// From here on, these signals do not end the process by themselves.
    pub fn install() -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGTERM, write.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGINT, write)?;
        Ok(Signals(read))
    }

    /// Whether one came within this time.
    pub fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        self.0.set_read_timeout(Some(patience))?;
        match self.0.read(&mut [0; 16]) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Watches until a signal comes, then stops the server.
pub fn run(
    mut server: Server,
    config: &Config,
    options: &Options,
    mut signals: Signals,
) -> Result<(), ServerError> {
    let mut watchdogs: Vec<Watchdog> = server.cores.iter().map(Watchdog::new).collect();
    let mut next = Instant::now() + PERIOD;
    loop {
        let patience = next.saturating_duration_since(Instant::now()).max(STOP_PERIOD);
        let told = signals.wait(patience);
        if told.map_err(|error| ended(&format!("cannot listen for signals: {error}")))? {
            return stop(server, config, options);
        }
        if Instant::now() < next {
            continue;
        }
        next += PERIOD;
        for (index, watchdog) in watchdogs.iter_mut().enumerate() {
            if watchdog.periods_in_one_turn() >= config.watchdog_s {
                let limit = config.watchdog_s;
                return Err(ended(&format!("core {index} did not finish a turn for {limit} s")));
            }
        }
        if let Some(core) = server.cores.iter().position(|core| core.thread.is_finished()) {
            return Err(ended(&format!("core {core} ended by itself")));
        }
        remove_older(&mut server);
        write_stats(&server.cores, options);
    }
}

fn ended(why: &str) -> ServerError {
    ServerError::Ended(format!("{why}; start again: what was acked is in the log"))
}

/// Notices a turn that does not end. Counts looks, not time, so that a process that was stopped
/// as a whole (SIGSTOP, a paused machine) is not taken for one that hangs.
struct Watchdog {
    shared: Arc<Shared>,
    phase: u64,
    periods: u32,
}

impl Watchdog {
    fn new(core: &RunningCore) -> Watchdog {
        Watchdog { shared: core.shared.clone(), phase: 0, periods: 0 }
    }

    fn periods_in_one_turn(&mut self) -> u32 {
        let phase = self.shared.phase.load(Relaxed);
        let same_turn = phase % 2 == 1 && phase == self.phase;
        self.periods = if same_turn { self.periods + 1 } else { 0 };
        self.phase = phase;
        self.periods
    }
}

/// Once every core has flushed what it took over, the older generations' logs go.
fn remove_older(server: &mut Server) {
    let beyond = usize::from(server.cores_beyond_older.load(Acquire));
    if !server.older_removed && beyond == server.cores.len() {
        server.older_removed = true;
        server.logs.remove_older();
    }
}

fn write_stats(cores: &[RunningCore], options: &Options) {
    let Some(path) = &options.stats_file else { return };
    cores.iter().for_each(|core| core.shared.stats_wanted.store(true, Relaxed));
    let begun = Instant::now();
    let waits = |core: &&RunningCore| core.shared.stats_wanted.load(Relaxed);
    while ring(cores.iter().filter(waits)) && begun.elapsed() < Duration::from_millis(100) {
        thread::sleep(Duration::from_millis(1));
    }
    let cores = cores.iter().map(|core| core.shared.stats()).collect();
    if let Err(error) = stats::read(cores).and_then(|stats| stats::write(path, &stats)) {
        eprintln!("ringmail: cannot write the counters to {}: {error}", path.display());
    }
}

/// Wakes these cores, if there are any. A core does not look at its flags once more before it
/// sleeps, so who set one rings until it was seen.
fn ring<'c>(cores: impl Iterator<Item = &'c RunningCore>) -> bool {
    cores.map(|core| core.doorbell.ring()).count() > 0
}

fn stop(mut server: Server, config: &Config, options: &Options) -> Result<(), ServerError> {
    write_stats(&server.cores, options);
    server.cores.iter().for_each(|core| core.shared.stop.store(true, Relaxed));
    let begun = Instant::now();
    while ring(server.cores.iter().filter(|core| !core.thread.is_finished())) {
        if begun.elapsed().as_secs() >= config.watchdog_s.into() {
            return Err(ended(&format!("not every core stopped in {} s", config.watchdog_s)));
        }
        // One that is done still takes what the others owe it.
        let done =
            |core: &RunningCore| core.shared.stopped.load(Relaxed) || core.thread.is_finished();
        if server.cores.iter().all(done) {
            server.cores.iter().for_each(|core| core.shared.end.store(true, Relaxed));
        }
        thread::sleep(STOP_PERIOD);
    }
    remove_older(&mut server);
    for core in server.cores {
        core.thread.join().map_err(|_| ended("a core panicked"))?;
    }
    for thread in server.store_threads {
        thread.join().map_err(|_| ended("a thread of the store panicked"))?;
    }
    server.logs.give_back();
    Ok(())
}
