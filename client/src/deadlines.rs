//! What becomes due while nothing comes.

use wire::CloseCode;

use crate::commands::Attempt;
use crate::connection::Stage;
use crate::{Client, Fault};

impl Client {
    /// Time passed. Take `output()` and `event()` afterwards.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if let Some((_, silence)) = self.silences().find(|&(due, _)| due <= self.now_ms) {
            self.break_off(Fault::Silent(silence));
        } else if self.leaving().is_some_and(|due| due <= self.now_ms) {
            self.leave(CloseCode::Normal);
        }
        self.typing_expires();
    }

    /// When to call `advance` at the latest, in ms; `None`: nothing is due.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let mut next = self.silences().map(|(due, _)| due).chain(self.leaving()).min();
        if self.connection.stage == Stage::Attached {
            let acks = self.acks.due_ms(&self.config);
            let blocked = self.queues().map(|queue| queue.blocked_until_ms);
            let blocked = blocked.filter(|&until| until > self.now_ms).min();
            let command = match self.command_attempt {
                Attempt::Blocked { until_ms } => Some(until_ms),
                _ => None,
            };
            let requests = self.requests.due_ms();
            let later = [command, requests, self.reads_due_ms(), self.live.typing_ends_ms()];
            let later = later.into_iter().flatten().filter(|&due| due > self.now_ms).min();
            let due = [next, acks, blocked, later, Some(self.ping_due_ms())];
            next = due.into_iter().flatten().min();
        }
        next
    }

    /// When to connect, in ms; `None` while connected, or when only a change by a person helps.
    pub fn connect_at_ms(&self) -> Option<u64> {
        self.connection.connect_at_ms.filter(|_| self.connection.stage == Stage::Offline)
    }

    pub(crate) fn ping_due_ms(&self) -> u64 {
        self.connection.sent_ms.saturating_add(self.connection.heartbeat_ms)
    }

    fn leaving(&self) -> Option<u64> {
        self.connection.leave_ms.filter(|_| self.connection.stage == Stage::Attached)
    }

    /// By when something must have come, and what.
    fn silences(&self) -> impl Iterator<Item = (u64, &'static str)> + use<> {
        let connection = &self.connection;
        let answer_ms = self.config.answer_timeout_ms;
        let attached = connection.stage == Stage::Attached;
        let handshake = matches!(connection.stage, Stage::Hello { .. } | Stage::Welcome);
        let welcome = handshake.then_some(connection.opened_ms);
        let pong = connection.pinged_ms.filter(|_| attached);
        let answer = if attached {
            self.queues().filter_map(|queue| queue.oldest_in_flight_ms()).min()
        } else {
            None
        };
        let command = match self.command_attempt {
            // Its answer is an entry: it comes behind the backlog.
            Attempt::InFlight { since_ms } if connection.caught_up && !self.is_behind() => {
                Some(since_ms)
            }
            _ => None,
        };
        let command = command.filter(|_| attached);
        let request = self.requests.oldest_in_flight_ms().filter(|_| attached);
        let behind = connection.behind_since_ms.filter(|_| attached);
        let due =
            |since: Option<u64>, wait: u64, what| since.map(|at| (at.saturating_add(wait), what));
        [
            due(welcome, answer_ms, "no WELCOME"),
            due(pong, answer_ms, "no PONG"),
            due(answer, answer_ms, "no answer to a send"),
            due(command, answer_ms, "no answer to a command"),
            due(request, answer_ms, "no answer to a request"),
            due(behind, connection.heartbeat_ms.max(1), "messages that it told of do not come"),
        ]
        .into_iter()
        .flatten()
    }

    fn queues(&self) -> impl Iterator<Item = &crate::queue::Queue> {
        let found = self.state.sending.iter().filter_map(|conv| self.state.conversations.get(conv));
        found.map(|conversation| &conversation.queue)
    }
}
