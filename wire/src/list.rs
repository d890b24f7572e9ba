//! A counted list of numbers or records in a frame: given as a slice to the encoder, and read
//! from the frame's own bytes after decoding.

use crate::{DecodeError, Reader, UserId, put_varint};
use std::fmt;

/// What can stand in a list.
pub trait Item: Copy + PartialEq + fmt::Debug {
    /// Appends it.
    fn put(self, out: &mut Vec<u8>);
    /// Reads it.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Values that were given, or a decoded frame's bytes, which were validated.
#[derive(Clone, Copy)]
pub struct List<'a, T>(Repr<'a, T>);

#[derive(Clone, Copy)]
enum Repr<'a, T> {
    Values(&'a [T]),
    Bytes { count: usize, bytes: &'a [u8] },
}

impl<'a, T: Item> List<'a, T> {
    /// How many.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Values(values) => values.len(),
            Repr::Bytes { count, .. } => count,
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Them, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let (values, bytes): (&'a [T], &'a [u8]) = match self.0 {
            Repr::Values(values) => (values, &[]),
            Repr::Bytes { bytes, .. } => (&[], bytes),
        };
        let mut reader = Reader::new(bytes);
        let read = std::iter::from_fn(move || {
            let left = reader.offset() < bytes.len();
            left.then(|| T::read(&mut reader).expect("validated when the frame was decoded"))
        });
        values.iter().copied().chain(read)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        self.iter().for_each(|item| item.put(out));
    }

    /// At most `max` items.
    pub(crate) fn read(
        r: &mut Reader<'a>,
        field: &'static str,
        max: usize,
    ) -> Result<Self, DecodeError> {
        let count = r.varint("count")?;
        if count > max as u64 {
            return Err(r.error("count", "is above its limit"));
        }
        let mut ahead = r.clone();
        for _ in 0..count {
            T::read(&mut ahead)?;
        }
        let bytes = r.take(ahead.offset() - r.offset(), field)?;
        Ok(List(Repr::Bytes { count: count as usize, bytes }))
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(values: &'a [T]) -> Self {
        List(Repr::Values(values))
    }
}

impl<T: Item> PartialEq for List<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Item> Eq for List<'_, T> {}

impl<T: Item> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Places of a conversation.
impl Item for u64 {
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self);
    }

    fn read(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
        r.varint("delivered")
    }
}

impl Item for UserId {
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.get());
    }

    fn read(r: &mut Reader<'_>) -> Result<UserId, DecodeError> {
        crate::decode::user(r, "user")
    }
}
