//! The ledger: what was composed, acked and delivered, by (sender, receiver, number in the body).
//!
//! **Invariant:** the ledger knows nothing of servers or protocols; it only compares numbers. So a
//! test can plant a loss, a double or a swap, and the check must count it.

use std::collections::HashMap;

/// Devices of one user that may read.
pub const READERS: usize = 2;

/// Everything that a run claims, to be checked at its end.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Index: the number that stands in the message's body.
    messages: Vec<Message>,
    streams: Vec<StreamState>,
    /// Bits of the devices that must have read everything, by user; device 0 if not told.
    readers: HashMap<u32, u8>,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    sender: u32,
    receiver: u32,
    /// `conv_seq` of the ack; 0 if there was none.
    acked: u32,
    /// `conv_seq` under which each device of the receiver saw it; 0 if it did not.
    seen: [u32; READERS],
}

impl Message {
    /// Its place in the conversation, as far as anybody said; 0 if nobody did.
    fn place(&self) -> u32 {
        let seen = self.seen.iter().copied().find(|&place| place != 0);
        if self.acked != 0 { self.acked } else { seen.unwrap_or(0) }
    }
}

#[derive(Debug)]
struct StreamState {
    sender: u32,
    receiver: u32,
    reader: u8,
    newest: u32,
}

/// What one device of a receiver sees of one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u32);

/// What the check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages whose sender was told that they are durable.
    pub acked: u64,
    /// Messages that the receiver's first device saw.
    pub delivered: u64,
    /// Acked messages that a device which read to the end did not see.
    pub lost: u64,
    /// Numbers under two places, acked twice, or seen twice by one device.
    pub duplicated: u64,
    /// Places that contradict the sender's order, a reader's order, or each other.
    pub reordered: u64,
    /// Acks and deliveries of what nobody composed, or for somebody else.
    pub foreign: u64,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reordered == 0 && self.foreign == 0
    }
}

impl Ledger {
    /// Notes a message of the sender's only sending device; its number goes into the body. Numbers
    /// ascend in the order of composing.
    pub fn compose(&mut self, sender: u32, receiver: u32) -> u64 {
        self.messages.push(Message { sender, receiver, acked: 0, seen: [0; READERS] });
        self.messages.len() as u64 - 1
    }

    /// Whether the message stands at this place, as far as anybody else said where it does.
    pub fn stands(&self, number: u64, place: u64) -> bool {
        let message = self.messages.get(number as usize);
        message.is_some_and(|message| u64::from(message.place()) == place)
    }

    /// Number of messages composed so far.
    pub fn composed(&self) -> u64 {
        self.messages.len() as u64
    }

    /// From now on this device of the user, too, must have seen everything at the check.
    pub fn add_reader(&mut self, user: u32, reader: u8) {
        *self.readers.entry(user).or_insert(1) |= 1 << reader;
    }

    /// The stream in which a device of `receiver` sees the messages of `sender`.
    pub fn stream(&mut self, sender: u32, receiver: u32, reader: u8) -> Stream {
        assert!(usize::from(reader) < READERS);
        self.streams.push(StreamState { sender, receiver, reader, newest: 0 });
        Stream(self.streams.len() as u32 - 1)
    }

    /// The sender was told that the message is durable, at this place in the conversation.
    pub fn acked(&mut self, number: u64, conv_seq: u64) {
        let Some(message) = self.messages.get_mut(number as usize) else {
            self.foreign += 1;
            return;
        };
        let conv_seq = place(conv_seq);
        let known = message.place();
        self.duplicated += u64::from(message.acked != 0 || (known != 0 && known != conv_seq));
        message.acked = conv_seq;
    }

    /// A device saw the message, at this place in the conversation.
    pub fn delivered(&mut self, stream: Stream, number: u64, conv_seq: u64) {
        let stream = &mut self.streams[stream.0 as usize];
        let found = self.messages.get_mut(number as usize);
        let whose = |message: &Message| {
            message.sender == stream.sender && message.receiver == stream.receiver
        };
        let Some(message) = found.filter(|message| whose(message)) else {
            self.foreign += 1;
            return;
        };
        let conv_seq = place(conv_seq);
        let known = message.place();
        let seen = &mut message.seen[usize::from(stream.reader)];
        self.duplicated += u64::from(*seen != 0 || (known != 0 && known != conv_seq));
        self.reordered += u64::from(*seen == 0 && stream.newest >= conv_seq);
        stream.newest = stream.newest.max(conv_seq);
        *seen = conv_seq;
    }

    /// Notes bytes that are no message of this run.
    pub fn foreign(&mut self) {
        self.foreign += 1;
    }

    /// Whether every message has its ack, and every device that must see it has seen it.
    pub fn is_complete(&self) -> bool {
        !self.messages.iter().any(|message| self.is_open(message))
    }

    /// What is missing, in words: how many have no ack or were not seen, and the first of them.
    pub fn missing(&self) -> String {
        let missing: Vec<_> = (0..).zip(&self.messages).filter(|(_, m)| self.is_open(m)).collect();
        let count = missing.len();
        match missing.first() {
            Some((number, message)) => {
                format!("{count} messages not acked or not seen, the first: {number}, {message:?}")
            }
            None => "no message".to_owned(),
        }
    }

    /// Whether it lacks its ack, or a device that must see it.
    fn is_open(&self, message: &Message) -> bool {
        message.acked == 0 || self.unseen(message) > 0
    }

    /// How many devices should have seen this message, and did not.
    fn unseen(&self, message: &Message) -> u64 {
        let readers = self.readers.get(&message.receiver).copied().unwrap_or(1);
        let missing = |&(reader, &seen): &(usize, &u32)| readers & 1 << reader != 0 && seen == 0;
        message.seen.iter().enumerate().filter(missing).count() as u64
    }

    /// Counts what was broken. Every device that must have read has read to the end.
    pub fn check(&self) -> Verdict {
        let mut verdict = Verdict {
            duplicated: self.duplicated,
            reordered: self.reordered,
            foreign: self.foreign,
            ..Verdict::default()
        };
        // The newest place of each sender in each conversation: its own order must ascend.
        let mut newest: HashMap<(u32, u32), u32> = HashMap::new();
        let mut places = Vec::new();
        for message in &self.messages {
            verdict.acked += u64::from(message.acked != 0);
            verdict.delivered += u64::from(message.seen[0] != 0);
            verdict.lost += u64::from(message.acked != 0 && self.unseen(message) > 0);
            let place = message.place();
            if place == 0 {
                continue;
            }
            let (sender, receiver) = (message.sender, message.receiver);
            let before = newest.entry((sender, receiver)).or_default();
            verdict.reordered += u64::from(*before >= place);
            *before = (*before).max(place);
            places.push((sender.min(receiver), sender.max(receiver), place));
        }
        places.sort_unstable();
        let shared = places.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        verdict.reordered += shared;
        verdict
    }
}

fn place(conv_seq: u64) -> u32 {
    assert_ne!(conv_seq, 0, "decoded places start at 1");
    u32::try_from(conv_seq).expect("a run has fewer than 2^32 messages")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users 1 and 2 send each other 10 messages each, alternating; who keeps what is planted.
    fn ledger(deliver: impl Fn(u64) -> Vec<(u64, u64)>) -> Verdict {
        let mut ledger = Ledger::default();
        let streams = [ledger.stream(1, 2, 0), ledger.stream(2, 1, 0)];
        let mut deliveries = Vec::new();
        for index in 0..20u64 {
            let (sender, receiver) = if index % 2 == 0 { (1, 2) } else { (2, 1) };
            let number = ledger.compose(sender, receiver);
            ledger.acked(number, index + 1);
            deliveries.extend(deliver(index));
        }
        for (number, conv_seq) in deliveries {
            ledger.delivered(streams[(number % 2) as usize], number, conv_seq);
        }
        ledger.check()
    }

    fn once(number: u64) -> Vec<(u64, u64)> {
        vec![(number, number + 1)]
    }

    #[test]
    fn a_clean_run_is_clean() {
        let verdict = ledger(once);
        assert_eq!(verdict, Verdict { acked: 20, delivered: 20, ..Verdict::default() });
        assert!(verdict.is_clean());
    }

    #[test]
    fn one_loss_is_found() {
        let verdict = ledger(|number| if number == 7 { vec![] } else { once(number) });
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (1, 0, 0));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn one_double_is_found() {
        let twice = |number| if number == 7 { vec![(7, 8), (7, 8)] } else { once(number) };
        let verdict = ledger(twice);
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 1, 0));
        let elsewhere = |number| if number == 7 { vec![(7, 21)] } else { once(number) };
        assert_eq!(ledger(elsewhere).duplicated, 1, "under two places");
        assert!(!verdict.is_clean());
    }

    #[test]
    fn one_swap_is_found() {
        let verdict = ledger(|number| match number {
            8 => vec![],
            10 => vec![(10, 11), (8, 9)],
            number => once(number),
        });
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 0, 1));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_swap_of_the_senders_own_order_is_found() {
        let mut ledger = Ledger::default();
        let (first, second) = (ledger.compose(1, 2), ledger.compose(1, 2));
        ledger.acked(first, 2);
        ledger.acked(second, 1);
        let stream = ledger.stream(1, 2, 0);
        ledger.delivered(stream, second, 1);
        ledger.delivered(stream, first, 2);
        assert_eq!(ledger.check().reordered, 1);
    }

    #[test]
    fn two_messages_in_one_place_are_found() {
        let mut ledger = Ledger::default();
        let (first, second) = (ledger.compose(1, 2), ledger.compose(2, 1));
        ledger.acked(first, 1);
        ledger.acked(second, 1);
        assert_eq!(ledger.check().reordered, 1);
    }

    #[test]
    fn a_second_device_must_have_everything_too() {
        let mut ledger = Ledger::default();
        let number = ledger.compose(1, 2);
        ledger.acked(number, 1);
        let live = ledger.stream(1, 2, 0);
        ledger.delivered(live, number, 1);
        assert!(ledger.is_complete());
        ledger.add_reader(2, 1);
        assert!(!ledger.is_complete());
        assert_eq!(ledger.check().lost, 1);
        let late = ledger.stream(1, 2, 1);
        ledger.delivered(late, number, 1);
        assert!(ledger.is_complete() && ledger.check().is_clean());
    }

    #[test]
    fn what_nobody_composed_is_found() {
        let mut ledger = Ledger::default();
        ledger.compose(1, 2);
        let stream = ledger.stream(1, 3, 0);
        ledger.delivered(stream, 0, 1);
        ledger.delivered(stream, 9, 1);
        ledger.acked(9, 1);
        assert_eq!(ledger.check().foreign, 3);
        assert!(!ledger.check().is_clean());
    }
}
