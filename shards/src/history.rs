//! Pages at a reader's home: HISTORY, and what its answers have in common with CHATS and CHAT.
//!
//! A session's pages are made one after the other. Each goes to the conversation's owner for its
//! places; here everything above what this home took is left out, and hidden places lose what
//! they say. A page ends where the session's output is full; `next` says where to go on.

use crate::member::Member;
use crate::relay::{PageAnswer, PageRequest, Places};
use crate::session::Session;
use crate::shard::Shard;
use crate::snapshot::Heads;
use crate::work::Work;
use crate::{ConnId, CoreIndex, Relay};
use persistence::{ConvKey, StoredMessage};
use std::collections::VecDeque;
use wire::{
    Chat, Chats, Conv, Direction, End, History, HistoryItem, HistoryKind, OutboxId, OwnName,
    RefusalCode, Seq, ServerFrame, UserId,
};

/// Bodies of a page of history, in bytes.
const PAGE_BYTES: u32 = 64 * 1024;

/// A request for a page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageAsk {
    History(History),
    Chats(Chats),
    Chat(Chat),
}

/// Pages of a session: the one under way, and those that wait for it.
#[derive(Default)]
pub(crate) struct Pages {
    under_way: Option<Box<Paging>>,
    waiting: VecDeque<PageAsk>,
}

/// A page under way.
pub(crate) enum Paging {
    History { ask: History, conv: ConvKey },
    Heads(Heads),
}

impl PageAsk {
    fn request(&self) -> u64 {
        match self {
            PageAsk::History(ask) => ask.request,
            PageAsk::Chats(ask) => ask.request,
            PageAsk::Chat(ask) => ask.request,
        }
    }
}

impl Pages {
    pub fn heads(&mut self) -> Option<&mut Heads> {
        match self.under_way.as_deref_mut() {
            Some(Paging::Heads(heads)) => Some(heads),
            _ => None,
        }
    }
}

impl Shard {
    /// HISTORY, CHATS, CHAT.
    pub(crate) fn ask_page(&mut self, conn: ConnId, ask: PageAsk) {
        let limits = &self.config.limits;
        let (burst, every_ms, now_us) = (limits.page_burst, limits.page_ms, self.now.mono_us);
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let user = self.users.ready(session.user);
        if let Err(after_ms) = user.pages.take(now_us, burst, every_ms) {
            return self.refuse_request(conn, ask.request(), RefusalCode::Quota, after_ms);
        }
        session.asking += 1;
        session.pages.waiting.push_back(ask);
        if session.pages.under_way.is_none() {
            self.next_page(conn);
        }
    }

    /// Begins the session's next page.
    fn next_page(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        session.pages.under_way = None;
        let Some(ask) = session.pages.waiting.pop_front() else { return };
        let id = session.user;
        let key = |Conv::Direct(peer)| UserId::new(peer).and_then(|peer| ConvKey::new(id, peer));
        let paging = match ask {
            PageAsk::History(ask) => key(ask.conv).map(|conv| Paging::History { ask, conv }),
            PageAsk::Chat(ask) => key(ask.conv).map(|conv| Paging::Heads(Heads::one(&ask, conv))),
            PageAsk::Chats(ask) => Some(Paging::Heads(Heads::many(&ask))),
        };
        let Some(paging) = paging else {
            self.refuse_request(conn, ask.request(), RefusalCode::BadRecipient, 0);
            return self.page_over(conn);
        };
        session.pages.under_way = Some(Box::new(paging));
        match ask {
            PageAsk::Chats(_) => self.list_chats(conn),
            _ => self.work(Work::Page(conn)),
        }
    }

    /// The page has its answer.
    pub(crate) fn page_over(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        session.asking -= 1;
        self.next_page(conn);
    }

    /// The store does not answer, or there is no room to wait for it.
    pub(crate) fn page_given_up(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let request = match session.pages.under_way.as_deref() {
            Some(Paging::History { ask, .. }) => ask.request,
            Some(Paging::Heads(heads)) => heads.request,
            None => return,
        };
        let retry_after_ms = self.config.limits.retry_after_ms;
        self.refuse_request(conn, request, RefusalCode::RetryAfter, retry_after_ms);
        self.page_over(conn);
    }

    /// Whose side of which conversation the session's page needs now.
    pub(crate) fn page_member(&mut self, conn: ConnId) -> Option<(UserId, ConvKey)> {
        let session = self.sessions.get(conn).and_then(Session::attached)?;
        match session.pages.under_way.as_deref()? {
            Paging::History { conv, .. } => Some((session.user, *conv)),
            Paging::Heads(heads) => Some((session.user, heads.conv()?)),
        }
    }

    /// The member is loaded: asks the owner for the places.
    pub(crate) fn page_places(&mut self, conn: ConnId) {
        let Some((reader, conv)) = self.page_member(conn) else { return };
        let bytes_max = PAGE_BYTES.min(self.config.limits.output_bytes_max);
        let member = self.members.ready((reader, conv));
        let (upto, last_inbox) = (member.taken, member.last_inbox);
        let session = self.sessions.get(conn).and_then(Session::attached).expect("as above");
        let request = match session.pages.under_way.as_deref_mut().expect("as above") {
            Paging::History { ask, .. } => {
                let newer = ask.direction == Direction::Newer;
                let from = match ask.from {
                    0 if newer => 1,
                    0 => Seq::MAX,
                    from => from,
                };
                let limit = ask.limit as u32;
                PageRequest { conn, reader, conv, upto, from, newer, limit, bytes_max }
            }
            Paging::Heads(heads) => {
                if !heads.is_due(last_inbox) {
                    return self.next_head(conn);
                }
                Heads::places(conn, reader, conv, upto)
            }
        };
        if upto == 0 {
            let answer = PageAnswer::to(&request, Some(Places::nothing()));
            return self.show_page(&answer);
        }
        let owner = self.place.owner(conv);
        self.lanes[owner as usize].pages.push_back(Box::new(request));
        self.drain_lane(owner);
    }

    /// A request for places leaves, if its session is there still.
    pub(crate) fn send_page(&mut self, to: CoreIndex, request: Box<PageRequest>) {
        if self.sessions.get(request.conn).is_some() {
            self.lanes[to as usize].pages_out += 1;
            self.request(to, Relay::Page(request));
        }
    }

    /// The owner's answer, with the member loaded: what the reader may see of it.
    pub(crate) fn show_page(&mut self, answer: &PageAnswer) {
        let output_max = self.config.limits.output_bytes_max as usize;
        let Some(session) = self.sessions.get(answer.conn) else { return };
        let room = output_max.saturating_sub(session.out.len() + session.gated_bytes);
        let Some(attached) = session.attached() else { return };
        let Some(places) = &answer.places else { return self.page_given_up(answer.conn) };
        let member = self.members.ready((answer.reader, answer.conv));
        match attached.pages.under_way.as_deref_mut() {
            Some(Paging::History { ask, .. }) => {
                let page = encode(member, answer, places, ask.request, room);
                self.send_gated_bytes(answer.conn, page);
                self.page_over(answer.conn);
            }
            Some(Paging::Heads(heads)) => {
                heads.put(member, answer, places);
                self.next_head(answer.conn);
            }
            None => unreachable!("one answer for one page"),
        }
    }
}

impl PageAnswer {
    /// The answer to a request.
    pub(crate) fn to(request: &PageRequest, places: Option<Places>) -> PageAnswer {
        let &PageRequest { conn, reader, conv, newer, .. } = request;
        PageAnswer { conn, reader, conv, newer, places }
    }
}

impl Member {
    /// Whether the user does not see this place.
    pub fn hides(&self, seq: Seq) -> bool {
        let after = self.hidden.partition_point(|&(first, _)| first <= seq);
        after > 0 && self.hidden[after - 1].1 >= seq
    }

    /// The text of a plain message as the user sees it, and the edit that it is from. Of one whose
    /// newest edit is hidden it is what was sent first: no text between is kept.
    pub fn text<'a>(&self, message: &'a StoredMessage) -> (&'a [u8], Option<Seq>) {
        match message.edited_by {
            0 => (&message.body, None),
            by if self.hides(by) => (&message.original, None),
            by => (&message.body, Some(by)),
        }
    }
}

/// Items until there is no room, at least one if there is one, and END.
fn encode(
    member: &Member,
    answer: &PageAnswer,
    places: &Places,
    request: u64,
    room: usize,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut found = places.found.iter().peekable();
    let mut seq = places.first;
    let step = |seq: Seq| if answer.newer { seq + 1 } else { seq - 1 };
    let end = if places.last == 0 { seq } else { step(places.last) };
    while seq != end && (out.is_empty() || out.len() < room) {
        let here = found.next_if(|item| item.conv_seq == seq);
        let item = match here {
            Some(message) => item(member, answer.reader, request, message),
            None => {
                let kind = if member.hides(seq) { HistoryKind::Hidden } else { HistoryKind::Gap };
                HistoryItem { request, conv_seq: seq, time_ms: 0, own: None, kind }
            }
        };
        wire::encode_server(&mut out, &ServerFrame::HistoryItem(item));
        seq = step(seq);
    }
    let more = places.last != 0 && (1..=places.upto).contains(&seq);
    let end = End { request, next: if more { seq } else { 0 }, head: places.upto };
    wire::encode_server(&mut out, &ServerFrame::End(end));
    out
}

/// A place as the reader may see it.
fn item<'a>(
    member: &Member,
    reader: UserId,
    request: u64,
    message: &'a StoredMessage,
) -> HistoryItem<'a> {
    let (conv_seq, body) = (message.conv_seq, &message.body[..]);
    let own = (message.sender == reader).then(|| {
        let (outbox, n) = message.origin.unwrap_or((OutboxId(0), 0));
        OwnName { outbox, n, hash: message.hash }
    });
    let kind = match message.change {
        _ if member.hides(conv_seq) => HistoryKind::Hidden,
        _ if message.void => HistoryKind::Void,
        _ if message.deleted => HistoryKind::Deleted,
        Some(change) if change.delete => HistoryKind::Delete { target: change.target },
        Some(change) => {
            let body = if member.hides(change.target) { &[] } else { body };
            HistoryKind::Edit { target: change.target, body }
        }
        None => {
            let (body, edited_by) = member.text(message);
            HistoryKind::Message { body, edited_by }
        }
    };
    HistoryItem { request, conv_seq, time_ms: message.time_us / 1_000, own, kind }
}
