//! Any frame besides those of sessions and sends, and any command, by proptest.

use super::arbitrary::{body, number, text};
use proptest::prelude::*;
use wire::*;

fn conv() -> impl Strategy<Value = Conv> + Clone {
    number().prop_map(Conv::Direct)
}

fn user() -> impl Strategy<Value = UserId> + Clone {
    number().prop_map(|number| UserId::new(number.max(1)).expect("not 0"))
}

fn code() -> impl Strategy<Value = RefusalCode> + Clone {
    prop::sample::select(RefusalCode::ALL)
}

fn places() -> impl Strategy<Value = List<'static, Seq>> + Clone {
    prop::collection::vec(number(), 0..6).prop_map(|places| List::from(&*places.leak()))
}

fn command_bytes() -> impl Strategy<Value = &'static [u8]> + Clone {
    prop_oneof![
        command().prop_map(|command| {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            &*bytes.leak()
        }),
        prop::collection::vec(any::<u8>(), 0..=COMMAND_BYTES_MAX).prop_map(|bytes| &*bytes.leak()),
    ]
}

/// Any privacy.
pub fn privacy() -> impl Strategy<Value = Privacy> + Clone {
    let visibilities = [Visibility::Everyone, Visibility::Contacts, Visibility::Nobody];
    (prop::sample::select(visibilities.to_vec()), any::<bool>())
        .prop_map(|(visibility, refuse_strangers)| Privacy { visibility, refuse_strangers })
}

fn settings() -> impl Strategy<Value = ConvSettings> + Clone {
    (number(), any::<bool>(), any::<bool>()).prop_map(|(muted_until_ms, pinned, archived)| {
        ConvSettings { muted_until_ms, pinned, archived }
    })
}

/// Any command.
pub fn command() -> impl Strategy<Value = Command<'static>> + Clone {
    prop_oneof![
        (conv(), settings()).prop_map(|(conv, settings)| Command::Settings { conv, settings }),
        (conv(), number(), number()).prop_map(|(conv, one, other)| {
            let (first, last) = (one.min(other).max(1), one.max(other).max(1));
            Command::DeleteForMe { conv, first, last }
        }),
        (user(), text(NAME_BYTES_MAX)).prop_map(|(peer, name)| Command::ContactAdd { peer, name }),
        user().prop_map(|peer| Command::ContactRemove { peer }),
        user().prop_map(|peer| Command::Block { peer }),
        user().prop_map(|peer| Command::Unblock { peer }),
        privacy().prop_map(Command::Privacy),
        any::<u32>().prop_map(|device| Command::Revoke { device: DeviceId(device) }),
    ]
}

/// A client's frame.
pub fn client() -> impl Strategy<Value = ClientFrame<'static>> + Clone {
    let direction = prop::sample::select(vec![Direction::Older, Direction::Newer]);
    let users = prop::collection::vec(user(), 0..=WATCH_USERS_MAX);
    prop_oneof![
        (conv(), number()).prop_map(|(conv, conv_seq)| ClientFrame::Read(Read { conv, conv_seq })),
        (any::<u64>(), number(), command_bytes()).prop_map(|(outbox, n, command)| {
            ClientFrame::Command(NumberedCommand { outbox: OutboxId(outbox), n, command })
        }),
        (number(), conv(), number(), direction, 1..=HISTORY_LIMIT_MAX).prop_map(
            |(request, conv, from, direction, limit)| {
                ClientFrame::History(History { request, conv, from, direction, limit })
            }
        ),
        (number(), number(), 1..=CHATS_LIMIT_MAX).prop_map(|(request, before, limit)| {
            ClientFrame::Chats(Chats { request, before, limit })
        }),
        (number(), conv()).prop_map(|(request, conv)| ClientFrame::Chat(Chat { request, conv })),
        (number(), number(), 1..=CONTACTS_LIMIT_MAX).prop_map(|(request, after, limit)| {
            ClientFrame::Contacts(Contacts { request, after, limit })
        }),
        number().prop_map(|request| ClientFrame::Devices(Devices { request })),
        users.prop_map(|users| { ClientFrame::Watch(Watch { users: List::from(&*users.leak()) }) }),
        any::<bool>().prop_map(|foreground| ClientFrame::Activity(Activity { foreground })),
        conv().prop_map(|conv| ClientFrame::Typing(Typing { conv })),
    ]
}

/// A server's frame about marks, changes and commands.
pub fn entry() -> impl Strategy<Value = ServerFrame<'static>> + Clone {
    let distance = 1..=u64::MAX;
    let result = prop_oneof![
        Just(CommandResult::Known),
        number().prop_map(|next| CommandResult::OutOfOrder { next }),
        (code(), number())
            .prop_map(|(code, retry_after_ms)| CommandResult::Refused { code, retry_after_ms }),
    ];
    let change = (number(), any::<bool>()).prop_map(|(target, delete)| Change { target, delete });
    prop_oneof![
        (distance.clone(), prop::array::uniform3(number()), change, body()).prop_map(
            |(d_inbox, [peer, conv_seq, time_ms], change, body)| {
                let (conv, body) = (Conv::Direct(peer), if change.delete { &[] } else { body });
                ServerFrame::Changed(Changed { d_inbox, conv, conv_seq, time_ms, change, body })
            }
        ),
        (distance.clone(), conv(), number(), places()).prop_map(
            |(d_inbox, conv, read, delivered)| {
                ServerFrame::Receipt(Receipt { d_inbox, conv, read, delivered })
            }
        ),
        (distance.clone(), conv(), number()).prop_map(|(d_inbox, conv, conv_seq)| {
            ServerFrame::ReadMark(ReadMark { d_inbox, conv, conv_seq })
        }),
        (distance, prop::array::uniform3(number()), prop::option::of(code()), command_bytes())
            .prop_map(|(d_inbox, [outbox, n, time_ms], code, command)| {
                let outbox = OutboxId(outbox);
                ServerFrame::Commanded(Commanded { d_inbox, outbox, n, code, time_ms, command })
            }),
        (any::<u64>(), number(), result).prop_map(|(outbox, n, result)| {
            ServerFrame::CommandAnswer(CommandAnswer { outbox: OutboxId(outbox), n, result })
        }),
    ]
}

fn item() -> impl Strategy<Value = HistoryItem<'static>> + Clone {
    let own = (any::<u64>(), number(), any::<u64>()).prop_map(|(outbox, n, hash)| OwnName {
        outbox: OutboxId(outbox),
        n,
        hash: BodyHash(hash),
    });
    let kind = prop_oneof![
        (body(), prop::option::of(number()))
            .prop_map(|(body, edited_by)| HistoryKind::Message { body, edited_by }),
        (number(), body()).prop_map(|(target, body)| HistoryKind::Edit { target, body }),
        number().prop_map(|target| HistoryKind::Delete { target }),
        Just(HistoryKind::Deleted),
        Just(HistoryKind::Void),
        Just(HistoryKind::Hidden),
        Just(HistoryKind::Gap),
    ];
    (prop::array::uniform3(number()), prop::option::of(own), kind).prop_map(
        |([request, conv_seq, time_ms], own, kind)| {
            let own = own.filter(|_| kind != HistoryKind::Gap);
            HistoryItem { request, conv_seq, time_ms, own, kind }
        },
    )
}

fn chat_head() -> impl Strategy<Value = ChatHead<'static>> + Clone {
    let preview = prop::collection::vec(any::<u8>(), 0..=PREVIEW_BYTES_MAX);
    let numbers = prop::array::uniform8(number());
    (numbers, settings(), any::<[bool; 3]>(), places(), preview).prop_map(
        |(
            [request, peer, head, time_ms, last_inbox, read, peer_read, unread],
            settings,
            flags,
            delivered,
            preview,
        )| {
            let [contact, blocked, preview_own] = flags;
            ChatHead {
                request,
                conv: Conv::Direct(peer),
                settings,
                contact,
                blocked,
                preview_own,
                head,
                time_ms,
                last_inbox,
                read,
                peer_read,
                delivered,
                unread,
                preview: preview.leak(),
            }
        },
    )
}

fn presence() -> impl Strategy<Value = UserPresence> + Clone {
    let states = vec![PresenceState::Unknown, PresenceState::Online, PresenceState::Offline];
    (user(), prop::sample::select(states), number(), number()).prop_map(
        |(user, state, version, last_seen_ms)| UserPresence { user, state, version, last_seen_ms },
    )
}

/// A server's frame of a page, of presence or of typing.
pub fn page() -> impl Strategy<Value = ServerFrame<'static>> + Clone {
    let device = (number(), any::<u32>(), any::<[bool; 3]>(), number());
    prop_oneof![
        item().prop_map(ServerFrame::HistoryItem),
        prop::array::uniform3(number())
            .prop_map(|[request, next, head]| { ServerFrame::End(End { request, next, head }) }),
        (number(), code(), number()).prop_map(|(request, code, retry_after_ms)| {
            ServerFrame::RequestRefused(RequestRefused { request, code, retry_after_ms })
        }),
        chat_head().prop_map(ServerFrame::ChatHead),
        (number(), user(), any::<[bool; 2]>(), text(NAME_BYTES_MAX)).prop_map(
            |(request, peer, [contact, blocked], name)| {
                ServerFrame::Contact(ContactItem { request, peer, contact, blocked, name })
            }
        ),
        (device, text(NAME_BYTES_MAX), text(PLATFORM_BYTES_MAX)).prop_map(
            |((request, device, [attached, this, revoked], attached_ms), name, platform)| {
                ServerFrame::Device(DeviceItem {
                    request,
                    device: DeviceId(device),
                    attached,
                    this,
                    revoked,
                    attached_ms,
                    name,
                    platform,
                })
            }
        ),
        prop::collection::vec(presence(), 0..6).prop_map(|users| {
            ServerFrame::Presence(Presence { users: List::from(&*users.leak()) })
        }),
        conv().prop_map(|conv| ServerFrame::Typing(Typing { conv })),
    ]
}
