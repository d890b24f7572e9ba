//! `idle`: what an attached connection without traffic costs in the server's memory.

use crate::generator::Generator;
use crate::random::Random;
use crate::report::{Outputs, Report};
use crate::server::{Launch, Scratch};
use crate::speak::Ringmail;
use crate::{process, progress};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Options of `idle`.
#[derive(Clone, Debug, clap::Args)]
pub struct IdleArgs {
    /// Attached connections; a tenth of them is attached first and not counted
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(100..=16_000))]
    connections: u32,
    /// Where the server keeps its data during the run
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

/// Runs `idle`.
pub fn idle(args: IdleArgs) -> Result<ExitCode, String> {
    let mut report = Report::new("idle");
    measure(&args, &mut report).map_err(|error| error.to_string())?;
    report.finish(&args.outputs)
}

fn measure(args: &IdleArgs, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let launch = Launch::new(scratch.path(), 1);
    let server = launch.start_ready()?;
    let first = (args.connections / 10).next_multiple_of(2);
    let rest = (args.connections - first).next_multiple_of(2);
    let attach = |first_user: u64, count: u32| -> Result<_, Box<dyn Error>> {
        progress(&format!("attaching {count} users"));
        let tokens = launch.tokens(first_user, 1, count as usize)?;
        let speak = Ringmail { tokens, first_user, ack_each: false, seed: Random::seed() };
        let generator = Generator::connect(speak, count, launch.address)?;
        // Long enough for what a handshake leaves behind to be flushed and freed.
        thread::sleep(Duration::from_secs(3));
        Ok((generator, process::pss_bytes(server.pid())?))
    };
    let (_first, before) = attach(1, first)?;
    let (_rest, after) = attach(1 + u64::from(first), rest)?;
    report.set("connections", first + rest);
    report.set("pss_bytes_before", before);
    report.set("pss_bytes_after", after);
    let each = after.saturating_sub(before) as f64 / f64::from(rest);
    report.set_rounded("user_bytes_per_idle_connection", each);
    server.stop()?;
    Ok(())
}
