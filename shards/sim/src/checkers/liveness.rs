//! Once calm has come, everything arrives: outboxes empty, all devices caught up (P6, P9).

use super::{Checker, ensure};
use crate::fact::{End, Fact};

/// Nothing to remember.
pub struct Liveness;

impl Checker for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn observe(&mut self, _fact: &Fact) -> Result<(), String> {
        Ok(())
    }

    fn finish(&mut self, end: &End) -> Result<(), String> {
        ensure(end.restless.is_empty(), || format!("no rest: {:#?}", end.restless))?;
        ensure(end.unsettled.is_empty(), || format!("left over: {:?}", end.unsettled))
    }
}
