//! Trouble: crashes at any instant, links that break, clocks that jump, disks and stores that are
//! slow, full or away.

use crate::{seed::Rng, world::World};

/// A node that crashes without end gets nowhere, and each start reads all that the last ones left.
const CRASHES_MAX: u64 = 100;

/// A state that lasts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    StoreAway,
    StoreSlow,
    DiskSlow,
    DiskFull,
}

/// The trouble of a run.
pub struct Mischief {
    /// When the next trouble comes, or a phase ends.
    pub next_at: u64,
    rng: Rng,
    phases: Vec<(u64, Phase)>,
}

impl Mischief {
    /// It begins soon.
    pub fn new(rng: Rng) -> Mischief {
        Mischief { next_at: 1_000, rng, phases: Vec::new() }
    }

    /// The next trouble.
    pub fn act(&mut self, world: &mut World) {
        let now = world.now();
        self.next_at = now + self.rng.between(1, 2 * world.plan.mischief_us);
        for (until, phase) in std::mem::take(&mut self.phases) {
            if until <= now {
                set(world, phase, false);
            } else {
                self.phases.push((until, phase));
            }
        }
        let draw = self.rng.below(1_000);
        let (resets, crashes) = (world.plan.resets, world.plan.crashes);
        if draw < resets {
            let live = world.outside.network.live();
            if !live.is_empty() {
                let link = *self.rng.pick(&live);
                world.outside.trace.note(now, format_args!("{link:?} breaks"));
                world.outside.network.reset(now, link);
            }
        } else if draw < resets + crashes {
            self.end_process(world);
        } else if draw < resets + crashes + 50 {
            let by_us = self.rng.scaled(1_000, 86_400_000_000) as i64;
            let by_us = if self.rng.chance(500) { by_us } else { -by_us };
            world.outside.trace.note(now, format_args!("the clock jumps by {by_us} µs"));
            world.outside.clock.jump(by_us);
        } else if draw < resets + crashes + 150 {
            let phases = [Phase::StoreAway, Phase::StoreSlow, Phase::DiskSlow, Phase::DiskFull];
            let phase = *self.rng.pick(&phases);
            let until = now + self.rng.scaled(10_000, 3_000_000);
            world.outside.trace.note(now, format_args!("{phase:?} until {until}"));
            set(world, phase, true);
            self.phases.retain(|(_, other)| *other != phase);
            self.phases.push((until, phase));
        }
    }

    fn end_process(&mut self, world: &mut World) {
        match (world.is_up(), self.rng.below(20)) {
            (false, _) => {}
            _ if world.crashes >= CRASHES_MAX => {}
            (true, 0) => world.stop(),
            (true, 1..10) => world.crash(),
            (true, _) => world.crash_after(self.rng.scaled(1, 60)),
        }
    }

    /// All trouble ends.
    pub fn end(&mut self, world: &mut World) {
        for (_, phase) in self.phases.drain(..) {
            set(world, phase, false);
        }
        world.outside.network.set_calm();
        world.outside.lanes.set_calm();
        world.calm = true;
        self.next_at = u64::MAX;
    }
}

fn set(world: &mut World, phase: Phase, on: bool) {
    match phase {
        Phase::StoreAway => world.outside.backend.set_outage(on),
        Phase::StoreSlow => world.outside.backend.set_slow(on),
        Phase::DiskSlow => world.outside.disk.set_slow(on),
        Phase::DiskFull => world.outside.disk.set_full(on),
    }
}
