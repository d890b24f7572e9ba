//! `redis-wipes`: under steady load Redis is wiped or killed, again and again, and now and then the
//! server too. Nothing may be lost by that, no page of history may be wrong, and the routes must
//! be back soon. At the end everything is read back and compared with what was acked.

use crate::body::CHAT_BYTES;
use crate::cassandra::{Cassandra, Store};
use crate::crowd::{Crowd, Habits};
use crate::pages::{self, Pages};
use crate::random::Random;
use crate::redis::Redis;
use crate::report::{Outputs, Report};
use crate::server::{Launch, Running, Scratch, ServerError};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const FIRST_USER: u64 = 1;
/// Promised.
const BACK_MS_MAX: u64 = 5_000;
/// Routes that are not there by then do not come.
const BACK_PATIENCE: Duration = Duration::from_secs(20);
/// From one look at the routes to the next.
const LOOK: Duration = Duration::from_millis(10);
/// Redis stays away for less than so many ms, where it is killed.
const AWAY_MS_MAX: u64 = 400;
/// The server is killed with one wipe in so many.
const SERVER_KILL_EVERY: u64 = 10;
const READY_PATIENCE: Duration = Duration::from_secs(30);
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

/// Options of `redis-wipes`.
#[derive(Clone, Debug, clap::Args)]
pub struct WipesArgs {
    /// How often Redis is wiped or killed, by turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    wipes: u64,
    /// Cores of the server
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// The store behind the log; scylla: a real Cassandra is started beside the server
    #[arg(long, value_enum, default_value_t = Store::Embedded)]
    store: Store,
    /// Users; each writes to all others
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    users: u32,
    /// Messages that each user has queued or in flight
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    depth: u32,
    /// Redis is left alone for at least so many ms once the routes are there
    #[arg(long, default_value_t = 100)]
    rest_ms_min: u64,
    /// … and for less than so many
    #[arg(long, default_value_t = 800)]
    rest_ms_max: u64,
    /// Same seed, same intervals and peers
    #[arg(long)]
    seed: Option<u64>,
    /// Where the server keeps its data during the run; a disk, not memory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `redis-wipes`.
pub fn redis_wipes(args: WipesArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("redis-wipes");
    let begun = Instant::now();
    let mut run = Run::new(&args).map_err(|error| error.to_string())?;
    if let Err(why) = run.wipe_all().and_then(|()| run.read_back()) {
        report.invalidate(why);
    }
    run.report(&mut report);
    report.set("seconds", begun.elapsed().as_secs());
    report.finish(&args.outputs)
}

struct Run<'a> {
    args: &'a WipesArgs,
    random: Random,
    seed: u64,
    launch: Launch,
    crowd: Crowd,
    wipes: u64,
    kills: u64,
    server_kills: u64,
    back_ms: Vec<u64>,
    pages: Pages,
    /// Of which windows had so many, and the store so many.
    sources: (u64, u64),
    /// What `ringmail store routes` said last.
    routes: String,
    redis: Redis,
    _cassandra: Option<Cassandra>,
    _scratch: Scratch,
}

fn words(error: ServerError) -> String {
    error.to_string()
}

impl<'a> Run<'a> {
    fn new(args: &'a WipesArgs) -> Result<Run<'a>, ServerError> {
        let seed = args.seed.unwrap_or_else(Random::seed);
        let scratch = Scratch::new(args.dir.as_deref())?;
        let mut launch = Launch::new(scratch.path(), args.shards);
        launch.keep_every_entry();
        // The reader of pages does more than any person.
        for limit in ["limits.attach_burst", "limits.page_burst"] {
            launch.set(limit, 1_000_000);
        }
        // What the log's tail holds is read from there: with a short one, pages reach further.
        launch.set("limits.flush_ms", 20);
        let redis = Redis::start(scratch.path())?;
        redis.serve(&mut launch);
        let mut cassandra = None;
        if args.store == Store::Scylla {
            crate::progress("starting Cassandra");
            let node = Cassandra::start(scratch.path())?;
            node.serve(&mut launch)?;
            cassandra = Some(node);
        }
        // The first start makes the key that tokens are signed with.
        launch.start_ready()?.stop()?;
        let tokens = launch.tokens(FIRST_USER, 1, args.users as usize)?;
        let mut random = Random::new(seed);
        let crowd = Crowd::new(tokens, FIRST_USER, random.number());
        Ok(Run {
            args,
            random,
            seed,
            launch,
            crowd,
            wipes: 0,
            kills: 0,
            server_kills: 0,
            back_ms: Vec::new(),
            pages: Pages::default(),
            sources: (0, 0),
            routes: String::new(),
            redis,
            _cassandra: cassandra,
            _scratch: scratch,
        })
    }

    /// The load goes on for so long.
    fn chat(&mut self, length: Duration, done: impl FnMut(&mut Crowd) -> bool) -> bool {
        let habits = Habits { depth: self.args.depth as usize, body_bytes: CHAT_BYTES };
        self.crowd.run(self.launch.address, Some(habits), length, done)
    }

    fn wipe_all(&mut self) -> Result<(), String> {
        let tokens = self.launch.tokens(FIRST_USER, 3, self.args.users as usize);
        let (tokens, address) = (tokens.map_err(words)?, self.launch.address);
        let (seed, end) = (self.random.number(), AtomicBool::new(false));
        thread::scope(|scope| {
            let done = || end.load(Relaxed);
            let users = (FIRST_USER, &tokens[..]);
            let reader = scope.spawn(move || pages::read(address, users, seed, done));
            let wiped = self.wipe_under_load();
            end.store(true, Relaxed);
            self.pages = reader.join().expect("the reader does not panic");
            wiped
        })
    }

    fn wipe_under_load(&mut self) -> Result<(), String> {
        let bar = ProgressBar::new(self.args.wipes);
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} wipes, {msg}, {eta} left");
        bar.set_style(style.expect("a template without mistakes"));
        let mut server = self.start_server()?;
        let mut epoch = self.await_routes(Instant::now(), 1)?;
        self.back_ms.clear();
        while self.wipes + self.kills < self.args.wipes {
            let (least, most) = (self.args.rest_ms_min, self.args.rest_ms_max);
            let rest = least + self.random.below(most.saturating_sub(least).max(1));
            self.chat(Duration::from_millis(rest), |_| false);
            (server, epoch) = self.wipe_once(server, epoch)?;
            bar.set_message(format!("{} messages", self.crowd.ledger.composed()));
            bar.inc(1);
        }
        bar.finish();
        self.routes = self.launch.run(&["store", "routes"]).map_err(words)?;
        // The next heartbeat tells of the last pages.
        self.chat(Duration::from_millis(1_500), |_| false);
        self.count_pages();
        server.stop().map_err(words)
    }

    /// Wipes or kills Redis, and the server with it if it is its turn, and awaits the routes.
    fn wipe_once(&mut self, server: Running, epoch: u64) -> Result<(Running, u64), String> {
        let mut server = Some(server);
        if (self.wipes + self.kills) % SERVER_KILL_EVERY == SERVER_KILL_EVERY / 2 {
            self.count_pages();
            server.take().expect("it runs").kill();
            self.server_kills += 1;
        }
        let mut gone = Instant::now();
        if self.wipes <= self.kills {
            self.redis.wipe().map_err(words)?;
            self.wipes += 1;
        } else {
            self.redis.kill();
            let away = self.random.below(AWAY_MS_MAX);
            self.chat(Duration::from_millis(away), |_| false);
            self.redis.start_again().map_err(words)?;
            self.kills += 1;
            gone = Instant::now();
        }
        // A start has a generation of its own.
        let epoch = epoch + u64::from(server.is_none());
        let mut server = match server {
            Some(server) => server,
            None => {
                let server = self.start_server()?;
                gone = Instant::now();
                server
            }
        };
        let epoch = self.await_routes(gone, epoch)?;
        match server.has_ended() {
            Some((status, said)) => Err(format!("the server ended: {status}, {said}")),
            None => Ok((server, epoch)),
        }
    }

    /// Starts the server under load.
    fn start_server(&mut self) -> Result<Running, String> {
        let mut server = self.launch.start().map_err(words)?;
        let mut ready = Ok(false);
        self.chat(READY_PATIENCE, |_| {
            ready = server.is_ready(Duration::ZERO);
            !matches!(ready, Ok(false))
        });
        match ready.map_err(words)? {
            true => Ok(server),
            false => Err(words(ServerError::Slow(READY_PATIENCE))),
        }
    }

    /// Goes on under load until every slot is routed to the server, at this epoch or a later one.
    fn await_routes(&mut self, gone: Instant, epoch: u64) -> Result<u64, String> {
        let (node, redis) = (self.launch.address, &self.redis);
        let (mut found, mut looked) = (None, gone);
        let habits = Habits { depth: self.args.depth as usize, body_bytes: CHAT_BYTES };
        self.crowd.run(node, Some(habits), BACK_PATIENCE, |_| {
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                found = redis.routed_to(node).filter(|found| *found >= epoch);
            }
            found.is_some()
        });
        self.back_ms.push(gone.elapsed().as_millis() as u64);
        let wipe = self.wipes + self.kills;
        found.ok_or_else(|| format!("after wipe {wipe}: no routes within {BACK_PATIENCE:?}"))
    }

    fn count_pages(&mut self) {
        let (windows, store) = self.redis.pages(self.launch.address);
        self.sources.0 += windows;
        self.sources.1 += store;
    }

    /// Lets everything settle, then reads everything with new devices of every other user.
    fn read_back(&mut self) -> Result<(), String> {
        let mut server = self.launch.start().map_err(words)?;
        server.wait_ready(READY_PATIENCE).map_err(words)?;
        let address = self.launch.address;
        crate::progress("settling");
        let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
        if !self.crowd.run(address, None, SETTLE_PATIENCE, settled) {
            return Err(format!("it does not settle: {}", self.crowd.waits_for()));
        }
        crate::progress("reading back with second devices");
        let tokens = self.launch.tokens(FIRST_USER, 2, self.args.users as usize).map_err(words)?;
        for (user, token) in (0..).zip(tokens).step_by(2) {
            self.crowd.add_reader(user, token);
        }
        if !self.crowd.run(address, None, SETTLE_PATIENCE, |crowd| crowd.readers_are_level()) {
            return Err(format!("not read to the end: {}", self.crowd.waits_for()));
        }
        server.stop().map_err(words)
    }

    fn report(&self, report: &mut Report) {
        let verdict = self.crowd.ledger.check();
        report.set("wipes", self.wipes);
        report.set("redis_kills", self.kills);
        report.set("server_kills", self.server_kills);
        report.set("store", format!("{:?}", self.args.store).to_lowercase());
        report.set("shards", self.args.shards);
        report.set("users", self.args.users);
        report.set("depth", self.args.depth);
        report.set("seed", self.seed);
        report.set_verdict(&verdict);
        let mut back_ms = self.back_ms.clone();
        back_ms.sort_unstable();
        let worst = back_ms.last().copied().unwrap_or(0);
        report.set("routes_back_ms_p50", back_ms.get(back_ms.len() / 2).copied());
        report.set("routes_back_ms_max", worst);
        report.set("pages_read", self.pages.read);
        report.set("page_places", self.pages.places.len());
        report.set("pages_from_windows", self.sources.0);
        report.set("pages_from_store", self.sources.1);
        report.set("routes", self.routes.trim_end());
        let wrong = |&&(number, place): &&(u64, u64)| !self.crowd.ledger.stands(number, place);
        let wrong = self.pages.places.iter().filter(wrong).count();
        report.set("page_places_wrong", wrong);
        if !verdict.is_clean() || wrong > 0 {
            report.fail("the server broke its promises");
        }
        if worst > BACK_MS_MAX {
            report.fail(format!("routes were back after {worst} ms, {BACK_MS_MAX} are allowed"));
        }
        if verdict.acked == 0 || self.pages.read == 0 || self.sources.0 == 0 {
            report.invalidate("nothing was acked, or no page was read, or none from a window");
        }
        if let Some(fault) = self.crowd.faults.iter().chain(&self.pages.faults).next() {
            let count = self.crowd.faults.len() + self.pages.faults.len();
            report.fail(format!("{count} faults seen by clients, the first: {fault}"));
        }
    }
}
