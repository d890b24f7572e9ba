//! Output: answers, inbox entries while there is credit, closing.

use super::{Session, State};
use crate::shard::Shard;
use crate::{Ask, ConnId, Effect, SendAnswer, relay::Outcome};
use persistence::{Entry, EntryKind, InboxKind, Record, Scan, Scanned};
use wire::{
    AckLevel, Answer, CaughtUp, Close, CloseCode, Deliver, OutOfOrder, Own, Refused, Retry,
    SendKey, Sent, ServerFrame, UserId,
};

impl Shard {
    /// Appends a frame to the connection's output.
    pub(crate) fn send(&mut self, conn: ConnId, frame: &ServerFrame<'_>) -> usize {
        let Some(session) = self.sessions.get(conn) else { return 0 };
        if session.ends() {
            return 0;
        }
        if session.out.capacity() == 0 {
            session.out = self.buffers.pop().unwrap_or_default();
        }
        let before = session.out.len();
        wire::encode_server(&mut session.out, frame);
        if !session.sending && !session.ready {
            session.ready = true;
            self.ready.push_back(conn);
        }
        session.out.len() - before
    }

    /// The connection's output, to be sent now.
    pub(crate) fn next_send(&mut self) -> Option<Effect> {
        while let Some(conn) = self.ready.pop_front() {
            let Some(session) = self.sessions.get(conn) else { continue };
            session.ready = false;
            if session.sending || session.out.is_empty() {
                continue;
            }
            session.sending = true;
            return Some(Effect::Send { conn, buffer: std::mem::take(&mut session.out) });
        }
        None
    }

    /// The kernel has the output: what gathered meanwhile can go.
    pub(crate) fn sent(&mut self, conn: ConnId, mut buffer: Vec<u8>) {
        buffer.clear();
        if self.buffers.len() < self.config.limits.events_per_turn as usize
            && buffer.capacity() <= 2 * self.config.limits.output_bytes_max as usize
        {
            self.buffers.push(buffer);
        }
        let Some(session) = self.sessions.get(conn) else { return };
        session.sending = false;
        if !session.out.is_empty() {
            session.ready = true;
            self.ready.push_back(conn);
        } else if let State::End { asked: asked @ false } = &mut session.state {
            *asked = true;
            self.effects.push_back(Effect::Close { conn });
            return;
        }
        self.pump(conn);
    }

    /// Ends a session with a reason: CLOSE is the last frame.
    pub(crate) fn close(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        let retry_after_ms = match code.retry() {
            Retry::Later => self.config.limits.retry_after_ms,
            Retry::Never => 0,
        };
        self.send(conn, &ServerFrame::Close(Close { code, retry_after_ms, reason }));
        self.end(conn);
    }

    /// Ends a session: its output leaves, then the driver closes.
    pub(crate) fn end(&mut self, conn: ConnId) {
        if self.sessions.get(conn).is_none_or(|session| session.ends()) {
            return;
        }
        self.detach(conn);
        // Longer than any reader with a live link needs; then the wheel cuts it.
        let deadline_us = self.now.mono_us + 2_000_000;
        let session = self.sessions.get(conn).expect("looked up above");
        let asked = session.out.is_empty() && !session.sending;
        session.state = State::End { asked };
        session.deadline_us = deadline_us;
        self.wheel.insert(conn.index, deadline_us);
        if asked {
            self.effects.push_back(Effect::Close { conn });
        }
    }

    /// The user forgets the session, if it was the device's.
    pub(crate) fn detach(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let (id, device) = match &session.state {
            State::Attached(attached) => (attached.user, attached.device),
            State::User(greeting) => (greeting.user, greeting.device),
            State::Hello | State::HandOff { .. } => {
                self.handshakes -= 1;
                return;
            }
            State::End { .. } => return,
        };
        let Some(device) = self.users.get_mut(id).and_then(|user| user.device_mut(device)) else {
            return;
        };
        if device.session == Some(conn) {
            device.session = None;
        }
    }

    /// Tells a session of this core what became of its send.
    pub(crate) fn deliver_answer(&mut self, answer: SendAnswer) {
        let limits = &self.config.limits;
        let (frames, bytes) = (limits.window_frames, limits.window_bytes);
        let Some(session) = self.sessions.get(answer.conn) else { return };
        let Some(attached) = session.attached() else { return };
        let key = SendKey {
            conv: answer.conv.seen_by(answer.sender),
            outbox: answer.explicit.then_some(answer.outbox),
            n: answer.n,
        };
        let frame = match answer.outcome {
            Outcome::Known => {
                ServerFrame::Sent(Sent { key, void: answer.void, answer: Answer::Known })
            }
            Outcome::OutOfOrder { next } => ServerFrame::OutOfOrder(OutOfOrder { key, next }),
            Outcome::Refused { code, retry_after_ms } => {
                ServerFrame::Refused(Refused { key, code, retry_after_ms, limit: 0 })
            }
            Outcome::Taken { conv_seq, time_us, inbox_seq } => {
                // A device that has everything before it gets its own entry in this very frame.
                let joins = inbox_seq == attached.sent + 1 && attached.has_credit(frames, bytes);
                let answer_fields = Answer::Fresh {
                    level: AckLevel::Local,
                    conv_seq,
                    time_ms: time_us / 1_000,
                    d_inbox: u64::from(joins),
                };
                let sent = Sent { key, void: answer.void, answer: answer_fields };
                let length = self.send(answer.conn, &ServerFrame::Sent(sent));
                self.stats.sent += 1;
                if joins {
                    let session = self.sessions.get(answer.conn).and_then(Session::attached);
                    session.expect("as above").entry_sent(length);
                }
                return;
            }
        };
        self.send(answer.conn, &frame);
    }

    /// New entries of a user are durable: every attached device gets them.
    pub(crate) fn pump_user(&mut self, id: UserId) {
        let count = self.users.ready(id).devices.len();
        for index in 0..count {
            if let Some(conn) = self.users.ready(id).devices[index].session {
                self.pump(conn);
            }
        }
    }

    /// Puts inbox entries into the session's output while it has credit and room.
    pub(crate) fn pump(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let (frames, bytes) = (limits.window_frames, limits.window_bytes);
        let output_max = limits.output_bytes_max as usize;
        loop {
            let Some(session) = self.sessions.get(conn) else { return };
            let room = session.out.len() < output_max;
            let Some(attached) = session.attached() else { return };
            let user = self.users.ready(attached.user);
            user.forget_before(self.log.start_of_tail());
            if attached.sent >= user.visible {
                if !std::mem::replace(&mut attached.caught_up, true) {
                    let head = user.visible;
                    self.send(conn, &ServerFrame::CaughtUp(CaughtUp { head }));
                }
                return;
            }
            if attached.scan.is_some() || !room || !attached.has_credit(frames, bytes) {
                return;
            }
            match user.position(attached.sent + 1) {
                Some(at) => {
                    let id = attached.user;
                    self.send_logged(conn, id, at);
                }
                None => return self.scan_for(conn),
            }
        }
    }

    /// Asks the store for entries that the log no longer holds.
    fn scan_for(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let session = self.sessions.get(conn).expect("attached");
        // What a scan brings goes into the output at once.
        let room = limits.output_bytes_max.saturating_sub(session.out.len() as u32);
        let session = session.attached().expect("attached");
        let user = self.users.ready(session.user);
        let credit = limits.window_frames - session.in_flight.len() as u32;
        let scan = Scan {
            user: session.user,
            after: session.sent,
            upto: user.visible.min(user.first_recent() - 1),
            entries_max: limits.scan_entries.min(credit),
            bytes_max: limits.scan_bytes.min(room),
        };
        // No ask is free: the next one that ends lets this session go on.
        let id = self.ask(Ask::Scan(scan), crate::loads::Pending::Scan(conn));
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        session.scan = Some(id);
    }

    /// The store answered a scan.
    pub(crate) fn scanned(&mut self, conn: ConnId, scanned: Scanned) {
        let limits = &self.config.limits;
        let (frames, bytes) = (limits.window_frames, limits.window_bytes);
        let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let id = attached.user;
        attached.scan = None;
        let before = attached.sent;
        for entry in &scanned.entries {
            let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else {
                return;
            };
            if entry.inbox_seq != attached.sent + 1 || !attached.has_credit(frames, bytes) {
                break;
            }
            self.send_stored(conn, id, entry);
        }
        let Some(attached) = self.sessions.get(conn).and_then(Session::attached) else { return };
        if attached.sent == before && attached.has_credit(frames, bytes) {
            // The store lacks an entry that was flushed: nothing here may skip it in silence.
            self.stats.store_holes += 1;
            return self.close(conn, CloseCode::Overloaded, "the store lost inbox entries");
        }
        self.pump(conn);
    }

    fn send_stored(&mut self, conn: ConnId, id: UserId, entry: &Entry) {
        let (conv, conv_seq) = (entry.conv.seen_by(id), entry.conv_seq);
        let time_ms = entry.time_us / 1_000;
        let frame = match &entry.kind {
            EntryKind::Peer { body } => {
                ServerFrame::Deliver(Deliver { d_inbox: 1, conv, conv_seq, time_ms, body })
            }
            EntryKind::Own { outbox, n, void, hash } => {
                let (outbox, n, void, hash) = (*outbox, *n, *void, *hash);
                ServerFrame::Own(Own { d_inbox: 1, conv, conv_seq, time_ms, outbox, n, void, hash })
            }
        };
        let length = self.send(conn, &frame);
        self.entry_counted(conn, length);
    }

    /// Sends the entry of user `id` that stands in the record at `at`.
    fn send_logged(&mut self, conn: ConnId, id: UserId, at: persistence::Position) {
        // The record borrows the log; the frame is encoded into the session's buffer, which is
        // taken out meanwhile.
        let mut out = match self.sessions.get(conn) {
            Some(session) if session.out.capacity() != 0 => std::mem::take(&mut session.out),
            _ => self.buffers.pop().unwrap_or_default(),
        };
        let before = out.len();
        encode_logged(&mut out, &self.log.read(at), id);
        let length = out.len() - before;
        let session = self.sessions.get(conn).expect("attached");
        session.out = out;
        if !session.sending && !session.ready {
            session.ready = true;
            self.ready.push_back(conn);
        }
        self.entry_counted(conn, length);
    }

    fn entry_counted(&mut self, conn: ConnId, length: usize) {
        self.stats.entries += 1;
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        session.entry_sent(length);
    }
}

/// The inbox entry of `id` in a record, as a frame.
fn encode_logged(out: &mut Vec<u8>, record: &Record<'_>, id: UserId) {
    let frame = match record {
        Record::Message(m) => {
            let (conv, conv_seq, time_ms) = (m.conv.seen_by(id), m.conv_seq, m.time_us / 1_000);
            if m.sender == id {
                let hash = m.void.unwrap_or_else(|| wire::body_hash(m.body));
                let (outbox, n, void) = (m.outbox, m.n, m.void.is_some());
                ServerFrame::Own(Own { d_inbox: 1, conv, conv_seq, time_ms, outbox, n, void, hash })
            } else {
                let body = m.body;
                ServerFrame::Deliver(Deliver { d_inbox: 1, conv, conv_seq, time_ms, body })
            }
        }
        Record::Inbox(i) => {
            let (conv, conv_seq, time_ms) = (i.conv.seen_by(id), i.conv_seq, i.time_us / 1_000);
            match i.kind {
                InboxKind::Peer { body } => {
                    ServerFrame::Deliver(Deliver { d_inbox: 1, conv, conv_seq, time_ms, body })
                }
                InboxKind::Own { outbox, n, void, hash } => ServerFrame::Own(Own {
                    d_inbox: 1,
                    conv,
                    conv_seq,
                    time_ms,
                    outbox,
                    n,
                    void,
                    hash,
                }),
                InboxKind::Nothing => unreachable!("a mark is no entry"),
            }
        }
        _ => unreachable!("{record:?} holds no inbox entry"),
    };
    wire::encode_server(out, &frame);
}
