//! Message bodies that say which message they are, so that a byte out of place shows.

/// Bytes of a body in the chat runs.
pub const CHAT_BYTES: usize = 64;
/// Shortest body: number, sender, receiver.
const STAMP_BYTES: usize = 16;

/// What stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unique within the run.
    pub number: u64,
    /// Who sends it.
    pub sender: u32,
    /// Who gets it.
    pub receiver: u32,
}

impl Stamp {
    /// Appends a body of this many bytes (at least 16, a multiple of 8).
    pub fn put(&self, out: &mut Vec<u8>, bytes: usize) {
        assert!(bytes >= STAMP_BYTES && bytes.is_multiple_of(8));
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.sender.to_le_bytes());
        out.extend_from_slice(&self.receiver.to_le_bytes());
        let filler = self.filler();
        for _ in 0..(bytes - STAMP_BYTES) / 8 {
            out.extend_from_slice(&filler);
        }
    }

    /// A body of this many bytes.
    pub fn body(&self, bytes: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes);
        self.put(&mut body, bytes);
        body
    }

    /// Reads a body; `None` if any byte is not as written.
    pub fn read(body: &[u8]) -> Option<Stamp> {
        let (number, rest) = body.split_first_chunk::<8>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (receiver, rest) = rest.split_first_chunk::<4>()?;
        let stamp = Stamp {
            number: u64::from_le_bytes(*number),
            sender: u32::from_le_bytes(*sender),
            receiver: u32::from_le_bytes(*receiver),
        };
        let filler = stamp.filler();
        let whole = rest.len() % 8 == 0 && rest.chunks_exact(8).all(|chunk| chunk == filler);
        whole.then_some(stamp)
    }

    fn filler(&self) -> [u8; 8] {
        (self.number ^ 0x5555_5555_5555_5555).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_of_the_filler_shows() {
        let stamp = Stamp { number: 77, sender: 3, receiver: 4 };
        let body = stamp.body(CHAT_BYTES);
        assert_eq!(Stamp::read(&body), Some(stamp));
        for at in STAMP_BYTES..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_eq!(Stamp::read(&changed), None);
        }
        assert_eq!(Stamp::read(&body[..CHAT_BYTES - 1]), None);
    }
}
