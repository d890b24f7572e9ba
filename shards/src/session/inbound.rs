//! Bytes → frames → what they ask for. Input is bounded: a session whose output, lanes or loads
//! are full takes nothing until they are not.

use super::{Session, State, Telling};
use crate::history::PageAsk;
use crate::shard::Shard;
use crate::work::Work;
use crate::{ConnId, Content, Effect, SendAnswer, SendRequest, Taken, relay::Outcome};
use bytes::Bytes;
use persistence::ConvKey;
use wire::{
    ClientFrame, CloseCode, Conv, DecodeError, FRAME_BYTES_MAX, FRAME_OVERHEAD_MAX,
    HELLO_BYTES_MAX, Ping, Pong, RefusalCode, Seq, ServerFrame, UserId, WATCH_BYTES_MAX,
};

impl Shard {
    /// Bytes of a connection; takes whole frames, and keeps a cut one.
    pub(crate) fn received(&mut self, conn: ConnId, bytes: &[u8]) -> Taken {
        let idle_deadline_us = self.idle_deadline_us();
        let Some(session) = self.sessions.get(conn) else { return Taken(bytes.len()) };
        match session.state {
            State::Attached(_) => session.deadline_us = idle_deadline_us,
            State::End { .. } => return Taken(bytes.len()),
            _ => {}
        }
        if session.paused {
            return Taken(0);
        }
        let taken = self.input(conn, bytes);
        if taken < bytes.len() {
            self.pause(conn);
        } else if self.sessions.get(conn).is_some_and(|s| matches!(s.state, State::Hello)) {
            self.effects.push_back(Effect::Receive { conn });
        }
        Taken(taken)
    }

    /// Handles frames until the input ends or the session may take no more; returns the bytes
    /// that were taken.
    fn input(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let mut input = bytes;
        while !input.is_empty() && self.may_take(conn) {
            let Some(session) = self.sessions.get(conn) else { return bytes.len() };
            // Of a SEND that is too long enough is kept to refuse it; the session stays.
            let (kept_max, limit) = match session.state {
                State::Attached(_) => (
                    WATCH_BYTES_MAX
                        .max(self.config.limits.body_bytes_max as usize + FRAME_OVERHEAD_MAX),
                    FRAME_BYTES_MAX,
                ),
                _ => (HELLO_BYTES_MAX, HELLO_BYTES_MAX),
            };
            let mut deframer = std::mem::take(&mut session.deframer);
            let handle = |content: &[u8]| self.frame(conn, content);
            let step = deframer.next_clipped(&mut input, kept_max, limit, handle);
            let Some(session) = self.sessions.get(conn) else { return bytes.len() };
            session.deframer = deframer;
            if let Err(error) = step {
                self.close(conn, error.close_code(), "");
                return bytes.len();
            }
            match &mut session.state {
                State::HandOff { adoption: Some(adoption), .. } => {
                    adoption.bytes.extend_from_slice(input);
                    self.hand_off(conn);
                    return bytes.len();
                }
                State::End { .. } => return bytes.len(),
                _ => {}
            }
        }
        bytes.len() - input.len()
    }

    /// Whether the session may take another frame: whatever the frame, there is room for what
    /// follows from it.
    fn may_take(&mut self, conn: ConnId) -> bool {
        let lanes_open = self.lanes_blocked == 0;
        let output_max = self.config.limits.output_bytes_max as usize;
        match self.sessions.get(conn) {
            Some(Session { state: State::Attached(attached), out, gated_bytes, .. }) => {
                lanes_open
                    && self.marks.len() < self.config.limits.moved_marks_max as usize
                    && out.len() + *gated_bytes < output_max
                    && attached.asking < self.config.limits.requests_max
                    && !attached.commanding
            }
            Some(Session { state: State::User(_), .. }) => false,
            // Before the log has its first segment nobody attaches.
            Some(_) => self.log.room_bytes() > 0,
            None => true,
        }
    }

    fn pause(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        if !session.paused && !session.ends() {
            session.paused = true;
            self.paused.push_back(conn);
        }
    }

    /// Goes on with paused sessions whose reason is gone.
    pub(crate) fn resume_paused(&mut self) {
        for _ in 0..self.paused.len() {
            let Some(conn) = self.paused.pop_front() else { return };
            match self.may_take(conn) {
                true => self.resume(conn),
                false => self.paused.push_back(conn),
            }
        }
    }

    /// Handles what was held back, then asks the driver for more.
    pub(super) fn resume(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        session.paused = false;
        let held = std::mem::take(&mut session.held);
        let taken = self.input(conn, &held);
        let Some(session) = self.sessions.get(conn) else { return };
        if taken < held.len() {
            session.held = held[taken..].to_vec();
            return self.pause(conn);
        }
        if !session.ends() {
            self.effects.push_back(Effect::Receive { conn });
        }
    }

    /// One whole frame.
    fn frame(&mut self, conn: ConnId, content: &[u8]) {
        let Some(session) = self.sessions.get(conn) else { return };
        let frame = match wire::decode_client(content) {
            Ok(frame) => frame,
            Err(DecodeError::UnknownType(_)) if !session.in_handshake() => {
                return self.close(conn, CloseCode::UnknownFrame, "");
            }
            Err(error) => return self.close(conn, CloseCode::Malformed, &error.to_string()),
        };
        match (&session.state, frame) {
            (State::Hello, ClientFrame::Hello(hello)) => self.hello(conn, content, &hello),
            (_, ClientFrame::Close(_)) => self.end(conn),
            (State::Attached(_), frame) => self.attached_frame(conn, frame),
            _ => self.close(conn, CloseCode::OutOfState, ""),
        }
    }

    fn attached_frame(&mut self, conn: ConnId, frame: ClientFrame<'_>) {
        match frame {
            ClientFrame::Send(send) => {
                let body = Bytes::copy_from_slice(send.body);
                let content = match send.change {
                    None => Content::Body(body),
                    Some(change) => Content::Change(change, body),
                };
                self.submit(conn, send.key, content);
            }
            ClientFrame::Void(void) => self.submit(conn, void.key, Content::Void(void.hash)),
            ClientFrame::Ack(ack) => self.acked(conn, ack.inbox_seq),
            ClientFrame::Ping(ping) => self.ping(conn, ping),
            ClientFrame::Read(read) => self.read(conn, read),
            ClientFrame::Command(command) => self.command(conn, command),
            ClientFrame::History(ask) => self.ask_page(conn, PageAsk::History(ask)),
            ClientFrame::Chats(ask) => self.ask_page(conn, PageAsk::Chats(ask)),
            ClientFrame::Chat(ask) => self.ask_page(conn, PageAsk::Chat(ask)),
            ClientFrame::Contacts(contacts) => self.contacts(conn, contacts),
            ClientFrame::Devices(devices) => self.devices(conn, devices),
            ClientFrame::Watch(watch) => self.watch(conn, watch.users.iter().collect()),
            ClientFrame::Activity(activity) => self.activity(conn, activity.foreground),
            ClientFrame::Typing(typing) => self.typing(conn, typing.conv),
            ClientFrame::Hello(_) | ClientFrame::Close(_) => {
                self.close(conn, CloseCode::OutOfState, "");
            }
        }
    }

    /// SEND or VOID: refuses what can never be taken, and lets the owner decide the rest.
    fn submit(&mut self, conn: ConnId, key: wire::SendKey, content: Content) {
        let (body_bytes_max, now_us) = (self.config.limits.body_bytes_max, self.now.mono_us);
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let Conv::Direct(peer) = key.conv;
        let conv = UserId::new(peer).and_then(|peer| ConvKey::new(session.user, peer));
        let limits = &self.config.limits;
        let (burst, every_ms) = (limits.send_burst, limits.send_ms);
        let (too_big, max) = (RefusalCode::TooBig, body_bytes_max as usize);
        let refusal = match &content {
            _ if conv.is_none() => Some((RefusalCode::BadRecipient, 0, 0)),
            _ if key.n == 0 => Some((RefusalCode::BadNumber, 0, 0)),
            Content::Body(body) if body.is_empty() => Some((RefusalCode::Empty, 0, 0)),
            Content::Change(change, body) if !change.delete && body.is_empty() => {
                Some((RefusalCode::Empty, 0, 0))
            }
            Content::Body(body) | Content::Change(_, body) if body.len() > max => {
                Some((too_big, 0, u64::from(body_bytes_max)))
            }
            _ => match session.sends.take(now_us, burst, every_ms) {
                Ok(()) => None,
                Err(after_ms) => Some((RefusalCode::Quota, after_ms, u64::from(burst))),
            },
        };
        if let Some((code, retry_after_ms, limit)) = refusal {
            let refused = wire::Refused { key, code, retry_after_ms, limit };
            self.send(conn, &ServerFrame::Refused(refused));
            return;
        }
        let request = SendRequest {
            conn,
            conv: conv.expect("checked"),
            sender: session.user,
            device: session.device,
            outbox: key.outbox.unwrap_or(session.outbox),
            explicit: key.outbox.is_some(),
            n: key.n,
            content,
        };
        self.work(Work::Submit(Box::new(request)));
    }

    /// The device has committed its inbox up to here.
    fn acked(&mut self, conn: ConnId, seq: Seq) {
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        if seq > session.sent {
            return self.close(conn, CloseCode::BadAck, "");
        }
        if seq <= session.acked {
            return;
        }
        session.entries_acked(seq);
        let tells = !session.places.is_empty() && session.telling != Telling::Soon;
        let (id, device_id) = (session.user, session.device);
        let device = self.users.ready(id).device_mut(device_id).expect("attached");
        if device.acked == device.logged && seq > device.acked {
            self.cursors.push((id, device_id));
        }
        device.acked = device.acked.max(seq);
        if tells {
            self.places_acked(conn);
        }
        self.pump(conn);
    }

    fn ping(&mut self, conn: ConnId, ping: Ping) {
        if ping.acked != 0 {
            self.acked(conn, ping.acked);
        }
        let Some(session) = self.sessions.get(conn).and_then(Session::attached) else { return };
        let (id, acked) = (session.user, session.acked);
        let visible = self.users.ready(id).visible;
        let head = if acked == visible { 0 } else { visible };
        self.send(conn, &ServerFrame::Pong(Pong { head }));
    }

    /// Refuses a send of this core's session with an answer to the client.
    pub(crate) fn refuse(&mut self, request: &SendRequest, code: RefusalCode, after_ms: u64) {
        let outcome = Outcome::Refused { code, retry_after_ms: after_ms };
        self.deliver_answer(SendAnswer::to(request, outcome));
    }
}
