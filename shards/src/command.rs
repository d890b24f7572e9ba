//! Commands: what users change about their own account. Numbered by outbox at the user's home, as
//! sends are at the owner (R13), so that a late or repeated one never undoes a newer one. Taken
//! ones come back to all of the user's devices through the inbox.

use crate::ConnId;
use crate::gate::Gated;
use crate::member::Member;
use crate::session::Session;
use crate::shard::Shard;
use crate::table::Entity;
use crate::user::Numbered;
use crate::work::{Need, Work};
use bytes::Bytes;
use persistence::{CommandRecord, ConvKey, Position, Record};
use wire::{
    CloseCode, Command, CommandAnswer, CommandResult, Conv, DeviceId, NumberedCommand, OutboxId,
    RefusalCode, Seq, ServerFrame, UserId,
};

/// Bytes of a record, at most, with the padding of a group of its own.
const RECORD_BYTES: u64 = 512;

/// A command of a session of this core, which is its user's home.
#[derive(Debug)]
pub(crate) struct CommandRequest {
    pub conn: ConnId,
    pub user: UserId,
    pub device: DeviceId,
    pub outbox: OutboxId,
    pub n: Seq,
    pub bytes: Bytes,
}

/// Whose conversation with `user` a command is about, or whom; `None`: no one else.
pub(crate) fn peer_of(command: &Command<'_>) -> Option<u64> {
    match *command {
        Command::Settings { conv: Conv::Direct(peer), .. }
        | Command::DeleteForMe { conv: Conv::Direct(peer), .. } => Some(peer),
        Command::ContactAdd { peer, .. }
        | Command::ContactRemove { peer }
        | Command::Block { peer }
        | Command::Unblock { peer } => Some(peer.get()),
        Command::Privacy(_) | Command::Revoke { .. } => None,
    }
}

/// The conversation that a command is about; `None` where it names nobody else.
pub(crate) fn conv_of(user: UserId, command: &Command<'_>) -> Option<ConvKey> {
    ConvKey::new(user, UserId::new(peer_of(command)?)?)
}

pub(crate) fn is_about_contacts(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::ContactAdd { .. }
            | Command::ContactRemove { .. }
            | Command::Block { .. }
            | Command::Unblock { .. }
    )
}

impl Member {
    /// A command was applied, with the inbox entry `by`. A record may be older than the store.
    pub fn apply_command(&mut self, command: &Command<'_>, by: Seq, end: Position) {
        let contact = &mut self.contact;
        match *command {
            Command::Settings { settings, .. } if by > self.settings_by => {
                (self.settings, self.settings_by) = (settings, by);
            }
            Command::DeleteForMe { first, last, .. } => {
                self.hide(first, last);
            }
            Command::ContactAdd { name, .. } if by > contact.contact_by => {
                (contact.contact, contact.contact_by) = (true, by);
                contact.name = name.into();
            }
            Command::ContactRemove { .. } if by > contact.contact_by => {
                (contact.contact, contact.contact_by) = (false, by);
                contact.name = String::new();
            }
            Command::Block { .. } | Command::Unblock { .. } if by > contact.blocked_by => {
                contact.blocked = matches!(command, Command::Block { .. });
                contact.blocked_by = by;
            }
            _ => return,
        }
        self.dirty_until = end;
    }

    /// Ranges of hidden places, if these are hidden too.
    fn hidden_ranges_with(&self, first: Seq, last: Seq) -> usize {
        let mut hidden = self.hidden.clone();
        persistence::add_range(&mut hidden, first, last);
        hidden.len()
    }
}

impl Shard {
    /// COMMAND.
    pub(crate) fn command(&mut self, conn: ConnId, frame: NumberedCommand<'_>) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let request = CommandRequest {
            conn,
            user: session.user,
            device: session.device,
            outbox: frame.outbox,
            n: frame.n,
            bytes: Bytes::copy_from_slice(frame.command),
        };
        let refused = match frame.n {
            0 => Err((RefusalCode::BadNumber, 0)),
            _ => self.command_quota(request.user).map_err(|after| (RefusalCode::Quota, after)),
        };
        match refused {
            Ok(()) => {
                self.set_commanding(conn, true);
                self.work(Work::Command(Box::new(request)));
            }
            Err((code, retry_after_ms)) => {
                self.answer_command(&request, CommandResult::Refused { code, retry_after_ms });
            }
        }
    }

    fn set_commanding(&mut self, conn: ConnId, commanding: bool) {
        if let Some(session) = self.sessions.get(conn).and_then(Session::attached) {
            session.commanding = commanding;
        }
    }

    fn command_quota(&mut self, id: UserId) -> Result<(), u64> {
        let limits = &self.config.limits;
        let (burst, every_ms, now_us) = (limits.command_burst, limits.command_ms, self.now.mono_us);
        self.users.ready(id).commands.take(now_us, burst, every_ms)
    }

    /// What a command changes must be here.
    pub(crate) fn command_needs(request: &CommandRequest) -> [Option<Need>; 3] {
        let user = request.user;
        let command = Command::decode(&request.bytes).ok();
        let conv = command.as_ref().and_then(|command| conv_of(user, command));
        let circle = command.as_ref().is_some_and(is_about_contacts);
        [
            Some(Need::User(user)),
            conv.map(|conv| Need::Member(user, conv)),
            circle.then_some(Need::Circle(user)),
        ]
    }

    /// The store does not answer, or there is no room to wait for it.
    pub(crate) fn command_given_up(&mut self, request: &CommandRequest) {
        let retry_after_ms = self.config.limits.retry_after_ms;
        let code = RefusalCode::RetryAfter;
        self.set_commanding(request.conn, false);
        self.answer_command(request, CommandResult::Refused { code, retry_after_ms });
    }

    fn answer_command(&mut self, request: &CommandRequest, result: CommandResult) {
        let answer = CommandAnswer { outbox: request.outbox, n: request.n, result };
        self.send_gated(request.conn, &[ServerFrame::CommandAnswer(answer)]);
    }

    /// Everything is loaded: the command gets its number's place, or is told why not.
    pub(crate) fn take_command(&mut self, request: &CommandRequest) {
        let limits = &self.config.limits;
        let (outboxes_max, retry_after_ms) = (limits.outboxes_max, limits.retry_after_ms);
        self.set_commanding(request.conn, false);
        let user = self.users.ready(request.user);
        let result = match user.judge(request.device, request.outbox, request.n, outboxes_max) {
            Numbered::Next { first } => match self.record_room(RECORD_BYTES) {
                Ok(()) => return self.apply_command(request, first),
                Err(code) => CommandResult::Refused { code, retry_after_ms },
            },
            Numbered::Known => CommandResult::Known,
            Numbered::OutOfOrder { next } => CommandResult::OutOfOrder { next },
            Numbered::TooManyOutboxes => {
                CommandResult::Refused { code: RefusalCode::OutboxLimit, retry_after_ms: 0 }
            }
        };
        self.answer_command(request, result);
    }

    fn apply_command(&mut self, request: &CommandRequest, first: bool) {
        let id = request.user;
        let command = Command::decode(&request.bytes).map_err(|_| RefusalCode::BadCommand);
        let command = command.and_then(|command| self.judge_command(id, command));
        let time_us = self.record_time_us();
        let inbox_seq = self.users.ready(id).next_seq();
        let record = CommandRecord {
            user: id,
            outbox: request.outbox,
            new_outbox_of: first.then_some(request.device),
            n: request.n,
            code: command.as_ref().err().map_or(0, |code| code.number()),
            time_us,
            inbox_seq,
            command: &request.bytes,
        };
        let at = self.append_record(&Record::Command(record));
        let end = self.log.end();
        let user = self.users.ready(id);
        user.push(inbox_seq, at, end);
        user.apply_command(&record);
        if let Ok(command) = command {
            if let Some(conv) = conv_of(id, &command) {
                self.members.ready((id, conv)).apply_command(&command, inbox_seq, end);
            }
            if is_about_contacts(&command) {
                let circle = self.circles.ready(id);
                circle.forget_flushed(self.flush.flushed());
                let before = circle.weight();
                circle.apply_command(&command, end);
                let after = circle.weight();
                self.circles.reweigh(before, after);
            }
        }
        self.gate.hold(end, Gated::Command { at });
    }

    /// Whether a command can be applied; its number is taken in any case.
    fn judge_command<'a>(
        &mut self,
        id: UserId,
        command: Command<'a>,
    ) -> Result<Command<'a>, RefusalCode> {
        let contacts_max = self.config.limits.contacts_max as usize;
        let conv = conv_of(id, &command);
        if peer_of(&command).is_some() && conv.is_none() {
            return Err(RefusalCode::BadRecipient);
        }
        match command {
            Command::DeleteForMe { first, last, .. } => {
                let ranges_max = self.config.limits.hidden_ranges_max as usize;
                let member = self.members.ready((id, conv.expect("it names one")));
                if last > member.taken {
                    return Err(RefusalCode::BadCommand);
                }
                if member.hidden_ranges_with(first, last) > ranges_max {
                    return Err(RefusalCode::Limit);
                }
            }
            Command::ContactAdd { peer, .. } | Command::Block { peer } => {
                let circle = self.circles.ready(id);
                if !circle.knows(peer) && circle.known() >= contacts_max {
                    return Err(RefusalCode::Limit);
                }
            }
            Command::Revoke { device } if self.users.ready(id).device_mut(device).is_none() => {
                return Err(RefusalCode::BadCommand);
            }
            _ => {}
        }
        Ok(command)
    }

    /// A command's record is durable: its entry goes to the devices, and what it changes shows.
    pub(crate) fn command_durable(&mut self, at: Position) {
        let Record::Command(record) = self.log.read(at) else {
            unreachable!("a command stands there")
        };
        let (id, inbox_seq) = (record.user, record.inbox_seq);
        let applied = match record.code {
            0 => Command::decode(record.command).ok(),
            _ => None,
        };
        let shows = applied.as_ref().is_some_and(|command| {
            is_about_contacts(command) || matches!(command, Command::Privacy(_))
        });
        let revoked = match applied {
            Some(Command::Revoke { device }) => Some(device),
            _ => None,
        };
        self.users.ready(id).visible = inbox_seq;
        self.pump_user(id);
        if shows {
            let visibility = self.users.ready(id).privacy.visibility;
            if let Some(circle) = self.circles.get_mut(id) {
                circle.visibility = visibility;
            }
            self.circle_dirty(id, true);
        }
        let session = revoked.and_then(|device| self.users.ready(id).device_mut(device)?.session);
        if let Some(conn) = session {
            self.close(conn, CloseCode::Revoked, "");
        }
    }
}
