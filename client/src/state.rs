//! Everything durable about a client. It changes only by applying journal entries, live and when a
//! journal is read, so both always agree.

use std::collections::{BTreeMap, BTreeSet};

use wire::{BodyHash, Conv, DeviceId, OutboxId, Seq, UserId, body_hash, outbox_of_moved};

use crate::journal::Entry;
use crate::queue::{Attempt, Pending, Queue};
use crate::{Ranges, SendId};

/// Whose an inbox entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The peer's message.
    Peer,
    /// A message of one of the user's own devices.
    Own,
    /// One of the user's own devices gave a message up here: nothing to see.
    OwnVoid,
}

/// A message of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Whose it is.
    pub kind: Kind,
    /// Hash of the body.
    pub hash: BodyHash,
    /// The body; `None` where another own device sent it, or where it was given up.
    pub body: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    pub queue: Queue,
    /// Highest number of the current outbox given out.
    pub given_out: Seq,
    /// Places of which this device had the entry, in this epoch.
    pub ranges: Ranges,
    pub history: BTreeMap<Seq, Message>,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Whose journal this is, once a server has said so.
    pub identity: Option<(UserId, DeviceId)>,
    /// Longest body, in bytes, as the last server said.
    pub body_bytes_max: u64,
    /// Where new messages go.
    pub outbox: OutboxId,
    /// Serial of the newest send.
    pub serial: u64,
    /// Epoch of the inbox; 0 for none yet.
    pub epoch: u64,
    /// Newest inbox entry that is here.
    pub position: Seq,
    pub conversations: BTreeMap<Conv, Conversation>,
    /// Conversations with unsettled sends.
    pub sending: BTreeSet<Conv>,
}

/// An entry that does not fit what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

impl State {
    pub fn new() -> State {
        State {
            identity: None,
            body_bytes_max: wire::BODY_BYTES_MAX as u64,
            outbox: OutboxId(0),
            serial: 0,
            epoch: 0,
            position: 0,
            conversations: BTreeMap::new(),
            sending: BTreeSet::new(),
        }
    }

    pub fn pending(&self, id: SendId) -> Option<&Pending> {
        let queue = &self.conversations.get(&id.conv)?.queue;
        queue.sends.get(queue.index_of_serial(id.serial)?)
    }

    /// Applies one entry. `mark`: the journal mark that the entry gets.
    pub fn apply(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        match *entry {
            Entry::Identity { user, device, body_bytes_max } => {
                self.identity = Some((user, device));
                self.body_bytes_max = body_bytes_max;
            }
            Entry::Outbox { outbox } => {
                self.outbox = outbox;
                for conversation in self.conversations.values_mut() {
                    conversation.given_out = 0;
                }
            }
            Entry::Inbox { epoch, position } => {
                if epoch != self.epoch {
                    // Another history: places may hold other messages now.
                    for conversation in self.conversations.values_mut() {
                        conversation.ranges.clear();
                    }
                }
                (self.epoch, self.position) = (epoch, position);
            }
            Entry::Position { position } => self.position = position,
            Entry::Serial { serial } => self.serial = serial,
            Entry::GivenOut { conv, n } => self.conversation(conv).given_out = n,
            Entry::Seen { conv, first, last } => {
                if first > last {
                    return Err(Misfit);
                }
                self.conversation(conv).ranges.insert(first, last);
            }
            Entry::Message { conv, conv_seq, time_ms, kind, hash, body } => {
                let message = Message { time_ms, kind, hash, body: body.map(<[u8]>::to_vec) };
                self.conversation(conv).history.insert(conv_seq, message);
            }
            Entry::Composed { .. } => return self.apply_composed(entry, mark),
            Entry::GaveUp { id } => {
                let send = self.unsettled(id)?;
                (send.void, send.mark) = (true, mark);
                if matches!(send.attempt, Attempt::Refused(_)) {
                    send.attempt = Attempt::Unsent;
                }
            }
            Entry::Moved { id } => {
                let send = self.unsettled(id)?;
                send.outbox = outbox_of_moved(send.outbox, send.n, send.hash);
                (send.n, send.mark, send.attempt) = (1, mark, Attempt::Unsent);
            }
            Entry::Settled { id } => {
                self.unsettled(id)?;
                let queue = &mut self.conversation(id.conv).queue;
                let index = queue.index_of_serial(id.serial).ok_or(Misfit)?;
                queue.sends.remove(index);
                if queue.sends.is_empty() {
                    self.sending.remove(&id.conv);
                }
            }
        }
        Ok(())
    }

    fn apply_composed(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        let Entry::Composed { id, outbox, n, void, body } = *entry else { return Err(Misfit) };
        let current = self.outbox == outbox;
        let conversation = self.conversation(id.conv);
        let ascending = conversation.queue.sends.back().is_none_or(|last| last.serial < id.serial);
        if !ascending {
            return Err(Misfit);
        }
        if current {
            conversation.given_out = conversation.given_out.max(n);
        }
        conversation.queue.sends.push_back(Pending {
            serial: id.serial,
            outbox,
            n,
            hash: body_hash(body),
            body: body.to_vec(),
            void,
            mark,
            attempt: Attempt::Unsent,
        });
        self.serial = self.serial.max(id.serial);
        self.sending.insert(id.conv);
        Ok(())
    }

    fn conversation(&mut self, conv: Conv) -> &mut Conversation {
        self.conversations.entry(conv).or_default()
    }

    fn unsettled(&mut self, id: SendId) -> Result<&mut Pending, Misfit> {
        let queue = &mut self.conversations.get_mut(&id.conv).ok_or(Misfit)?.queue;
        let index = queue.index_of_serial(id.serial).ok_or(Misfit)?;
        Ok(&mut queue.sends[index])
    }

    /// The entries that make an empty state into this one.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = vec![Entry::Outbox { outbox: self.outbox }];
        if let Some((user, device)) = self.identity {
            entries.push(Entry::Identity { user, device, body_bytes_max: self.body_bytes_max });
        }
        entries.push(Entry::Inbox { epoch: self.epoch, position: self.position });
        for (&conv, conversation) in &self.conversations {
            let ranges = conversation.ranges.iter();
            entries.extend(ranges.map(|(first, last)| Entry::Seen { conv, first, last }));
            for (&conv_seq, message) in &conversation.history {
                let &Message { time_ms, kind, hash, ref body } = message;
                let body = body.as_deref();
                entries.push(Entry::Message { conv, conv_seq, time_ms, kind, hash, body });
            }
            for send in &conversation.queue.sends {
                let id = SendId { conv, serial: send.serial };
                let &Pending { outbox, n, void, ref body, .. } = send;
                entries.push(Entry::Composed { id, outbox, n, void, body });
            }
            if conversation.given_out > 0 {
                entries.push(Entry::GivenOut { conv, n: conversation.given_out });
            }
        }
        entries.push(Entry::Serial { serial: self.serial });
        entries
    }
}
