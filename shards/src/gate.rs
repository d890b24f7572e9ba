//! What waits for the log: no output leaves while it rests on a record that is not durable (R1).

use crate::{ConnId, CoreIndex, SendAnswer};
use persistence::{ConvKey, Position};
use std::collections::VecDeque;
use wire::{Seq, UserId};

/// Output that rests on the log.
#[derive(Debug)]
pub(crate) enum Gated {
    /// The message at this position: answer its sender, show its entries, send its fan-out.
    Message { at: Position, to: CoreIndex, answer: SendAnswer },
    /// An answer that rests on earlier messages: known, out of order, refused.
    Answer { to: CoreIndex, answer: SendAnswer },
    /// The fan-out at this position: confirm it, show its entry.
    Append { at: Position, from: CoreIndex },
    /// Confirms a fan-out that was taken earlier.
    Confirm { from: CoreIndex, user: UserId, conv: ConvKey, upto: Seq },
    /// The command at this position: show its entry, and what it changes.
    Command { at: Position },
    /// Encoded frames that rest on what they tell.
    Frames { conn: ConnId, frames: Vec<u8> },
    /// WELCOME rests on the inbox head and on the device's record.
    Welcome(ConnId),
}

/// A queue in the order of the log.
#[derive(Default)]
pub(crate) struct Gate {
    waiting: VecDeque<(Position, Gated)>,
}

impl Gate {
    /// Holds `gated` until everything before `until` is durable.
    pub fn hold(&mut self, until: Position, gated: Gated) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last <= until));
        self.waiting.push_back((until, gated));
    }

    /// The next thing that may leave.
    pub fn pass(&mut self, durable: Position) -> Option<Gated> {
        match self.waiting.front() {
            Some((until, _)) if *until <= durable => self.waiting.pop_front().map(|(_, g)| g),
            _ => None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
