//! `copy`: a data directory with many messages goes into a real Cassandra with `ringmail store
//! copy`, which is killed on its way and goes on. At the end it compares both stores itself.

use crate::cassandra::Cassandra;
use crate::generator::{Generator, Load};
use crate::progress;
use crate::random::Random;
use crate::report::{Failure, Outputs, Report};
use crate::server::{Launch, Scratch};
use crate::speak::Ringmail;
use crate::watch::Watch;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// The load is looked at this often while the directory fills.
const PHASE: Duration = Duration::from_secs(2);
/// Messages come first, and so many of them at most are one row of the data directory.
const MESSAGES_PER_ROW: u64 = 16;
/// The copy is looked at this often while it waits for its kill.
const LOOK: Duration = Duration::from_millis(5);

/// Options of `copy`.
#[derive(Clone, Debug, clap::Args)]
pub struct CopyArgs {
    /// Messages, at least
    #[arg(long, default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    messages: u64,
    /// How often the copy is killed on its way, at equal distances
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=100))]
    kills: u64,
    /// Pairs of users
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pairs: u32,
    /// Cores of the server
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// Where the server and the node keep their data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `copy`.
pub fn copy(args: CopyArgs) -> Result<ExitCode, String> {
    let outputs = args.outputs.clone();
    Report::new("copy").measure(&outputs, move |report| measure(&args, report))
}

fn measure(args: &CopyArgs, report: &mut Report) -> Result<(), Failure> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut launch = Launch::new(scratch.path(), args.shards);
    let messages = fill(args, &launch)?;
    progress("starting Cassandra");
    let node = Cassandra::start(scratch.path())?;
    node.serve(&mut launch)?;
    let begun = Instant::now();
    for kill in 1..=args.kills {
        progress(&format!("copying until kill {kill} of {}", args.kills));
        kill_at(&launch, messages / MESSAGES_PER_ROW * kill / (args.kills + 1))?;
    }
    progress("copying to the end, and comparing");
    let last = Instant::now();
    let said = launch.run(&["store", "copy"])?;
    report.set("seconds", begun.elapsed().as_secs());
    report.set("last_copy_seconds", last.elapsed().as_secs());
    let numbers: Vec<u64> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [rows, copied, ..] = numbers[..] else { return Err(said.into()) };
    report.set("messages", messages);
    report.set("kills", args.kills);
    report.set("rows", rows);
    report.set("messages_equal_in_both", copied);
    report.set_rounded("rows_per_s", rows as f64 / begun.elapsed().as_secs_f64());
    if copied != messages {
        report.fail(format!("{messages} messages were acked, {copied} are in both stores"));
    }
    launch.start_ready()?.stop()?;
    Ok(())
}

/// Lets users write until there are enough messages; how many there are.
fn fill(args: &CopyArgs, launch: &Launch) -> Result<u64, Failure> {
    let server = launch.start_ready()?;
    let users = 2 * args.pairs;
    let tokens = launch.tokens(1, 1, users as usize)?;
    let speak = Ringmail { tokens, first_user: 1, ack_each: false, seed: Random::seed() };
    let watch = Watch { pid: server.pid(), stats_file: None, dir: launch.data_dir.clone() };
    let mut generator = Generator::connect(speak, users, launch.address)?;
    let (load, mut written) = (Load::Closed { depth: 8 }, 0);
    while written < args.messages {
        progress(&format!("{written} of {} messages are written", args.messages));
        written += generator.measure(load, Duration::ZERO, PHASE, &watch)?.count;
    }
    let ledger = generator.finish()?;
    let verdict = ledger.check();
    server.stop()?;
    match verdict.is_clean() {
        true => Ok(ledger.composed()),
        false => Err(format!("the server broke its promises: {verdict:?}").into()),
    }
}

/// Starts the copy, and kills it once so many rows are noted as copied.
fn kill_at(launch: &Launch, rows: u64) -> Result<(), Failure> {
    let noted = || -> Option<u64> {
        let text = fs::read(launch.data_dir.join("copy")).ok()?;
        serde_json::from_slice::<Value>(&text).ok()?["rows"].as_u64()
    };
    let mut copy = launch.program(&["store", "copy"])?.stderr(Stdio::null()).spawn()?;
    while noted().is_none_or(|noted| noted < rows) {
        if let Some(status) = copy.try_wait()? {
            return Err(format!("the copy ended before its kill: {status}").into());
        }
        thread::sleep(LOOK);
    }
    copy.kill()?;
    copy.wait()?;
    Ok(())
}
