//! Deadlines of connections, and what a session waits for meanwhile.

use super::{Session, State};
use crate::shard::Shard;
use crate::{ConnId, Effect};
use wire::{CloseCode, UserId};

impl Shard {
    /// A connection's time in the wheel has come.
    pub(crate) fn deadline(&mut self, index: u32) {
        let Some(session) = self.sessions.at(index) else { return };
        let (conn, deadline_us) = (session.conn, session.deadline_us);
        if deadline_us > self.now.mono_us {
            return self.wheel.insert(index, deadline_us);
        }
        match session.state {
            State::End { asked: true } => {}
            State::End { ref mut asked } => {
                // Its reader does not read: cut.
                *asked = true;
                self.effects.push_back(Effect::Close { conn });
            }
            State::Attached(_) => self.close(conn, CloseCode::IdleTimeout, ""),
            _ => self.close(conn, CloseCode::HandshakeTimeout, ""),
        }
    }

    /// Heard from now; silent until then is too long.
    pub(crate) fn idle_deadline_us(&self) -> u64 {
        self.now.mono_us + self.config.limits.heartbeat_ms * 2_500
    }

    /// Whose user an attaching session waits for.
    pub(crate) fn attaching_user(&mut self, conn: ConnId) -> Option<UserId> {
        match self.sessions.get(conn) {
            Some(Session { state: State::User(greeting), .. }) => Some(greeting.user),
            _ => None,
        }
    }
}
