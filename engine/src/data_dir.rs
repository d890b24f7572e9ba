//! The data directory: `lock`, `key`, `format`, `epoch`, `log/`, `store/`. One server at a time.

use rustix::{
    fs::{FlockOperation, OFlags},
    rand::GetRandomFlags,
};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Version of everything below the directory.
const FORMAT: &str = "4";
/// Each `ringmail restored` moves every inbox epoch by so much: more than a user's own epoch can
/// have been raised by since the copy was made.
const EPOCHS_PER_RESTORE: u64 = 1 << 32;
/// Names that belong to a data directory.
const NAMES: [&str; 7] = ["lock", "key", "format", "epoch", "log", "store", "name"];

/// A data directory that this process holds until it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used: one line that names path and cure.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server holds it.
    #[error(
        "the data directory {path} is in use by process {pid}; stop that process, or name \
         another directory with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// As the other process wrote it.
        pid: String,
    },
    /// Another build made it.
    #[error(
        "the data directory {path} has format version {found}, this build knows {FORMAT}; run \
         the build that made it, or name another directory with --data-dir"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its `format` says.
        found: String,
    },
    /// Not ours.
    #[error(
        "{path} is not a Ringmail data directory: it has no file `format`, but holds {found}; \
         name an empty or a new directory with --data-dir"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        found: String,
    },
    /// The disk is full.
    #[error(
        "the disk of {path} has {free} bytes free, the log needs {needed} to start; free some, \
         lower limits.segment_bytes, or name another directory with --data-dir"
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// Bytes that this user can still write.
        free: u64,
        /// Bytes that a start needs.
        needed: u64,
    },
    /// The key can be read by others, or is none.
    #[error("the key {path} {what}; {cure}")]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What helps.
        cure: String,
    },
    /// The epoch is no number.
    #[error("{0} does not hold a number; write the number of restores so far into it")]
    Epoch(PathBuf),
    /// No server ever ran here.
    #[error("{0} is no data directory yet: start the server once, or name another with --data-dir")]
    Missing(PathBuf),
    /// The system refuses.
    #[error("cannot {what} {path}: {error}; let this user write there, or name another --data-dir")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

type Result<T> = std::result::Result<T, DataDirError>;

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    move |error| DataDirError::Io { what, path: path.to_owned(), error }
}

/// Looks, and changes nothing: format, room for `needed` bytes, key, permissions.
pub fn check(path: &Path, needed: u64) -> Result<()> {
    let place = nearest_existing(path);
    if place == path {
        check_format(path)?;
        if path.join("format").exists() {
            read_key(path)?;
            read_epoch(path)?;
        }
        if let Some(pid) = holder(path)? {
            return Err(DataDirError::InUse { path: path.to_owned(), pid });
        }
    }
    rustix::fs::access(&place, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| io_error("write into", &place)(error.into()))?;
    let space = rustix::fs::statvfs(&place)
        .map_err(|error| io_error("see the free space of", &place)(error.into()))?;
    let free = space.f_bavail * space.f_frsize;
    if free < needed {
        return Err(DataDirError::Full { path: path.to_owned(), free, needed });
    }
    Ok(())
}

/// The path itself, or the directory in which it would be created.
pub fn nearest_existing(path: &Path) -> PathBuf {
    let mut ancestors = path.ancestors().filter(|place| !place.as_os_str().is_empty());
    ancestors.find(|place| place.exists()).unwrap_or(Path::new(".")).to_owned()
}

fn check_format(path: &Path) -> Result<()> {
    match fs::read_to_string(path.join("format")) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => {
            Err(DataDirError::Format { path: path.to_owned(), found: found.trim().to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entries = fs::read_dir(path).map_err(io_error("read", path))?;
            for entry in entries {
                let name = entry.map_err(io_error("read", path))?.file_name();
                let name = name.to_string_lossy().into_owned();
                // A first start may have been cut before `format`, its last step.
                if !NAMES.iter().any(|known| name.trim_end_matches(".new") == *known) {
                    return Err(DataDirError::Foreign { path: path.to_owned(), found: name });
                }
            }
            Ok(())
        }
        Err(error) => Err(io_error("read", &path.join("format"))(error)),
    }
}

/// The process that holds the directory, if one does.
fn holder(path: &Path) -> Result<Option<String>> {
    let path = path.join("lock");
    match File::open(&path) {
        Ok(mut file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(_) => Ok(Some(pid_in(&mut file))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("open", &path)(error)),
    }
}

fn pid_in(file: &mut File) -> String {
    let mut pid = String::new();
    let read = file.read_to_string(&mut pid);
    if read.is_ok() && !pid.trim().is_empty() { pid.trim().to_owned() } else { "unknown".into() }
}

impl DataDir {
    /// Takes the directory; creates what is missing. `needed` as in `check`, which comes first.
    pub fn open(path: &Path, needed: u64) -> Result<DataDir> {
        check(path, needed)?;
        fs::create_dir_all(path).map_err(io_error("create the data directory", path))?;
        let dir = DataDir { path: path.to_owned(), _lock: lock(path)? };
        check_format(path)?;
        if !path.join("format").exists() {
            if !path.join("key").exists() {
                write_durably(&path.join("key"), &random_key(), 0o600)?;
            }
            for name in ["log", "store"] {
                create_dir_durably(&path.join(name))?;
            }
            write_durably(&path.join("format"), format!("{FORMAT}\n").as_bytes(), 0o644)?;
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Where the logs are.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }
    /// Where the embedded store is.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }
    /// The embedded store was opened here once.
    pub fn has_embedded_rows(&self) -> bool {
        fs::read_dir(self.store()).is_ok_and(|mut entries| entries.next().is_some())
    }
    /// A distributed store knows this directory.
    pub fn has_store_name(&self) -> bool {
        self.path.join("name").exists()
    }
    /// The name that a distributed store knows this directory by; made at the first call.
    pub fn store_name(&self) -> Result<String> {
        let path = self.path.join("name");
        if !self.has_store_name() {
            write_durably(&path, format!("{:016x}\n", random_seed()).as_bytes(), 0o644)?;
        }
        let name = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        Ok(name.trim().chars().filter(char::is_ascii_alphanumeric).collect())
    }
    /// Signs and verifies tokens.
    pub fn key(&self) -> Result<[u8; 32]> {
        read_key(&self.path)
    }
    /// What every inbox epoch starts from; never 0, which is the epoch of a device without a past.
    pub fn epoch_base(&self) -> Result<u64> {
        Ok(1 + read_epoch(&self.path)?.saturating_mul(EPOCHS_PER_RESTORE))
    }
    /// Makes every inbox epoch a new one; gives the number of restores so far.
    pub fn raise_epoch(&self) -> Result<u64> {
        let restores = read_epoch(&self.path)? + 1;
        write_durably(&self.path.join("epoch"), format!("{restores}\n").as_bytes(), 0o644)?;
        Ok(restores)
    }
}

fn lock(path: &Path) -> Result<File> {
    let lock_path = path.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(io_error("open", &lock_path))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(DataDirError::InUse { path: path.to_owned(), pid: pid_in(&mut file) });
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(io_error("write", &lock_path))?;
    Ok(file)
}

/// The key of a data directory; the server may be running.
pub fn read_key(path: &Path) -> Result<[u8; 32]> {
    if !path.join("format").exists() {
        return Err(DataDirError::Missing(path.to_owned()));
    }
    let path = path.join("key");
    let wrong = |what: String, cure: &str| DataDirError::Key {
        path: path.clone(),
        what,
        cure: cure.to_owned(),
    };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => {
            let cure = "restore it from where it was kept, or make a new one, which ends all \
                        tokens: (umask 077; head -c 32 /dev/urandom > key)";
            return Err(wrong(format!("cannot be read: {error}"), cure));
        }
    };
    let mode = file.metadata().map_err(io_error("read", &path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(wrong(
            format!("has mode {mode:04o}, so others can read it"),
            &format!("run: chmod 600 {}", path.display()),
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io_error("read", &path))?;
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        wrong(format!("has {} bytes instead of 32", bytes.len()), "restore it from a copy")
    })
}

fn read_epoch(path: &Path) -> Result<u64> {
    let path = path.join("epoch");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| DataDirError::Epoch(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    // Up to 256 bytes come whole once the kernel's pool is ready (getrandom(2)).
    let bytes = rustix::rand::getrandom(&mut key, GetRandomFlags::empty());
    assert_eq!(bytes, Ok(key.len()), "the kernel gives random bytes");
    key
}

/// A random number for the hash tables.
pub fn random_seed() -> u64 {
    u64::from_le_bytes(random_key()[..8].try_into().expect("eight bytes"))
}

/// The file has this content after any crash from here on, or what it had before.
fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(mode);
        let mut file = options.open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(io_error("write", path))?;
    sync_dir(path.parent().expect("a file in a directory"))
}

/// Creates a directory, and its parents, that a crash does not take away.
pub fn create_dir_durably(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(io_error("create", path))?;
    sync_dir(path.parent().expect("a directory in a directory"))
}

/// Makes what was created, renamed and removed in a directory durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(io_error("sync", path))
}

/// Whether files in this directory can be written past the page cache; the file that is tried
/// never has a name.
pub fn supports_direct_io(dir: &Path) -> io::Result<()> {
    let flags = (OFlags::TMPFILE | OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
    File::options().read(true).write(true).custom_flags(flags).open(dir).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ringmail-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_first_start_creates_a_private_key_and_keeps_it() {
        let path = empty("first");
        let key = DataDir::open(&path, 0).unwrap().key().unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(path.join("key").metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(DataDir::open(&path, 0).unwrap().key().unwrap(), key);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn restores_raise_every_epoch() {
        let path = empty("epoch");
        let dir = DataDir::open(&path, 0).unwrap();
        assert_eq!(dir.epoch_base().unwrap(), 1);
        assert_eq!(dir.raise_epoch().unwrap(), 1);
        assert_eq!(dir.epoch_base().unwrap(), 1 + EPOCHS_PER_RESTORE);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_check_creates_nothing() {
        let path = empty("check");
        check(&path, 4096).unwrap();
        assert!(!path.exists());
        let error = check(&path, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("bytes free"), "{error}");
        assert!(!path.exists());
    }
}
