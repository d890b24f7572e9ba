//! A page of history has one item for every place, without a hole, and says where the next one goes
//! on (P6).

use super::{Checker, ensure};
use crate::{
    fact::{End, Fact},
    network::LinkId,
};
use std::collections::BTreeMap;
use wire::{Direction, History, Seq};

struct Page {
    ask: History,
    /// First and last place so far.
    places: Option<(Seq, Seq)>,
    items: u64,
}

/// Pages under way.
#[derive(Default)]
pub struct Pages {
    pages: BTreeMap<(LinkId, u64), Page>,
}

impl Page {
    fn step(&self, seq: Seq) -> Seq {
        if self.ask.direction == Direction::Newer { seq + 1 } else { seq - 1 }
    }

    fn item(&mut self, conv_seq: Seq) -> Result<(), String> {
        self.items += 1;
        let places = self.places;
        let goes_on = conv_seq > 0
            && self.items <= self.ask.limit
            && places.is_none_or(|(_, last)| self.step(last) == conv_seq);
        ensure(goes_on, || format!("item {conv_seq} behind {places:?} for {:?}", self.ask))?;
        self.places = Some((places.map_or(conv_seq, |(first, _)| first), conv_seq));
        Ok(())
    }

    fn end(&self, end: &wire::End) -> Result<(), String> {
        let (from, head) = (self.ask.from, end.head);
        let first = match self.ask.direction {
            Direction::Newer => from.max(1),
            Direction::Older if from == 0 => head,
            Direction::Older => from.min(head),
        };
        let exists = |seq: Seq| (1..=head).contains(&seq);
        let right = match self.places {
            Some((began, last)) => {
                let next = self.step(last);
                began == first && end.next == if exists(next) { next } else { 0 }
            }
            // A page may end without an item.
            None => end.next == if exists(first) { first } else { 0 },
        };
        let places = self.places;
        ensure(right, || format!("{end:?} behind {places:?} for {:?}", self.ask))
    }
}

impl Checker for Pages {
    fn name(&self) -> &'static str {
        "pages"
    }

    fn observe(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Asked { link, ask } => {
                let page = Page { ask: *ask, places: None, items: 0 };
                self.pages.insert((*link, ask.request), page);
                Ok(())
            }
            Fact::Item { link, request, conv_seq, .. } => {
                let page = self.pages.get_mut(&(*link, *request)).ok_or("not asked for")?;
                page.item(*conv_seq)
            }
            Fact::Ended { link, end } => {
                let page = self.pages.remove(&(*link, end.request)).ok_or("not asked for")?;
                page.end(end)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _end: &End) -> Result<(), String> {
        Ok(())
    }
}
