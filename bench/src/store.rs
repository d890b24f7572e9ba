//! `store`: what the distributed store's writer takes from a real node, beside a plain loop of the
//! driver that inserts the same messages into the same tables (the floor), in one run; and what a
//! server acks whose log is in that node.
//!
//! Both are fed by as many threads as a server has cores; each has one batch under way, as a core
//! has. The rounds of the two alternate, because a node gets faster while it warms up.

use crate::cassandra::Cassandra;
use crate::report::{Outputs, Report, median};
use crate::server::Scratch;
use crate::store_floor::Floor;
use crate::{progress, random::Random, store_acks};
use client::wire::AckLevel;
use hdrhistogram::Histogram;
use persistence::{Backend, Batch, ConvKey, DeviceId, MessageRecord, OutboxId, Page, Paged};
use persistence::{Record, UserId};
use ringmail_scylla::{Config, Replication, Scylla, Weight};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const KEYSPACE: &str = "bench";
/// As the server has it (`limits.flush_ms`).
const FLUSH: Duration = Duration::from_secs(4);
/// Places of one page of history.
pub const PAGE: u32 = 50;
/// The writer must reach this part of the floor.
const RATIO_MIN: f64 = 0.8;

/// Options of `store`.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// Messages of one round
    #[arg(long, default_value_t = 40_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    messages: u64,
    /// Rounds of each of the two
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Threads that write, as a server has cores
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    cores: u64,
    /// Pairs of users of one thread
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pairs: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 64)]
    body_bytes: usize,
    /// Messages of one batch, at most
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=50_000))]
    batch: u64,
    /// Where the node keeps its data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// One message of a thread's users.
pub struct Message {
    /// Between whom.
    pub conv: ConvKey,
    /// Its place, number and inbox number.
    pub n: u64,
    /// Unix microseconds.
    pub time_us: u64,
}

/// The messages of one thread in one round: each of its pairs in turn.
#[derive(Clone)]
pub struct Source {
    first_user: u64,
    pairs: u64,
    next: u64,
}

impl Source {
    fn next(&mut self) -> Message {
        let (pair, n) = (self.next % self.pairs, 1 + self.next / self.pairs);
        self.next += 1;
        let user = |number| UserId::new(self.first_user + 2 * pair + number).expect("not 0");
        let conv = ConvKey::new(user(0), user(1)).expect("two users");
        Message { conv, n, time_us: 1_700_000_000_000_000 + self.next }
    }

    /// So many messages.
    pub fn take(&mut self, count: u64) -> Vec<Message> {
        (0..count).map(|_| self.next()).collect()
    }

    fn convs(&self) -> impl Iterator<Item = ConvKey> + use<> {
        let mut all = Source { next: 0, ..self.clone() };
        (0..self.pairs).map(move |_| all.next().conv)
    }
}

/// What a core would flush of these messages: the messages, and how far the recipient's device is.
fn rows_of(messages: &[Message], core: u16, body: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.core = core;
    for Message { conv, n, time_us } in messages {
        let (n, [low, high]) = (*n, conv.participants());
        let message = MessageRecord {
            conv: *conv,
            conv_seq: n,
            time_us: *time_us,
            sender: low,
            outbox: OutboxId(low.get()),
            new_outbox_of: (n == 1).then_some(DeviceId(1)),
            n,
            void: None,
            inbox: [n, n],
            marks: [true, true],
            hidden: [false; 2],
            change: None,
            body,
        };
        batch.add(&Record::Message(message), |_| true);
        let (user, device) = (high, DeviceId(1));
        batch.add(&Record::Cursor { user, device, acked: n }, |_| true);
        batch.add(&Record::Delivered { user, conv: *conv, device, upto: n }, |_| true);
    }
    batch
}

/// Runs `store`.
pub fn store(args: StoreArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("store");
    if let Err(error) = measure(&args, &mut report) {
        report.invalidate(error.to_string());
    }
    report.finish(&args.outputs)
}

/// A step of the measuring.
pub type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Run<'a> {
    args: &'a StoreArgs,
    store: Scylla,
    floor: Floor,
    body: Vec<u8>,
    /// The next thread's first user.
    next_user: u64,
}

fn measure(args: &StoreArgs, report: &mut Report) -> Done<()> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    progress("starting Cassandra");
    let node = Cassandra::start(scratch.path())?;
    let config = Config {
        addresses: vec![node.address().to_string()],
        keyspace: KEYSPACE.to_owned(),
        user: String::new(),
        password: String::new(),
        tls_ca: String::new(),
        datacenter: String::new(),
        level: AckLevel::Local,
        replication: Replication::Everywhere(1),
    };
    Scylla::migrate(&config)?;
    let store = Scylla::open(&config, "bench")?;
    let floor = Floor::open(&config.addresses, KEYSPACE)?;
    let body = vec![b'x'; args.body_bytes];
    let mut run = Run { args, store, floor, body, next_user: 1 };
    progress("warming up");
    run.writer_round()?;
    run.floor_round()?;
    let (mut writer, mut plain, mut weight) = (Vec::new(), Vec::new(), Weight::default());
    let mut sources = Vec::new();
    for round in 0..args.rounds {
        progress(&format!("round {} of {}", round + 1, args.rounds));
        plain.push(run.floor_round()?.0);
        let (rate, written, read) = run.writer_round()?;
        (weight.statements, weight.bytes) =
            (weight.statements + written.statements, weight.bytes + written.bytes);
        writer.push(rate);
        sources.extend(read);
    }
    progress("flushing at half of that");
    let lag = run.paced(median(&writer) / 2.0)?;
    progress("reading pages");
    let (pages, plain_pages) = run.pages(&sources)?;
    progress("acks of a server whose log is in the store");
    let acks = store_acks::measure(&node, scratch.path(), args.cores, args.cores * args.pairs)?;
    let messages = (args.messages * u64::from(args.rounds)) as f64;
    report.set("cores", args.cores);
    report.set("messages", args.messages * u64::from(args.rounds));
    report.set("batch_messages", args.batch);
    report.set("body_bytes", args.body_bytes as u64);
    report.set_rounded("flushed_per_s", median(&writer));
    report.set_rounded("floor_per_s", median(&plain));
    let ratio = median(&writer) / median(&plain);
    report.set_rounded("ratio", ratio);
    report.set_rounded("statements_per_message", weight.statements as f64 / messages);
    report.set_rounded("bytes_per_message", weight.bytes as f64 / messages);
    report.set_rounded("replicated_acked_per_s", acks.per_s);
    report.set_latency("replicated_ack", &acks.latency);
    report.set_rounded("replicated_generator_lag_p99_us", acks.lag_p99_ns as f64 / 1e3);
    report.set_latency("flush_lag", &lag);
    report.set_latency("history_page", &pages);
    report.set_latency("floor_page", &plain_pages);
    if ratio < RATIO_MIN {
        report.fail(format!("{ratio:.2} of the floor; {RATIO_MIN} are wanted"));
    }
    Ok(())
}

impl Run<'_> {
    /// Fresh users for each thread.
    fn sources(&mut self) -> Vec<Source> {
        let pairs = self.args.pairs;
        let sources = (0..self.args.cores).map(|core| {
            let first_user = self.next_user + 2 * core * pairs;
            Source { first_user, pairs, next: 0 }
        });
        let sources = sources.collect();
        self.next_user += 2 * self.args.cores * pairs;
        sources
    }

    /// Messages/s that were flushed, what was written, and by whom.
    fn writer_round(&mut self) -> Done<(f64, Weight, Vec<Source>)> {
        let sources = self.sources();
        let (args, store, body) = (self.args, &self.store, &self.body);
        let share = args.messages / args.cores;
        let begun = Instant::now();
        let weights = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(sources.clone())
                .map(|(core, mut source)| {
                    scope.spawn(move || {
                        let (mut weight, mut left) = (Weight::default(), share);
                        while left > 0 {
                            let messages = source.take(left.min(args.batch));
                            let batch = rows_of(&messages, core, body);
                            store.write(&batch)?;
                            let one = store.weigh(&batch);
                            weight.statements += one.statements;
                            weight.bytes += one.bytes;
                            left -= messages.len() as u64;
                        }
                        Done::Ok(weight)
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            joined.collect::<Done<Vec<Weight>>>()
        })?;
        let rate = (share * args.cores) as f64 / begun.elapsed().as_secs_f64();
        let sum = |of: fn(&Weight) -> u64| weights.iter().map(of).sum();
        let weight = Weight { statements: sum(|w| w.statements), bytes: sum(|w| w.bytes) };
        Ok((rate, weight, sources))
    }

    /// The same with the floor.
    fn floor_round(&mut self) -> Done<(f64, Vec<Source>)> {
        let sources = self.sources();
        let share = self.args.messages / self.args.cores;
        let begun = Instant::now();
        self.floor.write(sources.clone(), share, self.args.batch, &self.body)?;
        let rate = (share * self.args.cores) as f64 / begun.elapsed().as_secs_f64();
        Ok((rate, sources))
    }

    /// Messages come at a rate; how long each waits until it is in the store.
    fn paced(&mut self, rate: f64) -> Done<Histogram<u64>> {
        let sources = self.sources();
        let (args, store, body) = (self.args, &self.store, &self.body);
        let gap = Duration::from_secs_f64(args.cores as f64 / rate);
        let share = (args.messages / args.cores) as u32;
        let lags = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(sources)
                .map(|(core, mut source)| {
                    scope.spawn(move || {
                        let mut lag = Histogram::<u64>::new(3).expect("valid");
                        let (begun, mut done) = (Instant::now(), 0);
                        while done < share {
                            let due = |n: u32| begun + gap * n;
                            let leaves = due(done) + FLUSH;
                            thread::sleep(leaves.saturating_duration_since(Instant::now()));
                            let now = Instant::now();
                            let came = (done..share).take_while(|&n| due(n) <= now).count() as u64;
                            let count = came.clamp(1, args.batch) as u32;
                            let messages = source.take(count.into());
                            store.write(&rows_of(&messages, core, body))?;
                            for n in done..done + count {
                                lag.record(due(n).elapsed().as_nanos() as u64)?;
                            }
                            done += count;
                        }
                        Done::Ok(lag)
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            joined.collect::<Done<Vec<_>>>()
        })?;
        let mut all = Histogram::<u64>::new(3)?;
        lags.iter().try_for_each(|lag| all.add(lag))?;
        Ok(all)
    }

    /// One page of each conversation, in a random order, through the store and with one statement:
    /// none was read before.
    fn pages(&self, sources: &[Source]) -> Done<(Histogram<u64>, Histogram<u64>)> {
        let mut convs: Vec<ConvKey> = sources.iter().flat_map(Source::convs).collect();
        let mut random = Random::new(Random::seed());
        for index in (1..convs.len()).rev() {
            convs.swap(index, random.below(index as u64 + 1) as usize);
        }
        let (mut pages, mut plain) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
        for (index, conv) in convs.into_iter().enumerate() {
            let begun = Instant::now();
            if index % 2 == 0 {
                let (from, bytes_max) = (u64::MAX, u32::MAX);
                let page = Page::Messages { conv, from, newer: false, limit: PAGE, bytes_max };
                match self.store.page(&page)? {
                    Paged::Messages(found) if !found.is_empty() => {}
                    other => return Err(format!("no history of {conv:?}: {other:?}").into()),
                }
                pages.record(begun.elapsed().as_nanos() as u64)?;
            } else {
                self.floor.page(conv)?;
                plain.record(begun.elapsed().as_nanos() as u64)?;
            }
        }
        Ok((pages, plain))
    }
}
