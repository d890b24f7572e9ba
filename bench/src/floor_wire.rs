//! The floor's frames: a head of 16 bytes, and a body of 64 behind SEND and DELIVER.

use crate::body::CHAT_BYTES;

/// Bytes of a head: kind, three of nothing, a user (u32), a number (u64).
pub const HEAD_BYTES: usize = 16;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Client: this connection is `user`.
    Hello,
    /// Server: it knows.
    Ready,
    /// Client: a message to `user`.
    Send,
    /// Server: message `number` is durable.
    Sent,
    /// Server: a message from `user`.
    Deliver,
    /// Client: it has message `number`.
    Ack,
}

const KINDS: [Kind; 6] =
    [Kind::Hello, Kind::Ready, Kind::Send, Kind::Sent, Kind::Deliver, Kind::Ack];

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it says.
    pub kind: Kind,
    /// Whom it is about.
    pub user: u32,
    /// Which message.
    pub number: u64,
}

impl Head {
    /// Appends the head.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&self.user.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Head, &'static str> {
        let kind = KINDS.get(usize::from(bytes[0])).ok_or("a frame of no kind")?;
        let user = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        let number = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        Ok(Head { kind: *kind, user, number })
    }

    fn body_bytes(&self) -> usize {
        if matches!(self.kind, Kind::Send | Kind::Deliver) { CHAT_BYTES } else { 0 }
    }
}

/// Puts frames together that arrive cut.
#[derive(Debug, Default)]
pub struct Cutter(Vec<u8>);

impl Cutter {
    /// Calls `handle` with head and body of each frame that is whole now.
    pub fn frames(
        &mut self,
        bytes: &[u8],
        mut handle: impl FnMut(Head, &[u8]),
    ) -> Result<(), &'static str> {
        if self.0.is_empty() {
            let taken = whole_frames(bytes, &mut handle)?;
            self.0.extend_from_slice(&bytes[taken..]);
        } else {
            self.0.extend_from_slice(bytes);
            let taken = whole_frames(&self.0, &mut handle)?;
            self.0.drain(..taken);
        }
        Ok(())
    }
}

fn whole_frames(bytes: &[u8], handle: &mut impl FnMut(Head, &[u8])) -> Result<usize, &'static str> {
    let mut at = 0;
    while bytes.len() - at >= HEAD_BYTES {
        let head = Head::read(&bytes[at..])?;
        let end = at + HEAD_BYTES + head.body_bytes();
        let Some(body) = bytes.get(at + HEAD_BYTES..end) else { break };
        handle(head, body);
        at = end;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_change_nothing() {
        let mut stream = Vec::new();
        let heads: Vec<Head> =
            (0..20).map(|n| Head { kind: KINDS[n % 6], user: n as u32, number: 1 << n }).collect();
        for head in &heads {
            head.put(&mut stream);
            stream.resize(stream.len() + head.body_bytes(), head.user as u8);
        }
        for length in 1..stream.len() {
            let (mut cutter, mut seen) = (Cutter::default(), Vec::new());
            for piece in stream.chunks(length) {
                let frames = cutter.frames(piece, |head, body| {
                    assert!(body.iter().all(|&byte| byte == head.user as u8));
                    seen.push(head);
                });
                frames.unwrap();
            }
            assert_eq!(seen, heads);
        }
    }
}
