//! What users ordered about their own accounts, as far as checkers must know it.

use crate::fact::Fact;
use persistence::ConvKey;
use std::collections::BTreeSet;
use wire::{Command, Conv, Seq, UserId};

/// Everything that a device said, whether it took effect or not.
#[derive(Default)]
pub struct Orders {
    blocked: BTreeSet<(UserId, UserId)>,
    hidden: BTreeSet<(UserId, ConvKey, Seq)>,
}

impl Orders {
    /// Takes note of a COMMAND.
    pub fn observe(&mut self, fact: &Fact) {
        let Fact::Ordered { user, command } = fact else { return };
        match Command::decode(command).expect("a client's command is one") {
            Command::Block { peer } => {
                self.blocked.insert((*user, peer));
            }
            Command::DeleteForMe { conv: Conv::Direct(peer), first, last } => {
                let conv = UserId::new(peer).and_then(|peer| ConvKey::new(*user, peer));
                let conv = conv.expect("a client's conversation is one");
                self.hidden.extend((first..=last).map(|seq| (*user, conv, seq)));
            }
            _ => {}
        }
    }

    /// The user may have blocked this one at some time.
    pub fn blocked(&self, user: UserId, peer: UserId) -> bool {
        self.blocked.contains(&(user, peer))
    }

    /// The user may have deleted this place for themselves.
    pub fn hid(&self, user: UserId, conv: ConvKey, conv_seq: Seq) -> bool {
        self.hidden.contains(&(user, conv, conv_seq))
    }
}
