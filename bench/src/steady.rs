//! `steady-chat` and `chat-floor`: pairs of users write to each other; Ringmail beside the floor.

use crate::generator::{Generator, GeneratorError, Load, Measured};
use crate::ledger::Verdict;
use crate::random::Random;
use crate::report::{Outputs, Report, median};
use crate::server::{Launch, Running, Scratch, ServerError, counter};
use crate::speak::{Floor, Ringmail, Speak};
use crate::watch::Watch;
use crate::{host, loopback, process, progress};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, thread};

/// The floor's messages per second of its processor time, by (pairs, depth), where they are known
/// from a quiet machine whose loopback took `LOOPBACK_KNOWN_NS` a message. A slower one owes less
/// in proportion; a run that reaches less was disturbed.
const FLOOR_KNOWN: [(u32, u32, f64); 6] = [
    (50, 1, 79_000.0),
    (500, 1, 68_000.0),
    (4_000, 1, 60_000.0),
    (50, 8, 646_000.0),
    (500, 8, 631_000.0),
    (4_000, 8, 502_000.0),
];
const LOOPBACK_KNOWN_NS: f64 = 5_570.0;
const FLOOR_PART: f64 = 0.8;
/// Most that the generator may be late, at the 99th percentile.
pub(crate) const LAG_NS_MAX: u64 = 1_000_000;
/// Before an open-loop phase is tried again: a host takes processors away for milliseconds, mostly
/// after seconds of load.
pub(crate) const REST: Duration = Duration::from_secs(15);
const TIME_SLICE: Duration = Duration::from_micros(100);
const WARM_UP: Duration = Duration::from_secs(2);
pub(crate) const SERVER_PROCESSOR: usize = 0;

/// Options of `steady-chat`.
#[derive(Clone, Debug, clap::Args)]
pub struct SteadyArgs {
    #[command(flatten)]
    chat: ChatArgs,
    /// Cores of the server; with more than one nothing is pinned and only the ratio counts
    #[arg(long, default_value_t = 1)]
    shards: u16,
    /// Part of the saturation that is offered in the open loop
    #[arg(long, default_value_t = 0.5)]
    fraction: f64,
    /// Open-loop phases that are tried until one has no late generator
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=50))]
    tries: u32,
    /// Run the floor interleaved, at the same pairs, depth and offered rate
    #[arg(long)]
    floor: bool,
}

/// Options that `steady-chat` and `chat-floor` share.
#[derive(Clone, Debug, clap::Args)]
pub struct ChatArgs {
    /// Pairs of users
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pairs: u32,
    /// Messages in flight in each pair; in the open loop, messages of a burst
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    depth: u32,
    /// Measured seconds of each phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Closed-loop phases; their median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Where the servers keep their data during the run; a disk, not memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum SteadyError {
    /// A server does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The load broke off.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// The system refuses.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// A server under load, and what was measured of it.
struct Side<S: Speak> {
    process: Running,
    watch: Watch,
    generator: Generator<S>,
    closed: Vec<Measured>,
    open: Option<Open>,
}

/// The open-loop phase that counts: the first without a late generator, else the last.
struct Open {
    measured: Measured,
    tries: u32,
    /// What the host took of the processors' time, in percent.
    stolen_percent: f64,
}

impl<S: Speak> Side<S> {
    fn closed(&mut self, args: &ChatArgs) -> Result<(), SteadyError> {
        let length = Duration::from_secs(args.seconds);
        let load = Load::Closed { depth: args.depth };
        self.closed.push(self.generator.measure(load, WARM_UP, length, &self.watch)?);
        Ok(())
    }

    fn open(&mut self, args: &SteadyArgs, per_second: f64) -> Result<(), SteadyError> {
        let length = Duration::from_secs(args.chat.seconds);
        let load = Load::Open { depth: args.chat.depth, per_second };
        for tries in 1..=args.tries {
            if tries > 1 {
                thread::sleep(REST);
            }
            let before = host::Ticks::now()?;
            let measured = self.generator.measure(load, WARM_UP, length, &self.watch)?;
            let stolen_percent = host::Ticks::now()?.stolen_percent_since(&before);
            let lag_ns = measured.lag_p99_ns();
            self.open = Some(Open { measured, tries, stolen_percent });
            if lag_ns <= LAG_NS_MAX {
                break;
            }
            progress(&format!(
                "the generator lagged {} µs at p99, the host took {stolen_percent:.1} % of the \
                 processors' time: try {tries} of {}",
                lag_ns / 1_000,
                args.tries
            ));
        }
        Ok(())
    }

    fn per_cpu_s(&self) -> Vec<f64> {
        self.closed.iter().map(|measured| measured.delivered_per_server_cpu_s).collect()
    }

    fn saturation(&self) -> f64 {
        median(&self.closed.iter().map(|m| m.delivered_per_s).collect::<Vec<_>>())
    }
}

/// Runs `steady-chat`.
pub fn steady_chat(args: SteadyArgs) -> Result<ExitCode, String> {
    let outputs = args.chat.outputs.clone();
    let mut report = Report::new("steady-chat");
    // On a thread of its own, because the load pins its thread and servers inherit that.
    let run = thread::spawn(move || match steady(&args, &mut report) {
        Ok(()) => Ok(report),
        Err(SteadyError::Server(error)) => Err(error.to_string()),
        Err(error) => {
            report.invalidate(error.to_string());
            Ok(report)
        }
    });
    run.join().expect("the run does not panic")?.finish(&outputs)
}

fn steady(args: &SteadyArgs, report: &mut Report) -> Result<(), SteadyError> {
    let chat = &args.chat;
    let scratch = Scratch::new(chat.dir.as_deref())?;
    let mut launch = Launch::new(scratch.path(), args.shards);
    launch.processor = (args.shards == 1).then_some(SERVER_PROCESSOR);
    let process = launch.start_ready()?;
    let floor = args.floor.then(|| start_floor(scratch.path(), chat)).transpose()?;
    pin_generator()?;
    let loopback_ns = loopback::message_ns()?;
    let mut ringmail = ringmail_side(process, &launch, chat)?;
    let mut floor = floor
        .map(|(process, address)| floor_side(process, address, scratch.path(), chat))
        .transpose()?;
    for round in 1..=chat.rounds {
        progress(&format!("closed loop {round} of {}: ringmail", chat.rounds));
        ringmail.closed(chat)?;
        if let Some(floor) = &mut floor {
            progress(&format!("closed loop {round} of {}: floor", chat.rounds));
            floor.closed(chat)?;
        }
    }
    let offered = ringmail.saturation() * args.fraction;
    progress(&format!("open loop, {offered:.0} messages/s: ringmail"));
    ringmail.open(args, offered)?;
    if let Some(floor) = &mut floor {
        progress(&format!("open loop, {offered:.0} messages/s: floor"));
        floor.open(args, offered)?;
    }
    report.set("pairs", chat.pairs);
    report.set("depth", chat.depth);
    report.set("shards", args.shards);
    report.set("body_bytes", crate::body::CHAT_BYTES);
    report.set("fraction", args.fraction);
    report.set("seconds", chat.seconds);
    report.set("rounds", chat.rounds);
    report_speed(report, &ringmail, "");
    report_latency(report, &ringmail, "");
    report_costs(report, &ringmail, "");
    report.judge_memory(&ringmail.process)?;
    check_log(report, &ringmail)?;
    if let Some(floor) = &floor {
        report_speed(report, floor, "floor_");
        report_latency(report, floor, "floor_");
        report_costs(report, floor, "floor_");
        report_ratio(report, &ringmail, floor);
        check_floor(report, chat, floor, loopback_ns.min(loopback::message_ns()?));
    }
    report_ledger(report, ringmail.generator.finish()?.check(), "");
    if let Some(floor) = floor {
        report_ledger(report, floor.generator.finish()?.check(), "floor ");
    }
    ringmail.process.stop()?;
    Ok(())
}

/// Runs `chat-floor`.
pub fn chat_floor(args: ChatArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("chat-floor");
    let outputs = args.outputs.clone();
    if let Err(error) = floor_alone(&args, &mut report) {
        report.invalidate(error.to_string());
    }
    report.finish(&outputs)
}

fn floor_alone(args: &ChatArgs, report: &mut Report) -> Result<(), SteadyError> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let (process, address) = start_floor(scratch.path(), args)?;
    pin_generator()?;
    let loopback_ns = loopback::message_ns()?;
    let mut floor = floor_side(process, address, scratch.path(), args)?;
    for round in 1..=args.rounds {
        progress(&format!("closed loop {round} of {}: floor", args.rounds));
        floor.closed(args)?;
    }
    report.set("pairs", args.pairs);
    report.set("depth", args.depth);
    report_speed(report, &floor, "floor_");
    let closed = floor.closed.last().expect("at least one round");
    report.set_latency("floor_closed_loop_send_to_sent", &closed.sent);
    report.set_latency("floor_closed_loop_send_to_delivered", &closed.delivered);
    report_costs(report, &floor, "floor_");
    check_floor(report, args, &floor, loopback_ns.min(loopback::message_ns()?));
    report_ledger(report, floor.generator.finish()?.check(), "");
    Ok(())
}

/// Keeps the calling thread away from the server's processor, and lets it run at once when it
/// wakes: a thread of the server's store that has this one could make it late by milliseconds.
pub(crate) fn pin_generator() -> std::io::Result<()> {
    // Where this is refused, more open-loop phases are tried.
    let _ = ring::sys::set_time_slice(TIME_SLICE);
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    ring::sys::pin_to_cpu((SERVER_PROCESSOR + 1) % processors)
}

fn start_floor(dir: &Path, args: &ChatArgs) -> Result<(Running, SocketAddr), ServerError> {
    let here = env::current_exe().map_err(|e| ServerError::System("find this program", e))?;
    let mut command = Command::new(here);
    command.arg("floor-server").arg("--dir").arg(dir);
    command.args(["--connections", &(2 * args.pairs + 8).to_string()]);
    let mut process = Running::spawn(command, Some(SERVER_PROCESSOR), &dir.join("floor.err"))?;
    process.wait_ready(Duration::from_secs(60))?;
    let port = process.ready.as_ref().and_then(|ready| ready["port"].as_u64()).unwrap_or(0);
    Ok((process, SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16))))
}

fn ringmail_side(
    process: Running,
    launch: &Launch,
    args: &ChatArgs,
) -> Result<Side<Ringmail>, SteadyError> {
    let tokens = launch.tokens(1, 1, 2 * args.pairs as usize)?;
    let ack_each = args.depth == 1;
    let speak = Ringmail { tokens, first_user: 1, ack_each, seed: Random::seed() };
    let stats_file = Some(launch.stats_file());
    let watch = Watch { pid: process.pid(), stats_file, dir: launch.data_dir.clone() };
    progress(&format!("attaching {} users", 2 * args.pairs));
    let generator = Generator::connect(speak, 2 * args.pairs, launch.address)?;
    Ok(Side { process, watch, generator, closed: Vec::new(), open: None })
}

fn floor_side(
    process: Running,
    address: SocketAddr,
    dir: &Path,
    args: &ChatArgs,
) -> Result<Side<Floor>, SteadyError> {
    let watch = Watch { pid: process.pid(), stats_file: None, dir: dir.to_owned() };
    let generator = Generator::connect(Floor, 2 * args.pairs, address)?;
    Ok(Side { process, watch, generator, closed: Vec::new(), open: None })
}

fn report_speed<S: Speak>(report: &mut Report, side: &Side<S>, prefix: &str) {
    let per_cpu_s = side.per_cpu_s();
    report.set(format!("{prefix}delivered_per_s"), side.saturation().round());
    report.set(format!("{prefix}delivered_per_server_cpu_s"), median(&per_cpu_s).round());
    let rounds: Vec<f64> = per_cpu_s.iter().map(|value| value.round()).collect();
    report.set(format!("{prefix}delivered_per_server_cpu_s_rounds"), rounds);
}

/// Latencies that a late generator measured are withheld. The closed loop has no schedule, so its
/// figures stand.
fn report_latency<S: Speak>(report: &mut Report, side: &Side<S>, prefix: &str) {
    let Some(open) = &side.open else { return };
    let (measured, lag_ns) = (&open.measured, open.measured.lag_p99_ns());
    report.set(format!("{prefix}open_loop_tries"), open.tries);
    report.set_rounded(format!("{prefix}open_loop_stolen_percent"), open.stolen_percent);
    report.set_rounded(format!("{prefix}generator_lag_p99_us"), lag_ns as f64 / 1e3);
    if lag_ns > LAG_NS_MAX {
        let us = lag_ns / 1_000;
        let why = format!(
            "the generator lagged {us} µs at p99 in the last of {} tries, while the host took \
             {:.1} % of the processors' time",
            open.tries, open.stolen_percent
        );
        return report.set(format!("{prefix}latency_withheld_because"), why);
    }
    report.set(format!("{prefix}offered_per_s"), measured.delivered_per_s.round());
    report.set_latency(&format!("{prefix}send_to_sent"), &measured.sent);
    report.set_latency(&format!("{prefix}send_to_delivered"), &measured.delivered);
}

fn report_ratio(report: &mut Report, ringmail: &Side<Ringmail>, floor: &Side<Floor>) {
    let (ours, theirs) = (ringmail.per_cpu_s(), floor.per_cpu_s());
    let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    report.set_rounded("ratio_to_floor", median(&ratios));
    ratios.sort_by(f64::total_cmp);
    report.set_rounded("ratio_to_floor_least", ratios[0]);
    report.set_rounded("ratio_to_floor_most", ratios[ratios.len() - 1]);
}

/// `loopback_ns`: the least that a message took this machine's loopback around the phases.
fn check_floor(report: &mut Report, args: &ChatArgs, floor: &Side<Floor>, loopback_ns: f64) {
    let reached = median(&floor.per_cpu_s());
    report.set("loopback_ns_per_message", loopback_ns.round());
    for (pairs, depth, known) in FLOOR_KNOWN {
        if (pairs, depth) != (args.pairs, args.depth) {
            continue;
        }
        let known_here = known * (LOOPBACK_KNOWN_NS / loopback_ns).min(1.0);
        report.set("floor_known_per_server_cpu_s", known);
        report.set_rounded("floor_to_known", reached / known);
        report.set_rounded("floor_to_known_by_loopback", reached / known_here);
        if reached < FLOOR_PART * known_here {
            report.invalidate(format!(
                "the floor reached {reached:.0} messages per CPU-second, below 80 % of \
                 {known_here:.0}, which is the known {known:.0} at this machine's loopback: the \
                 machine was busy or is another one"
            ));
        }
    }
}

/// What a delivered message costs, from the last closed-loop phase.
fn report_costs<S: Speak>(report: &mut Report, side: &Side<S>, prefix: &str) {
    let Some(closed) = side.closed.last() else { return };
    let (before, after) = &closed.readings;
    let count = closed.count.max(1) as f64;
    for (thread, cpu_ns) in &after.cpu_ns_by_thread {
        let cpu_ns = cpu_ns - before.cpu_ns_by_thread.get(thread).unwrap_or(&0);
        let key = format!("{prefix}cpu_us_per_delivered_{}", thread.replace(['-', '#', ' '], "_"));
        report.set_rounded(key, cpu_ns as f64 / 1e3 / count);
    }
    let segments = (after.segments_out - before.segments_out) as f64 / count;
    report.set_rounded(format!("{prefix}tcp_segments_per_delivered"), segments);
    if let (Some(before), Some(after)) = (before.device_bytes, after.device_bytes) {
        let bytes = (after - before) as f64 / count;
        report.set_rounded(format!("{prefix}device_bytes_per_delivered"), bytes);
    }
    let (Some(before), Some(after)) = (&before.stats, &after.stats) else { return };
    // The counters are up to a second older than the phase, so they are set against their own.
    let grown = |name| Some(counter(after, name)?.checked_sub(counter(before, name)?)? as f64);
    let Some(messages) = grown("messages").filter(|&messages| messages > 0.0) else { return };
    for (name, key) in [
        ("enters", "ring_enters_per_message"),
        ("sleeps", "sleeps_per_message"),
        ("log_bytes", "log_bytes_per_message"),
    ] {
        if let Some(grown) = grown(name) {
            report.set(format!("{prefix}{key}"), (grown / messages * 1e5).round() / 1e5);
        }
    }
}

fn check_log(report: &mut Report, side: &Side<Ringmail>) -> std::io::Result<()> {
    let wanted = libc::O_DIRECT | libc::O_DSYNC;
    let log = process::descriptors(side.watch.pid)?;
    let log: Vec<_> = log.iter().filter(|(path, _)| is_log(path)).collect();
    if log.is_empty() || log.iter().any(|(_, flags)| flags & wanted != wanted) {
        report.invalidate("the server's log is not open with O_DIRECT and O_DSYNC");
    }
    Ok(())
}

/// Whether this is a segment of a server's log.
pub fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
        && path.components().any(|part| part.as_os_str() == "log")
}

fn report_ledger(report: &mut Report, verdict: Verdict, whose: &str) {
    if whose.is_empty() {
        report.set_verdict(&verdict);
    }
    if !verdict.is_clean() || verdict.acked != verdict.delivered {
        report.invalidate(format!("{whose}ledger: {verdict:?}"));
    }
}
