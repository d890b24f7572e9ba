//! TYPING: told to the peer's sessions in the foreground, and the first to be dropped where
//! anything is short. Nothing of it is kept.

use crate::session::Session;
use crate::shard::Shard;
use crate::work::{Need, Work};
use crate::{ConnId, CoreIndex, Relay};
use persistence::ConvKey;
use wire::{Conv, ServerFrame, UserId};

/// Conversations of one session in which TYPING came lately; a person writes in one.
const CONVERSATIONS: usize = 4;

/// When a session last said TYPING, by conversation: the newest few.
#[derive(Clone, Copy, Default)]
pub(crate) struct Typed([Option<(UserId, u64)>; CONVERSATIONS]);

impl Typed {
    /// Whether to tell it: once per conversation and `every_us`.
    pub fn take(&mut self, peer: UserId, now_us: u64, every_us: u64) -> bool {
        let recent = |(_, at_us): &(UserId, u64)| now_us < at_us + every_us;
        if self.0.iter().flatten().any(|entry| entry.0 == peer && recent(entry)) {
            return false;
        }
        let of_peer = self.0.iter().position(|e| e.is_some_and(|(other, _)| other == peer));
        let oldest = (0..CONVERSATIONS).min_by_key(|&i| self.0[i].map_or(0, |(_, at_us)| at_us));
        let index = of_peer.or(oldest).expect("there is room for some");
        self.0[index] = Some((peer, now_us));
        true
    }
}

impl Shard {
    /// TYPING of a session here.
    pub(crate) fn typing(&mut self, conn: ConnId, Conv::Direct(peer): Conv) {
        let (now_us, every_us) = (self.now.mono_us, self.config.limits.typing_ms * 1_000);
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let user = session.user;
        let Some(peer) = UserId::new(peer).filter(|&peer| peer != user) else { return };
        if session.typed.take(peer, now_us, every_us) && self.typing_room() {
            self.work(Work::Typing { from: None, writer: user, reader: peer });
        }
    }

    /// Loads are for what must arrive: typing waits for one only while half of the room is free.
    fn typing_room(&self) -> bool {
        self.waiting < self.config.limits.waiting_max / 2
    }

    /// TYPING from another core, or from this one.
    pub(crate) fn typing_came(&mut self, from: CoreIndex, writer: UserId, reader: UserId) {
        if self.typing_room() && self.users.get_mut(reader).is_some_and(|u| u.in_foreground()) {
            self.work(Work::Typing { from: Some(from), writer, reader });
        }
        self.reply(from, Relay::Noted);
    }

    /// What each side's work needs: whether that side blocks the other.
    pub(crate) fn typing_need(from: Option<CoreIndex>, writer: UserId, reader: UserId) -> Need {
        let conv = ConvKey::new(writer, reader).expect("two users");
        Need::Member(if from.is_some() { reader } else { writer }, conv)
    }

    /// The member is loaded: on to the reader's home, or to the reader's sessions.
    pub(crate) fn pass_typing(&mut self, from: Option<CoreIndex>, writer: UserId, reader: UserId) {
        let conv = ConvKey::new(writer, reader).expect("two users");
        let here = if from.is_some() { reader } else { writer };
        if self.members.ready((here, conv)).contact.blocked {
            return;
        }
        if from.is_some() {
            return self.tell_typing(reader, conv);
        }
        let home = self.place.home(reader);
        if self.lanes[home as usize].open() {
            self.request(home, Relay::Typing { writer, reader });
            self.drain_lane(home);
        }
    }

    fn tell_typing(&mut self, reader: UserId, conv: ConvKey) {
        let output_max = self.config.limits.output_bytes_max as usize;
        let Some(user) = self.users.get_mut(reader) else { return };
        let devices = user.devices.iter().filter(|device| device.foreground);
        let conns: Vec<ConnId> = devices.filter_map(|device| device.session).collect();
        for conn in conns {
            let session = self.sessions.get(conn);
            let quiet = session.is_some_and(|s| s.out.len() < output_max / 2);
            if quiet {
                let typing = wire::Typing { conv: conv.seen_by(reader) };
                self.send(conn, &ServerFrame::Typing(typing));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_conversation_and_time() {
        let (mut typed, user) = (Typed::default(), |n| UserId::new(n).expect("not 0"));
        assert!(typed.take(user(1), 10, 100) && !typed.take(user(1), 109, 100));
        assert!(typed.take(user(1), 110, 100));
        assert!((2..6).all(|n| typed.take(user(n), 111, 100)));
        assert!(typed.take(user(1), 112, 100), "only the newest are remembered");
        assert!(!typed.take(user(2), 112, 100));
    }
}
