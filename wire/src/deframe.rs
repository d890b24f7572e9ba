//! Framing: a varint length, then that many bytes. Bytes arrive cut anywhere.

use crate::{Reader, varint_len};

/// Gathers the bytes of one connection into frames. Holds memory only while a frame is cut.
#[derive(Clone, Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
}

/// A stream that is no sequence of frames; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length says more than the limit; nothing was allocated for it.
    #[error("a frame of {bytes} bytes, where {limit} are allowed")]
    TooBig {
        /// What the length says.
        bytes: u64,
        /// The limit of this state.
        limit: usize,
    },
    /// The length is no varint.
    #[error("a frame length that is no varint")]
    BadLength,
}

impl Deframer {
    /// Takes bytes from `input` until a frame is whole, and calls `handle` with its content (type
    /// byte and payload; empty for the heartbeat). `Ok(None)`: all of `input` was taken, and no
    /// frame is whole.
    ///
    /// `limit`: longest content in bytes.
    pub fn next<T>(
        &mut self,
        input: &mut &[u8],
        limit: usize,
        handle: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, FrameError> {
        if self.partial.is_empty() {
            if let Some((start, end)) = whole(input, limit)? {
                if let Some(content) = input.get(start..end) {
                    *input = &input[end..];
                    return Ok(Some(handle(content)));
                }
            }
            self.partial.extend_from_slice(input);
            *input = &[];
            return Ok(None);
        }
        // A cut frame: first its length, byte by byte, then exactly what is missing.
        loop {
            let missing = match whole(&self.partial, limit)? {
                Some((start, end)) if self.partial.len() >= end => {
                    let value = handle(&self.partial[start..end]);
                    self.partial = Vec::new();
                    return Ok(Some(value));
                }
                Some((_, end)) => end - self.partial.len(),
                None => 1,
            };
            let count = missing.min(input.len());
            if count == 0 {
                return Ok(None);
            }
            self.partial.extend_from_slice(&input[..count]);
            *input = &input[count..];
        }
    }

    /// Bytes of a cut frame that are held.
    pub fn held(&self) -> usize {
        self.partial.len()
    }
}

/// Start and end of the first frame's content, once its length is readable.
fn whole(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, FrameError> {
    let mut reader = Reader::new(bytes);
    match reader.varint("length") {
        Ok(length) if length > limit as u64 => Err(FrameError::TooBig { bytes: length, limit }),
        Ok(length) => Ok(Some((reader.offset(), reader.offset() + length as usize))),
        // Not yet a whole varint, unless no varint can start like this.
        Err(_) if bytes.len() < varint_len(limit as u64) && all_continue(bytes) => Ok(None),
        Err(_) => Err(FrameError::BadLength),
    }
}

fn all_continue(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte & 0x80 != 0)
}
