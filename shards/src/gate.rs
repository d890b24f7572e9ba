//! What waits for the log: no output leaves while it rests on a record that is not durable (R1).

use crate::{ConnId, CoreIndex, Now, SendAnswer};
use persistence::{ConvKey, Log, Position};
use std::collections::VecDeque;
use wire::{Seq, UserId};

/// Output that rests on the log.
#[derive(Debug)]
pub(crate) enum Gated {
    /// A message: answer its sender, show its entries (0 where there is none), send its fan-out
    /// if it owes one.
    Message { to: CoreIndex, answer: SendAnswer, inbox: [Seq; 2], owes: bool },
    /// An answer that rests on earlier messages: known, out of order, refused.
    Answer { to: CoreIndex, answer: SendAnswer },
    /// A fan-out: confirm its place, show its entry, if it has one.
    Append { from: CoreIndex, user: UserId, conv: ConvKey, upto: Seq, inbox_seq: Seq },
    /// Confirms a fan-out that was taken earlier.
    Confirm { from: CoreIndex, user: UserId, conv: ConvKey, upto: Seq },
    /// Marks of a user: show the entry, send a receipt.
    Marks { user: UserId, conv: ConvKey, inbox_seq: Seq },
    /// A receipt: confirm it, and show its entry, if it has one.
    Receipt { from: CoreIndex, reader: UserId, conv: ConvKey, inbox_seq: Seq },
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
    /// How far the log was durable, and when it last came further or had nothing under way.
    moved: (Position, u64),
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

    /// Once a turn.
    pub fn watch(&mut self, log: &Log, now: Now) {
        let durable = log.durable();
        if durable == log.end() || durable != self.moved.0 {
            self.moved = (durable, now.mono_us);
        }
    }

    /// For how long the log has not moved though it should, in microseconds.
    pub fn stalled_us(&self, now: Now) -> u64 {
        now.mono_us.saturating_sub(self.moved.1)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
