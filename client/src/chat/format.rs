//! How messages, times and people are written.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use client::{Chat, Client, Contact, Conv, Kind, Message, PresenceState, Seq, Tick, UserId};

pub const QUEUED: &str = "○";
pub const SENT: &str = "✓";
pub const DELIVERED: &str = "✓✓";
pub const GIVEN_UP: &str = "⊘";

/// Seconds to add to UTC for the clock on the wall.
#[derive(Clone, Copy)]
pub struct Zone(i64);

impl Zone {
    /// The user's zone at this moment; UTC if the system does not say.
    pub fn local() -> Zone {
        let date = Command::new("date").arg("+%z").output();
        let said = date.ok().and_then(|output| String::from_utf8(output.stdout).ok());
        Zone(said.and_then(|said| offset_s(said.trim())).unwrap_or(0))
    }

    /// HH:MM.
    pub fn clock(self, time_ms: u64) -> String {
        let minutes = (time_ms as i64 / 1000 + self.0).rem_euclid(86_400) / 60;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    }

    /// When somebody was there last.
    fn ago(self, time_ms: u64, now_ms: u64) -> String {
        let day = |time_ms: u64| (time_ms as i64 / 1000 + self.0).div_euclid(86_400);
        match day(now_ms) - day(time_ms) {
            ..=0 => format!("at {}", self.clock(time_ms)),
            1 => format!("yesterday at {}", self.clock(time_ms)),
            days => format!("{days} days ago"),
        }
    }
}

/// `+0130` in seconds.
fn offset_s(said: &str) -> Option<i64> {
    let (sign, digits) = match said.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
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
            format!("last seen {}", zone.ago(presence.last_seen_ms, unix_ms()))
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
        assert_eq!(offset_s("+0130"), Some(5400));
        assert_eq!(offset_s("-0800"), Some(-28_800));
        assert_eq!(offset_s("UTC"), None);
        let zone = Zone(5400);
        assert_eq!(zone.clock(0), "01:30");
        assert_eq!(zone.clock(86_400_000 - 1), "01:29");
        assert_eq!(Zone(-60).clock(0), "23:59");
        let hour_ms = 3_600_000;
        assert_eq!(zone.ago(0, hour_ms), "at 01:30");
        assert_eq!(zone.ago(0, 23 * hour_ms), "yesterday at 01:30");
        assert_eq!(zone.ago(0, 100 * hour_ms), "4 days ago");
    }
}
