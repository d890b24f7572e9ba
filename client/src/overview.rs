//! After a SNAPSHOT verdict: the conversations and contacts as they are, instead of the entries
//! that were skipped.
//!
//! **Invariant:** until all of it is recorded the device keeps its old number, or none, so a crash
//! in between starts anew; nothing is acked meanwhile.

use wire::{Conv, Seq, Welcome};

use crate::entry::Entry;
use crate::requests::Ask;
use crate::{Client, ClientEvent};

/// A snapshot under way.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    epoch: u64,
    /// Newest inbox entry that came.
    pub position: Seq,
    /// The pages of conversations and contacts are here.
    listed: bool,
}

impl Client {
    /// The stream goes on behind `welcome.from`; what was before is asked for.
    pub(crate) fn begin_overview(&mut self, welcome: &Welcome) {
        if welcome.inbox_epoch != self.state.epoch {
            self.record(&Entry::Inbox { epoch: 0, position: 0 });
        }
        self.record(&Entry::Skipped);
        let mut command = Vec::new();
        wire::Command::Privacy(welcome.privacy).encode(&mut command);
        self.record(&Entry::Applied { command: &command });
        let (epoch, position) = (welcome.inbox_epoch, welcome.from);
        self.overview = Some(Overview { epoch, position, listed: false });
        self.requests.push(Ask::Chats { before: position.saturating_add(1) }, true);
    }

    /// Newest inbox entry that came, committed to or not.
    pub(crate) fn position_now(&self) -> Seq {
        self.overview.as_ref().map_or(self.state.position, |overview| overview.position)
    }

    /// An entry of this conversation came. If nothing is known of the past before it, the server
    /// is asked; during a snapshot once its pages have come, for they may tell.
    pub(crate) fn ask_unlisted(&mut self, conv: Conv) {
        let waits = self.overview.as_ref().is_some_and(|overview| !overview.listed);
        let found = self.state.conversations.get(&conv);
        let unlisted = found.is_some_and(|found| !found.listed && found.streamed > 0);
        if unlisted && !waits && !self.asks_chat(conv) {
            self.requests.push(Ask::Chat { conv }, true);
        }
    }

    fn asks_chat(&self, conv: Conv) -> bool {
        self.requests.open.iter().any(|open| open.ask == Ask::Chat { conv })
    }

    /// Asks for all of which nothing is known: at an attach, and behind a snapshot's pages.
    pub(crate) fn ask_all_unlisted(&mut self) {
        let convs: Vec<Conv> = self.state.conversations.keys().copied().collect();
        convs.into_iter().for_each(|conv| self.ask_unlisted(conv));
    }

    /// The pages of conversations and contacts ended.
    pub(crate) fn lists_end(&mut self) {
        if let Some(overview) = &mut self.overview {
            overview.listed = true;
        }
        self.ask_all_unlisted();
        self.end_overview();
    }

    /// What can be said about this conversation is said.
    pub(crate) fn chat_end(&mut self, conv: Conv) {
        let found = self.state.conversations.get(&conv);
        if found.is_some_and(|found| !found.listed) {
            // The server knows nothing of it.
            let (head, time_ms, unread, read) = (0, 0, 0, 0);
            let (preview_own, preview) = (false, &b""[..]);
            let heading =
                Entry::Heading { conv, head, time_ms, unread, read, preview_own, preview };
            self.record(&heading);
        }
        self.end_overview();
    }

    /// All is recorded: the device has a number again.
    fn end_overview(&mut self) {
        let asks = self.requests.open.iter().any(|open| matches!(open.ask, Ask::Chat { .. }));
        let done = self.overview.as_ref().is_some_and(|overview| overview.listed && !asks);
        if let Some(Overview { epoch, position, .. }) = self.overview.take_if(|_| done) {
            self.record(&Entry::Inbox { epoch, position });
            self.tell(ClientEvent::Updated { conv: None });
        }
    }
}
