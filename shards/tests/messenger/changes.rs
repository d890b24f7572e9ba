//! Edits, deletes for everyone, blocks, strangers, the quota of sends, a log that stands still:
//! what the owner takes, and what the other home lets through.

use crate::commands::give;
use crate::receipts::{ack, worlds, worlds_with};
use crate::world::{Client, World, id, limits};
use shards::Limits;
use wire::{
    Change, ClientFrame, Command, Conv, OutboxId, Privacy, RefusalCode, Send, SendKey, ServerFrame,
    Visibility,
};

/// What a device hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// SENT: its number and place.
    Sent(u64, u64),
    /// REFUSED: its number.
    Refused(u64, RefusalCode),
    /// OUT_OF_ORDER.
    OutOfOrder(u64),
    /// DELIVER: its place.
    Message(u64),
    /// CHANGED: its place, what it changes, its text.
    Changed(u64, Change, Vec<u8>),
    /// OWN: its place and what it changes.
    Own(u64, Option<Change>),
    /// RECEIPT.
    Receipt(Vec<u64>),
}

fn heard(world: &mut World, client: Client) -> Vec<Heard> {
    world.take(client, |frame| match frame {
        ServerFrame::Sent(sent) => match sent.answer {
            wire::Answer::Fresh { conv_seq, .. } => Some(Heard::Sent(sent.key.n, conv_seq)),
            wire::Answer::Known => None,
        },
        ServerFrame::Refused(refused) => Some(Heard::Refused(refused.key.n, refused.code)),
        ServerFrame::OutOfOrder(answer) => Some(Heard::OutOfOrder(answer.key.n)),
        ServerFrame::Deliver(deliver) => Some(Heard::Message(deliver.conv_seq)),
        ServerFrame::Changed(c) => Some(Heard::Changed(c.conv_seq, c.change, c.body.to_vec())),
        ServerFrame::Own(own) => Some(Heard::Own(own.conv_seq, own.change)),
        ServerFrame::Receipt(receipt) => Some(Heard::Receipt(receipt.delivered.iter().collect())),
        _ => None,
    })
}

/// What it hears about its own sends.
fn answers(world: &mut World, client: Client) -> Vec<Heard> {
    let mut heard = heard(world, client);
    heard.retain(|heard| matches!(heard, Heard::Sent(..) | Heard::Refused(..)));
    heard
}

fn put(world: &mut World, client: Client, peer: u64, n: u64, change: Option<Change>) {
    let outbox = Some(OutboxId(100 + peer));
    let key = SendKey { conv: Conv::Direct(peer), outbox, n };
    let body: &[u8] = match change {
        Some(Change { delete: true, .. }) => b"",
        Some(_) => b"better",
        None => b"hello",
    };
    world.send(client, ClientFrame::Send(Send { key, change, body }));
    world.run_ms(10);
}

fn edit(target: u64) -> Option<Change> {
    Some(Change { target, delete: false })
}

fn delete(target: u64) -> Option<Change> {
    Some(Change { target, delete: true })
}

#[test]
fn a_writer_edits_and_deletes_and_all_devices_learn_it() {
    for (mut world, writer, reader) in worlds() {
        let (one, two) = (world.attach(writer, 1, false), world.attach(writer, 2, false));
        let to = world.attach(reader, 1, false);
        put(&mut world, one, reader, 1, None);
        put(&mut world, one, reader, 2, edit(1));
        put(&mut world, one, reader, 3, delete(1));
        let sent = [Heard::Sent(1, 1), Heard::Sent(2, 2), Heard::Sent(3, 3)];
        let at_one = heard(&mut world, one);
        assert!(sent.iter().all(|sent| at_one.contains(sent)), "{at_one:?}");
        let own = [Heard::Own(1, None), Heard::Own(2, edit(1)), Heard::Own(3, delete(1))];
        assert_eq!(heard(&mut world, two), own);
        let (edited, deleted) = (edit(1).expect("one"), delete(1).expect("one"));
        let changed = [
            Heard::Message(1),
            Heard::Changed(2, edited, b"better".to_vec()),
            Heard::Changed(3, deleted, b"".to_vec()),
        ];
        assert_eq!(heard(&mut world, to), changed);
    }
}

#[test]
fn only_an_own_plain_message_may_be_changed() {
    for (mut world, writer, reader) in worlds() {
        let (from, to) = (world.attach(writer, 1, false), world.attach(reader, 1, false));
        put(&mut world, from, reader, 1, None);
        put(&mut world, from, reader, 2, edit(1));
        heard(&mut world, from);
        heard(&mut world, to);
        // Another's message; one that is not there; itself; a change; place 0.
        put(&mut world, to, writer, 1, edit(1));
        for target in [9, 3, 2, 0] {
            put(&mut world, from, reader, 3, delete(target));
        }
        let refused = |n| Heard::Refused(n, RefusalCode::NotAllowed);
        assert_eq!(heard(&mut world, to), [refused(1)]);
        assert_eq!(heard(&mut world, from), [refused(3), refused(3), refused(3), refused(3)]);
        put(&mut world, from, reader, 3, None);
        assert!(heard(&mut world, from).contains(&Heard::Sent(3, 3)), "the number stayed free");
    }
}

#[test]
fn a_change_comes_too_late_after_its_window() {
    let limits = Limits { edit_window_ms: 100, delete_window_ms: 200, ..limits() };
    for (mut world, writer, reader) in worlds_with(&limits) {
        let from = world.attach(writer, 1, false);
        put(&mut world, from, reader, 1, None);
        world.run_ms(120);
        heard(&mut world, from);
        put(&mut world, from, reader, 2, edit(1));
        assert_eq!(heard(&mut world, from), [Heard::Refused(2, RefusalCode::NotAllowed)]);
        put(&mut world, from, reader, 2, delete(1));
        assert!(heard(&mut world, from).contains(&Heard::Sent(2, 2)), "deletes have longer");
        world.run_ms(200);
        put(&mut world, from, reader, 3, delete(1));
        assert_eq!(heard(&mut world, from), [Heard::Refused(3, RefusalCode::NotAllowed)]);
    }
}

#[test]
fn a_blocked_writer_sees_sent_and_nothing_else() {
    for (mut world, writer, reader) in worlds() {
        let (from, to) = (world.attach(writer, 1, false), world.attach(reader, 1, false));
        put(&mut world, from, reader, 1, None);
        give(&mut world, to, 1, Command::Block { peer: id(writer) });
        world.run_ms(10);
        ack(&mut world, to, 2);
        world.run_ms(200);
        put(&mut world, from, reader, 2, None);
        put(&mut world, from, reader, 3, edit(2));
        world.run_ms(200);
        assert_eq!(heard(&mut world, to), [Heard::Message(1)]);
        let at_writer = heard(&mut world, from);
        assert!(at_writer.contains(&Heard::Sent(3, 3)), "{at_writer:?}");
        let receipts = |heard: &Heard| matches!(heard, Heard::Receipt(_));
        assert!(!at_writer.iter().any(receipts), "no receipt: {at_writer:?}");

        give(&mut world, to, 2, Command::Unblock { peer: id(writer) });
        world.run_ms(10);
        put(&mut world, from, reader, 4, None);
        put(&mut world, from, reader, 5, edit(2));
        assert_eq!(heard(&mut world, to), [Heard::Message(4)], "what was hidden stays so");
        // The reader writes back: the places of both stay in step.
        put(&mut world, to, writer, 1, None);
        assert!(heard(&mut world, from).contains(&Heard::Message(6)));
    }
}

#[test]
fn strangers_are_hidden_from_those_who_refuse_them() {
    for (mut world, writer, reader) in worlds() {
        let (from, to) = (world.attach(writer, 1, false), world.attach(reader, 1, false));
        let privacy = Privacy { visibility: Visibility::Everyone, refuse_strangers: true };
        give(&mut world, to, 1, Command::Privacy(privacy));
        world.run_ms(10);
        put(&mut world, from, reader, 1, None);
        assert_eq!(heard(&mut world, to), []);
        give(&mut world, to, 2, Command::ContactAdd { peer: id(writer), name: "" });
        world.run_ms(10);
        put(&mut world, from, reader, 2, None);
        assert_eq!(heard(&mut world, to), [Heard::Message(2)]);
    }
}

#[test]
fn a_block_outlives_a_crash() {
    for (mut world, writer, reader) in worlds() {
        let (from, to) = (world.attach(writer, 1, false), world.attach(reader, 1, false));
        put(&mut world, from, reader, 1, None);
        give(&mut world, to, 1, Command::Block { peer: id(writer) });
        world.run_ms(10);
        put(&mut world, from, reader, 2, None);
        world.restart();
        let from = world.attach_again(writer, 1, 2);
        let to = world.attach_again(reader, 1, 2);
        put(&mut world, from, reader, 3, None);
        assert!(heard(&mut world, from).contains(&Heard::Sent(3, 3)));
        assert_eq!(heard(&mut world, to), []);
    }
}

#[test]
fn sends_beyond_the_quota_are_refused_and_welcome_later() {
    let limits = Limits { send_burst: 3, send_ms: 100, ..limits() };
    for (mut world, writer, reader) in worlds_with(&limits) {
        let from = world.attach(writer, 1, false);
        for n in 1..=4 {
            put(&mut world, from, reader, n, None);
        }
        let refused = Heard::Refused(4, RefusalCode::Quota);
        assert!(heard(&mut world, from).contains(&refused));
        // Coming back gives nothing new.
        world.cut(from);
        let from = world.attach_again(writer, 1, 3);
        put(&mut world, from, reader, 4, None);
        assert_eq!(heard(&mut world, from), [refused]);
        world.run_ms(100);
        put(&mut world, from, reader, 4, None);
        assert!(heard(&mut world, from).contains(&Heard::Sent(4, 4)));
    }
}

#[test]
fn a_log_that_stands_still_refuses_what_comes_and_keeps_what_came() {
    let small = Limits { log_stall_ms: 1_000, ..limits() };
    for (mut world, writer, reader) in worlds_with(&small) {
        let from = world.attach(writer, 1, false);
        put(&mut world, from, reader, 1, None);
        assert_eq!(answers(&mut world, from), [Heard::Sent(1, 1)]);
        world.pass_ms(5_000);
        world.hold_disks(true);
        put(&mut world, from, reader, 2, None);
        world.run_ms(500);
        put(&mut world, from, reader, 3, None);
        assert_eq!(answers(&mut world, from), [], "they wait, after idle seconds as before");
        world.run_ms(500);
        put(&mut world, from, reader, 4, None);
        let refused = Heard::Refused(4, RefusalCode::RetryAfter);
        assert_eq!(answers(&mut world, from), [refused]);
        world.hold_disks(false);
        world.run_ms(20);
        put(&mut world, from, reader, 4, None);
        let sent = [Heard::Sent(2, 2), Heard::Sent(3, 3), Heard::Sent(4, 4)];
        assert_eq!(answers(&mut world, from), sent);
    }
}
