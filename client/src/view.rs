//! What can be seen of a client without changing it.

use wire::{BODY_BYTES_MAX, Conv, DeviceId, OutboxId, Seq, UserId};

use crate::{Client, Message, Pending, Ranges};

impl Client {
    /// The user and device that the journal belongs to, once a server has said so.
    pub fn identity(&self) -> Option<(UserId, DeviceId)> {
        self.state.identity
    }

    /// Longest body in bytes, as the last server said.
    pub fn body_bytes_max(&self) -> usize {
        self.state.body_bytes_max.min(BODY_BYTES_MAX as u64) as usize
    }

    /// Newest inbox entry that is here, and the epoch that it counts in.
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

    /// The messages of a conversation that are here, ascending.
    pub fn history(&self, conv: Conv) -> impl DoubleEndedIterator<Item = (Seq, &Message)> {
        let found = self.state.conversations.get(&conv);
        found
            .into_iter()
            .flat_map(|found| found.history.iter().map(|(&seq, message)| (seq, message)))
    }

    /// The places of a conversation of which this device had the entry.
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

    /// Whether any send is unsettled.
    pub fn has_pending(&self) -> bool {
        !self.state.sending.is_empty()
    }
}
