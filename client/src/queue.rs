//! The unsettled sends of one conversation, in the order in which they were composed.
//!
//! **Invariant:** a send under way and a send of another outbox are never in flight together, so
//! moved sends keep their place in the order too.

use std::collections::VecDeque;

use wire::{BodyHash, Change, ClientFrame, Conv, OutboxId, RefusalCode, Send, SendKey, Seq, Void};

use crate::Config;

/// Names a send within its client, for ever, also after it moved to another outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId {
    /// The conversation.
    pub conv: Conv,
    /// Number of the send within the client, ascending over all conversations.
    pub serial: u64,
}

/// A send that is not settled: no own entry and no fresh answer shows what became of it.
#[derive(Clone, Debug)]
pub struct Pending {
    /// `SendId::serial`.
    pub serial: u64,
    /// The outbox that it goes out under.
    pub outbox: OutboxId,
    /// Its number there, in this conversation.
    pub n: Seq,
    /// The message; empty for a deletion.
    pub body: Vec<u8>,
    /// What it changes, if it is no plain message.
    pub change: Option<Change>,
    /// Content hash.
    pub hash: BodyHash,
    /// It is being given up.
    pub void: bool,
    /// Journal mark that must be committed before it goes out.
    pub(crate) mark: u64,
    /// What became of it on this attach.
    pub(crate) attempt: Attempt,
}

/// What became of a send on this attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Nothing yet.
    Unsent,
    /// A frame is unanswered. There is never more than one.
    InFlight {
        /// The frame is a VOID.
        void: bool,
        /// Nothing of its outbox before it was unsettled when it left.
        lowest: bool,
        /// When it left.
        since_ms: u64,
    },
    /// Not taken; goes out again once nothing before it is unanswered from an earlier round.
    Again,
    /// Its number is taken, with whatever body: its own entry will tell.
    Known,
    /// Not taken, and trying again is useless.
    Refused(RefusalCode),
}

impl Pending {
    /// Why the server will not take it; it must be given up.
    pub fn refused(&self) -> Option<RefusalCode> {
        match self.attempt {
            Attempt::Refused(code) => Some(code),
            _ => None,
        }
    }
}

/// What decides which sends may leave now.
pub(crate) struct Round<'a> {
    pub now_ms: u64,
    pub committed: u64,
    pub hello_outbox: OutboxId,
    pub config: &'a Config,
}

/// The unsettled sends of one conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub sends: VecDeque<Pending>,
    /// Nothing leaves before this time: a send was refused for the moment.
    pub blocked_until_ms: u64,
}

impl Queue {
    pub fn index_of(&self, outbox: OutboxId, n: Seq) -> Option<usize> {
        self.sends.iter().position(|send| send.outbox == outbox && send.n == n)
    }

    pub fn index_of_serial(&self, serial: u64) -> Option<usize> {
        self.sends.binary_search_by_key(&serial, |send| send.serial).ok()
    }

    /// The attach ended: what was on its way may have arrived or not.
    pub fn detach(&mut self) {
        self.blocked_until_ms = 0;
        for send in &mut self.sends {
            send.attempt = Attempt::Unsent;
        }
    }

    /// When the oldest unanswered frame left.
    pub fn oldest_in_flight_ms(&self) -> Option<u64> {
        let since = self.sends.iter().filter_map(|send| match send.attempt {
            Attempt::InFlight { since_ms, .. } => Some(since_ms),
            _ => None,
        });
        since.min()
    }

    /// Gives every frame that may leave now to `emit`.
    pub fn round(&mut self, conv: Conv, round: &Round<'_>, mut emit: impl FnMut(ClientFrame<'_>)) {
        let Some(outbox) = self.sends.front().map(|send| send.outbox) else { return };
        if self.blocked_until_ms > round.now_ms {
            return;
        }
        let (mut count, mut bytes, mut earlier_unanswered) = (0, 0, false);
        for (index, send) in self.sends.iter_mut().enumerate() {
            if send.outbox != outbox {
                break;
            }
            match send.attempt {
                Attempt::Known => continue,
                Attempt::InFlight { .. } => {
                    (count, bytes) = (count + 1, bytes + send.body.len());
                    earlier_unanswered = true;
                    continue;
                }
                Attempt::Refused(_) => break,
                // Otherwise it could arrive before the one that made it arrive too early.
                Attempt::Again if earlier_unanswered => break,
                Attempt::Again | Attempt::Unsent => {}
            }
            (count, bytes) = (count + 1, bytes + send.body.len());
            let fits = count == 1
                || count <= round.config.in_flight_max && bytes <= round.config.in_flight_bytes_max;
            if send.mark > round.committed || !fits {
                break;
            }
            send.attempt =
                Attempt::InFlight { void: send.void, lowest: index == 0, since_ms: round.now_ms };
            let explicit = (outbox != round.hello_outbox).then_some(outbox);
            let key = SendKey { conv, outbox: explicit, n: send.n };
            emit(match send.void {
                true => ClientFrame::Void(Void { key, hash: send.hash }),
                false => ClientFrame::Send(Send { key, change: send.change, body: &send.body }),
            });
        }
    }
}
