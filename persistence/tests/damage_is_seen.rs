//! Whatever happens to a log's bytes, opening gives a prefix of what was written, or says where
//! the damage is; and a loss that the log can prove is never taken for a torn tail.

mod machine;

use machine::{Disk, Machine, Random, all, found_logs, owned, record};
use persistence::{BLOCK_BYTES, IoOp, Log, LogConfig, Position, Record, RecoverError, Recovered};
use std::collections::BTreeMap;

const CONFIG: LogConfig =
    LogConfig { segment_bytes: 16_384, group_bytes_max: 8_192, writes_max: 1 };

/// A log of some segments whose every group was durable, and its records by group.
fn written(writes_max: u32) -> (Disk, Vec<Vec<Record<'static>>>) {
    let random = &mut Random::new(7);
    let config = LogConfig { writes_max, ..CONFIG };
    let mut machine = Machine::open(BTreeMap::new(), 1, config);
    let (mut n, mut groups) = (0, vec![vec![]]);
    while machine.disk.get(&(1, 0, 2)).is_none_or(|bytes| !bytes[52..].starts_with(&[2])) {
        for _ in 0..1 + random.below(20) {
            n += 1;
            machine.append(0, record(random, n));
        }
        loop {
            machine.poll(0, random);
            let from = machine.cores[0].log.durable();
            machine.complete(0, random);
            let log = &machine.cores[0].log;
            if log.durable() > from {
                let durable = all(log, Position(0));
                let new = durable.into_iter().skip_while(|(at, _)| *at < from);
                groups.push(new.map(|(_, record)| owned(record)).collect());
            }
            if log.durable() == log.end() {
                break;
            }
        }
    }
    (machine.disk, groups)
}

fn read(disk: &Disk) -> Result<Vec<Record<'static>>, RecoverError> {
    let recovered = Recovered::read(found_logs(disk))?;
    let log = Log::start(CONFIG, recovered.deal(0, 1));
    Ok(all(&log, Position(0)).into_iter().map(|(_, record)| owned(record)).collect())
}

/// The whole of it, or all but the last group, or an error.
fn check(disk: &Disk, groups: &[Vec<Record<'static>>], at: Option<usize>, what: &str) {
    let whole = groups.concat();
    let last = groups.last().expect("some").len();
    match read(disk) {
        Ok(records) => {
            assert!(whole.starts_with(&records), "{what}: a wrong record");
            assert!(records.len() >= whole.len() - last, "{what}: a loss that nobody sees");
        }
        Err(RecoverError::Hole { generation: 1, core: 0, .. }) => {}
        // Only the bytes of a version can look like another version.
        Err(RecoverError::Version { .. }) => {
            assert!(matches!(at, Some(4..8)), "{what}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[test]
fn a_changed_byte_is_seen() {
    let (disk, groups) = written(1);
    assert_eq!(read(&disk).expect("sound"), groups.concat());
    for (name, bytes) in &disk {
        for at in 0..bytes.len() {
            let mut damaged = disk.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            check(&damaged, &groups, Some(at), &format!("segment {} byte {at}", name.2));
        }
    }
}

#[test]
fn a_segment_that_is_cut_short_is_seen() {
    let (disk, groups) = written(1);
    let whole = groups.concat();
    for (name, bytes) in &disk {
        for end in 0..bytes.len() {
            let mut damaged = disk.clone();
            damaged.get_mut(name).unwrap().truncate(end);
            // Of the last segment nothing is left that could prove a loss.
            match read(&damaged) {
                Ok(records) if name.2 == 2 => assert!(whole.starts_with(&records)),
                _ => check(&damaged, &groups, None, &format!("segment {} cut at {end}", name.2)),
            }
        }
    }
}

#[test]
fn a_missing_segment_is_seen() {
    let (disk, _) = written(1);
    let middle = *disk.keys().nth(1).unwrap();
    assert!(disk.keys().any(|name| *name > middle));
    let mut damaged = disk.clone();
    damaged.remove(&middle);
    let error = read(&damaged).map(|_| ()).expect_err("a segment is missing");
    assert!(matches!(error, RecoverError::Hole { .. }), "{error}");
    let first = *disk.keys().next().unwrap();
    let mut retired = disk.clone();
    retired.remove(&first);
    read(&retired).expect("segments retire from the front");
}

#[test]
fn the_last_group_is_there_whole_or_not_at_all() {
    let (disk, groups) = written(1);
    let whole = groups.concat();
    let without = groups[..groups.len() - 1].concat();
    // The last group that is not zeros: where it starts, and how long it is.
    let mut starts = disk.iter().flat_map(|(name, bytes)| {
        let blocks = (0..bytes.len()).step_by(BLOCK_BYTES);
        blocks.filter(|&at| bytes[at..].starts_with(b"RMLG")).map(|at| (*name, at))
    });
    let is_named = |(name, at): &((u64, u16, u32), usize)| {
        disk[name][at + 52..at + 56] == name.2.to_le_bytes()
    };
    let (name, start) = starts.rfind(is_named).expect("a group");
    let length = disk[&name][start + 64..start + 68].try_into().map(u32::from_le_bytes).unwrap();
    let sectors = (length as usize).div_ceil(512);
    assert!((2..=16).contains(&sectors), "{sectors}");
    for landed in 0u32..1 << sectors {
        let mut torn = disk.clone();
        for sector in (0..sectors).filter(|sector| landed & 1 << sector == 0) {
            let at = start + sector * 512;
            torn.get_mut(&name).unwrap()[at..at + 512].fill(0);
        }
        let records = read(&torn).expect("a torn tail is no damage");
        let complete = landed == (1 << sectors) - 1;
        assert_eq!(records, if complete { &*whole } else { &*without }, "{landed:b}");
    }
}

#[test]
fn what_stands_behind_a_torn_group_is_cut_and_counted() {
    let random = &mut Random::new(3);
    let config = LogConfig { writes_max: 3, ..CONFIG };
    let mut machine = Machine::open(BTreeMap::new(), 1, config.clone());
    // Until the header is durable and the first segment is ready.
    while machine.cores[0].log.durable() == machine.cores[0].log.base() {
        machine.poll(0, random);
        machine.complete(0, random);
    }
    for n in 1..=3 {
        machine.append(0, record(random, n));
        machine.poll(0, random);
    }
    machine.cores[0].in_flight.retain(|op| matches!(op, IoOp::Write { .. }));
    assert_eq!(machine.cores[0].in_flight.len(), 3);
    // The second and third write land, the first does not.
    let ops = machine.cores[0].in_flight.split_off(1);
    for op in ops {
        let IoOp::Write { segment, offset, bytes, .. } = op else { panic!("{op:?}") };
        machine::write(&mut machine.disk, (1, 0, segment), offset, &bytes);
    }
    let recovered = Recovered::read(found_logs(&machine.disk)).expect("a torn tail is no damage");
    assert_eq!((recovered.holes(), recovered.bytes_cut()), (2, 2 * BLOCK_BYTES as u64));
    assert_eq!(recovered.generation(), 2);
    let log = Log::start(config, recovered.deal(0, 1));
    assert!(all(&log, Position(0)).is_empty());
}
