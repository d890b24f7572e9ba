//! How a core begins, with what earlier starts owe, and how it ends.

use crate::shard::Shard;
use crate::work::Work;
use wire::CloseCode;

/// Recovered conversations that one turn starts to load, to send their fan-outs again.
const RECOVERED_PER_TURN: usize = 8;

impl Shard {
    /// Starts to load some of what was recovered and is owed.
    pub(crate) fn recover_some(&mut self) {
        for _ in 0..RECOVERED_PER_TURN {
            if let Some(conv) = self.recovered.queue.pop_front() {
                self.work(Work::Recover(conv));
            } else if let Some((user, conv)) = self.recovered.receipts_queue.pop_front() {
                self.work(Work::Marks(user, conv));
            } else {
                return;
            }
        }
    }

    /// `Event::Stop`.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.flush.stop_us = self.now.mono_us + crate::flush::STOP_US;
        for conn in self.sessions.conns() {
            self.close(conn, CloseCode::Shutdown, "the server stops");
        }
        self.everyone_leaves();
    }

    /// After `Event::Stop`: nothing is left to do.
    pub(crate) fn stopped(&self) -> bool {
        let idle = self.gate.is_empty() && self.effects.is_empty() && self.ready.is_empty();
        let durable = self.log.durable() >= self.log.end();
        self.stopping && idle && self.sessions.len() == 0 && durable && self.flushed_to_stop()
    }
}
