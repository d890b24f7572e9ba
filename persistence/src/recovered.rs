//! The records that a core took over from older generations, in front of its new log.

use crate::record_decode::decode_first;
use crate::{Position, Record};
use bytes::Bytes;

/// Recovered records in the order in which they are applied, at positions 0 .. `end`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveredTail {
    /// The groups that hold them: bytes from the first record on, and the floor of their times.
    groups: Vec<(Bytes, u64)>,
    /// One per record.
    places: Vec<Place>,
    end: u64,
}

/// Where one recovered record is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In the new stream.
    position: u64,
    /// Index in `groups`.
    group: u32,
    /// Byte in the group, shifted left by one; the lowest bit says that its fan-outs are
    /// confirmed.
    offset_and_confirmed: u32,
}

/// Memory of a recovered record's place, in bytes.
pub const RECOVERED_PLACE_BYTES: u64 = size_of::<Place>() as u64;
// A tail of 64 MiB holds about 700,000 records: 11 MiB of places.
const _: () = assert!(RECOVERED_PLACE_BYTES <= 16);

impl RecoveredTail {
    /// Takes another group; `push` then adds records of it.
    pub fn push_group(&mut self, records: Bytes, floor_us: u64) {
        assert!(records.len() < 1 << 31, "a segment is shorter than 2 GiB");
        self.groups.push((records, floor_us));
    }

    /// Adds the record of `len` bytes at `offset` of the last group.
    pub fn push(&mut self, offset: usize, len: usize, confirmed: bool) {
        self.places.push(Place {
            position: self.end,
            group: (self.groups.len() - 1) as u32,
            offset_and_confirmed: (offset as u32) << 1 | u32::from(confirmed),
        });
        self.end += len as u64;
    }

    /// The position behind the last record.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The first record at or after `from`, its position, and the position behind it.
    pub fn next(&self, from: u64) -> Option<(Position, Record<'_>, Position)> {
        let index = self.places.partition_point(|place| place.position < from);
        let place = self.places.get(index)?;
        let (records, floor_us) = &self.groups[place.group as usize];
        let at = (place.offset_and_confirmed >> 1) as usize;
        let (record, len) =
            decode_first(&records[at..], *floor_us).expect("was decoded when it was recovered");
        let position = place.position;
        Some((Position(position), record, Position(position + len as u64)))
    }

    /// Whether the fan-outs of the record at this position were confirmed.
    pub fn confirmed(&self, at: u64) -> bool {
        let index = self.places.binary_search_by_key(&at, |place| place.position);
        let place = &self.places[index.expect("a position of a recovered record")];
        place.offset_and_confirmed & 1 == 1
    }
}
