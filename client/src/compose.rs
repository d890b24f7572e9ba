//! What the user writes: messages, edits, deletions, and giving up.

use wire::{Change, Conv, Seq};

use crate::conversation::Kind;
use crate::entry::Entry;
use crate::{Client, ClientEvent, ComposeError, SendId};

impl Client {
    /// Queues a message. It goes out after its commit, by itself, also after a crash.
    pub fn compose(&mut self, conv: Conv, body: &[u8]) -> Result<SendId, ComposeError> {
        self.queue_send(conv, body, None)
    }

    /// Queues an edit of the user's own message at the place `target`: a send like any other. The
    /// server takes it only within its time; if not, it is given up by itself.
    pub fn edit(&mut self, conv: Conv, target: Seq, body: &[u8]) -> Result<SendId, ComposeError> {
        self.check_target(conv, target)?;
        self.queue_send(conv, body, Some(Change { target, delete: false }))
    }

    /// Queues the deletion for everyone of the user's own message at the place `target`; otherwise
    /// like `edit`.
    pub fn delete(&mut self, conv: Conv, target: Seq) -> Result<SendId, ComposeError> {
        self.check_target(conv, target)?;
        self.queue_send(conv, b"", Some(Change { target, delete: true }))
    }

    /// Gives a send up under its number. `false`: it is settled already. What becomes of it,
    /// `GivenUp` or still `Sent`, is told when it is settled.
    pub fn give_up(&mut self, id: SendId) -> bool {
        let Some(send) = self.state.pending(id) else { return false };
        if !send.void {
            self.record(&Entry::GaveUp { id });
        }
        true
    }

    fn queue_send(
        &mut self,
        conv: Conv,
        body: &[u8],
        change: Option<Change>,
    ) -> Result<SendId, ComposeError> {
        let Conv::Direct(peer) = conv;
        self.check_peer(peer)?;
        let limit = self.body_bytes_max();
        if body.is_empty() && !change.is_some_and(|change| change.delete) {
            return Err(ComposeError::Empty);
        }
        if body.len() > limit {
            return Err(ComposeError::TooBig { bytes: body.len(), limit });
        }
        let id = SendId { conv, serial: self.state.serial + 1 };
        let given_out = self.state.conversations.get(&conv).map_or(0, |found| found.given_out);
        let (outbox, n) = (self.state.outbox, given_out + 1);
        self.record(&Entry::Composed { id, outbox, n, void: false, change, body });
        self.tell(ClientEvent::Queued { id });
        Ok(id)
    }

    /// Nobody, or oneself, is no peer.
    pub(crate) fn check_peer(&self, peer: u64) -> Result<(), ComposeError> {
        let own = self.state.identity.is_some_and(|(user, _)| user.get() == peer);
        match peer == 0 || own {
            true => Err(ComposeError::BadRecipient(peer)),
            false => Ok(()),
        }
    }

    /// Only one's own message that is not deleted is changed; what is not here the server judges.
    fn check_target(&self, conv: Conv, target: Seq) -> Result<(), ComposeError> {
        let found = self.state.conversations.get(&conv);
        let there = found.is_some_and(|found| (1..=found.head()).contains(&target));
        let had = found.and_then(|found| found.history.get(&target));
        let own = had.is_none_or(|had| had.kind == Kind::Own && !had.deleted);
        if there && own { Ok(()) } else { Err(ComposeError::BadTarget(target)) }
    }
}
