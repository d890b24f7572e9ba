//! `recovery`: how long after kill -9 a waiting client has its SENT, with a long history in the
//! store and a long tail in the log.

use crate::crowd::{Crowd, Habits};
use crate::progress;
use crate::random::Random;
use crate::report::{Outputs, Report};
use crate::server::{Launch, Scratch, counter};
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, thread};

const USERS: usize = 8;
const FIRST_USER: u64 = 1;
const BODY_BYTES: usize = 8 * 1024;
const DEPTH: usize = 16;
/// Most that a waiting client may wait, from the start of the program.
const TARGET_MS: u128 = 1_000;
/// For a gibibyte to be written, flushed, and settled on a slow disk.
const FILL_PATIENCE: Duration = Duration::from_secs(900);

/// Options of `recovery`.
#[derive(Clone, Debug, clap::Args)]
pub struct RecoveryArgs {
    /// Message bytes in the log that are not flushed when the server is killed, in MiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=150))]
    tail_mib: u64,
    /// Message bytes in the store, in GiB
    #[arg(long, default_value_t = 1.0)]
    history_gib: f64,
    /// Cores of the server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// Where the server keeps its data during the run; a disk, not memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `recovery`.
pub fn recovery(args: RecoveryArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("recovery");
    if let Err(error) = measure(&args, &mut report) {
        report.invalidate(error.to_string());
    }
    report.finish(&args.outputs)
}

fn measure(args: &RecoveryArgs, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut launch = Launch::new(scratch.path(), args.shards);
    let server = launch.start_ready()?;
    let tokens = launch.tokens(FIRST_USER, 1, USERS)?;
    let mut crowd = Crowd::new(tokens, FIRST_USER, Random::seed());
    progress("filling the history");
    let history_bytes = (args.history_gib * f64::from(1 << 30)) as u64;
    fill(&mut crowd, &launch, history_bytes)?;
    server.stop()?;

    progress("filling the tail");
    // The store gets nothing before the kill: no batch grows so large, or so old.
    let settings = launch.settings.clone();
    launch.set("limits.batch_bytes", 1u64 << 30);
    launch.set("limits.flush_ms", 600_000);
    let server = launch.start_ready()?;
    // What the start recovered still goes to the store, and its generation goes.
    thread::sleep(Duration::from_millis(4_000));
    let before = counters(&launch)?;
    fill(&mut crowd, &launch, args.tail_mib << 20)?;
    let counters = counters(&launch)?;
    server.kill();
    if counter(&counters, "batches") != counter(&before, "batches") {
        return Err("the store took a part of the tail".into());
    }
    launch.settings = settings;

    progress("recovering");
    crowd.compose_to(0, 1, BODY_BYTES);
    let mut server = launch.start()?;
    let waited = |crowd: &mut Crowd| crowd.unsettled(0) == 0;
    if !crowd.run(launch.address, None, FILL_PATIENCE, waited) {
        return Err("the waiting client got no SENT".into());
    }
    let sent_ms = server.started.elapsed().as_millis();
    server.wait_ready(FILL_PATIENCE)?;
    settle(&mut crowd, &launch)?;
    let verdict = crowd.ledger.check();
    report.set("history_bytes", history_bytes);
    report.set("tail_bytes", args.tail_mib << 20);
    report.set("tail_log_bytes", counter(&counters, "log_bytes"));
    report.set("exec_to_sent_ms", sent_ms as u64);
    let recovery = server.ready.as_ref().map(|ready| ready["recovery"].clone());
    report.set("recovery", recovery.unwrap_or_default());
    report.set_verdict(&verdict);
    if sent_ms > TARGET_MS {
        report.fail(format!("the waiting client waited {sent_ms} ms; {TARGET_MS} are allowed"));
    }
    if !verdict.is_clean() || !crowd.faults.is_empty() {
        report.fail(format!("{verdict:?}, faults: {:?}", crowd.faults));
    }
    server.stop()?;
    Ok(())
}

/// Until so many bytes of bodies are written, acked and delivered.
fn fill(crowd: &mut Crowd, launch: &Launch, bytes: u64) -> Result<(), Box<dyn Error>> {
    let habits = Habits { depth: DEPTH, body_bytes: BODY_BYTES };
    let enough = crowd.ledger.composed() + bytes / BODY_BYTES as u64;
    let filled = |crowd: &mut Crowd| crowd.ledger.composed() >= enough;
    if !crowd.run(launch.address, Some(habits), FILL_PATIENCE, filled) {
        return Err("the server takes messages too slowly".into());
    }
    settle(crowd, launch)
}

/// The server's counters as of now: they are written once a second.
fn counters(launch: &Launch) -> Result<Value, Box<dyn Error>> {
    thread::sleep(Duration::from_millis(2_200));
    Ok(serde_json::from_slice(&fs::read(launch.stats_file())?)?)
}

fn settle(crowd: &mut Crowd, launch: &Launch) -> Result<(), Box<dyn Error>> {
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    match crowd.run(launch.address, None, FILL_PATIENCE, settled) {
        true => Ok(()),
        false => Err("not every send was settled and delivered".into()),
    }
}
