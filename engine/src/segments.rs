//! Segment files: made full of zeros once, then used again and again. A durable write of 4 KiB into
//! blocks that were written before takes about 70 µs, into reserved or growing ones 110–125 µs,
//! because those also change the file's metadata.

use rustix::{
    fs::{Advice, OFlags, fadvise},
    io::Errno,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes that are written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Retired segments that are kept to be used again.
const SPARES_MAX: usize = 2;

/// The segment files of one log.
pub(crate) struct Segments {
    dir: PathBuf,
    segment_bytes: u32,
    /// Numbers of retired segments, whose files are kept.
    spares: Vec<u32>,
}

/// The file of a segment.
pub fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment}.log"))
}

impl Segments {
    pub(crate) fn new(dir: PathBuf, segment_bytes: u32) -> Segments {
        Segments { dir, segment_bytes, spares: Vec::new() }
    }

    /// A segment that can be written; `None` when the disk is full.
    ///
    /// Of a file that is used again the first block becomes zeros. What lies behind it cannot be
    /// taken for new, since every group names its predecessor's checksum.
    pub(crate) fn prepare(&mut self, segment: u32) -> io::Result<Option<File>> {
        let path = segment_path(&self.dir, segment);
        let prepared = match self.spares.pop() {
            Some(spare) => self.rename_spare(spare, &path),
            None => self.make(&path),
        };
        match prepared.and_then(|()| open(&path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_full(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename_spare(&self, spare: u32, path: &Path) -> io::Result<()> {
        let spare = self.spare_path(spare);
        let mut file = OpenOptions::new().write(true).open(&spare)?;
        file.write_all(&[0; persistence::BLOCK_BYTES])?;
        file.sync_data()?;
        forget_pages(&file)?;
        fs::rename(&spare, path)?;
        self.sync_dir()
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        // Under its own name only once it is whole, so that nobody reads a short segment.
        let new = path.with_extension("new");
        let made = fill_with_zeros(&new, self.segment_bytes as usize)
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| self.sync_dir());
        made.inspect_err(|_| {
            // What is left of a segment that did not fit only takes room.
            let _ = fs::remove_file(&new);
        })
    }

    /// Nothing in this segment is needed any more.
    pub(crate) fn retire(&mut self, segment: u32) -> io::Result<()> {
        let path = segment_path(&self.dir, segment);
        if self.spares.len() < SPARES_MAX {
            fs::rename(path, self.spare_path(segment))?;
            self.spares.push(segment);
        } else {
            fs::remove_file(path)?;
        }
        self.sync_dir()
    }

    fn spare_path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{segment}.spare"))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn fill_with_zeros(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; CHUNK_BYTES.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let chunk = left.min(zeros.len());
        file.write_all(&zeros[..chunk])?;
        left -= chunk;
    }
    file.sync_all()?;
    forget_pages(&file)
}

/// Takes clean pages out of the page cache: a direct write over cached pages cannot start at once,
/// io_uring hands it to a worker thread, and that one waits for the core's processor.
fn forget_pages(file: &File) -> io::Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    OpenOptions::new().write(true).custom_flags(flags.bits() as i32).open(path)
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
