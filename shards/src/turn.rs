//! The turn: one pass of a core's loop, the same under the kernel and in the simulator.

use crate::{Core, Driver};

/// Read time, fire timers, reap, drain, settle, give effects (the log first), wait. Events and
/// effects of one turn are bounded; what does not fit makes the next turn start at once.
pub fn turn<D: Driver>(core: &mut Core, driver: &mut D) {
    let limits = core.limits();
    let (events_max, effects_max) = (limits.events_per_turn, limits.effects_per_turn);
    core.advance(driver.now());
    driver.reap(events_max as usize, &mut |event| core.handle(event));
    driver.drain(events_max as usize, &mut |event| core.handle(event));
    core.settle();
    let mut room = effects_max;
    while room > 0 {
        let Some(effect) = core.poll() else { break };
        driver.take(effect);
        room -= 1;
    }
    driver.wait(if room == 0 { Some(0) } else { core.deadline_us() });
}
