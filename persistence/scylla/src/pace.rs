//! How many pieces of a batch are under way at once. Acks wait for the same nodes: where those are
//! slow, because one of them only just came back, say, flushing yields until they are not.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces of one batch under way, at most.
const PIECES_MAX: usize = 64;
/// A store that takes so long for a piece has too many of them.
const SLOW: Duration = Duration::from_millis(500);

/// A window as TCP's: it grows by one when as many pieces were quick as it is wide, and halves when
/// one was slow, once for all pieces that were under way then.
#[derive(Debug)]
pub struct Pace(Mutex<Window>);

#[derive(Debug)]
struct Window {
    pieces: usize,
    /// Quick ones since it last changed.
    quick: usize,
    halved: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace(Mutex::new(Window { pieces: PIECES_MAX, quick: 0, halved: None }))
    }
}

impl Pace {
    /// So many pieces of a batch may be under way now.
    pub fn pieces(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pieces
    }

    /// A piece that was sent at `begun` has an answer at `now`, or none.
    pub fn took(&self, begun: Instant, now: Instant) {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now - begun >= SLOW {
            if window.halved.is_none_or(|halved| begun >= halved) {
                let pieces = (window.pieces / 2).max(1);
                *window = Window { pieces, quick: 0, halved: Some(now) };
            }
            return;
        }
        window.quick += 1;
        if window.quick >= window.pieces {
            window.pieces = (window.pieces + 1).min(PIECES_MAX);
            window.quick = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_pieces_halve_the_window_once_and_quick_ones_open_it_again() {
        let (pace, begin) = (Pace::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        // Sent together: one cut for all.
        (0..PIECES_MAX).for_each(|_| pace.took(at(0), at(2_000)));
        assert_eq!(pace.pieces(), PIECES_MAX / 2);
        (0..10).for_each(|n| pace.took(at(2_000 + n * 2_000), at(4_000 + n * 2_000)));
        assert_eq!(pace.pieces(), 1, "and never less");
        let quick = || pace.took(at(30_000), at(30_001));
        quick();
        assert_eq!(pace.pieces(), 2);
        (0..PIECES_MAX * PIECES_MAX).for_each(|_| quick());
        assert_eq!(pace.pieces(), PIECES_MAX, "and never more");
    }
}
