//! How the generator speaks to a server: Ringmail's protocol, or the floor's.

use crate::body::{CHAT_BYTES, Stamp};
use crate::floor_wire::{Cutter, Head, Kind};
use client::wire::{
    self, Ack, Answer, ClientFrame, Conv, Deframer, FRAME_BYTES_MAX, Hello, OutboxId, Send,
    SendKey, Seq, ServerFrame,
};
use std::collections::VecDeque;

/// Entries that may wait for an ACK where none is due for each message.
const ACK_ENTRIES_MAX: u64 = 32;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The connection may send.
    Attached,
    /// Message `number` is durable, at this place in its conversation.
    Sent(u64, Seq),
    /// A message came, at this place.
    Delivered(Stamp, Seq),
    /// Bytes came that are no message of this run.
    Foreign,
}

/// A protocol. One connection speaks for one user, who writes to one peer.
pub trait Speak {
    /// State of one connection.
    type Conn: Default;
    /// First bytes of the connection of this user.
    fn hello(&self, user: u32, out: &mut Vec<u8>);
    /// A message.
    fn send(&self, conn: &mut Self::Conn, stamp: &Stamp, out: &mut Vec<u8>);
    /// Bytes came, cut anywhere. An error ends the run.
    fn received(
        &self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        heard: &mut Vec<Heard>,
    ) -> Result<(), String>;
    /// Acknowledges what came, if it is time to; other bytes may leave at this moment, too
    /// (`out`), and the run may be at its end (`last`).
    fn acknowledge(&self, conn: &mut Self::Conn, last: bool, out: &mut Vec<u8>);
}

/// Ringmail's protocol, spoken as its client core speaks it, without a journal.
#[derive(Debug)]
pub struct Ringmail {
    /// Of users 0, 1, 2 …
    pub tokens: Vec<Vec<u8>>,
    /// Number on the wire of user 0; the others follow.
    pub first_user: u64,
    /// Acknowledge every message as it comes, not lazily.
    pub ack_each: bool,
    /// Differs from run to run.
    pub seed: u64,
}

/// A connection to Ringmail.
#[derive(Debug, Default)]
pub struct RingmailConn {
    deframer: Deframer,
    /// Newest inbox entry that came, and newest that the server was told of.
    position: Seq,
    acked: Seq,
    ack_due: bool,
    /// Number of the last send, and the messages under the unanswered ones up to it.
    n: Seq,
    unanswered: VecDeque<Option<u64>>,
}

impl RingmailConn {
    /// The message that was sent under `n`, once.
    fn answered(&mut self, n: Seq) -> Option<u64> {
        let first = self.n + 1 - self.unanswered.len() as u64;
        let index = usize::try_from(n.checked_sub(first)?).ok()?;
        let number = self.unanswered.get_mut(index)?.take();
        while self.unanswered.front().is_some_and(Option::is_none) {
            self.unanswered.pop_front();
        }
        number
    }

    fn frame(&mut self, content: &[u8], each: bool, heard: &mut Vec<Heard>) -> Result<(), String> {
        match wire::decode_server(content).map_err(|error| error.to_string())? {
            ServerFrame::Welcome(welcome) => {
                self.position = welcome.from;
                self.acked = welcome.from;
                heard.push(Heard::Attached);
            }
            ServerFrame::Sent(sent) => {
                let Answer::Fresh { conv_seq, d_inbox, .. } = sent.answer else {
                    return Err(format!("send {} was known already", sent.key.n));
                };
                self.position += d_inbox;
                let number = self.answered(sent.key.n);
                heard.push(number.map_or(Heard::Foreign, |number| Heard::Sent(number, conv_seq)));
            }
            ServerFrame::Deliver(deliver) => {
                self.position += deliver.d_inbox;
                self.ack_due |= each;
                heard.push(match Stamp::read(deliver.body) {
                    Some(stamp) => Heard::Delivered(stamp, deliver.conv_seq),
                    None => Heard::Foreign,
                });
            }
            ServerFrame::Own(own) => self.position += own.d_inbox,
            ServerFrame::Receipt(receipt) => self.position += receipt.d_inbox,
            ServerFrame::CaughtUp(_) | ServerFrame::Pong(_) | ServerFrame::GoAway(_) => {}
            ServerFrame::OutOfOrder(answer) => {
                return Err(format!("send {} is out of order: {}", answer.key.n, answer.next));
            }
            ServerFrame::Refused(refused) => {
                return Err(format!("send {} was refused: {:?}", refused.key.n, refused.code));
            }
            ServerFrame::Close(close) => {
                return Err(format!("the server closed: {:?} {}", close.code, close.reason));
            }
            other => return Err(format!("not asked for: {other:?}")),
        }
        Ok(())
    }
}

impl Speak for Ringmail {
    type Conn = RingmailConn;

    fn hello(&self, user: u32, out: &mut Vec<u8>) {
        let hello = Hello {
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            features: wire::FEATURES,
            outbox: OutboxId(self.seed ^ u64::from(user)),
            inbox_epoch: 0,
            acked: 0,
            foreground: true,
            name: "",
            platform: "",
            token: &self.tokens[user as usize],
        };
        wire::encode_client(out, &ClientFrame::Hello(hello));
    }

    fn send(&self, conn: &mut RingmailConn, stamp: &Stamp, out: &mut Vec<u8>) {
        conn.n += 1;
        conn.unanswered.push_back(Some(stamp.number));
        let conv = Conv::Direct(self.first_user + u64::from(stamp.receiver));
        let key = SendKey { conv, outbox: None, n: conn.n };
        let body = stamp.body(CHAT_BYTES);
        wire::encode_client(out, &ClientFrame::Send(Send { key, change: None, body: &body }));
    }

    fn received(
        &self,
        conn: &mut RingmailConn,
        mut bytes: &[u8],
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        let mut deframer = std::mem::take(&mut conn.deframer);
        loop {
            let handled = deframer.next(&mut bytes, FRAME_BYTES_MAX, |content| {
                conn.frame(content, self.ack_each, heard)
            });
            match handled.map_err(|error| error.to_string())? {
                Some(result) => result?,
                None => break,
            }
        }
        conn.deframer = deframer;
        Ok(())
    }

    fn acknowledge(&self, conn: &mut RingmailConn, last: bool, out: &mut Vec<u8>) {
        let waiting = conn.position - conn.acked;
        let due = conn.ack_due || last || !out.is_empty() || waiting >= ACK_ENTRIES_MAX;
        if due && waiting > 0 {
            conn.acked = conn.position;
            conn.ack_due = false;
            wire::encode_client(out, &ClientFrame::Ack(Ack { inbox_seq: conn.position }));
        }
    }
}

/// The floor's protocol.
#[derive(Debug)]
pub struct Floor;

/// A connection to the floor.
#[derive(Debug, Default)]
pub struct FloorConn {
    cutter: Cutter,
    unacked: Vec<u64>,
}

impl Speak for Floor {
    type Conn = FloorConn;

    fn hello(&self, user: u32, out: &mut Vec<u8>) {
        Head { kind: Kind::Hello, user, number: 0 }.put(out);
    }

    fn send(&self, _: &mut FloorConn, stamp: &Stamp, out: &mut Vec<u8>) {
        Head { kind: Kind::Send, user: stamp.receiver, number: stamp.number }.put(out);
        stamp.put(out, CHAT_BYTES);
    }

    fn received(
        &self,
        conn: &mut FloorConn,
        bytes: &[u8],
        heard: &mut Vec<Heard>,
    ) -> Result<(), String> {
        let FloorConn { cutter, unacked } = conn;
        // The floor gives no places; its numbers ascend as they were sent.
        let frames = cutter.frames(bytes, |head, body| match head.kind {
            Kind::Ready => heard.push(Heard::Attached),
            Kind::Sent => heard.push(Heard::Sent(head.number, head.number + 1)),
            Kind::Deliver => {
                unacked.push(head.number);
                heard.push(match Stamp::read(body) {
                    Some(stamp) => Heard::Delivered(stamp, head.number + 1),
                    None => Heard::Foreign,
                });
            }
            Kind::Hello | Kind::Send | Kind::Ack => heard.push(Heard::Foreign),
        });
        frames.map_err(str::to_owned)
    }

    fn acknowledge(&self, conn: &mut FloorConn, _: bool, out: &mut Vec<u8>) {
        for number in conn.unacked.drain(..) {
            Head { kind: Kind::Ack, user: 0, number }.put(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_by_number_in_any_order() {
        let mut conn = RingmailConn::default();
        let ringmail = Ringmail { tokens: Vec::new(), first_user: 1, ack_each: true, seed: 0 };
        let mut out = Vec::new();
        for number in [50, 60, 70] {
            ringmail.send(&mut conn, &Stamp { number, sender: 0, receiver: 1 }, &mut out);
        }
        assert_eq!(conn.answered(2), Some(60));
        assert_eq!(conn.answered(2), None);
        assert_eq!(conn.answered(1), Some(50));
        assert_eq!(conn.answered(1), None);
        assert_eq!(conn.answered(4), None);
        assert_eq!(conn.answered(3), Some(70));
    }
}
