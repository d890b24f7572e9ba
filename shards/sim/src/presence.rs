//! Presence converges: while nothing else happens, every device knows of everybody whom it watches
//! and may see, no later than 500 ms after they came or their grace ended (P7).

use crate::{fact::DeviceIndex, seed::Rng, world::World};
use client::{Client, PresenceState, UserId, Visibility};

/// What everybody knows after this time, in virtual time.
const KNOWN_AFTER_US: u64 = 500_000;
/// Comings and goings.
const ROUNDS: u64 = 4;

/// All attached devices watch all users, some of whom come and go.
pub fn watch_each_other(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let attached = attached(world);
    let grace_us = world.plan.limits.presence_grace_ms * 1_000;
    // What was refused for want of room is asked for anew.
    for users in [Vec::new(), world.plan.users.clone()] {
        for &index in &attached {
            world.devices[index.0].watch(users.clone());
            world.step_device(index)?;
        }
        rest(world, KNOWN_AFTER_US)?;
    }
    rest(world, grace_us)?;
    judge(world, &attached)?;
    for _ in 0..ROUNDS {
        let index = *rng.pick(&attached);
        let looks = !world.devices[index.0].foreground;
        world.devices[index.0].look(looks);
        world.step_device(index)?;
        rest(world, KNOWN_AFTER_US + if looks { 0 } else { grace_us })?;
        judge(world, &attached)?;
    }
    Ok(())
}

fn client(world: &World, index: DeviceIndex) -> &Client {
    world.devices[index.0].client.as_ref().expect("it is attached")
}

fn attached(world: &World) -> Vec<DeviceIndex> {
    let attached = world.devices.iter().filter(|device| {
        !device.retired
            && device.link().is_some()
            && device.client.as_ref().is_some_and(|client| client.is_attached())
    });
    attached.map(|device| device.index).collect()
}

fn rest(world: &mut World, us: u64) -> Result<(), String> {
    let until = world.now() + us;
    while world.now() < until {
        world.step(until)?;
    }
    Ok(())
}

fn judge(world: &World, devices: &[DeviceIndex]) -> Result<(), String> {
    // Who lost its connection meanwhile knows nothing, and is not there.
    let attached = attached(world);
    if attached != devices {
        return Err(format!("presence: {devices:?} became {attached:?} in peace"));
    }
    for &watcher in devices {
        let user = world.devices[watcher.0].user;
        for &target in world.plan.users.iter().filter(|target| **target != user) {
            let expected = state(world, devices, user, target);
            let known = client(world, watcher).presence(target);
            if known.map(|known| known.state) != Some(expected) {
                return Err(format!(
                    "presence: {watcher:?} of {user:?} knows {known:?}, it is {expected:?}"
                ));
            }
        }
    }
    Ok(())
}

/// What a watcher may know of a target.
fn state(world: &World, devices: &[DeviceIndex], watcher: UserId, target: UserId) -> PresenceState {
    let own = || devices.iter().filter(|index| world.devices[index.0].user == target);
    // Who may see is the user's word, which at rest every device knows, attached or not.
    let living = world.devices.iter().filter(|device| !device.retired && device.user == target);
    let knowing = || living.clone().filter_map(|device| device.client.as_ref());
    assert!(knowing().next().is_some(), "{target:?} has a device");
    let privacy = knowing().find_map(|client| client.privacy()).unwrap_or_default();
    let contact = knowing().find_map(|client| client.contact(watcher));
    let shown = match privacy.visibility {
        Visibility::Everyone => true,
        Visibility::Contacts => contact.is_some_and(|contact| contact.contact),
        Visibility::Nobody => false,
    };
    match shown && !contact.is_some_and(|contact| contact.blocked) {
        false => PresenceState::Unknown,
        true if own().any(|index| world.devices[index.0].foreground) => PresenceState::Online,
        true => PresenceState::Offline,
    }
}
