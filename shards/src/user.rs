//! A user at home: the inbox head, the newest entries, the devices.

use crate::circle::Standing;
use crate::{ConnId, Limits, recent::Recent, table::Entity};
use persistence::{CommandOutbox, CommandRecord, Position, Record, UserState};
use wire::{Command, DeviceId, OutboxId, Privacy, Seq};

/// A user in memory.
pub(crate) struct User {
    /// The inbox head, and log positions of the newest entries.
    pub recent: Recent,
    /// Newest inbox number that is durable: what devices may see.
    pub visible: Seq,
    /// Raised when a device knows more than the inbox holds.
    pub epoch: u64,
    /// Entries up to here are gone.
    pub trimmed: Seq,
    /// Nothing is too old before, Unix microseconds.
    pub ages_us: u64,
    pub devices: Vec<Device>,
    /// Conversations and gaps with marks that are not in the log: cursors wait for them.
    pub marks: u32,
    /// End of the newest record about this user.
    pub dirty_until: Position,
    /// New conversations that may start now.
    pub new_conversations: Bucket,
    /// Outboxes that gave commands.
    pub outboxes: Vec<CommandOutbox>,
    /// Commands that may come now.
    pub commands: Bucket,
    /// Pages that may be asked for now.
    pub pages: Bucket,
    /// Attaches that may come now.
    pub attaches: Bucket,
    /// Who sees what.
    pub privacy: Privacy,
    /// Number of the inbox entry that set it.
    privacy_by: Seq,
    /// Online or not, as it was announced.
    pub standing: Standing,
    /// End of the grace, on the monotonic clock, while nobody is in the foreground any more.
    pub leaves_us: Option<u64>,
    /// When the grace began, Unix microseconds.
    pub left_us: u64,
    /// When the user came or went last, Unix microseconds.
    pub seen_us: u64,
    /// The log does not know that.
    pub seen_unlogged: bool,
}

/// A device: a cursor over the inbox.
pub(crate) struct Device {
    pub id: DeviceId,
    pub acked: Seq,
    /// The cursor that the log has.
    pub logged: Seq,
    pub session: Option<ConnId>,
    /// A person looks at the session.
    pub foreground: bool,
    /// Sends that may come now, while it is detached.
    pub sends: Bucket,
    /// It may never attach again.
    pub revoked: bool,
    /// When it attached last, Unix microseconds; 0: never.
    pub attached_us: u64,
    pub name: Box<str>,
    pub platform: Box<str>,
}

/// What a command's number is to its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// The next one; perhaps the outbox's first.
    Next {
        first: bool,
    },
    Known,
    OutOfOrder {
        next: Seq,
    },
    TooManyOutboxes,
}

/// A token bucket.
#[derive(Clone, Copy)]
pub(crate) struct Bucket {
    tokens: u32,
    filled_us: u64,
}

impl Bucket {
    pub fn full(tokens: u32, now_us: u64) -> Bucket {
        Bucket { tokens, filled_us: now_us }
    }

    /// Full, whatever its size.
    pub fn unused() -> Bucket {
        Bucket { tokens: u32::MAX, filled_us: 0 }
    }

    /// Takes a token, or says in how many milliseconds there is one.
    pub fn take(&mut self, now_us: u64, burst: u32, every_ms: u64) -> Result<(), u64> {
        let every_us = every_ms * 1_000;
        let new = now_us.saturating_sub(self.filled_us) / every_us;
        self.filled_us += new * every_us;
        self.tokens = u64::from(burst).min(u64::from(self.tokens) + new) as u32;
        if self.tokens == burst {
            self.filled_us = now_us;
        }
        if self.tokens == 0 {
            return Err((self.filled_us + every_us - now_us).div_ceil(1_000));
        }
        self.tokens -= 1;
        Ok(())
    }
}

impl Device {
    pub fn new(id: DeviceId) -> Device {
        Device {
            id,
            acked: 0,
            logged: 0,
            session: None,
            foreground: false,
            sends: Bucket::unused(),
            revoked: false,
            attached_us: 0,
            name: Box::default(),
            platform: Box::default(),
        }
    }
}

impl User {
    pub fn new(state: UserState, limits: &Limits, now_us: u64) -> User {
        let full = |burst| Bucket::full(burst, now_us);
        let devices = state.devices.into_iter();
        User {
            recent: Recent::new(state.head),
            visible: state.head,
            epoch: state.epoch,
            trimmed: state.trimmed,
            ages_us: 0,
            devices: devices
                .map(|state| Device {
                    acked: state.acked,
                    logged: state.acked,
                    revoked: state.info.revoked,
                    attached_us: state.info.attached_us,
                    name: state.info.name.into(),
                    platform: state.info.platform.into(),
                    ..Device::new(state.device)
                })
                .collect(),
            marks: 0,
            dirty_until: Position(0),
            new_conversations: full(limits.new_conversations_burst),
            outboxes: state.outboxes,
            commands: full(limits.command_burst),
            pages: full(limits.page_burst),
            attaches: full(limits.attach_burst),
            privacy: state.privacy,
            privacy_by: state.privacy_by,
            standing: Standing { online: false, last_seen_us: state.last_seen_us },
            leaves_us: None,
            left_us: 0,
            seen_us: state.last_seen_us,
            seen_unlogged: false,
        }
    }

    /// Gives out the next inbox number.
    pub fn next_seq(&self) -> Seq {
        self.recent.head() + 1
    }

    /// The entry `seq` stands in the record at `at`, which ends at `end`.
    pub fn push(&mut self, seq: Seq, at: Position, end: Position) {
        self.recent.push(seq, at);
        self.dirty_until = end;
    }

    /// Adds what an older log holds; see `Recent::recover`.
    pub fn recover(&mut self, entries: impl Iterator<Item = (Seq, Position)>) {
        self.recent.recover(entries);
        self.visible = self.recent.head();
    }

    /// Judges a command's number, as `Conversation::judge` does a send's.
    pub fn judge(&self, device: DeviceId, name: OutboxId, n: Seq, outboxes_max: u32) -> Numbered {
        match self.outboxes.iter().find(|outbox| outbox.outbox == name) {
            Some(outbox) if n < outbox.next => Numbered::Known,
            Some(outbox) if n > outbox.next => Numbered::OutOfOrder { next: outbox.next },
            Some(_) => Numbered::Next { first: false },
            None if n != 1 => Numbered::OutOfOrder { next: 1 },
            None => {
                let of_device = self.outboxes.iter().filter(|outbox| outbox.device == device);
                match of_device.count() >= outboxes_max as usize {
                    true => Numbered::TooManyOutboxes,
                    false => Numbered::Next { first: true },
                }
            }
        }
    }

    /// A command was taken: its number, and what it changes about the user alone. The record may
    /// be older than the store; those of one user come in the order in which they were taken.
    pub fn apply_command(&mut self, record: &CommandRecord<'_>) {
        let next = record.n + 1;
        match self.outboxes.iter_mut().find(|outbox| outbox.outbox == record.outbox) {
            Some(outbox) => outbox.next = outbox.next.max(next),
            None => self.outboxes.push(CommandOutbox {
                outbox: record.outbox,
                device: record.new_outbox_of.unwrap_or(DeviceId(0)),
                next,
            }),
        }
        match Command::decode(record.command) {
            _ if record.code != 0 => {}
            Ok(Command::Privacy(privacy)) if record.inbox_seq > self.privacy_by => {
                (self.privacy, self.privacy_by) = (privacy, record.inbox_seq);
            }
            Ok(Command::Revoke { device: id }) => {
                let known = self.device_mut(id);
                if let Some(device) = known {
                    device.revoked = true;
                }
            }
            _ => {}
        }
    }

    /// A person looks at one of the sessions.
    pub fn in_foreground(&self) -> bool {
        self.devices.iter().any(|device| device.session.is_some() && device.foreground)
    }

    /// The device, which is made if it is new.
    pub fn device_or_new(&mut self, id: DeviceId) -> &mut Device {
        let index = self.devices.iter().position(|device| device.id == id);
        let index = index.unwrap_or_else(|| {
            self.devices.push(Device::new(id));
            self.devices.len() - 1
        });
        &mut self.devices[index]
    }

    /// A recovered record of a device.
    pub fn apply_device(&mut self, record: &Record<'_>) {
        let &Record::Device { device, revoked, attached_us, name, platform, acked, .. } = record
        else {
            unreachable!("{record:?} is of no device")
        };
        let device = self.device_or_new(device);
        device.acked = device.acked.max(acked);
        device.revoked |= revoked;
        if attached_us > device.attached_us {
            device.attached_us = attached_us;
            (device.name, device.platform) = (name.into(), platform.into());
        }
    }

    pub fn device_mut(&mut self, id: DeviceId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.id == id)
    }
}

impl Entity for User {
    fn clean(&self, flushed: Position) -> bool {
        self.dirty_until <= flushed
            && self.marks == 0
            && !self.standing.online
            && !self.seen_unlogged
            && self.devices.iter().all(|d| d.session.is_none() && d.acked == d.logged)
    }
}
