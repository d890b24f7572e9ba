//! Everything durable about a client. It changes only by applying journal entries, live and when a
//! journal is read, so both always agree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::{
    Command, Conv, DeviceId, OutboxId, Privacy, Seq, UserId, body_hash, content_hash,
    outbox_of_moved,
};

use crate::SendId;
use crate::commands::PendingCommand;
use crate::conversation::{Conversation, Heading, Message, Overlay};
use crate::entry::{Entry, Marks};
use crate::queue::{Attempt, Pending};

/// Another user in the user's own list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// A contact.
    pub contact: bool,
    /// Blocked: nothing of theirs comes.
    pub blocked: bool,
    /// What the user calls them; may be empty.
    pub name: String,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Whose journal this is, once a server has said so.
    pub identity: Option<(UserId, DeviceId)>,
    /// Longest body, in bytes, as the last server said.
    pub body_bytes_max: u64,
    /// Where new messages go.
    pub outbox: OutboxId,
    /// Serial of the newest send or command.
    pub serial: u64,
    /// Epoch of the inbox; 0 for none yet.
    pub epoch: u64,
    /// Newest inbox entry that is here.
    pub position: Seq,
    /// Some inbox entries were skipped, at any time.
    pub skipped: bool,
    pub conversations: BTreeMap<Conv, Conversation>,
    /// Conversations with unsettled sends.
    pub sending: BTreeSet<Conv>,
    /// Conversations whose read mark the server does not have.
    pub reading: BTreeSet<Conv>,
    /// Conversations with texts that other own devices wrote, and that are not here.
    pub lacking: BTreeSet<Conv>,
    /// Unsettled commands, in order.
    pub commands: VecDeque<PendingCommand>,
    /// Highest number of the current outbox given out to a command.
    pub commands_given_out: Seq,
    pub contacts: BTreeMap<UserId, Contact>,
    /// As last commanded; `None` if that was never seen.
    pub privacy: Option<Privacy>,
}

/// An entry that does not fit what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

impl State {
    pub fn new() -> State {
        State {
            identity: None,
            body_bytes_max: wire::BODY_BYTES_MAX as u64,
            outbox: OutboxId(0),
            serial: 0,
            epoch: 0,
            position: 0,
            skipped: false,
            conversations: BTreeMap::new(),
            sending: BTreeSet::new(),
            reading: BTreeSet::new(),
            lacking: BTreeSet::new(),
            commands: VecDeque::new(),
            commands_given_out: 0,
            contacts: BTreeMap::new(),
            privacy: None,
        }
    }

    pub fn pending(&self, id: SendId) -> Option<&Pending> {
        let queue = &self.conversations.get(&id.conv)?.queue;
        queue.sends.get(queue.index_of_serial(id.serial)?)
    }

    /// Applies one entry. `mark`: the journal mark that the entry gets.
    pub fn apply(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        match *entry {
            Entry::Identity { user, device, body_bytes_max } => {
                self.identity = Some((user, device));
                self.body_bytes_max = body_bytes_max;
            }
            Entry::Outbox { outbox } => {
                (self.outbox, self.commands_given_out) = (outbox, 0);
                for conversation in self.conversations.values_mut() {
                    conversation.given_out = 0;
                }
            }
            Entry::Inbox { epoch, position } => self.apply_inbox(epoch, position),
            Entry::Position { position } => self.position = position,
            Entry::Serial { serial } => self.serial = serial,
            Entry::Skipped => {
                self.contacts.clear();
                self.skipped = true;
                for conversation in self.conversations.values_mut() {
                    // What is here may have been changed or hidden by what was skipped.
                    conversation.ranges.clear();
                    conversation.skipped_from.get_or_insert(conversation.streamed);
                    (conversation.streamed, conversation.listed) = (0, false);
                }
            }
            Entry::GivenOut { .. }
            | Entry::Composed { .. }
            | Entry::GaveUp { .. }
            | Entry::Moved { .. }
            | Entry::Settled { .. } => return self.apply_send(entry, mark),
            Entry::Commanded { .. }
            | Entry::CommandMoved { .. }
            | Entry::CommandSettled { .. }
            | Entry::CommandsGivenOut { .. } => return self.apply_command_queue(entry, mark),
            Entry::Applied { command } => {
                self.apply_command(&Command::decode(command).map_err(|_| Misfit)?);
            }
            _ => return self.apply_to_conversation(entry, mark),
        }
        Ok(())
    }

    fn apply_inbox(&mut self, epoch: u64, position: Seq) {
        // Another history begins. What came in epoch 0 belongs to the epoch that is given it now.
        if epoch == 0 || self.epoch != 0 && epoch != self.epoch {
            self.conversations.values_mut().for_each(Conversation::forget_places);
            self.reading.clear();
            self.contacts.clear();
            self.privacy = None;
        }
        (self.epoch, self.position) = (epoch, position);
    }

    fn apply_to_conversation(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        match *entry {
            Entry::Seen { conv, first, last } if first <= last => {
                self.conversation(conv).ranges.insert(first, last);
            }
            Entry::Streamed { conv, first, last } if first <= last => {
                let conversation = self.conversation(conv);
                // Nothing was before place 1 that a server would have to tell.
                conversation.listed |= last == 1;
                conversation.ranges.insert(first, last);
                conversation.streamed = conversation.streamed.max(last);
            }
            Entry::SkippedFrom { conv, from } => {
                self.conversation(conv).skipped_from = Some(from);
            }
            Entry::Message { conv, conv_seq, time_ms, kind, hash, body } => {
                let (body, edited_by) = (body.map(<[u8]>::to_vec), 0);
                let message = Message { time_ms, kind, hash, body, edited_by, deleted: false };
                self.conversation(conv).put(conv_seq, message);
                self.note_lacking(conv);
            }
            Entry::Changed { conv, target, by, delete, body } => {
                let overlay = Overlay { by, delete, body: body.map(<[u8]>::to_vec) };
                self.conversation(conv).change(target, overlay);
                self.note_lacking(conv);
            }
            Entry::Heading { conv, head, time_ms, unread, read, preview_own, preview } => {
                let preview = preview.to_vec();
                let conversation = self.conversation(conv);
                conversation.listed = true;
                conversation.heading =
                    Heading { head, time_ms, unread, read, preview_own, preview };
            }
            Entry::Read { conv, upto } => {
                let conversation = self.conversation(conv);
                conversation.read = conversation.read.max(upto);
                if conversation.read >= conversation.read_wanted {
                    self.reading.remove(&conv);
                }
            }
            Entry::ReadWanted { conv, upto } => {
                let conversation = self.conversation(conv);
                conversation.read_wanted = conversation.read_wanted.max(upto);
                conversation.read_wanted_mark = mark;
                if conversation.read_wanted > conversation.read {
                    self.reading.insert(conv);
                }
            }
            Entry::Receipt { conv, read, delivered } => {
                self.conversation(conv).receipt(read, delivered.to_vec().into_iter());
            }
            _ => return Err(Misfit),
        }
        Ok(())
    }

    fn apply_send(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        match *entry {
            Entry::GivenOut { conv, n } => self.conversation(conv).given_out = n,
            Entry::Composed { .. } => return self.apply_composed(entry, mark),
            Entry::GaveUp { id } => {
                let send = self.unsettled(id)?;
                (send.void, send.mark) = (true, mark);
                if matches!(send.attempt, Attempt::Refused(_)) {
                    send.attempt = Attempt::Unsent;
                }
            }
            Entry::Moved { id } => {
                let send = self.unsettled(id)?;
                send.outbox = outbox_of_moved(send.outbox, send.n, send.hash);
                (send.n, send.mark, send.attempt) = (1, mark, Attempt::Unsent);
            }
            Entry::Settled { id } => {
                self.unsettled(id)?;
                let queue = &mut self.conversation(id.conv).queue;
                let index = queue.index_of_serial(id.serial).ok_or(Misfit)?;
                queue.sends.remove(index);
                if queue.sends.is_empty() {
                    self.sending.remove(&id.conv);
                }
            }
            _ => return Err(Misfit),
        }
        Ok(())
    }

    fn apply_composed(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        let Entry::Composed { id, outbox, n, void, change, body } = *entry else {
            return Err(Misfit);
        };
        let current = self.outbox == outbox;
        let conversation = self.conversation(id.conv);
        let ascending = conversation.queue.sends.back().is_none_or(|last| last.serial < id.serial);
        if !ascending {
            return Err(Misfit);
        }
        if current {
            conversation.given_out = conversation.given_out.max(n);
        }
        conversation.queue.sends.push_back(Pending {
            serial: id.serial,
            outbox,
            n,
            hash: content_hash(body, change),
            body: body.to_vec(),
            change,
            void,
            mark,
            attempt: Attempt::Unsent,
        });
        self.serial = self.serial.max(id.serial);
        self.sending.insert(id.conv);
        Ok(())
    }

    fn apply_command_queue(&mut self, entry: &Entry<'_>, mark: u64) -> Result<(), Misfit> {
        match *entry {
            Entry::Commanded { serial, outbox, n, command } => {
                if outbox == self.outbox {
                    self.commands_given_out = self.commands_given_out.max(n);
                }
                self.serial = self.serial.max(serial);
                let command = command.to_vec();
                self.commands.push_back(PendingCommand { serial, outbox, n, command, mark });
            }
            Entry::CommandMoved { serial } => {
                let command = self.unsettled_command(serial)?;
                let command = &mut self.commands[command];
                command.outbox =
                    outbox_of_moved(command.outbox, command.n, body_hash(&command.command));
                (command.n, command.mark) = (1, mark);
            }
            Entry::CommandSettled { serial } => {
                let command = self.unsettled_command(serial)?;
                self.commands.remove(command);
            }
            Entry::CommandsGivenOut { n } => self.commands_given_out = n,
            _ => return Err(Misfit),
        }
        Ok(())
    }

    /// A command of any own device took effect.
    fn apply_command(&mut self, command: &Command<'_>) {
        match *command {
            Command::Settings { conv, settings } => self.conversation(conv).settings = settings,
            Command::DeleteForMe { conv, first, last } => {
                self.conversation(conv).hide(first, last);
                self.note_lacking(conv);
            }
            Command::ContactAdd { peer, name } => self.contact(peer, |contact| {
                (contact.contact, contact.name) = (true, name.to_owned());
            }),
            Command::ContactRemove { peer } => self.contact(peer, |contact| {
                (contact.contact, contact.name) = (false, String::new());
            }),
            Command::Block { peer } => self.contact(peer, |contact| contact.blocked = true),
            Command::Unblock { peer } => self.contact(peer, |contact| contact.blocked = false),
            Command::Privacy(privacy) => self.privacy = Some(privacy),
            Command::Revoke { .. } => {}
        }
    }

    fn contact(&mut self, peer: UserId, change: impl FnOnce(&mut Contact)) {
        let contact = self.contacts.entry(peer).or_default();
        change(contact);
        if *contact == Contact::default() {
            self.contacts.remove(&peer);
        }
    }

    fn note_lacking(&mut self, conv: Conv) {
        if self.conversation(conv).missing.is_empty() {
            self.lacking.remove(&conv);
        } else {
            self.lacking.insert(conv);
        }
    }

    fn conversation(&mut self, conv: Conv) -> &mut Conversation {
        let skipped_from = self.skipped.then_some(0);
        let new = || Conversation { skipped_from, ..Conversation::default() };
        self.conversations.entry(conv).or_insert_with(new)
    }

    fn unsettled(&mut self, id: SendId) -> Result<&mut Pending, Misfit> {
        let queue = &mut self.conversations.get_mut(&id.conv).ok_or(Misfit)?.queue;
        let index = queue.index_of_serial(id.serial).ok_or(Misfit)?;
        Ok(&mut queue.sends[index])
    }

    fn unsettled_command(&self, serial: u64) -> Result<usize, Misfit> {
        self.commands.iter().position(|command| command.serial == serial).ok_or(Misfit)
    }

    /// Gives the entries that make an empty state into this one.
    pub fn entries(&self, give: &mut dyn FnMut(&Entry<'_>)) {
        give(&Entry::Outbox { outbox: self.outbox });
        if let Some((user, device)) = self.identity {
            give(&Entry::Identity { user, device, body_bytes_max: self.body_bytes_max });
        }
        give(&Entry::Inbox { epoch: self.epoch, position: self.position });
        if self.skipped {
            give(&Entry::Skipped);
        }
        for (&conv, conversation) in &self.conversations {
            entries_of(conv, conversation, give);
        }
        for command in &self.commands {
            let &PendingCommand { serial, outbox, n, ref command, .. } = command;
            give(&Entry::Commanded { serial, outbox, n, command });
        }
        if self.commands_given_out > 0 {
            give(&Entry::CommandsGivenOut { n: self.commands_given_out });
        }
        let mut applied = |command: Command<'_>| {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            give(&Entry::Applied { command: &bytes });
        };
        for (&peer, Contact { contact, blocked, name }) in &self.contacts {
            if *contact {
                applied(Command::ContactAdd { peer, name });
            }
            if *blocked {
                applied(Command::Block { peer });
            }
        }
        for (&conv, conversation) in &self.conversations {
            let settings = conversation.settings;
            if settings != Default::default() {
                applied(Command::Settings { conv, settings });
            }
        }
        if let Some(privacy) = self.privacy {
            applied(Command::Privacy(privacy));
        }
        give(&Entry::Serial { serial: self.serial });
    }
}

/// The entries of one conversation, settings apart.
fn entries_of(conv: Conv, conversation: &Conversation, give: &mut dyn FnMut(&Entry<'_>)) {
    for (first, last) in conversation.ranges.iter() {
        give(&Entry::Seen { conv, first, last });
    }
    if conversation.listed {
        let &Heading { head, time_ms, unread, read, preview_own, ref preview } =
            &conversation.heading;
        give(&Entry::Heading { conv, head, time_ms, unread, read, preview_own, preview });
    }
    if let Some(from) = conversation.skipped_from {
        give(&Entry::SkippedFrom { conv, from });
    }
    if conversation.streamed > 0 {
        let (first, last) = (conversation.streamed, conversation.streamed);
        give(&Entry::Streamed { conv, first, last });
    }
    for (&conv_seq, message) in &conversation.history {
        let &Message { time_ms, kind, hash, ref body, edited_by: by, deleted: delete } = message;
        let (body, changed) = (body.as_deref(), by > 0 || delete);
        let original = body.filter(|_| !changed);
        give(&Entry::Message { conv, conv_seq, time_ms, kind, hash, body: original });
        if changed {
            give(&Entry::Changed { conv, target: conv_seq, by, delete, body });
        }
    }
    for (&target, overlay) in &conversation.overlays {
        let &Overlay { by, delete, ref body } = overlay;
        give(&Entry::Changed { conv, target, by, delete, body: body.as_deref() });
    }
    if conversation.read > 0 {
        give(&Entry::Read { conv, upto: conversation.read });
    }
    if conversation.read_wanted > conversation.read {
        give(&Entry::ReadWanted { conv, upto: conversation.read_wanted });
    }
    let (read, delivered) = (conversation.peer_read, &conversation.peer_delivered[..]);
    if read > 0 || !delivered.is_empty() {
        give(&Entry::Receipt { conv, read, delivered: Marks::Values(delivered) });
    }
    for send in &conversation.queue.sends {
        let id = SendId { conv, serial: send.serial };
        let &Pending { outbox, n, void, change, ref body, .. } = send;
        give(&Entry::Composed { id, outbox, n, void, change, body });
    }
    if conversation.given_out > 0 {
        give(&Entry::GivenOut { conv, n: conversation.given_out });
    }
}
