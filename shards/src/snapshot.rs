//! Snapshots: where a device starts that has no place in the stream, and the conversations that
//! it reads instead of the entries before (R11).
//!
//! A page of CHATS goes from the newest activity downwards. What the store does not have yet
//! stands in the inbox's newest entries; below them the store knows an order of its own. Either
//! way a conversation counts at its newest message only, so each is on one page, and one that
//! rises meanwhile is in the stream above the snapshot.

use crate::loads::Pending;
use crate::member::Member;
use crate::relay::{PageAnswer, PageRequest, Places};
use crate::session::Session;
use crate::shard::Shard;
use crate::user::User;
use crate::work::Work;
use crate::{Ask, ConnId};
use persistence::{ConvKey, Log, Page, Position, Record, StoredMessage};
use std::collections::VecDeque;
use wire::planted::{Bug, active};
use wire::{
    Chat, ChatHead, Chats, End, PREVIEW_BYTES_MAX, Seq, ServerFrame, SnapshotReason, UserId,
    Verdict,
};

/// Unflushed entries that one page looks at.
const ENTRIES_PER_PAGE: usize = 1_024;
/// A preview is the newest message to read among so many places.
const PREVIEW_PLACES: u32 = 8;

/// Heads of conversations under way.
pub(crate) struct Heads {
    pub request: u64,
    /// 0: CHAT.
    before: Seq,
    limit: usize,
    /// Conversations to tell of. Each counts if its newest entry is the one with this number;
    /// 0: in any case.
    left: VecDeque<(ConvKey, Seq)>,
    /// For END.
    next: u64,
    head: Seq,
    /// Encoded heads.
    out: Vec<u8>,
}

impl User {
    /// What a device's HELLO means: where its stream goes on, and why. `None`: the device knows
    /// more than this inbox, which must get a new epoch (R12).
    pub fn verdict(&self, same_epoch: bool, new: bool, acked: Seq) -> Option<(Seq, Verdict)> {
        let head = self.recent.head();
        let snapshot = |reason| Some((head, Verdict::Snapshot(reason)));
        match same_epoch {
            true if acked > head => None,
            true if acked < self.trimmed => snapshot(SnapshotReason::TooFar),
            true => Some((acked, Verdict::Resume)),
            false if new => snapshot(SnapshotReason::NewDevice),
            false => snapshot(SnapshotReason::Epoch),
        }
    }

    /// Conversations whose newest message is among the unflushed entries below `before`, as far
    /// as `may_be_newest` knows, newest first, and the number of the newest entry that was not
    /// looked at; `true`: the store has that one and those before it.
    fn active(
        &self,
        log: &Log,
        id: UserId,
        flushed: Position,
        (before, limit): (Seq, usize),
        mut may_be_newest: impl FnMut(ConvKey, Seq) -> bool,
    ) -> (VecDeque<(ConvKey, Seq)>, Seq, bool) {
        let mut at = self.visible.min(before - 1);
        let mut found: VecDeque<(ConvKey, Seq)> = VecDeque::new();
        for _ in 0..ENTRIES_PER_PAGE {
            let position = self.recent.position(at).filter(|&position| position >= flushed);
            let Some(position) = position.filter(|_| !active(Bug::SnapshotMisses)) else {
                return (found, at, true);
            };
            if found.len() >= limit {
                break;
            }
            if let Some(conv) = message_of(&log.read(position), id)
                && found.iter().all(|&(other, _)| other != conv)
                && may_be_newest(conv, at)
            {
                found.push_back((conv, at));
            }
            at -= 1;
        }
        (found, at, false)
    }
}

/// The conversation of an entry that is a message.
fn message_of(record: &Record<'_>, id: UserId) -> Option<ConvKey> {
    match record {
        Record::Message(message) => Some(message.conv),
        Record::Inbox(inbox) if inbox.user == id => Some(inbox.conv),
        _ => None,
    }
}

impl Heads {
    /// CHAT.
    pub fn one(ask: &Chat, conv: ConvKey) -> Heads {
        let left = VecDeque::from([(conv, 0)]);
        let (request, out) = (ask.request, Vec::new());
        Heads { request, before: 0, limit: 1, left, next: 0, head: 0, out }
    }

    /// CHATS.
    pub fn many(ask: &Chats) -> Heads {
        let before = if ask.before == 0 { Seq::MAX } else { ask.before };
        let (request, limit, left) = (ask.request, ask.limit as usize, VecDeque::new());
        Heads { request, before, limit, left, next: 0, head: 0, out: Vec::new() }
    }

    /// The conversation that is told of now.
    pub fn conv(&self) -> Option<ConvKey> {
        self.left.front().map(|&(conv, _)| conv)
    }

    /// Whether it is this page where the conversation belongs.
    pub fn is_due(&self, last_inbox: Seq) -> bool {
        self.left.front().is_some_and(|&(_, seq)| seq == 0 || seq == last_inbox)
    }

    /// The places that a head is made of.
    pub fn places(conn: ConnId, reader: UserId, conv: ConvKey, upto: Seq) -> PageRequest {
        let (from, newer, limit) = (upto, false, PREVIEW_PLACES);
        let bytes_max = PREVIEW_BYTES_MAX as u32;
        PageRequest { conn, reader, conv, upto, from, newer, limit, bytes_max }
    }

    /// Tells of the conversation.
    pub fn put(&mut self, member: &Member, answer: &PageAnswer, places: &Places) {
        let shows = |m: &&StoredMessage| {
            !m.void && m.change.is_none() && !m.deleted && !member.hides(m.conv_seq)
        };
        let shown = places.found.iter().find(shows);
        let newest = places.found.first().filter(|m| m.conv_seq == places.upto);
        let preview = shown.map_or(&[][..], |m| member.text(m).0);
        let head = ChatHead {
            request: self.request,
            conv: answer.conv.seen_by(answer.reader),
            settings: member.settings,
            contact: member.contact.contact,
            blocked: member.contact.blocked,
            preview_own: shown.is_some_and(|m| m.sender == answer.reader),
            head: places.upto,
            time_ms: newest.map_or(0, |m| m.time_us / 1_000),
            last_inbox: member.last_inbox,
            read: member.read,
            peer_read: member.peer.read,
            delivered: member.peer.delivered.as_slice().into(),
            unread: member.unread(),
            preview: if preview.len() <= PREVIEW_BYTES_MAX { preview } else { &[] },
        };
        wire::encode_server(&mut self.out, &ServerFrame::ChatHead(head));
        if self.before == 0 {
            self.head = places.upto;
        }
    }
}

impl Shard {
    /// CHATS: which conversations.
    pub(crate) fn list_chats(&mut self, conn: ConnId) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let id = session.user;
        let heads = session.pages.heads().expect("a page of conversations");
        let user = self.users.ready(id);
        let (flushed, members) = (self.flush.flushed(), &mut self.members);
        let range = (heads.before, heads.limit);
        // A member that is not in memory may have been recovered: it is looked at once loaded.
        let (left, at, stored) = user.active(&self.log, id, flushed, range, |conv, seq| {
            members.get_mut((id, conv)).is_none_or(|member| member.last_inbox == seq)
        });
        (heads.head, heads.left) = (user.visible, left);
        let room = heads.limit - heads.left.len();
        if !stored || at == 0 || room == 0 {
            heads.next = if at == 0 { 0 } else { at + 1 };
            return self.begin_heads(conn);
        }
        let page = Page::Chats { user: id, before: at + 1, limit: room as u32 };
        self.ask(Ask::Page(page), Pending::Chats(conn));
    }

    /// The store answered, or (`None`) did not.
    pub(crate) fn chats_read(&mut self, conn: ConnId, rows: Option<Vec<(ConvKey, Seq)>>) {
        let Some(rows) = rows else {
            self.stats.loads_failed += 1;
            return self.page_given_up(conn);
        };
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let Some(heads) = session.pages.heads() else { return };
        let full = heads.left.len() + rows.len() >= heads.limit;
        heads.next = rows.last().filter(|_| full).map_or(0, |&(_, last_inbox)| last_inbox);
        heads.left.extend(rows);
        self.begin_heads(conn);
    }

    fn begin_heads(&mut self, conn: ConnId) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        match session.pages.heads().expect("a page of conversations").left.is_empty() {
            true => self.heads_done(conn),
            false => self.work(Work::Page(conn)),
        }
    }

    /// Goes on with the next conversation of the page.
    pub(crate) fn next_head(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let heads = session.pages.heads().expect("a page of conversations");
        heads.left.pop_front();
        match heads.left.is_empty() {
            true => self.heads_done(conn),
            false => self.work(Work::Page(conn)),
        }
    }

    fn heads_done(&mut self, conn: ConnId) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let heads = session.pages.heads().expect("a page of conversations");
        let mut out = std::mem::take(&mut heads.out);
        let end = End { request: heads.request, next: heads.next, head: heads.head };
        wire::encode_server(&mut out, &ServerFrame::End(end));
        self.send_gated_bytes(conn, out);
        self.page_over(conn);
    }
}
