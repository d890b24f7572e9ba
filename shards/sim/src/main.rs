//! `ringmail-sim`: replays one seed with a readable trace, or runs many.

use sim::Trail;
use std::{process::ExitCode, time::Instant};

const USAGE: &str =
    "usage: ringmail-sim --seed S [--verbose] | --seeds N [--from S]  [--plant BUG]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--plant") {
        plant(arguments.get(at + 1).map_or("", String::as_str));
    }
    let verbose = arguments.iter().any(|argument| argument == "--verbose");
    match (number("--seed"), number("--seeds")) {
        (Some(seed), _) => one(seed, verbose),
        (None, Some(count)) => many(number("--from").unwrap_or(0), count),
        (None, None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[cfg(feature = "planted")]
fn plant(name: &str) {
    use wire::planted::{Bug, plant};
    let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    plant(Some(bug.unwrap_or_else(|| panic!("no such bug: {name}; there are {:?}", Bug::ALL))));
}

#[cfg(not(feature = "planted"))]
fn plant(_name: &str) {
    panic!("needs the feature `planted`");
}

fn one(seed: u64, verbose: bool) -> ExitCode {
    println!("seed {seed}");
    let report = sim::run(seed, if verbose { Trail::Print } else { Trail::Hash });
    println!("{report:#?}");
    if report.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(from: u64, count: u64) -> ExitCode {
    let began = Instant::now();
    let mut failures = 0;
    let (mut events, mut acks, mut virtual_us) = (0, 0, 0);
    for (done, seed) in (from..from + count).enumerate() {
        let report = sim::run(seed, Trail::Count);
        (events, acks) = (events + report.events, acks + report.acks);
        virtual_us += report.virtual_us;
        if let Some(failure) = &report.failure {
            failures += 1;
            println!("\nseed {seed}: {failure}");
        }
        let (done, seconds) = (done as u64 + 1, began.elapsed().as_secs_f64());
        let left = seconds / done as f64 * (count - done) as f64;
        eprint!(
            "\r{done} of {count} seeds, {failures} failed, {events} events, {acks} acks, \
             {:.0} s virtual, {seconds:.0} s, {left:.0} s left ",
            virtual_us as f64 / 1e6
        );
    }
    eprintln!();
    if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
