//! A page of a conversation, at its owner: what the log's tail holds, and below it the store's.
//!
//! Nothing undurable stands on it (R1). It is the conversation as of the moment when the store is
//! asked: everything durable then is in the store or in the tail, and what the page needs of the
//! tail is taken at that moment, since the log may let go of it before the store answers.

use crate::conversation::Conversation;
use crate::loads::Pending;
use crate::relay::{PageAnswer, PageRequest, Places};
use crate::shard::Shard;
use crate::{Ask, AskId, CoreIndex, Relay};
use bytes::Bytes;
use persistence::{Log, MessageRecord, Page, Paged, Position, Record, StoredMessage};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use wire::Seq;

/// A page that waits for the store.
pub(crate) struct PageUnderWay {
    from: CoreIndex,
    request: Box<PageRequest>,
    /// All that the page may cover.
    wanted: RangeInclusive<Seq>,
    /// The part that the store was asked for, if it was.
    stored: Option<RangeInclusive<Seq>>,
    /// Places of the tail, in the page's direction.
    tail: Vec<StoredMessage>,
    changes: Changes,
}

/// What the tail says about earlier messages: by place, the newest change, a delete before all.
type Changes = BTreeMap<Seq, TailChange>;

struct TailChange {
    by: Seq,
    delete: bool,
    /// The new text.
    body: Bytes,
}

impl Shard {
    /// A request for places, with their conversation loaded.
    pub(crate) fn page(&mut self, from: CoreIndex, request: Box<PageRequest>) {
        let conv = self.convs.ready(request.conv);
        conv.forget_before(self.log.start_of_tail());
        let upto = conv.recent.durable(self.log.durable()).min(request.upto);
        let Some(wanted) = wanted(&request, upto) else {
            let places = Places { upto, ..Places::nothing() };
            return self.answer_page(from, &request, Some(places));
        };
        let changes = conv.changes_of(&self.log, &wanted);
        let first = conv.recent.first();
        let (tail, cut) = conv.tail_page(&self.log, &wanted, &request);
        let stored = *wanted.start()..=(*wanted.end()).min(first - 1);
        let ask = !stored.is_empty() && (request.newer || !cut);
        let stored_too = ask.then(|| stored.clone());
        let page = PageUnderWay { from, request, wanted, stored: stored_too, tail, changes };
        if !ask {
            return self.page_done(page, Vec::new(), upto);
        }
        if self.pages.len() >= self.config.limits.pages_max as usize {
            return self.answer_page(page.from, &page.request, None);
        }
        let left = page.bytes_left();
        let PageRequest { conv, newer, .. } = *page.request;
        let first = if newer { *stored.start() } else { *stored.end() };
        let limit = (stored.end() - stored.start() + 1) as u32;
        let ask = Page::Messages { conv, from: first, newer, limit, bytes_max: left };
        let id = self.ask(Ask::Page(ask), Pending::Places(upto));
        self.pages.insert(id, page);
    }

    /// The store answered a request for places, or (`None`) did not.
    pub(crate) fn page_read(&mut self, id: AskId, upto: Seq, paged: Option<Paged>) {
        let Some(page) = self.pages.remove(&id) else { return };
        match paged {
            Some(Paged::Messages(rows)) => self.page_done(page, rows, upto),
            _ => {
                self.stats.loads_failed += 1;
                self.answer_page(page.from, &page.request, None);
            }
        }
    }

    /// Joins what the store has with the tail.
    fn page_done(&mut self, mut page: PageUnderWay, mut rows: Vec<StoredMessage>, upto: Seq) {
        let newer = page.request.newer;
        let (low, high) = (*page.wanted.start(), *page.wanted.end());
        // Where places are missing, the store goes on behind the range.
        let beyond =
            |row: &StoredMessage| page.stored.as_ref().is_none_or(|s| !s.contains(&row.conv_seq));
        let past = rows.iter().any(beyond);
        let whole = page.stored.is_some() && (past || !full(&rows, page.bytes_left()));
        rows.retain(|row| !beyond(row));
        let last_row = rows.last().map(|row| row.conv_seq);
        let (first, last, mut found) = match newer {
            false => {
                let mut found = std::mem::take(&mut page.tail);
                found.extend(rows);
                let reached = found.last().map_or(high, |item| item.conv_seq);
                (high, if whole { low } else { reached }, found)
            }
            true if page.stored.is_none() || whole => {
                let mut left = i64::from(page.request.bytes_max) - bytes_of(&rows);
                let mut found = rows;
                let mut last = page.stored.as_ref().map_or(low - 1, |stored| *stored.end());
                for item in std::mem::take(&mut page.tail) {
                    if left < 0 {
                        break;
                    }
                    left -= item.body.len() as i64;
                    last = item.conv_seq;
                    found.push(item);
                }
                (low, last, found)
            }
            true => (low, last_row.unwrap_or(low), rows),
        };
        found.iter_mut().for_each(|item| apply(item, &page.changes));
        let places = Places { upto, first, last, found };
        self.answer_page(page.from, &page.request, Some(places));
    }

    /// Answers the reader's home.
    pub(crate) fn answer_page(
        &mut self,
        from: CoreIndex,
        request: &PageRequest,
        places: Option<Places>,
    ) {
        self.reply(from, Relay::PageAnswer(Box::new(PageAnswer::to(request, places))));
    }
}

/// The places that a page may cover, if there are any.
fn wanted(request: &PageRequest, upto: Seq) -> Option<RangeInclusive<Seq>> {
    let more = u64::from(request.limit) - 1;
    let range = match request.newer {
        true => request.from..=upto.min(request.from.saturating_add(more)),
        false => {
            let high = upto.min(request.from);
            high.saturating_sub(more).max(1)..=high
        }
    };
    (!range.is_empty()).then_some(range)
}

fn bytes_of(items: &[StoredMessage]) -> i64 {
    items.iter().map(|item| item.body.len() as i64).sum()
}

/// Whether the store stopped because of the bytes.
fn full(rows: &[StoredMessage], bytes_max: u32) -> bool {
    bytes_of(rows) > i64::from(bytes_max)
}

impl PageUnderWay {
    /// What the store may still add. Towards newer places it comes first.
    fn bytes_left(&self) -> u32 {
        let tail = if self.request.newer { 0 } else { bytes_of(&self.tail) as u32 };
        self.request.bytes_max.saturating_sub(tail)
    }
}

impl Conversation {
    /// Places of the tail within `wanted`, in the page's direction, and whether the bytes cut it.
    fn tail_page(
        &self,
        log: &Log,
        wanted: &RangeInclusive<Seq>,
        request: &PageRequest,
    ) -> (Vec<StoredMessage>, bool) {
        let low = self.recent.first().max(*wanted.start());
        let (mut items, mut bytes) = (Vec::new(), 0);
        let mut range = low..=*wanted.end();
        while let Some(seq) = if request.newer { range.next() } else { range.next_back() } {
            if bytes > request.bytes_max as usize {
                return (items, true);
            }
            let at = self.recent.position(seq).expect("of the tail");
            let item = stored(&message(log, at));
            bytes += item.body.len();
            items.push(item);
        }
        (items, bytes > request.bytes_max as usize)
    }

    /// Durable changes of the tail that concern places within `wanted`, and all its deletes: the
    /// text of an edit goes when its target does.
    fn changes_of(&self, log: &Log, wanted: &RangeInclusive<Seq>) -> Changes {
        let mut newest: BTreeMap<Seq, (Seq, bool)> = BTreeMap::new();
        let durable = self.recent.durable(log.durable());
        for &(by, change) in self.changes.iter().filter(|(by, _)| *by <= durable) {
            if !change.delete && !wanted.contains(&change.target) {
                continue;
            }
            let entry = newest.entry(change.target).or_insert((by, change.delete));
            if !entry.1 {
                *entry = (by, change.delete);
            }
        }
        let text = |(target, (by, delete))| {
            let at = self.recent.position(by).expect("of the tail");
            let body = match delete {
                true => Bytes::new(),
                false => Bytes::copy_from_slice(message(log, at).body),
            };
            (target, TailChange { by, delete, body })
        };
        newest.into_iter().map(text).collect()
    }
}

/// The message at a position.
fn message(log: &Log, at: Position) -> MessageRecord<'_> {
    match log.read(at) {
        Record::Message(record) => record,
        _ => unreachable!("a message stands there"),
    }
}

/// A message of the log as the store would give it.
fn stored(record: &MessageRecord<'_>) -> StoredMessage {
    let hash = record.void.unwrap_or_else(|| wire::content_hash(record.body, record.change));
    StoredMessage {
        conv_seq: record.conv_seq,
        time_us: record.time_us,
        sender: record.sender,
        origin: Some((record.outbox, record.n)),
        hash,
        void: record.void.is_some(),
        change: record.change,
        deleted: false,
        edited_by: 0,
        body: Bytes::copy_from_slice(record.body),
        original: Bytes::new(),
    }
}

/// Applies what the tail says about a message or, for an edit, about its target.
fn apply(item: &mut StoredMessage, changes: &Changes) {
    if let Some(own) = item.change {
        let newest = changes.get(&own.target);
        if newest.is_some_and(|newest| newest.delete || newest.by > item.conv_seq) {
            item.body = Bytes::new();
        }
    }
    let Some(newest) = changes.get(&item.conv_seq) else { return };
    if newest.delete {
        (item.deleted, item.edited_by) = (true, 0);
        (item.body, item.original) = (Bytes::new(), Bytes::new());
    } else if !item.deleted && newest.by > item.edited_by {
        let before = std::mem::replace(&mut item.body, newest.body.clone());
        if item.edited_by == 0 {
            item.original = before;
        }
        item.edited_by = newest.by;
    }
}
