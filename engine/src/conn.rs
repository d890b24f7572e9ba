//! The table of one core's connections.

use ring::{FileIndex, Target};
use shards::ConnId;
use std::os::fd::OwnedFd;

/// Where a connection's socket is.
#[derive(Debug)]
pub(crate) enum Socket {
    /// A plain descriptor: accepted, HELLO not yet verified.
    Plain(OwnedFd),
    /// In the ring's table: established.
    Direct(FileIndex),
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes, both ways.
    Open,
    /// The peer's end, after ours: what it still sends is dropped. Closing at once instead would
    /// answer unread bytes with a reset, which may overtake what we sent last.
    Lingering,
    /// The completions of what is in flight.
    Closing,
}

/// What brings its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Nothing.
    No,
    /// A poll or one receive is in flight, or waits for a buffer.
    Once,
    /// A receive that goes on.
    On,
    /// The same, which was told to stop.
    Stops,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) socket: Socket,
    pub(crate) state: State,
    pub(crate) receiving: Receiving,
    /// A send is in flight, or goes on after a short one.
    pub(crate) sending: bool,
    /// Operations in flight.
    pub(crate) in_flight: u8,
    /// Bytes of the send in flight that were sent before.
    pub(crate) sent: u32,
    /// When it was last heard from, in seconds of the monotonic clock.
    pub(crate) heard_s: u32,
    /// What the core has not taken; while there is any, no receive is started, and one that goes on
    /// is stopped.
    pub(crate) rest: Vec<u8>,
}

// An idle connection's share of user memory.
const _: () = assert!(size_of::<Conn>() <= 48);

impl Conn {
    /// What operations of this connection are about.
    pub(crate) fn target(&self) -> Target {
        match &self.socket {
            Socket::Plain(fd) => fd.into(),
            Socket::Direct(file) => Target::Direct(*file),
        }
    }
}

/// A connection's place in the table, and in the list of free ones, in bytes.
pub(crate) const CONN_BYTES: u64 = (size_of::<(u32, Option<Conn>)>() + size_of::<u32>()) as u64;

/// Connections by index; an index is used again with another generation.
#[derive(Debug, Default)]
pub(crate) struct ConnTable {
    slots: Vec<(u32, Option<Conn>)>,
    free: Vec<u32>,
    plain: u32,
}

impl ConnTable {
    /// Number of connections.
    pub(crate) fn count(&self) -> u32 {
        (self.slots.len() - self.free.len()) as u32
    }

    /// Number of connections with a plain descriptor.
    pub(crate) fn plain_count(&self) -> u32 {
        self.plain
    }

    /// A new, open connection.
    pub(crate) fn insert(&mut self, socket: Socket) -> ConnId {
        self.plain += u32::from(matches!(socket, Socket::Plain(_)));
        let conn = Conn {
            socket,
            state: State::Open,
            receiving: Receiving::No,
            sending: false,
            in_flight: 0,
            sent: 0,
            heard_s: 0,
            rest: Vec::new(),
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, slot) = &mut self.slots[index as usize];
        assert!(slot.is_none(), "a free index holds no connection");
        *slot = Some(conn);
        ConnId { index, generation: *generation }
    }

    /// The connection with this name, if it still exists.
    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        let (generation, slot) = self.slots.get_mut(id.index as usize)?;
        slot.as_mut().filter(|_| *generation == id.generation)
    }

    /// The name of the connection at an index, if there is one.
    pub(crate) fn id_at(&self, index: u32) -> Option<ConnId> {
        let (generation, slot) = self.slots.get(index as usize)?;
        slot.as_ref().map(|_| ConnId { index, generation: *generation })
    }

    /// Takes a connection out; its name is never used again, its index after `release`.
    pub(crate) fn remove(&mut self, id: ConnId) -> Conn {
        let (generation, slot) = &mut self.slots[id.index as usize];
        assert!(*generation == id.generation, "only an existing connection is removed");
        let conn = slot.take().expect("only an existing connection is removed");
        assert!(conn.in_flight == 0, "nothing of a removed connection is in flight");
        *generation = generation.wrapping_add(1);
        self.plain -= u32::from(matches!(conn.socket, Socket::Plain(_)));
        conn
    }

    /// The core knows that the connection is gone: its index may be used again.
    pub(crate) fn release(&mut self, id: ConnId) {
        self.free.push(id.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Socket {
        Socket::Plain(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn an_index_comes_back_with_another_generation() {
        let mut table = ConnTable::default();
        let first = table.insert(socket());
        table.remove(first);
        table.release(first);
        let second = table.insert(socket());
        assert_eq!(first.index, second.index);
        assert_ne!(first.generation, second.generation);
        assert!(table.get(first).is_none() && table.get(second).is_some());
    }

    #[test]
    fn counts_follow_what_is_in_the_table() {
        let mut table = ConnTable::default();
        let ids: Vec<_> = (0..3).map(|_| table.insert(socket())).collect();
        assert_eq!((table.count(), table.plain_count()), (3, 3));
        table.remove(ids[1]);
        table.release(ids[1]);
        assert_eq!((table.count(), table.plain_count()), (2, 2));
        assert_eq!(table.id_at(ids[1].index), None);
    }
}
