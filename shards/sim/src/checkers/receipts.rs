//! Marks only grow and are true: what is told as delivered a device of the peer acked, what is told
//! as read somebody read; and once there is rest, all of it was told (P5, R13).

use super::{Checker, ensure, orders::Orders};
use crate::{
    fact::{DeviceIndex, End, Fact, View},
    network::LinkId,
};
use persistence::ConvKey;
use std::collections::{BTreeMap, BTreeSet};
use wire::{DeviceId, Seq, SnapshotReason, UserId, Verdict};

type Marks = (Seq, Vec<Seq>);

/// What was acked and read, and what was told of it.
#[derive(Default)]
pub struct Receipts {
    links: BTreeMap<LinkId, DeviceIndex>,
    /// Whose, and under which name, which copies share.
    names: BTreeMap<DeviceIndex, (UserId, DeviceId)>,
    /// The places of peers' entries, by user and number.
    places: BTreeMap<(UserId, Seq), (ConvKey, Seq)>,
    /// Those that each device received itself, and has not acked.
    unacked: BTreeMap<(DeviceIndex, Seq), (ConvKey, Seq)>,
    /// Each device's entries up to here are counted, or were never sent to it.
    counted: BTreeMap<DeviceIndex, Seq>,
    /// Users of whom retention overtook a device: what it acked last, nothing tells any more.
    overtaken: BTreeSet<UserId>,
    /// What each device received and acked: a copy's past is not known.
    acked_by: BTreeMap<(DeviceIndex, ConvKey), Seq>,
    acked: BTreeMap<(UserId, ConvKey), Seq>,
    read: BTreeMap<(UserId, ConvKey), Seq>,
    /// By number, as they stand in the inbox.
    receipts: BTreeMap<(UserId, ConvKey, Seq), Marks>,
    read_marks: BTreeMap<(UserId, ConvKey, Seq), Seq>,
    orders: Orders,
}

impl Receipts {
    fn acks(&mut self, device: DeviceIndex, user: UserId, acked: Seq) {
        let later = self.unacked.split_off(&(device, acked + 1));
        let mut others = self.unacked.split_off(&(device, 0));
        for (conv, seq) in std::mem::replace(&mut others, later).into_values() {
            let mark = self.acked_by.entry((device, conv)).or_default();
            *mark = seq.max(*mark);
        }
        self.unacked.append(&mut others);
        let counted = self.counted.entry(device).or_default();
        if acked <= *counted {
            return;
        }
        for (_, &(conv, seq)) in self.places.range((user, *counted + 1)..=(user, acked)) {
            let mark = self.acked.entry((user, conv)).or_default();
            *mark = seq.max(*mark);
        }
        *counted = acked;
    }

    fn read_mark(&mut self, key: (UserId, ConvKey, Seq), upto: Seq) -> Result<(), String> {
        let (user, conv, inbox_seq) = key;
        let read = self.read.get(&(user, conv)).copied().unwrap_or(0);
        ensure(upto <= read, || format!("{user:?} read {read} of {conv:?}, and is told {upto}"))?;
        self.read_marks.insert(key, upto);
        let before = self.read_marks.range((user, conv, 0)..key).next_back();
        let behind = self.read_marks.range((user, conv, inbox_seq + 1)..=(user, conv, Seq::MAX));
        let behind = behind.take(1).map(|(_, upto)| *upto).next();
        let grows = before.is_none_or(|(_, before)| *before < upto)
            && behind.is_none_or(|behind| behind > upto);
        ensure(grows, || {
            format!("{user:?}'s read mark in {conv:?} goes back: {before:?}, {upto}, {behind:?}")
        })
    }

    fn receipt(&mut self, key: (UserId, ConvKey, Seq), marks: Marks) -> Result<(), String> {
        let (user, conv, inbox_seq) = key;
        let peer = conv.peer_of(user);
        let of = |marks: &BTreeMap<_, Seq>| marks.get(&(peer, conv)).copied().unwrap_or(0);
        let (read, acked) = (of(&self.read), of(&self.acked));
        ensure(marks.0 <= read, || format!("{peer:?} read {read} of {conv:?}, told is {marks:?}"))?;
        let delivered = marks.1.first().copied().unwrap_or(0);
        ensure(delivered <= acked && marks.1.is_sorted_by(|a, b| a >= b), || {
            format!("{peer:?} acked {acked} of {conv:?}, told is {marks:?}")
        })?;
        let behind = self.receipts.range((user, conv, inbox_seq + 1)..=(user, conv, Seq::MAX));
        let behind = behind.take(1).map(|(_, marks)| marks).next();
        let before = self.receipts.range((user, conv, 0)..key).next_back().map(|(_, marks)| marks);
        let grows = before.is_none_or(|before| covers(&marks, before))
            && behind.is_none_or(|behind| covers(behind, &marks));
        ensure(grows, || {
            format!("{user:?}'s receipts of {conv:?} go back: {before:?}, {marks:?}, {behind:?}")
        })?;
        self.receipts.insert(key, marks);
        Ok(())
    }

    /// What the peer of this view's user is known to have acked and read, the user is told.
    fn told(&self, view: &View, end: &End) -> Result<(), String> {
        for (&conv, shown) in &view.convs {
            let peer = conv.peer_of(view.user);
            if self.orders.blocked(peer, view.user) || self.overtaken.contains(&peer) {
                continue;
            }
            let peers = || end.views.iter().filter(|other| other.user == peer);
            let acked = peers().filter_map(|p| self.acked_by.get(&(p.device, conv))).max();
            let acked = acked.copied().unwrap_or(0);
            let read = peers().filter_map(|p| Some(p.convs.get(&conv)?.chat.read)).max();
            let read = read.unwrap_or(0);
            let chat = &shown.chat;
            let delivered = chat.peer_delivered.first().copied().unwrap_or(0);
            ensure(delivered >= acked && chat.peer_read >= read, || {
                format!("{peer:?} acked {acked} and read {read} of {conv:?}, and {chat:?}")
            })?;
        }
        Ok(())
    }
}

/// Whether no mark is lower than before.
fn covers(marks: &Marks, before: &Marks) -> bool {
    let delivered = before.1.iter().enumerate();
    marks.0 >= before.0
        && delivered.into_iter().all(|(at, mark)| marks.1.get(at).is_some_and(|now| now >= mark))
}

impl Checker for Receipts {
    fn name(&self) -> &'static str {
        "receipts"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        self.orders.observe(fact);
        match *fact {
            Fact::Received { link, ref entry } if entry.placed.sender != entry.user => {
                let place = (entry.placed.conv, entry.placed.conv_seq);
                self.places.insert((entry.user, entry.inbox_seq), place);
                self.unacked.insert((self.links[&link], entry.inbox_seq), place);
            }
            Fact::Welcomed { link, device, ref welcome } => {
                self.links.insert(link, device);
                self.names.insert(device, (welcome.user, welcome.device));
                if welcome.verdict != Verdict::Resume {
                    // What it received of them is not what it acks from now on.
                    self.unacked.retain(|(other, _), _| *other != device);
                    // Its cursor passes over what a copy acked and the server had not read yet.
                    let (name, names) = ((welcome.user, welcome.device), &self.names);
                    let copy = |other| other != device && names.get(&other) == Some(&name);
                    self.acked_by.retain(|&(other, _), _| !copy(other));
                    self.unacked.retain(|&(other, _), _| !copy(other));
                }
                if welcome.verdict == Verdict::Snapshot(SnapshotReason::TooFar) {
                    self.overtaken.insert(welcome.user);
                }
                let counted = self.counted.entry(device).or_default();
                *counted = welcome.from.max(*counted);
            }
            Fact::Greeted { device, user, acked, .. } | Fact::Acked { device, user, acked, .. } => {
                self.acks(device, user, acked);
            }
            Fact::Read { user, conv, upto } => {
                let read = self.read.entry((user, conv)).or_default();
                *read = upto.max(*read);
            }
            Fact::ReadMark { user, inbox_seq, conv, upto } => {
                return self.read_mark((user, conv, inbox_seq), upto);
            }
            Fact::Receipt { user, inbox_seq, conv, read, ref delivered } => {
                return self.receipt((user, conv, inbox_seq), (read, delivered.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        end.views.iter().try_for_each(|view| self.told(view, end))
    }
}
