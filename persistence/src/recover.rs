//! Opening: what the older generations hold, cut at each log's last whole group.

use crate::group::{Fence, Found, GroupHeader, HEADER_BYTES, VERSION, decode_log_header};
use crate::group::{encode_log_header, find_group, padded};
use crate::record_decode::decode_first;
use crate::recovered::RecoveredTail;
use crate::{BLOCK_BYTES, MessageRecord, Record, slot_of};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::planted::{Bug, active};
use wire::{DecodeError, UserId};

/// One log found on the device: one core of one generation. Its bytes are durable (the files were
/// synced once they were read): what a killed process wrote may still be on its way.
#[derive(Clone, Debug)]
pub struct FoundLog {
    /// Its generation.
    pub generation: u64,
    /// Its core.
    pub core: u16,
    /// Segment number and content, in any order; contents may be shorter than a segment.
    pub segments: Vec<(u32, Bytes)>,
}

/// Reads logs one by one: newest generation first, and of those highest core first. A newer log
/// says how far the older ones count, and also that a log between them, whose header landed late,
/// counts for nothing.
#[derive(Clone, Debug)]
pub struct Reading {
    recovered: Recovered,
    fences: BTreeMap<(u64, u16), Fence>,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Recovered {
    generation: u64,
    /// Oldest generation first, then by core.
    logs: Vec<ReadLog>,
    floor_us: u64,
    bytes_cut: u64,
    holes: u64,
}

/// Why opening stops. Nothing was changed.
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
    /// What stood here was durable and is gone or changed; records were lost.
    #[error(
        "the log of generation {generation}, core {core} is damaged in segment {segment} at byte \
         {offset}: what stood there was durable once"
    )]
    Hole {
        /// Generation of the log.
        generation: u64,
        /// Core of the log.
        core: u16,
        /// Number of the segment.
        segment: u32,
        /// Where in the segment reading ended.
        offset: u32,
    },
    /// A whole group holds what this build cannot read: it was not written by this format.
    #[error(
        "the log of generation {generation}, core {core} holds an unreadable record in segment \
         {segment}, in the group at byte {offset}: {error}"
    )]
    Record {
        /// Generation of the log.
        generation: u64,
        /// Core of the log.
        core: u16,
        /// Number of the segment.
        segment: u32,
        /// Where in the segment the group starts.
        offset: u32,
        /// What is wrong.
        error: DecodeError,
    },
    /// A log that was not there when a newer one was opened: somebody put it there.
    #[error("the log of generation {generation}, core {core} is older than a log that misses it")]
    Stranger {
        /// Its generation.
        generation: u64,
        /// Its core.
        core: u16,
    },
}

/// What one core starts with.
#[derive(Clone, Debug)]
pub struct CoreStart {
    pub(crate) generation: u64,
    pub(crate) core: u16,
    pub(crate) cores: u16,
    pub(crate) floor_us: u64,
    /// The log's own header.
    pub(crate) log_header: Bytes,
    /// Older logs are there.
    pub(crate) older: bool,
    pub(crate) tail: RecoveredTail,
}

impl Reading {
    /// Nothing is read so far; `newest` is the highest generation found, 0 if there is none.
    pub fn new(newest: u64) -> Reading {
        let (logs, fences) = (Vec::new(), BTreeMap::new());
        let (floor_us, bytes_cut, holes) = (0, 0, 0);
        let generation = newest + 1;
        Reading { recovered: Recovered { generation, logs, floor_us, bytes_cut, holes }, fences }
    }

    /// Whether a log that was read says how far this one counts. What stands behind that place is
    /// not looked at: it need not be read from the device. Of any other log all is looked at.
    pub fn is_fenced(&self, generation: u64, core: u16) -> bool {
        self.fence(generation, core).is_some()
    }

    fn fence(&self, generation: u64, core: u16) -> Option<Fence> {
        let fence = self.fences.get(&(generation, core)).copied();
        fence.filter(|_| !active(Bug::TailNotFenced))
    }

    /// Reads the next log up to its last whole group, or to its fence. After an error nothing of
    /// it was taken: a fenced log of which only a part was given can be given again with more.
    pub fn take(&mut self, found: &FoundLog) -> Result<(), RecoverError> {
        let (generation, core) = (found.generation, found.core);
        let logs = &self.recovered.logs;
        let in_order = |last: &ReadLog| (generation, core) < (last.generation, last.core);
        assert!(logs.last().is_none_or(in_order), "newest generation first");
        let fence = self.fence(generation, core);
        let newer = logs.iter().any(|log| log.generation > generation && log.last.is_some());
        let unfenced = active(Bug::TailNotFenced);
        if fence.is_none() && newer && !found.segments.is_empty() && !unfenced {
            return Err(RecoverError::Stranger { generation, core });
        }
        let log = Walk::new(found, fence).read()?;
        for fence in &log.fences {
            self.fences.entry((fence.generation, fence.core)).or_insert(*fence);
        }
        let recovered = &mut self.recovered;
        recovered.floor_us = recovered.floor_us.max(log.floor_us);
        recovered.bytes_cut += log.bytes_cut;
        recovered.holes += log.holes;
        recovered.logs.push(log);
        Ok(())
    }

    /// Everything was read.
    pub fn finish(self) -> Recovered {
        let mut recovered = self.recovered;
        recovered.logs.reverse();
        if active(Bug::CoreOrder) {
            recovered.logs.sort_by_key(|log| (log.core, log.generation));
        }
        recovered
    }
}

impl Recovered {
    /// Reads all logs, each up to its last whole group, or to where a newer log's header fenced it.
    pub fn read(mut logs: Vec<FoundLog>) -> Result<Recovered, RecoverError> {
        logs.sort_by_key(|log| (log.generation, log.core));
        let mut reading = Reading::new(logs.last().map_or(0, |log| log.generation));
        for found in logs.iter().rev() {
            reading.take(found)?;
        }
        Ok(reading.finish())
    }

    /// The generation that this opening starts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes behind the last whole groups, cut.
    pub fn bytes_cut(&self) -> u64 {
        self.bytes_cut
    }

    /// Whole groups behind the last accepted ones, cut with them: writes that landed before an
    /// earlier one did. None of them was durable as far as the log tells.
    pub fn holes(&self) -> u64 {
        self.holes
    }

    /// What core `core` of `cores` starts with: every record that touches one of its slots
    /// (`slot % cores == core`), in the order (generation, log, position).
    pub fn deal(&self, core: u16, cores: u16) -> CoreStart {
        assert!(core < cores, "core {core} of {cores}");
        let mut tail = RecoveredTail::default();
        for log in &self.logs {
            for group in &log.groups {
                group.deal(&mut tail, log.confirmed, |user| slot_of(user) % cores == core);
            }
        }
        let fences: Vec<Fence> = self.logs.iter().map(ReadLog::fence).collect();
        CoreStart {
            generation: self.generation,
            core,
            cores,
            floor_us: self.floor_us,
            log_header: encode_log_header(&fences),
            older: !self.logs.is_empty(),
            tail,
        }
    }
}

impl CoreStart {
    /// Highest record time seen in any log, Unix microseconds: the new log stays above it.
    pub fn floor_us(&self) -> u64 {
        self.floor_us
    }
}

/// Whether a record changes something of a user's that `mine` names.
pub(crate) fn touches(record: &Record<'_>, mine: impl Fn(UserId) -> bool) -> bool {
    match record {
        Record::Message(MessageRecord { conv, inbox, marks, .. }) => {
            let part = |side: usize| inbox[side] != 0 || marks[side];
            let users = conv.participants();
            mine(conv.owner()) || (0..2).any(|side| part(side) && mine(users[side]))
        }
        other => other.user().is_some_and(mine),
    }
}

/// What one log holds.
#[derive(Clone, Debug)]
struct ReadLog {
    generation: u64,
    core: u16,
    groups: Vec<ReadGroup>,
    /// Position and checksum of the last accepted group.
    last: Option<(u64, u32)>,
    fences: Vec<Fence>,
    /// Highest `Record::Checkpoint::confirmed`, in the log's own positions.
    confirmed: u64,
    floor_us: u64,
    bytes_cut: u64,
    holes: u64,
}

impl ReadLog {
    fn fence(&self) -> Fence {
        Fence { generation: self.generation, core: self.core, last: self.last }
    }
}

/// The records of an accepted group.
#[derive(Clone, Debug)]
struct ReadGroup {
    /// Of the first record, in the log's own positions.
    position: u64,
    floor_us: u64,
    records: Bytes,
}

impl ReadGroup {
    fn deal(&self, tail: &mut RecoveredTail, confirmed: u64, mine: impl Fn(UserId) -> bool) {
        let mut offset = 0;
        let mut taken = false;
        while offset < self.records.len() {
            let (record, len) = decode_first(&self.records[offset..], self.floor_us)
                .expect("was decoded when the log was read");
            if touches(&record, &mine) {
                if !taken {
                    tail.push_group(self.records.clone(), self.floor_us);
                    taken = true;
                }
                tail.push(offset, len, self.position + (offset as u64) < confirmed);
            }
            offset += len;
        }
    }
}

/// Reading one log, group by group.
struct Walk {
    /// Lowest number first.
    segments: Vec<(u32, Bytes)>,
    fence: Option<Fence>,
    log: ReadLog,
    /// The last accepted group's header.
    last: Option<GroupHeader>,
}

impl Walk {
    fn new(found: &FoundLog, fence: Option<Fence>) -> Walk {
        let mut segments = found.segments.clone();
        segments.sort_by_key(|(number, _)| *number);
        let log = ReadLog {
            generation: found.generation,
            core: found.core,
            groups: Vec::new(),
            last: None,
            fences: Vec::new(),
            confirmed: 0,
            floor_us: 0,
            bytes_cut: 0,
            holes: 0,
        };
        Walk { segments, fence, log, last: None }
    }

    fn read(mut self) -> Result<ReadLog, RecoverError> {
        let Some(&(lowest, _)) = self.segments.first() else {
            return match self.fence {
                // Segments vanish only with their whole log.
                Some(Fence { last: Some(_), .. }) => Err(self.hole(0)),
                _ => Ok(self.log),
            };
        };
        if self.fence.is_some_and(|fence| fence.last.is_none()) {
            return Ok(self.log);
        }
        for (number, content) in self.segments.clone() {
            let mut offset = 0;
            while let Some(length) = self.accept(lowest, number, &content, offset)? {
                if self.fence.is_some_and(|fence| fence.last == self.log.last) {
                    return Ok(self.log);
                }
                offset += length;
            }
        }
        if self.fence.is_some() {
            return Err(self.hole(lowest));
        }
        self.look_behind(lowest)?;
        Ok(self.log)
    }

    /// Accepts the group at a place if it is the next one, and returns its padded length.
    fn accept(
        &mut self,
        lowest: u32,
        segment: u32,
        content: &Bytes,
        offset: usize,
    ) -> Result<Option<usize>, RecoverError> {
        let (header, crc) = match find_group(content, offset) {
            Found::Group(header, crc) => (header, crc),
            Found::Version(found) if offset == 0 => {
                return Err(RecoverError::Version { found, known: VERSION });
            }
            _ => return Ok(None),
        };
        let follows = match (&self.last, self.log.last) {
            (Some(last), Some((_, last_crc))) => {
                header.previous == last_crc
                    && header.base() == last.base()
                    && header.segment_bytes == last.segment_bytes
                    && header.position >= last.end()
            }
            _ => segment == lowest && offset == 0 && (lowest > 0 || header.previous == 0),
        };
        if !self.names(&header, segment, offset) || header.base().is_none() || !follows {
            return Ok(None);
        }
        self.take(&header, content.slice(offset..offset + header.length as usize)).map_err(
            |error| RecoverError::Record {
                generation: self.log.generation,
                core: self.log.core,
                segment,
                offset: offset as u32,
                error,
            },
        )?;
        self.log.last = Some((header.position, crc));
        self.last = Some(header);
        Ok(Some(padded(header.length as usize)))
    }

    /// Whether a header is of this log and of this place.
    fn names(&self, header: &GroupHeader, segment: u32, offset: usize) -> bool {
        header.generation == self.log.generation
            && header.core == self.log.core
            && header.segment == segment
            && header.offset as usize == offset
    }

    /// Reads what a group holds.
    fn take(&mut self, header: &GroupHeader, group: Bytes) -> Result<(), DecodeError> {
        let mut first = HEADER_BYTES;
        if header.offset == 0 {
            let (fences, len) = decode_log_header(&group[first..])?;
            self.log.fences = fences;
            first += len;
        }
        let records = group.slice(first..);
        self.log.floor_us = self.log.floor_us.max(header.floor_us);
        let mut offset = 0;
        let mut count = 0;
        while offset < records.len() {
            let (record, len) = decode_first(&records[offset..], header.floor_us)?;
            if let Record::Checkpoint { confirmed, .. } = record {
                self.log.confirmed = self.log.confirmed.max(confirmed);
            }
            self.log.floor_us = self.log.floor_us.max(record.time_us().unwrap_or(0));
            offset += len;
            count += 1;
        }
        if count != header.count {
            let problem = "differs from the number of records";
            return Err(DecodeError::Field { offset: 68, field: "count", problem });
        }
        let position = header.position + first as u64;
        self.log.groups.push(ReadGroup { position, floor_us: header.floor_us, records });
        Ok(())
    }

    /// Looks at what stands behind the last accepted group. A torn tail is cut and counted; a
    /// group that was sealed when the one that is missing was already durable proves a loss.
    fn look_behind(&mut self, lowest: u32) -> Result<(), RecoverError> {
        let end = self.last.map(|last| last.end());
        // A segment is retired only when a later one has a durable group.
        if end.is_none() && lowest > 0 {
            return Err(self.hole(lowest));
        }
        for (number, content) in self.segments.clone() {
            for offset in (0..content.len()).step_by(BLOCK_BYTES) {
                let (header, whole) = match find_group(&content, offset) {
                    Found::Group(header, _) => (header, true),
                    Found::Torn(header) => (header, false),
                    _ => continue,
                };
                let behind =
                    header.base().is_some_and(|base| header.position >= end.unwrap_or(base));
                if !self.names(&header, number, offset) || !behind {
                    continue;
                }
                if whole && header.durable > end.or(header.base()).expect("checked above") {
                    return Err(self.hole(lowest));
                }
                self.log.holes += u64::from(whole);
                let rest = content.len() - offset;
                self.log.bytes_cut += padded((header.length as usize).min(rest)) as u64;
            }
        }
        Ok(())
    }

    fn hole(&self, lowest: u32) -> RecoverError {
        let (segment, offset) = match self.last {
            Some(last) => (last.segment, last.offset + padded(last.length as usize) as u32),
            None => (lowest, 0),
        };
        RecoverError::Hole { generation: self.log.generation, core: self.log.core, segment, offset }
    }
}
