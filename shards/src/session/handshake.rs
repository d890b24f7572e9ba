//! From accept to WELCOME: HELLO is verified anywhere, and answered at the user's home.

use super::catch_up::Scanning;
use super::{Attached, Greeting, Session, State, Telling};
use crate::devices::About;
use crate::gate::Gated;
use crate::shard::Shard;
use crate::work::Work;
use crate::{Adoption, ConnId, CoreIndex, Effect, Relay, token};
use persistence::Record;
use wire::{
    ClientFrame, CloseCode, Deframer, HELLO_BYTES_MAX, Hello, ServerFrame, SnapshotReason, UserId,
    Verdict, Welcome, put_varint,
};

impl Shard {
    /// A new connection: it has one deadline, however its bytes trickle.
    pub(crate) fn accepted(&mut self, conn: ConnId) {
        let deadline_us = self.now.mono_us + self.config.limits.handshake_ms * 1_000;
        self.sessions.insert(Session::new(conn, State::Hello, deadline_us));
        self.wheel.insert(conn.index, deadline_us);
        self.handshakes += 1;
        if self.stopping {
            self.close(conn, CloseCode::Shutdown, "the server stops");
        } else if self.handshakes > self.config.limits.handshakes_max {
            self.close(conn, CloseCode::Overloaded, "too many handshakes");
        }
    }

    /// A whole first frame. If it is a HELLO with a token that proves a device, the connection is
    /// on its way home.
    pub(super) fn hello(&mut self, conn: ConnId, content: &[u8], hello: &Hello<'_>) {
        let unix_s = self.now.unix_us / 1_000_000;
        let Some(claims) = token::verify(&self.config.key, hello.token, unix_s) else {
            return self.close(conn, CloseCode::Unauthenticated, "");
        };
        if hello.version_min > wire::VERSION || hello.version_max < wire::VERSION {
            return self.close(conn, CloseCode::UnsupportedVersion, "");
        }
        let mut bytes = Vec::with_capacity(content.len() + 2);
        put_varint(&mut bytes, content.len() as u64);
        bytes.extend_from_slice(content);
        let adoption = Some(Box::new(Adoption { claims, bytes }));
        let to = self.place.home(claims.user);
        let session = self.sessions.get(conn).expect("its frame is being handled");
        session.state = State::HandOff { to, adoption };
    }

    /// Every byte that came before is in the adoption: let the connection go home.
    pub(crate) fn hand_off(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let State::HandOff { to, adoption } = &mut session.state else { return };
        // More bytes came while it waited for a credit, and it stood in the queue twice.
        if adoption.is_none() {
            return;
        }
        let to = *to;
        if to != self.place.me {
            let lane = &mut self.lanes[to as usize];
            if lane.credits == 0 {
                return lane.hand_offs.push_back(conn);
            }
            lane.credits -= 1;
        }
        let adoption = adoption.take().expect("looked at above");
        self.effects.push_back(Effect::Handoff { conn, to, adoption });
    }

    /// A connection of one of this core's users comes home.
    pub(crate) fn adopted(&mut self, conn: ConnId, from: CoreIndex, adoption: Adoption) {
        if from != self.place.me {
            self.effects.push_back(Effect::Relay { to: from, relay: Relay::HandoffTaken });
        }
        let claims = adoption.claims;
        assert!(self.place.is_home(claims.user), "handed to its home");
        let mut input = adoption.bytes.as_slice();
        let greeting = Deframer::default().next(&mut input, HELLO_BYTES_MAX, |content| {
            match wire::decode_client(content) {
                Ok(ClientFrame::Hello(hello)) => Greeting {
                    user: claims.user,
                    device: claims.device,
                    outbox: hello.outbox,
                    version: wire::VERSION,
                    features: hello.features & wire::FEATURES,
                    inbox_epoch: hello.inbox_epoch,
                    acked: hello.acked,
                    foreground: hello.foreground,
                    about: About { name: hello.name.into(), platform: hello.platform.into() },
                    from: None,
                    privacy: Default::default(),
                },
                _ => unreachable!("the core that handed it over decoded it"),
            }
        });
        let greeting = greeting.expect("verified").expect("whole");
        let deadline_us = self.now.mono_us + self.config.limits.handshake_ms * 1_000;
        let mut session = Session::new(conn, State::User(Box::new(greeting)), deadline_us);
        session.held = input.to_vec();
        // Nothing is received before WELCOME; `resume` asks for more.
        session.paused = true;
        self.sessions.insert(session);
        self.wheel.insert(conn.index, deadline_us);
        if self.stopping {
            return self.close(conn, CloseCode::Shutdown, "the server stops");
        }
        self.work(Work::Attach(conn));
    }

    /// The user is loaded: fences the device's older session, says where the stream goes on, and
    /// waits for the log.
    pub(crate) fn attach(&mut self, conn: ConnId) {
        let Some(Session { state: State::User(greeting), .. }) = self.sessions.get(conn) else {
            return;
        };
        let (id, device) = (greeting.user, greeting.device);
        let (claimed_epoch, acked) = (greeting.inbox_epoch, greeting.acked);
        let about = std::mem::take(&mut greeting.about);
        if let Err((code, retry_after_ms)) = self.may_attach(id, device) {
            return self.close_for(conn, code, "", retry_after_ms);
        }
        let user = self.users.ready(id);
        let epoch = self.config.epoch_base + user.epoch;
        let verdict = user.verdict(claimed_epoch == epoch, claimed_epoch == 0, acked);
        let (raised, head) = (user.epoch + 1, user.recent.head());
        let from = verdict.unwrap_or_else(|| {
            self.raise_epoch(id, raised);
            (head, Verdict::Snapshot(SnapshotReason::Epoch))
        });
        let before = self.users.ready(id).device_mut(device).map(|device| device.acked);
        let until = self.log_device(id, device, about, from);
        if let (Some(before), (acked, Verdict::Resume)) = (before, from) {
            self.acked_before(id, device, before, acked);
        }
        self.look_for_old(id);
        let user = self.users.ready(id);
        let of_user = user.device_mut(device).expect("known");
        of_user.foreground = false;
        let displaced = of_user.session.replace(conn);
        let privacy = user.privacy;
        let session = self.sessions.get(conn).expect("looked up above");
        if let State::User(greeting) = &mut session.state {
            (greeting.from, greeting.privacy) = (Some(from), privacy);
        }
        if let Some(older) = displaced {
            self.close(older, CloseCode::Displaced, "");
        }
        self.attendance(id);
        self.gate.hold(until, Gated::Welcome(conn));
    }

    fn raise_epoch(&mut self, id: UserId, epoch: u64) {
        self.append_record(&Record::Epoch { user: id, epoch });
        let end = self.log.end();
        let user = self.users.ready(id);
        (user.epoch, user.dirty_until) = (epoch, end);
        // The other devices attach anew and learn the epoch.
        let others = user.devices.iter_mut().filter_map(|d| d.session.take()).collect::<Vec<_>>();
        for conn in others {
            self.close(conn, CloseCode::Shutdown, "the inbox has a new epoch");
        }
    }

    /// The log has what WELCOME rests on.
    pub(crate) fn welcome(&mut self, conn: ConnId) {
        let deadline_us = self.idle_deadline_us();
        let Some(session) = self.sessions.get(conn) else { return };
        let State::User(greeting) = &session.state else { return };
        let (from, verdict) = greeting.from.expect("attached before");
        let limits = &self.config.limits;
        let user = self.users.ready(greeting.user);
        let welcome = Welcome {
            version: greeting.version,
            features: greeting.features,
            user: greeting.user,
            device: greeting.device,
            inbox_epoch: self.config.epoch_base + user.epoch,
            verdict,
            from,
            head: user.visible,
            window_frames: u64::from(limits.window_frames),
            window_bytes: u64::from(limits.window_bytes),
            heartbeat_ms: limits.heartbeat_ms,
            server_time_ms: self.now.unix_us / 1_000,
            body_bytes_max: u64::from(limits.body_bytes_max),
            privacy: greeting.privacy,
        };
        let attached = Attached {
            user: greeting.user,
            device: greeting.device,
            outbox: greeting.outbox,
            sent: from,
            acked: from,
            in_flight: Default::default(),
            in_flight_bytes: 0,
            sends: user.device_mut(greeting.device).expect("attached").sends,
            places: Vec::new(),
            telling: Telling::Nothing,
            told_us: 0,
            told: from,
            caught_up: false,
            scanning: Scanning::No,
            ahead: Default::default(),
            pages: Default::default(),
            asking: 0,
            commanding: false,
            typed: Default::default(),
        };
        let (id, device, foreground) = (greeting.user, greeting.device, greeting.foreground);
        session.state = State::Attached(Box::new(attached));
        session.deadline_us = deadline_us;
        self.send(conn, &ServerFrame::Welcome(welcome));
        self.set_foreground(id, device, foreground);
        self.pump(conn);
        self.resume(conn);
    }
}
