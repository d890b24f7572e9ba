//! Edits and deletes for everyone: messages of their own that name an earlier one. The owner
//! takes them only from who wrote that message, while its window is open.

use crate::loads::Pending;
use crate::shard::Shard;
use crate::work::Work;
use crate::{Ask, Content, CoreIndex, SendRequest};
use persistence::{ConvKey, Page, Record, StoredMessage};
use wire::{BodyHash, Change, OutboxId, Seq, UserId};

/// What the judgement of a change needs of its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    sender: UserId,
    time_us: u64,
    /// A message: neither given up nor a change itself.
    plain: bool,
}

impl From<StoredMessage> for Target {
    fn from(stored: StoredMessage) -> Target {
        Target {
            sender: stored.sender,
            time_us: stored.time_us,
            plain: !stored.void && stored.change.is_none(),
        }
    }
}

/// Sends of a conversation that wait for a target which only the store has.
#[derive(Default)]
pub(crate) struct Targets {
    /// In order: changes, and what their outboxes sent after them.
    waiting: Vec<(CoreIndex, Box<SendRequest>)>,
    /// The target that the store gave last; `None`: it has none there.
    found: Option<(Seq, Option<Target>)>,
}

impl Targets {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A change of this outbox waits.
    fn holds(&self, user: UserId, outbox: OutboxId) -> bool {
        self.waiting.iter().any(|(_, r)| r.sender == user && r.outbox == outbox)
    }
}

/// What a look at a change's target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Allowed,
    Refused,
    /// The store must be asked.
    Unknown(Seq),
}

impl Shard {
    /// Whether this send may get its place, as far as it changes an earlier message.
    pub(crate) fn judge_change(&mut self, request: &SendRequest) -> Judged {
        let Content::Change(change, _) = &request.content else { return Judged::Allowed };
        let limits = &self.config.limits;
        let window_ms = if change.delete { limits.delete_window_ms } else { limits.edit_window_ms };
        let conv = self.convs.ready(request.conv);
        if change.target == 0 || change.target > conv.recent.head() {
            return Judged::Refused;
        }
        let target = match (conv.recent.position(change.target), conv.targets.found) {
            (Some(at), _) if at >= self.log.start_of_tail() => {
                let Record::Message(m) = self.log.read(at) else {
                    unreachable!("a message stands there")
                };
                let plain = m.void.is_none() && m.change.is_none();
                Some(Target { sender: m.sender, time_us: m.time_us, plain })
            }
            (_, Some((seq, found))) if seq == change.target => found,
            _ => return Judged::Unknown(change.target),
        };
        let now_us = self.now.unix_us.max(self.time_us);
        let may = target.is_some_and(|target| {
            target.sender == request.sender
                && target.plain
                && now_us.saturating_sub(target.time_us) <= window_ms * 1_000
        });
        if may { Judged::Allowed } else { Judged::Refused }
    }

    /// Sends of an outbox stay in order: none passes a change that waits for its target.
    pub(crate) fn waits_for_change(&mut self, request: &SendRequest) -> bool {
        let targets = &self.convs.ready(request.conv).targets;
        !targets.is_empty() && targets.holds(request.sender, request.outbox)
    }

    /// Lets a send wait until the store has given the conversation's target.
    pub(crate) fn await_target(
        &mut self,
        from: CoreIndex,
        request: Box<SendRequest>,
        target: Option<Seq>,
    ) {
        if self.waiting >= self.config.limits.waiting_max {
            return self.give_up(Work::Sequence { from, request });
        }
        self.waiting += 1;
        let conv = request.conv;
        let targets = &mut self.convs.ready(conv).targets;
        let first = targets.is_empty();
        targets.waiting.push((from, request));
        if let Some(target) = target.filter(|_| first) {
            // The store may have later changes of the target: only who wrote it counts.
            let page = Page::Messages { conv, from: target, newer: true, limit: 1, bytes_max: 1 };
            self.ask(Ask::Page(page), Pending::Target(conv, target));
        }
    }

    /// The store gave the target, or (`None`) did not answer.
    pub(crate) fn target_read(
        &mut self,
        conv: ConvKey,
        target: Seq,
        messages: Option<Vec<StoredMessage>>,
    ) {
        let targets = &mut self.convs.ready(conv).targets;
        let waiting = std::mem::take(&mut targets.waiting);
        let answered = messages.is_some();
        let found = messages.into_iter().flatten().find(|stored| stored.conv_seq == target);
        targets.found = answered.then(|| (target, found.map(Target::from)));
        for (from, request) in waiting {
            self.waiting -= 1;
            let work = Work::Sequence { from, request };
            if answered { self.work(work) } else { self.give_up(work) }
        }
    }
}

/// Body of a send, and the hash of what it gives up.
pub(crate) fn parts_of(content: &Content) -> (&[u8], Option<BodyHash>) {
    match content {
        Content::Body(body) | Content::Change(_, body) => (body, None),
        Content::Void(hash) => (&[], Some(*hash)),
    }
}

/// What a send does to an earlier message.
pub(crate) fn change_of(content: &Content) -> Option<Change> {
    match content {
        Content::Change(change, _) => Some(*change),
        Content::Body(_) | Content::Void(_) => None,
    }
}
