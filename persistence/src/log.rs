//! The per-core log: records in, groups out, as a state machine over a device.

use crate::group::{GroupHeader, HEADER_BYTES, padded};
use crate::record_codec::{RECORD_OVERHEAD_MAX, encode_head};
use crate::record_decode::decode_first;
use crate::recovered::RecoveredTail;
use crate::{BLOCK_BYTES, CoreStart, IoDone, IoOp, Position, Record};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use wire::planted::{Bug, active};
use wire::put_varint;

/// Bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Size of a segment in bytes, a multiple of `BLOCK_BYTES`.
    pub segment_bytes: u32,
    /// Longest group in bytes, a multiple of `BLOCK_BYTES`.
    pub group_bytes_max: u32,
    /// Writes in flight at most.
    pub writes_max: u32,
}

/// Blocks of memory are allocated for this many longest groups at once.
const GROUPS_PER_SLAB: usize = 4;
/// A device that was full is asked again when this many polls found nothing else to do (and
/// after each `Log::retire`).
const IDLE_POLLS_PER_RETRY: u32 = 64;

/// A core's log. Keeps everything that is not retired in memory: the tail is where unflushed
/// messages are read from.
///
/// A position of the new generation is `base` + segment × `segment_bytes` + offset, so the place
/// of a record is known when it is appended.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    generation: u64,
    core: u16,
    cores: u16,
    log_header: Bytes,
    recovered: RecoveredTail,
    base: u64,
    /// Sealed groups that are not retired, oldest first.
    groups: VecDeque<Group>,
    /// Name of the first of `groups`; the others follow.
    first_id: u64,
    /// Name of the next group to write: those before are in flight or written.
    next_id: u64,
    /// Groups in flight.
    in_flight: u32,
    /// Everything before this is durable.
    durable: u64,
    gathering: Gathering,
    segments: Segments,
    /// Everything before this is not needed.
    start: u64,
    /// Older generations are there and needed.
    older: bool,
    /// Operations that free space, oldest first.
    retirements: VecDeque<IoOp>,
}

/// A sealed group.
#[derive(Debug)]
struct Group {
    position: u64,
    /// Where its first record starts.
    first: usize,
    /// Without padding.
    length: usize,
    floor_us: u64,
    /// With padding.
    bytes: Bytes,
    written: bool,
}

/// The group that gathers.
#[derive(Debug)]
struct Gathering {
    /// Where it starts, or would start.
    position: u64,
    /// Its bytes; empty until it has something to hold. Starts at an aligned address.
    bytes: BytesMut,
    /// What is left of the memory behind `bytes`, from their start, in whole blocks.
    slab_left: usize,
    first: usize,
    count: u32,
    floor_us: u64,
    /// Highest time of any record so far.
    time_max_us: u64,
    /// Checksum of the last sealed group.
    previous: u32,
    /// One encoded record without its body, then its length prefix.
    scratch: Vec<u8>,
}

/// What the device has made ready.
#[derive(Debug, Default)]
struct Segments {
    /// Segments 0 .. this are ready.
    prepared: u32,
    /// The next one is asked for.
    asked: bool,
    /// The last answer was `Full`.
    full: bool,
    /// Polls since then that found nothing to do.
    idle_polls: u32,
    /// Segments 0 .. this are retired.
    retired: u32,
}

impl Log {
    /// Most bytes of the device that a record with a body of this length takes: alone in its
    /// group, with padding. Compare with `room_bytes`.
    pub const fn footprint_max(body_bytes: usize) -> u64 {
        padded(HEADER_BYTES + RECORD_OVERHEAD_MAX + body_bytes) as u64
    }

    /// A log of a new generation, with the records that this core took over in front of it. Its
    /// first group is the header, so everything that follows waits for it.
    pub fn start(config: LogConfig, start: CoreStart) -> Log {
        for bytes in [config.segment_bytes, config.group_bytes_max] {
            assert!(bytes > 0 && (bytes as usize).is_multiple_of(BLOCK_BYTES), "whole blocks");
        }
        assert!(config.writes_max > 0, "a log writes");
        let first_max = padded(HEADER_BYTES + start.log_header.len());
        assert!(
            first_max + config.group_bytes_max as usize <= config.segment_bytes as usize,
            "a segment holds its header and a group"
        );
        let base = start.tail.end();
        let mut log = Log {
            config,
            generation: start.generation,
            core: start.core,
            cores: start.cores,
            log_header: start.log_header,
            recovered: start.tail,
            base,
            groups: VecDeque::new(),
            first_id: 0,
            next_id: 0,
            in_flight: 0,
            durable: base,
            gathering: Gathering {
                position: base,
                bytes: BytesMut::new(),
                slab_left: 0,
                first: 0,
                count: 0,
                floor_us: start.floor_us,
                time_max_us: start.floor_us,
                previous: 0,
                scratch: Vec::new(),
            },
            segments: Segments::default(),
            start: 0,
            older: start.older,
            retirements: VecDeque::new(),
        };
        log.open_group(0);
        log
    }

    /// Appends to the group that gathers. The caller has checked `tail_bytes` and `room_bytes`;
    /// what has no room on the device waits in memory and is not durable.
    pub fn append(&mut self, record: &Record<'_>) -> Position {
        loop {
            let mut head = std::mem::take(&mut self.gathering.scratch);
            head.clear();
            let time_us = record.time_us().unwrap_or(0);
            let opens = self.gathering.bytes.is_empty() || self.gathering.count == 0;
            let floor_us = match opens {
                true => self.gathering.time_max_us.max(time_us),
                false => self.gathering.floor_us,
            };
            let body = encode_head(&mut head, record, floor_us);
            let head_len = head.len();
            put_varint(&mut head, (head_len + body.len()) as u64);
            let len = head.len() + body.len();
            assert!(HEADER_BYTES + len <= self.config.group_bytes_max as usize, "fits a group");
            let fits = self.make_room(len);
            if fits {
                let gathering = &mut self.gathering;
                let at = gathering.position + gathering.bytes.len() as u64;
                gathering.bytes.extend_from_slice(&head[head_len..]);
                gathering.bytes.extend_from_slice(&head[..head_len]);
                gathering.bytes.extend_from_slice(body);
                gathering.count += 1;
                gathering.floor_us = floor_us;
                gathering.time_max_us = gathering.time_max_us.max(time_us);
                gathering.scratch = head;
                return Position(at);
            }
            self.gathering.scratch = head;
            self.seal();
        }
    }

    /// The end of what was appended; a place that waits for everything so far.
    pub fn end(&self) -> Position {
        Position(self.gathering.position + self.gathering.bytes.len() as u64)
    }

    /// Everything before this is durable.
    pub fn durable(&self) -> Position {
        if active(Bug::AckBeforeSync) {
            return Position(self.gathering.position);
        }
        Position(self.durable)
    }

    /// First position of this generation: everything before was recovered.
    pub fn base(&self) -> Position {
        Position(self.base)
    }

    /// Everything before this is gone from memory and device, or will be with the next whole
    /// segment.
    pub fn start_of_tail(&self) -> Position {
        Position(self.start)
    }

    /// The record at a position that `append` or `next` gave and that is not retired.
    pub fn read(&self, at: Position) -> Record<'_> {
        assert!(at.0 >= self.start, "{at:?} is retired");
        if at.0 < self.base {
            let (found, record, _) = self.recovered.next(at.0).expect("a recovered record");
            assert!(found == at, "{at:?} is no record");
            return record;
        }
        let gathering = &self.gathering;
        let (bytes, floor_us) = if at.0 >= gathering.position {
            (&gathering.bytes[(at.0 - gathering.position) as usize..], gathering.floor_us)
        } else {
            let group = &self.groups[self.group_before(at.0)];
            let offset = (at.0 - group.position) as usize;
            (&group.bytes[offset..group.length], group.floor_us)
        };
        decode_first(bytes, floor_us).expect("was encoded here").0
    }

    /// The first record at or after a position and below `durable`, with its position, and the
    /// position of what follows it.
    pub fn next(&self, from: Position) -> Option<(Position, Record<'_>, Position)> {
        let from = from.0.max(self.start);
        if from < self.base {
            return self.recovered.next(from).or_else(|| self.next(Position(self.base)));
        }
        let mut index =
            self.groups.partition_point(|group| group.position + group.length as u64 <= from);
        loop {
            let group = self.groups.get(index).filter(|group| group.position < self.durable)?;
            let offset = (from.saturating_sub(group.position) as usize).max(group.first);
            if offset < group.length {
                let (record, len) =
                    decode_first(&group.bytes[offset..group.length], group.floor_us)
                        .expect("was encoded here");
                let at = group.position + offset as u64;
                return Some((Position(at), record, Position(at + len as u64)));
            }
            index += 1;
        }
    }

    /// Whether the fan-outs of the recovered record at this position (below `base`) were already
    /// confirmed, according to the last checkpoint of the log that it comes from.
    pub fn confirmed_at_start(&self, at: Position) -> bool {
        self.recovered.confirmed(at.0)
    }

    /// Bytes appended and not retired, paddings included.
    pub fn tail_bytes(&self) -> u64 {
        self.end().0 - self.start
    }

    /// Bytes of the device that can still be written with certainty: whole blocks in prepared
    /// segments, less what the ends of segments may waste. A record takes at most
    /// `footprint_max` of them.
    pub fn room_bytes(&self) -> u64 {
        let segment_bytes = u64::from(self.config.segment_bytes);
        let head = self.gathering.position - self.base + padded(self.gathering.bytes.len()) as u64;
        let prepared = u64::from(self.segments.prepared) * segment_bytes;
        let boundaries = prepared.saturating_sub(head) / segment_bytes;
        let header = padded(HEADER_BYTES + self.log_header.len()) as u64;
        let waste = u64::from(self.config.group_bytes_max) - BLOCK_BYTES as u64 + header;
        prepared.saturating_sub(head).saturating_sub(boundaries * waste)
    }

    /// Nothing before this is needed any more. Whole segments go; the older generations go when
    /// nothing that was recovered is needed.
    pub fn retire(&mut self, before: Position) {
        assert!(before.0 <= self.durable, "what is not durable is needed");
        self.start = self.start.max(before.0);
        while self
            .groups
            .front()
            .is_some_and(|group| group.position + group.bytes.len() as u64 <= self.start)
        {
            self.groups.pop_front();
            self.first_id += 1;
        }
        if self.start >= self.base {
            self.recovered = RecoveredTail::default();
        }
        if self.segments.full {
            self.segments.idle_polls = IDLE_POLLS_PER_RETRY;
        }
        self.free_space();
    }

    /// The next operation for the device.
    pub fn poll(&mut self) -> Option<IoOp> {
        self.write().or_else(|| self.prepare()).or_else(|| self.retirements.pop_front())
    }

    /// A completion. True if `durable` moved.
    pub fn complete(&mut self, done: IoDone) -> bool {
        match done {
            IoDone::Prepared { segment } => {
                assert!(self.segments.asked && segment == self.segments.prepared, "was asked for");
                self.segments.asked = false;
                self.segments.full = false;
                self.segments.prepared += 1;
                false
            }
            IoDone::Full { segment } => {
                assert!(self.segments.asked && segment == self.segments.prepared, "was asked for");
                self.segments.asked = false;
                self.segments.full = true;
                self.segments.idle_polls = 0;
                false
            }
            IoDone::Written { id } => self.written(id),
        }
    }

    /// The device has no room for a next segment: appends are limited to `room_bytes`. It is
    /// asked when the last segment is half full, so the other half is there for what must not be
    /// refused.
    pub fn device_full(&self) -> bool {
        self.segments.full
    }

    fn written(&mut self, id: u64) -> bool {
        assert!(id >= self.first_id && id < self.next_id, "write {id} is not in flight");
        let group = &mut self.groups[(id - self.first_id) as usize];
        assert!(!group.written, "write {id} completed twice");
        group.written = true;
        self.in_flight -= 1;
        let before = self.durable;
        let known = self.groups.partition_point(|group| group.position < before);
        for group in self.groups.range(known..).take_while(|group| group.written) {
            self.durable = group.position + group.bytes.len() as u64;
        }
        if self.durable == before {
            return false;
        }
        self.free_space();
        true
    }

    /// The group with the highest start at or below a position.
    fn group_before(&self, position: u64) -> usize {
        self.groups.partition_point(|group| group.position <= position) - 1
    }

    /// Segment and offset of a position of this generation.
    fn place(&self, position: u64) -> (u32, u32) {
        let (within, size) = (position - self.base, u64::from(self.config.segment_bytes));
        ((within / size) as u32, (within % size) as u32)
    }

    /// Makes sure that a group is open which can take `len` more bytes; false if the open one
    /// must be sealed first.
    fn make_room(&mut self, len: usize) -> bool {
        if self.gathering.bytes.is_empty() {
            let (_, offset) = self.place(self.gathering.position);
            let segment_left = (self.config.segment_bytes - offset) as usize;
            if offset > 0 && segment_left < padded(HEADER_BYTES + len) {
                self.gathering.position += segment_left as u64;
            }
            self.open_group(len);
        }
        let (_, offset) = self.place(self.gathering.position);
        let mut limit = self.config.group_bytes_max as usize;
        if offset == 0 {
            limit += padded(self.gathering.first);
        }
        limit = limit.min((self.config.segment_bytes - offset) as usize);
        self.gathering.bytes.len() + len <= limit.min(self.gathering.slab_left)
    }

    /// Starts a group at the gathering position, in aligned memory with room for a record of
    /// `len` bytes at least.
    fn open_group(&mut self, len: usize) {
        let (_, offset) = self.place(self.gathering.position);
        let log_header = if offset == 0 { self.log_header.clone() } else { Bytes::new() };
        let gathering = &mut self.gathering;
        let first = HEADER_BYTES + log_header.len();
        if gathering.slab_left < padded(first + len) {
            let group_bytes_max = self.config.group_bytes_max as usize + padded(first);
            gathering.slab_left = GROUPS_PER_SLAB * group_bytes_max;
            let mut memory = BytesMut::with_capacity(gathering.slab_left + BLOCK_BYTES);
            let unaligned = memory.as_ptr().align_offset(BLOCK_BYTES);
            memory.resize(unaligned, 0);
            let _ = memory.split();
            gathering.bytes = memory;
        }
        gathering.bytes.resize(HEADER_BYTES, 0);
        gathering.bytes.extend_from_slice(&log_header);
        gathering.first = first;
        gathering.count = 0;
        gathering.floor_us = gathering.time_max_us;
    }

    /// Closes the open group: header, checksum, padding.
    fn seal(&mut self) {
        let (segment, offset) = self.place(self.gathering.position);
        let gathering = &mut self.gathering;
        let length = gathering.bytes.len();
        let header = GroupHeader {
            previous: gathering.previous,
            generation: self.generation,
            position: gathering.position,
            durable: self.durable,
            floor_us: gathering.floor_us,
            core: self.core,
            cores: self.cores,
            segment,
            segment_bytes: self.config.segment_bytes,
            offset,
            length: length as u32,
            count: gathering.count,
        };
        gathering.previous = header.seal(&mut gathering.bytes);
        gathering.bytes.resize(padded(length), 0);
        let bytes = gathering.bytes.split().freeze();
        assert!(bytes.as_ptr().align_offset(BLOCK_BYTES) == 0, "direct writes are aligned");
        gathering.slab_left -= bytes.len();
        let position = gathering.position;
        gathering.position += bytes.len() as u64;
        let (first, floor_us) = (gathering.first, gathering.floor_us);
        self.groups.push_back(Group { position, first, length, floor_us, bytes, written: false });
    }

    /// The next write: the oldest sealed group, or what gathers.
    fn write(&mut self) -> Option<IoOp> {
        if self.in_flight == self.config.writes_max {
            return None;
        }
        let mut index = (self.next_id - self.first_id) as usize;
        let position = match self.groups.get(index) {
            Some(group) => group.position,
            None if self.gathering.bytes.is_empty() => return None,
            None => self.gathering.position,
        };
        let (segment, offset) = self.place(position);
        if segment >= self.segments.prepared {
            return None;
        }
        if index == self.groups.len() {
            self.seal();
            index = self.groups.len() - 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight += 1;
        Some(IoOp::Write { id, segment, offset, bytes: self.groups[index].bytes.clone() })
    }

    /// Asks for the segment that gathers, and for the next one when that is half full.
    fn prepare(&mut self) -> Option<IoOp> {
        let (segment, offset) = self.place(self.end().0);
        let wanted = segment + 1 + u32::from(offset >= self.config.segment_bytes / 2);
        if self.segments.asked || self.segments.prepared >= wanted {
            return None;
        }
        if self.segments.full && self.segments.idle_polls < IDLE_POLLS_PER_RETRY {
            self.segments.idle_polls += 1;
            return None;
        }
        self.segments.asked = true;
        Some(IoOp::Prepare { segment: self.segments.prepared })
    }

    /// Drops older generations and whole segments that nothing needs. Both wait until a group of
    /// this generation (for a segment: one behind it) is durable, so that what the next opening
    /// finds always starts with a header: floor and fences stand there.
    fn free_space(&mut self) {
        if self.durable == self.base {
            return;
        }
        if self.older && self.start >= self.base {
            self.older = false;
            self.retirements.push_back(IoOp::RetireOlder);
        }
        if self.start > self.base {
            let (last_durable, _) = self.place(self.durable - 1);
            let keep = self.place(self.start).0.min(last_durable);
            while self.segments.retired < keep {
                self.retirements.push_back(IoOp::Retire { segment: self.segments.retired });
                self.segments.retired += 1;
            }
        }
    }
}
