//! The mesh: one lane from every core to every other.

use ring::Doorbell;
use rtrb::{Consumer, Producer, RingBuffer};
use shards::{Adoption, CoreIndex, Relay};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One entry of a lane.
#[derive(Debug)]
pub enum LaneItem {
    /// For the other core's shard.
    Relay(Relay),
    /// A connection that lives there from now on.
    Handoff {
        /// The plain descriptor; nothing of it is in flight.
        fd: OwnedFd,
        /// Who it is.
        adoption: Box<Adoption>,
    },
}

// Two entries of a lane never share a third cache line.
const _: () = assert!(size_of::<LaneItem>() <= 64);

/// One core's ends of all its lanes.
pub type MeshPorts = Ports<LaneItem>;

/// The same, of lanes that carry `T`.
pub struct Ports<T> {
    core: CoreIndex,
    /// By core; `None` for the own one.
    to: Vec<Option<Producer<T>>>,
    from: Vec<Option<Consumer<T>>>,
    doorbells: Vec<Arc<Doorbell>>,
    /// Lanes that got something since `ring_doorbells`.
    touched: Vec<bool>,
}

/// The ports of all cores; `entries` is the room of each lane.
pub fn mesh<T>(cores: u16, entries: usize) -> io::Result<Vec<Ports<T>>> {
    let doorbells: Vec<_> =
        (0..cores).map(|_| Ok(Arc::new(Doorbell::new()?))).collect::<io::Result<_>>()?;
    let mut ports: Vec<_> = (0..cores)
        .map(|core| Ports {
            core,
            to: (0..cores).map(|_| None).collect(),
            from: (0..cores).map(|_| None).collect(),
            doorbells: doorbells.clone(),
            touched: vec![false; cores as usize],
        })
        .collect();
    for sender in 0..cores as usize {
        for receiver in (0..cores as usize).filter(|receiver| *receiver != sender) {
            let (producer, consumer) = RingBuffer::new(entries);
            ports[sender].to[receiver] = Some(producer);
            ports[receiver].from[sender] = Some(consumer);
        }
    }
    Ok(ports)
}

impl<T> Ports<T> {
    /// Whose ports these are.
    pub fn core(&self) -> CoreIndex {
        self.core
    }

    /// How many cores there are.
    pub fn cores(&self) -> u16 {
        self.to.len() as u16
    }

    /// The own core's doorbell, for everyone else who has work for it.
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbells[self.core as usize]
    }

    /// Puts an item into the lane to another core. Its credits keep the lane from being full.
    pub fn push(&mut self, to: CoreIndex, item: T) {
        let lane = self.to[to as usize].as_mut().expect("no core sends to itself");
        assert!(lane.push(item).is_ok(), "credits keep a lane from being full");
        self.touched[to as usize] = true;
    }

    /// The next item of the lane from another core; `None` also for the own one.
    pub fn pop(&mut self, from: CoreIndex) -> Option<T> {
        self.from[from as usize].as_mut()?.pop().ok()
    }

    /// Whether a lane has something.
    pub fn has_items(&self) -> bool {
        self.from.iter().flatten().any(|lane| !lane.is_empty())
    }

    /// Wakes the cores that got something, if they sleep.
    pub fn ring_doorbells(&mut self) {
        for (touched, doorbell) in self.touched.iter_mut().zip(&self.doorbells) {
            if std::mem::take(touched) {
                doorbell.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const CORES: u16 = 4;

    #[test]
    fn what_core_i_sends_to_core_j_arrives_at_j_from_i() {
        let mut ports = mesh(CORES, 1).unwrap();
        let pairs = || (0..CORES).flat_map(|i| (0..CORES).map(move |j| (i, j)));
        for (i, j) in pairs().filter(|(i, j)| i != j) {
            ports[i as usize].push(j, (i, j));
        }
        for (i, j) in pairs() {
            assert_eq!(ports[j as usize].pop(i), (i != j).then_some((i, j)));
        }
        assert!(ports.iter().all(|ports| !ports.has_items()));
    }

    /// Receives `0..count` in order, sleeping whenever nothing is there.
    fn receive_in_order(mut ports: Ports<u64>, count: u64) -> u64 {
        let doorbell = ports.doorbell().clone();
        let (mut next, mut sleeps) = (0, 0);
        while next < count {
            while let Some(number) = ports.pop(0) {
                assert_eq!(number, next);
                next += 1;
            }
            doorbell.arm();
            if next < count && !ports.has_items() {
                doorbell.eventfd().wait();
                sleeps += 1;
            }
            doorbell.disarm();
        }
        sleeps
    }

    #[test]
    fn ten_million_messages_arrive_in_order_and_wake_their_reader() {
        const COUNT: u64 = 10_000_000;
        let mut ports = mesh(2, 1024).unwrap();
        let reader = ports.pop().unwrap();
        let mut writer = ports.pop().unwrap();
        let reader = thread::spawn(move || receive_in_order(reader, COUNT));
        for number in 0..COUNT {
            while writer.to[1].as_ref().unwrap().is_full() {
                writer.ring_doorbells();
                std::hint::spin_loop();
            }
            writer.push(1, number);
            // Bursts of all lengths, so that the reader often just falls asleep.
            if number.is_multiple_of(1 + number / 1_000 % 300) {
                writer.ring_doorbells();
            }
        }
        writer.ring_doorbells();
        assert!(reader.join().unwrap() > 0, "the reader never slept: nothing was tested");
    }
}
