//! What a person does on a device besides writing, and what the person sees there.

use crate::{
    device::Device,
    fact::{Fact, Shown, View},
    seed::Rng,
};
use client::{Command, Conv, ConvSettings, Kind, Privacy, Seq, Visibility};
use persistence::ConvKey;
use std::collections::BTreeSet;
use wire::{Change, UserId, content_hash};

/// A person changes one of the newest messages, at most this far back.
const CHANGES_BACK: usize = 8;

impl Device {
    /// Reads a conversation, to its end or nearly.
    pub fn read_some(&mut self, rng: &mut Rng) {
        let Some(conv) = self.some_conv(rng) else { return };
        let client = self.client.as_mut().expect("it has conversations");
        let head = client.chat(conv).map_or(0, |chat| chat.head);
        client.mark_read(conv, head - rng.scaled(0, 8).min(head));
    }

    /// Edits an own message, or deletes it for everyone; each is deleted once, so that the
    /// deletion's hash names it.
    pub fn change_some(
        &mut self,
        rng: &mut Rng,
        deleted: &mut BTreeSet<(ConvKey, Seq)>,
        body: &[u8],
    ) -> Option<Fact> {
        let conv = self.some_conv(rng)?;
        let key = self.key(conv);
        let client = self.client.as_mut()?;
        let own = client.history(conv).rev().filter(|(_, m)| m.kind == Kind::Own && !m.deleted);
        let own: Vec<Seq> = own.map(|(seq, _)| seq).take(CHANGES_BACK).collect();
        let target = *own.get(rng.below(CHANGES_BACK as u64) as usize)?;
        let delete = rng.chance(300);
        let (id, body) = match delete {
            true if !deleted.insert((key, target)) => return None,
            true => (client.delete(conv, target).ok()?, &b""[..]),
            false => (client.edit(conv, target, body).ok()?, body),
        };
        let hash = content_hash(body, Some(Change { target, delete }));
        self.storage.bodies.insert(id, hash);
        Some(Fact::Composed { sender: self.user, conv: key, hash })
    }

    /// Blocks, unblocks, keeps contacts and settings, hides a message.
    pub fn command_some(&mut self, rng: &mut Rng, users: &[UserId]) {
        let peer = *rng.pick(users);
        let command = match rng.below(100) {
            0..25 => Command::Block { peer },
            25..55 => Command::Unblock { peer },
            55..65 => Command::ContactAdd { peer, name: "somebody" },
            65..70 => Command::ContactRemove { peer },
            70..78 => {
                let number = rng.below(3) as u8;
                let visibility = Visibility::from_number(number).expect("one of three");
                Command::Privacy(Privacy { visibility, refuse_strangers: false })
            }
            78..86 => {
                let Some(conv) = self.some_conv(rng) else { return };
                let (pinned, archived) = (rng.chance(500), rng.chance(500));
                let settings = ConvSettings { muted_until_ms: rng.below(3), pinned, archived };
                Command::Settings { conv, settings }
            }
            _ => {
                let Some(conv) = self.some_conv(rng) else { return };
                let client = self.client.as_ref().expect("it has conversations");
                let shown = client.history(conv).rev();
                let shown = shown.filter(|(_, m)| matches!(m.kind, Kind::Peer | Kind::Own));
                let shown: Vec<Seq> = shown.map(|(seq, _)| seq).take(CHANGES_BACK).collect();
                if shown.is_empty() {
                    return;
                }
                let seq = *rng.pick(&shown);
                Command::DeleteForMe { conv, first: seq, last: seq }
            }
        };
        if let Some(client) = self.client.as_mut().filter(|_| peer != self.user) {
            client.command(&command).expect("about another user");
        }
    }

    /// Looks at the device, or away.
    pub fn look(&mut self, foreground: bool) {
        self.foreground = foreground;
        if let Some(client) = &mut self.client {
            client.set_foreground(foreground);
        }
    }

    /// Wants to know of these users whether they are there.
    pub fn watch(&mut self, users: Vec<UserId>) {
        if let Some(client) = &mut self.client {
            client.watch(users.iter().copied());
        }
        self.watched = users;
    }

    fn some_conv(&self, rng: &mut Rng) -> Option<Conv> {
        let convs: Vec<Conv> = self.client.as_ref()?.conversations().collect();
        if convs.is_empty() { None } else { Some(*rng.pick(&convs)) }
    }

    /// Everything that it shows.
    pub fn view(&self) -> View {
        let client = self.client.as_ref().expect("it runs");
        let shown = |conv| {
            let chat = client.chat(conv).expect("it has this conversation");
            let messages = client.history(conv).map(|(seq, m)| (seq, m.clone())).collect();
            (self.key(conv), Shown { chat, messages })
        };
        let contacts = client.contacts().map(|(user, contact)| (user, contact.clone()));
        View {
            user: self.user,
            device: self.index,
            convs: client.conversations().map(shown).collect(),
            contacts: contacts.collect(),
        }
    }
}
