//! A session's stream goes on where the device stopped, without holes, within its window, and
//! `CAUGHT_UP` tells no lie (P6).

use super::{Checker, ensure};
use crate::{
    fact::{End, Entry, Fact},
    network::LinkId,
};
use std::collections::{BTreeMap, VecDeque};
use wire::{Seq, SnapshotReason, Verdict, Welcome};

#[derive(Default)]
struct Session {
    greeted: Option<(u64, Seq)>,
    welcome: Option<Welcome>,
    at: Seq,
    unacked: VecDeque<(Seq, usize)>,
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    sessions: BTreeMap<LinkId, Session>,
}

impl Session {
    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), String> {
        let Some((epoch, acked)) = self.greeted else { return Err("WELCOME before HELLO".into()) };
        ensure(self.welcome.is_none(), || format!("two WELCOMEs: {welcome:?}"))?;
        let goes_on = match welcome.verdict {
            Verdict::Resume => welcome.from == acked && epoch == welcome.inbox_epoch,
            // Nothing restores a server here, so only a device without a past starts anew, and
            // one that retention overtook.
            Verdict::Snapshot(reason) => {
                let new = epoch == 0 && reason == SnapshotReason::NewDevice;
                let far = epoch == welcome.inbox_epoch && acked < welcome.head;
                let far = far && reason == SnapshotReason::TooFar;
                welcome.from == welcome.head && (new || far)
            }
        };
        ensure(goes_on, || format!("HELLO at {acked} of epoch {epoch}, and {welcome:?}"))?;
        ensure(welcome.head >= welcome.from, || format!("the head is behind: {welcome:?}"))?;
        self.at = welcome.from;
        self.welcome = Some(welcome.clone());
        Ok(())
    }

    fn goes_on(&mut self, inbox_seq: Seq) -> Result<(), String> {
        ensure(self.welcome.is_some(), || "an entry before WELCOME".into())?;
        let next = self.at + 1;
        ensure(inbox_seq == next, || format!("entry {inbox_seq} where {next} comes next"))?;
        self.at = inbox_seq;
        Ok(())
    }

    fn received(&mut self, entry: &Entry) -> Result<(), String> {
        self.goes_on(entry.inbox_seq)?;
        let welcome = self.welcome.as_ref().expect("checked");
        self.unacked.push_back((entry.inbox_seq, entry.body_bytes));
        // One entry may always be under way, and an own entry costs the window nothing: it may
        // be the answer that the device waits for.
        let peers: Vec<_> = self.unacked.iter().filter(|(_, bytes)| *bytes > 0).collect();
        let bytes: usize = peers.iter().map(|(_, bytes)| bytes).sum();
        let last = entry.body_bytes;
        let fits = peers.len() as u64 <= welcome.window_frames
            && (peers.len() <= 1 || (bytes - last) as u64 <= welcome.window_bytes);
        ensure(fits, || format!("beyond the window: {} entries, {bytes} bytes", peers.len()))
    }
}

impl Checker for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        let (Fact::Greeted { link, .. }
        | Fact::Welcomed { link, .. }
        | Fact::Acked { link, .. }
        | Fact::Received { link, .. }
        | Fact::Marked { link, .. }
        | Fact::CaughtUp { link, .. }) = fact
        else {
            return Ok(());
        };
        let session = self.sessions.entry(*link).or_default();
        let checked = match fact {
            Fact::Greeted { inbox_epoch, acked, .. } => {
                session.greeted = Some((*inbox_epoch, *acked));
                Ok(())
            }
            Fact::Welcomed { welcome, .. } => session.welcomed(welcome),
            Fact::Acked { acked, .. } => {
                session.unacked.retain(|(inbox_seq, _)| inbox_seq > acked);
                Ok(())
            }
            Fact::Received { entry, .. } => session.received(entry),
            Fact::Marked { inbox_seq, .. } => session.goes_on(*inbox_seq),
            Fact::CaughtUp { head, .. } => {
                let at = session.at;
                ensure(at >= *head, || format!("CAUGHT_UP with {head}, and {at} was sent"))
            }
            _ => Ok(()),
        };
        checked.map_err(|broken| format!("{link:?}: {broken}"))
    }

    fn finish(&mut self, _end: &End) -> Result<(), String> {
        Ok(())
    }
}
