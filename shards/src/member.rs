//! A member: one participant of a conversation, at the participant's home. Everything here only
//! grows, so records apply in any order, and again.

use crate::receipts::Owing;
use crate::table::Entity;
use persistence::{
    ABOVE_READ_MAX, ContactState, InboxKind, MemberState, PeerMarks, Position, Record, Row,
};
use wire::{Command, ConvSettings, DeviceId, Seq, UserId};

/// A participant's side of a conversation in memory.
pub(crate) struct Member {
    /// Newest place that the home took.
    pub taken: Seq,
    /// Own read mark, at most `taken`.
    pub read: Seq,
    /// How far the own devices are with the peer's messages.
    pub delivered: Vec<(DeviceId, Seq)>,
    /// The peer's marks.
    pub peer: PeerMarks,
    /// How the user keeps the conversation.
    pub settings: ConvSettings,
    /// Number of the inbox entry that set them.
    pub settings_by: Seq,
    /// What the peer is to the user.
    pub contact: ContactState,
    /// Places that the user does not see, as `persistence::add_range` keeps them.
    pub hidden: Vec<(Seq, Seq)>,
    /// Inbox number of the newest message.
    pub last_inbox: Seq,
    /// Of the newest places: which ones are no messages of the peer to read.
    quiet: Places,
    /// The receipt that the peer's home is owed.
    pub owing: Owing,
    /// End of the newest record about it.
    pub dirty_until: Position,
}

impl Member {
    pub fn new(state: MemberState) -> Member {
        let mut quiet = Places::default();
        for &seq in &state.own_above_read {
            quiet.set(seq, true);
        }
        Member {
            taken: state.taken,
            read: state.read,
            delivered: state.delivered,
            peer: state.peer,
            settings: state.settings,
            settings_by: state.settings_by,
            contact: state.contact,
            hidden: state.hidden,
            last_inbox: state.last_inbox,
            quiet,
            owing: Owing::default(),
            dirty_until: Position(0),
        }
    }

    /// The home took a place, with the inbox entry `inbox_seq` or (0) without one. `quiet`: there
    /// is nothing to read.
    pub fn take(&mut self, seq: Seq, inbox_seq: Seq, quiet: bool, end: Position) {
        self.dirty_until = end;
        self.last_inbox = self.last_inbox.max(inbox_seq);
        self.taken = self.taken.max(seq);
        if seq + Places::COUNT > self.taken {
            self.quiet.set(seq, quiet);
        }
    }

    /// These places are seen no more.
    pub fn hide(&mut self, first: Seq, last: Seq) {
        persistence::add_range(&mut self.hidden, first, last);
        let oldest = self.taken.saturating_sub(Places::COUNT) + 1;
        (first.max(oldest)..=last.min(self.taken)).for_each(|seq| self.quiet.set(seq, true));
    }

    /// The user does not see this place.
    pub fn is_hidden(&self, seq: Seq) -> bool {
        let index = self.hidden.partition_point(|&(_, last)| last < seq);
        self.hidden.get(index).is_some_and(|&(first, _)| first <= seq)
    }

    /// How far the device is.
    pub fn delivered_to(&self, device: DeviceId) -> Seq {
        self.delivered.iter().find(|(id, _)| *id == device).map_or(0, |(_, seq)| *seq)
    }

    /// The device has everything of the peer up to here.
    pub fn deliver(&mut self, device: DeviceId, upto: Seq) {
        match self.delivered.iter_mut().find(|(id, _)| *id == device) {
            Some((_, mark)) => *mark = upto.max(*mark),
            None => self.delivered.push((device, upto)),
        }
    }

    /// Adds what a record says about `user`'s side; the record may be older than the store.
    pub fn apply(&mut self, user: UserId, record: &Record<'_>, end: Position) {
        self.dirty_until = end;
        match record {
            Record::Message(m) => {
                let side = usize::from(m.conv.participants()[1] == user);
                let quiet = m.sender == user || m.void.is_some() || m.change.is_some();
                self.take(m.conv_seq, m.inbox[side], quiet, end);
                if m.hidden[side] {
                    self.hide(m.conv_seq, m.conv_seq);
                }
            }
            Record::Inbox(i) => {
                let quiet = !matches!(i.kind, InboxKind::Peer { .. });
                self.take(i.conv_seq, i.inbox_seq, quiet, end);
                if i.kind == InboxKind::Hidden {
                    self.hide(i.conv_seq, i.conv_seq);
                }
            }
            Record::Read { upto, .. } => self.read = self.read.max(*upto),
            Record::Delivered { device, upto, .. } => self.deliver(*device, *upto),
            Record::Receipt { read, delivered, .. } => {
                self.peer.join(PeerMarks { read: *read, delivered: delivered.clone() });
            }
            Record::Command(c) => {
                let command = Command::decode(c.command).expect("only applied ones come here");
                self.apply_command(&command, c.inbox_seq, end);
            }
            _ => unreachable!("{record:?} says nothing about a member"),
        }
    }

    /// Messages of the peer above the read mark, counted up to `ABOVE_READ_MAX` places back.
    pub fn unread(&self) -> u64 {
        let first = self.read.max(self.taken.saturating_sub(ABOVE_READ_MAX)) + 1;
        (first..=self.taken).filter(|&seq| !self.quiet.has(seq)).count() as u64
    }
}

impl Entity for Member {
    fn clean(&self, flushed: Position) -> bool {
        self.dirty_until <= flushed && self.owing.is_empty()
    }
}

/// A set among the newest places, one bit each: 128 bytes, whatever is written there.
#[derive(Default)]
struct Places([u64; 16]);

impl Places {
    const COUNT: u64 = 1_024;

    fn set(&mut self, seq: Seq, on: bool) {
        let (word, bit) = (seq / 64 % 16, seq % 64);
        self.0[word as usize] &= !(1 << bit);
        self.0[word as usize] |= u64::from(on) << bit;
    }

    fn has(&self, seq: Seq) -> bool {
        self.0[(seq / 64 % 16) as usize] & 1 << (seq % 64) != 0
    }
}

const _: () = assert!(Places::COUNT > ABOVE_READ_MAX && Places::COUNT == 16 * 64);
