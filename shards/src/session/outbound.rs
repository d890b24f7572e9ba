//! Output: answers, inbox entries while there is credit, closing.

use super::{Session, State, entries};
use crate::gate::Gated;
use crate::shard::Shard;
use crate::{ConnId, Effect, SendAnswer, relay::Outcome};
use persistence::Entry;
use wire::{
    Answer, Close, CloseCode, OutOfOrder, RefusalCode, Refused, RequestRefused, Retry, SendKey,
    Sent, Seq, ServerFrame, UserId,
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

    /// Appends frames once everything that is in the log now is durable.
    pub(crate) fn send_gated(&mut self, conn: ConnId, frames: &[ServerFrame<'_>]) {
        let mut encoded = Vec::new();
        frames.iter().for_each(|frame| wire::encode_server(&mut encoded, frame));
        self.send_gated_bytes(conn, encoded);
    }

    /// Appends encoded frames once everything that is in the log now is durable.
    pub(crate) fn send_gated_bytes(&mut self, conn: ConnId, encoded: Vec<u8>) {
        let Some(session) = self.sessions.get(conn).filter(|s| !s.ends()) else { return };
        session.gated_bytes += encoded.len();
        self.gate.hold(self.log.end(), Gated::Frames { conn, frames: encoded });
    }

    /// Appends encoded frames to the connection's output.
    pub(crate) fn send_encoded(&mut self, conn: ConnId, frames: &[u8]) {
        let Some(session) = self.sessions.get(conn).filter(|s| !s.ends()) else { return };
        if session.out.capacity() == 0 {
            session.out = self.buffers.pop().unwrap_or_default();
        }
        session.gated_bytes -= frames.len();
        session.out.extend_from_slice(frames);
        if !session.sending && !std::mem::replace(&mut session.ready, true) {
            self.ready.push_back(conn);
        }
    }

    /// Refuses a request that is no send.
    pub(crate) fn refuse_request(
        &mut self,
        conn: ConnId,
        request: u64,
        code: RefusalCode,
        retry_after_ms: u64,
    ) {
        let refused = RequestRefused { request, code, retry_after_ms };
        self.send(conn, &ServerFrame::RequestRefused(refused));
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
        self.close_for(conn, code, reason, retry_after_ms);
    }

    /// Ends a session, which may come back after `retry_after_ms`.
    pub(crate) fn close_for(
        &mut self,
        conn: ConnId,
        code: CloseCode,
        reason: &str,
        retry_after_ms: u64,
    ) {
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
        let (id, device, sends) = match &session.state {
            State::Attached(attached) => (attached.user, attached.device, Some(attached.sends)),
            State::User(greeting) => (greeting.user, greeting.device, None),
            State::Hello | State::HandOff { .. } => {
                self.handshakes -= 1;
                return;
            }
            State::End { .. } => return,
        };
        self.unwatch_all(conn);
        self.collect_places(conn);
        let Some(device) = self.users.get_mut(id).and_then(|user| user.device_mut(device)) else {
            return;
        };
        // A device that comes back goes on with what is left of its quota.
        device.sends = sends.unwrap_or(device.sends);
        if device.session == Some(conn) {
            device.session = None;
            self.attendance(id);
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
                    level: self.config.level,
                    conv_seq,
                    time_ms: time_us / 1_000,
                    d_inbox: u64::from(joins),
                };
                let sent = Sent { key, void: answer.void, answer: answer_fields };
                let length = self.send(answer.conn, &ServerFrame::Sent(sent));
                self.stats.sent += 1;
                if joins {
                    let session = self.sessions.get(answer.conn).and_then(Session::attached);
                    session.expect("as above").entry_sent(length, None);
                }
                return;
            }
        };
        self.send(answer.conn, &frame);
    }

    /// Sends an entry that the store gave.
    pub(super) fn send_stored(&mut self, conn: ConnId, id: UserId, entry: &Entry) {
        let frame = entries::stored(entry, id);
        let place = entries::peer_place(&frame);
        let length = self.send(conn, &frame);
        self.entry_counted(conn, length, place);
    }

    /// Sends the entry of user `id` that stands in the record at `at`.
    pub(super) fn send_logged(&mut self, conn: ConnId, id: UserId, at: persistence::Position) {
        // The record borrows the log; the frame is encoded into the session's buffer, which is
        // taken out meanwhile.
        let mut out = match self.sessions.get(conn) {
            Some(session) if session.out.capacity() != 0 => std::mem::take(&mut session.out),
            _ => self.buffers.pop().unwrap_or_default(),
        };
        let before = out.len();
        let record = self.log.read(at);
        let frame = entries::logged(&record, id);
        wire::encode_server(&mut out, &frame);
        let place = entries::peer_place(&frame);
        let length = out.len() - before;
        let session = self.sessions.get(conn).expect("attached");
        session.out = out;
        if !session.sending && !session.ready {
            session.ready = true;
            self.ready.push_back(conn);
        }
        self.entry_counted(conn, length, place);
    }

    fn entry_counted(&mut self, conn: ConnId, length: usize, place: Option<(UserId, Seq)>) {
        self.stats.entries += 1;
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        session.entry_sent(length, place);
    }
}
