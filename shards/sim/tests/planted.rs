//! The simulator finds every bug that is planted on purpose: it would find the next one too.

#![cfg(feature = "planted")]

use sim::run;
use wire::planted::{Bug, plant};

/// Runs within which a bug must show itself.
const SEEDS_MAX: u64 = 200;

fn first_failing(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..SEEDS_MAX).find_map(|seed| run(seed, false).failure.map(|why| (seed, why)));
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found() {
    let work = |bugs: &[Bug]| {
        let found = bugs.iter().map(|bug| (*bug, first_failing(*bug)));
        found.collect::<Vec<_>>()
    };
    let (first, second) = Bug::ALL.split_at(Bug::ALL.len() / 2);
    let found = std::thread::scope(|scope| {
        let other = scope.spawn(|| work(second));
        let mut found = work(first);
        found.extend(other.join().expect("a run catches"));
        found
    });
    for (bug, found) in &found {
        match found {
            Some((seed, why)) => println!("{bug:?}: seed {seed}: {why}"),
            None => println!("{bug:?}: not found"),
        }
    }
    let missed = found.iter().filter(|(_, found)| found.is_none());
    assert_eq!(missed.map(|(bug, _)| *bug).collect::<Vec<_>>(), []);
}
