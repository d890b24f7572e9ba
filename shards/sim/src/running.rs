//! A client that runs, with a note of when it has something to do next: to work that out is slow,
//! and is asked of every device after every event, few of which touched it.

use client::Client;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// The client; whoever may change it makes the note void.
pub struct Running {
    client: Client,
    due: Cell<Option<Due>>,
}

/// When to call it next and when to connect, in ms.
#[derive(Clone, Copy)]
pub struct Due {
    /// `Client::next_deadline_ms`.
    pub deadline_ms: Option<u64>,
    /// `Client::connect_at_ms`.
    pub connect_ms: Option<u64>,
}

impl Running {
    /// This client.
    pub fn new(client: Client) -> Running {
        Running { client, due: Cell::new(None) }
    }

    /// When it has something to do.
    pub fn due(&self) -> Due {
        let due = self.due.get().unwrap_or_else(|| Due {
            deadline_ms: self.client.next_deadline_ms(),
            connect_ms: self.client.connect_at_ms(),
        });
        self.due.set(Some(due));
        due
    }
}

impl Deref for Running {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Client {
        self.due.set(None);
        &mut self.client
    }
}
