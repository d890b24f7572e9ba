//! Random appends, completions out of order, retirements, and crashes at any instant, with any
//! part of what was in flight landing, torn, or landing late; opened again with any number of
//! cores.

mod machine;

use machine::{Machine, Random, record};
use persistence::LogConfig;
use std::collections::BTreeMap;

fn config(random: &mut Random) -> LogConfig {
    let group_bytes_max = 4096 * (1 + random.below(4) as u32);
    LogConfig {
        segment_bytes: group_bytes_max + 4096 * (1 + random.below(4) as u32),
        group_bytes_max,
        writes_max: 1 + random.below(4) as u32,
    }
}

fn run(seed: u64) {
    let random = &mut Random::new(seed);
    let cores = 1 + random.below(4) as u16;
    let first = config(random);
    let mut machine = Machine::open(BTreeMap::new(), cores, first);
    machine.fills = random.one_in(2);
    let mut n = 0;
    for _ in 0..2 + random.below(5) {
        for _ in 0..random.below(400) {
            let core = random.below(machine.cores.len());
            match random.below(20) {
                0..10 => {
                    n += 1;
                    let record = record(random, n);
                    machine.append(core, record);
                }
                10..14 => machine.poll(core, random),
                14..18 => machine.complete(core, random),
                18 => machine.retire(core, random),
                _ => machine.land_late(random),
            }
        }
        let cores = 1 + random.below(4) as u16;
        let config = config(random);
        machine = machine.crash(cores, config, random);
    }
}

#[test]
fn nothing_durable_is_lost_or_invented() {
    for seed in 0..1500 {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("seed {seed}");
        }
    }
}
