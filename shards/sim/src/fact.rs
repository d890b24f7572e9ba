//! What can be seen from outside the server: the facts that the checkers judge.

use crate::network::LinkId;
use client::{Chat, Contact, Message};
use persistence::ConvKey;
use std::collections::BTreeMap;
use wire::{BodyHash, OutboxId, Seq, UserId, Welcome};

/// A simulated device: an index into the world's table, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceIndex(pub usize);

/// What stands at one place of a conversation. Every body of a run is unique, so a hash names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The conversation.
    pub conv: ConvKey,
    /// The place.
    pub conv_seq: Seq,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Who sent it.
    pub sender: UserId,
    /// Content hash, also of what was given up; 0 where the observer is not told, since it was
    /// changed later.
    pub hash: BodyHash,
    /// It was given up.
    pub void: bool,
    /// Outbox and number, where the observer is told.
    pub origin: Option<(OutboxId, Seq)>,
}

/// An inbox entry as a device received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose inbox.
    pub user: UserId,
    /// Its number.
    pub inbox_seq: Seq,
    /// What it says.
    pub placed: Placed,
    /// Bytes of its body.
    pub body_bytes: usize,
}

/// Something that was seen.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A device has committed a message: from now on it must not vanish.
    Queued {
        /// Which device.
        device: DeviceIndex,
        /// Its conversation.
        conv: ConvKey,
        /// The message.
        hash: BodyHash,
    },
    /// A person wrote a message.
    Composed {
        /// Who.
        sender: UserId,
        /// To whom.
        conv: ConvKey,
        /// What.
        hash: BodyHash,
    },
    /// A device said HELLO.
    Greeted {
        /// On which link.
        link: LinkId,
        /// Which device.
        device: DeviceIndex,
        /// Whose.
        user: UserId,
        /// Its inbox epoch.
        inbox_epoch: u64,
        /// Its number.
        acked: Seq,
    },
    /// A device was welcomed.
    Welcomed {
        /// On which link.
        link: LinkId,
        /// Which device.
        device: DeviceIndex,
        /// What it was told.
        welcome: Welcome,
    },
    /// A device acknowledged.
    Acked {
        /// On which link.
        link: LinkId,
        /// Which device.
        device: DeviceIndex,
        /// Whose.
        user: UserId,
        /// Everything up to here.
        acked: Seq,
    },
    /// A device received a fresh SENT: the promise.
    Promised {
        /// What was promised.
        placed: Placed,
    },
    /// A device received an inbox entry.
    Received {
        /// On which link.
        link: LinkId,
        /// The entry.
        entry: Entry,
    },
    /// A device received an inbox entry that names no place.
    Marked {
        /// On which link.
        link: LinkId,
        /// Its number.
        inbox_seq: Seq,
    },
    /// A device said READ.
    Read {
        /// Whose.
        user: UserId,
        /// The conversation.
        conv: ConvKey,
        /// Everything up to here.
        upto: Seq,
    },
    /// A device received READ_MARK.
    ReadMark {
        /// Whose.
        user: UserId,
        /// The entry's number.
        inbox_seq: Seq,
        /// The conversation.
        conv: ConvKey,
        /// Everything up to here is read.
        upto: Seq,
    },
    /// A device received RECEIPT.
    Receipt {
        /// Whose device.
        user: UserId,
        /// The entry's number.
        inbox_seq: Seq,
        /// The conversation.
        conv: ConvKey,
        /// The peer's read mark.
        read: Seq,
        /// How far the peer's devices are.
        delivered: Vec<Seq>,
    },
    /// A device said COMMAND.
    Ordered {
        /// Whose.
        user: UserId,
        /// Its bytes.
        command: Vec<u8>,
    },
    /// A device received COMMANDED.
    Commanded {
        /// Whose.
        user: UserId,
        /// The entry's number.
        inbox_seq: Seq,
        /// Its bytes.
        command: Vec<u8>,
        /// It took effect.
        applied: bool,
    },
    /// A device said HISTORY.
    Asked {
        /// On which link.
        link: LinkId,
        /// What it asks.
        ask: wire::History,
    },
    /// A device received HISTORY_ITEM.
    Item {
        /// On which link.
        link: LinkId,
        /// Of which request.
        request: u64,
        /// The place.
        conv_seq: Seq,
        /// What stands there, unless it is hidden.
        placed: Option<Placed>,
    },
    /// A device received the END of a page of history.
    Ended {
        /// On which link.
        link: LinkId,
        /// The end.
        end: wire::End,
    },
    /// A device received CAUGHT_UP.
    CaughtUp {
        /// On which link.
        link: LinkId,
        /// The head that it was told.
        head: Seq,
    },
    /// A device shows a message as settled.
    Settled {
        /// Who sent it.
        sender: UserId,
        /// Where it says that the message stands.
        conv: ConvKey,
        /// The place that it names.
        conv_seq: Seq,
        /// The message.
        hash: BodyHash,
        /// As given up.
        void: bool,
    },
    /// A device shows an inbox entry to its person, past its own filters.
    Shown {
        /// Which device.
        device: DeviceIndex,
        /// The conversation.
        conv: ConvKey,
        /// The place.
        conv_seq: Seq,
        /// The message, where its body came along.
        hash: Option<BodyHash>,
    },
}

/// What a device shows of a conversation.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The conversation as a whole.
    pub chat: Chat,
    /// Its places.
    pub messages: BTreeMap<Seq, Message>,
}

/// What a device shows at the end.
#[derive(Clone, Debug)]
pub struct View {
    /// Whose.
    pub user: UserId,
    /// Which device.
    pub device: DeviceIndex,
    /// Its conversations.
    pub convs: BTreeMap<ConvKey, Shown>,
    /// Contacts and blocked users.
    pub contacts: BTreeMap<UserId, Contact>,
}

impl View {
    /// What it has at a place.
    pub fn at(&self, conv: ConvKey, conv_seq: Seq) -> Option<&Message> {
        self.convs.get(&conv)?.messages.get(&conv_seq)
    }
}

/// The world when it has come to rest.
#[derive(Debug, Default)]
pub struct End {
    /// Every user's inbox, read from its first entry on by a device that attached only then;
    /// empty where retention took entries away.
    pub inboxes: BTreeMap<UserId, Vec<Entry>>,
    /// What each surviving device shows.
    pub views: Vec<View>,
    /// What the devices show that read the inboxes.
    pub readers: Vec<View>,
    /// What a new device of each user shows: a snapshot, and all pages of history.
    pub newcomers: BTreeMap<UserId, View>,
    /// Messages that surviving devices still hold unsettled.
    pub unsettled: Vec<(DeviceIndex, BodyHash)>,
    /// Devices whose storage is the one that they began with.
    pub intact: Vec<DeviceIndex>,
    /// Who did not come to rest in time, and why.
    pub restless: Vec<String>,
}
