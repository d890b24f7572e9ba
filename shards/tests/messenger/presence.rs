//! Presence: who is told what, when, and in how many frames.

use crate::world::{Client, World, id, limits};
use shards::{Limits, Relay};
use wire::PresenceState::{Offline, Online};
use wire::{Activity, ClientFrame, PresenceState, ServerFrame, UserPresence, Watch};

fn watch(world: &mut World, client: Client, users: &[u64]) {
    let users: Vec<_> = users.iter().map(|&user| id(user)).collect();
    world.send(client, ClientFrame::Watch(Watch { users: users.as_slice().into() }));
}

fn activity(world: &mut World, client: Client, foreground: bool) {
    world.send(client, ClientFrame::Activity(Activity { foreground }));
}

/// One list per PRESENCE frame.
fn frames(world: &mut World, client: Client) -> Vec<Vec<UserPresence>> {
    world.take(client, |frame| match frame {
        ServerFrame::Presence(presence) => Some(presence.users.iter().collect()),
        _ => None,
    })
}

fn states(world: &mut World, client: Client) -> Vec<Vec<(u64, PresenceState)>> {
    let frames = frames(world, client).into_iter();
    frames.map(|users| users.iter().map(|p| (p.user.get(), p.state)).collect()).collect()
}

/// The lowest user above `from` who lives on this core.
fn on(world: &World, core: u16, from: u64) -> u64 {
    (from..).find(|&user| world.home(user) == core).expect("there are many")
}

#[test]
fn watch_tells_all_states_in_one_frame_and_then_changes() {
    let mut world = World::new(2, limits());
    let watcher = world.attach(1, 1, true);
    let there: Vec<u64> = (2..6).collect();
    let clients: Vec<_> = there.iter().map(|&user| world.attach(user, 1, user != 3)).collect();
    watch(&mut world, watcher, &[2, 3, 4, 5, 6]);
    world.run_ms(300);
    let all = vec![(2, Online), (3, Offline), (4, Online), (5, Online), (6, Offline)];
    assert_eq!(states(&mut world, watcher), [all]);
    activity(&mut world, clients[1], true);
    world.run_ms(499);
    assert_eq!(states(&mut world, watcher), [vec![(3, Online)]]);
    let left_us = 1_700_000_000_000_000;
    world.cut(clients[0]);
    world.run_ms(2_900);
    assert_eq!(states(&mut world, watcher), [] as [Vec<_>; 0], "the grace is not over");
    world.run_ms(600);
    let told = frames(&mut world, watcher);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0][0].user, told[0][0].state), (id(2), Offline));
    assert!(told[0][0].last_seen_ms * 1_000 >= left_us && told[0][0].version > left_us);
}

#[test]
fn a_short_reconnect_and_a_background_attach_tell_nothing() {
    let mut world = World::new(2, limits());
    let watcher = world.attach(1, 1, true);
    let target = world.attach(2, 1, true);
    watch(&mut world, watcher, &[2]);
    world.run_ms(300);
    assert_eq!(states(&mut world, watcher), [vec![(2, Online)]]);
    world.cut(target);
    world.run_ms(2_000);
    let target = world.attach(2, 1, true);
    world.attach(2, 2, false);
    activity(&mut world, target, false);
    world.run_ms(1_000);
    activity(&mut world, target, true);
    world.run_ms(5_000);
    assert_eq!(states(&mut world, watcher), [] as [Vec<_>; 0]);
}

#[test]
fn each_pair_of_cores_and_each_session_is_told_once_per_window() {
    let mut world = World::new(2, limits());
    let here = on(&world, 0, 1);
    let watcher = world.attach(here, 1, true);
    let targets: Vec<u64> = (100..).filter(|&user| world.home(user) == 1).take(20).collect();
    let clients: Vec<_> = targets.iter().map(|&user| world.attach(user, 1, false)).collect();
    watch(&mut world, watcher, &targets);
    world.run_ms(300);
    assert_eq!(states(&mut world, watcher).len(), 1);
    world.relays();
    for (index, &client) in clients.iter().enumerate() {
        activity(&mut world, client, true);
        // The first is told at once, the others come while its window lasts.
        world.run_ms(if index == 0 { 20 } else { 5 });
    }
    world.run_ms(500);
    let batches = world.relays().iter().filter(|r| matches!(r, Relay::Presence(_))).count();
    let told = states(&mut world, watcher);
    assert_eq!((batches, told.len()), (2, 2));
    assert_eq!(told.concat().len(), targets.len());
}

#[test]
fn a_replaced_set_is_told_and_what_left_it_is_not() {
    let mut world = World::new(2, limits());
    let watcher = world.attach(1, 1, true);
    let (two, three) = (world.attach(2, 1, true), world.attach(3, 1, true));
    watch(&mut world, watcher, &[2]);
    world.run_ms(300);
    watch(&mut world, watcher, &[3, 4]);
    world.run_ms(300);
    let expected = [vec![(2, Online)], vec![(3, Online), (4, Offline)]];
    assert_eq!(states(&mut world, watcher), expected);
    world.cut(two);
    world.cut(three);
    world.run_ms(4_000);
    assert_eq!(states(&mut world, watcher), [vec![(3, Offline)]]);
    watch(&mut world, watcher, &[]);
    world.run_ms(10);
    assert_eq!(states(&mut world, watcher), [vec![]]);
}

#[test]
fn two_sessions_of_one_user_watch_apart() {
    let mut world = World::new(2, limits());
    let (first, second) = (world.attach(1, 1, true), world.attach(1, 2, true));
    let target = world.attach(2, 1, true);
    watch(&mut world, first, &[2]);
    watch(&mut world, second, &[2]);
    world.run_ms(300);
    world.cut(first);
    activity(&mut world, target, false);
    world.run_ms(4_000);
    let told = states(&mut world, second).concat();
    assert_eq!((told.first(), told.last()), (Some(&(2, Online)), Some(&(2, Offline))));
}

#[test]
fn too_many_watched_and_too_many_watches_are_refused() {
    let small = Limits { watch_max: 3, watch_burst: 2, watch_ms: 1_000, ..limits() };
    let mut world = World::new(1, small);
    let watcher = world.attach(1, 1, true);
    watch(&mut world, watcher, &[2, 3, 4, 5]);
    watch(&mut world, watcher, &[2]);
    watch(&mut world, watcher, &[3]);
    world.run_ms(300);
    let answers = world.take(watcher, |frame| match frame {
        ServerFrame::RequestRefused(refused) => Some(Err((refused.code, refused.retry_after_ms))),
        ServerFrame::Presence(presence) => Some(Ok(presence.users.len())),
        _ => None,
    });
    let (limit, quota) = (wire::RefusalCode::Limit, wire::RefusalCode::Quota);
    assert_eq!(answers, [Err((limit, 0)), Err((quota, 1_000)), Ok(1)]);
}

#[test]
fn a_full_core_refuses_whole_sets_and_keeps_the_one_of_before() {
    let small = Limits { watches_max: 2, ..limits() };
    let mut world = World::new(1, small.clone());
    let watcher = world.attach(1, 1, true);
    for user in 2..5 {
        world.attach(user, 1, true);
    }
    watch(&mut world, watcher, &[2, 3]);
    world.run_ms(300);
    assert_eq!(states(&mut world, watcher), [vec![(2, Online), (3, Online)]]);
    watch(&mut world, watcher, &[2, 3, 4]);
    let other = world.attach(5, 1, true);
    watch(&mut world, other, &[2]);
    world.run_ms(20);
    for client in [watcher, other] {
        let refused = world.take(client, |frame| match frame {
            ServerFrame::RequestRefused(refused) => Some((refused.code, refused.retry_after_ms)),
            _ => None,
        });
        assert_eq!(refused, [(wire::RefusalCode::RetryAfter, small.retry_after_ms)]);
    }
    watch(&mut world, watcher, &[4]);
    watch(&mut world, other, &[2]);
    world.run_ms(300);
    assert_eq!(states(&mut world, watcher), [vec![(4, Online)]]);
    assert_eq!(states(&mut world, other), [vec![(2, Online)]]);
}

#[test]
fn a_full_source_tells_unknown() {
    let small = Limits { watches_max: 2, ..limits() };
    let mut world = World::new(2, small);
    let home = world.home(2);
    let away = (3..).filter(|&user| world.home(user) != home).take(3).collect::<Vec<u64>>();
    world.attach(2, 1, true);
    for (number, &user) in away.iter().enumerate() {
        // Each has a watcher at each core; the target's core keeps two.
        let near = (100..).find(|&near| world.home(near) == home).expect("half of all");
        let watcher = world.attach(if number == 0 { near } else { user }, 1, true);
        watch(&mut world, watcher, &[2]);
        world.run_ms(300);
        let expected = if number < 2 { Online } else { PresenceState::Unknown };
        assert_eq!(states(&mut world, watcher), [vec![(2, expected)]]);
    }
}

#[test]
fn last_seen_outlives_a_crash() {
    let mut world = World::new(2, limits());
    let target = world.attach(2, 1, true);
    world.run_ms(20_000);
    world.cut(target);
    world.run_ms(20_000);
    world.restart();
    let watcher = world.attach(1, 1, true);
    watch(&mut world, watcher, &[2]);
    world.run_ms(300);
    let told = frames(&mut world, watcher).concat();
    assert_eq!(told[0].state, Offline);
    let start_ms = 1_700_000_000_000;
    assert!((start_ms + 20_000..start_ms + 21_000).contains(&told[0].last_seen_ms), "{told:?}");
}
