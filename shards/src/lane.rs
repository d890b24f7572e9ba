//! Credits of the lanes: a request costs one, its reply gives it back, so a lane never overflows.

use crate::relay::PageRequest;
use crate::{ConnId, CoreIndex, Relay, SendRequest};
use persistence::ConvKey;
use std::collections::VecDeque;
use wire::UserId;

/// This core's side of the lane to one other core.
pub(crate) struct Lane {
    /// Requests that may be sent now.
    pub credits: u32,
    /// Sends that wait for a credit, in order.
    pub sends: VecDeque<Box<SendRequest>>,
    /// Conversations with fan-outs to send, in turn.
    pub fan_outs: VecDeque<ConvKey>,
    /// Pages that wait for a credit, one per session at most …
    pub pages: VecDeque<Box<PageRequest>>,
    /// … and how many are there.
    pub pages_out: u32,
    /// Receipts that wait for a credit: whose, where.
    pub receipts: VecDeque<(UserId, ConvKey)>,
    /// Hand-offs that wait for a credit: connections in state HandingOff.
    pub hand_offs: VecDeque<ConnId>,
    /// Fan-outs and receipts of that core which wait here for loads.
    pub parked: u32,
    /// Counted among the lanes that stop input.
    pub blocked: bool,
}

impl Lane {
    pub fn new(credits: u32) -> Lane {
        Lane {
            credits,
            sends: VecDeque::new(),
            fan_outs: VecDeque::new(),
            pages: VecDeque::new(),
            pages_out: 0,
            receipts: VecDeque::new(),
            hand_offs: VecDeque::new(),
            parked: 0,
            blocked: false,
        }
    }

    /// Nothing waits, and a request can leave.
    pub fn open(&self) -> bool {
        self.credits > 0 && self.sends.is_empty()
    }
}

/// Relays of a core to itself: the same path as between cores, without a lane.
pub(crate) type Loopback = VecDeque<(CoreIndex, Relay)>;
