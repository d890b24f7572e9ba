//! Tests of finding and reading logs, written by the log itself into files.

use super::*;
use persistence::{BLOCK_BYTES, IoDone, IoOp, Log, LogConfig, Record};
use shards::Claims;
use std::os::unix::fs::FileExt;

const SEGMENT_BYTES: u32 = 1 << 20;
const CONFIG: LogConfig =
    LogConfig { segment_bytes: SEGMENT_BYTES, group_bytes_max: 64 << 10, writes_max: 1 };

/// A directory for logs that goes with the value.
struct Logs(PathBuf);

impl Logs {
    fn new(name: &str) -> Logs {
        let path = std::env::temp_dir().join(format!("ringmail-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Logs(path)
    }

    fn segment(&self, generation: u64, segment: u32) -> PathBuf {
        core_dir(&self.0, generation, 0).join(format!("{segment}.log"))
    }

    /// A new generation of one core, with so many groups of one record each.
    fn write_generation(&self, groups: u64) {
        let recovered = read(&self.0).unwrap().recovered;
        let generation = recovered.generation();
        create(&self.0, generation, 1).unwrap();
        let mut log = Log::start(CONFIG, recovered.deal(0, 1));
        let user = Claims::new(1, 1).expect("a user").user;
        for epoch in 0..=groups {
            if epoch > 0 {
                log.append(&Record::Epoch { user, epoch });
            }
            while let Some(op) = log.poll() {
                let done = match op {
                    IoOp::Prepare { segment } => {
                        let zeros = vec![0; SEGMENT_BYTES as usize];
                        fs::write(self.segment(generation, segment), zeros).unwrap();
                        IoDone::Prepared { segment }
                    }
                    IoOp::Write { id, segment, offset, bytes } => {
                        let path = self.segment(generation, segment);
                        let file = File::options().write(true).open(path).unwrap();
                        file.write_all_at(&bytes, offset.into()).unwrap();
                        IoDone::Written { id }
                    }
                    IoOp::Retire { .. } | IoOp::RetireOlder => continue,
                };
                log.complete(done);
            }
        }
        assert_eq!(log.durable(), log.end());
    }

    /// Makes the block at this place of the first segment zeros.
    fn lose_block(&self, generation: u64, block: usize) {
        let file = File::options().write(true).open(self.segment(generation, 0)).unwrap();
        file.write_all_at(&[0; BLOCK_BYTES], (block * BLOCK_BYTES) as u64).unwrap();
    }

    fn records(&self) -> usize {
        let log = Log::start(CONFIG, read(&self.0).unwrap().recovered.deal(0, 1));
        let mut from = log.start_of_tail();
        let mut next = || {
            let (_, _, end) = log.next(from)?;
            from = end;
            Some(())
        };
        std::iter::from_fn(&mut next).count()
    }

    fn damage(&self) -> Option<RecoverError> {
        match read(&self.0) {
            Err(LogError::Recover { error, .. }) => Some(error),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_generation_is_found_and_goes_whole() {
    let logs = Logs::new("log");
    create(&logs.0, 7, 2).unwrap();
    fs::write(core_dir(&logs.0, 7, 1).join("0.log"), [0; 5]).unwrap();
    fs::write(core_dir(&logs.0, 7, 1).join("4.spare"), b"none of ours").unwrap();
    let found = read(&logs.0).unwrap();
    assert_eq!((found.logs, found.bytes, found.older.len()), (2, 5, 1));
    assert_eq!(found.recovered.generation(), 8);
    remove(&logs.0, &found.older).unwrap();
    assert_eq!(entries(&logs.0).unwrap(), []);
}

#[test]
fn an_interrupted_removal_is_finished_later() {
    let logs = Logs::new("gone");
    fs::create_dir_all(logs.0.join("3.gone/0")).unwrap();
    let found = read(&logs.0).unwrap();
    assert_eq!(found.logs, 0);
    remove(&logs.0, &found.older).unwrap();
    assert_eq!(entries(&logs.0).unwrap(), []);
}

#[test]
fn of_fenced_logs_little_more_than_what_counts_is_read() {
    let logs = Logs::new("fenced");
    for groups in [1, 3, 40, 200, 5] {
        logs.write_generation(groups);
    }
    assert_eq!(logs.records(), 249);
    // The newest is read as a whole: one segment, as less than half of it is used. Those with 40
    // and with 200 groups do not fit the first attempts.
    let (first, second, third) = (FENCED_BYTES, 4 * FENCED_BYTES, 16 * FENCED_BYTES);
    let expected = u64::from(SEGMENT_BYTES) + 4 * first + 2 * second + third;
    assert_eq!(read(&logs.0).unwrap().bytes, expected);
}

#[test]
fn what_was_durable_and_is_lost_is_seen_however_far_behind_others_stand() {
    for groups_behind in [1, 200] {
        let logs = Logs::new("hole");
        logs.write_generation(3 + groups_behind);
        for block in 3..3 + groups_behind - 1 {
            logs.lose_block(1, block as usize);
        }
        // With one behind, nothing tells that it was durable.
        let seen = logs.damage();
        match groups_behind {
            1 => assert_eq!(seen, None),
            _ => assert!(matches!(seen, Some(RecoverError::Hole { .. })), "{seen:?}"),
        }
    }
}

#[test]
fn a_fenced_log_that_ends_before_its_fence_is_damaged() {
    for lost in [2, 30, 200] {
        let logs = Logs::new("ends");
        logs.write_generation(200);
        logs.write_generation(1);
        assert_eq!(logs.damage(), None);
        logs.lose_block(1, lost);
        let seen = logs.damage();
        assert!(matches!(seen, Some(RecoverError::Hole { generation: 1, .. })), "{seen:?}");
    }
}
