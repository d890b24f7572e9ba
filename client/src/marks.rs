//! Read marks and receipts: watermarks that only grow.

use wire::{ClientFrame, Conv, Read, ReadMark, Receipt, Seq};

use crate::conversation::Conversation;
use crate::entry::{Entry, Marks};
use crate::{Client, ClientEvent, Fault};

impl Client {
    /// The user has read everything up to `upto`. It is told to the server after its commit, by
    /// itself, also after a crash, until it is known there. `false`: that far was read before, or
    /// nothing is there.
    pub fn mark_read(&mut self, conv: Conv, upto: Seq) -> bool {
        let Some(found) = self.state.conversations.get(&conv) else { return false };
        let upto = upto.min(found.head());
        let further = upto > found.own_read();
        if further {
            self.record(&Entry::ReadWanted { conv, upto });
        }
        further
    }

    /// The read marks that may leave now: once on each attach, and again while none comes back.
    pub(crate) fn put_reads(&mut self, mut emit: impl FnMut(ClientFrame<'_>)) {
        for &conv in &self.state.reading {
            let Some(found) = self.state.conversations.get(&conv) else { continue };
            let &Conversation { read_wanted: upto, read_wanted_mark: mark, .. } = found;
            let told = self.reads_told.get(&conv);
            let due = told.is_none_or(|&(told, at_ms)| {
                told < upto || at_ms.saturating_add(self.config.read_repeat_ms) <= self.now_ms
            });
            if due && mark <= self.journal.committed {
                self.reads_told.insert(conv, (upto, self.now_ms));
                emit(ClientFrame::Read(Read { conv, conv_seq: upto }));
            }
        }
    }

    /// When a read mark is told again, in ms.
    pub(crate) fn reads_due_ms(&self) -> Option<u64> {
        let told = self.state.reading.iter().filter_map(|conv| self.reads_told.get(conv));
        told.map(|(_, at_ms)| at_ms.saturating_add(self.config.read_repeat_ms)).min()
    }

    pub(crate) fn read_mark(&mut self, mark: &ReadMark, bytes: usize) -> Result<(), Fault> {
        self.advance_position(mark.d_inbox, bytes)?;
        let (conv, upto) = (mark.conv, mark.conv_seq);
        self.record(&Entry::Read { conv, upto });
        self.tell(ClientEvent::Updated { conv: Some(conv) });
        Ok(())
    }

    pub(crate) fn receipt(&mut self, receipt: &Receipt<'_>, bytes: usize) -> Result<(), Fault> {
        self.advance_position(receipt.d_inbox, bytes)?;
        let (conv, read) = (receipt.conv, receipt.read);
        let delivered: Vec<Seq> = receipt.delivered.iter().collect();
        self.record(&Entry::Receipt { conv, read, delivered: Marks::Values(&delivered) });
        self.tell(ClientEvent::Updated { conv: Some(conv) });
        Ok(())
    }
}
