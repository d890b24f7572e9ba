//! The directories of the logs: `log/<generation>/<core>/<segment>.log`.

use crate::data_dir::{self, DataDirError};
use persistence::{BackendError, FoundLog, Reading, RecoverError, Recovered};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What is added to a generation's name before its files go, so that it goes at once.
const GONE: &str = "gone";
/// So much of a log that a newer one has fenced is read at first, and four times as much whenever
/// the fence was not reached: segments are much longer than what a crash loop writes into them.
const FENCED_BYTES: u64 = 64 << 10;
/// Read at once; few enough that zeros behind the last group are told from it.
const CHUNK_BYTES: usize = 64 << 10;

/// What older generations left.
#[derive(Debug)]
pub struct Found {
    /// Every log, also empty ones: their generation is taken.
    pub recovered: Recovered,
    /// How many logs.
    pub logs: usize,
    /// Their generations' directories, and what an interrupted removal left.
    pub older: Vec<PathBuf>,
    /// Bytes read.
    pub bytes: u64,
}

/// Why logs cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refuses.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// They are not what this build wrote.
    #[error("the log in {path} cannot be read: {error}; run the build that wrote it")]
    Recover {
        /// Where.
        path: PathBuf,
        /// Why.
        error: RecoverError,
    },
    /// Those of a node are not what this build wrote.
    #[error(
        "the log of node {node} in the store cannot be read: {error}; run the build that wrote it"
    )]
    Node {
        /// Its name.
        node: String,
        /// Why.
        error: RecoverError,
    },
    /// The store does not answer.
    #[error("the logs in the store cannot be read: {0}")]
    Store(BackendError),
    /// Acks came from the disk so far.
    #[error(
        "the logs in {0} were written with ack = \"local\", and a level is kept for life; set \
         ack = \"local\", or name another directory with --data-dir"
    )]
    Local(PathBuf),
}

/// Reads every log below `log`, newest first, and makes durable again what it reads: a crash may
/// have left bytes visible that no sync ever covered. A log that a newer one has fenced was made
/// durable before that fence was written.
pub fn read(log: &Path) -> Result<Found, LogError> {
    let failed = |error| DataDirError::Io { what: "read the log", path: log.into(), error };
    let (mut logs, older) = find(log).map_err(failed)?;
    logs.sort_by_key(|log| (log.generation, log.core));
    let mut reading = Reading::new(logs.last().map_or(0, |log| log.generation));
    let mut bytes = 0;
    for files in logs.iter().rev() {
        let fenced = reading.is_fenced(files.generation, files.core);
        let mut bytes_max = if fenced { FENCED_BYTES } else { u64::MAX };
        loop {
            let (found, whole) = files.read(bytes_max, !fenced).map_err(failed)?;
            bytes += found.segments.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            match reading.take(&found) {
                Ok(()) => break,
                Err(error) if whole => {
                    return Err(LogError::Recover { path: log.to_owned(), error });
                }
                Err(_) => bytes_max = bytes_max.saturating_mul(4),
            }
        }
    }
    Ok(Found { recovered: reading.finish(), logs: logs.len(), older, bytes })
}

/// Whether no log was ever written below `log`.
pub fn is_empty(log: &Path) -> Result<bool, LogError> {
    let failed = |error| DataDirError::Io { what: "read the log", path: log.into(), error };
    Ok(entries(log).map_err(failed)?.is_empty())
}

/// The files of one log.
struct LogFiles {
    generation: u64,
    core: u16,
    /// Number and file of each segment, lowest first.
    segments: Vec<(u32, PathBuf)>,
}

impl LogFiles {
    /// The log's first bytes, at most so many, made durable if told so; and whether those are all.
    fn read(&self, bytes_max: u64, sync: bool) -> io::Result<(FoundLog, bool)> {
        let (mut segments, mut left, mut whole) = (Vec::new(), bytes_max, true);
        for (number, path) in &self.segments {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let content = read_sparse(&file, length.min(left) as usize)?;
            if sync {
                file.sync_data()?;
            }
            left -= content.len() as u64;
            whole &= content.len() as u64 >= length;
            segments.push((*number, content.into()));
        }
        let (generation, core) = (self.generation, self.core);
        Ok((FoundLog { generation, core, segments }, whole))
    }
}

/// The file's first bytes. Most of a segment is zeros that were never written over: those are not
/// copied, so they take no memory either.
fn read_sparse(mut file: &File, bytes: usize) -> io::Result<Vec<u8>> {
    let mut content = vec![0; bytes];
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = file.read(&mut chunk[..CHUNK_BYTES.min(bytes - at)])?;
        if length == 0 {
            content.truncate(at);
            break;
        }
        if chunk[..length].iter().any(|&byte| byte != 0) {
            content[at..at + length].copy_from_slice(&chunk[..length]);
        }
        at += length;
    }
    Ok(content)
}

/// The logs, in any order, and the directories that go with their generations.
fn find(log: &Path) -> io::Result<(Vec<LogFiles>, Vec<PathBuf>)> {
    let (mut logs, mut older) = (Vec::new(), Vec::new());
    for (path, name) in entries(log)? {
        if let Ok(generation) = name.parse() {
            for (core_path, name) in entries(&path)? {
                let Ok(core) = name.parse() else { continue };
                logs.push(LogFiles { generation, core, segments: segments(&core_path)? });
            }
            older.push(path);
        } else if name.ends_with(GONE) {
            older.push(path);
        }
    }
    Ok((logs, older))
}

fn segments(core: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let number = |name: &str| name.strip_suffix(".log").and_then(|number| number.parse().ok());
    let files = entries(core)?.into_iter();
    let mut segments: Vec<_> =
        files.filter_map(|(path, name)| Some((number(&name)?, path))).collect();
    segments.sort_unstable();
    Ok(segments)
}

fn entries(dir: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let named =
        |entry: fs::DirEntry| (entry.path(), entry.file_name().to_string_lossy().into_owned());
    fs::read_dir(dir)?.map(|entry| entry.map(named)).collect()
}

/// Where one core of a generation writes.
pub fn core_dir(log: &Path, generation: u64, core: u16) -> PathBuf {
    log.join(generation.to_string()).join(core.to_string())
}

/// Creates the directories of a new generation, durably.
pub fn create(log: &Path, generation: u64, cores: u16) -> Result<(), DataDirError> {
    for core in 0..cores {
        data_dir::create_dir_durably(&core_dir(log, generation, core))?;
    }
    data_dir::sync_dir(log)
}

/// Removes older generations, each whole: half of one would read as a loss.
pub fn remove(log: &Path, older: &[PathBuf]) -> io::Result<()> {
    let mut gone = Vec::new();
    for path in older {
        let target = path.with_extension(GONE);
        if *path != target {
            fs::rename(path, &target)?;
        }
        gone.push(target);
    }
    File::open(log)?.sync_all()?;
    gone.iter().try_for_each(fs::remove_dir_all)
}

#[cfg(test)]
#[path = "log_dirs_tests.rs"]
mod tests;
