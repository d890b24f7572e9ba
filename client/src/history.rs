//! Pages of history: what they say of each place, and which ones the client fetches by itself.

use wire::{BodyHash, Conv, Direction, End, HistoryItem, HistoryKind, Seq, content_hash};

use crate::conversation::Kind;
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
            HistoryKind::Message { body, edited_by: Some(by) } => (conv_seq, by, false, Some(body)),
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
            let searches = direction == Direction::Newer;
            // Whatever the server does not tell now, it is not asked for again on this attach.
            if searches && end.next > 0 && self.state.sending.contains(&conv) {
                self.ask_history(conv, end.next, direction);
            } else if searches || first > last {
                self.in_vain(conv, direction);
            } else {
                self.texts_in_vain(conv, first, last, end.head);
            }
            self.tell(ClientEvent::Updated { conv: Some(conv) });
        } else {
            let (request, next) = (request.id(), end.next);
            self.tell(ClientEvent::HistoryPage { request, conv, first, last, next });
        }
    }

    /// What the client itself asked for does not come on this attach.
    pub(crate) fn in_vain(&mut self, conv: Conv, direction: Direction) {
        match direction {
            Direction::Newer => drop(self.searched.insert(conv)),
            Direction::Older => self.texts_in_vain(conv, 0, Seq::MAX, Seq::MAX),
        }
    }

    /// The texts that are still missing in these places do not come on this attach, unless an edit
    /// above the page's head came while the page was under way, or a later one comes.
    fn texts_in_vain(&mut self, conv: Conv, first: Seq, last: Seq, head: Seq) {
        let Some(found) = self.state.conversations.get(&conv) else { return };
        let missing = found.missing.range(first..=last).map(|&seq| (seq, found.edited_by(seq)));
        let told = missing.filter(|&(_, edited_by)| edited_by <= head);
        self.futile.extend(told.map(|(seq, edited_by)| ((conv, seq), edited_by)));
    }

    fn ask_history(&mut self, conv: Conv, from: Seq, direction: Direction) {
        let limit = wire::HISTORY_LIMIT_MAX;
        self.requests.push(Ask::History { conv, from, direction, limit }, true);
    }

    /// Asks for what this device lacks: the entry of an own send that was skipped, though the
    /// server knows its number, and what other own devices wrote.
    pub(crate) fn ask_lacking(&mut self) {
        let asks = |open: &Request| open.own && matches!(open.ask, Ask::History { .. });
        if self.overview.is_some() || self.requests.open.iter().any(asks) {
            return;
        }
        let skipped = self.state.sending.iter().filter(|conv| !self.searched.contains(conv));
        let skipped = skipped.copied().find_map(|conv| Some((conv, self.skipped(conv)?)));
        if let Some((conv, from)) = skipped {
            // In the order of the places: a body that moved lies behind what made it move.
            return self.ask_history(conv, from, Direction::Newer);
        }
        let lacking = self.state.lacking.iter().find_map(|&conv| {
            let found = self.state.conversations.get(&conv)?;
            let futile = |seq| self.futile.get(&(conv, seq)) == Some(&found.edited_by(seq));
            Some((conv, found.missing.iter().copied().rev().find(|&seq| !futile(seq))?))
        });
        if let Some((conv, from)) = lacking {
            self.ask_history(conv, from, Direction::Older);
        }
    }

    /// The first place that may hold an unsettled send whose number is taken, and whose entry the
    /// inbox did not bring.
    fn skipped(&self, conv: Conv) -> Option<Seq> {
        let found = self.state.conversations.get(&conv)?;
        let from = found.skipped_from?.saturating_add(1);
        let all_came = self.connection.caught_up && !self.is_behind();
        let known = || found.queue.sends.iter().any(|send| send.attempt == Attempt::Known);
        (all_came && known()).then_some(from)
    }
}
