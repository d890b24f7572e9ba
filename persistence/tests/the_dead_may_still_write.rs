//! R6: writes of a killed process that land after the next opening change nothing.

mod machine;

use machine::{Machine, Random, all, found_logs, owned, record, write};
use persistence::{IoDone, IoOp, Log, LogConfig, Position, Record, RecoverError, Recovered};
use std::collections::BTreeMap;

const CONFIG: LogConfig =
    LogConfig { segment_bytes: 16_384, group_bytes_max: 4_096, writes_max: 1 };

/// Completes everything.
fn settle(machine: &mut Machine, random: &mut Random) {
    loop {
        machine.poll(0, random);
        if machine.cores[0].in_flight.is_empty() {
            break;
        }
        machine.complete(0, random);
    }
}

fn land(machine: &mut Machine, generation: u64, op: &IoOp) {
    let IoOp::Write { segment, offset, bytes, .. } = op else { panic!("{op:?}") };
    write(&mut machine.disk, (generation, 0, *segment), *offset, bytes);
}

/// A machine whose first log has record 1 durable and record 2 in flight.
fn first(random: &mut Random) -> (Machine, IoOp) {
    let mut machine = Machine::open(BTreeMap::new(), 1, CONFIG);
    settle(&mut machine, random);
    machine.append(0, record(random, 1));
    settle(&mut machine, random);
    machine.append(0, record(random, 2));
    machine.poll(0, random);
    let op = machine.cores[0].in_flight.pop().expect("a write");
    (machine, op)
}

fn numbers(records: &[Record<'_>]) -> Vec<u64> {
    let number = |record: &Record<'_>| match record {
        Record::Message(message) => message.n,
        Record::Inbox(inbox) => inbox.inbox_seq,
        Record::Cursor { acked, .. } => *acked,
        Record::Epoch { epoch, .. } => *epoch,
        Record::Read { upto, .. } => *upto,
        Record::Receipt { read, .. } => *read,
        Record::Checkpoint { .. } => 0,
        other => panic!("{other:?} is not appended here"),
    };
    records.iter().map(number).collect()
}

#[test]
fn a_late_write_lies_behind_the_fence() {
    let random = &mut Random::new(1);
    let (machine, late) = first(random);
    let mut second = Machine::open(machine.disk, 1, CONFIG);
    assert_eq!(numbers(&second.found), [1]);
    settle(&mut second, random);
    second.append(0, record(random, 3));
    settle(&mut second, random);
    land(&mut second, 1, &late);
    let third = Machine::open(second.disk, 1, CONFIG);
    assert_eq!(numbers(&third.found), [1, 3], "record 2 was never accepted");
}

#[test]
fn without_a_newer_header_a_late_write_counts() {
    let random = &mut Random::new(1);
    let (machine, late) = first(random);
    let mut second = Machine::open(machine.disk, 1, CONFIG);
    // Its header is not durable, so nothing rests on what it found.
    second.poll(0, random);
    land(&mut second, 1, &late);
    let third = Machine::open(second.disk, 1, CONFIG);
    assert_eq!(numbers(&third.found), [1, 2]);
}

#[test]
fn a_header_that_lands_late_counts_for_nothing() {
    let random = &mut Random::new(1);
    let (machine, late) = first(random);
    let mut second = Machine::open(machine.disk, 1, CONFIG);
    let header = loop {
        second.poll(0, random);
        match second.cores[0].in_flight.pop() {
            Some(IoOp::Prepare { segment }) => {
                second.cores[0].log.complete(IoDone::Prepared { segment });
            }
            Some(op) => break op,
            None => continue,
        }
    };
    land(&mut second, 1, &late);
    let mut third = Machine::open(second.disk, 1, CONFIG);
    assert_eq!(numbers(&third.found), [1, 2]);
    settle(&mut third, random);
    // Generation 2 fenced record 2 out, but generation 3 had read it by then.
    land(&mut third, 2, &header);
    let fourth = Machine::open(third.disk, 1, CONFIG);
    assert_eq!(numbers(&fourth.found), [1, 2]);
}

#[test]
fn a_log_that_ends_before_its_fence_is_damaged() {
    let random = &mut Random::new(1);
    let (machine, _) = first(random);
    let mut second = Machine::open(machine.disk, 1, CONFIG);
    settle(&mut second, random);
    let mut disk = second.disk.clone();
    let (name, bytes) = disk.iter_mut().next().expect("the first segment");
    assert_eq!(*name, (1, 0, 0));
    bytes[4_096..8_192].fill(0);
    let error = Recovered::read(found_logs(&disk)).expect_err("record 1 was accepted");
    let hole = RecoverError::Hole { generation: 1, core: 0, segment: 0, offset: 4_096 };
    assert_eq!(error, hole);
    // A generation that is gone as a whole was retired.
    second.disk.retain(|(generation, ..), _| *generation == 2);
    Recovered::read(found_logs(&second.disk)).expect("retired");
}

#[test]
fn a_log_that_somebody_put_there_is_refused() {
    let random = &mut Random::new(1);
    let (machine, _) = first(random);
    let mut second = Machine::open(machine.disk.clone(), 1, CONFIG);
    settle(&mut second, random);
    let stranger = machine.disk[&(1, 0, 0)].clone();
    second.disk.insert((1, 5, 0), stranger);
    let error = Recovered::read(found_logs(&second.disk)).expect_err("nobody wrote it");
    assert_eq!(error, RecoverError::Stranger { generation: 1, core: 5 });
}

#[test]
fn a_checkpoint_says_which_recovered_fan_outs_are_confirmed() {
    let random = &mut Random::new(1);
    let mut machine = Machine::open(BTreeMap::new(), 1, CONFIG);
    for n in 1..=20 {
        machine.append(0, record(random, n));
        settle(&mut machine, random);
    }
    let confirmed = machine.cores[0].records[12].0;
    let checkpoint = Record::Checkpoint { flushed: 0, confirmed: confirmed.0 };
    machine.append(0, checkpoint);
    settle(&mut machine, random);
    let recovered = Recovered::read(found_logs(&machine.disk)).expect("sound");
    let log = Log::start(CONFIG, recovered.deal(0, 1));
    let found = all(&log, Position(0));
    assert_eq!(found.len(), 20, "checkpoints are not dealt");
    for (index, (at, record)) in found.into_iter().enumerate() {
        assert_eq!(owned(record), machine.cores[0].records[index].1);
        assert_eq!(log.confirmed_at_start(at), index < 12, "record {index}");
    }
    let floor_us = recovered.deal(0, 1).floor_us();
    let newest = machine.cores[0].records.iter().filter_map(|(_, record)| record.time_us()).max();
    assert_eq!(Some(floor_us), newest, "time does not go back");
}
