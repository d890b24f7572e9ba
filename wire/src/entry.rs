//! Inbox entries besides messages, and the frames that cause them: read marks, receipts, changes
//! of messages, commands.

use crate::decode::{conv, d_inbox, flags, outbox, refusal};
use crate::encode::{put_conv, put_outbox};
use crate::opcode::{flag, op};
use crate::{
    Change, Conv, DEVICES_MAX, DecodeError, List, OutboxId, Reader, RefusalCode, Seq, put_varint,
};

/// Longest bytes of a command.
pub const COMMAND_BYTES_MAX: usize = 75;

/// READ: the user has read everything up to here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which conversation.
    pub conv: Conv,
    /// The newest place that was read; the server clamps it to what the user's home has.
    pub conv_seq: Seq,
}

/// COMMAND: a command under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedCommand<'a> {
    /// The outbox that numbers it.
    pub outbox: OutboxId,
    /// Number within the outbox: 1, 2, 3 …
    pub n: Seq,
    /// For `Command::decode`; at most `COMMAND_BYTES_MAX` bytes.
    pub command: &'a [u8],
}

/// CHANGED: the peer edited or deleted a message of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    /// As in DELIVER.
    pub d_inbox: u64,
    /// The conversation; its peer is the sender.
    pub conv: Conv,
    /// Place of the change itself.
    pub conv_seq: Seq,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// What is changed, and how.
    pub change: Change,
    /// The new message; empty for a deletion.
    pub body: &'a [u8],
}

/// RECEIPT: the peer's marks in a conversation, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// As in DELIVER.
    pub d_inbox: u64,
    /// The conversation.
    pub conv: Conv,
    /// The peer has read everything up to here.
    pub read: Seq,
    /// For each of the peer's devices, the place up to which it has everything; highest first.
    pub delivered: List<'a, Seq>,
}

/// READ_MARK: the user's own read mark, wherever it was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadMark {
    /// As in DELIVER.
    pub d_inbox: u64,
    /// The conversation.
    pub conv: Conv,
    /// Everything up to here is read.
    pub conv_seq: Seq,
}

/// COMMANDED: a command of one of the user's own devices was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commanded<'a> {
    /// As in DELIVER.
    pub d_inbox: u64,
    /// The outbox that numbered it.
    pub outbox: OutboxId,
    /// Its number there.
    pub n: Seq,
    /// Why it changed nothing; `None`: it was applied.
    pub code: Option<RefusalCode>,
    /// Unix milliseconds.
    pub time_ms: u64,
    /// As it came in COMMAND.
    pub command: &'a [u8],
}

/// COMMAND_ANSWER: why a COMMAND made no entry now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandAnswer {
    /// Which command.
    pub outbox: OutboxId,
    /// Its number.
    pub n: Seq,
    /// What became of it.
    pub result: CommandResult,
}

/// What became of a command that was not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// The number was taken before: settles nothing.
    Known,
    /// An earlier number is missing.
    OutOfOrder {
        /// The number that is taken next.
        next: Seq,
    },
    /// Not taken; the number stays free.
    Refused {
        /// Why.
        code: RefusalCode,
        /// Try again no earlier, in milliseconds.
        retry_after_ms: u64,
    },
}

impl<'a> NumberedCommand<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::COMMAND);
        put_outbox(out, self.outbox);
        put_varint(out, self.n);
        out.extend_from_slice(self.command);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (outbox, n) = (outbox(r)?, r.varint("n")?);
        Ok(NumberedCommand { outbox, n, command: command(r)? })
    }
}

impl<'a> Changed<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::CHANGED);
        put_varint(out, self.d_inbox);
        out.push(change_flag(Some(self.change)));
        put_conv(out, self.conv);
        put_varint(out, self.conv_seq);
        put_varint(out, self.time_ms);
        put_varint(out, self.change.target);
        if !self.change.delete {
            out.extend_from_slice(self.body);
        }
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let d_inbox = d_inbox(r)?;
        let flags = flags(r, flag::EDIT | flag::DELETE)?;
        if flags == 0 {
            return Err(r.error("flags", "name no change"));
        }
        let (conv, conv_seq, time_ms) = (conv(r)?, r.varint("conv_seq")?, r.varint("time_ms")?);
        let change = change(r, flags)?.expect("a flag is set");
        let body = if change.delete { &[] } else { r.rest() };
        Ok(Changed { d_inbox, conv, conv_seq, time_ms, change, body })
    }
}

impl<'a> Receipt<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::RECEIPT);
        put_varint(out, self.d_inbox);
        put_conv(out, self.conv);
        put_varint(out, self.read);
        self.delivered.put(out);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Receipt {
            d_inbox: d_inbox(r)?,
            conv: conv(r)?,
            read: r.varint("read")?,
            delivered: List::read(r, "delivered", DEVICES_MAX)?,
        })
    }
}

impl<'a> Commanded<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::COMMANDED);
        put_varint(out, self.d_inbox);
        put_outbox(out, self.outbox);
        put_varint(out, self.n);
        put_varint(out, self.code.map_or(0, RefusalCode::number));
        put_varint(out, self.time_ms);
        out.extend_from_slice(self.command);
    }

    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (d_inbox, outbox, n) = (d_inbox(r)?, outbox(r)?, r.varint("n")?);
        let code = match r.varint("code")? {
            0 => None,
            number => Some(refusal(r, number)?),
        };
        let time_ms = r.varint("time_ms")?;
        Ok(Commanded { d_inbox, outbox, n, code, time_ms, command: command(r)? })
    }
}

impl CommandAnswer {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(op::COMMAND_ANSWER);
        put_outbox(out, self.outbox);
        put_varint(out, self.n);
        match self.result {
            CommandResult::Known => out.push(0),
            CommandResult::OutOfOrder { next } => {
                out.push(1);
                put_varint(out, next);
            }
            CommandResult::Refused { code, retry_after_ms } => {
                out.push(2);
                put_varint(out, code.number());
                put_varint(out, retry_after_ms);
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (outbox, n) = (outbox(r)?, r.varint("n")?);
        let result = match r.byte("result")? {
            0 => CommandResult::Known,
            1 => CommandResult::OutOfOrder { next: r.varint("next")? },
            2 => {
                let number = r.varint("code")?;
                let code = refusal(r, number)?;
                let retry_after_ms = r.varint("retry_after_ms")?;
                CommandResult::Refused { code, retry_after_ms }
            }
            _ => return Err(r.error("result", "is unknown")),
        };
        Ok(CommandAnswer { outbox, n, result })
    }
}

/// EDIT or DELETE; 0 for a plain message.
pub(crate) fn change_flag(change: Option<Change>) -> u8 {
    match change {
        None => 0,
        Some(Change { delete: false, .. }) => flag::EDIT,
        Some(Change { delete: true, .. }) => flag::DELETE,
    }
}

/// The change that EDIT or DELETE announces, from its field `target`.
pub(crate) fn change(r: &mut Reader<'_>, flags: u8) -> Result<Option<Change>, DecodeError> {
    match flags & (flag::EDIT | flag::DELETE) {
        0 => Ok(None),
        flag::EDIT => Ok(Some(Change { target: r.varint("target")?, delete: false })),
        flag::DELETE => Ok(Some(Change { target: r.varint("target")?, delete: true })),
        _ => Err(r.error("flags", "do not go together")),
    }
}

fn command<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let command = r.rest();
    match command.len() <= COMMAND_BYTES_MAX {
        true => Ok(command),
        false => Err(r.error("command", "is too long")),
    }
}
