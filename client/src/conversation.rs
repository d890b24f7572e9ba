//! One conversation as this device knows it: its messages, marks and settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use wire::{BodyHash, ConvSettings, Seq};

use crate::Ranges;
use crate::queue::Queue;

/// What is at a place of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The peer's message.
    Peer,
    /// A message of one of the user's own devices.
    Own,
    /// One of the user's own devices gave a message up here: nothing to see.
    OwnVoid,
    /// Nothing for this user: blocked, refused, or deleted for oneself.
    Hidden,
    /// The peer gave a message up here: nothing to see.
    PeerVoid,
    /// The peer's edit or deletion of an earlier message.
    PeerChange,
    /// The user's own edit or deletion of an earlier message.
    OwnChange,
    /// The server lost what was here.
    Gap,
}

impl Kind {
    /// All of them; a kind's number in the journal is its place here.
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Peer,
        Kind::Own,
        Kind::OwnVoid,
        Kind::Hidden,
        Kind::PeerVoid,
        Kind::PeerChange,
        Kind::OwnChange,
        Kind::Gap,
    ];

    fn is_message(self) -> bool {
        matches!(self, Kind::Peer | Kind::Own)
    }
}

/// What this device knows of one place of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unix milliseconds.
    pub time_ms: u64,
    /// What it is.
    pub kind: Kind,
    /// Hash of the body that it was sent with; 0 where that is not known.
    pub hash: BodyHash,
    /// The present text; `None` where there is none, or where another own device wrote it and it
    /// is not fetched yet.
    pub body: Option<Vec<u8>>,
    /// Place of the edit whose text `body` is; 0 if it was not edited.
    pub edited_by: Seq,
    /// Its sender deleted it for everyone.
    pub deleted: bool,
}

/// What a server last said about a conversation as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heading {
    pub head: Seq,
    pub time_ms: u64,
    pub unread: u64,
    /// The own read mark that `unread` counts from.
    pub read: Seq,
    pub preview_own: bool,
    pub preview: Vec<u8>,
}

/// An edit or deletion of the message at some place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// Its own place.
    pub by: Seq,
    pub delete: bool,
    /// An edit's text, if it is here.
    pub body: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    pub queue: Queue,
    /// Highest number of the current outbox given out.
    pub given_out: Seq,
    /// Places that are known in this epoch: their entry came, or an answered page covers them.
    pub ranges: Ranges,
    pub history: BTreeMap<Seq, Message>,
    /// Changes of places that are not in `history`.
    pub overlays: BTreeMap<Seq, Overlay>,
    /// Messages whose present text another own device wrote, and which is not here.
    pub missing: BTreeSet<Seq>,
    /// Newest place whose entry came in the inbox since it was last continuous; 0: none.
    pub streamed: Seq,
    /// Entries were skipped, all behind this place.
    pub skipped_from: Option<Seq>,
    /// All that was before the oldest entry of this epoch is known from the server's heading, or
    /// there was nothing.
    pub listed: bool,
    pub heading: Heading,
    /// Own read mark, as the server has it.
    pub read: Seq,
    /// Own read mark, as this device wants it, and the journal mark of that wish.
    pub read_wanted: Seq,
    pub read_wanted_mark: u64,
    /// The peer's marks; delivered for each of its devices, highest first.
    pub peer_read: Seq,
    pub peer_delivered: Vec<Seq>,
    pub settings: ConvSettings,
}

impl Conversation {
    /// Newest place that is known to exist.
    pub fn head(&self) -> Seq {
        self.heading.head.max(self.streamed)
    }

    /// Place of the last edit of the message at `seq`, as far as known here; 0: none.
    pub fn edited_by(&self, seq: Seq) -> Seq {
        self.history.get(&seq).map_or(0, |message| message.edited_by)
    }

    /// Own read mark, wished or there.
    pub fn own_read(&self) -> Seq {
        self.read.max(self.read_wanted)
    }

    /// Another history begins: places may hold other messages now, marks may be lower.
    pub fn forget_places(&mut self) {
        self.ranges.clear();
        self.overlays.clear();
        self.heading = Heading::default();
        (self.streamed, self.skipped_from, self.listed) = (0, Some(0), false);
        (self.read, self.read_wanted, self.peer_read) = (0, 0, 0);
        self.peer_delivered.clear();
        self.settings = ConvSettings::default();
    }

    /// Puts a message at its place. What is known to have become of the same message stays.
    pub fn put(&mut self, seq: Seq, mut message: Message) {
        if let Some(had) = self.history.get(&seq)
            && (had.kind, had.hash) == (message.kind, message.hash)
        {
            message.deleted = had.deleted;
            if had.edited_by > 0 {
                (message.edited_by, message.body) = (had.edited_by, had.body.clone());
            }
        }
        if message.deleted {
            message.body = None;
        }
        self.history.insert(seq, message);
        if let Some(overlay) = self.overlays.remove(&seq) {
            self.change(seq, overlay);
        }
        self.miss(seq);
    }

    /// The message at `target` was changed: a deletion wins, otherwise the newest edit.
    pub fn change(&mut self, target: Seq, overlay: Overlay) {
        let Some(message) = self.history.get_mut(&target) else {
            let had = self.overlays.get(&target);
            let older = |had: &Overlay| had.delete || !overlay.delete && had.by > overlay.by;
            if !had.is_some_and(older) {
                self.overlays.insert(target, overlay);
            }
            return;
        };
        if message.deleted || !message.kind.is_message() {
            return;
        }
        if overlay.delete {
            (message.deleted, message.body, message.edited_by) = (true, None, 0);
        } else if overlay.by > message.edited_by {
            (message.edited_by, message.body) = (overlay.by, overlay.body);
        } else if overlay.by == message.edited_by && message.body.is_none() {
            message.body = overlay.body;
        }
        self.miss(target);
    }

    /// The user deleted these places for themselves.
    pub fn hide(&mut self, first: Seq, last: Seq) {
        for (_, message) in self.history.range_mut(first..=last) {
            (message.kind, message.body) = (Kind::Hidden, None);
            (message.edited_by, message.deleted) = (0, false);
        }
        self.missing.retain(|seq| !(first..=last).contains(seq));
    }

    /// The peer's marks: they only grow.
    pub fn receipt(&mut self, read: Seq, delivered: impl Iterator<Item = Seq>) {
        self.peer_read = self.peer_read.max(read);
        for (index, delivered) in delivered.enumerate() {
            match self.peer_delivered.get_mut(index) {
                Some(had) => *had = delivered.max(*had),
                None => self.peer_delivered.push(delivered),
            }
        }
    }

    /// Notes whether the text of the message at `seq` is still to be fetched.
    fn miss(&mut self, seq: Seq) {
        let lacks = self.history.get(&seq).is_some_and(|message| {
            message.kind.is_message() && message.body.is_none() && !message.deleted
        });
        if lacks {
            self.missing.insert(seq);
        } else {
            self.missing.remove(&seq);
        }
    }

    /// Messages of the peer above the own read mark: counted where all places are known,
    /// otherwise from what the server counted.
    pub fn unread(&self) -> u64 {
        let (read, head) = (self.own_read(), self.head());
        if read >= head {
            return 0;
        }
        let peers = |above: Seq| {
            let messages = self.history.range((Excluded(above), Unbounded));
            messages.filter(|(_, message)| message.kind == Kind::Peer).count() as u64
        };
        if self.ranges.covers(read + 1, head) {
            return peers(read);
        }
        let Heading { head: counted_to, unread, read: counted_from, .. } = self.heading;
        let before = match read {
            _ if read >= counted_to => 0,
            _ if read > counted_from => unread.min(counted_to - read),
            _ => unread,
        };
        before + peers(read.max(counted_to))
    }
}
