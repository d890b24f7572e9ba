//! A client and its journal on disk: one directory per device, opened by one process at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::{Client, Config, JournalError};

/// A journal is rewritten when it is this many times as long as its last snapshot …
const COMPACT_RATIO: u64 = 4;
/// … and at least this long, in bytes.
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// A journal that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another client: two would send under the same numbers")]
    InUse(PathBuf),
    /// It is no journal, or a broken one.
    #[error("{path}: {error}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: JournalError,
    },
    /// The file system says no.
    #[error("{path}: {error}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

/// A client whose changes are synced to `DIR/journal`; `DIR/lock` is held while it lives.
#[derive(Debug)]
pub struct Device {
    /// The client. After a change call `commit`.
    pub client: Client,
    file: JournalFile,
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct JournalFile {
    dir: PathBuf,
    file: File,
    bytes: u64,
    snapshot_bytes: u64,
    /// Released when it is dropped.
    _lock: File,
}

impl Device {
    /// Opens the device's journal in `dir`, or makes both. A torn tail is cut off.
    pub fn open(dir: &Path, config: Config) -> Result<Device, OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| OpenError::Io { path, error }
        };
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let (lock_path, path) = (dir.join("lock"), dir.join("journal"));
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(at(&lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| OpenError::InUse(dir.to_owned()))?;
        let journal = match std::fs::read(&path) {
            Ok(journal) => journal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        let random = random_number().map_err(at(Path::new("/dev/urandom")))?;
        let (mut client, _) = Client::open(config, &journal, random)
            .map_err(|error| OpenError::Journal { path: path.clone(), error })?;
        // What was read is written anew, so a torn tail is gone, and all of it is synced.
        client.journal();
        client.committed();
        let snapshot = client.snapshot();
        let file = replace(dir, &snapshot).map_err(at(&path))?;
        let bytes = snapshot.len() as u64;
        let dir = dir.to_owned();
        let file = JournalFile { dir, file, bytes, snapshot_bytes: bytes, _lock: lock };
        Ok(Device { client, file })
    }

    /// Makes what changed durable: one append and one sync, if anything did. After an error the
    /// process must end: what the disk has is unknown.
    pub fn commit(&mut self) -> io::Result<()> {
        let bytes = self.client.journal();
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.append(&bytes)?;
        self.client.committed();
        self.file.compact(|| self.client.snapshot())
    }

    /// Client and journal apart, for an adapter that writes on another thread.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_parts(self) -> (Client, JournalFile) {
        (self.client, self.file)
    }
}

impl JournalFile {
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Replaces the journal by a snapshot of the same state, if it grew long.
    pub fn compact(&mut self, snapshot: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        if self.bytes < COMPACT_BYTES_MIN.max(self.snapshot_bytes.saturating_mul(COMPACT_RATIO)) {
            return Ok(());
        }
        let snapshot = snapshot();
        self.file = replace(&self.dir, &snapshot)?;
        (self.bytes, self.snapshot_bytes) = (snapshot.len() as u64, snapshot.len() as u64);
        Ok(())
    }
}

/// Puts a whole new journal in place of the old one: either is there at any instant.
fn replace(dir: &Path, journal: &[u8]) -> io::Result<File> {
    let new = dir.join("journal.new");
    let mut file = File::create(&new)?;
    file.write_all(journal)?;
    file.sync_all()?;
    std::fs::rename(&new, dir.join("journal"))?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// 64 bits from the kernel.
fn random_number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Conv;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ringmail-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn open(dir: &Path) -> Result<Device, OpenError> {
        Device::open(dir, Config::new(b"token".to_vec()))
    }

    #[test]
    fn what_was_committed_is_there_after_the_process_died() {
        let dir = dir("committed");
        let mut device = open(&dir).unwrap();
        device.client.compose(Conv::Direct(2), b"kept").unwrap();
        device.commit().unwrap();
        device.client.compose(Conv::Direct(2), b"not committed").unwrap();
        let outbox = device.client.outbox();
        drop(device);
        // A torn append.
        let mut journal = std::fs::read(dir.join("journal")).unwrap();
        journal.extend_from_slice(&[200, 0, 0, 0, 1, 2]);
        std::fs::write(dir.join("journal"), journal).unwrap();
        for _ in 0..2 {
            let device = open(&dir).unwrap();
            let bodies: Vec<_> = device.client.pending(Conv::Direct(2)).collect();
            assert_eq!(bodies.len(), 1);
            assert_eq!((&bodies[0].body[..], bodies[0].n), (&b"kept"[..], 1));
            assert_eq!(device.client.outbox(), outbox);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_device_is_opened_once() {
        let dir = dir("once");
        let device = open(&dir).unwrap();
        assert!(matches!(open(&dir), Err(OpenError::InUse(_))));
        drop(device);
        open(&dir).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn another_file_is_left_alone() {
        let dir = dir("foreign");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("journal"), b"something else entirely").unwrap();
        let error = open(&dir).unwrap_err();
        assert!(matches!(error, OpenError::Journal { error: JournalError::Foreign, .. }));
        assert_eq!(std::fs::read(dir.join("journal")).unwrap(), b"something else entirely");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_long_journal_becomes_a_snapshot() {
        let dir = dir("long");
        let mut device = open(&dir).unwrap();
        for _ in 0..80 {
            let id = device.client.compose(Conv::Direct(2), &[7; 60_000]).unwrap();
            device.client.give_up(id);
            device.commit().unwrap();
            let bytes = device.file.bytes;
            assert_eq!(std::fs::metadata(dir.join("journal")).unwrap().len(), bytes);
        }
        assert!(device.file.snapshot_bytes > 1 << 20, "compacted");
        let pending = device.client.pending(Conv::Direct(2)).count();
        drop(device);
        assert_eq!(open(&dir).unwrap().client.pending(Conv::Direct(2)).count(), pending);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
