//! Refusal and close codes, with the retry policy that each carries.

/// Why a send, a command or a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// A queue or a limit is full at the moment.
    RetryAfter,
    /// The server's disk is full; heals by itself once there is room.
    StorageFull,
    /// The body is longer than the limit.
    TooBig,
    /// The body is empty.
    Empty,
    /// To oneself, or to user 0.
    BadRecipient,
    /// Too many outboxes of this device in this conversation: register the device anew.
    OutboxLimit,
    /// Too many new conversations in a short time.
    NewConversationQuota,
    /// The number 0, which is none.
    BadNumber,
    /// Not this user's to do: another's message, one that is not there, or too late.
    NotAllowed,
    /// As many as are allowed exist already.
    Limit,
    /// Bytes that are no command.
    BadCommand,
    /// More than this device may do in a short time.
    Quota,
}

/// What a client does after a close or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// By itself, after the stated time, with jitter.
    Later,
    /// Only after a person or a program changed something.
    Never,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The peer leaves in order.
    Normal,
    /// The server stops or restarts.
    Shutdown,
    /// The server has no room for another session.
    Overloaded,
    /// No valid HELLO within the deadline.
    HandshakeTimeout,
    /// Nothing heard for longer than the heartbeat allows.
    IdleTimeout,
    /// The token does not prove a device. The same for every cause.
    Unauthenticated,
    /// A newer attach of the same device took over.
    Displaced,
    /// Bytes that are no frame, or a frame that is no message.
    Malformed,
    /// A frame longer than the limit.
    FrameTooBig,
    /// A frame that this state does not take (HELLO twice, SEND before HELLO).
    OutOfState,
    /// A frame type that this version does not know.
    UnknownFrame,
    /// No common protocol version.
    UnsupportedVersion,
    /// An ACK beyond what was sent.
    BadAck,
    /// The user has as many devices as are allowed.
    DeviceLimit,
    /// The device was revoked: it keeps nothing that is secret.
    Revoked,
}

macro_rules! numbered {
    ($type:ident { $($name:ident = $number:literal $text:literal $retry:ident,)+ }) => {
        impl $type {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$type] = &[$($type::$name),+];

            /// The number on the wire.
            pub const fn number(self) -> u64 {
                match self { $($type::$name => $number),+ }
            }

            /// The code with this number, if this build knows it.
            pub const fn from_number(number: u64) -> Option<$type> {
                match number { $($number => Some($type::$name),)+ _ => None }
            }

            /// The name in PROTOCOL.md.
            pub const fn name(self) -> &'static str {
                match self { $($type::$name => $text),+ }
            }

            /// Whether trying again by itself can help.
            pub const fn retry(self) -> Retry {
                match self { $($type::$name => Retry::$retry),+ }
            }
        }
    };
}

numbered!(RefusalCode {
    RetryAfter = 1 "RETRY_AFTER" Later,
    StorageFull = 2 "STORAGE_FULL" Later,
    TooBig = 3 "TOO_BIG" Never,
    Empty = 4 "EMPTY" Never,
    BadRecipient = 5 "BAD_RECIPIENT" Never,
    OutboxLimit = 6 "OUTBOX_LIMIT" Never,
    NewConversationQuota = 7 "NEW_CONVERSATION_QUOTA" Later,
    BadNumber = 8 "BAD_NUMBER" Never,
    NotAllowed = 9 "NOT_ALLOWED" Never,
    Limit = 10 "LIMIT" Never,
    BadCommand = 11 "BAD_COMMAND" Never,
    Quota = 12 "QUOTA" Later,
});

// 1 to 99: come back. 100 and above: do not.
numbered!(CloseCode {
    Normal = 1 "NORMAL" Later,
    Shutdown = 2 "SHUTDOWN" Later,
    Overloaded = 3 "OVERLOADED" Later,
    HandshakeTimeout = 4 "HANDSHAKE_TIMEOUT" Later,
    IdleTimeout = 5 "IDLE_TIMEOUT" Later,
    Unauthenticated = 100 "UNAUTHENTICATED" Never,
    Displaced = 101 "DISPLACED" Never,
    Malformed = 102 "MALFORMED" Never,
    FrameTooBig = 103 "FRAME_TOO_BIG" Never,
    OutOfState = 104 "OUT_OF_STATE" Never,
    UnknownFrame = 105 "UNKNOWN_FRAME" Never,
    UnsupportedVersion = 106 "UNSUPPORTED_VERSION" Never,
    BadAck = 107 "BAD_ACK" Never,
    DeviceLimit = 108 "DEVICE_LIMIT" Never,
    Revoked = 109 "REVOKED" Never,
});
