//! What both faces of the program share: who talks with whom, and what is said about it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use client::blocking::Connection;
use client::{
    Client, ClientEvent, CloseCode, Command, Conv, ConvSettings, DeviceInfo, Fault, Kind, Privacy,
    Retry, SendId, Seq, UserId,
};

use crate::format::{QUEUED, Zone, printable, unix_ms};
use crate::line::{HELP, Line};

/// The device, and the conversation that its user looks at. `T`: input of the terminal.
pub struct Talk<T> {
    pub connection: Connection<T>,
    /// With whom the user talks.
    pub to: Option<u64>,
    pub zone: Zone,
    /// What the user asked for, to be shown.
    pub said: Vec<String>,
    /// What unsettled sends say.
    texts: BTreeMap<SendId, String>,
    online: bool,
    /// What the server did not take.
    refusal: Option<String>,
}

/// What a line asks of the program's face.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    LookAt(u64),
    Numbers,
    Quit,
}

impl<T: Send + 'static> Talk<T> {
    pub fn new(connection: Connection<T>, to: Option<u64>) -> Talk<T> {
        let (texts, said, zone) = (BTreeMap::new(), Vec::new(), Zone::local());
        let mut talk = Talk { connection, to, zone, said, texts, online: false, refusal: None };
        let client = talk.connection.client();
        for conv in client.conversations() {
            for send in client.pending(conv) {
                let id = SendId { conv, serial: send.serial };
                talk.texts.insert(id, printable(&send.body));
            }
        }
        talk
    }

    pub fn client(&self) -> &Client {
        self.connection.client()
    }

    /// Does what a line says; an error is for people.
    pub fn obey(&mut self, line: Line) -> Result<Reply, String> {
        match line {
            Line::Nothing => {}
            Line::Quit => return Ok(Reply::Quit),
            Line::Numbers => return Ok(Reply::Numbers),
            Line::To(user) => return Ok(Reply::LookAt(user)),
            Line::Wrong(problem) => return Err(problem),
            Line::Help => self.said.extend(HELP.map(str::to_owned)),
            Line::Contacts => self.list_contacts(),
            Line::Devices => {
                self.connection.client_mut().load_devices();
            }
            Line::Say(text) => self.say(&text)?,
            Line::GiveUp => self.give_up()?,
            Line::Edit { target, text } => self.edit(target, &text)?,
            Line::Delete { target } => self.delete(target)?,
            Line::Hide { target } => {
                let (conv, place) = (self.conv()?, self.own_or(target)?);
                self.command(&Command::DeleteForMe { conv, first: place, last: place })?;
            }
            Line::Contact { user, name } => {
                self.command(&Command::ContactAdd { peer: user, name: &name })?;
            }
            Line::Uncontact(user) => self.command(&Command::ContactRemove { peer: user })?,
            Line::Block(user) => self.command(&Command::Block { peer: user })?,
            Line::Unblock(user) => self.command(&Command::Unblock { peer: user })?,
            Line::Mute { hours } => {
                let until = |hours: u64| unix_ms().saturating_add(hours.saturating_mul(3_600_000));
                let muted_until_ms = match hours {
                    None => u64::MAX,
                    Some(0) => 0,
                    Some(hours) => until(hours),
                };
                self.set(|settings| settings.muted_until_ms = muted_until_ms)?;
            }
            Line::Pin(pinned) => self.set(|settings| settings.pinned = pinned)?,
            Line::Archive(archived) => self.set(|settings| settings.archived = archived)?,
            Line::Revoke(device) => self.command(&Command::Revoke { device })?,
            Line::Privacy(visibility) => {
                let privacy = self.client().privacy().unwrap_or_default();
                self.command(&Command::Privacy(Privacy { visibility, ..privacy }))?;
            }
            Line::Strangers(may_write) => {
                let privacy = self.client().privacy().unwrap_or_default();
                let refuse_strangers = !may_write;
                self.command(&Command::Privacy(Privacy { refuse_strangers, ..privacy }))?;
            }
        }
        Ok(Reply::Done)
    }

    fn conv(&self) -> Result<Conv, String> {
        self.to.map(Conv::Direct).ok_or_else(|| "say with whom you talk first: /to 2".to_owned())
    }

    fn command(&mut self, command: &Command<'_>) -> Result<(), String> {
        let queued = self.connection.client_mut().command(command);
        queued.map(|_| ()).map_err(|error| error.to_string())
    }

    fn set(&mut self, change: impl FnOnce(&mut ConvSettings)) -> Result<(), String> {
        let conv = self.conv()?;
        let mut settings = self.client().chat(conv).map_or_else(Default::default, |c| c.settings);
        change(&mut settings);
        self.command(&Command::Settings { conv, settings })
    }

    fn say(&mut self, text: &str) -> Result<(), String> {
        let conv = self.conv()?;
        let queued = self.connection.client_mut().compose(conv, text.as_bytes());
        self.queued(queued, text.to_owned())
    }

    fn edit(&mut self, target: Option<Seq>, text: &str) -> Result<(), String> {
        let (conv, target) = (self.conv()?, self.own_or(target)?);
        let queued = self.connection.client_mut().edit(conv, target, text.as_bytes());
        self.queued(queued, format!("{text} (edits #{target})"))
    }

    fn delete(&mut self, target: Option<Seq>) -> Result<(), String> {
        let (conv, target) = (self.conv()?, self.own_or(target)?);
        let queued = self.connection.client_mut().delete(conv, target);
        self.queued(queued, format!("(deletes #{target})"))
    }

    fn queued(
        &mut self,
        queued: Result<SendId, client::ComposeError>,
        text: String,
    ) -> Result<(), String> {
        let id = queued.map_err(|error| error.to_string())?;
        self.texts.insert(id, printable(text.as_bytes()));
        Ok(())
    }

    /// The place that was named, or the one of the newest own message.
    fn own_or(&self, target: Option<Seq>) -> Result<Seq, String> {
        let conv = self.conv()?;
        let mut newest = self.client().history(conv).rev();
        let own = newest.find(|(_, message)| message.kind == Kind::Own && !message.deleted);
        let own = target.or(own.map(|(seq, _)| seq));
        own.ok_or_else(|| "there is no message of yours here; /numbers shows all".to_owned())
    }

    /// Gives up the newest unsent message of this conversation.
    fn give_up(&mut self) -> Result<(), String> {
        let conv = self.conv()?;
        let newest = self.client().pending(conv).filter(|send| !send.void).last();
        let serial = newest.ok_or("nothing here waits to be sent")?.serial;
        self.connection.client_mut().give_up(SendId { conv, serial });
        Ok(())
    }

    fn list_contacts(&mut self) {
        let contacts = self.connection.client().contacts();
        let lines = contacts.map(|(user, contact)| {
            let blocked = if contact.blocked { " (blocked)" } else { "" };
            format!("user {} {}{blocked}", user.get(), printable(contact.name.as_bytes()))
        });
        self.said.extend(lines);
        if self.said.is_empty() {
            self.said.push("no contacts yet: /contact 2 NAME".to_owned());
        }
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
            Some(ClientEvent::CommandDone { refusal: Some(code), .. }) => {
                self.said.push(format!("the server refused that ({})", code.name()));
            }
            Some(ClientEvent::RequestRefused { code, .. }) => {
                self.said.push(format!("the server does not tell ({})", code.name()));
            }
            Some(ClientEvent::Devices { devices, .. }) => {
                self.said.extend(devices.iter().map(|device| device_line(device, self.zone)));
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
        self.online &= self.client().is_attached();
        Ok(event)
    }

    /// What this send says, for the last time if it is settled.
    pub fn text(&mut self, id: SendId) -> String {
        let unsettled = self.client().pending(id.conv).any(|send| send.serial == id.serial);
        match unsettled {
            true => self.texts.get(&id).cloned().unwrap_or_default(),
            false => self.texts.remove(&id).unwrap_or_default(),
        }
    }

    /// What an unsettled send says, and what else there is to say about it.
    pub fn pending_text(&self, id: SendId) -> String {
        self.texts.get(&id).cloned().unwrap_or_default()
    }

    /// Wants the presence of everybody who is shown.
    pub fn watch(&mut self) {
        let chats = self.client().chats();
        let peers = chats.iter().map(|chat| {
            let Conv::Direct(peer) = chat.conv;
            peer
        });
        let users: Vec<UserId> = self.to.into_iter().chain(peers).filter_map(UserId::new).collect();
        self.connection.client_mut().watch(users);
    }

    /// Connected or not, and what happens next.
    pub fn state(&self) -> String {
        let client = self.client();
        let sends = client.conversations().map(|conv| client.pending(conv).count());
        let queued = match sends.sum::<usize>() + client.pending_commands().count() {
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
                // A narrow terminal cuts the cause.
                format!("offline, next try in {seconds} s{queued} ({trouble})")
            }
            None => format!("offline, connecting{queued}"),
        }
    }

    /// Leaves in order.
    pub fn quit(self) -> Result<(), String> {
        self.connection.close().map_err(journal_failed)
    }
}

fn device_line(device: &DeviceInfo, zone: Zone) -> String {
    let state = match device {
        DeviceInfo { revoked: true, .. } => "revoked".to_owned(),
        DeviceInfo { this: true, .. } => "this one".to_owned(),
        DeviceInfo { attached: true, .. } => "connected".to_owned(),
        device => format!("last here at {}", zone.clock(device.attached_ms)),
    };
    let (name, platform) =
        (printable(device.name.as_bytes()), printable(device.platform.as_bytes()));
    format!("device {} {name} {platform} ({state})", device.device.0)
}

fn ended(code: CloseCode) -> String {
    match code {
        CloseCode::Unauthenticated => "the server does not accept this token (wrong, expired, or \
            of another server): make one with `ringmail token --user N --device M`"
            .to_owned(),
        CloseCode::Displaced => "this device was attached elsewhere, and goes on there".to_owned(),
        CloseCode::Revoked => "this device was revoked by its user".to_owned(),
        code => format!("the server closed for good: {}", code.name()),
    }
}

fn journal_failed(error: io::Error) -> String {
    format!("the journal cannot be written: {error}; what shows {QUEUED} is safe")
}
