//! The directories of the logs: `log/<generation>/<core>/<segment>.log`.

use crate::data_dir::{self, DataDirError};
use bytes::Bytes;
use persistence::FoundLog;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What is added to a generation's name before its files go, so that it goes at once.
const GONE: &str = "gone";

/// What older generations left.
#[derive(Debug, Default)]
pub struct Found {
    /// Every log, also empty ones: their generation is taken.
    pub logs: Vec<FoundLog>,
    /// Their generations' directories, and what an interrupted removal left.
    pub older: Vec<PathBuf>,
    /// Bytes read.
    pub bytes: u64,
}

/// Reads every log below `log`, and makes durable again what it reads: a crash may have left
/// bytes visible that no sync ever covered.
pub fn read(log: &Path) -> Result<Found, DataDirError> {
    let attempt = || {
        let mut found = Found::default();
        for (path, name) in entries(log)? {
            if let Ok(generation) = name.parse() {
                read_generation(&mut found, generation, &path)?;
                found.older.push(path);
            } else if name.ends_with(GONE) {
                found.older.push(path);
            }
        }
        Ok(found)
    };
    attempt().map_err(|error| DataDirError::Io { what: "read the log", path: log.into(), error })
}

fn read_generation(found: &mut Found, generation: u64, path: &Path) -> io::Result<()> {
    for (path, name) in entries(path)? {
        let Ok(core) = name.parse() else { continue };
        let mut segments = Vec::new();
        for (path, name) in entries(&path)? {
            let Some(segment) = name.strip_suffix(".log").and_then(|n| n.parse().ok()) else {
                continue;
            };
            let content = Bytes::from(fs::read(&path)?);
            File::open(&path)?.sync_data()?;
            found.bytes += content.len() as u64;
            segments.push((segment, content));
        }
        found.logs.push(FoundLog { generation, core, segments });
    }
    Ok(())
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
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_found_and_goes_whole() {
        let log = std::env::temp_dir().join(format!("ringmail-log-{}", std::process::id()));
        create(&log, 7, 2).unwrap();
        fs::write(core_dir(&log, 7, 1).join("3.log"), b"bytes").unwrap();
        fs::write(core_dir(&log, 7, 1).join("4.spare"), b"none of ours").unwrap();
        let found = read(&log).unwrap();
        assert_eq!((found.logs.len(), found.bytes, found.older.len()), (2, 5, 1));
        let log_1 = found.logs.iter().find(|log| log.core == 1).unwrap();
        assert_eq!(log_1.generation, 7);
        assert_eq!(log_1.segments, [(3, Bytes::from_static(b"bytes"))]);
        remove(&log, &found.older).unwrap();
        assert_eq!(entries(&log).unwrap(), []);
        fs::remove_dir_all(log).unwrap();
    }

    #[test]
    fn an_interrupted_removal_is_finished_later() {
        let log = std::env::temp_dir().join(format!("ringmail-gone-{}", std::process::id()));
        fs::create_dir_all(log.join("3.gone/0")).unwrap();
        let found = read(&log).unwrap();
        assert!(found.logs.is_empty());
        remove(&log, &found.older).unwrap();
        assert_eq!(entries(&log).unwrap(), []);
        fs::remove_dir_all(log).unwrap();
    }
}
