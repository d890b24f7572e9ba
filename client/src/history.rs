//! Pages of history: what they say of each place, and which ones the client fetches by itself.

use wire::{BodyHash, Conv, Direction, End, HistoryItem, HistoryKind, Seq, content_hash};

use crate::conversation::{Conversation, Kind};
use crate::entry::Entry;
use crate::inbound::{OwnEntry, Place};
use crate::queue::Attempt;
use crate::requests::{Ask, Request};
use crate::{Client, ClientEvent, Fault};

impl Client {
    pub(crate) fn history_item(&mut self, item: &HistoryItem<'_>) -> Result<(), Fault> {
        let Ask::History { conv, .. } = self.requests.ask_of(item.request)? else {
            return Err(Fault::Protocol("HISTORY_ITEM answers another request"));
        };
        let place = Place { conv, conv_seq: item.conv_seq, time_ms: item.time_ms };
        if let Some(name) = item.own {
            let void = item.kind == HistoryKind::Void;
            let (outbox, n, hash) = (name.outbox, name.n, name.hash);
            // What this device sent itself it knows better: its text is here.
            self.own_entry(place, &OwnEntry { outbox, n, hash, void });
        }
        if self.config.keep_history {
            self.keep_item(place, item);
        }
        let (first, last) = (place.conv_seq, place.conv_seq);
        self.record(&Entry::Seen { conv, first, last });
        Ok(())
    }

    fn keep_item(&mut self, place: Place, item: &HistoryItem<'_>) {
        let Place { conv, conv_seq, time_ms } = place;
        let own = item.own.is_some();
        let kind = match item.kind {
            HistoryKind::Message { .. } | HistoryKind::Deleted if own => Kind::Own,
            HistoryKind::Message { .. } | HistoryKind::Deleted => Kind::Peer,
            HistoryKind::Edit { .. } | HistoryKind::Delete { .. } if own => Kind::OwnChange,
            HistoryKind::Edit { .. } | HistoryKind::Delete { .. } => Kind::PeerChange,
            HistoryKind::Void if own => Kind::OwnVoid,
            HistoryKind::Void => Kind::PeerVoid,
            HistoryKind::Hidden => Kind::Hidden,
            HistoryKind::Gap => Kind::Gap,
        };
        let body = match item.kind {
            HistoryKind::Message { body, edited_by: None } => Some(body),
            _ => None,
        };
        let hash = item.own.map(|name| name.hash).or(body.map(|body| content_hash(body, None)));
        let hash = hash.unwrap_or(BodyHash(0));
        let found = self.state.conversations.get(&conv);
        let known = found.is_some_and(|found| found.ranges.contains(conv_seq));
        let had = found.and_then(|found| found.history.get(&conv_seq));
        let lacks = found.is_some_and(|found| found.missing.contains(&conv_seq));
        let hidden = kind == Kind::Hidden && had.is_some_and(|had| had.kind != kind);
        if !known || had.is_none() || lacks || hidden {
            self.record(&Entry::Message { conv, conv_seq, time_ms, kind, hash, body });
        }
        let (target, by, delete, body) = match item.kind {
            HistoryKind::Message { body, edited_by: Some(by) } => {
                (conv_seq, by, false, Some(body))
            }
            HistoryKind::Deleted => (conv_seq, 0, true, None),
            HistoryKind::Edit { target, body } => {
                (target, conv_seq, false, Some(body).filter(|body| !body.is_empty()))
            }
            HistoryKind::Delete { target } => (target, conv_seq, true, None),
            _ => return,
        };
        self.record(&Entry::Changed { conv, target, by, delete, body });
    }

    pub(crate) fn history_end(&mut self, request: &Request, end: &End) {
        let Ask::History { conv, from, direction, .. } = request.ask else { return };
        let (first, last) = match direction {
            // `next` is where the next page starts.
            Direction::Older if from == 0 => (end.next + 1, end.head),
            Direction::Older => (end.next + 1, from.min(end.head)),
            Direction::Newer if end.next == 0 => (from.max(1), end.head),
            Direction::Newer => (from.max(1), end.next - 1),
        };
        if first <= last {
            self.record(&Entry::Seen { conv, first, last });
        }
        if request.own {
            // Whatever the server does not tell now, it is not asked for again on this attach.
            let found = self.state.conversations.get(&conv);
            let lacks = |found: &Conversation| found.missing.range(first..=last).next().is_some();
            if first > last || found.is_some_and(lacks) {
                self.futile.insert(conv);
            }
            self.tell(ClientEvent::Updated { conv: Some(conv) });
        } else {
            let (request, next) = (request.id(), end.next);
            self.tell(ClientEvent::HistoryPage { request, conv, first, last, next });
        }
    }

    /// Asks for what this device lacks: own sends that were skipped, where the server knows the
    /// number of an unsettled one, and what other own devices wrote.
    pub(crate) fn ask_lacking(&mut self) {
        let asks = |open: &Request| open.own && matches!(open.ask, Ask::History { .. });
        if self.overview.is_some() || self.requests.open.iter().any(asks) {
            return;
        }
        let convs = self.state.sending.iter().filter(|conv| !self.futile.contains(conv));
        let skipped = convs.copied().find_map(|conv| Some((conv, self.skipped(conv)?)));
        let lacking = self.state.lacking.iter().filter(|conv| !self.futile.contains(conv));
        let lacking = lacking.copied().find_map(|conv| {
            let missing = &self.state.conversations.get(&conv)?.missing;
            Some((conv, *missing.last()?))
        });
        if let Some((conv, from)) = skipped.or(lacking) {
            let (direction, limit) = (Direction::Older, wire::HISTORY_LIMIT_MAX);
            self.requests.push(Ask::History { conv, from, direction, limit }, true);
        }
    }

    /// The newest place that may hold an unsettled send whose number is taken.
    fn skipped(&self, conv: Conv) -> Option<Seq> {
        let found = self.state.conversations.get(&conv)?;
        let hole = found.ranges.highest_hole(found.head())?;
        let known = found.queue.sends.iter().any(|send| send.attempt == Attempt::Known);
        known.then_some(hole)
    }
}
