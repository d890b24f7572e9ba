//! The simulator finds every bug that is planted on purpose: it would find the next one too.

#![cfg(feature = "planted")]

use sim::{Trail, run};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use wire::planted::{Bug, plant};

/// Runs within which a bug must show itself.
const SEEDS_MAX: u64 = 200;
const THREADS: usize = 2;
/// Bugs that no run shows: what the simulator is blind to. One that is found leaves the list.
const NOT_FOUND: [Bug; 0] = [];

fn first_failing(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found =
        (0..SEEDS_MAX).find_map(|seed| run(seed, Trail::Count).failure.map(|why| (seed, why)));
    plant(None);
    match &found {
        Some((seed, why)) => println!("{bug:?}: seed {seed}: {why}"),
        None => println!("{bug:?}: not found in {SEEDS_MAX} seeds"),
    }
    found
}

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = Vec::new();
        while let Some(&bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            if first_failing(bug).is_none() {
                missed.push(bug);
            }
        }
        missed
    };
    let mut missed: Vec<Bug> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run catches")).collect()
    });
    missed.sort_by_key(|bug| Bug::ALL.iter().position(|other| other == bug));
    println!("not found, as far as known: {NOT_FOUND:?}");
    assert_eq!(missed, NOT_FOUND);
}
