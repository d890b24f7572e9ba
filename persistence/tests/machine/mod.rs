//! A machine for tests: cores with their logs over a disk that loses, tears and delays writes.

#![allow(dead_code, reason = "each test uses its own part")]

use bytes::Bytes;
use persistence::{
    ConvKey, FoundLog, InboxKind, InboxRecord, IoDone, IoOp, Log, LogConfig, MessageRecord,
    Position, Record, Recovered, slot_of,
};
use std::collections::{BTreeMap, BTreeSet};
use wire::{BodyHash, Change, DeviceId, OutboxId, UserId};

/// Small numbers that are the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 .. `below`.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

pub static BODY: [u8; 3000] = {
    let mut body = [0; 3000];
    let mut at = 0;
    while at < body.len() {
        body[at] = (at * 7 % 251) as u8;
        at += 1;
    }
    body
};

pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("not 0")
}

/// A record that differs from every other `n`.
pub fn record(random: &mut Random, n: u64) -> Record<'static> {
    let low = 1 + random.below(20) as u64;
    let conv = ConvKey::new(user(low), user(low + 1 + random.below(20) as u64)).expect("two");
    let users = conv.participants();
    let longest = if random.one_in(8) { 3000 } else { 120 };
    let length = random.below(longest);
    let body = &BODY[..length];
    let time_us = 1_700_000_000_000_000 + n * 10;
    let (user, delivered) = (users[n as usize % 2], vec![n + 1, n]);
    match random.below(8) {
        0 if n % 3 == 1 => Record::Read { user, conv, upto: n, inbox_seq: n },
        0 if n % 3 == 2 => Record::Receipt { user, conv, read: n, delivered, inbox_seq: n },
        0 => Record::Cursor { user: users[0], device: DeviceId(n as u32), acked: n },
        1 => Record::Epoch { user: users[1], epoch: n },
        2 => Record::Inbox(InboxRecord {
            user: users[random.below(2)],
            inbox_seq: n,
            conv,
            conv_seq: n,
            time_us: time_us - 500,
            kind: InboxKind::Peer { body },
        }),
        kind => Record::Message(MessageRecord {
            conv,
            conv_seq: n,
            time_us,
            sender: users[random.below(2)],
            outbox: OutboxId(n),
            new_outbox_of: random.one_in(2).then_some(DeviceId(7)),
            n,
            void: (kind == 3).then_some(BodyHash(n)),
            inbox: [random.below(2) as u64 * n, random.below(2) as u64 * n],
            marks: [random.one_in(2), random.one_in(2)],
            hidden: [false; 2],
            change: (kind == 4 && n > 1).then_some(Change { target: n - 1, delete: false }),
            body: if kind == 3 { &[] } else { body },
        }),
    }
}

/// Whether a record concerns core `core` of `cores`; written anew here, as a second opinion.
pub fn concerns(record: &Record<'_>, core: u16, cores: u16) -> bool {
    let users: Vec<UserId> = match record {
        Record::Message(message) => {
            let [low, high] = message.conv.participants();
            let mut users = vec![message.conv.owner()];
            users.extend((message.inbox[0] > 0 || message.marks[0]).then_some(low));
            users.extend((message.inbox[1] > 0 || message.marks[1]).then_some(high));
            users
        }
        Record::Inbox(inbox) => vec![inbox.user],
        Record::Cursor { user, .. }
        | Record::Epoch { user, .. }
        | Record::Read { user, .. }
        | Record::Receipt { user, .. } => vec![*user],
        Record::Checkpoint { .. } => vec![],
        other => panic!("{other:?} is not appended here"),
    };
    users.iter().any(|&user| slot_of(user) % cores == core)
}

/// What a log was told, beside what it says.
pub struct Told {
    pub log: Log,
    pub records: Vec<(Position, Record<'static>)>,
    pub retired: Position,
    pub in_flight: Vec<IoOp>,
    asked_older: bool,
}

/// Segments by generation, core and number.
pub type Disk = BTreeMap<(u64, u16, u32), Vec<u8>>;

/// Cores over a disk.
pub struct Machine {
    pub disk: Disk,
    pub generation: u64,
    pub cores: Vec<Told>,
    pub config: LogConfig,
    /// Older logs, as this opening found them: what they hold.
    pub found: Vec<Record<'static>>,
    /// Logs of earlier generations that are on the disk.
    pub old: BTreeMap<(u64, u16), OldLog>,
    /// No record that was found has a higher time.
    pub floor_us: u64,
    /// The device is full now and then.
    pub fills: bool,
    /// Writes of dead processes that may still land.
    pub late: Vec<(u64, u16, IoOp)>,
}

/// A log of a dead generation.
pub struct OldLog {
    pub records: Vec<Record<'static>>,
    /// Records 0 .. this may be retired.
    pub retired: usize,
    /// Records 0 .. this were durable.
    pub durable: usize,
}

/// All records of a log below `durable`, from `from` on.
pub fn all(log: &Log, from: Position) -> Vec<(Position, Record<'_>)> {
    let mut at = from;
    let mut records = Vec::new();
    while let Some((position, record, next)) = log.next(at) {
        assert_eq!(log.read(position), record, "read and next agree");
        records.push((position, record));
        at = next;
    }
    records
}

/// The same record with a body that lives for ever.
pub fn owned(record: Record<'_>) -> Record<'static> {
    let still = |body: &[u8]| -> &'static [u8] {
        assert_eq!(body, &BODY[..body.len()], "the body is whole");
        &BODY[..body.len()]
    };
    match record {
        Record::Message(m) => {
            let body = still(m.body);
            Record::Message(MessageRecord { body, ..m })
        }
        Record::Inbox(i) => {
            let kind = match i.kind {
                InboxKind::Peer { body } => InboxKind::Peer { body: still(body) },
                other => panic!("{other:?} is not appended here"),
            };
            Record::Inbox(InboxRecord { kind, ..i })
        }
        Record::Cursor { user, device, acked } => Record::Cursor { user, device, acked },
        Record::Epoch { user, epoch } => Record::Epoch { user, epoch },
        Record::Read { user, conv, upto, inbox_seq } => {
            Record::Read { user, conv, upto, inbox_seq }
        }
        Record::Receipt { user, conv, read, delivered, inbox_seq } => {
            Record::Receipt { user, conv, read, delivered, inbox_seq }
        }
        Record::Checkpoint { flushed, confirmed } => Record::Checkpoint { flushed, confirmed },
        other => panic!("{other:?} is not appended here"),
    }
}

/// What a disk shows to an opening.
pub fn found_logs(disk: &Disk) -> Vec<FoundLog> {
    let names: BTreeSet<(u64, u16)> = disk.keys().map(|&(g, c, _)| (g, c)).collect();
    let segments = |g, c| {
        let range = disk.range((g, c, 0)..=(g, c, u32::MAX));
        range.map(|(&(_, _, s), bytes)| (s, Bytes::from(bytes.clone()))).collect()
    };
    let log =
        |(generation, core)| FoundLog { generation, core, segments: segments(generation, core) };
    names.into_iter().map(log).collect()
}

impl Machine {
    /// Opens what a disk holds.
    pub fn open(disk: Disk, cores: u16, config: LogConfig) -> Machine {
        let recovered = Recovered::read(found_logs(&disk)).expect("the disk is sound");
        let everything = Log::start(config.clone(), recovered.deal(0, 1));
        let found: Vec<_> =
            all(&everything, Position(0)).into_iter().map(|(_, record)| owned(record)).collect();
        let start = |core| {
            let log = Log::start(config.clone(), recovered.deal(core, cores));
            let dealt: Vec<_> = all(&log, Position(0)).into_iter().map(|(_, r)| r).collect();
            let mine = found.iter().filter(|record| concerns(record, core, cores));
            assert!(dealt.iter().eq(mine), "core {core} of {cores} has its records in order");
            assert_eq!(log.durable(), log.base());
            assert!(log.end() > log.base(), "everything waits for the header");
            let retired = Position(0);
            Told { log, records: vec![], retired, in_flight: vec![], asked_older: false }
        };
        let cores = (0..cores).map(start).collect();
        let generation = recovered.generation();
        let (old, late) = (BTreeMap::new(), vec![]);
        let floor_us = recovered.deal(0, 1).floor_us();
        Machine { disk, generation, cores, config, found, old, floor_us, fills: false, late }
    }

    /// Appends a record to a core's log.
    pub fn append(&mut self, core: usize, record: Record<'static>) {
        let told = &mut self.cores[core];
        let end = told.log.end();
        let at = told.log.append(&record);
        assert!(at >= end && told.log.end() > at, "positions grow");
        assert_eq!(told.log.read(at), record, "what was appended can be read");
        told.records.push((at, record));
    }

    /// Takes everything that a core's log asks for.
    pub fn poll(&mut self, core: usize, random: &mut Random) {
        while let Some(op) = self.cores[core].log.poll() {
            self.take(core, op, random);
        }
    }

    fn take(&mut self, core: usize, op: IoOp, random: &mut Random) {
        let told = &mut self.cores[core];
        let generation = self.generation;
        match op {
            IoOp::Retire { segment } => {
                let name = (generation, core as u16, segment);
                assert!(self.disk.remove(&name).is_some(), "a segment retires once");
            }
            IoOp::RetireOlder => {
                told.asked_older = true;
                if self.cores.iter().all(|told| told.asked_older) {
                    self.disk.retain(|&(g, _, _), _| g == generation);
                    self.old.clear();
                }
            }
            IoOp::Write { offset, ref bytes, .. } => {
                assert_eq!(bytes.as_ptr().align_offset(4096), 0);
                assert_eq!((offset % 4096, bytes.len() % 4096), (0, 0));
                told.in_flight.push(op);
                let writes = told.in_flight.iter().filter(|op| matches!(op, IoOp::Write { .. }));
                assert!(writes.count() <= self.config.writes_max as usize);
            }
            IoOp::Prepare { segment } => {
                let stale = |bytes: &Vec<u8>| bytes.clone();
                let zeros = || vec![0; self.config.segment_bytes as usize];
                // A recycled segment holds what it held before, under another number.
                let old = self.disk.range((generation, core as u16, 0)..).next();
                let content = match old {
                    Some((name, bytes)) if name.1 == core as u16 && random.one_in(2) => {
                        stale(bytes)
                    }
                    _ => zeros(),
                };
                let told = &mut self.cores[core];
                if self.fills && random.one_in(4) {
                    assert!(!told.log.complete(IoDone::Full { segment }));
                    assert!(told.log.device_full());
                } else {
                    self.disk.insert((generation, core as u16, segment), content);
                    told.in_flight.push(op);
                }
            }
        }
    }

    /// Completes one of a core's operations, in any order.
    pub fn complete(&mut self, core: usize, random: &mut Random) {
        let told = &mut self.cores[core];
        if told.in_flight.is_empty() {
            return;
        }
        let op = told.in_flight.swap_remove(random.below(told.in_flight.len()));
        let before = told.log.durable();
        let done = match op {
            IoOp::Prepare { segment } => IoDone::Prepared { segment },
            IoOp::Write { id, segment, offset, bytes } => {
                let name = (self.generation, core as u16, segment);
                write(&mut self.disk, name, offset, &bytes);
                IoDone::Written { id }
            }
            IoOp::Retire { .. } | IoOp::RetireOlder => unreachable!("done at once"),
        };
        let moved = told.log.complete(done);
        assert_eq!(moved, told.log.durable() > before);
        assert!(told.log.durable() <= told.log.end());
    }

    /// Retires up to a random durable record.
    pub fn retire(&mut self, core: usize, random: &mut Random) {
        let told = &mut self.cores[core];
        let from = told.log.start_of_tail();
        let places: Vec<Position> = all(&told.log, from).iter().map(|(at, _)| *at).collect();
        let durable = told.log.durable();
        let before = *places.get(random.below(places.len() + 1)).unwrap_or(&durable);
        told.log.retire(before);
        told.retired = before;
        let left: Vec<Position> = all(&told.log, from).iter().map(|(at, _)| *at).collect();
        assert!(left.iter().eq(places.iter().filter(|&&at| at >= before)), "the rest stays");
    }

    /// Ends the process at this instant and opens again. Writes in flight land, are lost, are
    /// torn, or land later.
    pub fn crash(mut self, cores: u16, config: LogConfig, random: &mut Random) -> Machine {
        let header_durable = self.cores.iter().any(|told| told.log.durable() > told.log.base());
        for (core, told) in self.cores.iter_mut().enumerate() {
            let name = (self.generation, core as u16);
            for op in std::mem::take(&mut told.in_flight) {
                let IoOp::Write { segment, offset, ref bytes, .. } = op else { continue };
                let place = (name.0, name.1, segment);
                match random.below(4) {
                    0 => write(&mut self.disk, place, offset, bytes),
                    1 => {}
                    2 => {
                        for (index, sector) in bytes.chunks(512).enumerate() {
                            if random.one_in(2) {
                                write(&mut self.disk, place, offset + index as u32 * 512, sector);
                            }
                        }
                    }
                    _ => self.late.push((name.0, name.1, op)),
                }
            }
            let before =
                |at: Position| told.records.iter().filter(|(position, _)| *position < at).count();
            let old = OldLog {
                retired: before(told.retired),
                durable: before(told.log.durable()),
                records: told.records.drain(..).map(|(_, record)| record).collect(),
            };
            self.old.insert(name, old);
        }
        let mut next = Machine::open(self.disk, cores, config);
        next.check_found(&self.old, header_durable.then_some(self.found));
        let durable = self.old.values().flat_map(|log| &log.records[..log.durable]);
        let newest = durable.filter_map(Record::time_us).max();
        let floor_us = if header_durable { self.floor_us } else { 0 };
        assert!(next.floor_us >= floor_us.max(newest.unwrap_or(0)), "time does not go back");
        (next.old, next.fills, next.late) = (self.old, self.fills, self.late);
        next
    }

    /// What was found is, log by log, everything durable and nothing else than what was appended.
    fn check_found(&self, old: &BTreeMap<(u64, u16), OldLog>, fenced: Option<Vec<Record<'_>>>) {
        let mut rest = &self.found[..];
        for (name, log) in old {
            let is_from_log = |record: &&Record<'_>| log.records.contains(record);
            let found = &rest[..rest.iter().take_while(is_from_log).count()];
            rest = &rest[found.len()..];
            let start = match found.first() {
                Some(first) => log.records.iter().position(|record| record == first).unwrap(),
                None => log.durable,
            };
            assert!(start <= log.retired.max(log.durable), "{name:?}: lost at the front");
            let retired = start > log.retired;
            assert!(!retired || found.is_empty() && log.retired >= log.durable, "{name:?}: lost");
            assert!(start + found.len() >= log.durable, "{name:?}: a durable record is lost");
            assert_eq!(found, &log.records[start..start + found.len()], "{name:?}: in order");
        }
        assert!(rest.is_empty(), "something was invented");
        // What a durable header accepted of older logs stays so, whatever landed since. (If all
        // cores had retired them they are gone as a whole.)
        if let Some(fenced) = fenced
            && old.keys().any(|(generation, _)| *generation + 1 < self.generation)
        {
            assert!(self.found.starts_with(&fenced), "the fence holds");
        }
    }

    /// Lets one write of a dead process land.
    pub fn land_late(&mut self, random: &mut Random) {
        if self.late.is_empty() {
            return;
        }
        let (generation, core, op) = self.late.swap_remove(random.below(self.late.len()));
        if let IoOp::Write { segment, offset, bytes, .. } = op
            && self.disk.contains_key(&(generation, core, segment))
        {
            write(&mut self.disk, (generation, core, segment), offset, &bytes);
        }
    }
}

/// Writes bytes into a segment.
pub fn write(disk: &mut Disk, name: (u64, u16, u32), offset: u32, bytes: &[u8]) {
    let segment = disk.get_mut(&name).expect("a segment that was prepared");
    segment[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
}
