//! The kernel's driver: one core's turn meets sockets, lanes, the log's disk and the backend here.

use crate::accept;
use crate::backend_port::BackendPort;
use crate::log_device::{LogDevice, LogPlace};
use crate::mesh::{LaneItem, MeshPorts};
use crate::sockets::{SocketStats, Sockets, SocketsConfig};
use ring::{Wait, sys};
use shards::{
    Adoption, Answer, ConnId, CoreIndex, Driver, Effect, Event, Handle, Limits, Now, Relay,
};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

/// A core that sleeps for the disk looks at its sockets and lanes after this long.
const GATHER: Duration = Duration::from_micros(500);

/// What a driver is made of.
#[derive(Clone, Debug)]
pub struct KernelDriverConfig {
    /// Where clients connect; every core listens here.
    pub listen: SocketAddr,
    /// Bounds of the core.
    pub limits: Limits,
    /// Buffers of the pool for receives: a power of two up to 32768.
    pub recv_buffers: u16,
    /// Bytes of each.
    pub recv_buffer_bytes: u32,
    /// Where this core's log is.
    pub log: LogPlace,
    /// Counts the cores that need nothing of the older generations any more.
    pub cores_beyond_older: Arc<AtomicU16>,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Calls of `io_uring_enter`, both rings together.
    pub enters: u64,
    /// How often a ring's queue of completions was too small.
    pub overflows: u64,
    /// How often the core slept.
    pub sleeps: u64,
    /// Of the sockets.
    pub sockets: SocketStats,
}

/// See the head of this file.
pub struct KernelDriver {
    pub(crate) sockets: Sockets,
    log: LogDevice,
    mesh: MeshPorts,
    backend: BackendPort,
    stop: Arc<AtomicBool>,
    stopping: bool,
    /// Connections that this core handed to itself: each waits until its old place is free.
    adoptions: VecDeque<(OwnedFd, Box<Adoption>)>,
    /// An answer that was found when the core wanted to sleep.
    answer: Option<Answer>,
    sleeps: u64,
}

impl KernelDriver {
    /// The driver of the calling thread's core: it alone may use it. Set `stop` and ring the core's
    /// doorbell to stop it.
    pub fn new(
        config: KernelDriverConfig,
        mesh: MeshPorts,
        backend: BackendPort,
        stop: Arc<AtomicBool>,
    ) -> io::Result<KernelDriver> {
        let sockets = SocketsConfig {
            connections_max: config.limits.connections_max,
            handshakes_max: config.limits.handshakes_max,
            recv_buffers: config.recv_buffers,
            recv_buffer_bytes: config.recv_buffer_bytes,
        };
        let (segment_bytes, beyond) = (config.limits.segment_bytes, config.cores_beyond_older);
        let bell = mesh.doorbell();
        Ok(KernelDriver {
            log: LogDevice::new(config.log, segment_bytes, beyond, bell.clone())?,
            sockets: Sockets::new(sockets, accept::listen(config.listen)?, bell.clone())?,
            mesh,
            backend,
            stop,
            stopping: false,
            adoptions: VecDeque::new(),
            answer: None,
            sleeps: 0,
        })
    }

    /// What was counted.
    pub fn stats(&self) -> DriverStats {
        DriverStats {
            enters: self.sockets.enters() + self.log.enters(),
            overflows: self.sockets.overflows(),
            sleeps: self.sleeps,
            sockets: self.sockets.stats,
        }
    }

    fn hand_off(&mut self, conn: ConnId, to: CoreIndex, mut adoption: Box<Adoption>) {
        let (fd, rest) = self.sockets.hand_over(conn);
        adoption.bytes.extend(rest);
        if to != self.mesh.core() {
            self.mesh.push(to, LaneItem::Handoff { fd, adoption });
        } else {
            self.adoptions.push_back((fd, adoption));
        }
    }

    fn adopt(&mut self, from: CoreIndex, fd: OwnedFd, adoption: Box<Adoption>, handle: Handle<'_>) {
        match self.sockets.adopt(fd) {
            Ok(conn) => {
                handle(Event::Adopted { conn, from, adoption });
            }
            // No place here: the connection is closed, and the other core's credit goes back.
            Err(_) if from != self.mesh.core() => {
                self.mesh.push(from, LaneItem::Relay(Relay::HandoffTaken));
            }
            Err(_) => {}
        }
    }

    /// Whether a turn would find something to do.
    fn has_work(&mut self) -> bool {
        if self.answer.is_none() {
            self.answer = self.backend.poll();
        }
        self.answer.is_some()
            || !self.adoptions.is_empty()
            || self.sockets.has_work()
            || self.log.has_work()
            || self.mesh.has_items()
            || self.must_stop()
    }

    /// While a write is in flight, a message that comes could only gather for the next one. So the
    /// core sleeps until the disk is done and takes what came meanwhile in one go; for a moment
    /// only, because not all that comes rests on the log.
    fn sleep(&mut self, timeout: Option<Duration>) {
        if self.log.is_writing() {
            self.sockets.enter(Wait::No);
            self.log.sleep(timeout.unwrap_or(GATHER).min(GATHER));
        } else {
            self.sockets.enter(Wait::Until(timeout));
        }
    }

    fn must_stop(&self) -> bool {
        !self.stopping && self.stop.load(Ordering::Relaxed)
    }
}

impl Driver for KernelDriver {
    fn now(&mut self) -> Now {
        let now = Now { mono_us: sys::boot_time_us(), unix_us: sys::unix_time_us() };
        self.sockets.advance(now.mono_us);
        now
    }

    fn reap(&mut self, max: usize, handle: Handle<'_>) {
        if self.must_stop() {
            self.stopping = true;
            self.sockets.stop_accepting();
            handle(Event::Stop);
        }
        let mut left = self.sockets.reap_closed(max, handle);
        let own = self.mesh.core();
        while left > 0
            && let Some((fd, adoption)) = self.adoptions.pop_front()
        {
            self.adopt(own, fd, adoption, handle);
            left -= 1;
        }
        while left > 0
            && let Some(done) = self.log.poll()
        {
            handle(Event::Written(done));
            left -= 1;
        }
        while left > 0
            && let Some(answer) = self.answer.take().or_else(|| self.backend.poll())
        {
            handle(Event::Answered(answer));
            left -= 1;
        }
        self.sockets.reap(left, handle);
    }

    fn drain(&mut self, max: usize, handle: Handle<'_>) {
        for from in 0..self.mesh.cores() {
            for _ in 0..max {
                match self.mesh.pop(from) {
                    Some(LaneItem::Relay(relay)) => {
                        handle(Event::Relayed { from, relay });
                    }
                    Some(LaneItem::Handoff { fd, adoption }) => {
                        self.adopt(from, fd, adoption, handle);
                    }
                    None => break,
                }
            }
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Send { conn, buffer } => self.sockets.send(conn, buffer),
            Effect::Receive { conn } => self.sockets.receive(conn),
            Effect::Close { conn } => self.sockets.close(conn),
            Effect::Handoff { conn, to, adoption } => self.hand_off(conn, to, adoption),
            Effect::Relay { to, relay } => self.mesh.push(to, LaneItem::Relay(relay)),
            Effect::Write(op) => self.log.take(op),
            Effect::Ask { id, ask } => self.backend.ask(id, ask),
        }
    }

    fn wait(&mut self, until_us: Option<u64>) {
        self.mesh.ring_doorbells();
        let bell = self.mesh.doorbell().clone();
        let sleeps = until_us != Some(0) && !self.has_work() && {
            bell.arm();
            // What came before this look is seen by it; what comes later rings.
            !self.has_work()
        };
        if sleeps {
            let now_us = sys::boot_time_us();
            let until_us = until_us.into_iter().chain(self.sockets.deadline_us()).min();
            let timeout = until_us.map(|at| Duration::from_micros(at.saturating_sub(now_us)));
            self.sleep(timeout);
            self.sleeps += 1;
        } else {
            self.sockets.enter(Wait::No);
        }
        bell.disarm();
    }
}
