//! Framing: a varint length, then that many bytes. Bytes arrive cut anywhere.

use crate::{CloseCode, varint_len};

/// Gathers the bytes of one connection into frames. Holds memory only while a frame is cut, and
/// then never more than the limit and the ten bytes of the longest varint: memory grows with what
/// arrived, not with what a length promises.
#[derive(Clone, Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
    /// Bytes of the last frame that are still to come, and that nobody wants.
    skip: usize,
}

/// Where the first frame's content starts, where what is kept of it ends, and how many bytes of
/// it come behind that.
struct Extent {
    start: usize,
    end: usize,
    beyond: usize,
}

/// A stream that is no sequence of frames; the connection ends.
/// Which error it is does not depend on where the bytes were cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length says more than the limit; nothing was allocated for it.
    #[error("a frame of {bytes} bytes or more, where {limit} are allowed")]
    TooBig {
        /// What the length says at least: it is not read further than the limit's own length.
        bytes: u64,
        /// The limit of this state.
        limit: usize,
    },
    /// The length is no varint.
    #[error("a frame length that is no varint")]
    BadLength,
}

impl FrameError {
    /// The code that the connection closes with.
    pub fn close_code(self) -> CloseCode {
        match self {
            FrameError::TooBig { .. } => CloseCode::FrameTooBig,
            FrameError::BadLength => CloseCode::Malformed,
        }
    }
}

impl Deframer {
    /// Takes bytes from `input` until a frame is whole, and calls `handle` with its content (type
    /// byte and payload; empty for the heartbeat). `Ok(None)`: all of `input` was taken, and no
    /// frame is whole. After an error every further call gives the same error.
    ///
    /// `limit`: longest content in bytes.
    pub fn next<T>(
        &mut self,
        input: &mut &[u8],
        limit: usize,
        handle: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, FrameError> {
        self.next_clipped(input, limit, limit, handle)
    }

    /// As `next`, but of a content longer than `kept_max` only so many bytes are kept and given to
    /// `handle`; the rest is skipped as it arrives. So a message that is too long can be refused
    /// at the cost of one that is not.
    pub fn next_clipped<T>(
        &mut self,
        input: &mut &[u8],
        kept_max: usize,
        limit: usize,
        handle: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, FrameError> {
        let skipped = self.skip.min(input.len());
        *input = &input[skipped..];
        self.skip -= skipped;
        if self.partial.is_empty() {
            let end = match extent(input, kept_max, limit)? {
                Some(Extent { start, end, beyond }) if input.len() >= end => {
                    let content = &input[start..end];
                    *input = &input[end..];
                    self.skip = beyond;
                    return Ok(Some(handle(content)));
                }
                Some(Extent { end, .. }) => end,
                None => input.len(),
            };
            self.hold(input, end);
            *input = &[];
            return Ok(None);
        }
        // A cut frame: first its length, byte by byte, then exactly what is missing.
        loop {
            let end = match extent(&self.partial, kept_max, limit)? {
                Some(Extent { start, end, beyond }) if self.partial.len() >= end => {
                    let partial = std::mem::take(&mut self.partial);
                    self.skip = beyond;
                    return Ok(Some(handle(&partial[start..end])));
                }
                Some(Extent { end, .. }) => end,
                None => self.partial.len() + 1,
            };
            let count = (end - self.partial.len()).min(input.len());
            if count == 0 {
                return Ok(None);
            }
            self.hold(&input[..count], end);
            *input = &input[count..];
        }
    }

    /// Bytes of a cut frame that are held.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Memory that a cut frame occupies, in bytes.
    #[doc(hidden)]
    pub fn capacity(&self) -> usize {
        self.partial.capacity()
    }

    /// Keeps `bytes` of a frame that reaches to `end`. Room doubles, so that trickled bytes are
    /// not copied again and again, but never beyond the frame's end.
    fn hold(&mut self, bytes: &[u8], end: usize) {
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let room = needed.max(2 * self.partial.capacity()).min(end);
            self.partial.reserve_exact(room - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// The first frame's extent, once its length is readable. The length is read no further than the
/// limit's own varint goes, so an error does not depend on what arrived after it.
fn extent(bytes: &[u8], kept_max: usize, limit: usize) -> Result<Option<Extent>, FrameError> {
    let most = varint_len(limit as u64);
    let mut length = 0;
    for (index, &byte) in bytes.iter().take(most).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let superfluous = byte == 0 && index > 0;
            if superfluous || (index == 9 && byte > 1) {
                return Err(FrameError::BadLength);
            }
            if length > limit as u64 {
                return Err(FrameError::TooBig { bytes: length, limit });
            }
            let (start, kept) = (index + 1, kept_max.min(length as usize));
            let (end, beyond) = (start.saturating_add(kept), length as usize - kept);
            return Ok(Some(Extent { start, end, beyond }));
        }
    }
    if bytes.len() < most {
        return Ok(None);
    }
    // More bits follow, and the lowest of them is worth this much.
    let more = 1u64.checked_shl(7 * most as u32);
    Err(FrameError::TooBig { bytes: more.map_or(u64::MAX, |more| more | length), limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::put_varint;
    use proptest::prelude::*;

    type Frames = (Vec<Vec<u8>>, Option<FrameError>);

    /// Feeds `pieces` one after the other; what came out, and the error that ended it.
    fn deframe<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Frames {
        deframe_clipped(pieces, limit, limit)
    }

    fn deframe_clipped<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        kept_max: usize,
        limit: usize,
    ) -> Frames {
        let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
        for mut piece in pieces {
            loop {
                match deframer.next_clipped(&mut piece, kept_max, limit, <[u8]>::to_vec) {
                    Ok(Some(content)) => frames.push(content),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(deframer.next(&mut piece, limit, |_| ()), Err(error));
                        return (frames, Some(error));
                    }
                }
                assert!(deframer.capacity() <= kept_max.saturating_add(10));
            }
            assert!(piece.is_empty());
            assert!(deframer.capacity() <= kept_max.saturating_add(10));
        }
        (frames, None)
    }

    fn framed(contents: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for content in contents {
            put_varint(&mut stream, content.len() as u64);
            stream.extend_from_slice(content);
        }
        stream
    }

    /// `stream` in pieces of the given lengths, used again and again.
    fn cut<'a>(mut stream: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            if stream.is_empty() {
                break;
            }
            let (piece, rest) = stream.split_at((*length).clamp(1, stream.len()));
            pieces.push(piece);
            stream = rest;
        }
        pieces
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            lengths in prop::collection::vec(0usize..80, 1..20),
        ) {
            let stream = framed(&contents);
            let (frames, error) = deframe(cut(&stream, &lengths), 300);
            prop_assert_eq!(error, None);
            prop_assert_eq!(frames, contents);
        }

        #[test]
        fn what_is_too_long_to_keep_is_skipped(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            lengths in prop::collection::vec(0usize..80, 1..20),
            kept_max in 0usize..200,
        ) {
            let stream = framed(&contents);
            let (frames, error) = deframe_clipped(cut(&stream, &lengths), kept_max, 300);
            prop_assert_eq!(error, None);
            let clipped = contents.iter().map(|content| &content[..content.len().min(kept_max)]);
            prop_assert!(frames.iter().map(|frame| &frame[..]).eq(clipped));
        }

        #[test]
        fn cuts_of_garbage_change_nothing(
            stream in prop::collection::vec(prop_oneof![Just(0), Just(0x80), any::<u8>()], 0..200),
            lengths in prop::collection::vec(0usize..8, 1..20),
            limit in prop_oneof![0usize..400, Just(65_632), Just(usize::MAX >> 1)],
        ) {
            let uncut = deframe([&stream[..]], limit);
            prop_assert_eq!(deframe(cut(&stream, &lengths), limit), uncut);
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_without_holding_bytes() {
        for bytes in [101u64, 128, 1 << 20, u64::MAX] {
            let mut stream = Vec::new();
            put_varint(&mut stream, bytes);
            stream.resize(500, 7);
            let mut deframer = Deframer::default();
            let error = deframer.next(&mut &stream[..], 100, |_| ()).unwrap_err();
            assert!(matches!(error, FrameError::TooBig { bytes: said, limit: 100 }
                if said > 100 && said <= bytes));
            assert_eq!(deframer.capacity(), 0);
            assert_eq!(error.close_code(), CloseCode::FrameTooBig);
        }
    }

    #[test]
    fn memory_follows_what_arrived() {
        let mut stream = Vec::new();
        put_varint(&mut stream, 60_000);
        let mut deframer = Deframer::default();
        assert_eq!(deframer.next(&mut &stream[..], 65_536, |_| ()), Ok(None));
        assert_eq!(deframer.capacity(), 3, "the promised bytes are not allocated");
        for trickled in 1..60_000 {
            assert_eq!(deframer.next(&mut &[7][..], 65_536, |_| ()), Ok(None));
            assert!(deframer.capacity() <= (2 * (trickled + 3)).min(60_003));
            assert_eq!(deframer.held(), trickled + 3);
        }
        let length = deframer.next(&mut &[7][..], 65_536, <[u8]>::len);
        assert_eq!(length, Ok(Some(60_000)));
        assert_eq!(deframer.capacity(), 0);
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        for limit in [0usize, 1, 127, 128, 16_383, 16_384, 65_632] {
            let stream = framed(&[vec![7; limit]]);
            assert_eq!(deframe([&stream[..]], limit), (vec![vec![7; limit]], None));
            let stream = framed(&[vec![7; limit + 1]]);
            assert!(matches!(deframe([&stream[..]], limit).1, Some(FrameError::TooBig { .. })));
        }
    }

    #[test]
    fn no_varint_is_no_length() {
        for bytes in [&[0x80, 0][..], &[0xff, 0xff, 0]] {
            assert_eq!(deframe([bytes], 65_632).1, Some(FrameError::BadLength));
        }
        let too_long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(deframe([&too_long[..]], usize::MAX).1, Some(FrameError::BadLength));
        assert_eq!(FrameError::BadLength.close_code(), CloseCode::Malformed);
    }

    #[test]
    fn the_longest_possible_length_does_not_overflow() {
        let mut stream = Vec::new();
        put_varint(&mut stream, u64::MAX);
        assert_eq!(deframe([&stream[..]], usize::MAX), (vec![], None));
        let all = [0xff; 10];
        let error = deframe([&all[..]], usize::MAX).1;
        assert_eq!(error, Some(FrameError::TooBig { bytes: u64::MAX, limit: usize::MAX }));
    }
}
