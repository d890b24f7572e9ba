//! How messages, times and people are written.

use std::time::{SystemTime, UNIX_EPOCH};

use client::{Chat, Client, Contact, Conv, Kind, Message, PresenceState, Seq, Tick, UserId};
use time::{OffsetDateTime, UtcOffset};

pub const QUEUED: &str = "○";
pub const SENT: &str = "✓";
pub const DELIVERED: &str = "✓✓";
pub const GIVEN_UP: &str = "⊘";

/// What the clock on the wall adds to UTC.
#[derive(Clone, Copy)]
pub struct Zone(UtcOffset);

impl Zone {
    /// The user's zone at this moment; UTC if the system does not say.
    pub fn local() -> Zone {
        Zone(UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC))
    }

    /// A server whose time is no time shows as the epoch.
    fn at(self, time_ms: u64) -> OffsetDateTime {
        let seconds = i64::try_from(time_ms / 1_000).unwrap_or(i64::MAX);
        let time = OffsetDateTime::from_unix_timestamp(seconds);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        time.checked_to_offset(self.0).unwrap_or(time)
    }

    /// HH:MM.
    pub fn clock(self, time_ms: u64) -> String {
        let time = self.at(time_ms);
        format!("{:02}:{:02}", time.hour(), time.minute())
    }

    /// HH:MM; with the day if that is not today.
    pub fn stamp(self, time_ms: u64, now_ms: u64) -> String {
        let (day, clock) = (self.at(time_ms).date(), self.clock(time_ms));
        if day == self.at(now_ms).date() { clock } else { format!("{day} {clock}") }
    }
}

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What a place of the history shows: its mark and its text; `None`: nothing.
pub fn shown(chat: &Chat, seq: Seq, message: &Message) -> Option<(&'static str, String)> {
    let mark = match message.kind {
        Kind::Peer => "<",
        Kind::Own => match chat.tick(seq) {
            Tick::Sent => SENT,
            Tick::Delivered { .. } | Tick::Read => DELIVERED,
        },
        Kind::Gap => return Some(("!", "(the server lost a message here)".to_owned())),
        _ => return None,
    };
    let text = match &message.body {
        _ if message.deleted => "(deleted)".to_owned(),
        Some(body) if message.edited_by > 0 => format!("{} (edited)", printable(body)),
        Some(body) => printable(body),
        None => "(sent from another device)".to_owned(),
    };
    Some((mark, text))
}

/// The peer's name, or its number.
pub fn name(client: &Client, peer: u64) -> String {
    let contact = UserId::new(peer).and_then(|user| client.contact(user));
    match contact {
        Some(Contact { name, .. }) if !name.is_empty() => printable(name.as_bytes()),
        _ => peer.to_string(),
    }
}

/// Whether the peer is there, types, or when it was there last; empty if that is not known.
pub fn presence(client: &Client, peer: u64, zone: Zone) -> String {
    if client.is_typing(Conv::Direct(peer)) {
        return "typing …".to_owned();
    }
    let Some(presence) = UserId::new(peer).and_then(|user| client.presence(user)) else {
        return String::new();
    };
    match presence.state {
        PresenceState::Online => "online".to_owned(),
        PresenceState::Offline if presence.last_seen_ms > 0 => {
            format!("last seen at {}", zone.stamp(presence.last_seen_ms, unix_ms()))
        }
        PresenceState::Offline => "offline".to_owned(),
        PresenceState::Unknown => String::new(),
    }
}

/// Other people's bytes must not command this terminal.
pub fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_command_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\n\xff"), "a·[2Jb·\u{fffd}");
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let zone = |minutes| Zone(UtcOffset::from_whole_seconds(minutes * 60).unwrap());
        let (day_ms, hour_ms) = (86_400_000, 3_600_000);
        assert_eq!(zone(90).clock(0), "01:30");
        assert_eq!(zone(90).clock(day_ms - 1), "01:29");
        assert_eq!(zone(-1).clock(0), "23:59");
        assert_eq!(zone(90).stamp(0, hour_ms), "01:30");
        assert_eq!(zone(90).stamp(0, day_ms), "1970-01-01 01:30");
        assert_eq!(zone(0).stamp(u64::MAX, 0), "00:00", "no time is no panic");
    }
}
