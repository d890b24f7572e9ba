//! What both faces of the program share: who talks with whom, and what is said about it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use client::blocking::Connection;
use client::{ClientEvent, CloseCode, Conv, Fault, Kind, Message, Retry, SendId};
use time::{Date, OffsetDateTime, UtcOffset};

pub const QUEUED: &str = "○";
pub const SENT: &str = "✓";
pub const GIVEN_UP: &str = "⊘";

/// The device, and the conversation that its user looks at. `T`: input of the terminal.
pub struct Talk<T> {
    pub connection: Connection<T>,
    /// With whom the user talks.
    pub to: Option<u64>,
    /// What unsettled sends say.
    texts: BTreeMap<SendId, String>,
    online: bool,
    /// Why the server did not take a send.
    refusal: Option<String>,
}

/// What the user typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Say(String),
    To(u64),
    GiveUp,
    Quit,
    Nothing,
    Wrong(String),
}

impl Line {
    pub fn parse(line: &str) -> Line {
        let line = line.trim();
        let mut words = line.split_whitespace();
        match (words.next(), words.next().map(str::parse), words.next()) {
            (None, ..) => Line::Nothing,
            (Some("/to"), Some(Ok(user)), None) if user != 0 => Line::To(user),
            (Some("/to"), ..) => Line::Wrong("/to wants a user's number, as in /to 2".to_owned()),
            (Some("/giveup"), None, _) => Line::GiveUp,
            (Some("/quit"), None, _) => Line::Quit,
            (Some(word), ..) if word.starts_with('/') => {
                Line::Wrong(format!("{word} is no command; there are /to N, /giveup and /quit"))
            }
            _ => Line::Say(line.to_owned()),
        }
    }
}

impl<T: Send + 'static> Talk<T> {
    pub fn new(connection: Connection<T>, to: Option<u64>) -> Talk<T> {
        let texts = BTreeMap::new();
        let mut talk = Talk { connection, to, texts, online: false, refusal: None };
        let client = talk.connection.client();
        for conv in client.conversations() {
            for send in client.pending(conv) {
                let id = SendId { conv, serial: send.serial };
                talk.texts.insert(id, printable(&send.body));
            }
        }
        talk
    }

    /// Queues a message to the user of this conversation.
    pub fn say(&mut self, text: &str) -> Result<(), String> {
        let to = self.to.ok_or("say with whom you talk first: /to 2")?;
        let sent = self.connection.client_mut().compose(Conv::Direct(to), text.as_bytes());
        let id = sent.map_err(|error| error.to_string())?;
        self.texts.insert(id, printable(text.as_bytes()));
        Ok(())
    }

    /// Gives up the newest unsent message of this conversation.
    pub fn give_up(&mut self) -> Result<(), String> {
        let conv = Conv::Direct(self.to.unwrap_or(0));
        let newest = self.connection.client().pending(conv).filter(|send| !send.void).last();
        let serial = newest.ok_or("nothing here waits to be sent")?.serial;
        self.connection.client_mut().give_up(SendId { conv, serial });
        Ok(())
    }

    /// Waits for something to happen. An error is the journal's, and ends the program: what its
    /// disk has is unknown.
    pub fn turn(&mut self, wait: Duration) -> Result<Option<T>, String> {
        self.connection.turn(wait).map_err(journal_failed)
    }

    /// The next event; an error if only a person can help.
    pub fn event(&mut self) -> Result<Option<ClientEvent>, String> {
        let event = self.connection.event();
        match &event {
            Some(ClientEvent::Attached { .. }) => self.online = true,
            Some(ClientEvent::Sent { .. } | ClientEvent::GivenUp { .. }) => self.refusal = None,
            Some(ClientEvent::Refused { code, .. }) => {
                self.refusal = Some(format!("the server does not take it now ({})", code.name()));
            }
            Some(ClientEvent::Closed { code, .. }) if code.retry() == Retry::Never => {
                return Err(ended(*code));
            }
            Some(ClientEvent::Broken { fault: fault @ Fault::ForeignJournal { .. } }) => {
                return Err(fault.to_string());
            }
            Some(ClientEvent::Message { conv: Conv::Direct(peer), .. }) => {
                self.to.get_or_insert(*peer);
            }
            _ => {}
        }
        self.online &= self.connection.client().is_attached();
        Ok(event)
    }

    /// What this send says, for the last time if it is settled.
    pub fn text(&mut self, id: SendId) -> String {
        match self.connection.client().pending(id.conv).any(|send| send.serial == id.serial) {
            true => self.texts.get(&id).cloned().unwrap_or_default(),
            false => self.texts.remove(&id).unwrap_or_default(),
        }
    }

    /// Connected or not, and what happens next.
    pub fn state(&self) -> String {
        let client = self.connection.client();
        let queued: usize = client.conversations().map(|conv| client.pending(conv).count()).sum();
        let queued = match queued {
            0 => String::new(),
            1 => "; 1 message waits".to_owned(),
            count => format!("; {count} messages wait"),
        };
        if client.is_attached() {
            let refusal = self.refusal.as_ref().map_or(String::new(), |why| format!(": {why}"));
            return format!("online{queued}{refusal}");
        }
        let trouble = self.connection.trouble().unwrap_or("not connected");
        match self.connection.connects_in() {
            // Rounded up: it says 1 until the moment comes.
            Some(wait) => {
                let seconds = wait.as_millis().div_ceil(1000);
                format!("offline ({trouble}), next try in {seconds} s{queued}")
            }
            None => format!("offline, connecting{queued}"),
        }
    }

    /// Leaves in order.
    pub fn quit(self) -> Result<(), String> {
        self.connection.close().map_err(journal_failed)
    }
}

/// A line for a message of the history, with its time where the user is.
pub fn history_line(message: &Message) -> Option<String> {
    let text = message.body.as_deref().map(printable);
    let text = match (message.kind, text) {
        (Kind::OwnVoid, _) => return None,
        (Kind::Own, Some(text)) => format!("{SENT} {text}"),
        (Kind::Own, None) => format!("{SENT} (sent from another device)"),
        (Kind::Peer, text) => format!("< {}", text.unwrap_or_default()),
    };
    let today = local(OffsetDateTime::now_utc()).date();
    Some(format!("{} {text}", clock(message.time_ms, today)))
}

/// Hours and minutes; with the day if that is not today.
fn clock(time_ms: u64, today: Date) -> String {
    let seconds = i64::try_from(time_ms / 1_000).unwrap_or(i64::MAX);
    // A server whose time is no time shows as the epoch.
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let time = local(time.unwrap_or(OffsetDateTime::UNIX_EPOCH));
    let clock = format!("{:02}:{:02}", time.hour(), time.minute());
    if time.date() == today { clock } else { format!("{} {clock}", time.date()) }
}

/// In the zone of this machine's user, as it was at that time; UTC if nobody knows.
fn local(time: OffsetDateTime) -> OffsetDateTime {
    let offset = UtcOffset::local_offset_at(time).unwrap_or(UtcOffset::UTC);
    time.checked_to_offset(offset).unwrap_or(time)
}

/// Other people's bytes must not command this terminal.
pub fn printable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

fn ended(code: CloseCode) -> String {
    match code {
        CloseCode::Unauthenticated => "the server does not accept this token (wrong, expired, or \
            of another server): make one with `ringmail token --user N --device M`"
            .to_owned(),
        CloseCode::Displaced => "this device was attached elsewhere, and goes on there".to_owned(),
        code => format!("the server closed for good: {}", code.name()),
    }
}

fn journal_failed(error: io::Error) -> String {
    format!("the journal cannot be written: {error}; what shows {QUEUED} is safe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_messages() {
        assert_eq!(Line::parse("/to 12"), Line::To(12));
        assert_eq!(Line::parse(" hello  you "), Line::Say("hello  you".to_owned()));
        assert_eq!(Line::parse("/quit"), Line::Quit);
        assert_eq!(Line::parse("/giveup"), Line::GiveUp);
        assert_eq!(Line::parse("  "), Line::Nothing);
        for wrong in ["/to", "/to 0", "/to x", "/to 1 2", "/quit now", "/smile"] {
            assert!(matches!(Line::parse(wrong), Line::Wrong(_)), "{wrong}");
        }
    }

    #[test]
    fn a_time_has_its_day_only_if_that_is_another() {
        // 2026-03-04 05:06:07 UTC. The zone of who runs this moves both alike.
        let time_ms = 1_772_600_767_000;
        let there = local(OffsetDateTime::from_unix_timestamp(1_772_600_767).unwrap());
        let clock_there = format!("{:02}:{:02}", there.hour(), there.minute());
        assert_eq!(clock(time_ms, there.date()), clock_there);
        let tomorrow = there.date().next_day().unwrap();
        assert_eq!(clock(time_ms, tomorrow), format!("{} {clock_there}", there.date()));
        assert!(clock(u64::MAX, tomorrow).starts_with("19"), "no time is no panic");
    }

    #[test]
    fn messages_cannot_command_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\n\xff"), "a·[2Jb·\u{fffd}");
    }
}
