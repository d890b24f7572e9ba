//! The workload: people who write, read, change, give up, block, look away, switch off, lose and
//! copy their devices.

use crate::{device::Storage, fact::DeviceIndex, seed::Rng, world::World};
use persistence::ConvKey;
use std::collections::{BTreeMap, BTreeSet};
use wire::{DeviceId, Seq, UserId};

/// A device stops composing at this many unsettled messages: its person waits.
const UNSETTLED_MAX: usize = 40;
/// Device names of one user, the two that read last not counted: below `Limits::devices_max`.
const DEVICES_MAX: u32 = 14;
/// Devices that are lost in one run.
const LOST_MAX: u64 = 4;
/// Copies of devices in one run.
const COPIES_MAX: u64 = 4;

/// The people of a run.
pub struct People {
    /// When somebody does something next.
    pub next_at: u64,
    rng: Rng,
    next_body: u64,
    names: BTreeMap<UserId, u32>,
    backups: BTreeMap<DeviceIndex, Storage>,
    copies: u64,
    lost: u64,
    /// Messages that somebody deleted for everyone.
    deleted: BTreeSet<(ConvKey, Seq)>,
}

impl People {
    /// They begin at once.
    pub fn new(rng: Rng, world: &World) -> People {
        let users = world.plan.users.iter().zip(&world.plan.devices);
        let names = users.map(|(user, devices)| (*user, *devices as u32)).collect();
        People {
            next_at: 0,
            rng,
            next_body: 0,
            names,
            backups: BTreeMap::new(),
            copies: 0,
            lost: 0,
            deleted: BTreeSet::new(),
        }
    }

    /// Somebody does something.
    pub fn act(&mut self, world: &mut World) -> Result<(), String> {
        let now = world.now();
        self.next_at = now + self.rng.between(1, 2 * world.plan.act_us);
        let living = world.devices.iter().filter(|device| !device.retired);
        let living = living.map(|device| device.index).collect::<Vec<_>>();
        let index = *self.rng.pick(&living);
        let device = &mut world.devices[index.0];
        match self.rng.below(1_000) {
            0..600 => self.write(world, index),
            600..700 => device.read_some(&mut self.rng),
            700..760 => self.change(world, index),
            760..800 => self.give_up(world, index),
            800..830 => device.command_some(&mut self.rng, &world.plan.users),
            830..860 => device.look(self.rng.chance(500)),
            860..875 => {
                let users = world.plan.users.iter().chain(&world.plan.absent).copied();
                device.watch(users.filter(|_| self.rng.chance(700)).collect());
            }
            875..925 => {
                device.online = !device.online;
                if !device.online {
                    device.disconnect(now, &mut world.outside.network);
                }
            }
            925..950 => device.crash(now, &mut world.outside.network),
            950..980 => device.ask_to_connect(now),
            980..985 if self.lost < LOST_MAX => {
                self.lost += 1;
                self.replace(world, index);
            }
            985..990 => {
                self.backups.insert(index, device.copy_storage());
            }
            _ if world.plan.copies && self.copies < COPIES_MAX => self.copy(world, index),
            _ => {}
        }
        self.tend(world)?;
        if world.devices[index.0].retired { Ok(()) } else { world.step_device(index) }
    }

    /// What people do about what they see, also in calm: they give up what is refused for good,
    /// and register a device anew that the server will not take another outbox of.
    pub fn tend(&mut self, world: &mut World) -> Result<(), String> {
        for index in 0..world.devices.len() {
            let device = &mut world.devices[index];
            if device.retired {
                continue;
            }
            if device.worn_out {
                self.replace(world, DeviceIndex(index));
                continue;
            }
            let refused = device.unsettled().into_iter().filter(|(_, _, refused)| *refused);
            let refused = refused.map(|(id, ..)| id).collect::<Vec<_>>();
            for id in &refused {
                device.give_up(*id);
            }
            let scrolled = device.scroll(world.outside.clock.us());
            if scrolled || !refused.is_empty() {
                world.step_device(DeviceIndex(index))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, world: &mut World, index: DeviceIndex) {
        let absent = !world.plan.absent.is_empty() && self.rng.chance(150);
        let others = if absent { &world.plan.absent } else { &world.plan.users };
        let peer = *self.rng.pick(others);
        let body_max = world.plan.limits.body_bytes_max as u64;
        for _ in 0..self.rng.scaled(1, 8) {
            let device = &mut world.devices[index.0];
            if peer == device.user || device.unsettled().len() >= UNSETTLED_MAX {
                return;
            }
            let length = match self.rng.below(100) {
                0..90 => self.rng.scaled(8, 128.min(body_max)),
                90..98 => self.rng.between(8, body_max),
                _ => body_max + self.rng.below(100),
            };
            let body = self.body(length as usize);
            if let Some(fact) = device.compose(peer, &body) {
                world.state(fact);
            }
        }
    }

    fn change(&mut self, world: &mut World, index: DeviceIndex) {
        let length = self.rng.scaled(8, 64);
        let body = self.body(length as usize);
        let device = &mut world.devices[index.0];
        if device.unsettled().len() < UNSETTLED_MAX
            && let Some(fact) = device.change_some(&mut self.rng, &mut self.deleted, &body)
        {
            world.state(fact);
        }
    }

    /// A body that no other is like: its number, and noise.
    fn body(&mut self, length: usize) -> Vec<u8> {
        self.next_body += 1;
        let mut body = self.next_body.to_le_bytes().to_vec();
        while body.len() < length {
            body.push(self.rng.next() as u8);
        }
        body
    }

    fn give_up(&mut self, world: &mut World, index: DeviceIndex) {
        let device = &mut world.devices[index.0];
        let unsettled = device.unsettled();
        if !unsettled.is_empty() {
            device.give_up(self.rng.pick(&unsettled).0);
        }
    }

    /// The storage is lost: the device is registered under a new name.
    fn replace(&mut self, world: &mut World, index: DeviceIndex) {
        let user = world.devices[index.0].user;
        world.retire(index);
        let names = self.names.entry(user).or_default();
        if *names < DEVICES_MAX {
            *names += 1;
            let id = DeviceId(*names);
            world.register(user, id, Storage::default());
        }
    }

    /// Another machine gets the same storage; or this one gets an old one back.
    fn copy(&mut self, world: &mut World, index: DeviceIndex) {
        self.copies += 1;
        let (user, id) = (world.devices[index.0].user, world.devices[index.0].id);
        match self.backups.remove(&index) {
            Some(backup) => {
                world.retire(index);
                world.register(user, id, backup);
            }
            None => {
                let storage = world.devices[index.0].copy_storage();
                world.register(user, id, storage);
            }
        }
    }
}
