//! What the server says, frame by frame.

use wire::planted::{Bug, active};
use wire::{
    Answer, BODY_BYTES_MAX, BodyHash, Change, Changed, CloseCode, Conv, Deliver,
    FRAME_OVERHEAD_MAX, OutOfOrder, OutboxId, Own, RefusalCode, Refused, Retry, SendKey, Sent, Seq,
    ServerFrame, Verdict, Welcome, content_hash, decode_server,
};

use crate::connection::Stage;
use crate::conversation::Kind;
use crate::entry::Entry;
use crate::queue::{Attempt, Pending, Queue};

use crate::{Client, ClientEvent, Fault, SendId};

/// Waits this long where a refusal says "later" without a time, in ms.
const RETRY_DEFAULT_MS: u64 = 500;

impl Client {
    /// Takes bytes from the connection, cut anywhere.
    pub fn received(&mut self, bytes: &[u8], now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.connection.pinged_ms = None;
        let mut input = bytes;
        let mut deframer = std::mem::take(&mut self.connection.deframer);
        // A server without room closes before it has heard HELLO.
        while !matches!(self.connection.stage, Stage::Offline | Stage::Closing) {
            let limit = BODY_BYTES_MAX + FRAME_OVERHEAD_MAX;
            let handled = deframer.next(&mut input, limit, |content| self.content(content));
            match handled.map_err(Fault::from) {
                Ok(None) => break,
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(fault))) | Err(fault) => self.break_off(fault),
            }
        }
        self.connection.deframer = deframer;
    }

    /// Ends the connection because of a fault.
    pub(crate) fn break_off(&mut self, fault: Fault) {
        self.leave(match fault {
            Fault::Frame(error) => error.close_code(),
            Fault::Decode(error) => error.close_code(),
            Fault::Protocol(_) => CloseCode::OutOfState,
            Fault::ForeignJournal { .. } => CloseCode::Normal,
            Fault::Silent(_) => CloseCode::IdleTimeout,
        });
        if let Fault::ForeignJournal { .. } = fault {
            self.connection.retry.0 = Retry::Never;
        }
        self.tell(ClientEvent::Broken { fault });
    }

    fn content(&mut self, content: &[u8]) -> Result<(), Fault> {
        let frame = decode_server(content)?;
        if self.connection.stage != Stage::Attached {
            return match frame {
                ServerFrame::Welcome(welcome) if self.connection.stage == Stage::Welcome => {
                    self.welcome(&welcome)
                }
                ServerFrame::Close(close) => {
                    self.closed(&close);
                    Ok(())
                }
                _ => Err(Fault::Protocol("a frame before WELCOME")),
            };
        }
        match frame {
            ServerFrame::Welcome(_) => return Err(Fault::Protocol("WELCOME twice")),
            ServerFrame::Sent(sent) => self.sent(&sent, content.len())?,
            ServerFrame::OutOfOrder(answer) => self.out_of_order(&answer),
            ServerFrame::Refused(refused) => self.refused(&refused),
            ServerFrame::Deliver(deliver) => self.deliver(&deliver, content.len())?,
            ServerFrame::Own(own) => self.own(&own, content.len())?,
            ServerFrame::Changed(changed) => self.changed(&changed, content.len())?,
            ServerFrame::Receipt(receipt) => self.receipt(&receipt, content.len())?,
            ServerFrame::ReadMark(mark) => self.read_mark(&mark, content.len())?,
            ServerFrame::Commanded(taken) => self.commanded(&taken, content.len())?,
            ServerFrame::CommandAnswer(answer) => self.command_answer(&answer),
            ServerFrame::HistoryItem(item) => self.history_item(&item)?,
            ServerFrame::ChatHead(chat) => self.chat_head(&chat)?,
            ServerFrame::Contact(contact) => self.contact_item(&contact)?,
            ServerFrame::Device(device) => self.device_item(&device)?,
            ServerFrame::End(end) => self.end(&end)?,
            ServerFrame::RequestRefused(refused) => self.request_refused(&refused)?,
            ServerFrame::Presence(presence) => self.presence_came(presence.users.iter()),
            ServerFrame::Typing(typing) => self.typing_came(typing.conv),
            ServerFrame::CaughtUp(caught_up) => {
                self.told_of(caught_up.head);
                self.connection.caught_up = true;
                self.settle_known_command();
                self.tell(ClientEvent::CaughtUp);
            }
            ServerFrame::Pong(pong) => self.told_of(pong.head),
            ServerFrame::GoAway(go_away) => {
                let wait = self.random.up_to(go_away.after_ms);
                self.connection.leave_ms = Some(self.now_ms.saturating_add(wait));
            }
            ServerFrame::Close(close) => self.closed(&close),
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome) -> Result<(), Fault> {
        let token = (welcome.user, welcome.device);
        if let Some(journal) = self.state.identity.filter(|&journal| journal != token) {
            return Err(Fault::ForeignJournal { journal, token });
        }
        if welcome.version != wire::VERSION {
            return Err(Fault::Protocol("WELCOME names a version that was not offered"));
        }
        let resume = welcome.verdict == Verdict::Resume;
        let had = (self.state.epoch, self.state.position);
        if resume && (welcome.inbox_epoch, welcome.from) != had {
            return Err(Fault::Protocol("WELCOME resumes what this device does not have"));
        }
        if self.state.identity.is_none() || welcome.body_bytes_max != self.state.body_bytes_max {
            let (user, device) = token;
            let body_bytes_max = welcome.body_bytes_max;
            self.record(&Entry::Identity { user, device, body_bytes_max });
        }
        self.acks.attach(welcome, &self.config);
        if !resume {
            self.begin_overview(welcome);
        }
        self.ask_all_unlisted();
        self.live.attach();
        self.connection.stage = Stage::Attached;
        self.connection.unanswered = false;
        self.connection.heartbeat_ms = welcome.heartbeat_ms.max(1);
        self.connection.failures = 0;
        self.told_of(welcome.head);
        self.tell(ClientEvent::Attached { user: token.0, device: token.1 });
        Ok(())
    }

    fn closed(&mut self, close: &wire::Close<'_>) {
        self.connection.stage = Stage::Closing;
        self.connection.unanswered = false;
        if close.code == CloseCode::Displaced && self.connection.displaced_itself(self.now_ms) {
            // As if the connection was lost.
            return;
        }
        self.connection.retry = (close.code.retry(), close.retry_after_ms);
        let reason = close.reason.to_owned();
        self.tell(ClientEvent::Closed { code: close.code, reason });
    }

    /// The newest inbox entry is at least this one.
    fn told_of(&mut self, head: Seq) {
        self.connection.head = self.connection.head.max(head);
        self.came();
    }

    /// Restarts or stops the wait for entries that the server told of.
    fn came(&mut self) {
        // During a snapshot nothing is acked, so what is behind may wait for room.
        self.connection.behind_since_ms = match self.connection.behind_since_ms {
            _ if self.overview.is_some() || !self.is_behind() => None,
            since => since.or(Some(self.now_ms)),
        };
    }

    /// The server told of entries that did not come yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.connection.head > self.position_now()
    }

    /// The next inbox entry came, `distance` above the one before.
    pub(crate) fn advance_position(&mut self, distance: u64, bytes: usize) -> Result<(), Fault> {
        let position = self.position_now().checked_add(distance).filter(|_| distance > 0);
        let position = position.ok_or(Fault::Protocol("an inbox entry that does not advance"))?;
        match &mut self.overview {
            Some(overview) => overview.position = position,
            None => self.record(&Entry::Position { position }),
        }
        self.acks.received(bytes, self.now_ms);
        self.connection.behind_since_ms = None;
        self.came();
        Ok(())
    }

    fn deliver(&mut self, deliver: &Deliver<'_>, bytes: usize) -> Result<(), Fault> {
        self.advance_position(deliver.d_inbox, bytes)?;
        let &Deliver { conv, conv_seq, time_ms, body, .. } = deliver;
        let place = Place { conv, conv_seq, time_ms };
        self.typing_ended(conv);
        // Without a text it was deleted for everyone, perhaps by an entry that does not come.
        let deleted = body.is_empty();
        let hash = if deleted { BodyHash(0) } else { wire::body_hash(body) };
        let body = Some(body).filter(|_| !deleted);
        if self.note(place, Kind::Peer, hash, body, Source::Inbox) {
            if deleted && self.config.keep_history {
                let (target, by, delete, body) = (conv_seq, 0, true, None);
                self.record(&Entry::Changed { conv, target, by, delete, body });
            }
            let (kind, body) = (Kind::Peer, body.map(<[u8]>::to_vec));
            self.tell(ClientEvent::Message { conv, conv_seq, time_ms, kind, body });
        }
        Ok(())
    }

    fn changed(&mut self, changed: &Changed<'_>, bytes: usize) -> Result<(), Fault> {
        self.advance_position(changed.d_inbox, bytes)?;
        let &Changed { conv, conv_seq, time_ms, change, body, .. } = changed;
        let place = Place { conv, conv_seq, time_ms };
        let hash = content_hash(body, Some(change));
        // Without a text a later change, or one that is hidden, has taken its place.
        let says = change.delete || !body.is_empty();
        if self.note(place, Kind::PeerChange, hash, None, Source::Inbox) && says {
            self.note_change(place, change, Some(body));
        }
        Ok(())
    }

    /// A message was edited or deleted, by whomever.
    fn note_change(&mut self, place: Place, change: Change, body: Option<&[u8]>) {
        let Place { conv, conv_seq: by, .. } = place;
        let Change { target, delete } = change;
        if self.config.keep_history {
            let body = body.filter(|_| !delete);
            self.record(&Entry::Changed { conv, target, by, delete, body });
        }
        self.tell(ClientEvent::Changed { conv, target, by, delete });
    }

    /// An entry of an own send: what the device itself remembers about its sends yields to it.
    fn own(&mut self, own: &Own, bytes: usize) -> Result<(), Fault> {
        self.advance_position(own.d_inbox, bytes)?;
        let place = Place { conv: own.conv, conv_seq: own.conv_seq, time_ms: own.time_ms };
        let &Own { outbox, n, hash, void, change, .. } = own;
        if self.own_entry(place, &OwnEntry { outbox, n, hash, void }) {
            self.streamed(place);
            return Ok(());
        }
        let kind = own_kind(void, change);
        if self.note(place, kind, hash, None, Source::Inbox) {
            self.futile.remove(&(own.conv, own.conv_seq));
            match change.filter(|_| !void) {
                Some(change) => self.note_change(place, change, None),
                None => {
                    let Place { conv, conv_seq, time_ms } = place;
                    self.tell(ClientEvent::Message { conv, conv_seq, time_ms, kind, body: None });
                }
            }
        }
        Ok(())
    }

    /// What an own entry, or history in its stead, says about the own sends. Whether one of them
    /// found its end.
    pub(crate) fn own_entry(&mut self, place: Place, own: &OwnEntry) -> bool {
        let conv = place.conv;
        let current = own.outbox == self.state.outbox;
        let given_out = self.state.conversations.get(&conv).map_or(0, |conv| conv.given_out);
        let pending = self.find(conv, own.outbox, own.n).map(|send| (send.serial, send.hash));
        match pending {
            Some((serial, hash)) if hash == own.hash || active(Bug::HashIgnored) => {
                self.settle(SendId { conv, serial }, place, own.void);
                return true;
            }
            // A copy of this device used the number: what is here moves, new messages too.
            Some((serial, _)) => {
                self.move_send(SendId { conv, serial });
                if current {
                    self.rotate_outbox();
                }
            }
            None if current && own.n > given_out => self.rotate_outbox(),
            None => {}
        }
        false
    }

    fn sent(&mut self, sent: &Sent, bytes: usize) -> Result<(), Fault> {
        let under_way = self.answered(&sent.key, Some(sent.void));
        let (conv_seq, time_ms, d_inbox) = match sent.answer {
            Answer::Known => {
                let id = under_way.map(|serial| SendId { conv: sent.key.conv, serial });
                if let Some(id) = id.filter(|_| active(Bug::KnownSettles)) {
                    self.record(&Entry::Settled { id });
                } else if let Some(id) = id {
                    self.set_attempt(id, Attempt::Known);
                }
                return Ok(());
            }
            Answer::Fresh { conv_seq, time_ms, d_inbox, .. } => (conv_seq, time_ms, d_inbox),
        };
        let conv = sent.key.conv;
        let place = Place { conv, conv_seq, time_ms };
        if let Some(serial) = under_way {
            self.settle(SendId { conv, serial }, place, sent.void);
        } else if d_inbox > 0 {
            // Its own entry did not come first, but a page of history may have told of it.
            let found = self.state.conversations.get(&conv);
            if !found.is_some_and(|found| found.ranges.contains(conv_seq)) {
                return Err(Fault::Protocol("SENT for a send that is not under way"));
            }
        }
        if d_inbox > 0 {
            self.advance_position(d_inbox, bytes)?;
            self.streamed(place);
        }
        Ok(())
    }

    fn out_of_order(&mut self, answer: &OutOfOrder) {
        let Some(serial) = self.answered(&answer.key, None) else { return };
        let conv = answer.key.conv;
        let Some(send) = self.state.pending(SendId { conv, serial }) else { return };
        // Everything before this send was taken when it left, yet the server waits for something
        // before it: it lost its past, and the hole can never be filled.
        let lost = matches!(send.attempt, Attempt::InFlight { lowest: true, .. });
        let (lost, outbox) = (lost && answer.next < send.n, send.outbox);
        if !lost {
            self.set_attempt(SendId { conv, serial }, Attempt::Again);
            return;
        }
        let same = self.pending(conv).filter(|send| send.outbox == outbox);
        let serials: Vec<u64> = same.map(|send| send.serial).collect();
        for serial in serials {
            self.move_send(SendId { conv, serial });
        }
        if outbox == self.state.outbox {
            self.rotate_outbox();
        }
    }

    fn refused(&mut self, refused: &Refused) {
        let Some(serial) = self.answered(&refused.key, None) else { return };
        let id = SendId { conv: refused.key.conv, serial };
        let Some(send) = self.state.pending(id) else { return };
        let void = matches!(send.attempt, Attempt::InFlight { void: true, .. });
        let change = send.change.is_some() && !void;
        if void && refused.code == RefusalCode::BadRecipient {
            // Nobody, or oneself: no such message was ever taken or can be.
            self.record(&Entry::Settled { id });
            self.tell(ClientEvent::GivenUp { id });
            return;
        }
        let retry_after_ms = match refused.code.retry() {
            // Nothing else can become of it.
            Retry::Never if change => {
                self.set_attempt(id, Attempt::Again);
                self.give_up(id);
                None
            }
            Retry::Never => {
                self.set_attempt(id, Attempt::Refused(refused.code));
                None
            }
            Retry::Later => {
                let wait = self.retry_wait(refused.retry_after_ms);
                let until = self.now_ms.saturating_add(wait);
                self.set_attempt(id, Attempt::Again);
                if let Some(queue) = self.queue(id.conv) {
                    queue.blocked_until_ms = queue.blocked_until_ms.max(until);
                }
                Some(wait)
            }
        };
        let (code, limit) = (refused.code, refused.limit);
        self.tell(ClientEvent::Refused { id, code, retry_after_ms, limit });
    }

    /// How long to wait after "later", in ms.
    pub(crate) fn retry_wait(&mut self, stated_ms: u64) -> u64 {
        let stated_ms = if stated_ms == 0 { RETRY_DEFAULT_MS } else { stated_ms };
        stated_ms.saturating_add(self.random.up_to(stated_ms / 4))
    }

    /// A send found its end: it, or the void of it, has this place.
    fn settle(&mut self, id: SendId, place: Place, void: bool) {
        let send = self.state.pending(id).expect("looked up by the caller");
        let (hash, change) = (send.hash, send.change);
        let kind = own_kind(void, change);
        let body = (self.config.keep_history && !void).then(|| send.body.clone());
        let text = body.as_deref().filter(|_| change.is_none());
        self.note(place, kind, hash, text, Source::Answer);
        if let Some(change) = change.filter(|_| !void) {
            self.note_change(place, change, body.as_deref());
        }
        self.record(&Entry::Settled { id });
        let Place { conv_seq, time_ms, .. } = place;
        self.tell(match void {
            true => ClientEvent::GivenUp { id },
            false => ClientEvent::Sent { id, conv_seq, time_ms },
        });
    }

    fn move_send(&mut self, id: SendId) {
        let send = self.state.pending(id).expect("looked up by the caller");
        let from = (send.outbox, send.n);
        self.record(&Entry::Moved { id });
        let to = self.state.pending(id).expect("moved, not settled").outbox;
        self.tell(ClientEvent::Moved { id, from, to });
    }

    /// Notes what is at a place; whether it was not here before.
    fn note(
        &mut self,
        place: Place,
        kind: Kind,
        hash: BodyHash,
        body: Option<&[u8]>,
        source: Source,
    ) -> bool {
        let Place { conv, conv_seq, time_ms } = place;
        let found = self.state.conversations.get(&conv);
        let known = found.is_some_and(|found| found.ranges.contains(conv_seq));
        // Another epoch may bring the same message again, or another one in its place.
        let same = found
            .and_then(|found| found.history.get(&conv_seq))
            .is_some_and(|had| (had.time_ms, had.kind, had.hash) == (time_ms, kind, hash));
        match source {
            Source::Inbox => self.streamed(place),
            Source::Answer => {
                self.record(&Entry::Seen { conv, first: conv_seq, last: conv_seq });
            }
        }
        if self.config.keep_history && !same && !known {
            self.record(&Entry::Message { conv, conv_seq, time_ms, kind, hash, body });
        }
        !same && !known
    }

    /// The inbox brought this place. Entries of a conversation come in its order, so nothing comes
    /// for the places between it and the one before.
    fn streamed(&mut self, place: Place) {
        let Place { conv, conv_seq: last, .. } = place;
        let before = self.state.conversations.get(&conv).map_or(0, |found| found.streamed);
        let first = if (1..last).contains(&before) { before + 1 } else { last };
        self.record(&Entry::Streamed { conv, first, last });
        self.ask_unlisted(conv);
    }

    fn queue(&mut self, conv: Conv) -> Option<&mut Queue> {
        self.state.conversations.get_mut(&conv).map(|found| &mut found.queue)
    }

    fn find(&self, conv: Conv, outbox: OutboxId, n: Seq) -> Option<&Pending> {
        let queue = &self.state.conversations.get(&conv)?.queue;
        queue.sends.get(queue.index_of(outbox, n)?)
    }

    /// Serial of the send to which this is the answer: its frame left on this attach and is
    /// unanswered. `void`: what the answer says about that frame, if it does.
    fn answered(&self, key: &SendKey, void: Option<bool>) -> Option<u64> {
        let outbox = key.outbox.unwrap_or(self.connection.hello_outbox);
        let send = self.find(key.conv, outbox, key.n)?;
        match send.attempt {
            Attempt::InFlight { void: asked, .. } if void.is_none_or(|void| void == asked) => {
                Some(send.serial)
            }
            _ => None,
        }
    }

    /// An answer came. A send that was given up meanwhile goes out again as a VOID.
    fn set_attempt(&mut self, id: SendId, attempt: Attempt) {
        let Some(queue) = self.queue(id.conv) else { return };
        let Some(index) = queue.index_of_serial(id.serial) else { return };
        let send = &mut queue.sends[index];
        let asked_void = matches!(send.attempt, Attempt::InFlight { void: true, .. });
        let changed = send.void && !asked_void && attempt != Attempt::Known;
        send.attempt = if changed { Attempt::Again } else { attempt };
    }
}

/// Where a message is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub conv: Conv,
    pub conv_seq: Seq,
    pub time_ms: u64,
}

/// What names an own send at its place.
pub(crate) struct OwnEntry {
    pub outbox: OutboxId,
    pub n: Seq,
    pub hash: BodyHash,
    pub void: bool,
}

/// From where a place is known.
#[derive(Clone, Copy)]
enum Source {
    /// An entry of the inbox, in its order.
    Inbox,
    /// The answer to a send.
    Answer,
}

fn own_kind(void: bool, change: Option<Change>) -> Kind {
    match change {
        _ if void => Kind::OwnVoid,
        Some(_) => Kind::OwnChange,
        None => Kind::Own,
    }
}
