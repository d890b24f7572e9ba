//! `kill9`: the real server is killed at random moments under load, and started again, many times.
//! At the end everything is read back and compared with what was acked.

use crate::body::CHAT_BYTES;
use crate::cassandra::{Cassandra, Cluster, Store};
use crate::crowd::{Crowd, Habits};
use crate::kill9_args::{Ack, Kill9Args};
use crate::outage::{self, Outage};
use crate::random::Random;
use crate::report::Report;
use crate::server::{Launch, Running, Scratch, ServerError};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;
use serde_json::Value;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const FIRST_USER: u64 = 1;
/// One kill in so many comes before the server is ready.
const EARLY_EVERY: u64 = 5;
/// A server that is not ready by then does not recover.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// The load goes on for so long once the store is back.
const STORE_BACK: Duration = Duration::from_secs(1);
/// A server that acks nothing for so long with the store back does not heal.
const HEAL_PATIENCE: Duration = Duration::from_secs(90);
/// A process that another one replaced ends by then, once it wakes.
const WAKE_PATIENCE: Duration = Duration::from_secs(30);
/// A store that does not answer by then does not start.
const STORE_PATIENCE: Duration = Duration::from_secs(180);
/// For the last messages to arrive, and for the reading back.
const SETTLE_PATIENCE: Duration = Duration::from_secs(180);

/// Runs `kill9`.
pub fn kill9(args: Kill9Args) -> Result<ExitCode, String> {
    args.check()?;
    let (mut report, begun) = (Report::new("kill9"), Instant::now());
    let mut run = Run::new(&args).map_err(|error| error.to_string())?;
    if let Err(error) = run.kill_all().and_then(|()| run.read_back()) {
        report.invalidate(error.to_string());
    }
    run.report(&mut report);
    report.set("seconds", begun.elapsed().as_secs());
    report.finish(&args.outputs)
}

/// Why the run ended early.
#[derive(Debug, thiserror::Error)]
enum KillError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("after kill {0}: {1}")]
    Ended(u64, String),
    #[error("the store is back, and nothing is acked for {HEAL_PATIENCE:?}")]
    Unhealed,
    #[error("after the last kill: {0} within {SETTLE_PATIENCE:?}: {1}")]
    Unsettled(&'static str, String),
}

struct Run<'a> {
    args: &'a Kill9Args,
    random: Random,
    seed: u64,
    launch: Launch,
    crowd: Crowd,
    /// Dropped before the directory that it writes into.
    cassandra: Option<Cassandra>,
    outages: Vec<Outage>,
    /// Sends that the server refused for now, while nodes of the store were away.
    refused_in_outages: u64,
    /// Takeovers of a killed and of a stopped server.
    taken_over: [u64; 2],
    kills: u64,
    early_kills: u64,
    ready_ms: Vec<u64>,
    /// Of the slowest start: what its time went into.
    slowest_steps: Value,
    /// How long the server took that all was read back from.
    last_ready_ms: u64,
    /// When its steps were done.
    last_steps: Value,
    _scratch: Scratch,
}

impl<'a> Run<'a> {
    fn new(args: &'a Kill9Args) -> Result<Run<'a>, ServerError> {
        let seed = args.seed.unwrap_or_else(Random::seed);
        let scratch = Scratch::new(args.dir.as_deref())?;
        let mut launch = Launch::new(scratch.path(), args.shards);
        launch.keep_every_entry();
        let mut cassandra = None;
        if args.store == Store::Scylla {
            crate::progress("starting Cassandra");
            let nodes = args.nodes();
            let datacenters = args.store_datacenters || args.ack == Ack::Geo;
            let mut node = match nodes {
                1 => Cassandra::start(scratch.path())?,
                _ => Cassandra::start_cluster(scratch.path(), Cluster { nodes, datacenters })?,
            };
            if args.spares_first() {
                node.spare_first();
            }
            node.serve(&mut launch)?;
            launch.set("ack", format!("{:?}", args.ack).to_lowercase());
            launch.set("node", "kill9");
            cassandra = Some(node);
        }
        // The first start makes the key that tokens are signed with.
        launch.start_ready()?.stop()?;
        let tokens = launch.tokens(FIRST_USER, 1, args.users as usize)?;
        let mut random = Random::new(seed);
        let crowd = Crowd::new(tokens, FIRST_USER, random.number());
        let (kills, early_kills, ready_ms) = (0, 0, Vec::new());
        Ok(Run {
            args,
            random,
            seed,
            launch,
            crowd,
            cassandra,
            outages: Vec::new(),
            refused_in_outages: 0,
            taken_over: [0; 2],
            kills,
            early_kills,
            ready_ms,
            slowest_steps: Value::Null,
            last_ready_ms: 0,
            last_steps: Value::Null,
            _scratch: scratch,
        })
    }

    fn kill_all(&mut self) -> Result<(), KillError> {
        let bar = ProgressBar::new(self.args.kills);
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {msg}, {eta} left");
        bar.set_style(style.expect("a template without mistakes"));
        while self.kills < self.args.kills {
            if self.args.vary_shards {
                self.launch.shards = 1 + self.random.below(3) as u16;
            }
            let server = self.launch.start()?;
            // One that got ready sooner than usual makes the next kill an early one.
            let early = self.early_kills < (self.kills + 1) / EARLY_EVERY;
            let every = self.args.take_over_every;
            // Only from one that has the node can it be taken.
            let takes_over = every > 0 && self.kills % every == every / 2;
            let early = early && !takes_over;
            let server = if early { self.run_early(server)? } else { self.run_ready(server)? };
            if takes_over {
                self.take_over(server)?;
            } else {
                server.kill();
            }
            self.kills += 1;
            // Now and then a client dies with it.
            if self.random.below(4) == 0 {
                self.crowd.restart_one();
            }
            bar.set_message(format!("{} messages", self.crowd.ledger.composed()));
            bar.inc(1);
        }
        bar.finish();
        Ok(())
    }

    fn habits(&self) -> Option<Habits> {
        Some(Habits { depth: self.args.depth as usize, body_bytes: CHAT_BYTES })
    }

    /// Lets the server start for a random part of the time that it needed when it was fast.
    fn run_early(&mut self, mut server: Running) -> Result<Running, KillError> {
        let usual_us = 1_000 * self.ready_ms.iter().rev().take(20).min().copied().unwrap_or(20);
        let length = Duration::from_micros(self.random.below(usual_us));
        let habits = self.habits();
        self.crowd.run(self.launch.address, habits, length, |_| false);
        if !server.is_ready(Duration::ZERO)? {
            self.early_kills += 1;
        }
        Ok(server)
    }

    fn run_ready(&mut self, mut server: Running) -> Result<Running, KillError> {
        self.await_ready(&mut server)?;
        let ready_ms = server.started.elapsed().as_millis() as u64;
        if self.ready_ms.iter().all(|&other| other < ready_ms) {
            let ready = server.ready.as_ref().expect("awaited");
            self.slowest_steps = ready["recovery"]["steps"].clone();
        }
        self.ready_ms.push(ready_ms);
        let (least, most) = (self.args.run_ms_min, self.args.run_ms_max);
        let length = least + self.random.below(most.saturating_sub(least).max(1));
        let habits = self.habits();
        self.crowd.run(self.launch.address, habits, Duration::from_millis(length), |_| false);
        let every = self.args.store_kill_every;
        if every > 0 && self.kills % every == every / 2 {
            self.kill_store()?;
        }
        match server.has_ended() {
            Some((status, words)) => {
                let words: Vec<&str> = words.lines().collect();
                let words = format!("the server ended: {status}, {}", words.join(" / "));
                Err(KillError::Ended(self.kills, words))
            }
            None => Ok(server),
        }
    }

    /// Kills the store and starts it again, while clients go on.
    fn kill_store(&mut self) -> Result<(), KillError> {
        let Some(mut cassandra) = self.cassandra.take() else { return Ok(()) };
        let (address, habits) = (self.launch.address, self.habits());
        if let (Some(last), 2..) = (self.outages.last(), self.args.nodes()) {
            let rest = Duration::from_millis(self.args.store_rest_ms);
            let rest = rest.saturating_sub(last.ready.elapsed());
            self.crowd.run(address, habits, rest, |_| false);
        }
        let killed = Instant::now();
        cassandra.kill_together(self.args.store_kill_nodes.into());
        let half = Duration::from_millis(self.args.store_down_ms) / 2;
        let refused = |crowd: &Crowd| crowd.refusals.values().sum::<u64>();
        let before = refused(&self.crowd);
        self.crowd.run(address, habits, half, |_| false);
        // One more message of each, for a server that by now takes no more of them.
        let depth = self.args.depth as usize + 1;
        let habits_later = habits.map(|habits| Habits { depth, ..habits });
        self.crowd.run(address, habits_later, half, |_| false);
        self.refused_in_outages += refused(&self.crowd) - before;
        let started = Instant::now();
        cassandra.start_again()?;
        let mut back = Ok(false);
        self.crowd.run(address, habits, STORE_PATIENCE, |_| {
            back = cassandra.is_ready();
            !matches!(back, Ok(false))
        });
        if !back? {
            return Err(ServerError::Slow(STORE_PATIENCE).into());
        }
        self.cassandra = Some(cassandra);
        let ready = Instant::now();
        let acks = |crowd: &mut Crowd| crowd.acks.last().is_some_and(|ack| ack.acked > started);
        if !self.crowd.run(address, habits, HEAL_PATIENCE, acks) {
            return Err(KillError::Unhealed);
        }
        self.crowd.run(address, habits, STORE_BACK, |_| false);
        self.outages.push(Outage { killed, started, ready, back: Instant::now() });
        Ok(())
    }

    /// Another process with an empty directory takes the node from this one, which is killed, or
    /// is stopped and wakes when it is replaced.
    fn take_over(&mut self, old: Running) -> Result<(), KillError> {
        let stopped = self.taken_over[0] > self.taken_over[1];
        self.taken_over[usize::from(stopped)] += 1;
        let mut kept = None;
        if stopped {
            old.signal(Signal::STOP)?;
            kept = Some(old);
        } else {
            old.kill();
        }
        self.launch.move_away(self.kills)?;
        let server = self.launch.start()?;
        let server = self.run_ready(server)?;
        if let Some(mut old) = kept {
            old.signal(Signal::CONT)?;
            let (address, habits) = (self.launch.address, self.habits());
            let mut ended = false;
            self.crowd.run(address, habits, WAKE_PATIENCE, |_| {
                ended = old.has_ended().is_some();
                ended
            });
            if !ended {
                let fault = format!("a process that was replaced goes on for {WAKE_PATIENCE:?}");
                self.crowd.faults.push(fault);
            }
        }
        server.kill();
        Ok(())
    }

    fn await_ready(&mut self, server: &mut Running) -> Result<(), KillError> {
        let mut failed = None;
        let habits = self.habits();
        self.crowd.run(self.launch.address, habits, READY_PATIENCE, |_| {
            match server.is_ready(Duration::ZERO) {
                Ok(ready) => ready,
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
        });
        match failed {
            Some(error) => Err(KillError::Ended(self.kills, error.to_string())),
            None if server.ready.is_none() => Err(ServerError::Slow(READY_PATIENCE).into()),
            None => Ok(()),
        }
    }

    /// Nodes of the store and the server are lost for ever; another process takes over.
    fn lose(&mut self) -> Result<(), KillError> {
        let server = self.launch.start()?;
        let server = self.run_ready(server)?;
        if let Some(cassandra) = &mut self.cassandra {
            cassandra.lose(self.args.lose_nodes.into());
        }
        server.kill();
        if self.args.ack == Ack::Geo {
            self.launch.set("store.datacenter", format!("dc{}", self.args.lose_nodes + 1));
        }
        Ok(self.launch.move_away(self.kills)?)
    }

    /// Lets everything settle, then reads everything with new devices of every other user.
    fn read_back(&mut self) -> Result<(), KillError> {
        let loses = self.args.lose_nodes > 0;
        if loses {
            self.lose()?;
        }
        let mut server = self.launch.start()?;
        // The nodes that are left may have to find out first that the others are gone.
        server.wait_ready(if loses { STORE_PATIENCE } else { READY_PATIENCE })?;
        self.last_ready_ms = server.started.elapsed().as_millis() as u64;
        let ready = server.ready.as_ref().expect("awaited");
        self.last_steps = ready["recovery"]["steps"].clone();
        let address = self.launch.address;
        crate::progress("settling");
        let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
        if !self.crowd.run(address, None, SETTLE_PATIENCE, settled) {
            let waits_for = self.crowd.waits_for();
            let end = "not every send was settled and delivered";
            return Err(KillError::Unsettled(end, waits_for));
        }
        crate::progress("reading back with second devices");
        let tokens = self.launch.tokens(FIRST_USER, 2, self.args.users as usize)?;
        for (user, token) in (0..).zip(tokens).step_by(2) {
            self.crowd.add_reader(user, token);
        }
        let level = self.crowd.run(address, None, SETTLE_PATIENCE, |c| c.readers_are_level());
        if !level {
            let waits_for = self.crowd.waits_for();
            let end = "the second devices did not read to the end";
            return Err(KillError::Unsettled(end, waits_for));
        }
        server.stop()?;
        Ok(())
    }

    fn report(&self, report: &mut Report) {
        let verdict = self.crowd.ledger.check();
        report.set("kills", self.kills);
        report.set("kills_before_ready", self.early_kills);
        report.set("store", format!("{:?}", self.args.store).to_lowercase());
        report.set("ack", format!("{:?}", self.args.ack).to_lowercase());
        report.set("shards", self.args.shards);
        report.set("vary_shards", self.args.vary_shards);
        report.set("users", self.args.users);
        report.set("depth", self.args.depth);
        report.set("seed", self.seed);
        report.set_verdict(&verdict);
        self.report_store(report);
        report.set("ready_ms_max", self.ready_ms.iter().max().copied());
        report.set("ready_ms_max_steps", self.slowest_steps.clone());
        if !verdict.is_clean() {
            report.fail("the server broke its promises");
        }
        if verdict.acked == 0 {
            report.invalidate("nothing was acked");
        }
        // One that is stopped is silent, and so is a log in a store that is away.
        let from_store = self.args.ack != Ack::Local;
        let silent = |fault: &&String| from_store && fault.starts_with("the server is silent");
        let (silences, faults): (Vec<_>, Vec<_>) = self.crowd.faults.iter().partition(silent);
        report.set("silences", silences.len());
        for (code, count) in &self.crowd.refusals {
            report.set(format!("refused_{}", code.to_lowercase()), *count);
        }
        if let Some(fault) = faults.first() {
            report.fail(format!("{} faults seen by clients, the first: {fault}", faults.len()));
        }
    }

    fn report_store(&self, report: &mut Report) {
        let Some(_) = &self.cassandra else { return };
        report.set("store_nodes", self.args.nodes());
        let [killed, stopped] = self.taken_over;
        report.set("taken_over_killed", killed);
        report.set("taken_over_stopped", stopped);
        let (acks, unacked) = (&self.crowd.acks, self.crowd.unacked());
        let while_awake = |outage: &&Outage| !outage.overlaps(&self.crowd.stood_still);
        let judged = self.outages.iter().filter(while_awake);
        let seen = outage::seen(judged, acks, &unacked);
        report.set("store_kills", self.outages.len());
        report.set("outages_judged", seen.outages);
        report.set("store_kill_nodes", self.args.store_kill_nodes);
        report.set("lost_nodes", self.args.lose_nodes);
        report.set("last_ready_ms", self.last_ready_ms);
        report.set("last_ready_ms_steps", self.last_steps.clone());
        if seen.outages == 0 {
            return;
        }
        report.set("outage_refusals", self.refused_in_outages);
        report.set("outage_without_ack_ms_max", seen.gap.as_millis() as u64);
        report.set("outage_sends", seen.sends);
        report.set_rounded("outage_sends_acked_within_5_s_percent", seen.in_time_percent());
        report.set("back_without_ack_ms_max", seen.resumed.as_millis() as u64);
        // From the disk is acked what needs nothing of the store.
        let (local, quorum_left) = (self.args.ack == Ack::Local, self.args.quorum_left());
        report.set("acks_without_quorum", if quorum_left { 0 } else { seen.false_acks });
        if let Some(broken) = seen.broken(quorum_left).filter(|_| quorum_left || !local) {
            report.fail(broken);
        }
    }
}
