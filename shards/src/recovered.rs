//! What older generations left for this core's slots: applied to each entity when it loads, until
//! the backend has all of it.

use crate::AskId;
use crate::circle::Circle;
use crate::command::{conv_of, is_about_contacts};
use crate::conversation::{Conversation, Owed};
use crate::member::Member;
use crate::place::Place;
use crate::table::{Map, Set};
use crate::user::User;
use persistence::{CommandRecord, ContactState, ConvKey, Log, MessageRecord, Position, Record};
use std::collections::{BTreeSet, VecDeque};
use wire::{Command, DeviceId, Seq, UserId};

/// Recovered records by entity.
#[derive(Default)]
pub(crate) struct Recovered {
    users: Map<UserId, OfUser>,
    convs: Map<ConvKey, Vec<Position>>,
    members: Map<(UserId, ConvKey), Vec<Position>>,
    /// Commands about contacts.
    circles: Map<UserId, Vec<Position>>,
    /// Conversations with fan-outs to send again, not loaded so far.
    owing: Set<ConvKey>,
    pub queue: VecDeque<ConvKey>,
    /// First records whose marks the peer's home may not know.
    receipts: Map<(UserId, ConvKey), Position>,
    pub receipts_queue: VecDeque<(UserId, ConvKey)>,
    /// Loads asked before this id may have missed records that are gone from here.
    pub stale_before: u64,
}

#[derive(Default)]
struct OfUser {
    entries: Vec<(Seq, Position)>,
    cursors: Vec<(DeviceId, Seq)>,
    epoch: u64,
    trimmed: Seq,
    commands: Vec<Position>,
    devices: Vec<Position>,
    last_seen_us: u64,
}

impl Recovered {
    /// Reads everything before `log.base()`. Returns it with the positions of owed fan-outs and
    /// the number of records.
    pub fn read(log: &Log, place: Place) -> (Recovered, BTreeSet<Position>, u64) {
        let mut recovered = Recovered::default();
        let (mut owed, mut count) = (BTreeSet::new(), 0);
        let mut from = log.start_of_tail();
        while from < log.base() {
            let Some((at, record, end)) = log.next(from) else { break };
            recovered.index(log, place, at, &record, &mut owed);
            (from, count) = (end, count + 1);
        }
        recovered.queue = recovered.owing.iter().copied().collect();
        recovered.queue.make_contiguous().sort_unstable();
        recovered.receipts_queue = recovered.receipts.keys().copied().collect();
        recovered.receipts_queue.make_contiguous().sort_unstable();
        (recovered, owed, count)
    }

    fn index(
        &mut self,
        log: &Log,
        place: Place,
        at: Position,
        record: &Record<'_>,
        owed: &mut BTreeSet<Position>,
    ) {
        match record {
            Record::Message(m) => self.index_message(log, place, at, m, owed),
            Record::Inbox(i) if place.is_home(i.user) => {
                if i.inbox_seq != 0 {
                    self.of_user(i.user).entries.push((i.inbox_seq, at));
                }
                self.of_member((i.user, i.conv)).push(at);
            }
            Record::Read { user, conv, .. } | Record::Delivered { user, conv, .. }
                if place.is_home(*user) =>
            {
                self.of_member((*user, *conv)).push(at);
                if let Record::Read { inbox_seq, .. } = record {
                    self.of_user(*user).entries.push((*inbox_seq, at));
                }
                if !log.confirmed_at_start(at) {
                    self.receipts.entry((*user, *conv)).or_insert_with(|| {
                        owed.insert(at);
                        at
                    });
                }
            }
            Record::Receipt { user, conv, inbox_seq, .. } if place.is_home(*user) => {
                self.of_member((*user, *conv)).push(at);
                self.of_user(*user).entries.push((*inbox_seq, at));
            }
            Record::Cursor { user, device, acked } if place.is_home(*user) => {
                self.of_user(*user).cursors.push((*device, *acked));
            }
            Record::Device { user, .. } if place.is_home(*user) => {
                self.of_user(*user).devices.push(at);
            }
            Record::LastSeen { user, time_us } if place.is_home(*user) => {
                let of_user = self.of_user(*user);
                of_user.last_seen_us = of_user.last_seen_us.max(*time_us);
            }
            Record::Command(command) if place.is_home(command.user) => {
                self.index_command(at, command);
            }
            Record::Epoch { user, epoch } if place.is_home(*user) => {
                let of_user = self.of_user(*user);
                of_user.epoch = of_user.epoch.max(*epoch);
            }
            Record::Trim { user, upto } if place.is_home(*user) => {
                let of_user = self.of_user(*user);
                of_user.trimmed = of_user.trimmed.max(*upto);
            }
            _ => {}
        }
    }

    fn index_message(
        &mut self,
        log: &Log,
        place: Place,
        at: Position,
        m: &MessageRecord<'_>,
        owed: &mut BTreeSet<Position>,
    ) {
        for (index, user) in m.conv.participants().into_iter().enumerate() {
            if !place.is_home(user) {
                continue;
            }
            if m.inbox[index] != 0 {
                self.of_user(user).entries.push((m.inbox[index], at));
            }
            if m.marks[index] || user == m.conv.owner() {
                self.of_member((user, m.conv)).push(at);
            }
        }
        if place.is_home(m.conv.owner()) {
            self.convs.entry(m.conv).or_default().push(at);
            if owes(log, at, m) {
                owed.insert(at);
                self.owing.insert(m.conv);
            }
        }
    }

    fn index_command(&mut self, at: Position, record: &CommandRecord<'_>) {
        let user = record.user;
        let of_user = self.of_user(user);
        of_user.commands.push(at);
        of_user.entries.push((record.inbox_seq, at));
        let Ok(command) = Command::decode(record.command) else { return };
        if record.code != 0 {
            return;
        }
        if let Some(conv) = conv_of(user, &command) {
            self.of_member((user, conv)).push(at);
        }
        if is_about_contacts(&command) {
            self.circles.entry(user).or_default().push(at);
        }
    }

    fn of_user(&mut self, user: UserId) -> &mut OfUser {
        self.users.entry(user).or_default()
    }

    fn of_member(&mut self, key: (UserId, ConvKey)) -> &mut Vec<Position> {
        self.members.entry(key).or_default()
    }

    /// Adds to a user what the store may not have.
    pub fn apply_user(&self, log: &Log, id: UserId, user: &mut User) {
        let Some(of_user) = self.users.get(&id) else { return };
        user.recover(of_user.entries.iter().copied());
        user.epoch = user.epoch.max(of_user.epoch);
        user.trimmed = user.trimmed.max(of_user.trimmed);
        for &(id, acked) in &of_user.cursors {
            let device = user.device_or_new(id);
            device.acked = device.acked.max(acked);
        }
        for &at in &of_user.devices {
            user.apply_device(&log.read(at));
        }
        for &at in &of_user.commands {
            let Record::Command(record) = log.read(at) else {
                unreachable!("a command stands there")
            };
            user.apply_command(&record);
        }
        let seen_us = user.standing.last_seen_us.max(of_user.last_seen_us);
        (user.standing.last_seen_us, user.seen_us) = (seen_us, seen_us);
        user.devices.iter_mut().for_each(|device| device.logged = device.acked);
        user.dirty_until = log.base();
    }

    /// Adds to a conversation what the store may not have, and what it owes still: it may have
    /// been here before, and some was confirmed then.
    pub fn apply_conv(
        &self,
        log: &Log,
        owed: &BTreeSet<Position>,
        key: ConvKey,
        conv: &mut Conversation,
    ) {
        let message = |at| match log.read(at) {
            Record::Message(record) => record,
            _ => unreachable!("a message stands there"),
        };
        let positions = self.convs.get(&key).into_iter().flatten();
        conv.recent.recover(positions.clone().map(|&at| (message(at).conv_seq, at)));
        for &at in positions {
            let record = message(at);
            conv.apply(&record, log.base());
            if owed.contains(&at) {
                let seq = record.conv_seq;
                conv.owed.push_back(Owed { seq, at, end: log.base() });
            }
        }
    }

    /// Adds to a member what the store may not have.
    pub fn apply_member(&self, log: &Log, key: (UserId, ConvKey), member: &mut Member) {
        for &at in self.members.get(&key).into_iter().flatten() {
            member.apply(key.0, &log.read(at), log.base());
        }
    }

    /// Adds to a circle what the store may not have.
    pub fn apply_circle(
        &self,
        log: &Log,
        id: UserId,
        circle: &mut Circle,
        rows: &[(UserId, ContactState)],
    ) {
        for &at in self.circles.get(&id).into_iter().flatten() {
            let Record::Command(record) = log.read(at) else {
                unreachable!("a command stands there")
            };
            let command = Command::decode(record.command).expect("decoded when it was read");
            let (peer, blocks) = match command {
                Command::ContactAdd { peer, .. } | Command::ContactRemove { peer } => (peer, false),
                Command::Block { peer } | Command::Unblock { peer } => (peer, true),
                _ => continue,
            };
            let stored = rows.iter().find(|(other, _)| *other == peer).map(|(_, state)| state);
            let by = |state: &ContactState| match blocks {
                true => state.blocked_by,
                false => state.contact_by,
            };
            // The store may have a newer one.
            if stored.is_none_or(|state| record.inbox_seq > by(state)) {
                circle.apply_command(&command, log.base());
            }
        }
    }

    /// A conversation that owes recovered fan-outs is loaded.
    pub fn owed_known(&mut self, key: ConvKey) {
        self.owing.remove(&key);
    }

    /// The first record that a member owes a receipt for, once.
    pub fn take_receipt(&mut self, key: (UserId, ConvKey)) -> Option<Position> {
        self.receipts.remove(&key)
    }

    pub fn owes_receipt(&self, key: (UserId, ConvKey)) -> bool {
        self.receipts.contains_key(&key)
    }

    pub fn all_owed_known(&self) -> bool {
        self.owing.is_empty() && self.receipts.is_empty()
    }

    /// Something of it is to be looked at.
    pub fn waits(&self) -> bool {
        !self.queue.is_empty() || !self.receipts_queue.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.convs.is_empty()
            && self.members.is_empty()
            && self.circles.is_empty()
    }

    /// The store has everything, for loads from `next` on.
    pub fn clear(&mut self, next: AskId) {
        if !self.is_empty() {
            *self = Recovered { stale_before: next.0, ..Recovered::default() };
        }
    }
}

/// Whether the message's fan-out to its guest may be missing there.
fn owes(log: &Log, at: Position, record: &MessageRecord<'_>) -> bool {
    let owner = record.conv.owner();
    let guest = usize::from(record.conv.participants()[0] == owner);
    !record.marks[guest] && !log.confirmed_at_start(at)
}
