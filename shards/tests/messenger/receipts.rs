//! Receipts and read marks: what devices acked and users read, and who learns it when.

use crate::world::{Client, World, limits};
use shards::{Limits, Relay};
use wire::{Ack, ClientFrame, Conv, OutboxId, Read, Send, SendKey, ServerFrame};

/// What a device hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// DELIVER: its place.
    Message(u64),
    /// OWN: its place.
    Own(u64),
    /// RECEIPT: read, delivered.
    Receipt(u64, Vec<u64>),
    /// READ_MARK.
    ReadMark(u64),
}

/// A message to a user.
pub fn write(world: &mut World, client: Client, peer: u64, n: u64) {
    let key = SendKey { conv: Conv::Direct(peer), outbox: Some(OutboxId(peer)), n };
    world.send(client, ClientFrame::Send(Send { key, change: None, body: b"hello" }));
    world.run_ms(10);
}

/// The device has its inbox up to here.
pub fn ack(world: &mut World, client: Client, inbox_seq: u64) {
    world.send(client, ClientFrame::Ack(Ack { inbox_seq }));
}

fn read(world: &mut World, client: Client, peer: u64, conv_seq: u64) {
    world.send(client, ClientFrame::Read(Read { conv: Conv::Direct(peer), conv_seq }));
}

/// Everything about messages that came to a device since the last call.
pub fn heard(world: &mut World, client: Client) -> Vec<Heard> {
    world.take(client, |frame| match frame {
        ServerFrame::Deliver(deliver) => Some(Heard::Message(deliver.conv_seq)),
        ServerFrame::Own(own) => Some(Heard::Own(own.conv_seq)),
        ServerFrame::Receipt(r) => Some(Heard::Receipt(r.read, r.delivered.iter().collect())),
        ServerFrame::ReadMark(mark) => Some(Heard::ReadMark(mark.conv_seq)),
        _ => None,
    })
}

fn receipts(world: &mut World, client: Client) -> Vec<(u64, Vec<u64>)> {
    let pick = |heard| match heard {
        Heard::Receipt(read, delivered) => Some((read, delivered)),
        _ => None,
    };
    heard(world, client).into_iter().filter_map(pick).collect()
}

/// Both placements of two users: one core, and two with a home each.
pub fn worlds() -> Vec<(World, u64, u64)> {
    worlds_with(&limits())
}

pub fn worlds_with(limits: &Limits) -> Vec<(World, u64, u64)> {
    let two = World::new(2, limits.clone());
    let other = (2..).find(|user| two.home(*user) != two.home(1)).expect("some live elsewhere");
    vec![(World::new(1, limits.clone()), 1, 2), (two, 1, other)]
}

#[test]
fn acked_messages_give_one_receipt_per_window() {
    for (mut world, writer, reader) in worlds() {
        let from = world.attach(writer, 1, false);
        let to = world.attach(reader, 1, false);
        (1..=5).for_each(|n| write(&mut world, from, reader, n));
        world.run_ms(300);
        assert_eq!(receipts(&mut world, from), [], "nothing is acked");
        for inbox_seq in 1..=5 {
            ack(&mut world, to, inbox_seq);
            world.run_ms(5);
        }
        assert_eq!(receipts(&mut world, from), [], "the window is open");
        world.run_ms(150);
        assert_eq!(receipts(&mut world, from), [(0, vec![5])]);
        world.run_ms(500);
        assert_eq!(receipts(&mut world, from), [], "nothing moved");
    }
}

#[test]
fn each_device_of_the_reader_has_its_own_mark() {
    for (mut world, writer, reader) in worlds() {
        let from = world.attach(writer, 1, false);
        let (one, two) = (world.attach(reader, 1, false), world.attach(reader, 2, false));
        (1..=3).for_each(|n| write(&mut world, from, reader, n));
        ack(&mut world, one, 1);
        ack(&mut world, two, 3);
        world.run_ms(150);
        assert_eq!(receipts(&mut world, from), [(0, vec![3, 1])]);
        ack(&mut world, one, 2);
        world.run_ms(150);
        assert_eq!(receipts(&mut world, from), [(0, vec![3, 2])]);
    }
}

#[test]
fn a_lively_conversation_gets_a_quick_receipt_and_then_one_for_many_messages() {
    let limits = Limits { receipt_rest_ms: 800, cursor_ms: 100, ..limits() };
    for (mut world, writer, reader) in worlds_with(&limits) {
        let from = world.attach(writer, 1, false);
        let to = world.attach(reader, 1, false);
        (1..=9).for_each(|n| write(&mut world, from, reader, n));
        ack(&mut world, to, 1);
        world.run_ms(150);
        assert_eq!(receipts(&mut world, from), [(0, vec![1])]);
        for inbox_seq in 2..=8 {
            ack(&mut world, to, inbox_seq);
            world.run_ms(100);
        }
        assert_eq!(receipts(&mut world, from), [], "it was told of one just now");
        world.run_ms(250);
        assert_eq!(receipts(&mut world, from), [(0, vec![8])]);
        // What is not told after a crash is told when the device comes back.
        ack(&mut world, to, 9);
        world.run_ms(300);
        world.restart();
        let from = world.attach_again(writer, 1, 11);
        world.attach_again(reader, 1, 9);
        world.run_ms(150);
        assert_eq!(receipts(&mut world, from), [(0, vec![9])]);
    }
}

#[test]
fn read_marks_reach_all_own_devices_and_the_peer_and_only_rise() {
    for (mut world, writer, reader) in worlds() {
        let from = world.attach(writer, 1, false);
        let (one, two) = (world.attach(reader, 1, false), world.attach(reader, 2, false));
        (1..=3).for_each(|n| write(&mut world, from, reader, n));
        heard(&mut world, one);
        heard(&mut world, two);
        read(&mut world, one, writer, 1);
        read(&mut world, one, writer, 2);
        world.run_ms(150);
        assert_eq!(heard(&mut world, one), [Heard::ReadMark(2)], "one a window");
        assert_eq!(heard(&mut world, two), [Heard::ReadMark(2)]);
        assert_eq!(receipts(&mut world, from), [(2, vec![])]);
        read(&mut world, two, writer, 1);
        world.run_ms(150);
        assert_eq!(heard(&mut world, one), [], "a mark never goes back");
        read(&mut world, two, writer, 900);
        world.run_ms(150);
        assert_eq!(heard(&mut world, one), [Heard::ReadMark(3)], "clamped to what the home has");
        assert_eq!(receipts(&mut world, from), [(3, vec![])]);
    }
}

#[test]
fn nobody_learns_of_a_mark_that_is_not_durable() {
    for (mut world, writer, reader) in worlds() {
        let from = world.attach(writer, 1, false);
        let to = world.attach(reader, 1, false);
        write(&mut world, from, reader, 1);
        heard(&mut world, to);
        world.hold_disks(true);
        ack(&mut world, to, 1);
        read(&mut world, to, writer, 1);
        world.run_ms(300);
        assert_eq!(heard(&mut world, to), []);
        assert_eq!(receipts(&mut world, from), []);
        world.hold_disks(false);
        world.run_ms(10);
        assert_eq!(heard(&mut world, to), [Heard::ReadMark(1)]);
        assert_eq!(receipts(&mut world, from), [(1, vec![1])]);
    }
}

#[test]
fn a_receipt_that_a_crash_cut_off_is_sent_again() {
    let (mut world, writer, reader) = worlds().pop().expect("two homes");
    let from = world.attach(writer, 1, false);
    let to = world.attach(reader, 1, false);
    write(&mut world, from, reader, 1);
    ack(&mut world, to, 1);
    let left =
        |world: &mut World| world.relays().iter().any(|relay| matches!(relay, Relay::Receipt(_)));
    let steps = (0..200).find(|_| {
        world.run_ms(1);
        left(&mut world)
    });
    assert!(steps.is_some(), "a receipt leaves");
    world.restart();
    world.run_ms(50);
    let from = world.attach_again(writer, 1, 1);
    assert_eq!(receipts(&mut world, from), [(0, vec![1])]);
}

#[test]
fn acks_that_a_crash_took_come_back_with_hello() {
    // Soon: this world's store forgets what it is given.
    let limits = Limits { receipt_ms: 20, ..limits() };
    for (mut world, writer, reader) in worlds_with(&limits) {
        let from = world.attach(writer, 1, false);
        let to = world.attach(reader, 1, false);
        (1..=3).for_each(|n| write(&mut world, from, reader, n));
        ack(&mut world, to, 2);
        world.run_ms(5);
        world.restart();
        let from = world.attach_again(writer, 1, 3);
        assert_eq!(receipts(&mut world, from), [], "the mark died in its window");
        world.attach_again(reader, 1, 2);
        world.run_ms(200);
        assert_eq!(receipts(&mut world, from), [(0, vec![2])]);
    }
}

#[test]
fn a_device_that_is_new_reports_nothing() {
    for (mut world, writer, reader) in worlds() {
        let from = world.attach(writer, 1, false);
        write(&mut world, from, reader, 1);
        world.attach(reader, 1, false);
        world.attach_again(reader, 2, 1);
        world.run_ms(300);
        assert_eq!(receipts(&mut world, from), []);
    }
}
