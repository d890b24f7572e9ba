//! What the user typed: a message or a command.

use client::{DeviceId, Seq, UserId, Visibility};

/// The commands, for people.
pub const HELP: [&str; 14] = [
    "/to 2              talk with user 2",
    "/edit [#7] TEXT    change your newest message, or the one numbered 7",
    "/delete [#7]       delete it for everyone; /hide [#7] only for you",
    "/numbers           show or hide the messages' numbers",
    "/giveup            give up your newest message that is not sent yet",
    "/contact 2 NAME    add or name a contact; /uncontact 2; /contacts lists them",
    "/block 2           take nothing more from user 2; /unblock 2",
    "/mute [HOURS]      no alerts here, for ever or so long; /unmute",
    "/pin, /archive     on top of the list, or out of it; /unpin, /unarchive",
    "/devices           your devices; /revoke 3 ends one for good",
    "/privacy WHO       who sees you online: everyone, contacts or nobody",
    "/strangers yes|no  whether users who are no contacts may write",
    "/help              this",
    "/quit              leave; what is queued goes out with the next start",
];

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Say(String),
    To(u64),
    Edit {
        target: Option<Seq>,
        text: String,
    },
    Delete {
        target: Option<Seq>,
    },
    Hide {
        target: Option<Seq>,
    },
    Numbers,
    GiveUp,
    Contact {
        user: UserId,
        name: String,
    },
    Uncontact(UserId),
    Contacts,
    Block(UserId),
    Unblock(UserId),
    /// `Some(0)` ends it, `None` is for ever.
    Mute {
        hours: Option<u64>,
    },
    Pin(bool),
    Archive(bool),
    Devices,
    Revoke(DeviceId),
    Privacy(Visibility),
    Strangers(bool),
    Help,
    Quit,
    Nothing,
    Wrong(String),
}

impl Line {
    pub fn parse(line: &str) -> Line {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "" => Line::Nothing,
            word if !word.starts_with('/') => Line::Say(line.to_owned()),
            word => command(word, rest).unwrap_or_else(|| wrong(word)),
        }
    }
}

fn wrong(word: &str) -> Line {
    let word_of = |help: &&&str| help.split([' ', ';', ',']).any(|part| part == word);
    Line::Wrong(match HELP.iter().find(word_of) {
        Some(help) => format!("as in: {}", help.split_whitespace().collect::<Vec<_>>().join(" ")),
        None => format!("{word} is no command; /help lists them"),
    })
}

/// `None`: no such command, or not with this.
fn command(word: &str, rest: &str) -> Option<Line> {
    let user = || rest.parse().ok().and_then(UserId::new);
    let (target, text) = target(rest)?;
    let alone = |line: Line| rest.is_empty().then_some(line);
    let place = |line: Line| text.is_empty().then_some(line);
    match word {
        "/to" => user().map(|user| Line::To(user.get())),
        "/edit" => (!text.is_empty()).then(|| Line::Edit { target, text: text.to_owned() }),
        "/delete" => place(Line::Delete { target }),
        "/hide" => place(Line::Hide { target }),
        "/numbers" => alone(Line::Numbers),
        "/giveup" => alone(Line::GiveUp),
        "/contact" => {
            let (user, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let user = user.parse().ok().and_then(UserId::new)?;
            Some(Line::Contact { user, name: name.trim().to_owned() })
        }
        "/uncontact" => user().map(Line::Uncontact),
        "/contacts" => alone(Line::Contacts),
        "/block" => user().map(Line::Block),
        "/unblock" => user().map(Line::Unblock),
        "/mute" if rest.is_empty() => Some(Line::Mute { hours: None }),
        "/mute" => rest.parse().ok().map(|hours| Line::Mute { hours: Some(hours) }),
        "/unmute" => alone(Line::Mute { hours: Some(0) }),
        "/pin" => alone(Line::Pin(true)),
        "/unpin" => alone(Line::Pin(false)),
        "/archive" => alone(Line::Archive(true)),
        "/unarchive" => alone(Line::Archive(false)),
        "/devices" => alone(Line::Devices),
        "/revoke" => rest.parse().ok().map(|device| Line::Revoke(DeviceId(device))),
        "/privacy" => Some(Line::Privacy(match rest {
            "everyone" => Visibility::Everyone,
            "contacts" => Visibility::Contacts,
            "nobody" => Visibility::Nobody,
            _ => return None,
        })),
        "/strangers" => match rest {
            "yes" => Some(Line::Strangers(true)),
            "no" => Some(Line::Strangers(false)),
            _ => None,
        },
        "/help" => alone(Line::Help),
        "/quit" => alone(Line::Quit),
        _ => None,
    }
}

/// A message's number in front, if there is one, and what follows. `None`: a number that is none.
fn target(rest: &str) -> Option<(Option<Seq>, &str)> {
    let Some(numbered) = rest.strip_prefix('#') else { return Some((None, rest)) };
    let (number, text) = numbered.split_once(char::is_whitespace).unwrap_or((numbered, ""));
    Some((Some(number.parse().ok()?), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_messages() {
        let user = |number| UserId::new(number).unwrap();
        assert_eq!(Line::parse("/to 12"), Line::To(12));
        assert_eq!(Line::parse(" hello  you "), Line::Say("hello  you".to_owned()));
        assert_eq!(Line::parse("/quit"), Line::Quit);
        assert_eq!(Line::parse("  "), Line::Nothing);
        let text = "new  text".to_owned();
        assert_eq!(Line::parse("/edit #7 new  text"), Line::Edit { target: Some(7), text });
        assert_eq!(Line::parse("/delete"), Line::Delete { target: None });
        assert_eq!(Line::parse("/mute"), Line::Mute { hours: None });
        assert_eq!(Line::parse("/mute 8"), Line::Mute { hours: Some(8) });
        let name = "Anna B".to_owned();
        assert_eq!(Line::parse("/contact 2 Anna B"), Line::Contact { user: user(2), name });
        assert_eq!(Line::parse("/unblock 3"), Line::Unblock(user(3)));
        assert_eq!(Line::parse("/revoke 0"), Line::Revoke(DeviceId(0)));
        assert_eq!(Line::parse("/privacy nobody"), Line::Privacy(Visibility::Nobody));
    }

    #[test]
    fn what_is_no_command_says_how_it_goes() {
        for (line, help) in [
            ("/to", "/to 2"),
            ("/to 0", "/to 2"),
            ("/edit #x y", "/edit [#7] TEXT"),
            ("/edit", "/edit [#7] TEXT"),
            ("/delete all", "/delete [#7]"),
            ("/hide all", "/hide [#7]"),
            ("/unpin now", "/unpin"),
            ("/quit now", "/quit"),
            ("/strangers", "yes|no"),
            ("/smile", "/help"),
        ] {
            match Line::parse(line) {
                Line::Wrong(said) => assert!(said.contains(help), "{line}: {said}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
