//! Inbox entries as frames: from the log's records, and from the store's rows.

use persistence::{Entry, EntryKind, InboxKind, MessageRecord, PlaceAt, Record};
use wire::{
    BodyHash, Change, Changed, Commanded, Deliver, OutboxId, Own, ReadMark, Receipt, RefusalCode,
    Seq, ServerFrame, UserId,
};

/// A send of one of the user's own devices.
struct OwnSend {
    outbox: OutboxId,
    n: Seq,
    void: bool,
    change: Option<Change>,
    hash: BodyHash,
}

/// The inbox entry of `id` in a record.
pub(crate) fn logged<'a>(record: &'a Record<'a>, id: UserId) -> ServerFrame<'a> {
    match record {
        Record::Message(m) => message(m, id),
        Record::Inbox(i) => {
            let at = PlaceAt { conv: i.conv, conv_seq: i.conv_seq, time_us: i.time_us };
            match i.kind {
                InboxKind::Peer { body } => peer(at, id, None, body),
                InboxKind::PeerChange { change, body } => peer(at, id, Some(change), body),
                InboxKind::Own { outbox, n, void, change, hash } => {
                    own(at, id, OwnSend { outbox, n, void, change, hash })
                }
                InboxKind::Hidden | InboxKind::Nothing => unreachable!("a mark is no entry"),
            }
        }
        Record::Read { conv, upto, .. } => {
            ServerFrame::ReadMark(ReadMark { d_inbox: 1, conv: conv.seen_by(id), conv_seq: *upto })
        }
        Record::Receipt { conv, read, delivered, .. } => ServerFrame::Receipt(Receipt {
            d_inbox: 1,
            conv: conv.seen_by(id),
            read: *read,
            delivered: delivered.as_slice().into(),
        }),
        Record::Command(c) => commanded(c.outbox, c.n, c.code, c.time_us, c.command),
        _ => unreachable!("{record:?} holds no inbox entry"),
    }
}

/// An inbox entry of `id` in the store.
pub(crate) fn stored(entry: &Entry, id: UserId) -> ServerFrame<'_> {
    match &entry.kind {
        EntryKind::Peer { at, body } => peer(*at, id, None, body),
        EntryKind::PeerChange { at, change, body } => peer(*at, id, Some(*change), body),
        EntryKind::Own { at, outbox, n, void, change, hash } => own(
            *at,
            id,
            OwnSend { outbox: *outbox, n: *n, void: *void, change: *change, hash: *hash },
        ),
        EntryKind::Receipt { conv, read, delivered } => ServerFrame::Receipt(Receipt {
            d_inbox: 1,
            conv: conv.seen_by(id),
            read: *read,
            delivered: delivered.as_slice().into(),
        }),
        EntryKind::ReadMark { conv, upto } => {
            ServerFrame::ReadMark(ReadMark { d_inbox: 1, conv: conv.seen_by(id), conv_seq: *upto })
        }
        EntryKind::Commanded { outbox, n, code, time_us, command } => {
            commanded(*outbox, *n, *code, *time_us, command)
        }
    }
}

/// Of an entry that brings something of the peer's: who that is, and its place.
pub(crate) fn peer_place(frame: &ServerFrame<'_>) -> Option<(UserId, Seq)> {
    let (wire::Conv::Direct(peer), seq) = match frame {
        ServerFrame::Deliver(deliver) => (deliver.conv, deliver.conv_seq),
        ServerFrame::Changed(changed) => (changed.conv, changed.conv_seq),
        _ => return None,
    };
    Some((UserId::new(peer)?, seq))
}

fn message<'a>(m: &MessageRecord<'a>, id: UserId) -> ServerFrame<'a> {
    let at = PlaceAt { conv: m.conv, conv_seq: m.conv_seq, time_us: m.time_us };
    if m.sender != id {
        return peer(at, id, m.change, m.body);
    }
    let hash = m.void.unwrap_or_else(|| wire::content_hash(m.body, m.change));
    let (outbox, n, void, change) = (m.outbox, m.n, m.void.is_some(), m.change);
    own(at, id, OwnSend { outbox, n, void, change, hash })
}

fn peer(at: PlaceAt, id: UserId, change: Option<Change>, body: &[u8]) -> ServerFrame<'_> {
    let (d_inbox, conv, conv_seq) = (1, at.conv.seen_by(id), at.conv_seq);
    let time_ms = at.time_us / 1_000;
    match change {
        None => ServerFrame::Deliver(Deliver { d_inbox, conv, conv_seq, time_ms, body }),
        Some(change) => {
            ServerFrame::Changed(Changed { d_inbox, conv, conv_seq, time_ms, change, body })
        }
    }
}

fn own(at: PlaceAt, id: UserId, send: OwnSend) -> ServerFrame<'static> {
    let OwnSend { outbox, n, void, change, hash } = send;
    ServerFrame::Own(Own {
        d_inbox: 1,
        conv: at.conv.seen_by(id),
        conv_seq: at.conv_seq,
        time_ms: at.time_us / 1_000,
        outbox,
        n,
        void,
        change,
        hash,
    })
}

fn commanded(outbox: OutboxId, n: Seq, code: u64, time_us: u64, command: &[u8]) -> ServerFrame<'_> {
    let code = RefusalCode::from_number(code);
    let time_ms = time_us / 1_000;
    ServerFrame::Commanded(Commanded { d_inbox: 1, outbox, n, code, time_ms, command })
}
