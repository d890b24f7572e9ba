//! Part of `store`: a real server whose log is in the same node. How many messages it acks at
//! `replicated`, while it flushes them too, and how long such an ack takes at half of that.

use crate::cassandra::Cassandra;
use crate::generator::{Generator, Load};
use crate::random::Random;
use crate::server::Launch;
use crate::speak::Ringmail;
use crate::store::Done;
use crate::watch::Watch;
use hdrhistogram::Histogram;
use std::path::Path;
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(3);
const LENGTH: Duration = Duration::from_secs(10);

/// What was seen.
pub struct Acks {
    /// Messages acked and delivered in a second, each pair with one under way.
    pub per_s: f64,
    /// Of half as many messages in a second, from the time that each was due to its ack, in ns.
    pub latency: Histogram<u64>,
    /// How late this program was then, at the 99th percentile, in ns.
    pub lag_p99_ns: u64,
}

/// Starts a server of so many cores below `dir`, and lets so many pairs of users chat.
pub fn measure(node: &Cassandra, dir: &Path, cores: u64, pairs: u64) -> Done<Acks> {
    let mut launch = Launch::new(dir, cores as u16);
    node.serve(&mut launch)?;
    launch.set("ack", "replicated");
    launch.set("node", "bench");
    let server = launch.start_ready()?;
    let users = 2 * pairs as u32;
    let tokens = launch.tokens(1, 1, users as usize)?;
    let speak = Ringmail { tokens, first_user: 1, ack_each: true, seed: Random::seed() };
    let (pid, stats_file) = (server.pid(), Some(launch.stats_file()));
    let watch = Watch { pid, stats_file, dir: launch.data_dir.clone() };
    let mut generator = Generator::connect(speak, users, launch.address)?;
    let closed = generator.measure(Load::Closed { depth: 1 }, WARM_UP, LENGTH, &watch)?;
    let half = Load::Open { depth: 1, per_second: closed.delivered_per_s / 2.0 };
    let open = generator.measure(half, WARM_UP, LENGTH, &watch)?;
    let verdict = generator.finish()?.check();
    server.stop()?;
    match verdict.is_clean() {
        true => Ok(Acks {
            per_s: closed.delivered_per_s,
            lag_p99_ns: open.lag_p99_ns(),
            latency: open.sent,
        }),
        false => Err(format!("the server broke its promises: {verdict:?}").into()),
    }
}
