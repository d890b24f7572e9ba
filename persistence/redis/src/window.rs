//! The newest places of a conversation, as values in Redis.
//!
//! A window ends at a head H and has no hole, and what stands in it is plain: no edit or deletion,
//! and nothing that one of them could have changed, since a change has a higher place than its
//! target, so its own place would be in the window. So a window is the same whoever made it, from
//! whichever batches, and however late: what the owner sequenced up to H. It is shown only while
//! the store says that H, with its time, is the conversation's head: then nothing came after it.
//! (A change that the guest's core has written and the owner's has not is in the owner's log.)

use persistence::values::{self, message};
use persistence::{Batch, Content, ConvKey, MessageRow, Page, StoredMessage};
use std::ops::RangeInclusive;
use wire::{Seq, content_hash};

/// Places in a window.
pub const PLACES_MAX: usize = 100;
/// A window begins behind a longer body, in bytes.
pub const BODY_BYTES_MAX: usize = 4096;
/// What a value has beside the row.
const HEADER_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 8;

/// What a batch says about a conversation's window.
pub struct Update {
    /// Which.
    pub conv: ConvKey,
    /// Place of the first value; one above the head where there is none.
    pub first: Seq,
    /// A value for each place up to the head.
    pub values: Vec<Vec<u8>>,
}

impl Update {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|value| 64 + value.len()).sum::<usize>() + 64
    }
}

/// What the store's head row says.
pub type Head = (Seq, u64);

/// The windows' changes by a batch, those of the conversations that its core owns.
pub fn updates(epoch: u64, batch: &Batch) -> Vec<Update> {
    if batch.conversations.is_empty() {
        return Vec::new();
    }
    let rows = batch.message_rows();
    let update = |(&conv, &(head, _)): (&ConvKey, &Head)| {
        let lowest = head.saturating_sub(PLACES_MAX as u64 - 1);
        let down = rows.range((conv, lowest)..=(conv, head)).rev().zip(0..);
        let run = down.take_while(|((key, row), below)| key.1 == head - below && is_plain(row));
        let mut values: Vec<Vec<u8>> = run.map(|((_, row), _)| value(epoch, row)).collect();
        values.reverse();
        Update { conv, first: head + 1 - values.len() as u64, values }
    };
    batch.conversations.iter().map(update).collect()
}

/// Whether a row is all that there is to know of its place.
fn is_plain(row: &MessageRow) -> bool {
    let plain = match &row.content {
        Content::Body(body) => body.len() <= BODY_BYTES_MAX,
        Content::Void(_) => true,
        Content::Change(..) | Content::Emptied(_) => false,
    };
    // The guest's home does not know where it came from.
    plain && row.origin.is_some()
}

/// place, both participants, epoch (big-endian, eight bytes each), row, checksum.
fn value(epoch: u64, row: &MessageRow) -> Vec<u8> {
    let mut out = header(epoch, row.conv, row.conv_seq).to_vec();
    out.extend_from_slice(&message(row));
    let checksum = content_hash(&out, None).0;
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

fn header(epoch: u64, conv: ConvKey, place: Seq) -> [u8; HEADER_BYTES] {
    let [low, high] = conv.participants();
    let mut out = [0; HEADER_BYTES];
    for (bytes, number) in out.chunks_mut(8).zip([place, low.get(), high.get(), epoch]) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    out
}

/// The row in a value; `None`: it is not the one that was asked for, or it is damaged.
fn row(epoch: u64, conv: ConvKey, place: Seq, value: &[u8]) -> Option<MessageRow> {
    let (signed, checksum) = value.split_last_chunk::<CHECKSUM_BYTES>()?;
    let row = signed.strip_prefix(&header(epoch, conv, place))?;
    let whole = content_hash(signed, None).0 == u64::from_le_bytes(*checksum);
    if whole { values::read_message(conv, place, row).ok() } else { None }
}

/// The places of a page in a conversation with this head; `None`: not all of them can be in its
/// window.
fn wanted(from: Seq, newer: bool, limit: u32, head: Seq) -> Option<RangeInclusive<Seq>> {
    let more = u64::from(limit).checked_sub(1)?;
    let (low, high) = match newer {
        true => (from, from.checked_add(more)?),
        false => (from.min(head).saturating_sub(more).max(1), from.min(head)),
    };
    (1 <= low && low <= high && high <= head).then_some(low..=high)
}

/// The page that was asked for, from what `get.lua` returned: as the store, whose head this is,
/// would give it. `None`: only the store knows.
pub fn page(epoch: u64, page: &Page, head: Head, found: &[Vec<u8>]) -> Option<Vec<StoredMessage>> {
    let Page::Messages { conv, from, newer, limit, bytes_max } = *page else { return None };
    let (newest, values) = found.split_last()?;
    let newest = row(epoch, conv, head.0, newest)?;
    let wanted = wanted(from, newer, limit, head.0)?;
    let count = wanted.end() - wanted.start() + 1;
    if newest.time_us != head.1 || values.len() as u64 != count {
        return None;
    }
    let rows = wanted.zip(values).map(|(place, value)| row(epoch, conv, place, value));
    let mut rows = rows.collect::<Option<Vec<MessageRow>>>()?;
    if !newer {
        rows.reverse();
    }
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for row in rows {
        if bytes > bytes_max as usize {
            break;
        }
        let message = StoredMessage::new(&row, None);
        bytes += message.body.len();
        messages.push(message);
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistence::{MessageRecord, Record, UserId};
    use wire::{Change, OutboxId};

    const EPOCH: u64 = 7;

    fn conv() -> ConvKey {
        let user = |number| UserId::new(number).expect("not 0");
        ConvKey::new(user(1), user(2)).expect("two")
    }

    fn add(batch: &mut Batch, place: Seq, change: Option<Change>, body: &[u8]) {
        let message = MessageRecord {
            conv: conv(),
            conv_seq: place,
            time_us: 100 + place,
            sender: conv().owner(),
            outbox: OutboxId(5),
            new_outbox_of: None,
            n: place,
            void: None,
            inbox: [place; 2],
            marks: [true; 2],
            hidden: [false; 2],
            change,
            body,
        };
        batch.add(&Record::Message(message), |_| true);
    }

    fn range(batch: &Batch) -> (Seq, usize) {
        let updates = updates(EPOCH, batch);
        assert_eq!(updates.len(), 1);
        (updates[0].first, updates[0].values.len())
    }

    #[test]
    fn a_window_begins_behind_a_change_and_a_long_body() {
        let mut batch = Batch::default();
        (5..=8).for_each(|place| add(&mut batch, place, None, b"text"));
        assert_eq!(range(&batch), (5, 4));
        add(&mut batch, 9, Some(Change { target: 2, delete: false }), b"edited");
        assert_eq!(range(&batch), (10, 0));
        add(&mut batch, 10, None, b"text");
        assert_eq!(range(&batch), (10, 1));
        add(&mut batch, 11, None, &[0; BODY_BYTES_MAX + 1]);
        add(&mut batch, 12, None, &[0; BODY_BYTES_MAX]);
        assert_eq!(range(&batch), (12, 1));
        (13..=150).for_each(|place| add(&mut batch, place, None, b"text"));
        assert_eq!(range(&batch), (51, PLACES_MAX));
    }

    #[test]
    fn what_the_guests_core_writes_makes_no_window() {
        let mut whole = Batch::default();
        add(&mut whole, 1, None, b"text");
        let row = whole.messages[0].clone();
        assert!(is_plain(&row));
        assert!(!is_plain(&MessageRow { origin: None, ..row }));
        whole.conversations.clear();
        assert!(updates(EPOCH, &whole).is_empty());
    }

    fn asked(from: Seq, newer: bool, limit: u32) -> Page {
        Page::Messages { conv: conv(), from, newer, limit, bytes_max: u32::MAX }
    }

    #[test]
    fn a_value_counts_only_with_its_own_key_place_epoch_and_bytes() {
        let mut batch = Batch::default();
        (1..=3).for_each(|place| add(&mut batch, place, None, b"text"));
        let values = updates(EPOCH, &batch).remove(0).values;
        let (asked, head) = (asked(2, true, 2), (3, 103));
        let found: Vec<Vec<u8>> = vec![values[1].clone(), values[2].clone(), values[2].clone()];
        let good = page(EPOCH, &asked, head, &found).expect("all is there");
        assert_eq!(good.iter().map(|message| message.conv_seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(page(EPOCH + 1, &asked, head, &found), None, "another epoch");
        assert_eq!(page(EPOCH, &asked, (4, 104), &found), None, "something came after");
        assert_eq!(page(EPOCH, &asked, (3, 999), &found), None, "another past");
        assert_eq!(page(EPOCH, &asked, head, &[]), None);
        assert_eq!(page(EPOCH, &asked, head, &found[1..]), None, "one is missing");
        let user = |number| UserId::new(number).expect("not 0");
        let other = ConvKey::new(user(1), user(3)).expect("two");
        let of_other = Page::Messages { conv: other, from: 2, newer: true, limit: 2, bytes_max: 9 };
        assert_eq!(page(EPOCH, &of_other, head, &found), None, "another conversation's");
        for value in 0..found.len() {
            for byte in 0..found[value].len() {
                let mut damaged = found.clone();
                damaged[value][byte] ^= 1;
                assert_eq!(page(EPOCH, &asked, head, &damaged), None, "{value} {byte}");
                damaged[value].truncate(byte);
                assert_eq!(page(EPOCH, &asked, head, &damaged), None, "{value} cut at {byte}");
            }
        }
    }

    #[test]
    fn wanted_places_are_those_that_the_store_would_give() {
        assert_eq!(wanted(u64::MAX, false, 3, 10), Some(8..=10));
        assert_eq!(wanted(2, false, 3, 10), Some(1..=2));
        assert_eq!(wanted(8, true, 3, 10), Some(8..=10));
        assert_eq!(wanted(9, true, 3, 10), None, "the store may have more above");
        assert_eq!(wanted(u64::MAX, true, 3, 10), None);
        assert_eq!(wanted(0, true, 3, 10), None);
        assert_eq!(wanted(u64::MAX, false, 3, 0), None);
        assert_eq!(wanted(5, false, 0, 10), None);
    }
}
