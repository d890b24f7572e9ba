//! Retention: entries go when every device passed them or by age, and never before.

use crate::history::{flush, flushing, talk};
use crate::snapshot::welcome;
use crate::world::{Client, World, id};
use shards::Limits;
use wire::{Ack, ClientFrame, Seq, ServerFrame, SnapshotReason, Verdict};

fn acks(world: &mut World, client: Client, inbox_seq: Seq) {
    world.send(client, ClientFrame::Ack(Ack { inbox_seq }));
    world.run_ms(30);
}

/// User 2 sends user 1 so many messages.
fn backlog(world: &mut World, count: u64) {
    let writer = world.attach(2, 1, true);
    talk(world, writer, 1, 1, count);
    world.cut(writer);
    flush(world);
}

#[test]
fn entries_go_once_every_device_passed_them() {
    let limits = Limits { trim_entries: 16, ..flushing() };
    let mut world = World::with_store(2, limits);
    let (phone, laptop) = (world.attach(1, 1, true), world.attach(1, 2, true));
    backlog(&mut world, 100);
    acks(&mut world, phone, 60);
    assert_eq!(world.stat(|stats| stats.trims), 0, "the laptop has none of them");
    acks(&mut world, laptop, 40);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(41));
    acks(&mut world, laptop, 50);
    assert_eq!(world.stat(|stats| stats.trims), 1, "ten more are not worth a record");
    world.restart();
    // Below the trim a device starts anew, also after a crash; at it, it resumes.
    let too_far = Verdict::Snapshot(SnapshotReason::TooFar);
    let behind = world.attach_at(1, 3, 1, 39);
    assert_eq!(welcome(&mut world, behind), (1, too_far, 100, 100));
    let at_it = world.attach_at(1, 3, 1, 40);
    assert_eq!(welcome(&mut world, at_it), (1, Verdict::Resume, 40, 100));
}

#[test]
fn entries_go_by_age_but_not_from_under_a_device_that_reads() {
    let limits = Limits { trim_entries: 16, inbox_age_ms: 60_000, ..flushing() };
    let mut world = World::with_store(2, limits);
    let phone = world.attach(1, 1, true);
    world.cut(phone);
    backlog(&mut world, 100);
    world.pass_ms(50_000);
    let writer = world.attach(2, 1, true);
    talk(&mut world, writer, 1, 101, 150);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(1), "all are young");
    world.pass_ms(20_000);
    // A device that reads keeps what it did not ack.
    let phone = world.attach_at(1, 1, 1, 0);
    talk(&mut world, writer, 1, 151, 176);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(1));
    world.cut(phone);
    talk(&mut world, writer, 1, 177, 192);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(101), "those of the first hour went");
    let phone = world.attach_at(1, 1, 1, 0);
    let too_far = Verdict::Snapshot(SnapshotReason::TooFar);
    assert_eq!(welcome(&mut world, phone).1, too_far);
}

#[test]
fn entries_stay_until_the_marks_of_what_devices_acked_are_logged() {
    let limits = Limits { trim_entries: 16, inbox_age_ms: 60_000, receipt_ms: 400, ..flushing() };
    let mut world = World::with_store(2, limits);
    let phone = world.attach(1, 1, true);
    world.cut(phone);
    backlog(&mut world, 100);
    world.pass_ms(70_000);
    let writer = world.attach(2, 1, true);
    let phone = world.attach_at(1, 1, 1, 0);
    // After a crash these entries tell which places were acked; their age is no reason to go.
    acks(&mut world, phone, 100);
    talk(&mut world, writer, 1, 101, 112);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(1), "the window of the marks is open");
    world.run_ms(500);
    talk(&mut world, writer, 1, 113, 128);
    flush(&mut world);
    assert_eq!(world.store().oldest_entry(id(1)), Some(101));
}

#[test]
fn a_long_backlog_drains_with_bounded_buffers_and_in_order() {
    let limits =
        Limits { trim_entries: 512, new_conversations_burst: 64, send_burst: 4_000, ..flushing() };
    let mut world = World::with_store(1, limits);
    let phone = world.attach(1, 1, true);
    world.cut(phone);
    backlog(&mut world, 4_000);
    let phone = world.attach_at(1, 1, 1, 0);
    let (mut got, mut caught_up) = (0, false);
    for _ in 0..200 {
        let entries = world.take(phone, |frame| match frame {
            ServerFrame::Deliver(deliver) => Some(deliver.conv_seq),
            ServerFrame::CaughtUp(told) => {
                caught_up = true;
                assert_eq!(told.head, 4_000);
                None
            }
            _ => None,
        });
        for seq in entries {
            got += 1;
            assert_eq!(seq, got, "in order, without a hole");
        }
        if caught_up {
            break;
        }
        world.send(phone, ClientFrame::Ack(Ack { inbox_seq: got }));
        world.run_ms(1);
    }
    assert!(caught_up && got == 4_000);
}

#[test]
fn a_device_that_stalls_gives_its_place_to_one_that_reads() {
    let limits = Limits { read_ahead_max: 1, window_frames: 8, scan_entries: 32, ..flushing() };
    let mut world = World::with_store(1, limits);
    for device in [1, 2] {
        let client = world.attach(1, device, true);
        world.cut(client);
    }
    backlog(&mut world, 400);
    let (stalls, reads) = (world.attach_at(1, 1, 1, 0), world.attach_at(1, 2, 1, 0));
    let delivered = |world: &mut World, client| {
        let all = world.take(client, |frame| match frame {
            ServerFrame::Deliver(deliver) => Some(deliver.conv_seq),
            _ => None,
        });
        all.last().copied()
    };
    assert_eq!(delivered(&mut world, stalls), Some(8), "a window, and no more");
    world.run_ms(1_500);
    let mut last = 0;
    for _ in 0..100 {
        last = delivered(&mut world, reads).unwrap_or(last);
        world.send(reads, ClientFrame::Ack(Ack { inbox_seq: last }));
        world.run_ms(2);
    }
    assert_eq!(last, 400);
    // The one that stalled goes on where it was.
    let mut last = 8;
    for _ in 0..100 {
        world.send(stalls, ClientFrame::Ack(Ack { inbox_seq: last }));
        world.run_ms(2);
        last = delivered(&mut world, stalls).unwrap_or(last);
    }
    assert_eq!(last, 400);
}
