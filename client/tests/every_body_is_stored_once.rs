//! Whatever happens to connections, processes, disks and copies of a device: a message that its
//! user saw queued is stored once, or given up once, and never both.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use client::{BodyHash, Client, Conv, Kind};
use model::{Misfortunes, PEERS, Truth, World};

fn run(seed: u64, misfortunes: Misfortunes) -> World {
    let mut world = World::new(seed, misfortunes);
    for _ in 0..600 {
        world.chaos();
    }
    world.calm();
    world
}

fn convs() -> impl Iterator<Item = Conv> {
    (100..100 + PEERS).map(Conv::Direct)
}

/// No body twice, none both stored and void.
fn check_once(world: &World) {
    for conv in convs() {
        let mut hashes = BTreeSet::new();
        for (body, hash, void) in world.server.own(conv) {
            assert!(hashes.insert(hash), "stored twice: {:?}", String::from_utf8_lossy(&body));
            assert!(!void || world.unwanted.contains(&hash));
        }
    }
}

/// Every queued body has its one end, and what users were told is true.
fn check_no_loss(world: &World) {
    let mut ends = BTreeMap::new();
    for conv in convs() {
        ends.extend(world.server.own(conv).into_iter().map(|(_, hash, void)| (hash, void)));
    }
    for (_, hash) in &world.queued {
        assert!(ends.contains_key(hash), "lost: {hash:?}");
    }
    check_told(world, &ends);
}

fn check_told(world: &World, ends: &BTreeMap<BodyHash, bool>) {
    for hash in &world.sent {
        assert_eq!(ends.get(hash), Some(&false), "sent, but not stored");
    }
    for hash in &world.given_up {
        assert_eq!(ends.get(hash), Some(&true), "given up, but stored");
    }
}

/// Every copy has the same history and the same marks as the server, and told each entry once.
fn check_history(world: &World) {
    for device in &world.devices {
        assert_eq!(device.repeated, [], "told twice");
        for conv in convs() {
            let head = world.server.taken(conv);
            let all = (head > 0).then_some((1, head));
            let ranges = device.client.ranges(conv).into_iter().flat_map(|ranges| ranges.iter());
            let last = world.server.truth(conv).last().map_or(0, |last| last.seq);
            // What the peer gave up at the end has no entry.
            assert!(last < head || ranges.eq(all), "not all places are known");
            if world.keep_history {
                let history = device.client.history(conv);
                let history = history.filter(|(_, had)| {
                    !matches!(had.kind, Kind::Hidden | Kind::PeerVoid | Kind::OwnVoid)
                });
                let history = history.map(|(seq, had)| Truth {
                    seq,
                    kind: had.kind,
                    text: had.body.clone(),
                    edited: had.edited_by > 0,
                    deleted: had.deleted,
                });
                assert_eq!(history.collect::<Vec<_>>(), world.server.truth(conv));
            }
            check_marks(world, &device.client, conv);
        }
        let contacts = device
            .client
            .contacts()
            .map(|(user, had)| (user, (had.contact, had.blocked, had.name.clone())));
        assert!(contacts.eq(world.server.contacts.clone()), "contacts differ");
    }
}

fn check_marks(world: &World, client: &Client, conv: Conv) {
    let Some(chat) = client.chat(conv) else { return };
    let member = world.server.members.get(&conv).cloned().unwrap_or_default();
    assert_eq!(chat.read, member.read);
    assert_eq!(chat.peer_read, member.peer_read);
    assert_eq!(chat.peer_delivered, member.peer_delivered);
    assert_eq!(chat.settings, member.settings);
    if world.keep_history {
        assert_eq!(chat.unread, world.server.unread(conv));
    }
}

/// Messages of one device keep the order in which they were queued.
fn check_order(world: &World) {
    for conv in convs() {
        let queued = world.queued.iter().filter(|(queued, _)| *queued == conv);
        let queued: Vec<_> = queued.map(|(_, hash)| *hash).collect();
        let stored = world.server.own(conv);
        let stored: Vec<_> = stored.into_iter().map(|(_, hash, _)| hash).collect();
        let known: Vec<_> = stored.iter().filter(|hash| queued.contains(hash)).copied().collect();
        assert_eq!(queued, known);
    }
}

#[test]
fn over_bad_connections() {
    for seed in 0..300 {
        let world = run(seed, Misfortunes { give_ups: true, ..Misfortunes::default() });
        check_once(&world);
        check_no_loss(&world);
        check_history(&world);
        check_order(&world);
        for (number, hashes) in &world.server.numbers {
            assert_eq!(hashes.len(), 1, "{number:?} changed its body");
        }
    }
}

#[test]
fn over_crashes() {
    for seed in 0..300 {
        let misfortunes = Misfortunes { crashes: true, give_ups: true, ..Misfortunes::default() };
        let world = run(seed, misfortunes);
        check_once(&world);
        check_no_loss(&world);
        check_history(&world);
        check_order(&world);
    }
}

#[test]
fn with_copies_of_the_device() {
    for seed in 0..400 {
        let misfortunes =
            Misfortunes { crashes: true, clones: true, give_ups: true, ..Misfortunes::default() };
        let world = run(seed, misfortunes);
        check_once(&world);
        check_no_loss(&world);
        check_history(&world);
    }
}

/// Edits, deletions, commands and marks reach every device, over snapshots too.
#[test]
fn with_changes_and_skipped_entries() {
    for seed in 0..600 {
        let misfortunes = Misfortunes {
            crashes: true,
            give_ups: true,
            changes: true,
            trims: seed % 2 == 0,
            ..Misfortunes::default()
        };
        let world = run(seed, misfortunes);
        check_once(&world);
        check_no_loss(&world);
        check_history(&world);
        check_order(&world);
        let mut commands = world.server.commands.clone();
        commands.retain(|taken| matches!(taken[0], 1 | 3));
        for queued in &world.commands {
            let found = commands.iter().position(|taken| taken == queued);
            commands.swap_remove(found.expect("a command is lost"));
        }
        assert!(commands.is_empty(), "taken twice");
    }
}

#[test]
fn with_copies_and_skipped_entries() {
    for seed in 0..400 {
        let misfortunes = Misfortunes {
            crashes: true,
            clones: true,
            give_ups: true,
            changes: true,
            trims: true,
            ..Misfortunes::default()
        };
        let world = run(seed, misfortunes);
        check_once(&world);
        check_no_loss(&world);
        check_history(&world);
    }
}

/// What was queued after the day to which the disk goes back is lost with it; nothing else is, and
/// nothing is stored twice.
#[test]
fn with_restored_and_lost_disks() {
    for seed in 0..400 {
        let misfortunes = Misfortunes {
            crashes: true,
            clones: true,
            restores: true,
            give_ups: true,
            ..Misfortunes::default()
        };
        let world = run(seed, misfortunes);
        check_once(&world);
        let mut ends = BTreeMap::new();
        for conv in convs() {
            ends.extend(world.server.own(conv).into_iter().map(|(_, hash, void)| (hash, void)));
        }
        check_told(&world, &ends);
        check_history(&world);
    }
}

/// A server that lost its past takes what is still queued: nothing waits for ever for numbers that
/// will not come again.
#[test]
fn with_a_server_that_lost_its_past() {
    for seed in 0..300 {
        let misfortunes =
            Misfortunes { crashes: true, server_loses_its_past: true, ..Misfortunes::default() };
        let world = run(seed, misfortunes);
        check_once(&world);
        for device in &world.devices {
            for conv in convs() {
                assert_eq!(device.client.older_hole(conv, 0), None);
            }
            assert_eq!(device.client.position().1, world.server.inbox_len());
        }
    }
}
