//! Every seed runs clean, and does enough to mean something.

use sim::{ACKS_MIN, CRASHES_MIN, EVENTS_MIN, Report, Trail, run};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

const SEEDS: u64 = 2_000;
const THREADS: usize = 2;

fn run_all(seeds: &[u64], trail: Trail) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut reports = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            reports.push(run(seed, trail));
        }
        reports
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run catches")).collect()
    })
}

fn assert_clean(reports: &[Report]) {
    for report in reports {
        let Report { seed, events, acks, crashes, failure, .. } = report;
        assert_eq!(*failure, None, "replay: ringmail-sim --seed {seed} --verbose");
        assert!(*events >= EVENTS_MIN && *acks >= ACKS_MIN && *crashes >= CRASHES_MIN);
    }
}

#[test]
fn two_thousand_seeds_run_clean() {
    let reports = run_all(&(0..SEEDS).collect::<Vec<_>>(), Trail::Count);
    assert_eq!(reports.len() as u64, SEEDS);
    assert_clean(&reports);
}

#[test]
fn seeds_that_once_failed_run_clean() {
    let kept = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let kept = kept.filter_map(|line| line.split_whitespace().next());
    let seeds = kept.map(|seed| seed.parse().expect("a seed is a number")).collect::<Vec<u64>>();
    assert_clean(&run_all(&seeds, Trail::Count));
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let seeds = (0..20).flat_map(|seed| [seed, seed]).collect::<Vec<_>>();
    let mut reports = run_all(&seeds, Trail::Hash);
    reports.sort_by_key(|report| report.seed);
    for pair in reports.chunks(2) {
        assert_eq!(pair[0].hash, pair[1].hash, "seed {} took two ways", pair[0].seed);
        assert_eq!(pair[0].events, pair[1].events);
    }
}
