//! The user's own commands: a durable queue, one under way at a time.
//!
//! A command is settled by its entry in the inbox. A number that was taken before is settled once
//! the backlog ended without showing another command under it: its entry was here, or skipped.

use wire::{
    ClientFrame, Command, CommandAnswer, CommandResult, Commanded, Conv, NumberedCommand, OutboxId,
    RefusalCode, Retry, Seq,
};

use crate::entry::Entry;
use crate::requests::Subject;
use crate::{Client, ClientEvent, ComposeError, Fault};

/// Names a command within its client, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// A command that is not settled.
#[derive(Clone, Debug)]
pub(crate) struct PendingCommand {
    pub serial: u64,
    pub outbox: OutboxId,
    pub n: Seq,
    pub command: Vec<u8>,
    /// Journal mark that must be committed before it goes out.
    pub mark: u64,
}

/// What became of the first command of the queue on this attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attempt {
    #[default]
    Unsent,
    InFlight {
        since_ms: u64,
    },
    /// Its number is taken, by whatever command.
    Known,
    /// Refused for the moment.
    Blocked {
        until_ms: u64,
    },
}

impl Client {
    /// Queues a command. It goes out after its commit, by itself, also after a crash, and takes
    /// effect on all of the user's devices. What became of it is told by
    /// `ClientEvent::CommandDone`.
    pub fn command(&mut self, command: &Command<'_>) -> Result<CommandId, ComposeError> {
        let peer = match *command {
            Command::Settings { conv: Conv::Direct(peer), .. }
            | Command::DeleteForMe { conv: Conv::Direct(peer), .. } => peer,
            Command::ContactAdd { peer, .. }
            | Command::ContactRemove { peer }
            | Command::Block { peer }
            | Command::Unblock { peer } => peer.get(),
            Command::Privacy(_) | Command::Revoke { .. } => u64::MAX,
        };
        self.check_peer(peer)?;
        if let Command::DeleteForMe { first, last, .. } = *command
            && !(1..=last).contains(&first)
        {
            return Err(ComposeError::BadTarget(first));
        }
        if let Command::ContactAdd { name, .. } = *command
            && name.len() > wire::NAME_BYTES_MAX
        {
            return Err(ComposeError::TooBig { bytes: name.len(), limit: wire::NAME_BYTES_MAX });
        }
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        let (outbox, n) = (self.state.outbox, self.state.commands_given_out + 1);
        let serial = self.state.serial + 1;
        self.record(&Entry::Commanded { serial, outbox, n, command: &bytes });
        Ok(CommandId(serial))
    }

    /// The command that may leave now.
    pub(crate) fn put_command(&mut self, mut emit: impl FnMut(ClientFrame<'_>)) {
        let Some(first) = self.state.commands.front() else { return };
        let may = match self.command_attempt {
            Attempt::Unsent => true,
            Attempt::Blocked { until_ms } => until_ms <= self.now_ms,
            Attempt::InFlight { .. } | Attempt::Known => false,
        };
        if may && first.mark <= self.journal.committed {
            self.command_attempt = Attempt::InFlight { since_ms: self.now_ms };
            let &PendingCommand { outbox, n, ref command, .. } = first;
            emit(ClientFrame::Command(NumberedCommand { outbox, n, command }));
        }
    }

    /// A command of one of the own devices was taken.
    pub(crate) fn commanded(&mut self, taken: &Commanded<'_>, bytes: usize) -> Result<(), Fault> {
        self.advance_position(taken.d_inbox, bytes)?;
        let current = taken.outbox == self.state.outbox;
        let mut pending = self.state.commands.iter();
        let pending = pending.find(|had| (had.outbox, had.n) == (taken.outbox, taken.n));
        match pending.map(|had| (had.serial, had.command == taken.command)) {
            Some((serial, true)) => self.settle_command(serial, taken.code),
            // A copy of this device used the number: what is here moves.
            Some((serial, false)) => self.move_command(serial),
            None if current && taken.n > self.state.commands_given_out => self.rotate_outbox(),
            None => {}
        }
        if taken.code.is_none()
            && let Ok(command) = Command::decode(taken.command)
        {
            self.record(&Entry::Applied { command: taken.command });
            self.requests.commanded.extend(Subject::of(&command));
            self.tell(ClientEvent::Updated { conv: conv_of(&command) });
        }
        Ok(())
    }

    pub(crate) fn command_answer(&mut self, answer: &CommandAnswer) {
        let Some(first) = self.state.commands.front() else { return };
        let asked = matches!(self.command_attempt, Attempt::InFlight { .. });
        if !asked || (first.outbox, first.n) != (answer.outbox, answer.n) {
            return;
        }
        let (serial, n) = (first.serial, first.n);
        match answer.result {
            CommandResult::Known => {
                self.command_attempt = Attempt::Known;
                self.settle_known_command();
            }
            // All before it was settled, yet the server waits for one of those: it lost its past.
            CommandResult::OutOfOrder { next } if next < n => self.move_command(serial),
            CommandResult::OutOfOrder { .. } => self.command_attempt = Attempt::Unsent,
            CommandResult::Refused { code, retry_after_ms } => {
                self.command_refused(serial, code, retry_after_ms);
            }
        }
    }

    fn command_refused(&mut self, serial: u64, code: RefusalCode, retry_after_ms: u64) {
        if code.retry() == Retry::Later {
            let wait = self.retry_wait(retry_after_ms);
            let until_ms = self.now_ms.saturating_add(wait);
            self.command_attempt = Attempt::Blocked { until_ms };
            return;
        }
        // Its number stays free, so what follows under this outbox could never be taken.
        let outbox = self.state.commands[0].outbox;
        let later = self.state.commands.iter().skip(1).filter(|later| later.outbox == outbox);
        let later: Vec<u64> = later.map(|later| later.serial).collect();
        self.settle_command(serial, Some(code));
        later.into_iter().for_each(|serial| self.record(&Entry::CommandMoved { serial }));
        if outbox == self.state.outbox {
            self.rotate_outbox();
        }
    }

    /// The backlog ended: if another command had the first one's number, that would be known.
    pub(crate) fn settle_known_command(&mut self) {
        if self.command_attempt == Attempt::Known && self.connection.caught_up {
            let serial = self.state.commands[0].serial;
            self.settle_command(serial, None);
        }
    }

    fn settle_command(&mut self, serial: u64, refusal: Option<RefusalCode>) {
        if self.state.commands.front().is_some_and(|first| first.serial == serial) {
            self.command_attempt = Attempt::Unsent;
        }
        self.record(&Entry::CommandSettled { serial });
        self.tell(ClientEvent::CommandDone { id: CommandId(serial), refusal });
    }

    fn move_command(&mut self, serial: u64) {
        let mut commands = self.state.commands.iter();
        let outbox = commands.find(|had| had.serial == serial).map(|had| had.outbox);
        if self.state.commands[0].serial == serial {
            self.command_attempt = Attempt::Unsent;
        }
        self.record(&Entry::CommandMoved { serial });
        if outbox == Some(self.state.outbox) {
            self.rotate_outbox();
        }
    }
}

/// The conversation that a command is about, if it is about one.
fn conv_of(command: &Command<'_>) -> Option<Conv> {
    match *command {
        Command::Settings { conv, .. } | Command::DeleteForMe { conv, .. } => Some(conv),
        Command::ContactAdd { peer, .. }
        | Command::ContactRemove { peer }
        | Command::Block { peer }
        | Command::Unblock { peer } => Some(Conv::Direct(peer.get())),
        Command::Privacy(_) | Command::Revoke { .. } => None,
    }
}
