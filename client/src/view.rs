//! What can be seen of a client without changing it.

use wire::{BODY_BYTES_MAX, Command, Conv, ConvSettings, DeviceId, OutboxId, Privacy, Seq, UserId};

use crate::conversation::{Conversation, Kind};
use crate::{Client, CommandId, Contact, Message, Pending, Ranges};

/// A conversation as a list of conversations shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Which.
    pub conv: Conv,
    /// Newest place that is known to exist; 0: none.
    pub head: Seq,
    /// Time of the newest activity, Unix milliseconds; 0: none.
    pub time_ms: u64,
    /// The user has read everything up to here, as far as any of their devices told.
    pub read: Seq,
    /// The peer's messages above `read`.
    pub unread: u64,
    /// The peer has read everything up to here.
    pub peer_read: Seq,
    /// For each of the peer's devices, the place up to which it has everything; highest first.
    pub peer_delivered: Vec<Seq>,
    /// Muted, pinned, archived.
    pub settings: ConvSettings,
    /// The newest message, perhaps cut off; and whether it is one's own.
    pub preview: Option<(bool, Vec<u8>)>,
}

/// What became of an own message that the server took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// Safe at the server.
    Sent,
    /// On so many of the peer's devices.
    Delivered {
        /// At least 1.
        devices: usize,
    },
    /// Read.
    Read,
}

impl Chat {
    /// What became of the own message at this place.
    pub fn tick(&self, conv_seq: Seq) -> Tick {
        match self.peer_delivered.iter().filter(|&&upto| upto >= conv_seq).count() {
            _ if self.peer_read >= conv_seq => Tick::Read,
            0 => Tick::Sent,
            devices => Tick::Delivered { devices },
        }
    }

    fn new(conv: Conv, found: &Conversation) -> Chat {
        let heading = &found.heading;
        let message = |kind| matches!(kind, Kind::Peer | Kind::Own);
        let newest = found.history.iter().rev().find(|(_, message_)| message(message_.kind));
        let newest = newest.filter(|&(&seq, _)| seq >= heading.head);
        let told =
            (!heading.preview.is_empty()).then(|| (heading.preview_own, heading.preview.clone()));
        let preview = newest.map_or(told, |(_, message)| {
            let body = message.body.clone()?;
            Some((message.kind == Kind::Own, body))
        });
        let last_ms = found.history.last_key_value().map_or(0, |(_, message)| message.time_ms);
        Chat {
            conv,
            head: found.head(),
            time_ms: last_ms.max(heading.time_ms),
            read: found.own_read(),
            unread: found.unread(),
            peer_read: found.peer_read,
            peer_delivered: found.peer_delivered.clone(),
            settings: found.settings,
            preview,
        }
    }
}

impl Client {
    /// The user and device that the journal belongs to, once a server has said so.
    pub fn identity(&self) -> Option<(UserId, DeviceId)> {
        self.state.identity
    }

    /// Longest body in bytes, as the last server said.
    pub fn body_bytes_max(&self) -> usize {
        self.state.body_bytes_max.min(BODY_BYTES_MAX as u64) as usize
    }

    /// Newest inbox entry that is here, none during a snapshot, and the epoch that it counts in.
    pub fn position(&self) -> (u64, Seq) {
        (self.state.epoch, self.state.position)
    }

    /// The outbox of new messages.
    pub fn outbox(&self) -> OutboxId {
        self.state.outbox
    }

    /// Conversations with anything in them, ascending.
    pub fn conversations(&self) -> impl Iterator<Item = Conv> + '_ {
        self.state.conversations.keys().copied()
    }

    /// All conversations: pinned ones first, then those with the newest activity.
    pub fn chats(&self) -> Vec<Chat> {
        let found = self.state.conversations.iter();
        let mut chats: Vec<Chat> = found.map(|(&conv, found)| Chat::new(conv, found)).collect();
        chats.sort_by_key(|chat| (!chat.settings.pinned, u64::MAX - chat.time_ms, chat.conv));
        chats
    }

    /// One conversation, if anything is known of it.
    pub fn chat(&self, conv: Conv) -> Option<Chat> {
        self.state.conversations.get(&conv).map(|found| Chat::new(conv, found))
    }

    /// Contacts and blocked users, ascending.
    pub fn contacts(&self) -> impl Iterator<Item = (UserId, &Contact)> {
        self.state.contacts.iter().map(|(&user, contact)| (user, contact))
    }

    /// What the user noted about this one.
    pub fn contact(&self, user: UserId) -> Option<&Contact> {
        self.state.contacts.get(&user)
    }

    /// The user's privacy, as last commanded; `None` if this device never saw that.
    pub fn privacy(&self) -> Option<Privacy> {
        self.state.privacy
    }

    /// The highest place below `from` (0: of all) that exists and is not known here: ask for the
    /// history from there. `None`: all of it is here.
    pub fn older_hole(&self, conv: Conv, from: Seq) -> Option<Seq> {
        let found = self.state.conversations.get(&conv)?;
        let last = if from == 0 { found.head() } else { found.head().min(from - 1) };
        found.ranges.highest_hole(last)
    }

    /// The messages of a conversation that are here, ascending.
    pub fn history(&self, conv: Conv) -> impl DoubleEndedIterator<Item = (Seq, &Message)> {
        let found = self.state.conversations.get(&conv);
        found
            .into_iter()
            .flat_map(|found| found.history.iter().map(|(&seq, message)| (seq, message)))
    }

    /// The places of a conversation that are known here: their entry came, or an answered page
    /// covers them, though nothing may be there.
    pub fn ranges(&self, conv: Conv) -> Option<&Ranges> {
        self.state.conversations.get(&conv).map(|found| &found.ranges)
    }

    /// The unsettled sends of a conversation, in order.
    pub fn pending(&self, conv: Conv) -> impl Iterator<Item = &Pending> {
        self.state.conversations.get(&conv).into_iter().flat_map(|found| found.queue.sends.iter())
    }

    /// Whether this send is in the committed journal: it survives everything from here on.
    pub fn is_queued(&self, send: &Pending) -> bool {
        send.mark <= self.journal.committed
    }

    /// The unsettled commands, in order.
    pub fn pending_commands(&self) -> impl Iterator<Item = (CommandId, Command<'_>)> {
        self.state.commands.iter().map(|pending| {
            let command = Command::decode(&pending.command).expect("checked when it was queued");
            (CommandId(pending.serial), command)
        })
    }

    /// Whether any send or command is unsettled.
    pub fn has_pending(&self) -> bool {
        !self.state.sending.is_empty() || !self.state.commands.is_empty()
    }

    /// Whether the server lacks a read mark.
    pub fn has_unmarked_reads(&self) -> bool {
        !self.state.reading.is_empty()
    }

    /// Whether a snapshot is under way: conversations and contacts are still coming.
    pub fn is_starting(&self) -> bool {
        self.overview.is_some()
    }
}
