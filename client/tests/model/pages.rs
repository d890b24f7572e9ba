//! What the server of the world keeps besides messages, and its pages.

use std::collections::{BTreeMap, BTreeSet};

use client::{Conv, ConvSettings, Kind, Seq, UserId};
use wire::{
    Chat, ChatHead, Chats, Command, ContactItem, Contacts, Direction, End, History, HistoryItem,
    HistoryKind, OwnName, RefusalCode, RequestRefused, ServerFrame,
};

use super::Random;
use super::server::{Entry, Server, Stored};

/// What the user's home keeps of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub read: Seq,
    pub peer_read: Seq,
    pub peer_delivered: Vec<Seq>,
    pub settings: ConvSettings,
    pub hidden: BTreeSet<Seq>,
}

/// Contact, blocked, name.
pub type Contacted = BTreeMap<UserId, (bool, bool, String)>;

/// What is at a place, as everybody must see it in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub seq: Seq,
    pub kind: Kind,
    pub text: Option<Vec<u8>>,
    pub edited: bool,
    pub deleted: bool,
}

impl Server {
    /// Whether the message at this place may be changed by its sender.
    pub fn is_changeable(&self, conv: Conv, target: Seq, own: bool) -> bool {
        let stored = self.log.get(&conv).and_then(|log| log.get((target as usize).wrapping_sub(1)));
        let plain = stored.is_some_and(|stored| {
            !stored.void && stored.change.is_none() && stored.from.is_some() == own
        });
        plain && !self.present(conv, target).1
    }

    /// The place of the newest edit of a message, and whether it is deleted.
    fn present(&self, conv: Conv, target: Seq) -> (Option<Seq>, bool) {
        let (mut edited_by, mut deleted) = (None, false);
        for (stored, by) in self.log[&conv].iter().zip(1..) {
            match stored.change.filter(|change| change.target == target && !stored.void) {
                Some(change) if change.delete => deleted = true,
                Some(_) => edited_by = Some(by),
                None => {}
            }
        }
        (edited_by, deleted)
    }

    /// The messages and changes of a conversation as the user sees them.
    pub fn truth(&self, conv: Conv) -> Vec<Truth> {
        let hidden = self.members.get(&conv).map(|member| &member.hidden);
        let mut truth = Vec::new();
        for (stored, seq) in self.log.get(&conv).into_iter().flatten().zip(1..) {
            if hidden.is_some_and(|hidden| hidden.contains(&seq)) {
                continue;
            }
            let (own, changes) = (stored.from.is_some(), stored.change.is_some());
            let kind = match (own, changes) {
                _ if stored.void => continue,
                (true, true) => Kind::OwnChange,
                (false, true) => Kind::PeerChange,
                (true, false) => Kind::Own,
                (false, false) => Kind::Peer,
            };
            let (edited_by, deleted) = self.present(conv, seq);
            let text = edited_by.map_or(&stored.body, |by| &self.log[&conv][by as usize - 1].body);
            let text = (!changes && !deleted).then(|| text.clone());
            let edited = !changes && !deleted && edited_by.is_some();
            truth.push(Truth { seq, kind, text, edited, deleted: !changes && deleted });
        }
        truth
    }

    /// The peer's messages above the read mark that are not hidden.
    pub fn unread(&self, conv: Conv) -> u64 {
        let read = self.members.get(&conv).map_or(0, |member| member.read);
        let truth = self.truth(conv).into_iter();
        truth.filter(|at| at.seq > read && at.kind == Kind::Peer).count() as u64
    }

    pub fn history(&mut self, ask: &History, random: &mut Random) {
        if random.one_in(8) {
            return self.refuse_request(ask.request);
        }
        let head = self.log.get(&ask.conv).map_or(0, |log| log.len() as Seq);
        let limit = 1 + random.number() % ask.limit.min(4);
        let (mut at, mut left) = (if ask.from == 0 { head } else { ask.from.min(head) }, limit);
        if ask.direction == Direction::Newer {
            at = ask.from.max(1);
        }
        while (1..=head).contains(&at) && left > 0 {
            self.item(ask, at);
            left -= 1;
            at = if ask.direction == Direction::Older { at - 1 } else { at + 1 };
        }
        let next = if (1..=head).contains(&at) { at } else { 0 };
        self.put(&ServerFrame::End(End { request: ask.request, next, head }));
    }

    fn item(&mut self, ask: &History, conv_seq: Seq) {
        let stored: Stored = self.log[&ask.conv][conv_seq as usize - 1].clone();
        let (edited_by, deleted) = self.present(ask.conv, conv_seq);
        let newest = edited_by.map(|by| self.log[&ask.conv][by as usize - 1].body.clone());
        let target_gone =
            stored.change.is_some_and(|change| self.present(ask.conv, change.target).1);
        let hidden = self.members.get(&ask.conv).is_some_and(|m| m.hidden.contains(&conv_seq));
        let kind = match stored.change {
            _ if stored.void => HistoryKind::Void,
            _ if hidden => HistoryKind::Hidden,
            Some(change) if change.delete => HistoryKind::Delete { target: change.target },
            Some(change) => {
                let body = if target_gone { &[][..] } else { &stored.body };
                HistoryKind::Edit { target: change.target, body }
            }
            None if deleted => HistoryKind::Deleted,
            None => {
                let body = newest.as_deref().unwrap_or(&stored.body);
                HistoryKind::Message { body, edited_by }
            }
        };
        let own = stored.from.map(|(outbox, n)| OwnName { outbox, n, hash: stored.hash });
        let (request, time_ms) = (ask.request, conv_seq * 10);
        self.put(&ServerFrame::HistoryItem(HistoryItem { request, conv_seq, time_ms, own, kind }));
    }

    /// Pages of one conversation, so that there are many.
    pub fn chats(&mut self, ask: &Chats) {
        let mut newest: BTreeMap<Conv, Seq> = BTreeMap::new();
        for (entry, inbox_seq) in self.inbox.iter().zip(1..) {
            if let Some(conv) = entry.conv() {
                newest.insert(conv, inbox_seq);
            }
        }
        let before = if ask.before == 0 { Seq::MAX } else { ask.before };
        let below = newest.iter().filter(|&(_, &last)| last < before);
        let mut below: Vec<(Seq, Conv)> = below.map(|(&conv, &last)| (last, conv)).collect();
        below.sort_unstable();
        let mut next = 0;
        if let Some((last, conv)) = below.pop() {
            self.chat_head(ask.request, conv, last);
            next = if below.is_empty() { 0 } else { last };
        }
        let head = self.inbox_len();
        self.put(&ServerFrame::End(End { request: ask.request, next, head }));
    }

    pub fn chat(&mut self, ask: &Chat) {
        self.chat_head(ask.request, ask.conv, 0);
        let head = self.taken(ask.conv);
        self.put(&ServerFrame::End(End { request: ask.request, next: 0, head }));
    }

    fn chat_head(&mut self, request: u64, conv: Conv, last_inbox: Seq) {
        let head = self.taken(conv);
        let member = self.members.get(&conv).cloned().unwrap_or_default();
        let unread = self.unread(conv);
        self.put(&ServerFrame::ChatHead(ChatHead {
            request,
            conv,
            settings: member.settings,
            contact: false,
            blocked: false,
            preview_own: false,
            head,
            time_ms: head * 10,
            last_inbox,
            read: member.read,
            peer_read: member.peer_read,
            delivered: member.peer_delivered[..].into(),
            unread,
            preview: b"",
        }));
    }

    pub fn contacts(&mut self, ask: &Contacts) {
        let listed = self.contacts.clone();
        let mut after = listed.iter().filter(|(peer, _)| peer.get() > ask.after);
        let (request, mut next) = (ask.request, 0);
        if let Some((&peer, &(contact, blocked, ref name))) = after.next() {
            let item = ContactItem { request, peer, contact, blocked, name };
            self.put(&ServerFrame::Contact(item));
            next = if after.next().is_some() { peer.get() } else { 0 };
        }
        self.put(&ServerFrame::End(End { request, next, head: 0 }));
    }

    fn refuse_request(&mut self, request: u64) {
        let (code, retry_after_ms) = (RefusalCode::RetryAfter, 10);
        let refused = RequestRefused { request, code, retry_after_ms };
        self.put(&ServerFrame::RequestRefused(refused));
    }

    pub fn read(&mut self, conv: Conv, conv_seq: Seq) {
        let upto = conv_seq.min(self.taken(conv));
        let member = self.members.entry(conv).or_default();
        if upto > member.read {
            member.read = upto;
            self.inbox.push(Entry::ReadMark { conv, upto });
        }
    }

    /// The peer's devices take and read.
    pub fn peer_marks(&mut self, random: &mut Random) {
        let conv = Conv::Direct(100 + random.number() % super::PEERS);
        let head = self.taken(conv);
        let member = self.members.entry(conv).or_default();
        let mut delivered = member.peer_delivered.clone();
        delivered.resize(2, 0);
        let index = random.below(2);
        delivered[index] = delivered[index].max(random.number() % (head + 1));
        delivered.sort_unstable_by(|one, other| other.cmp(one));
        member.peer_read = member.peer_read.max(random.number() % (delivered[0] + 1));
        member.peer_delivered.clone_from(&delivered);
        let read = member.peer_read;
        self.inbox.push(Entry::Receipt { conv, read, delivered });
    }

    /// A command changes what it says.
    pub fn apply(&mut self, command: &Command<'_>) {
        match *command {
            Command::Settings { conv, settings } => {
                self.members.entry(conv).or_default().settings = settings;
            }
            Command::DeleteForMe { conv, first, last } => {
                let last = last.min(self.taken(conv));
                self.members.entry(conv).or_default().hidden.extend(first..=last);
            }
            Command::ContactAdd { peer, name } => {
                let contact = self.contacts.entry(peer).or_default();
                (contact.0, contact.2) = (true, name.to_owned());
            }
            Command::Block { peer } => self.contacts.entry(peer).or_default().1 = true,
            _ => panic!("not given in this world"),
        }
    }
}
