//! What the client asks for besides the stream: pages of history, conversations and contacts, and
//! the list of devices. Asking is idempotent: who gets no answer asks again on the next attach.

use wire::{
    Chat, ChatHead, Chats, ClientFrame, ContactItem, Contacts, Conv, DeviceId, DeviceItem, Devices,
    Direction, End, History, RequestRefused, Retry, Seq,
};

use crate::entry::{Entry, Marks};
use crate::{Client, ClientEvent, Fault};

/// Requests under way at most.
const IN_FLIGHT_MAX: usize = 4;

/// Names a request of a client's user, for the life of the client value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One of the user's devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Which.
    pub device: DeviceId,
    /// It has a session now.
    pub attached: bool,
    /// It is this one.
    pub this: bool,
    /// It was revoked.
    pub revoked: bool,
    /// When it last attached, Unix milliseconds.
    pub attached_ms: u64,
    /// Its name, as it said itself; perhaps empty.
    pub name: String,
    /// Its platform, as it said itself; perhaps empty.
    pub platform: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    History { conv: Conv, from: Seq, direction: Direction, limit: u64 },
    Chats { before: Seq },
    Chat { conv: Conv },
    Contacts { after: u64 },
    Devices,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    id: u64,
    pub ask: Ask,
    /// The client itself wants it; gone with the connection.
    pub own: bool,
    /// When it left on this attach.
    sent_ms: Option<u64>,
    /// Refused for the moment.
    blocked_until_ms: u64,
    devices: Vec<DeviceInfo>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    newest: u64,
    pub open: Vec<Request>,
}

impl Requests {
    pub fn push(&mut self, ask: Ask, own: bool) -> RequestId {
        self.newest += 1;
        let (id, devices) = (self.newest, Vec::new());
        self.open.push(Request { id, ask, own, sent_ms: None, blocked_until_ms: 0, devices });
        RequestId(id)
    }

    /// What the client itself wants, it asks for anew.
    pub fn detach(&mut self) {
        self.open.retain(|request| !request.own);
        for request in &mut self.open {
            (request.sent_ms, request.blocked_until_ms) = (None, 0);
            request.devices.clear();
        }
    }

    pub fn put(&mut self, now_ms: u64, mut emit: impl FnMut(ClientFrame<'_>)) {
        let mut under_way = self.open.iter().filter(|request| request.sent_ms.is_some()).count();
        for request in &mut self.open {
            if under_way >= IN_FLIGHT_MAX {
                return;
            }
            if request.sent_ms.is_none() && request.blocked_until_ms <= now_ms {
                request.sent_ms = Some(now_ms);
                under_way += 1;
                emit(request.frame());
            }
        }
    }

    pub fn oldest_in_flight_ms(&self) -> Option<u64> {
        self.open.iter().filter_map(|request| request.sent_ms).min()
    }

    /// When a refused one may leave again, in ms.
    pub fn due_ms(&self) -> Option<u64> {
        let waiting = self.open.iter().filter(|request| request.sent_ms.is_none());
        waiting.map(|request| request.blocked_until_ms).filter(|&until| until > 0).min()
    }

    fn sent(&self, id: u64) -> Result<usize, Fault> {
        let found = self.open.iter().position(|open| open.id == id && open.sent_ms.is_some());
        found.ok_or(Fault::Protocol("an answer to a request that was not made"))
    }

    /// The request that this is an item for.
    pub fn ask_of(&self, id: u64) -> Result<Ask, Fault> {
        self.sent(id).map(|index| self.open[index].ask)
    }
}

impl Request {
    pub fn id(&self) -> RequestId {
        RequestId(self.id)
    }

    fn frame(&self) -> ClientFrame<'static> {
        let request = self.id;
        match self.ask {
            Ask::History { conv, from, direction, limit } => {
                ClientFrame::History(History { request, conv, from, direction, limit })
            }
            Ask::Chats { before } => {
                ClientFrame::Chats(Chats { request, before, limit: wire::CHATS_LIMIT_MAX })
            }
            Ask::Chat { conv } => ClientFrame::Chat(Chat { request, conv }),
            Ask::Contacts { after } => {
                ClientFrame::Contacts(Contacts { request, after, limit: wire::CONTACTS_LIMIT_MAX })
            }
            Ask::Devices => ClientFrame::Devices(Devices { request }),
        }
    }
}

impl Client {
    /// Asks for a page of history: from the place `from` on (0 with `Older`: from the newest) at
    /// most `limit` places, 1 to `wire::HISTORY_LIMIT_MAX`. It goes out once there is a session,
    /// and `ClientEvent::HistoryPage` says that the messages are here; they need `keep_history`.
    pub fn load_history(
        &mut self,
        conv: Conv,
        from: Seq,
        direction: Direction,
        limit: u64,
    ) -> RequestId {
        let limit = limit.clamp(1, wire::HISTORY_LIMIT_MAX);
        self.requests.push(Ask::History { conv, from, direction, limit }, false)
    }

    /// Asks for the user's devices; `ClientEvent::Devices` tells them.
    pub fn load_devices(&mut self) -> RequestId {
        self.requests.push(Ask::Devices, false)
    }

    pub(crate) fn end(&mut self, end: &End) -> Result<(), Fault> {
        let index = self.requests.sent(end.request)?;
        let request = self.requests.open.remove(index);
        match request.ask {
            Ask::History { .. } => self.history_end(&request, end),
            Ask::Chats { .. } if end.next > 0 => {
                self.requests.push(Ask::Chats { before: end.next }, true);
            }
            Ask::Chats { .. } => {
                self.requests.push(Ask::Contacts { after: 0 }, true);
            }
            Ask::Contacts { .. } if end.next > 0 => {
                self.requests.push(Ask::Contacts { after: end.next }, true);
            }
            Ask::Contacts { .. } => self.lists_end(),
            Ask::Chat { conv } => self.chat_end(conv),
            Ask::Devices => {
                let (request, devices) = (request.id(), request.devices);
                self.tell(ClientEvent::Devices { request, devices });
            }
        }
        Ok(())
    }

    pub(crate) fn request_refused(&mut self, refused: &RequestRefused) -> Result<(), Fault> {
        if refused.request == 0 {
            // WATCH: the set of before stays, and the next WATCH may be taken.
            return Ok(());
        }
        let index = self.requests.sent(refused.request)?;
        if refused.code.retry() == Retry::Later {
            let until = self.now_ms.saturating_add(self.retry_wait(refused.retry_after_ms));
            let request = &mut self.requests.open[index];
            (request.sent_ms, request.blocked_until_ms) = (None, until.max(1));
            request.devices.clear();
            return Ok(());
        }
        let request = self.requests.open.remove(index);
        let code = refused.code;
        match request.ask {
            Ask::Chats { .. } | Ask::Contacts { .. } => {
                return Err(Fault::Protocol("the lists of a snapshot are refused for ever"));
            }
            Ask::Chat { conv } => self.chat_end(conv),
            Ask::History { conv, direction, .. } if request.own => self.in_vain(conv, direction),
            Ask::History { .. } | Ask::Devices => {
                self.tell(ClientEvent::RequestRefused { request: request.id(), code });
            }
        }
        Ok(())
    }

    pub(crate) fn chat_head(&mut self, chat: &ChatHead<'_>) -> Result<(), Fault> {
        if !matches!(self.requests.ask_of(chat.request)?, Ask::Chats { .. } | Ask::Chat { .. }) {
            return Err(Fault::Protocol("CHAT_HEAD answers another request"));
        }
        let &ChatHead { conv, head, time_ms, unread, read, preview_own, preview, .. } = chat;
        self.record(&Entry::Heading { conv, head, time_ms, unread, read, preview_own, preview });
        self.record(&Entry::Read { conv, upto: read });
        let delivered: Vec<Seq> = chat.delivered.iter().collect();
        let delivered = Marks::Values(&delivered);
        self.record(&Entry::Receipt { conv, read: chat.peer_read, delivered });
        let mut command = Vec::new();
        wire::Command::Settings { conv, settings: chat.settings }.encode(&mut command);
        self.record(&Entry::Applied { command: &command });
        self.tell(ClientEvent::Updated { conv: Some(conv) });
        Ok(())
    }

    pub(crate) fn contact_item(&mut self, contact: &ContactItem<'_>) -> Result<(), Fault> {
        if !matches!(self.requests.ask_of(contact.request)?, Ask::Contacts { .. }) {
            return Err(Fault::Protocol("CONTACT answers another request"));
        }
        let &ContactItem { peer, name, .. } = contact;
        let add = contact.contact.then_some(wire::Command::ContactAdd { peer, name });
        let block = contact.blocked.then_some(wire::Command::Block { peer });
        for applied in add.into_iter().chain(block) {
            let mut command = Vec::new();
            applied.encode(&mut command);
            self.record(&Entry::Applied { command: &command });
        }
        self.tell(ClientEvent::Updated { conv: Some(Conv::Direct(peer.get())) });
        Ok(())
    }

    pub(crate) fn device_item(&mut self, item: &DeviceItem<'_>) -> Result<(), Fault> {
        let index = self.requests.sent(item.request)?;
        let request = &mut self.requests.open[index];
        if request.ask != Ask::Devices {
            return Err(Fault::Protocol("DEVICE answers another request"));
        }
        let &DeviceItem { device, attached, this, revoked, attached_ms, name, platform, .. } = item;
        let (name, platform) = (name.to_owned(), platform.to_owned());
        let info = DeviceInfo { device, attached, this, revoked, attached_ms, name, platform };
        request.devices.push(info);
        Ok(())
    }
}
