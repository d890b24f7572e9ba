//! Places in a core's stream of records.

/// A place in a core's stream of records, in bytes from the stream's start; grows for ever.
///
/// The stream of a generation starts with the records recovered from older generations, so that
/// one number orders everything that a core must flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);
