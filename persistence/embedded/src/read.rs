//! Loads and scans, each on one snapshot.

use crate::tables::Tables;
use crate::values::{self, number};
use crate::{keys, keys::DEVICE, keys::EPOCH, keys::HEAD};
use fjall::Readable;
use persistence::{ConvKey, ConvState, EntryKind, Load, Loaded, OutboxState, Scan, Scanned};
use persistence::{DeviceInfo, DeviceState, MemberState, UserState};
use wire::{DeviceId, OutboxId, UserId};

/// Why a read failed.
pub enum ReadError {
    /// The library says so.
    Library(fjall::Error),
    /// A row is not as it was written.
    Row(&'static str),
}

impl From<fjall::Error> for ReadError {
    fn from(error: fjall::Error) -> ReadError {
        ReadError::Library(error)
    }
}

impl Tables {
    /// Reads one entity.
    pub fn load(&self, load: &Load) -> Result<Loaded, ReadError> {
        match *load {
            Load::Conversation(conv) => self.load_conversation(conv).map(Loaded::Conversation),
            Load::User(user) => self.load_user(user).map(|user| Loaded::User(Box::new(user))),
            Load::Member(user, conv) => {
                let mut member = MemberState::default();
                if let Some(row) = self.marks.get(keys::mark(user, conv))? {
                    member.taken = number(&row, 0)?;
                }
                Ok(Loaded::Member(Box::new(member)))
            }
        }
    }

    fn load_conversation(&self, conv: ConvKey) -> Result<ConvState, ReadError> {
        let mut state = ConvState::default();
        let snapshot = self.database.snapshot();
        for row in snapshot.prefix(&self.conversations, keys::conversation(conv)) {
            let (key, row) = row.into_inner()?;
            if key.len() == 16 {
                (state.head, state.time_us) = (number(&row, 0)?, number(&row, 8)?);
                continue;
            }
            let user = UserId::new(number(&key, 16)?).ok_or(ReadError::Row("an outbox of 0"))?;
            state.outboxes.push(OutboxState {
                user,
                device: device(&row, 8)?,
                outbox: OutboxId(number(&key, 24)?),
                next: number(&row, 0)?,
            });
        }
        Ok(state)
    }

    fn load_user(&self, user: UserId) -> Result<UserState, ReadError> {
        let mut state = UserState::default();
        let snapshot = self.database.snapshot();
        for row in snapshot.prefix(&self.users, keys::user(user)) {
            let (key, row) = row.into_inner()?;
            let value = number(&row, 0)?;
            match key.get(8) {
                Some(&HEAD) => state.head = value,
                Some(&EPOCH) => state.epoch = value,
                Some(&DEVICE) => state.devices.push(DeviceState {
                    device: device(&key, 9)?,
                    acked: value,
                    info: DeviceInfo::default(),
                }),
                _ => return Err(ReadError::Row("a row of a user of an unknown kind")),
            }
        }
        Ok(state)
    }

    /// Reads a range of an inbox and joins the bodies.
    pub fn scan(&self, scan: &Scan) -> Result<Scanned, ReadError> {
        let mut scanned = Scanned { entries: Vec::new(), covered: scan.upto };
        if scan.after >= scan.upto {
            return Ok(scanned);
        }
        let snapshot = self.database.snapshot();
        let from = keys::entry(scan.user, scan.after + 1);
        let upto = keys::entry(scan.user, scan.upto);
        let mut bytes = 0;
        for row in snapshot.range(&self.entries, from..=upto) {
            let full = scanned.entries.len() >= scan.entries_max as usize;
            if let Some(last) = scanned.entries.last()
                && (full || bytes > scan.bytes_max as usize)
            {
                scanned.covered = last.inbox_seq;
                break;
            }
            let (key, row) = row.into_inner()?;
            let mut entry = values::read_entry(scan.user, number(&key, 8)?, &row)?;
            if let EntryKind::Peer { at, body } = &mut entry.kind {
                let message = keys::message(at.conv, at.conv_seq);
                let row = snapshot.get(&self.messages, message)?;
                *body = values::body(row.as_deref().unwrap_or_default())?;
                bytes += body.len();
            }
            scanned.entries.push(entry);
        }
        Ok(scanned)
    }
}

fn device(bytes: &[u8], at: usize) -> Result<DeviceId, ReadError> {
    let bytes = bytes.get(at..at + 4).ok_or(ReadError::Row("a device is cut off"))?;
    Ok(DeviceId(u32::from_be_bytes(bytes.try_into().expect("took four"))))
}
