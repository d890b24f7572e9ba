//! The fields of the frames besides those of sessions and sends, and of commands.

use super::listing::{Fields, Value, list_conv};
use Value::{Byte, Counted, Numbers, Presences, Rest, U64, Varint};
use wire::*;

/// A client's frame.
pub fn list_client(frame: &ClientFrame<'_>) -> (&'static str, Option<u8>, Fields) {
    let (name, op, fields) = match frame {
        ClientFrame::Read(read) => {
            let mut fields = list_conv(read.conv);
            fields.push(("conv_seq", Varint(read.conv_seq)));
            ("READ", op::READ, fields)
        }
        ClientFrame::Command(command) => {
            let fields = vec![
                ("outbox", U64(command.outbox.0)),
                ("n", Varint(command.n)),
                ("command", Rest(command.command.to_vec())),
            ];
            ("COMMAND", op::COMMAND, fields)
        }
        ClientFrame::History(history) => {
            let mut fields = vec![("request", Varint(history.request))];
            fields.extend(list_conv(history.conv));
            fields.push(("from", Varint(history.from)));
            fields.push(("direction", Byte((history.direction == Direction::Newer).into())));
            fields.push(("limit", Varint(history.limit)));
            ("HISTORY", op::HISTORY, fields)
        }
        ClientFrame::Chats(chats) => {
            let fields = vec![("before", chats.before), ("limit", chats.limit)];
            ("CHATS", op::CHATS, varints(chats.request, &fields))
        }
        ClientFrame::Chat(chat) => {
            let mut fields = vec![("request", Varint(chat.request))];
            fields.extend(list_conv(chat.conv));
            ("CHAT", op::CHAT, fields)
        }
        ClientFrame::Contacts(contacts) => {
            let fields = vec![("after", contacts.after), ("limit", contacts.limit)];
            ("CONTACTS", op::CONTACTS, varints(contacts.request, &fields))
        }
        ClientFrame::Devices(devices) => ("DEVICES", op::DEVICES, varints(devices.request, &[])),
        ClientFrame::Watch(watch) => {
            let users = watch.users.iter().map(UserId::get).collect();
            ("WATCH", op::WATCH, vec![("users", Numbers(users))])
        }
        ClientFrame::Activity(activity) => {
            ("ACTIVITY", op::ACTIVITY, vec![("foreground", Byte(activity.foreground.into()))])
        }
        ClientFrame::Typing(typing) => ("CLIENT_TYPING", op::CLIENT_TYPING, list_conv(typing.conv)),
        other => unreachable!("{other:?}"),
    };
    (name, Some(op), fields)
}

/// A server's frame.
pub fn list_server(frame: &ServerFrame<'_>) -> (&'static str, Option<u8>, Fields) {
    let (name, op, fields) = match frame {
        ServerFrame::Changed(changed) => ("CHANGED", op::CHANGED, list_changed(changed)),
        ServerFrame::Receipt(receipt) => {
            let mut fields = vec![("d_inbox", Varint(receipt.d_inbox))];
            fields.extend(list_conv(receipt.conv));
            fields.push(("read", Varint(receipt.read)));
            fields.push(("delivered", Numbers(receipt.delivered.iter().collect())));
            ("RECEIPT", op::RECEIPT, fields)
        }
        ServerFrame::ReadMark(mark) => {
            let mut fields = vec![("d_inbox", Varint(mark.d_inbox))];
            fields.extend(list_conv(mark.conv));
            fields.push(("conv_seq", Varint(mark.conv_seq)));
            ("READ_MARK", op::READ_MARK, fields)
        }
        ServerFrame::Commanded(commanded) => {
            let fields = vec![
                ("d_inbox", Varint(commanded.d_inbox)),
                ("outbox", U64(commanded.outbox.0)),
                ("n", Varint(commanded.n)),
                ("code", Varint(commanded.code.map_or(0, RefusalCode::number))),
                ("time_ms", Varint(commanded.time_ms)),
                ("command", Rest(commanded.command.to_vec())),
            ];
            ("COMMANDED", op::COMMANDED, fields)
        }
        ServerFrame::CommandAnswer(answer) => {
            ("COMMAND_ANSWER", op::COMMAND_ANSWER, list_command_answer(answer))
        }
        other => return list_page(other),
    };
    (name, Some(op), fields)
}

fn list_page(frame: &ServerFrame<'_>) -> (&'static str, Option<u8>, Fields) {
    let (name, op, fields) = match frame {
        ServerFrame::HistoryItem(item) => ("HISTORY_ITEM", op::HISTORY_ITEM, list_item(item)),
        ServerFrame::End(end) => {
            ("END", op::END, varints(end.request, &[("next", end.next), ("head", end.head)]))
        }
        ServerFrame::RequestRefused(refused) => {
            let (code, after) = (refused.code.number(), refused.retry_after_ms);
            let fields = varints(refused.request, &[("code", code), ("retry_after_ms", after)]);
            ("REQUEST_REFUSED", op::REQUEST_REFUSED, fields)
        }
        ServerFrame::ChatHead(head) => ("CHAT_HEAD", op::CHAT_HEAD, list_chat_head(head)),
        ServerFrame::Contact(contact) => {
            let mut fields = varints(contact.request, &[("peer", contact.peer.get())]);
            let flags = bits(&[(contact.contact, flag::CONTACT), (contact.blocked, flag::BLOCKED)]);
            fields.push(("flags", Byte(flags)));
            fields.push(("name", Counted(contact.name.as_bytes().to_vec())));
            ("CONTACT", op::CONTACT, fields)
        }
        ServerFrame::Device(device) => {
            let mut fields = varints(device.request, &[("device", device.device.0.into())]);
            let flags = bits(&[
                (device.attached, flag::ATTACHED),
                (device.this, flag::THIS),
                (device.revoked, flag::REVOKED),
            ]);
            fields.push(("flags", Byte(flags)));
            fields.push(("attached_ms", Varint(device.attached_ms)));
            fields.push(("name", Counted(device.name.as_bytes().to_vec())));
            fields.push(("platform", Counted(device.platform.as_bytes().to_vec())));
            ("DEVICE", op::DEVICE, fields)
        }
        ServerFrame::Presence(presence) => {
            let users = presence.users.iter();
            let users = users.map(|u| (u.user.get(), u.state as u8, u.version, u.last_seen_ms));
            ("PRESENCE", op::PRESENCE, vec![("users", Presences(users.collect()))])
        }
        ServerFrame::Typing(typing) => ("SERVER_TYPING", op::SERVER_TYPING, list_conv(typing.conv)),
        other => unreachable!("{other:?}"),
    };
    (name, Some(op), fields)
}

fn varints(request: u64, fields: &[(&'static str, u64)]) -> Fields {
    let fields = [("request", request)].into_iter().chain(fields.iter().copied());
    fields.map(|(name, value)| (name, Varint(value))).collect()
}

fn bits(flags: &[(bool, u8)]) -> u8 {
    flags.iter().fold(0, |bits, (set, flag)| if *set { bits | flag } else { bits })
}

fn list_changed(changed: &Changed<'_>) -> Fields {
    let delete = changed.change.delete;
    let mut fields = vec![
        ("d_inbox", Varint(changed.d_inbox)),
        ("flags", Byte(if delete { flag::DELETE } else { flag::EDIT })),
    ];
    fields.extend(list_conv(changed.conv));
    fields.push(("conv_seq", Varint(changed.conv_seq)));
    fields.push(("time_ms", Varint(changed.time_ms)));
    fields.push(("target", Varint(changed.change.target)));
    if !delete {
        fields.push(("body", Rest(changed.body.to_vec())));
    }
    fields
}

fn list_command_answer(answer: &CommandAnswer) -> Fields {
    let mut fields = vec![("outbox", U64(answer.outbox.0)), ("n", Varint(answer.n))];
    match answer.result {
        CommandResult::Known => fields.push(("result", Byte(0))),
        CommandResult::OutOfOrder { next } => {
            fields.extend([("result", Byte(1)), ("next", Varint(next))]);
        }
        CommandResult::Refused { code, retry_after_ms } => {
            fields.extend([("result", Byte(2)), ("code", Varint(code.number()))]);
            fields.push(("retry_after_ms", Varint(retry_after_ms)));
        }
    }
    fields
}

fn list_item(item: &HistoryItem<'_>) -> Fields {
    let own = if item.own.is_some() { flag::OWN } else { 0 };
    let (flags, place, body) = match item.kind {
        HistoryKind::Message { body, edited_by: None } => (0, None, Some(body)),
        HistoryKind::Message { body, edited_by: Some(place) } => {
            (flag::EDITED, Some(("edited_by", Varint(place))), Some(body))
        }
        HistoryKind::Deleted => (flag::DELETED, None, None),
        HistoryKind::Edit { target, body } => {
            (flag::CHANGE_EDIT, Some(("target", Varint(target))), Some(body))
        }
        HistoryKind::Delete { target } => {
            (flag::CHANGE_DELETE, Some(("target", Varint(target))), None)
        }
        HistoryKind::Void => (flag::VOID, None, None),
        HistoryKind::Hidden => (flag::HIDDEN, None, None),
        HistoryKind::Gap => (flag::GAP, None, None),
    };
    let mut fields = vec![
        ("request", Varint(item.request)),
        ("flags", Byte(own | flags)),
        ("conv_seq", Varint(item.conv_seq)),
        ("time_ms", Varint(item.time_ms)),
    ];
    fields.extend(place);
    if let Some(own) = item.own {
        fields.extend([("outbox", U64(own.outbox.0)), ("n", Varint(own.n))]);
        fields.push(("hash", U64(own.hash.0)));
    }
    fields.extend(body.map(|body| ("body", Rest(body.to_vec()))));
    fields
}

fn list_chat_head(head: &ChatHead<'_>) -> Fields {
    let flags = bits(&[
        (head.settings.pinned, flag::PINNED),
        (head.settings.archived, flag::ARCHIVED),
        (head.contact, flag::CONTACT),
        (head.blocked, flag::BLOCKED),
        (head.preview_own, flag::PREVIEW_OWN),
    ]);
    let mut fields = vec![("request", Varint(head.request))];
    fields.extend(list_conv(head.conv));
    fields.push(("flags", Byte(flags)));
    fields.push(("head", Varint(head.head)));
    fields.push(("time_ms", Varint(head.time_ms)));
    fields.push(("last_inbox", Varint(head.last_inbox)));
    fields.push(("read", Varint(head.read)));
    fields.push(("peer_read", Varint(head.peer_read)));
    fields.push(("delivered", Numbers(head.delivered.iter().collect())));
    fields.push(("unread", Varint(head.unread)));
    fields.push(("muted_until_ms", Varint(head.settings.muted_until_ms)));
    fields.push(("preview", Counted(head.preview.to_vec())));
    fields
}

/// A command's name and fields.
pub fn list_command(command: &Command<'_>) -> (&'static str, Fields) {
    match *command {
        Command::Settings { conv, settings } => {
            let mut fields = list_conv(conv);
            fields.push(("muted_until_ms", Varint(settings.muted_until_ms)));
            fields.push(("flags", Byte(settings.flags())));
            ("SETTINGS", fields)
        }
        Command::DeleteForMe { conv, first, last } => {
            let mut fields = list_conv(conv);
            fields.extend([("first", Varint(first)), ("last", Varint(last))]);
            ("DELETE_FOR_ME", fields)
        }
        Command::ContactAdd { peer, name } => {
            let name = Rest(name.as_bytes().to_vec());
            ("CONTACT_ADD", vec![("peer", Varint(peer.get())), ("name", name)])
        }
        Command::ContactRemove { peer } => ("CONTACT_REMOVE", vec![("peer", Varint(peer.get()))]),
        Command::Block { peer } => ("BLOCK", vec![("peer", Varint(peer.get()))]),
        Command::Unblock { peer } => ("UNBLOCK", vec![("peer", Varint(peer.get()))]),
        Command::Privacy(privacy) => {
            let visibility = Byte(privacy.visibility.number());
            let refuse = Byte(privacy.refuse_strangers.into());
            ("PRIVACY", vec![("visibility", visibility), ("refuse_strangers", refuse)])
        }
        Command::Revoke { device } => ("REVOKE", vec![("device", Varint(device.0.into()))]),
    }
}
