//! Entities as the store gives them: what is not in the log any more.

use crate::ConvKey;
use std::ops::RangeInclusive;
use wire::{ConvSettings, DeviceId, OutboxId, Privacy, Seq, UserId};

/// A conversation in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvState {
    /// Newest place.
    pub head: Seq,
    /// Its time, Unix microseconds.
    pub time_us: u64,
    /// Its outboxes, in any order.
    pub outboxes: Vec<OutboxState>,
}

/// One outbox in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Whose: one of the participants.
    pub user: UserId,
    /// Which device.
    pub device: DeviceId,
    /// Its name.
    pub outbox: OutboxId,
    /// The number that is taken next.
    pub next: Seq,
}

/// A user in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserState {
    /// Newest inbox number.
    pub head: Seq,
    /// Inbox epoch of this user alone (the server adds the data directory's own).
    pub epoch: u64,
    /// Inbox entries up to here are gone.
    pub trimmed: Seq,
    /// When the user was last seen, Unix microseconds; 0: never.
    pub last_seen_us: u64,
    /// Who sees what.
    pub privacy: Privacy,
    /// Number of the inbox entry that set it; 0: none did.
    pub privacy_by: Seq,
    /// Known devices, revoked ones too.
    pub devices: Vec<DeviceState>,
    /// Outboxes that gave commands, in any order.
    pub outboxes: Vec<CommandOutbox>,
}

/// One device of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// Which.
    pub device: DeviceId,
    /// Its cursor.
    pub acked: Seq,
    /// What it said of itself.
    pub info: DeviceInfo,
}

/// What a device said of itself when it attached last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceInfo {
    /// When that was, Unix microseconds; 0: never.
    pub attached_us: u64,
    /// Its name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// It may never attach again.
    pub revoked: bool,
}

/// An outbox as the source of its user's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandOutbox {
    /// Its name.
    pub outbox: OutboxId,
    /// Which device.
    pub device: DeviceId,
    /// The number that is taken next.
    pub next: Seq,
}

/// What a user has in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// Newest place that the user's home took. At the conversation's owner: its head.
    pub taken: Seq,
    /// The user's own read mark.
    pub read: Seq,
    /// How far the user's devices are.
    pub delivered: Vec<(DeviceId, Seq)>,
    /// The peer's marks.
    pub peer: PeerMarks,
    /// How the user keeps the conversation.
    pub settings: ConvSettings,
    /// Number of the inbox entry that set them; 0: none did.
    pub settings_by: Seq,
    /// What the peer is to the user.
    pub contact: ContactState,
    /// Places that this user does not see: first and last ones, lowest first, with a gap between
    /// two ranges.
    pub hidden: Vec<(Seq, Seq)>,
    /// Inbox number of the conversation's newest message; 0: none has an entry.
    pub last_inbox: Seq,
    /// Of the newest `ABOVE_READ_MAX` places in (`read`, `taken`]: those that hold no plain
    /// message of the peer and are not in `hidden`, lowest first.
    pub own_above_read: Vec<Seq>,
}

impl MemberState {
    /// The places that `own_above_read` is about; maybe none.
    pub fn above_read(&self) -> RangeInclusive<Seq> {
        self.read.max(self.taken.saturating_sub(ABOVE_READ_MAX)) + 1..=self.taken
    }

    /// `own_above_read`, from whether each of the places `above_read` holds a plain message of the
    /// peer.
    pub fn own_among(&self, of_peer: Vec<bool>) -> Vec<Seq> {
        let mut hidden = self.hidden.iter().peekable();
        let own = self.above_read().zip(of_peer).filter(|&(seq, of_peer)| {
            while hidden.next_if(|range| range.1 < seq).is_some() {}
            !of_peer && hidden.peek().is_none_or(|range| seq < range.0)
        });
        own.map(|(seq, _)| seq).collect()
    }
}

/// Places above a read mark that are looked at, at most.
pub const ABOVE_READ_MAX: u64 = 1_000;

/// The peer's marks in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerMarks {
    /// The read mark.
    pub read: Seq,
    /// How far the peer's devices are, farthest first.
    pub delivered: Vec<Seq>,
}

/// What one user is to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContactState {
    /// A contact.
    pub contact: bool,
    /// Blocked.
    pub blocked: bool,
    /// The user's own name for them; empty where they are no contact.
    pub name: String,
    /// Number of the inbox entry that last made them a contact or none; 0: never.
    pub contact_by: Seq,
    /// Number of the inbox entry that last blocked or unblocked them; 0: never.
    pub blocked_by: Seq,
}

/// One entity to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// A conversation's head and outboxes.
    Conversation(ConvKey),
    /// A user's inbox head, devices and so on.
    User(UserId),
    /// What a user has in a conversation.
    Member(UserId, ConvKey),
}

/// What was read; default values where nothing was ever written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// See `Load::Conversation`.
    Conversation(ConvState),
    /// See `Load::User`.
    User(Box<UserState>),
    /// See `Load::Member`.
    Member(Box<MemberState>),
}

impl Loaded {
    /// What a store says where nothing was ever written.
    pub fn empty(load: &Load) -> Loaded {
        match load {
            Load::Conversation(_) => Loaded::Conversation(ConvState::default()),
            Load::User(_) => Loaded::User(Box::default()),
            Load::Member(..) => Loaded::Member(Box::default()),
        }
    }
}
