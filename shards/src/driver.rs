//! The contract between a core and what runs it: the kernel, or the simulator.

use crate::{Effect, Event, Taken};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Microseconds of a clock that never goes back (CLOCK_BOOTTIME).
    pub mono_us: u64,
    /// Microseconds since 1970; may jump.
    pub unix_us: u64,
}

/// Handles one event; what the driver calls back with.
pub type Handle<'h> = &'h mut dyn FnMut(Event<'_>) -> Taken;

/// What a turn needs from the outside.
pub trait Driver {
    /// Reads the clocks, once a turn.
    fn now(&mut self) -> Now;
    /// Hands over at most `max` completions: sockets, disk, backend.
    fn reap(&mut self, max: usize, handle: Handle<'_>);
    /// Hands over at most `max` relays per lane.
    fn drain(&mut self, max: usize, handle: Handle<'_>);
    /// Takes one effect. Never fails: see `Effect`.
    fn take(&mut self, effect: Effect);
    /// Submits what was taken, rings doorbells, and sleeps until something happens or `until_us`
    /// (on `Now::mono_us`) has come. `Some(0)` does not sleep; `None` has no deadline.
    fn wait(&mut self, until_us: Option<u64>);
}
