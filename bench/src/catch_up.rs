//! `catch-up`: a device comes back to a long backlog and reads it at full speed, while other users
//! chat at half of what the server can do.

use crate::body::{CHAT_BYTES, Stamp};
use crate::generator::{Generator, Load, Measured};
use crate::random::Random;
use crate::report::{Failure, Outputs, Report, median};
use crate::server::{Launch, Running, Scratch};
use crate::speak::Ringmail;
use crate::steady::{LAG_NS_MAX, REST, SERVER_PROCESSOR, pin_generator};
use crate::watch::Watch;
use crate::{process, progress};
use client::wire::{
    self, Ack, ClientFrame, Conv, Deframer, FRAME_BYTES_MAX, Hello, OutboxId, Send, SendKey, Seq,
    ServerFrame, Verdict, Welcome,
};
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The user whose device was away. Users 1, 2, 3 … chat.
const AWAY: u64 = 1_000_000;
/// Users that write to it, and how much each has under way.
const WRITERS: u64 = 16;
const WRITER_WINDOW: u64 = 64;
const READER_NICE: i32 = 19;
const READ_BYTES: usize = 256 * 1024;
const WARM_UP: Duration = Duration::from_secs(2);
/// Most that live latency may grow while the backlog is read.
const LIVE_RATIO_MAX: f64 = 1.5;

/// Options of `catch-up`.
#[derive(Clone, Debug, clap::Args)]
pub struct CatchUpArgs {
    /// Messages of the backlog
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    messages: u64,
    /// Pairs of users that chat meanwhile
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    pairs: u32,
    /// Messages of a burst of one pair
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    depth: u32,
    /// Seconds of chat without and with reading, in each round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Chat without and with reading, in turns; the median of the ratios counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Rounds in which the generator was late, before the run is given up
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=50))]
    tries: u32,
    /// Where the server keeps its data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `catch-up`.
pub fn catch_up(args: CatchUpArgs) -> Result<ExitCode, String> {
    let outputs = args.outputs.clone();
    Report::new("catch-up").measure(&outputs, move |report| measure(&args, report))
}

fn measure(args: &CatchUpArgs, report: &mut Report) -> Result<(), Failure> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut launch = Launch::new(scratch.path(), 1);
    launch.processor = Some(SERVER_PROCESSOR);
    // One device reads the same again and again, as fast as it comes.
    launch.set("limits.attach_ms", 1);
    let server = launch.start_ready()?;
    pin_generator()?;
    let tokens = launch.tokens(AWAY, 1, 2)?;
    // From its first attach on, the device counts for what is kept.
    let epoch = Reader::attach(launch.address, &tokens[0], 0, 0)?.welcome.inbox_epoch;
    progress(&format!("{} messages go to a device that is away", args.messages));
    fill(&launch, args.messages)?;
    let live = chat(args, &launch, &server)?;
    let rss_before = process::rss_bytes(server.pid())?;
    let Live { mut generator, watch, half } = live;
    let (address, messages, token) = (launch.address, args.messages, launch.tokens(AWAY, 2, 1)?);
    let read = |stop: &AtomicBool| {
        // It shares the generator's processor, and must not make that late.
        rustix::process::nice(READER_NICE).map_err(|error| format!("nice: {error}"))?;
        read_again(address, &token[0], epoch, messages, stop)
    };
    let load = Load::Open { depth: args.depth, per_second: half };
    let mut rounds = Rounds::default();
    progress(&format!("{half:.0} messages/s of chat, alone and while the device reads"));
    while rounds.ratios.len() < args.rounds as usize {
        let (alone, with, drained) = both(args, load, &mut generator, &watch, read)?;
        if !rounds.add(&alone, &with, &drained) {
            rounds.late += 1;
            if rounds.late == args.tries {
                report.invalidate(format!("the generator was late in {} rounds", rounds.late));
                break;
            }
            progress("the generator was late: the round is tried again");
            thread::sleep(REST);
        }
    }
    report.set("rounds_late", rounds.late);
    let rss_most = process::rss_peak_bytes(server.pid())?;
    report.set("messages", args.messages);
    report.set("pairs", args.pairs);
    report.set("depth", args.depth);
    report.set("backlogs_read", rounds.drained.rounds);
    report.set("drained_per_s", rounds.drained.per_s().round());
    report.set("rss_bytes_before_reading", rss_before);
    report.set("rss_peak_bytes", rss_most);
    rounds.tell_live(report, half);
    let verdict = generator.finish()?.check();
    report.set_verdict(&verdict);
    if !verdict.is_clean() || verdict.acked != verdict.delivered {
        report.invalidate(format!("ledger: {verdict:?}"));
    }
    server.stop()?;
    Ok(())
}

/// The chat alone, then while `read` runs.
fn both(
    args: &CatchUpArgs,
    load: Load,
    generator: &mut Generator<Ringmail>,
    watch: &Watch,
    read: impl FnOnce(&AtomicBool) -> Result<Drained, String> + std::marker::Send,
) -> Result<(Measured, Measured, Drained), Failure> {
    let length = Duration::from_secs(args.seconds);
    let alone = generator.measure(load, WARM_UP, length, watch)?;
    let stop = AtomicBool::new(false);
    let (with, drained) = thread::scope(|scope| {
        let reading = scope.spawn(|| read(&stop));
        let with = generator.measure(load, Duration::ZERO, length, watch);
        stop.store(true, Ordering::Relaxed);
        (with, reading.join().expect("the reader does not panic"))
    });
    Ok((alone, with?, drained?))
}

/// Chat alone and while the device reads, in turns.
#[derive(Default)]
struct Rounds {
    /// Send → delivered, in ns, of all rounds.
    alone: Option<Histogram<u64>>,
    with: Option<Histogram<u64>>,
    /// Of each round: the p99 while the device reads, to that of the chat alone.
    ratios: Vec<f64>,
    drained: Drained,
    /// The most of the rounds that count, at the 99th percentile.
    lag_ns: u64,
    /// Rounds that do not count.
    late: u32,
}

impl Rounds {
    /// Adds a round, unless the generator was late in it.
    fn add(&mut self, alone: &Measured, with: &Measured, drained: &Drained) -> bool {
        let lag_ns = alone.lag_p99_ns().max(with.lag_p99_ns());
        if lag_ns > LAG_NS_MAX {
            return false;
        }
        self.lag_ns = self.lag_ns.max(lag_ns);
        let p99 = |measured: &Measured| measured.delivered.value_at_quantile(0.99) as f64;
        self.ratios.push(p99(with) / p99(alone).max(1.0));
        for (all, one) in [(&mut self.alone, alone), (&mut self.with, with)] {
            match all {
                Some(all) => *all += &one.delivered,
                None => *all = Some(one.delivered.clone()),
            }
        }
        self.drained.rounds += drained.rounds;
        self.drained.messages += drained.messages;
        self.drained.time += drained.time;
        true
    }

    fn tell_live(&self, report: &mut Report, half: f64) {
        report.set("live_offered_per_s", half.round());
        report.set_rounded("generator_lag_p99_us", self.lag_ns as f64 / 1e3);
        let (Some(alone), Some(with)) = (&self.alone, &self.with) else { return };
        report.set_latency("live_alone_send_to_delivered", alone);
        report.set_latency("live_send_to_delivered", with);
        let ratio = median(&self.ratios);
        report.set_rounded("live_p99_ratio", ratio);
        let rounds = self.ratios.iter().map(|ratio| (ratio * 1e3).round() / 1e3);
        report.set("live_p99_ratio_rounds", rounds.collect::<Vec<f64>>());
        if ratio > LIVE_RATIO_MAX {
            report
                .fail(format!("live p99 grew {ratio:.2}-fold, where {LIVE_RATIO_MAX} is allowed"));
        }
    }
}

/// The chat, and half of what it reaches.
struct Live {
    generator: Generator<Ringmail>,
    watch: Watch,
    half: f64,
}

fn chat(args: &CatchUpArgs, launch: &Launch, server: &Running) -> Result<Live, Failure> {
    let users = 2 * args.pairs;
    let tokens = launch.tokens(1, 1, users as usize)?;
    // The client core does not ack each message either.
    let ack_each = false;
    let speak = Ringmail { tokens, first_user: 1, ack_each, seed: Random::seed() };
    let stats_file = Some(launch.stats_file());
    let watch = Watch { pid: server.pid(), stats_file, dir: launch.data_dir.clone() };
    let mut generator = Generator::connect(speak, users, launch.address)?;
    progress("saturation");
    let length = Duration::from_secs(args.seconds);
    let load = Load::Closed { depth: args.depth };
    let most = generator.measure(load, WARM_UP, length, &watch)?;
    Ok(Live { generator, watch, half: most.delivered_per_s / 2.0 })
}

/// `WRITERS` users write to the one who is away, each in a thread.
fn fill(launch: &Launch, messages: u64) -> Result<(), Failure> {
    let tokens = launch.tokens(AWAY + 1, 1, WRITERS as usize)?;
    let address = launch.address;
    thread::scope(|scope| {
        let write = |(index, token): (u64, &Vec<u8>)| {
            let token = token.clone();
            let count = messages / WRITERS + u64::from(index < messages % WRITERS);
            scope.spawn(move || write(address, &token, index, count))
        };
        let threads: Vec<_> = (0..).zip(&tokens).map(write).collect();
        threads.into_iter().try_for_each(|t| t.join().expect("a writer does not panic"))
    })?;
    Ok(())
}

fn write(address: SocketAddr, token: &[u8], index: u64, count: u64) -> Result<(), String> {
    let mut session = Reader::attach(address, token, 0, 0)?;
    let (mut sent, mut answered) = (0, 0);
    let mut out = Vec::new();
    while answered < count {
        while sent < count && sent - answered < WRITER_WINDOW {
            sent += 1;
            let key = SendKey { conv: Conv::Direct(AWAY), outbox: None, n: sent };
            let stamp = Stamp { number: sent, sender: index as u32, receiver: 0 };
            let body = stamp.body(CHAT_BYTES);
            wire::encode_client(
                &mut out,
                &ClientFrame::Send(Send { key, change: None, body: &body }),
            );
        }
        wire::encode_client(&mut out, &ClientFrame::Ack(Ack { inbox_seq: session.position }));
        session.stream.write_all(&out).map_err(|error| format!("a writer: {error}"))?;
        out.clear();
        let position = &mut session.position;
        let mut refused = None;
        read_some(&mut session.stream, &mut session.deframer, &mut session.buffer, |frame| {
            match frame {
                ServerFrame::Sent(s) => {
                    answered += 1;
                    if let wire::Answer::Fresh { d_inbox, .. } = s.answer {
                        *position += d_inbox;
                    }
                }
                ServerFrame::Own(own) => *position += own.d_inbox,
                ServerFrame::Receipt(receipt) => *position += receipt.d_inbox,
                ServerFrame::CaughtUp(_) | ServerFrame::Pong(_) => {}
                other => refused = Some(format!("a writer was told {other:?}")),
            }
        })?;
        if let Some(refused) = refused {
            return Err(refused);
        }
    }
    Ok(())
}

/// What was read in all rounds.
#[derive(Default)]
struct Drained {
    rounds: u64,
    messages: u64,
    time: Duration,
}

impl Drained {
    fn per_s(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// A device reads the whole backlog, at least once, until it is told to stop.
fn read_again(
    address: SocketAddr,
    token: &[u8],
    epoch: u64,
    messages: u64,
    stop: &AtomicBool,
) -> Result<Drained, String> {
    let mut drained = Drained { rounds: 0, messages: 0, time: Duration::ZERO };
    while drained.rounds == 0 || !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let mut reader = Reader::attach(address, token, epoch, 0)?;
        if reader.welcome.verdict != Verdict::Resume {
            return Err(format!("the device must start anew: {:?}", reader.welcome.verdict));
        }
        reader.drain(messages)?;
        drained.time += start.elapsed();
        drained.messages += messages;
        drained.rounds += 1;
    }
    Ok(drained)
}

/// A session of one device on a blocking socket.
struct Reader {
    stream: TcpStream,
    deframer: Deframer,
    buffer: Vec<u8>,
    welcome: Welcome,
    position: Seq,
}

impl Reader {
    fn attach(address: SocketAddr, token: &[u8], epoch: u64, acked: Seq) -> Result<Reader, String> {
        let attached = (|| {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let hello = Hello {
                version_min: wire::VERSION,
                version_max: wire::VERSION,
                features: wire::FEATURES,
                outbox: OutboxId(Random::seed()),
                inbox_epoch: epoch,
                acked,
                foreground: false,
                name: "",
                platform: "",
                token,
            };
            let mut out = Vec::new();
            wire::encode_client(&mut out, &ClientFrame::Hello(hello));
            stream.write_all(&out)?;
            Ok(stream)
        })();
        let mut stream = attached.map_err(|error: std::io::Error| format!("attach: {error}"))?;
        let (mut deframer, mut buffer) = (Deframer::default(), vec![0; READ_BYTES]);
        // WELCOME is read alone: what follows it belongs to the reader.
        let welcome = read_welcome(&mut stream, &mut deframer, &mut buffer[..1])?;
        let position = welcome.from;
        Ok(Reader { stream, deframer, buffer, welcome, position })
    }

    /// Reads so many messages, checks that none is missing, twice or out of order, and acks.
    fn drain(&mut self, messages: u64) -> Result<(), String> {
        let mut last = vec![0; WRITERS as usize];
        let (mut count, mut wrong) = (0, None);
        let mut acked = self.position;
        let half = self.welcome.window_frames / 2;
        let mut out = Vec::new();
        while count < messages {
            let position = &mut self.position;
            read_some(
                &mut self.stream,
                &mut self.deframer,
                &mut self.buffer,
                |frame| match frame {
                    ServerFrame::Deliver(deliver) => {
                        *position += deliver.d_inbox;
                        count += 1;
                        let stamp = Stamp::read(deliver.body);
                        let next = stamp.filter(|s| {
                            let last: Option<&mut u64> = last.get_mut(s.sender as usize);
                            last.is_some_and(|last| {
                                std::mem::replace(last, s.number) + 1 == s.number
                            })
                        });
                        if next.is_none() || deliver.d_inbox != 1 {
                            wrong.get_or_insert(format!("after entry {position}: {stamp:?}"));
                        }
                    }
                    ServerFrame::CaughtUp(_) | ServerFrame::Pong(_) => {}
                    other => *position += d_inbox(&other, &mut wrong),
                },
            )?;
            if let Some(wrong) = wrong {
                return Err(format!("the backlog is not as written: {wrong}"));
            }
            if self.position - acked >= half.min(64) {
                acked = self.position;
                wire::encode_client(&mut out, &ClientFrame::Ack(Ack { inbox_seq: acked }));
                self.stream.write_all(&out).map_err(|error| format!("an ACK: {error}"))?;
                out.clear();
            }
        }
        Ok(())
    }
}

/// Entries of other kinds are no messages of the backlog.
fn d_inbox(frame: &ServerFrame<'_>, wrong: &mut Option<String>) -> u64 {
    match frame {
        ServerFrame::ReadMark(mark) => mark.d_inbox,
        ServerFrame::Receipt(receipt) => receipt.d_inbox,
        other => {
            wrong.get_or_insert(format!("{other:?}"));
            0
        }
    }
}

fn read_welcome(
    stream: &mut TcpStream,
    deframer: &mut Deframer,
    byte: &mut [u8],
) -> Result<Welcome, String> {
    let mut welcome = None;
    while welcome.is_none() {
        stream.read_exact(byte).map_err(|error| format!("WELCOME: {error}"))?;
        let mut bytes = &*byte;
        let read =
            deframer.next(&mut bytes, FRAME_BYTES_MAX, |content| {
                match wire::decode_server(content) {
                    Ok(ServerFrame::Welcome(welcome)) => Ok(welcome),
                    other => Err(format!("{other:?} instead of WELCOME")),
                }
            });
        welcome = read.map_err(|error| error.to_string())?.transpose()?;
    }
    Ok(welcome.expect("the loop ended"))
}

/// Waits for bytes, and handles the frames in them.
fn read_some(
    stream: &mut TcpStream,
    deframer: &mut Deframer,
    buffer: &mut [u8],
    mut frame: impl FnMut(ServerFrame<'_>),
) -> Result<(), String> {
    let count = stream.read(buffer).map_err(|error| format!("read: {error}"))?;
    if count == 0 {
        return Err("the server ended the connection".to_owned());
    }
    let mut bytes = &buffer[..count];
    loop {
        let handled = deframer.next(&mut bytes, FRAME_BYTES_MAX, |content| {
            wire::decode_server(content).map(&mut frame).map_err(|error| error.to_string())
        });
        match handled.map_err(|error| error.to_string())? {
            Some(result) => result?,
            None => return Ok(()),
        }
    }
}
