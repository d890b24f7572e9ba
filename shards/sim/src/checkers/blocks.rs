//! Who is blocked is not heard: behind BLOCK in a user's inbox nothing comes of the blocked one
//! until UNBLOCK, and history shows nothing that did not come.

use super::{Checker, ensure};
use crate::fact::{End, Entry, Fact, View};
use client::Kind;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Command, Seq, UserId};

/// By user and peer, in the order of the user's inbox.
#[derive(Default)]
pub struct Blocks {
    blocked: BTreeMap<(UserId, UserId, Seq), bool>,
    came: BTreeMap<(UserId, UserId, Seq), Entry>,
}

impl Checker for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Commanded { user, inbox_seq, command, applied: true } => {
                let (peer, blocked) = match Command::decode(command) {
                    Ok(Command::Block { peer }) => (peer, true),
                    Ok(Command::Unblock { peer }) => (peer, false),
                    _ => return Ok(()),
                };
                self.blocked.insert((*user, peer, *inbox_seq), blocked);
            }
            Fact::Received { entry, .. } if entry.placed.sender != entry.user => {
                self.came.insert((entry.user, entry.placed.sender, entry.inbox_seq), *entry);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        for (&(user, peer, inbox_seq), entry) in &self.came {
            // Where entries were trimmed, an UNBLOCK may have been among them.
            if !end.inboxes.contains_key(&user) {
                continue;
            }
            let before = self.blocked.range((user, peer, 0)..(user, peer, inbox_seq)).next_back();
            let blocked = before.filter(|(_, blocked)| **blocked);
            ensure(blocked.is_none(), || format!("{user:?} blocked before {entry:?}"))?;
        }
        let mut inboxes = end.inboxes.iter();
        inboxes.try_for_each(|(user, inbox)| shows_what_came(inbox, &end.newcomers[user]))
    }
}

fn shows_what_came(inbox: &[Entry], newcomer: &View) -> Result<(), String> {
    let came = inbox.iter().map(|entry| (entry.placed.conv, entry.placed.conv_seq));
    let came: BTreeSet<_> = came.collect();
    let convs = newcomer.convs.iter();
    let messages =
        convs.flat_map(|(conv, shown)| shown.messages.iter().map(move |(seq, m)| (*conv, *seq, m)));
    for (conv, seq, message) in messages {
        let of_peer = matches!(message.kind, Kind::Peer | Kind::PeerChange);
        ensure(!of_peer || came.contains(&(conv, seq)), || {
            format!("history shows {message:?}, which never came to {:?}", newcomer.user)
        })?;
        let edit = message.edited_by;
        ensure(edit == 0 || came.contains(&(conv, edit)), || {
            format!("history shows the edit at {edit}, which is hidden from {:?}", newcomer.user)
        })?;
    }
    Ok(())
}
