//! Varints (LEB128, at most ten bytes, no superfluous last byte) and the reader of untrusted bytes.

use crate::DecodeError;

/// Appends `value`, seven bits a byte, lowest first.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes `put_varint` writes, 1 to 10.
pub const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Reads fields from untrusted bytes. Errors carry the offset and the field's name.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// One byte.
    pub fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or(self.error(field, "is cut off"))?;
        self.at += 1;
        Ok(byte)
    }

    /// A varint.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte(field)?;
            if shift == 63 && byte > 1 {
                return Err(self.error(field, "is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error(field, "has a superfluous last byte"));
                }
                return Ok(value);
            }
        }
        Err(self.error(field, "is longer than 64 bits"))
    }

    /// Eight bytes, lowest first.
    pub fn u64_le(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.take(8, field)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("took eight")))
    }

    /// `count` bytes.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(self.error(field, "is cut off"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// An error unless everything was read.
    pub fn end(&self, frame: &'static str) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error(frame, "is too long")) }
    }

    /// An error at the current offset.
    pub fn error(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::Field { offset: self.at, field, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        bytes
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(shift in 0u32..64, low in any::<u64>()) {
            let value = low >> shift;
            let bytes = written(value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("x"), Ok(value));
            prop_assert_eq!(reader.end("x"), Ok(()));
            for end in 0..bytes.len() {
                let cut = Reader::new(&bytes[..end]).varint("x");
                let error = DecodeError::Field { offset: end, field: "x", problem: "is cut off" };
                prop_assert_eq!(cut, Err(error));
            }
        }

        #[test]
        fn one_value_has_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint("x") {
                prop_assert_eq!(&written(value), &bytes[..reader.offset()]);
            }
        }
    }

    #[test]
    fn lengths_step_every_seven_bits() {
        assert_eq!(varint_len(0), 1);
        for bits in 1..=64usize {
            let (low, high) = (1 << (bits - 1), u64::MAX >> (64 - bits));
            assert_eq!(varint_len(low), bits.div_ceil(7));
            assert_eq!(varint_len(high), bits.div_ceil(7));
        }
    }

    #[test]
    fn longer_than_64_bits_is_an_error() {
        let mut bytes = written(u64::MAX);
        assert_eq!(Reader::new(&bytes).varint("x"), Ok(u64::MAX));
        bytes[9] = 2;
        assert!(Reader::new(&bytes).varint("x").is_err());
        assert!(Reader::new(&[0xff; 20]).varint("x").is_err());
        assert!(Reader::new(&[0x80, 0]).varint("x").is_err());
    }

    #[test]
    fn a_refused_read_moves_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert!(reader.u64_le("x").is_err());
        assert!(reader.take(usize::MAX, "x").is_err());
        assert_eq!(reader.take(2, "x"), Ok(&[1, 2][..]));
        assert!(reader.end("x").is_err());
        assert_eq!(reader.rest(), [3]);
        assert_eq!((reader.offset(), reader.rest()), (3, &[][..]));
        assert!(reader.byte("x").is_err());
    }
}
