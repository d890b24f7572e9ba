//! What nobody stores: who is online, who is typing, and whether a person looks at this device.

use std::collections::{BTreeMap, BTreeSet};

use wire::planted::{Bug, active};
use wire::{Activity, ClientFrame, Conv, Typing, UserId, UserPresence, WATCH_USERS_MAX, Watch};

use crate::{Client, ClientEvent};

/// Typing ends by itself after this time, in ms.
const TYPING_MS: u64 = 6_000;
/// Own typing is told again after this time at the earliest, in ms.
const TYPING_REPEAT_MS: u64 = 3_000;

#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub foreground: bool,
    /// What the server was told on this attach.
    foreground_told: bool,
    watched: BTreeSet<UserId>,
    watch_told: bool,
    /// Newest known state of each watched user.
    presence: BTreeMap<UserId, UserPresence>,
    /// Peers who type, until when.
    typing: BTreeMap<Conv, u64>,
    /// Where the user types, and is to be told of.
    typing_due: BTreeSet<Conv>,
    typing_told: BTreeMap<Conv, u64>,
}

impl Live {
    pub fn new(foreground: bool) -> Live {
        Live {
            foreground,
            foreground_told: foreground,
            watched: BTreeSet::new(),
            watch_told: true,
            presence: BTreeMap::new(),
            typing: BTreeMap::new(),
            typing_due: BTreeSet::new(),
            typing_told: BTreeMap::new(),
        }
    }

    /// HELLO says this.
    pub fn hello(&mut self) -> bool {
        self.foreground_told = self.foreground;
        self.foreground
    }

    pub fn attach(&mut self) {
        self.watch_told = self.watched.is_empty();
    }

    /// Typing lives no longer than its connection.
    pub fn detach(&mut self) {
        self.typing.clear();
        self.typing_due.clear();
        self.typing_told.clear();
    }

    /// When somebody's typing ends next, in ms.
    pub fn typing_ends_ms(&self) -> Option<u64> {
        self.typing.values().copied().min()
    }

    pub fn put(&mut self, now_ms: u64, mut emit: impl FnMut(ClientFrame<'_>)) {
        if self.foreground_told != self.foreground {
            self.foreground_told = self.foreground;
            emit(ClientFrame::Activity(Activity { foreground: self.foreground }));
        }
        if !self.watch_told {
            self.watch_told = true;
            let users: Vec<UserId> = self.watched.iter().copied().collect();
            emit(ClientFrame::Watch(Watch { users: users[..].into() }));
        }
        for conv in std::mem::take(&mut self.typing_due) {
            self.typing_told.insert(conv, now_ms);
            emit(ClientFrame::Typing(Typing { conv }));
        }
    }
}

impl Client {
    /// A person looks at this device, or does not any more.
    pub fn set_foreground(&mut self, foreground: bool) {
        self.live.foreground = foreground;
    }

    /// Wants the presence of these users, and of no others: at most `wire::WATCH_USERS_MAX`, the
    /// rest is left out. Their states come as `ClientEvent::Presence`, now and on each change.
    pub fn watch(&mut self, users: impl IntoIterator<Item = UserId>) {
        let users: BTreeSet<UserId> = users.into_iter().take(WATCH_USERS_MAX).collect();
        if users == self.live.watched {
            return;
        }
        self.live.presence.retain(|user, _| users.contains(user));
        (self.live.watched, self.live.watch_told) = (users, false);
    }

    /// The user types here: the peer is told, if there is a connection, at most every 3 s.
    pub fn typing(&mut self, conv: Conv) {
        let told = self.live.typing_told.get(&conv);
        let due = told.is_none_or(|told| told.saturating_add(TYPING_REPEAT_MS) <= self.now_ms);
        if due && self.is_attached() {
            self.live.typing_due.insert(conv);
        }
    }

    /// What is known of a watched user; `None` while there is no connection, or no word yet.
    pub fn presence(&self, user: UserId) -> Option<UserPresence> {
        self.live.presence.get(&user).copied().filter(|_| self.is_attached())
    }

    /// Whether the peer types in this conversation.
    pub fn is_typing(&self, conv: Conv) -> bool {
        self.live.typing.contains_key(&conv)
    }

    pub(crate) fn presence_came(&mut self, users: impl Iterator<Item = UserPresence>) {
        for presence in users {
            let user = presence.user;
            let had = self.live.presence.get(&user);
            let older = had.is_some_and(|had| had.version > presence.version);
            let unwanted = !self.live.watched.contains(&user);
            if unwanted || older && !active(Bug::OlderPresenceWins) {
                continue;
            }
            let same = had == Some(&presence);
            self.live.presence.insert(user, presence);
            if !same {
                self.tell(ClientEvent::Presence { user });
            }
        }
    }

    pub(crate) fn typing_came(&mut self, conv: Conv) {
        let until_ms = self.now_ms.saturating_add(TYPING_MS);
        if self.live.typing.insert(conv, until_ms).is_none() {
            self.tell(ClientEvent::Typing { conv, typing: true });
        }
    }

    /// The peer's message ends its typing, and so does time.
    pub(crate) fn typing_ended(&mut self, conv: Conv) {
        if self.live.typing.remove(&conv).is_some() {
            self.tell(ClientEvent::Typing { conv, typing: false });
        }
    }

    pub(crate) fn typing_expires(&mut self) {
        let typing = self.live.typing.iter();
        let ended = typing.filter(|&(_, &until_ms)| until_ms <= self.now_ms);
        let ended: Vec<Conv> = ended.map(|(&conv, _)| conv).collect();
        ended.into_iter().for_each(|conv| self.typing_ended(conv));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use wire::PresenceState;

    fn user(number: u64) -> UserId {
        UserId::new(number).unwrap()
    }

    fn client() -> Client {
        let mut client = Client::new(Config::new(b"token".to_vec()), 1);
        client.connection.stage = crate::connection::Stage::Attached;
        client
    }

    fn told(client: &mut Client) -> Vec<ClientEvent> {
        client.journal();
        client.committed();
        std::iter::from_fn(|| client.event()).collect()
    }

    #[test]
    fn an_older_presence_never_wins() {
        let mut client = client();
        client.watch([user(2)]);
        let online = PresenceState::Online;
        let newer = UserPresence { user: user(2), state: online, version: 7, last_seen_ms: 0 };
        let offline = PresenceState::Offline;
        let older = UserPresence { state: offline, version: 6, last_seen_ms: 5, ..newer };
        let foreign = UserPresence { user: user(3), ..newer };
        client.presence_came([newer, older, foreign].into_iter());
        assert_eq!(client.presence(user(2)), Some(newer));
        assert_eq!(client.presence(user(3)), None);
        assert_eq!(told(&mut client), [ClientEvent::Presence { user: user(2) }]);
        client.watch([user(3)]);
        assert_eq!(client.presence(user(2)), None);
    }

    #[test]
    fn typing_ends_by_itself_or_with_its_message() {
        let mut client = client();
        let (two, three) = (Conv::Direct(2), Conv::Direct(3));
        client.typing_came(two);
        client.typing_came(three);
        client.now_ms = TYPING_MS - 1;
        client.typing_came(three);
        client.typing_expires();
        assert!(client.is_typing(two));
        assert_eq!(client.live.typing_ends_ms(), Some(TYPING_MS));
        client.now_ms = TYPING_MS;
        client.typing_expires();
        assert!(!client.is_typing(two) && client.is_typing(three));
        client.typing_ended(three);
        let typing = |conv, typing| ClientEvent::Typing { conv, typing };
        let expected =
            [typing(two, true), typing(three, true), typing(two, false), typing(three, false)];
        assert_eq!(told(&mut client), expected);
    }

    #[test]
    fn own_typing_is_told_now_and_then() {
        let mut client = client();
        let conv = Conv::Direct(2);
        let mut frames = 0;
        for now_ms in [0, 10, TYPING_REPEAT_MS - 1, TYPING_REPEAT_MS] {
            client.now_ms = now_ms;
            client.typing(conv);
            client.live.put(now_ms, |frame| {
                assert_eq!(frame, ClientFrame::Typing(Typing { conv }));
                frames += 1;
            });
        }
        assert_eq!(frames, 2);
    }
}
