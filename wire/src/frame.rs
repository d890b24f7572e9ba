//! The frames, as values. Bodies are opaque bytes borrowed from the buffer they arrived in.

use crate::{
    Activity, BodyHash, Change, Changed, Chat, ChatHead, Chats, CloseCode, CommandAnswer,
    Commanded, ContactItem, Contacts, Conv, DeviceId, DeviceItem, Devices, End, History,
    HistoryItem, NumberedCommand, OutboxId, Presence, Privacy, Read, ReadMark, Receipt,
    RefusalCode, RequestRefused, Seq, Typing, UserId, Watch,
};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// First frame of a connection.
    Hello(Hello<'a>),
    /// A message.
    Send(Send<'a>),
    /// Gives a message up under its number.
    Void(Void),
    /// The device's cursor moved.
    Ack(Ack),
    /// Heartbeat.
    Ping(Ping),
    /// The client leaves; `code` says why.
    Close(Close<'a>),
    /// The user's read mark moved.
    Read(Read),
    /// A command under its number.
    Command(NumberedCommand<'a>),
    /// Asks for messages.
    History(History),
    /// Asks for conversations.
    Chats(Chats),
    /// Asks for one conversation.
    Chat(Chat),
    /// Asks for contacts and blocks.
    Contacts(Contacts),
    /// Asks for the user's devices.
    Devices(Devices),
    /// Whose presence the session wants.
    Watch(Watch<'a>),
    /// The device went to the foreground or out of it.
    Activity(Activity),
    /// The user writes.
    Typing(Typing),
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// Answers HELLO.
    Welcome(Welcome),
    /// A send or a void has its place, durably.
    Sent(Sent),
    /// The number is higher than the next one that the owner takes.
    OutOfOrder(OutOfOrder),
    /// A send was not taken; its number is free still.
    Refused(Refused),
    /// An inbox entry: a peer's message.
    Deliver(Deliver<'a>),
    /// An inbox entry: a send of one of the user's own devices.
    Own(Own),
    /// Everything up to `head` was sent; what follows is live.
    CaughtUp(CaughtUp),
    /// Answers a heartbeat.
    Pong(Pong),
    /// The server asks to reconnect elsewhere or later.
    GoAway(GoAway),
    /// The server closes; the code says whether to come back.
    Close(Close<'a>),
    /// An inbox entry: the peer edited or deleted a message.
    Changed(Changed<'a>),
    /// An inbox entry: the peer's marks.
    Receipt(Receipt<'a>),
    /// An inbox entry: the user's own read mark.
    ReadMark(ReadMark),
    /// An inbox entry: a command of one of the user's own devices.
    Commanded(Commanded<'a>),
    /// A command was not taken now.
    CommandAnswer(CommandAnswer),
    /// Of a page of messages.
    HistoryItem(HistoryItem<'a>),
    /// A page is complete.
    End(End),
    /// There is no page.
    RequestRefused(RequestRefused),
    /// Of a page of conversations.
    ChatHead(ChatHead<'a>),
    /// Of a page of contacts.
    Contact(ContactItem<'a>),
    /// Of the list of devices.
    Device(DeviceItem<'a>),
    /// What is known of watched users.
    Presence(Presence<'a>),
    /// The peer writes.
    Typing(Typing),
}

/// HELLO: who attaches, and from where the inbox goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest protocol version that the client speaks.
    pub version_min: u64,
    /// Highest protocol version that the client speaks.
    pub version_max: u64,
    /// Feature bits that the client knows.
    pub features: u64,
    /// The current outbox of this device's storage.
    pub outbox: OutboxId,
    /// Epoch of the inbox that `acked` counts in; 0 for a device without a past.
    pub inbox_epoch: u64,
    /// Last inbox entry that the device has committed.
    pub acked: Seq,
    /// Attached in the foreground (a person looks at it).
    pub foreground: bool,
    /// What the user calls the device, at most `NAME_BYTES_MAX` bytes; empty: not stated.
    pub name: &'a str,
    /// What it runs on, at most `PLATFORM_BYTES_MAX` bytes; empty: not stated.
    pub platform: &'a str,
    /// Proves user and device; opaque to this crate.
    pub token: &'a [u8],
}

/// Where the inbox goes on after WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The stream goes on after the device's own `acked`.
    Resume,
    /// The device's number does not count here: the stream starts behind WELCOME's head, and the
    /// client reads what it lacks in pages.
    Snapshot(SnapshotReason),
}

/// Why a device starts from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotReason {
    /// The device has no past here.
    NewDevice,
    /// The inbox has another epoch than the device's number, or less than the device knows.
    Epoch,
    /// Entries behind the device's number are no longer kept.
    TooFar,
}

/// WELCOME: what the session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Protocol version of the session.
    pub version: u64,
    /// Feature bits of the session.
    pub features: u64,
    /// The user that the token names.
    pub user: UserId,
    /// The device that the token names.
    pub device: DeviceId,
    /// Epoch of the inbox.
    pub inbox_epoch: u64,
    /// Where the stream goes on.
    pub verdict: Verdict,
    /// The next entry is the first one above this number.
    pub from: Seq,
    /// Newest durable inbox entry at this moment.
    pub head: Seq,
    /// Inbox entries in flight at most, unacked.
    pub window_frames: u64,
    /// Bytes of inbox entries in flight at most, unacked.
    pub window_bytes: u64,
    /// Send something at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// The server's wall clock, Unix milliseconds.
    pub server_time_ms: u64,
    /// Longest message body, in bytes.
    pub body_bytes_max: u64,
    /// The user's privacy as the attach found it; later changes are entries above `from`.
    pub privacy: Privacy,
}

/// What names one send for ever: conversation, outbox, number. `outbox` is `None` where it is the
/// outbox that HELLO named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SendKey {
    /// The conversation.
    pub conv: Conv,
    /// Another outbox than HELLO's.
    pub outbox: Option<OutboxId>,
    /// Number within outbox and conversation: 1, 2, 3 …
    pub n: Seq,
}

/// SEND: a message under its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send<'a> {
    /// Its name.
    pub key: SendKey,
    /// Set: no plain message, but a change of one.
    pub change: Option<Change>,
    /// Opaque bytes, 1 to `Welcome::body_bytes_max`; none for a deletion.
    pub body: &'a [u8],
}

/// VOID: gives up the message with this number and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Its name.
    pub key: SendKey,
    /// Content hash of what is given up.
    pub hash: BodyHash,
}

/// ACK: everything up to `inbox_seq` is committed on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Cumulative.
    pub inbox_seq: Seq,
}

/// PING; the empty frame where there is nothing to say (`acked` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// As in ACK; 0 says nothing.
    pub acked: Seq,
}

/// PONG; the empty frame where the client has everything (`head` 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Newest durable inbox entry; 0 says nothing.
    pub head: Seq,
}

/// What a fresh SENT means: where the message is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckLevel {
    /// Synced on the server's disk.
    Local,
    /// A quorum of the store in this datacenter has it.
    Replicated,
    /// A quorum over datacenters has it.
    Geo,
}

/// What SENT says about the send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This frame was taken now, and has its place.
    Fresh {
        /// Where it is durable.
        level: AckLevel,
        /// Its place in the conversation.
        conv_seq: Seq,
        /// The message's time, Unix milliseconds; never goes back within a conversation.
        time_ms: u64,
        /// Not 0: this frame is also the next inbox entry (the own entry of this send), this far
        /// above the one before it in the stream.
        d_inbox: u64,
    },
    /// The number was taken before, with whatever body: settles nothing.
    Known,
}

/// SENT: the answer to SEND or VOID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which send.
    pub key: SendKey,
    /// The answer is to a VOID.
    pub void: bool,
    /// What became of it.
    pub answer: Answer,
}

/// OUT_OF_ORDER: the owner takes `next` next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfOrder {
    /// Which send.
    pub key: SendKey,
    /// The number that the owner expects from this outbox in this conversation.
    pub next: Seq,
}

/// REFUSED: not taken, nothing changed, the number stays free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which send.
    pub key: SendKey,
    /// Why.
    pub code: RefusalCode,
    /// Earliest time of another try in milliseconds; 0 where trying again is useless.
    pub retry_after_ms: u64,
    /// The limit that was met, where the code has one; otherwise 0.
    pub limit: u64,
}

/// DELIVER: a peer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// Distance from the entry before it in the stream; 1 unless entries are left out.
    pub d_inbox: u64,
    /// The conversation; its peer is the sender.
    pub conv: Conv,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// The message.
    pub body: &'a [u8],
}

/// OWN: a send or a void of one of the user's own devices, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// As in DELIVER.
    pub d_inbox: u64,
    /// The conversation.
    pub conv: Conv,
    /// Place in the conversation.
    pub conv_seq: Seq,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// Outbox that it came from.
    pub outbox: OutboxId,
    /// Its number there.
    pub n: Seq,
    /// The number was given up; `hash` is of the body that was given up.
    pub void: bool,
    /// What it changes, if it is no plain message. Never with `void`.
    pub change: Option<Change>,
    /// Content hash.
    pub hash: BodyHash,
}

/// CAUGHT_UP: the backlog ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// Newest durable inbox entry.
    pub head: Seq,
}

/// GOAWAY: reconnect within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// Milliseconds.
    pub after_ms: u64,
}

/// CLOSE: the last frame of a connection, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why, and whether to come back.
    pub code: CloseCode,
    /// Wait at least this long, in milliseconds.
    pub retry_after_ms: u64,
    /// For people; may be empty. At most `REASON_BYTES_MAX` are encoded.
    pub reason: &'a str,
}
