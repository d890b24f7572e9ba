//! A node's logs in the store: who takes the node finds what was durable, and whom it is taken
//! from gets nothing more done.

use crate::node;
use persistence::blocks::{
    BLOCKS_IN_FLIGHT, BlockStore, Deposed, HeldNode, NodeNews, TakeNode, Taken,
};
use persistence::{IoDone, IoOp, Log, LogConfig, Position, Reading, Record};
use ringmail_scylla::{Config, OpenError, Scylla};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use wire::AckLevel;

const CONFIG: LogConfig =
    LogConfig { segment_bytes: 64 << 10, group_bytes_max: 8 << 10, writes_max: BLOCKS_IN_FLIGHT };
const PATIENCE: Duration = Duration::from_secs(30);

/// A process: one core's log.
struct Process {
    _store: Scylla,
    held: Arc<dyn HeldNode>,
    taken: Taken,
    log: Log,
    ops: Box<dyn FnMut(IoOp) + Send>,
    done: Receiver<IoDone>,
    news: Receiver<NodeNews>,
}

fn now_us() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

fn take(config: &Config, taker: u64, dir: u64) -> Process {
    let store = Scylla::open_node(config, "one").expect("opens");
    let (tell, news) = channel();
    let mut wait = |length| {
        std::thread::sleep(length);
        true
    };
    let node = TakeNode { cores: 1, dir, taker, now_us };
    let tell = Box::new(move |one| drop(tell.send(one)));
    let (held, taken) = store.take_node(node, &mut wait, tell).expect("answers").expect("taken");
    let mut reading = Reading::new(taken.seal.incarnation - 1);
    for log in taken.logs.iter().rev() {
        reading.take(&log.found()).expect("sound");
    }
    let (tell, done) = channel();
    let ops = held.device(
        0,
        Box::new(move |io_done| {
            let _ = tell.send(io_done);
        }),
    );
    let log = Log::start(CONFIG, reading.finish().deal(0, 1));
    Process { _store: store, held, taken, log, ops, done, news }
}

impl Process {
    /// Appends epochs, and whether they became durable.
    fn append(&mut self, epochs: std::ops::Range<u64>, patience: Duration) -> bool {
        let user = wire::UserId::new(7).expect("not 0");
        for epoch in epochs {
            self.log.append(&Record::Epoch { user, epoch });
            self.poll();
        }
        let (end, begun) = (self.log.end(), Instant::now());
        while self.log.durable() < end && begun.elapsed() < patience {
            self.poll();
            if let Ok(done) = self.done.recv_timeout(Duration::from_millis(50)) {
                self.log.complete(done);
            }
        }
        self.log.durable() >= end
    }

    fn poll(&mut self) {
        while let Some(op) = self.log.poll() {
            (self.ops)(op);
        }
    }

    fn epochs(&self) -> Vec<u64> {
        let (mut at, mut epochs) = (Position(0), Vec::new());
        while let Some((_, record, next)) = self.log.next(at) {
            if let Record::Epoch { epoch, .. } = record {
                epochs.push(epoch);
            }
            at = next;
        }
        epochs
    }
}

fn config() -> Config {
    let config = Config { level: AckLevel::Replicated, ..node::shared().config() };
    Scylla::migrate(&config).expect("migrated");
    config
}

#[test]
fn a_taker_finds_what_was_durable_and_the_old_owner_ends() {
    let config = config();
    let mut first = take(&config, 1, 5);
    assert!(first.append(1..40, PATIENCE));
    // On the same directory, whose lock says that the other process is dead; here it is not.
    let mut second = take(&config, 2, 5);
    assert_eq!(second.taken.seal.incarnation, 2);
    assert_eq!(second.epochs(), (1..40).collect::<Vec<_>>());
    assert!(!first.append(40..41, Duration::from_secs(3)), "nothing of it counts any more");
    let news = first.news.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!(news, NodeNews::Deposed(Deposed { by: Some(2) }));
    assert!(second.append(50..60, PATIENCE));
    let expected: Vec<u64> = (1..40).chain(50..60).collect();
    assert_eq!(second.epochs(), expected);
    // What is not needed goes: the third finds the second's log only.
    second.held.remove_older();
    std::thread::sleep(Duration::from_secs(1));
    second.held.give_back();
    let begun = Instant::now();
    let third = take(&config, 3, 6);
    assert!(begun.elapsed() < Duration::from_secs(5), "it was given back");
    assert_eq!(third.epochs(), (50..60).collect::<Vec<_>>());
}

#[test]
fn another_directory_waits_for_the_lease() {
    let config = config();
    let mut first = take(&config, 1, 5);
    assert!(first.append(1..3, PATIENCE));
    drop(first);
    let begun = Instant::now();
    let second = take(&config, 2, 6);
    assert!(begun.elapsed() > Duration::from_secs(5), "the lease was not over");
    assert_eq!(second.epochs(), [1, 2]);
}

#[test]
fn a_level_is_kept_for_life() {
    let config = config();
    Scylla::open_node(&config, "one").map(drop).expect("opens");
    let other = Scylla::open_node(&config, "two").map(drop).expect_err("another node");
    assert!(matches!(other, OpenError::Owned { .. }), "{other}");
    let local = Config { level: AckLevel::Local, ..config.clone() };
    let error = Scylla::open(&local, "directory").map(drop).expect_err("another level");
    assert!(matches!(error, OpenError::Owned { .. }), "{error}");
    let geo = Config { level: AckLevel::Geo, ..config.clone() };
    let error = Scylla::open_node(&geo, "one").map(drop).expect_err("one datacenter");
    assert!(matches!(error, OpenError::Geo { .. }), "{error}");
    let named = Config { datacenter: "nowhere".to_owned(), ..config };
    let error = Scylla::open_node(&named, "one").map(drop).expect_err("no such datacenter");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
}
