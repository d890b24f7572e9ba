//! Opening: what the older generations hold, cut at each log's last whole group.

use bytes::Bytes;

/// One log found on the device: one core of one generation.
#[derive(Clone, Debug)]
pub struct FoundLog {
    /// Its generation.
    pub generation: u64,
    /// Its core.
    pub core: u16,
    /// Segment number and content, in any order; contents may be shorter than a segment.
    pub segments: Vec<(u32, Bytes)>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Recovered {
    _private: (),
}

/// Why opening stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Another version of the format.
    #[error("the log has format version {found}, this build reads {known}")]
    Version {
        /// In the file.
        found: u32,
        /// In this build.
        known: u32,
    },
}

/// What one core starts with.
#[derive(Clone, Debug)]
pub struct CoreStart {
    _private: (),
}

impl Recovered {
    /// Reads all logs, each up to its last whole group, or to where a newer log's header fenced it.
    pub fn read(_logs: Vec<FoundLog>) -> Result<Recovered, RecoverError> {
        panic!()
    }
    /// The generation that this opening starts.
    pub fn generation(&self) -> u64 {
        panic!()
    }
    /// Bytes behind the last whole groups, cut.
    pub fn bytes_cut(&self) -> u64 {
        panic!()
    }
    /// What core `core` of `cores` starts with: every record that touches one of its slots
    /// (`slot % cores == core`), in the order (generation, log, position).
    pub fn deal(&self, _core: u16, _cores: u16) -> CoreStart {
        panic!()
    }
}

impl CoreStart {
    /// Highest record time seen in any log, Unix microseconds: the new log stays above it.
    pub fn floor_us(&self) -> u64 {
        panic!()
    }
}
