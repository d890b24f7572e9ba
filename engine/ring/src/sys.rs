//! The few system calls besides io_uring.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A counter that wakes who reads it.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at 0. It blocks, because io_uring answers a read of a non-blocking one at once
    /// instead of waiting for a signal.
    pub fn new() -> io::Result<EventFd> {
        Ok(EventFd(eventfd(0, EventfdFlags::CLOEXEC)?))
    }

    /// Adds one: a read that waits completes, otherwise the next one does at once.
    pub fn signal(&self) {
        loop {
            match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
                Ok(_) => return,
                Err(Errno::INTR) => {}
                Err(error) => panic!("an eventfd takes a signal: {error}"),
            }
        }
    }

    /// Waits for a signal and sets the counter to 0.
    pub fn wait(&self) {
        let mut count = [0; 8];
        while rustix::io::read(&self.0, &mut count) == Err(Errno::INTR) {}
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Pins the calling thread to one CPU.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// How long the calling thread may go on once it runs, while others want its processor: 0.1 to
/// 100 ms. Who wakes up with less goes first at once, as far as it is fair to both; among equals
/// one that wakes waits for the end of the other's time, some 3 ms. Linux before 6.12 has one time
/// for all threads.
pub fn set_time_slice(slice: Duration) -> io::Result<()> {
    let attr = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: slice.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the call only reads `attr`, whose size stands in it; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attr, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Microseconds of a clock that never goes back and counts through a suspend.
pub fn boot_time_us() -> u64 {
    microseconds(ClockId::Boottime)
}

/// Microseconds since 1970; may jump.
pub fn unix_time_us() -> u64 {
    microseconds(ClockId::Realtime)
}

/// CPU time that the calling thread has used, in microseconds.
pub fn thread_cpu_us() -> u64 {
    microseconds(ClockId::ThreadCPUTime)
}

/// CPU time that the calling process has used, in microseconds.
pub fn process_cpu_us() -> u64 {
    microseconds(ClockId::ProcessCPUTime)
}

fn microseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Raises the limit of open descriptors to what is allowed, and says what it is now.
pub fn raise_nofile() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run_forward() {
        let (boot, cpu) = (boot_time_us(), thread_cpu_us());
        assert!(boot_time_us() >= boot && thread_cpu_us() >= cpu);
        assert!(unix_time_us() > 1_600_000_000_000_000);
    }

    #[test]
    fn a_signal_is_not_lost() {
        let bell = EventFd::new().unwrap();
        bell.signal();
        bell.signal();
        bell.wait();
    }
}
