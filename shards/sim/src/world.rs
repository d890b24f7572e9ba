//! The world: a node of several cores, the devices around it, and the judges.

use crate::{
    backend::Backend,
    checkers::{self, Checker},
    clock::Clock,
    device::{Device, Storage, Surroundings},
    disk::Disk,
    driver::{Outside, SimDriver},
    fact::{DeviceIndex, Entry, Fact},
    lanes::Lanes,
    network::{LinkId, Network},
    plan::Plan,
    seed::Rng,
    trace::{Trace, Trail},
};
use persistence::Recovered;
use shards::{Claims, Core, CoreConfig, CoreIndex, token};
use std::collections::{BTreeMap, VecDeque};
use wire::{AckLevel, DeviceId, UserId};

/// Tokens outlast every jump of the clock.
const TOKENS_EXPIRE_S: u64 = 4_000_000_000;

struct Cell {
    core: Core,
    until_us: Option<u64>,
    busy_until: u64,
}

/// Everything, at one instant of virtual time.
pub struct World {
    /// What it is made of.
    pub plan: Plan,
    /// What the cores meet.
    pub outside: Outside,
    /// All devices that ever were.
    pub devices: Vec<Device>,
    /// Messages that some device saw as SENT.
    pub acks: u64,
    /// Times that the process died.
    pub crashes: u64,
    received: BTreeMap<LinkId, Vec<Entry>>,
    links: BTreeMap<LinkId, DeviceIndex>,
    cells: Vec<Cell>,
    restart_at: Option<u64>,
    /// Nothing holds up a core.
    pub calm: bool,
    stopping: bool,
    checkers: Vec<Box<dyn Checker>>,
    facts: Vec<Fact>,
    key: token::Key,
    rng: Rng,
}

impl World {
    /// An empty directory, a node that starts, and devices that are new.
    pub fn new(plan: Plan, rng: &mut Rng, trail: Trail) -> World {
        let outside = Outside {
            clock: Clock::default(),
            network: Network::new(rng.fork()),
            disk: Disk::new(rng.fork()),
            backend: Backend::new(rng.fork()),
            lanes: Lanes::new(0, 0, rng.fork()),
            trace: Trace::new(trail),
            cores: 0,
            connections_max: plan.limits.connections_max,
            own: Vec::new(),
            stops: Vec::new(),
            dies_after: None,
            rng: rng.fork(),
        };
        let mut world = World {
            outside,
            devices: Vec::new(),
            acks: 0,
            crashes: 0,
            received: BTreeMap::new(),
            links: BTreeMap::new(),
            cells: Vec::new(),
            restart_at: Some(0),
            calm: false,
            stopping: false,
            checkers: checkers::all(),
            facts: Vec::new(),
            key: token::Key::new([7; 32]),
            rng: rng.fork(),
            plan,
        };
        for (user, devices) in world.plan.users.clone().into_iter().zip(world.plan.devices.clone())
        {
            for number in 1..=devices {
                world.register(user, DeviceId(number as u32), Storage::default());
            }
        }
        world
    }

    /// Virtual time, in microseconds.
    pub fn now(&self) -> u64 {
        self.outside.clock.us()
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        !self.cells.is_empty()
    }

    /// A device appears.
    pub fn register(&mut self, user: UserId, id: DeviceId, storage: Storage) -> DeviceIndex {
        let index = DeviceIndex(self.devices.len());
        let claims = Claims { user, device: id };
        let token = token::mint(&self.key, claims, TOKENS_EXPIRE_S).into_bytes();
        self.devices.push(Device::new(index, user, id, token, storage, self.rng.fork()));
        index
    }

    /// A device is gone for ever.
    pub fn retire(&mut self, index: DeviceIndex) {
        let now = self.now();
        self.devices[index.0].crash(now, &mut self.outside.network);
        self.devices[index.0].retired = true;
    }

    /// When something happens next.
    pub fn next_at(&self) -> u64 {
        let cells = (0..self.cells.len()).map(|index| self.cell_next_at(index));
        let devices = self.devices.iter().map(|device| device.next_at(&self.outside.network));
        let next = cells.chain(devices).chain([self.restart_at]).flatten().min();
        next.unwrap_or(u64::MAX)
    }

    fn cell_next_at(&self, index: usize) -> Option<u64> {
        let cell = &self.cells[index];
        let outside = self.outside.next_at(index as CoreIndex);
        let next = [outside, cell.until_us].into_iter().flatten().min()?;
        Some(next.max(cell.busy_until))
    }

    /// Lets everything happen that happens at the next instant, if that is not after `until`.
    pub fn step(&mut self, until: u64) -> Result<(), String> {
        let at = self.next_at();
        self.outside.clock.advance_to(at.min(until));
        let now = self.now();
        self.outside.disk.land_late(now);
        if at > until {
            return Ok(());
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start()?;
        }
        for index in 0..self.cells.len() {
            if self.cell_next_at(index).is_some_and(|at| at <= now) {
                self.turn(index);
            }
            if self.outside.dead() {
                self.crash();
                break;
            }
        }
        for index in 0..self.devices.len() {
            let next_at = self.devices[index].next_at(&self.outside.network);
            if next_at.is_some_and(|at| at <= now) {
                self.step_device(DeviceIndex(index))?;
            }
        }
        self.end_stop();
        Ok(())
    }

    fn turn(&mut self, index: usize) {
        let cell = &mut self.cells[index];
        let mut driver = SimDriver::new(index as CoreIndex, &mut self.outside);
        shards::turn(&mut cell.core, &mut driver);
        cell.until_us = driver.until_us();
        // A turn takes microseconds, and seldom the kernel runs something else for a while.
        let stalls = !self.calm && self.rng.chance(2);
        let pause = if stalls { self.rng.scaled(1_000, 300_000) } else { self.rng.between(2, 20) };
        cell.busy_until = self.outside.clock.us() + pause;
    }

    /// Steps one device now, and judges what was seen.
    pub fn step_device(&mut self, index: DeviceIndex) -> Result<(), String> {
        let mut around = Surroundings {
            now: self.outside.clock.us(),
            network: &mut self.outside.network,
            cores: if self.cells.is_empty() { None } else { Some(self.outside.cores) },
            facts: &mut self.facts,
        };
        self.devices[index.0].step(&mut around)?;
        self.judge()
    }

    /// A fact from outside the devices' steps.
    pub fn state(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    fn judge(&mut self) -> Result<(), String> {
        let now = self.now();
        for fact in std::mem::take(&mut self.facts) {
            self.outside.trace.note(now, format_args!("{fact:?}"));
            match &fact {
                Fact::Promised { placed } if !placed.void => self.acks += 1,
                Fact::Welcomed { link, device, .. } => {
                    self.links.insert(*link, *device);
                }
                Fact::Received { link, entry } => {
                    self.received.entry(*link).or_default().push(*entry)
                }
                _ => {}
            }
            for checker in &mut self.checkers {
                let observed = checker.observe(&fact);
                observed.map_err(|broken| format!("{}: {broken}", checker.name()))?;
            }
        }
        Ok(())
    }

    /// Every entry that this device received, in order, each once.
    pub fn entries_of(&self, device: DeviceIndex) -> Vec<Entry> {
        let links = self.links.iter().filter(|(_, owner)| **owner == device);
        let entries = links.filter_map(|(link, _)| self.received.get(link)).flatten();
        let entries = entries.map(|entry| (entry.inbox_seq, *entry)).collect::<BTreeMap<_, _>>();
        entries.into_values().collect()
    }

    /// The last judgement.
    pub fn finish(&mut self, end: &crate::fact::End) -> Result<(), String> {
        self.judge()?;
        for checker in &mut self.checkers {
            checker.finish(end).map_err(|broken| format!("{}: {broken}", checker.name()))?;
        }
        Ok(())
    }

    /// Opens the directory and starts the cores; seldom as many as before.
    fn start(&mut self) -> Result<(), String> {
        let now = self.outside.clock.now();
        let cores = match self.outside.cores {
            0 => self.plan.cores,
            before if self.rng.chance(500) => before,
            _ => self.rng.between(1, 4) as u16,
        };
        let limits = &self.plan.limits;
        let recovered = Recovered::read(self.outside.disk.found()).map_err(|e| e.to_string())?;
        self.outside.disk.open(recovered.generation(), cores, limits.segment_bytes);
        let entries_max = 2 * limits.lane_credits as usize + limits.handshakes_max as usize;
        self.outside.lanes = Lanes::new(cores, entries_max, self.rng.fork());
        if self.calm {
            self.outside.lanes.set_calm();
        }
        self.outside.cores = cores;
        self.outside.own = (0..cores).map(|_| VecDeque::new()).collect();
        self.outside.stops = vec![false; cores as usize];
        let generation = recovered.generation();
        self.outside.trace.note(now.mono_us, format_args!("start {generation}, {cores} cores"));
        for index in 0..cores {
            let config = CoreConfig {
                index,
                cores,
                level: AckLevel::Local,
                limits: limits.clone(),
                key: self.key.clone(),
                seed: self.rng.next(),
                epoch_base: 1,
            };
            let core = Core::new(config, recovered.deal(index, cores), now);
            self.cells.push(Cell { core, until_us: Some(0), busy_until: now.mono_us });
        }
        Ok(())
    }

    /// The process dies, now.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.end("crash");
    }

    /// After these many further effects.
    pub fn crash_after(&mut self, effects: u64) {
        if self.is_up() {
            self.outside.dies_after = Some(effects.max(1));
        }
    }

    /// Asks the process to finish in order.
    pub fn stop(&mut self) {
        self.stopping = self.is_up();
        self.outside.stops.iter_mut().for_each(|stop| *stop = true);
    }

    fn end_stop(&mut self) {
        if self.stopping && self.cells.iter().all(|cell| cell.core.stopped()) {
            self.end("stopped");
        }
    }

    fn end(&mut self, how: &str) {
        let now = self.now();
        self.outside.trace.note(now, format_args!("{how}"));
        self.cells.clear();
        self.stopping = false;
        self.outside.dies_after = None;
        self.outside.network.crash(now);
        self.outside.disk.crash(now);
        self.outside.backend.crash();
        self.restart_at = Some(now + self.rng.scaled(1_000, 1_000_000));
    }
}
