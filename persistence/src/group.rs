//! Groups: what one write holds. A header, at a segment's start the log's own header, records.

use crate::BLOCK_BYTES;
use bytes::Bytes;
use wire::{DecodeError, Reader, put_varint};

/// First bytes of a group: "RMLG".
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"RMLG");
/// Version of the format; others are refused.
pub(crate) const VERSION: u32 = 1;
/// Length of a group's header, in bytes.
pub(crate) const HEADER_BYTES: usize = 72;
/// The checksum's place in the header; it covers everything else up to the group's length.
const CRC_AT: usize = 8;

/// The header of a group. All numbers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Checksum of the group before this one, across segments; 0 in a log's first group.
    pub previous: u32,
    /// The log's generation.
    pub generation: u64,
    /// Place of the group's first byte in its core's stream.
    pub position: u64,
    /// Everything before this place was durable when the group was sealed: proof that a bad group
    /// below it was once good.
    pub durable: u64,
    /// No record before this group has a higher time, in this log or an older one. The times of
    /// the group's records are differences from it, so it is raised to the first one's time.
    pub floor_us: u64,
    /// The log's core.
    pub core: u16,
    /// How many cores the log's generation has.
    pub cores: u16,
    /// Number of the segment.
    pub segment: u32,
    /// Size of every segment of this log.
    pub segment_bytes: u32,
    /// Place of the group in the segment.
    pub offset: u32,
    /// Length of the group without its padding.
    pub length: u32,
    /// How many records it holds.
    pub count: u32,
}

impl GroupHeader {
    /// Writes the header in front of a group and returns the group's checksum.
    pub fn seal(&self, group: &mut [u8]) -> u32 {
        assert!(group.len() == self.length as usize, "the length is the group's");
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            group[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&VERSION.to_le_bytes());
        put(&[0; 4]);
        put(&self.previous.to_le_bytes());
        put(&self.generation.to_le_bytes());
        put(&self.position.to_le_bytes());
        put(&self.durable.to_le_bytes());
        put(&self.floor_us.to_le_bytes());
        put(&self.core.to_le_bytes());
        put(&self.cores.to_le_bytes());
        put(&self.segment.to_le_bytes());
        put(&self.segment_bytes.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.count.to_le_bytes());
        assert!(at == HEADER_BYTES, "the header is full");
        let crc = checksum(group);
        group[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Position behind the group and its padding.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(padded(self.length as usize) as u64)
    }

    /// First position of the log that the group belongs to; `None` where the numbers contradict
    /// each other.
    pub fn base(&self) -> Option<u64> {
        let within = u64::from(self.segment) * u64::from(self.segment_bytes);
        self.position.checked_sub(within)?.checked_sub(u64::from(self.offset))
    }
}

/// CRC32C of a group without the field that holds it.
fn checksum(group: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&group[..CRC_AT]), &group[CRC_AT + 4..])
}

/// What stands at a place of a segment.
pub(crate) enum Found {
    /// A whole group and its checksum.
    Group(GroupHeader, u32),
    /// The header of a group that does not match its checksum.
    Torn(GroupHeader),
    /// A group of another format version, if it is one.
    Version(u32),
    /// No group.
    Nothing,
}

/// Reads the header at `offset` of a segment and checks the group behind it against its checksum.
/// That it belongs there is for the caller to check.
pub(crate) fn find_group(segment: &[u8], offset: usize) -> Found {
    let Some(bytes) = segment.get(offset..) else { return Found::Nothing };
    if bytes.len() < HEADER_BYTES || u32_at(bytes, 0) != MAGIC {
        return Found::Nothing;
    }
    if u32_at(bytes, 4) != VERSION {
        return Found::Version(u32_at(bytes, 4));
    }
    let header = GroupHeader {
        previous: u32_at(bytes, 12),
        generation: u64_at(bytes, 16),
        position: u64_at(bytes, 24),
        durable: u64_at(bytes, 32),
        floor_us: u64_at(bytes, 40),
        core: u16::from_le_bytes([bytes[48], bytes[49]]),
        cores: u16::from_le_bytes([bytes[50], bytes[51]]),
        segment: u32_at(bytes, 52),
        segment_bytes: u32_at(bytes, 56),
        offset: u32_at(bytes, 60),
        length: u32_at(bytes, 64),
        count: u32_at(bytes, 68),
    };
    let crc = u32_at(bytes, CRC_AT);
    match bytes.get(..header.length as usize) {
        Some(group) if group.len() >= HEADER_BYTES && checksum(group) == crc => {
            Found::Group(header, crc)
        }
        _ => Found::Torn(header),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("took four"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("took eight"))
}

/// `bytes` rounded up to whole blocks.
pub(crate) const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Where a newer generation stopped to read an older log: nothing behind is ever read (R6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fence {
    /// The older log's generation.
    pub generation: u64,
    /// Its core.
    pub core: u16,
    /// Position and checksum of its last accepted group; `None` if none was accepted.
    pub last: Option<(u64, u32)>,
}

/// The log's own header, which starts the first group of every segment: the fences of all logs
/// that its opening found.
pub(crate) fn encode_log_header(fences: &[Fence]) -> Bytes {
    let mut out = Vec::new();
    put_varint(&mut out, fences.len() as u64);
    for fence in fences {
        put_varint(&mut out, fence.generation);
        put_varint(&mut out, u64::from(fence.core));
        out.push(u8::from(fence.last.is_some()));
        if let Some((position, crc)) = fence.last {
            put_varint(&mut out, position);
            out.extend_from_slice(&crc.to_le_bytes());
        }
    }
    out.into()
}

/// Reads a log header at the start of `bytes`; also says how many bytes it takes.
pub(crate) fn decode_log_header(bytes: &[u8]) -> Result<(Vec<Fence>, usize), DecodeError> {
    let mut r = Reader::new(bytes);
    let mut fences = Vec::new();
    for _ in 0..r.varint("fence count")? {
        let generation = r.varint("fence generation")?;
        let core = r.varint("fence core")?;
        let core = u16::try_from(core).map_err(|_| r.error("fence core", "is too high"))?;
        let last = match r.byte("fence presence")? {
            0 => None,
            1 => {
                let position = r.varint("fence position")?;
                let crc = r.take(4, "fence checksum")?;
                Some((position, u32_at(crc, 0)))
            }
            _ => return Err(r.error("fence presence", "is neither 0 nor 1")),
        };
        fences.push(Fence { generation, core, last });
    }
    Ok((fences, r.offset()))
}
