//! `touch`: many more users than the server may hold in memory, one group after the other. Memory
//! stays where it is, and every conversation is complete when it is read from the store.

use crate::body::CHAT_BYTES;
use crate::crowd::Crowd;
use crate::random::Random;
use crate::report::{Outputs, Report, median};
use crate::server::{Launch, Running, Scratch};
use crate::{process, progress};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Users that are there together.
const GROUP: u32 = 100;
/// Groups that are there together.
const LANES: u32 = 2;
/// To whom of its group each user writes: so many places further.
const PEERS: [u32; 2] = [1, 7];
const PATIENCE: Duration = Duration::from_secs(30);
/// Entities of each kind that the server may hold.
const ENTITIES: u32 = 1_000;
/// The server's memory is looked at so often.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// How much more memory the middle of a pass's second half may take than that of its first. The
/// store's buffers fill and drain; 50,000 users that stayed would take more.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// Options of `touch`.
#[derive(Clone, Debug, clap::Args)]
pub struct TouchArgs {
    /// Users, in groups of 100
    #[arg(long, default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(2_000..=2_000_000))]
    users: u32,
    /// Where the server keeps its data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `touch`.
pub fn touch(args: TouchArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("touch");
    if let Err(error) = measure(&args, &mut report) {
        report.invalidate(error.to_string());
    }
    report.finish(&args.outputs)
}

fn measure(args: &TouchArgs, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let launch = launch(&scratch);
    let server = launch.start_ready()?;
    let mut groups: Vec<Group> = (0..args.users.div_ceil(GROUP)).map(Group::new).collect();
    report.set("users", groups.len() as u32 * GROUP);
    report.set("entities_max", ENTITIES);
    for (what, work) in [("written", write as Work), ("read", read)] {
        let pass = Pass::run(&launch, &server, &mut groups, what, work)?;
        pass.report(what, report);
    }
    report.judge_memory(&server)?;
    judge_conversations(&groups, report);
    server.stop()?;
    Ok(())
}

/// A server with little room, so that its ledger is near to what it uses. Entities may leave once
/// they are in the store, and cursors and when the users were last seen are logged: all of that
/// happens soon.
fn launch(scratch: &Scratch) -> Launch {
    let mut launch = Launch::new(scratch.path(), 1);
    let connections = 2 * LANES * GROUP;
    for (key, value) in [
        ("limits.users_max", ENTITIES),
        ("limits.conversations_max", ENTITIES),
        ("limits.members_max", 2 * ENTITIES),
        ("limits.connections_max", connections + 112),
        ("limits.handshakes_max", connections),
        ("limits.body_bytes_max", 1_024),
        ("limits.waiting_max", 1_024),
        ("limits.tail_bytes_max", 32 << 20),
        ("limits.reserve_bytes", 4 << 20),
        ("limits.tail_records_max", 100_000),
        ("limits.segment_bytes", 4 << 20),
        ("limits.batch_bytes", 1 << 20),
        ("limits.flush_ms", 50),
        ("limits.cursor_ms", 50),
        ("limits.presence_grace_ms", 50),
        ("limits.last_seen_ms", 50),
        ("limits.retry_after_ms", 50),
        ("store.cache_bytes", 8 << 20),
    ] {
        launch.set(key, value);
    }
    launch.keep_every_entry();
    launch
}

fn judge_conversations(groups: &[Group], report: &mut Report) {
    let crowds = || groups.iter().filter_map(|group| group.crowd.as_ref());
    let verdicts: Vec<_> = crowds().map(|crowd| crowd.ledger.check()).collect();
    report.set("acked", verdicts.iter().map(|verdict| verdict.acked).sum::<u64>());
    report.set("lost", verdicts.iter().map(|verdict| verdict.lost).sum::<u64>());
    report.set("duplicated", verdicts.iter().map(|verdict| verdict.duplicated).sum::<u64>());
    report.set("reordered", verdicts.iter().map(|verdict| verdict.reordered).sum::<u64>());
    report.set("foreign", verdicts.iter().map(|verdict| verdict.foreign).sum::<u64>());
    let faults: Vec<&String> = crowds().flat_map(|crowd| &crowd.faults).collect();
    if !verdicts.iter().all(|verdict| verdict.is_clean()) || !faults.is_empty() {
        report.fail(format!("conversations are not as written; faults: {faults:?}"));
    }
}

/// Users that are there together.
struct Group {
    number: u32,
    /// Once they have written.
    crowd: Option<Crowd>,
}

impl Group {
    fn new(number: u32) -> Group {
        Group { number, crowd: None }
    }

    fn first_user(&self) -> u64 {
        1 + u64::from(self.number) * u64::from(GROUP)
    }
}

/// What a pass does with a group; an error ends the run.
type Work = fn(&Launch, &mut Group) -> Result<(), String>;

/// A group's users come, write to each other, and leave.
fn write(launch: &Launch, group: &mut Group) -> Result<(), String> {
    let tokens = tokens(launch, group, 1)?;
    let mut crowd = Crowd::new(tokens, group.first_user(), Random::seed());
    for user in 0..GROUP {
        for peer in PEERS {
            crowd.compose_to(user, (user + peer) % GROUP, CHAT_BYTES);
        }
    }
    settle(launch, group.number, &mut crowd)?;
    group.crowd = Some(crowd);
    Ok(())
}

/// The users come again with new devices, and read everything.
fn read(launch: &Launch, group: &mut Group) -> Result<(), String> {
    let tokens = tokens(launch, group, 2)?;
    let crowd = group.crowd.as_mut().expect("it has written");
    for (user, token) in (0..).zip(tokens) {
        crowd.add_reader(user, token);
    }
    settle(launch, group.number, crowd)
}

fn tokens(launch: &Launch, group: &Group, device: u32) -> Result<Vec<Vec<u8>>, String> {
    let tokens = launch.tokens(group.first_user(), device, GROUP as usize);
    tokens.map_err(|error| error.to_string())
}

/// Until every send is acked and everything is read by everybody; then they leave.
fn settle(launch: &Launch, number: u32, crowd: &mut Crowd) -> Result<(), String> {
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    if !crowd.run(launch.address, None, PATIENCE, settled) {
        let (verdict, faults) = (crowd.ledger.check(), &crowd.faults);
        return Err(format!("group {number} did not settle: {verdict:?} {faults:?}"));
    }
    crowd.leave();
    Ok(())
}

/// All groups did the same.
struct Pass {
    took: Duration,
    /// The server's resident bytes, in the order of time.
    rss: Vec<u64>,
}

impl Pass {
    /// Some groups side by side, while the server's memory is looked at.
    fn run(
        launch: &Launch,
        server: &Running,
        groups: &mut [Group],
        what: &str,
        work: Work,
    ) -> Result<Pass, Box<dyn Error>> {
        let (begun, count) = (Instant::now(), groups.len() as u32);
        let (done, mut told) = (AtomicU32::new(0), 0);
        let mut rss = vec![process::rss_bytes(server.pid())?];
        let lane = |groups: &mut [Group]| {
            groups.iter_mut().try_for_each(|group| {
                work(launch, group)?;
                done.fetch_add(1, Relaxed);
                Ok::<(), String>(())
            })
        };
        thread::scope(|scope| {
            let lanes = groups.chunks_mut(count.div_ceil(LANES) as usize);
            let lanes: Vec<_> = lanes.map(|groups| scope.spawn(|| lane(groups))).collect();
            while !lanes.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(SAMPLE_EVERY);
                rss.push(process::rss_bytes(server.pid())?);
                let tenth = 10 * done.load(Relaxed) / count;
                if tenth > told {
                    told = tenth;
                    let (users, mib) = (count * GROUP / 10 * tenth, rss[rss.len() - 1] >> 20);
                    progress(&format!("{users} users {what}, {mib} MiB"));
                }
            }
            let mut lanes = lanes.into_iter();
            lanes.try_for_each(|lane| Ok(lane.join().expect("a lane does not panic")?))
        })
        .map_err(|error: Box<dyn Error>| error)?;
        Ok(Pass { took: begun.elapsed(), rss })
    }

    fn report(&self, what: &str, report: &mut Report) {
        let rss: Vec<f64> = self.rss.iter().map(|&bytes| bytes as f64).collect();
        let (first, second) = rss.split_at(rss.len() / 2);
        let (first, second) = (median(first) as u64, median(second) as u64);
        report.set(format!("{what}_ms"), self.took.as_millis() as u64);
        report.set(format!("{what}_rss_bytes_min"), self.rss.iter().min().copied());
        report.set(format!("{what}_rss_bytes_max"), self.rss.iter().max().copied());
        report.set(format!("{what}_rss_bytes_median_first_half"), first);
        report.set(format!("{what}_rss_bytes_median_second_half"), second);
        if second > first + GROWTH_BYTES_MAX {
            report.fail(format!("memory grew from {first} to {second} bytes"));
        }
    }
}
