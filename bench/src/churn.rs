//! `presence-churn`: every user watches others and switches between foreground and background,
//! at intended times, whatever the server does. Each change must reach each watcher.

use crate::random::Random;
use crate::report::{Failure, Outputs, Report};
use crate::server::{Launch, Scratch};
use crate::sockets::Sockets;
use crate::steady::{LAG_NS_MAX, SERVER_PROCESSOR, pin_generator};
use crate::{process, progress};
use client::wire::{
    self, Activity, ClientFrame, Deframer, FRAME_BYTES_MAX, Hello, List, OutboxId, PresenceState,
    ServerFrame, UserId, UserPresence, Watch,
};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often each user switches.
const PERIOD: Duration = Duration::from_secs(10);
/// Within this after it is due, a change must be at all its watchers.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most connections in their handshake together.
const HANDSHAKES: usize = 256;

/// Options of `presence-churn`.
#[derive(Clone, Debug, clap::Args)]
pub struct ChurnArgs {
    /// Users, each with one device
    #[arg(long, default_value_t = 8_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(10..=16_000))]
    users: u32,
    /// Users that each of them watches
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    contacts: u32,
    /// Measured seconds; every user switches once in ten
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(10..=600))]
    seconds: u64,
    /// The server's grace before somebody counts as gone, in ms
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(0..=5_000))]
    grace_ms: u64,
    /// Where the server keeps its data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `presence-churn`.
pub fn churn(args: ChurnArgs) -> Result<ExitCode, String> {
    let outputs = args.outputs.clone();
    Report::new("presence-churn").measure(&outputs, move |report| measure(&args, report))
}

fn measure(args: &ChurnArgs, report: &mut Report) -> Result<(), Failure> {
    if args.contacts >= args.users {
        return Err("--contacts must be below --users".into());
    }
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut launch = Launch::new(scratch.path(), 1);
    launch.processor = Some(SERVER_PROCESSOR);
    launch.set("limits.presence_grace_ms", args.grace_ms);
    let server = launch.start_ready()?;
    pin_generator()?;
    let tokens = launch.tokens(1, 1, args.users as usize)?;
    let mut crowd = Crowd::new(args)?;
    progress(&format!("attaching {} users", args.users));
    crowd.attach(launch.address, &tokens)?;
    progress("every user switches once before it counts");
    let start = Instant::now();
    // Set now: who leaves shortly before it is due within it.
    let length = Duration::from_secs(args.seconds);
    let from_ns = crowd.view.ns(start + PERIOD);
    crowd.view.window = (from_ns, from_ns + length.as_nanos() as u64);
    crowd.run(start, start + PERIOD)?;
    progress(&format!("{} s count", args.seconds));
    let before = process::cpu_ns(server.pid())?;
    let (heard, bytes) = (crowd.view.heard, crowd.view.bytes);
    crowd.run(start, start + PERIOD + length)?;
    let cpu_ns = process::cpu_ns(server.pid())? - before;
    let (heard, bytes) = (crowd.view.heard - heard, crowd.view.bytes - bytes);
    // Offline is due a grace later.
    crowd.settle(Duration::from_millis(args.grace_ms) + PATIENCE)?;
    report.set("users", args.users);
    report.set("contacts", args.contacts);
    report.set("seconds", args.seconds);
    crowd.tell(report);
    report.set("notifications_per_s", heard / args.seconds);
    report.set_rounded("bytes_per_notification", bytes as f64 / heard.max(1) as f64);
    report.set_rounded("server_cpu_ns_per_notification", cpu_ns as f64 / heard.max(1) as f64);
    report.set_rounded("server_cpu_share", cpu_ns as f64 / length.as_nanos() as f64);
    server.stop()?;
    Ok(())
}

/// What one user's device has of the stream.
#[derive(Default)]
struct Device {
    deframer: Deframer,
    attached: bool,
    /// Watched users of whom a state came.
    known: u32,
}

/// User `u` watches the `contacts` users after it, in a circle.
struct Crowd {
    sockets: Sockets,
    view: View,
    grace_ns: u64,
    switches: u64,
    /// Changes that were due within the window, times watchers.
    expected: u64,
    lag: Histogram<u64>,
}

/// What is true, and what the devices were told of it.
struct View {
    users: u32,
    contacts: u32,
    devices: Vec<Device>,
    /// Where each user is since its last switch, and when others must begin to know it.
    online: Vec<bool>,
    due_ns: Vec<u64>,
    /// By watcher and watched: the newest state, and its version.
    seen: Vec<(PresenceState, u64)>,
    epoch: Instant,
    window: (u64, u64),
    arrived: u64,
    heard: u64,
    bytes: u64,
    /// States with an older version than one that came before.
    older: u64,
    foreign: u64,
    latency: Histogram<u64>,
}

fn histogram() -> Histogram<u64> {
    // 1 ns to a minute, three digits.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds that are allowed")
}

impl Crowd {
    fn new(args: &ChurnArgs) -> std::io::Result<Crowd> {
        let (users, contacts) = (args.users, args.contacts);
        let view = View {
            users,
            contacts,
            devices: (0..users).map(|_| Device::default()).collect(),
            online: vec![true; users as usize],
            due_ns: vec![0; users as usize],
            seen: vec![(PresenceState::Unknown, 0); (users * contacts) as usize],
            epoch: Instant::now(),
            window: (u64::MAX, u64::MAX),
            arrived: 0,
            heard: 0,
            bytes: 0,
            older: 0,
            foreign: 0,
            latency: histogram(),
        };
        Ok(Crowd {
            sockets: Sockets::new(users)?,
            view,
            grace_ns: args.grace_ms * 1_000_000,
            switches: 0,
            expected: 0,
            lag: histogram(),
        })
    }

    /// Everybody comes, in the foreground, and then watches; until all know that all are here.
    fn attach(&mut self, server: SocketAddr, tokens: &[Vec<u8>]) -> Result<(), String> {
        let seed = Random::seed();
        for (user, token) in (0..).zip(tokens) {
            self.sockets.connect(server).map_err(|error| format!("connect: {error}"))?;
            let hello = Hello {
                version_min: wire::VERSION,
                version_max: wire::VERSION,
                features: wire::FEATURES,
                outbox: OutboxId(seed ^ u64::from(user)),
                inbox_epoch: 0,
                acked: 0,
                foreground: true,
                name: "",
                platform: "",
                token,
            };
            wire::encode_client(self.sockets.out(user), &ClientFrame::Hello(hello));
            let come = user as usize + 1;
            if come.is_multiple_of(HANDSHAKES) || come == tokens.len() {
                let first = come.saturating_sub(HANDSHAKES);
                self.wait("WELCOME", |v| v.devices[first..come].iter().all(|d| d.attached))?;
            }
        }
        for user in 0..self.view.users {
            let watched = (1..=self.view.contacts).map(|k| (user + k) % self.view.users);
            let watched: Vec<UserId> = watched.map(name).collect();
            let watch = Watch { users: List::from(watched.as_slice()) };
            wire::encode_client(self.sockets.out(user), &ClientFrame::Watch(watch));
            if user % 64 == 0 {
                self.turn(Duration::ZERO)?;
            }
        }
        let contacts = self.view.contacts;
        self.wait("PRESENCE", |v| v.devices.iter().all(|d| d.known == contacts))?;
        self.wait("online", |v| v.seen.iter().all(|seen| seen.0 == PresenceState::Online))
    }

    fn wait(&mut self, what: &str, done: impl Fn(&View) -> bool) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(30);
        while !done(&self.view) {
            if Instant::now() >= end {
                return Err(format!("no {what} for everybody after 30 s"));
            }
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Switches users at their times, evenly spread since `start`, until `end`.
    fn run(&mut self, start: Instant, end: Instant) -> Result<(), String> {
        let interval_ns = PERIOD.as_nanos() as u64 / u64::from(self.view.users);
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let mut next = start + Duration::from_nanos(interval_ns * self.switches);
            while next <= now {
                self.switch((self.switches % u64::from(self.view.users)) as u32, next);
                next = start + Duration::from_nanos(interval_ns * self.switches);
            }
            self.turn(next.min(end).saturating_duration_since(now))?;
        }
    }

    fn switch(&mut self, user: u32, at: Instant) {
        self.switches += 1;
        let view = &mut self.view;
        let foreground = !view.online[user as usize];
        view.online[user as usize] = foreground;
        let due_ns = view.ns(at) + if foreground { 0 } else { self.grace_ns };
        view.due_ns[user as usize] = due_ns;
        if view.counts(due_ns) {
            self.expected += u64::from(view.contacts);
            self.lag.saturating_record(at.elapsed().as_nanos() as u64);
        }
        let activity = ClientFrame::Activity(Activity { foreground });
        wire::encode_client(self.sockets.out(user), &activity);
    }

    /// Waits until what was due has arrived, at most this long.
    fn settle(&mut self, patience: Duration) -> Result<(), String> {
        let end = Instant::now() + patience;
        while self.view.arrived < self.expected && Instant::now() < end {
            self.turn(Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn turn(&mut self, patience: Duration) -> Result<(), String> {
        let view = &mut self.view;
        self.sockets.turn(patience, |user, bytes| view.received(user, bytes))
    }

    fn tell(&self, report: &mut Report) {
        let view = &self.view;
        report.set("expected", self.expected);
        report.set("arrived", view.arrived);
        report.set_latency("change_to_watcher", &view.latency);
        let lag_ns = self.lag.value_at_quantile(0.99);
        report.set_rounded("generator_lag_p99_us", lag_ns as f64 / 1e3);
        if lag_ns > LAG_NS_MAX {
            report.invalidate(format!("the generator lagged {} µs at p99", lag_ns / 1_000));
        }
        if self.expected == 0 || view.arrived != self.expected {
            let missing = self.expected.saturating_sub(view.arrived);
            report.invalidate(format!("{missing} of {} changes did not arrive", self.expected));
        }
        if view.older + view.foreign > 0 {
            let (older, foreign) = (view.older, view.foreign);
            report.fail(format!("{older} states were older than before, {foreign} not asked for"));
        }
    }
}

/// The number on the wire.
fn name(user: u32) -> UserId {
    UserId::new(u64::from(user) + 1).expect("above 0")
}

impl View {
    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    fn counts(&self, due_ns: u64) -> bool {
        self.window.0 <= due_ns && due_ns < self.window.1
    }

    fn received(&mut self, watcher: u32, mut bytes: &[u8]) -> Result<(), String> {
        self.bytes += bytes.len() as u64;
        let mut deframer = std::mem::take(&mut self.devices[watcher as usize].deframer);
        loop {
            let handled =
                deframer.next(&mut bytes, FRAME_BYTES_MAX, |content| self.frame(watcher, content));
            match handled.map_err(|error| error.to_string())? {
                Some(result) => result?,
                None => break,
            }
        }
        self.devices[watcher as usize].deframer = deframer;
        Ok(())
    }

    fn frame(&mut self, watcher: u32, content: &[u8]) -> Result<(), String> {
        match wire::decode_server(content).map_err(|error| error.to_string())? {
            ServerFrame::Welcome(_) => self.devices[watcher as usize].attached = true,
            ServerFrame::Presence(presence) => {
                let now_ns = self.ns(Instant::now());
                presence.users.iter().for_each(|state| self.state(watcher, state, now_ns));
            }
            ServerFrame::CaughtUp(_) | ServerFrame::Pong(_) => {}
            other => return Err(format!("not asked for: {other:?}")),
        }
        Ok(())
    }

    fn state(&mut self, watcher: u32, state: UserPresence, now_ns: u64) {
        self.heard += 1;
        let watched = (state.user.get() - 1) as u32;
        // Places after the watcher in the circle, from 1.
        let place = (watched + self.users - watcher) % self.users;
        if watched >= self.users || place == 0 || place > self.contacts {
            self.foreign += 1;
            return;
        }
        let seen = &mut self.seen[(watcher * self.contacts + place - 1) as usize];
        self.older += u64::from(state.version < seen.1);
        let first = seen.1 == 0;
        let before = std::mem::replace(seen, (state.state, state.version)).0;
        self.devices[watcher as usize].known += u32::from(first);
        let true_now = self.online[watched as usize] == (state.state == PresenceState::Online);
        let due_ns = self.due_ns[watched as usize];
        if before != state.state && true_now && self.counts(due_ns) {
            self.arrived += 1;
            self.latency.saturating_record(now_ns.saturating_sub(due_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let args = ChurnArgs {
            users: 10,
            contacts: 2,
            seconds: 10,
            grace_ms: 0,
            dir: None,
            outputs: Outputs::default(),
        };
        let mut view = Crowd::new(&args).unwrap().view;
        view.window = (0, u64::MAX);
        view
    }

    #[test]
    fn a_change_counts_once_at_each_watcher_and_only_if_it_is_true() {
        let mut view = view();
        let state = |watched: u32, state, version| UserPresence {
            user: name(watched),
            state,
            version,
            last_seen_ms: 0,
        };
        view.online[0] = false;
        view.state(9, state(0, PresenceState::Online, 5), 100);
        assert_eq!(view.arrived, 0, "not true any more");
        view.state(9, state(0, PresenceState::Offline, 6), 100);
        view.state(9, state(0, PresenceState::Offline, 6), 100);
        assert_eq!((view.arrived, view.older, view.foreign), (1, 0, 0));
        view.state(8, state(0, PresenceState::Offline, 6), 100);
        assert_eq!(view.arrived, 2);
        view.state(8, state(0, PresenceState::Offline, 5), 100);
        view.state(7, state(0, PresenceState::Offline, 6), 100);
        assert_eq!((view.arrived, view.older, view.foreign), (2, 1, 1));
    }
}
