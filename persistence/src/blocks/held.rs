//! What a server needs of a store that holds its logs.

use super::{Deposed, Taken};
use crate::{BackendError, IoDone, IoOp};
use std::sync::Arc;
use std::time::Duration;

/// Who takes a node, and how.
#[derive(Clone, Debug)]
pub struct TakeNode {
    /// Cores of the new logs.
    pub cores: u16,
    /// Names the data directory whose lock this process holds.
    pub dir: u64,
    /// A random number.
    pub taker: u64,
    /// Microseconds of a clock that goes on while the machine sleeps.
    pub now_us: fn() -> u64,
}

/// What the holder of a node is told of it, by a thread of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeNews {
    /// Another process took it from this one: no log completes a write any more. Said once.
    Deposed(Deposed),
    /// The store does not take blocks, which are tried on; until it does, nothing is durable.
    Silent(BackendError),
    /// It takes them again.
    Answers,
}

/// A node that was taken, and what the older logs hold.
pub type TakenNode = (Arc<dyn HeldNode>, Taken);

/// A store that can hold logs.
pub trait BlockStore: Send + Sync {
    /// Takes the node over: returns once its older logs are read and no other process' acks
    /// count. `wait` is called while another process holds the node, and says whether to go on
    /// waiting. Gives `None` if not. `tell` is called later.
    fn take_node(
        &self,
        node: TakeNode,
        wait: &mut dyn FnMut(Duration) -> bool,
        tell: Box<dyn Fn(NodeNews) + Send + Sync>,
    ) -> Result<Option<TakenNode>, BackendError>;
}

/// A node that this process took.
pub trait HeldNode: Send + Sync {
    /// The device of one core's new log; called once for each core. Operations go into what it
    /// gives, all but `IoOp::RetireOlder`; completions come to `tell`, on another thread.
    fn device(&self, core: u16, tell: Box<dyn Fn(IoDone) + Send>) -> Box<dyn FnMut(IoOp) + Send>;

    /// No record of the older logs is needed: they go, in the background.
    fn remove_older(&self);

    /// The process ends in order: the next one need not wait.
    fn give_back(&self);
}
