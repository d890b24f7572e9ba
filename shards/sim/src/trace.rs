//! One number that covers every event and effect with its bytes, and a readable trace.

use persistence::IoOp;
use shards::{Effect, Event};
use std::fmt::{self, Write};

/// How much of a run is kept. Most of a run's time goes into the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail {
    /// The number of events.
    Count,
    /// A hash over all events and effects with their bytes.
    Hash,
    /// That, and a line for each is printed.
    Print,
}

/// What happened so far.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    trail: Trail,
}

impl Trace {
    /// Nothing yet.
    pub fn new(trail: Trail) -> Trace {
        Trace { hash: 0, events: 0, trail }
    }

    /// Events that cores have handled.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Equal for equal runs.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// A core handles this.
    pub fn event(&mut self, at: u64, core: u16, event: &Event<'_>) {
        self.events += 1;
        if self.trail == Trail::Count {
            return;
        }
        self.mix(at ^ ((core as u64) << 48));
        match event {
            Event::Received { conn, bytes } => {
                self.bytes(bytes);
                self.line(at, core, format_args!("← Received {conn:?} {} bytes", bytes.len()));
            }
            Event::Sent { conn, buffer } => {
                self.bytes(buffer);
                self.line(at, core, format_args!("← Sent {conn:?} {} bytes", buffer.len()));
            }
            event => self.line(at, core, format_args!("← {event:?}")),
        }
    }

    /// A core asks for this.
    pub fn effect(&mut self, at: u64, core: u16, effect: &Effect) {
        if self.trail == Trail::Count {
            return;
        }
        match effect {
            Effect::Send { conn, buffer } => {
                self.bytes(buffer);
                self.line(at, core, format_args!("→ Send {conn:?} {} bytes", buffer.len()));
            }
            Effect::Write(IoOp::Write { id, segment, offset, bytes }) => {
                self.bytes(bytes);
                let length = bytes.len();
                let line = format_args!("→ Write {id} {segment}+{offset} {length} bytes");
                self.line(at, core, line);
            }
            effect => self.line(at, core, format_args!("→ {effect:?}")),
        }
    }

    /// The world does this.
    pub fn note(&mut self, at: u64, note: fmt::Arguments<'_>) {
        if self.trail == Trail::Count {
            return;
        }
        self.mix(at);
        self.write_fmt(note).expect("a hash takes everything");
        if self.trail == Trail::Print {
            println!("{:>12} world  {note}", at);
        }
    }

    fn line(&mut self, at: u64, core: u16, line: fmt::Arguments<'_>) {
        self.write_fmt(line).expect("a hash takes everything");
        if self.trail == Trail::Print {
            let mut text = line.to_string();
            if let Some((cut, _)) = text.char_indices().nth(400) {
                text.truncate(cut);
            }
            println!("{at:>12} core {core} {text}");
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(*byte as u64));
    }

    fn mix(&mut self, word: u64) {
        let x = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = x ^ (x >> 29);
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
