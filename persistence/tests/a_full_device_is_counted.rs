//! What `room_bytes` promises is written without another segment, however records are grouped;
//! and the log goes on when the device has room again.

mod machine;

use machine::{Random, record};
use persistence::{IoDone, IoOp, Log, LogConfig, Record, Recovered};

/// Drives a log over a device with some room for segments.
struct Device {
    log: Log,
    prepared: u32,
    /// Segments that it can hold.
    segments: u32,
    in_flight: Vec<u64>,
    writes: u64,
}

impl Device {
    fn new(config: LogConfig, segments: u32) -> Device {
        let start = Recovered::read(vec![]).expect("nothing").deal(0, 1);
        let log = Log::start(config, start);
        Device { log, prepared: 0, segments, in_flight: vec![], writes: 0 }
    }

    fn poll(&mut self) {
        while let Some(op) = self.log.poll() {
            match op {
                IoOp::Prepare { segment } if segment < self.segments => {
                    self.log.complete(IoDone::Prepared { segment });
                    self.prepared += 1;
                }
                IoOp::Prepare { segment } => {
                    self.log.complete(IoDone::Full { segment });
                }
                IoOp::Write { id, segment, .. } => {
                    assert!(segment < self.prepared, "only what is ready is written");
                    self.in_flight.push(id);
                    self.writes += 1;
                }
                IoOp::Retire { .. } | IoOp::RetireOlder => self.segments += 1,
            }
        }
    }

    fn complete(&mut self, random: &mut Random) {
        if !self.in_flight.is_empty() {
            let id = self.in_flight.swap_remove(random.below(self.in_flight.len()));
            self.log.complete(IoDone::Written { id });
        }
    }

    fn settle(&mut self, random: &mut Random) {
        self.poll();
        while !self.in_flight.is_empty() {
            self.complete(random);
            self.poll();
        }
    }
}

fn body_bytes(record: &Record<'_>) -> usize {
    match record {
        Record::Message(message) => message.body.len(),
        Record::Inbox(inbox) => match inbox.kind {
            persistence::InboxKind::Peer { body } => body.len(),
            _ => 0,
        },
        _ => 0,
    }
}

#[test]
fn what_has_room_becomes_durable() {
    for seed in 0..300 {
        let random = &mut Random::new(seed);
        let group_bytes_max = 4096 * (1 + random.below(4) as u32);
        let config = LogConfig {
            segment_bytes: group_bytes_max + 4096 * (1 + random.below(8) as u32),
            group_bytes_max,
            writes_max: 1 + random.below(3) as u32,
        };
        let mut device = Device::new(config, 1 + random.below(3) as u32);
        device.settle(random);
        for n in 1.. {
            let record = record(random, n);
            if device.log.room_bytes() < Log::footprint_max(body_bytes(&record)) {
                break;
            }
            device.log.append(&record);
            if random.one_in(3) {
                device.poll();
            }
            if random.one_in(3) {
                device.complete(random);
            }
        }
        device.settle(random);
        assert_eq!(device.log.durable(), device.log.end(), "seed {seed}: all of it has room");
        assert!(device.log.device_full(), "seed {seed}");
        // More is kept, and not durable, until there is room.
        let before = device.log.durable();
        for n in 0..200 {
            device.log.append(&record(random, 10_000 + n));
        }
        device.settle(random);
        assert!(device.log.durable() < device.log.end());
        device.log.retire(before);
        device.segments += 200;
        device.settle(random);
        assert_eq!(device.log.durable(), device.log.end(), "seed {seed}: it goes on");
        assert!(!device.log.device_full());
    }
}

#[test]
fn the_device_is_asked_again_without_a_retirement() {
    let random = &mut Random::new(1);
    let config = LogConfig { segment_bytes: 16_384, group_bytes_max: 4_096, writes_max: 1 };
    let mut device = Device::new(config, 0);
    device.poll();
    assert!(device.log.device_full() && device.log.room_bytes() == 0);
    device.segments = 1;
    for _ in 0..100 {
        device.settle(random);
    }
    assert!(!device.log.device_full() && device.log.durable() == device.log.end());
}

#[test]
fn what_gathers_during_a_write_leaves_in_one() {
    let random = &mut Random::new(1);
    let config = LogConfig { segment_bytes: 1 << 20, group_bytes_max: 1 << 18, writes_max: 1 };
    let mut device = Device::new(config, 2);
    device.settle(random);
    device.log.append(&record(random, 1));
    device.poll();
    let writes = device.writes;
    for n in 2..100 {
        device.log.append(&record(random, n));
        device.poll();
    }
    assert_eq!(device.writes, writes, "one write is in flight at most");
    device.complete(random);
    device.poll();
    assert_eq!(device.writes, writes + 1, "the others leave together");
    device.complete(random);
    assert_eq!(device.log.durable(), device.log.end());
}
