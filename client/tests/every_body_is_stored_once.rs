//! Whatever happens to connections, processes, disks and copies of a device: a message that its
//! user saw queued is stored once, or given up once, and never both.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use client::{Conv, body_hash};
use model::{Misfortunes, PEERS, World};

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
            assert!(!void || world.unwanted.iter().any(|body| body_hash(body) == hash));
        }
    }
}

/// Every queued body has its one end, and what users were told is true.
fn check_no_loss(world: &World) {
    let mut ends = BTreeMap::new();
    for conv in convs() {
        ends.extend(world.server.own(conv).into_iter().map(|(_, hash, void)| (hash, void)));
    }
    for (_, body) in &world.queued {
        assert!(ends.contains_key(&body_hash(body)), "lost: {:?}", String::from_utf8_lossy(body));
    }
    check_told(world, &ends);
}

fn check_told(world: &World, ends: &BTreeMap<client::BodyHash, bool>) {
    for body in &world.sent {
        assert_eq!(ends.get(&body_hash(body)), Some(&false), "sent, but not stored");
    }
    for body in &world.given_up {
        assert_eq!(ends.get(&body_hash(body)), Some(&true), "given up, but stored");
    }
}

/// Every copy has the same history as the server, and told each entry once.
fn check_history(world: &World) {
    for device in &world.devices {
        assert_eq!(device.repeated, [], "told twice");
        for conv in convs() {
            let log = world.server.log(conv);
            let all = (!log.is_empty()).then_some((1, log.len() as u64));
            let ranges = device.client.ranges(conv).into_iter().flat_map(|ranges| ranges.iter());
            assert!(ranges.eq(all), "not all entries came");
            if !world.keep_history {
                continue;
            }
            let history = device.client.history(conv);
            let history: Vec<_> = history
                .map(|(seq, had)| {
                    let (own, void) =
                        (had.kind != client::Kind::Peer, had.kind == client::Kind::OwnVoid);
                    assert!(had.body.as_ref().is_none_or(|body| body_hash(body) == had.hash));
                    (seq, had.hash, void, own)
                })
                .collect();
            assert_eq!(history, log);
        }
    }
}

/// Messages of one device keep the order in which they were queued.
fn check_order(world: &World) {
    for conv in convs() {
        let queued = world.queued.iter().filter(|(queued, _)| *queued == conv);
        let queued: Vec<_> = queued.map(|(_, body)| body_hash(body)).collect();
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
            let came = convs().map(|conv| {
                device
                    .client
                    .ranges(conv)
                    .map_or(0, |ranges| ranges.iter().map(|(first, last)| last + 1 - first).sum())
            });
            let stored: usize = convs().map(|conv| world.server.log(conv).len()).sum();
            assert_eq!(came.sum::<u64>(), stored as u64);
        }
    }
}
