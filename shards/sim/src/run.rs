//! One run: chaos until it was worth its while, then calm, then the last reading and judgement.

use crate::{
    device::{Device, Storage},
    fact::{DeviceIndex, End},
    mischief::Mischief,
    people::People,
    plan::Plan,
    presence,
    seed::Rng,
    trace::Trail,
    world::World,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};
use wire::{DeviceId, Seq, UserId};

/// Events that cores handle in a run, at least.
pub const EVENTS_MIN: u64 = 10_000;
/// Messages that devices see as SENT, at least.
pub const ACKS_MIN: u64 = 200;
/// Deaths of the process, at least.
pub const CRASHES_MIN: u64 = 2;
/// Chaos that has not had its events by then shows that something is stuck, in virtual time.
const CHAOS_MAX_US: u64 = 1_800_000_000;
/// Everything must be settled this long after calm began, in virtual time.
const CALM_MAX_US: u64 = 120_000_000;
/// What is at rest must stay so for this long.
const REST_US: u64 = 3_000_000;
/// The name of every user's device that reads the inbox from its first entry on.
const READER: DeviceId = DeviceId(1_000);
/// The name of every user's device that begins with a snapshot when all is over.
const NEWCOMER: DeviceId = DeviceId(1_001);
/// Of every inbox: nothing restores a server here.
const EPOCH: u64 = 1;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Covers every event and effect with its bytes; 0 where the trail has none.
    pub hash: u64,
    /// Events that cores handled.
    pub events: u64,
    /// Messages that devices saw as SENT.
    pub acks: u64,
    /// Deaths of the process.
    pub crashes: u64,
    /// Length of the run in virtual time, in microseconds.
    pub virtual_us: u64,
    /// What broke.
    pub failure: Option<String>,
}

/// Runs a seed. A panic of the code under test is a failure too.
pub fn run(seed: u64, trail: Trail) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::draw(&mut rng);
    if trail == Trail::Print {
        println!("seed {seed}: {plan:#?}");
    }
    let mut world = World::new(plan, &mut rng, trail);
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&mut world, &mut rng)));
    let failure = match outcome {
        Ok(played) => played.err(),
        Err(panic) => Some(format!("panic: {}", message(panic.as_ref()))),
    };
    Report {
        seed,
        hash: world.outside.trace.hash(),
        events: world.outside.trace.events(),
        acks: world.acks,
        crashes: world.crashes,
        virtual_us: world.now(),
        failure,
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn play(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let mut people = People::new(rng.fork(), world);
    let mut mischief = Mischief::new(rng.fork());
    chaos(world, &mut people, &mut mischief)?;
    mischief.end(world);
    let rested = calm(world, &mut people)?;
    if rested {
        presence::watch_each_other(world, rng)?;
    }
    let mut end = gather(world);
    end.restless = if rested { Vec::new() } else { restless(world) };
    if rested {
        // What is read last must not depend on anything that only memory holds.
        if rng.chance(500) {
            world.crash();
        }
        read_all(world, &mut people, &mut end)?;
    }
    world.finish(&end)
}

fn chaos(world: &mut World, people: &mut People, mischief: &mut Mischief) -> Result<(), String> {
    loop {
        let events = world.outside.trace.events();
        if events >= EVENTS_MIN && world.acks >= ACKS_MIN {
            if world.crashes >= CRASHES_MIN {
                return Ok(());
            }
            if world.is_up() {
                world.crash();
            }
        }
        if world.now() > CHAOS_MAX_US {
            let (acks, crashes) = (world.acks, world.crashes);
            return Err(format!("stuck: {events} events, {acks} acks, {crashes} crashes"));
        }
        world.step(people.next_at.min(mischief.next_at))?;
        if people.next_at <= world.now() {
            people.act(world)?;
        }
        if mischief.next_at <= world.now() {
            mischief.act(world);
        }
    }
}

/// Nobody writes, everybody connects; whether rest comes in time.
fn calm(world: &mut World, people: &mut People) -> Result<bool, String> {
    let began = world.now();
    let mut rest_since = None;
    let mut next_look = began;
    for device in &mut world.devices {
        device.online = true;
    }
    while world.now() < began + CALM_MAX_US {
        world.step(next_look)?;
        if world.now() < next_look {
            continue;
        }
        next_look = world.now() + 100_000;
        people.tend(world)?;
        let behind = behind(world);
        if behind.is_empty() {
            let since = *rest_since.get_or_insert(world.now());
            if world.now() >= since + REST_US {
                return Ok(true);
            }
        } else {
            rest_since = None;
        }
        let now = world.now();
        for index in behind {
            // Copies of a device displace each other: not too often.
            world.devices[index.0].ask_to_connect(now + 1_000_000);
        }
    }
    Ok(false)
}

/// For the report: who is not at rest, and why.
fn restless(world: &World) -> Vec<String> {
    behind(world).into_iter().map(|index| told(&world.devices[index.0])).collect()
}

/// Where a device stands, and what it waits for.
fn told(device: &Device) -> String {
    let unsettled = device.unsettled();
    format!(
        "{:?} of {:?}: link {:?}, caught up {}, at {}, settled {}, {} unsettled, first {:?}, \
         holes {:?}, lacks {:?}",
        device.index,
        device.user,
        device.link(),
        device.caught_up,
        device.position(),
        device.settled(),
        unsettled.len(),
        unsettled.first(),
        device.holes(),
        device.lacking()
    )
}

/// Living devices that lack an entry which another device of their user has, or that still have
/// something to say, or did not hear yet that they lack nothing.
fn behind(world: &World) -> Vec<DeviceIndex> {
    let living = || world.devices.iter().filter(|device| !device.retired);
    let mut heads: BTreeMap<UserId, Seq> = BTreeMap::new();
    for device in living() {
        let head = heads.entry(device.user).or_default();
        *head = device.position().max(*head);
    }
    let behind = living().filter(|device| {
        !device.caught_up
            || device.is_starting()
            || !device.settled()
            || !device.has_all()
            || device.position() < heads[&device.user]
    });
    behind.map(|device| device.index).collect()
}

fn gather(world: &World) -> End {
    let mut end = End::default();
    for device in world.devices.iter().filter(|device| !device.retired) {
        end.intact.push(device.index);
        end.views.push(device.view());
        let unsettled = device.unsettled().into_iter();
        end.unsettled.extend(unsettled.map(|(_, hash, _)| (device.index, hash)));
    }
    end
}

/// New devices of every user, one after the other: one reads the inbox from the start, where that
/// is still there, one begins with a snapshot.
fn read_all(world: &mut World, people: &mut People, end: &mut End) -> Result<(), String> {
    let users = world.plan.users.iter().chain(&world.plan.absent).copied().collect::<Vec<_>>();
    for user in users {
        if world.plan.keeps_inboxes() {
            let reader = attend(world, people, user, READER, EPOCH)?;
            end.inboxes.insert(user, world.entries_of(reader));
            end.readers.push(world.devices[reader.0].view());
            world.retire(reader);
        }
        let newcomer = attend(world, people, user, NEWCOMER, 0)?;
        end.newcomers.insert(user, world.devices[newcomer.0].view());
        world.retire(newcomer);
    }
    Ok(())
}

/// A new device attaches, and reads until it has everything.
fn attend(
    world: &mut World,
    people: &mut People,
    user: UserId,
    id: DeviceId,
    inbox_epoch: u64,
) -> Result<DeviceIndex, String> {
    let index = world.register(user, id, Storage::default());
    world.devices[index.0].inbox_epoch = inbox_epoch;
    let began = world.now();
    let mut next_look = began;
    loop {
        let device = &world.devices[index.0];
        if device.caught_up && !device.is_starting() && device.settled() && device.has_all() {
            return Ok(index);
        }
        if world.now() > began + CALM_MAX_US {
            return Err(format!("{id:?} of {user:?} never had everything: {}", told(device)));
        }
        next_look = next_look.max(world.now() + 50_000);
        world.step(next_look)?;
        people.tend(world)?;
    }
}
