//! Bugs planted on purpose, so that a test can show that the simulator finds them. Without the
//! feature `planted` none of them is in the build: `active` is the constant `false`.

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A log write counts as durable when it leaves.
    AckBeforeSync,
    /// SENT does not wait for its record (R1).
    SentBeforeDurable,
    /// InboxAppend does not wait for its record (R1).
    AppendBeforeDurable,
    /// A confirmation does not wait for its record (R1).
    ConfirmBeforeDurable,
    /// DELIVER does not wait for its record (R1).
    DeliverBeforeDurable,
    /// A number above an outbox's `next` is taken (R2).
    HolesAccepted,
    /// An outbox's `next` is not loaded again (R2).
    NextForgotten,
    /// A VOID does not move `next` (R2).
    VoidKeepsNext,
    /// A client takes `known` as settled (R3).
    KnownSettles,
    /// A client takes any own entry under its number as its own (R3).
    HashIgnored,
    /// A home takes a place above the next one (R4).
    HigherPlaceTaken,
    /// A record retires although its fan-out is unconfirmed (R5).
    RetiredUnconfirmed,
    /// Opening reads older logs up to their present end, whatever newer ones fenced (R6).
    TailNotFenced,
    /// Opening applies logs by core, then by generation (R7).
    CoreOrder,
    /// An answer counts although its request was given up (R10).
    OldLoadAccepted,
    /// A receipt does not wait for the record of what it reports, and is not owed (R1, R13).
    ReceiptUnacked,
    /// A read mark may go back (R13).
    ReadMarkBack,
    /// A snapshot does not pin its place (R11).
    SnapshotMisses,
    /// An older presence wins over a newer one.
    OlderPresenceWins,
    /// A block is ignored where it is checked second: at the home that is not the owner.
    BlockSecondDevice,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 20] = [
        Bug::AckBeforeSync,
        Bug::SentBeforeDurable,
        Bug::AppendBeforeDurable,
        Bug::ConfirmBeforeDurable,
        Bug::DeliverBeforeDurable,
        Bug::HolesAccepted,
        Bug::NextForgotten,
        Bug::VoidKeepsNext,
        Bug::KnownSettles,
        Bug::HashIgnored,
        Bug::HigherPlaceTaken,
        Bug::RetiredUnconfirmed,
        Bug::TailNotFenced,
        Bug::CoreOrder,
        Bug::OldLoadAccepted,
        Bug::ReceiptUnacked,
        Bug::ReadMarkBack,
        Bug::SnapshotMisses,
        Bug::OlderPresenceWins,
        Bug::BlockSecondDevice,
    ];
}

#[cfg(not(feature = "planted"))]
/// Whether this bug is planted in this build and thread: no.
pub const fn active(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in this thread.
    pub fn active(bug: Bug) -> bool {
        ACTIVE.get() == Some(bug)
    }

    /// Plants this bug in this thread, or removes the one that is there.
    pub fn plant(bug: Option<Bug>) {
        ACTIVE.set(bug);
    }
}

#[cfg(feature = "planted")]
pub use switch::{active, plant};
