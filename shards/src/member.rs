//! A member: one participant of a conversation, at the participant's home. Everything here only
//! grows, so records apply in any order, and again.

use crate::table::Entity;
use persistence::{ContactState, InboxKind, MemberState, Position, Record};
use wire::{Command, ConvSettings, Seq, UserId};

/// Unread messages are counted up to this many.
const UNREAD_MAX: u64 = 1_000;

/// A participant's side of a conversation in memory.
pub(crate) struct Member {
    /// Newest place that the home took.
    pub taken: Seq,
    /// Own read mark, at most `taken`.
    pub read: Seq,
    /// Newest inbox number of an entry of this conversation.
    pub last_inbox: Seq,
    /// Of the newest places: which ones are no messages of the peer to read.
    quiet: Places,
    /// How the user keeps the conversation.
    pub settings: ConvSettings,
    /// What the peer is to the user.
    pub contact: ContactState,
    /// Places that the user does not see, as `persistence::add_range` keeps them.
    pub hidden: Vec<(Seq, Seq)>,
    /// End of the newest record about it.
    pub dirty_until: Position,
}

impl Member {
    pub fn new(state: MemberState) -> Member {
        Member {
            taken: state.taken,
            read: state.read,
            last_inbox: state.last_inbox,
            quiet: Places::default(),
            settings: state.settings,
            contact: state.contact,
            hidden: state.hidden,
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

    /// Adds what a record says about `user`'s side; the record may be older than the store.
    pub fn apply(&mut self, user: UserId, record: &Record<'_>, end: Position) {
        match record {
            Record::Message(m) => {
                let side = usize::from(m.conv.participants()[1] == user);
                let quiet = m.sender == user || m.void.is_some();
                self.take(m.conv_seq, m.inbox[side], quiet, end);
            }
            Record::Inbox(i) => {
                let quiet = !matches!(i.kind, InboxKind::Peer { .. });
                self.take(i.conv_seq, i.inbox_seq, quiet, end);
            }
            Record::Command(c) => {
                let command = Command::decode(c.command).expect("only applied ones come here");
                self.apply_command(&command, end);
            }
            _ => unreachable!("{record:?} says nothing about a member"),
        }
    }

    /// Messages of the peer above the read mark, counted up to `UNREAD_MAX` places back.
    #[expect(dead_code, reason = "conversation heads are not asked for so far")]
    pub fn unread(&self) -> u64 {
        let first = self.read.max(self.taken.saturating_sub(UNREAD_MAX)) + 1;
        (first..=self.taken).filter(|&seq| !self.quiet.has(seq)).count() as u64
    }
}

impl Entity for Member {
    fn clean(&self, flushed: Position) -> bool {
        self.dirty_until <= flushed
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

const _: () = assert!(Places::COUNT > UNREAD_MAX && Places::COUNT == 16 * 64);
