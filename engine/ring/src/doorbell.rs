//! Waking a sleeping core: our one concurrent algorithm.
//!
//! A core publishes that it is about to sleep, then looks a last time for work. Who gives it work
//! publishes the work, then looks whether it sleeps. A sequentially consistent fence stands between
//! the two steps on both sides, so at least one of them sees the other's: either the core finds the
//! work, or the other one signals its eventfd, which ends the core's sleep whenever it begins.

use crate::sys::EventFd;
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use std::io;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether a core sleeps, or is about to.
#[derive(Debug)]
struct SleepFlag(AtomicBool);

impl SleepFlag {
    fn new() -> SleepFlag {
        SleepFlag(AtomicBool::new(false))
    }

    // The flag is only ever exchanged, never stored: so all writes have one order, in which a late
    // exchange of a waker cannot undo a later arming.
    fn arm(&self) {
        self.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.0.swap(false, Ordering::Relaxed);
    }

    /// After publishing work: whether the core must be woken, by the caller alone.
    fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

/// Wakes one core. A core that does not sleep costs a fence and a load.
#[derive(Debug)]
pub struct Doorbell {
    sleeps: SleepFlag,
    eventfd: EventFd,
}

impl Doorbell {
    /// The doorbell of a core that is awake.
    pub fn new() -> io::Result<Doorbell> {
        Ok(Doorbell { sleeps: SleepFlag::new(), eventfd: EventFd::new()? })
    }

    /// Call after work for the core was made visible to it.
    pub fn ring(&self) {
        if self.sleeps.take() {
            self.eventfd.signal();
        }
    }

    /// The core is about to sleep: it must look for work once more after this.
    pub fn arm(&self) {
        self.sleeps.arm();
    }

    /// The core is awake.
    pub fn disarm(&self) {
        self.sleeps.disarm();
    }

    /// What the sleeping core reads.
    pub fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::SleepFlag;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Notify};
    use loom::thread;

    struct Shared {
        flag: SleepFlag,
        /// Stands for the eventfd: a signal before the wait ends the wait.
        eventfd: Notify,
        lanes: [AtomicUsize; 2],
    }

    fn send(shared: &Shared, lane: usize) {
        shared.lanes[lane].fetch_add(1, Ordering::Release);
        if shared.flag.take() {
            shared.eventfd.notify();
        }
    }

    fn receive_all(shared: &Shared, count: usize) {
        let received = || shared.lanes.iter().map(|lane| lane.load(Ordering::Acquire)).sum();
        while count != received() {
            shared.flag.arm();
            if count != received() {
                shared.eventfd.wait();
            }
            shared.flag.disarm();
        }
    }

    fn check(senders: usize, sends: usize) {
        let mut model = loom::model::Builder::new();
        // All executions with so many switches at arbitrary places; without a bound three threads
        // take hours.
        model.preemption_bound = Some(3);
        model.check(move || {
            let shared = Arc::new(Shared {
                flag: SleepFlag::new(),
                eventfd: Notify::new(),
                lanes: [AtomicUsize::new(0), AtomicUsize::new(0)],
            });
            let threads: Vec<_> = (0..senders)
                .map(|lane| {
                    let shared = shared.clone();
                    thread::spawn(move || (0..sends).for_each(|_| send(&shared, lane)))
                })
                .collect();
            receive_all(&shared, senders * sends);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    #[test]
    fn no_wake_is_lost_with_one_sender() {
        check(1, 2);
    }

    #[test]
    fn no_wake_is_lost_with_two_senders() {
        check(2, 1);
    }
}
