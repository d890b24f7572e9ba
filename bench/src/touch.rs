//! `touch`: many more users than the server may hold in memory, one group after the other. Memory
//! stays where it is, and every conversation is complete when it is read from the store.

use crate::body::CHAT_BYTES;
use crate::crowd::Crowd;
use crate::random::Random;
use crate::report::{Outputs, Report};
use crate::server::{Launch, Running, Scratch};
use crate::{process, progress};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Users that are there together.
const GROUP: u32 = 200;
/// To whom of its group each user writes: so many places further.
const PEERS: [u32; 2] = [1, 7];
const PATIENCE: Duration = Duration::from_secs(30);
/// Entities of each kind that the server may hold.
const ENTITIES: u32 = 1_000;
/// Memory that may come after the first tenth of the users: the store's buffers fill and drain.
const GROWTH_BYTES_MAX: u64 = 32 << 20;
const BESIDE_LEDGER_BYTES: u64 = 64 << 20;

/// Options of `touch`.
#[derive(Clone, Debug, clap::Args)]
pub struct TouchArgs {
    /// Users, in groups of 200
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
    let mut launch = Launch::new(scratch.path(), 1);
    launch.set("limits.users_max", ENTITIES);
    launch.set("limits.conversations_max", ENTITIES);
    launch.set("limits.members_max", 2 * ENTITIES);
    launch.set("limits.connections_max", 2 * GROUP + 112);
    launch.set("limits.handshakes_max", GROUP + 56);
    let server = launch.start_ready()?;
    let groups = args.users.div_ceil(GROUP);
    let mut crowds = Vec::new();
    let mut rss = Vec::new();
    for group in 0..groups {
        crowds.push(write(&launch, group)?);
        sample(&server, &mut rss, "written", group, groups)?;
    }
    for (group, crowd) in (0..).zip(&mut crowds) {
        read(&launch, group, crowd)?;
        sample(&server, &mut rss, "read", group, groups)?;
    }
    let first = rss[groups as usize / 10];
    let most = rss[groups as usize / 10..].iter().copied().max().unwrap_or(first);
    let peak = process::rss_peak_bytes(server.pid())?;
    let ledger = server.ready.as_ref().and_then(|ready| ready["ledger_bytes"].as_u64());
    report.set("users", groups * GROUP);
    report.set("entities_max", ENTITIES);
    report.set("rss_bytes_after_a_tenth", first);
    report.set("rss_bytes_most_later", most);
    report.set("rss_peak_bytes", peak);
    report.set("ledger_bytes", ledger);
    if most > first + GROWTH_BYTES_MAX {
        report.fail(format!("memory grew from {first} to {most} bytes"));
    }
    if ledger.is_some_and(|ledger| peak > ledger + BESIDE_LEDGER_BYTES) {
        report.fail(format!("{peak} bytes were resident, above the ledger {ledger:?} + 64 MiB"));
    }
    let verdicts: Vec<_> = crowds.iter().map(|crowd| crowd.ledger.check()).collect();
    report.set("acked", verdicts.iter().map(|verdict| verdict.acked).sum::<u64>());
    report.set("lost", verdicts.iter().map(|verdict| verdict.lost).sum::<u64>());
    report.set("duplicated", verdicts.iter().map(|verdict| verdict.duplicated).sum::<u64>());
    report.set("reordered", verdicts.iter().map(|verdict| verdict.reordered).sum::<u64>());
    report.set("foreign", verdicts.iter().map(|verdict| verdict.foreign).sum::<u64>());
    let faults: Vec<&String> = crowds.iter().flat_map(|crowd| &crowd.faults).collect();
    if !verdicts.iter().all(|verdict| verdict.is_clean()) || !faults.is_empty() {
        report.fail(format!("conversations are not as written; faults: {faults:?}"));
    }
    server.stop()?;
    Ok(())
}

/// A group's users come, write to each other, and leave.
fn write(launch: &Launch, group: u32) -> Result<Crowd, Box<dyn Error>> {
    let first_user = first_user(group);
    let tokens = launch.tokens(first_user, 1, GROUP as usize)?;
    let mut crowd = Crowd::new(tokens, first_user, Random::seed());
    for user in 0..GROUP {
        for peer in PEERS {
            crowd.compose_to(user, (user + peer) % GROUP, CHAT_BYTES);
        }
    }
    let settled = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    if !crowd.run(launch.address, None, PATIENCE, settled) {
        return Err(format!("group {group} did not settle: {:?}", crowd.faults).into());
    }
    crowd.leave();
    Ok(crowd)
}

/// The users come again with new devices, and read everything.
fn read(launch: &Launch, group: u32, crowd: &mut Crowd) -> Result<(), Box<dyn Error>> {
    let tokens = launch.tokens(first_user(group), 2, GROUP as usize)?;
    for (user, token) in (0..).zip(tokens) {
        crowd.add_reader(user, token);
    }
    let complete = |crowd: &mut Crowd| crowd.is_settled() && crowd.ledger.is_complete();
    if !crowd.run(launch.address, None, PATIENCE, complete) {
        let verdict = crowd.ledger.check();
        return Err(format!("group {group} did not read everything: {verdict:?}").into());
    }
    crowd.leave();
    Ok(())
}

fn first_user(group: u32) -> u64 {
    1 + u64::from(group) * u64::from(GROUP)
}

fn sample(
    server: &Running,
    rss: &mut Vec<u64>,
    what: &str,
    group: u32,
    groups: u32,
) -> Result<(), Box<dyn Error>> {
    rss.push(process::rss_bytes(server.pid())?);
    if (group + 1).is_multiple_of((groups / 10).max(1)) {
        progress(&format!(
            "{} users {what}, {} MiB",
            (group + 1) * GROUP,
            rss[rss.len() - 1] >> 20
        ));
    }
    Ok(())
}
