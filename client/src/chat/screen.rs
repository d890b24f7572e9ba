//! The whole terminal: what happens in it. How it looks is in `draw`.

use std::io::stdout;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use client::blocking::Incoming;
use client::{ClientEvent, Conv, Direction, RequestId, Seq};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableFocusChange, EnableFocusChange, Event, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use ratatui::crossterm::execute;

use crate::line::Line;
use crate::talk::{Reply, Talk};

/// The countdown to the next try moves this often at least.
const REDRAW: Duration = Duration::from_millis(250);
/// No two pictures come closer than this.
const PICTURE: Duration = Duration::from_millis(20);
/// Messages that are fetched at once when the user scrolls to what is not here.
const PAGE: u64 = 50;

pub struct Screen {
    pub talk: Talk<Event>,
    /// What is being typed.
    pub input: String,
    /// What the program has to say about it.
    pub note: String,
    /// What the user asked for, in front of the conversation until a key is pressed.
    pub panel: Vec<String>,
    /// Rows scrolled back.
    pub scroll: usize,
    /// Show the messages' numbers.
    pub numbers: bool,
    /// Newest message that was drawn.
    pub drawn: Option<(Conv, Seq)>,
    /// The rows end at a place that is not here.
    pub lacks: Option<(Conv, Seq)>,
    loading: Option<RequestId>,
    /// A person looks at the terminal, as far as it says so.
    focused: bool,
}

pub fn run(talk: Talk<Event>) -> Result<(), String> {
    let sender = talk.connection.sender();
    let mut terminal = ratatui::init();
    // A terminal that does not know it just never says so.
    let _ = execute!(stdout(), EnableFocusChange);
    thread::spawn(move || read(&sender));
    let mut screen = Screen {
        talk,
        input: String::new(),
        note: String::new(),
        panel: Vec::new(),
        scroll: 0,
        numbers: false,
        drawn: None,
        lacks: None,
        loading: None,
        focused: true,
    };
    let ended = screen.run(&mut terminal);
    let _ = execute!(stdout(), DisableFocusChange);
    ratatui::restore();
    ended?;
    screen.talk.quit()
}

fn read(sender: &Sender<Incoming<Event>>) {
    while let Ok(event) = event::read() {
        if sender.send(Incoming::Other(event)).is_err() {
            return;
        }
    }
}

impl Screen {
    fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<(), String> {
        let mut drawn_at: Option<Instant> = None;
        loop {
            // Keys that come in a burst, as when somebody pastes, share a picture.
            let fresh = drawn_at.is_some_and(|at| at.elapsed() < PICTURE);
            if !fresh {
                let drawn = terminal.draw(|frame| self.draw(frame));
                drawn.map_err(|error| format!("the terminal is gone: {error}"))?;
                self.follow_up();
                drawn_at = Some(Instant::now());
            }
            let input = self.talk.turn(if fresh { PICTURE } else { REDRAW })?;
            while let Some(event) = self.talk.event()? {
                self.note(&event);
            }
            self.panel.append(&mut self.talk.said);
            match input {
                Some(Event::FocusGained) => self.focus(true),
                Some(Event::FocusLost) => self.focus(false),
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release && self.key(key) => {
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// What was just drawn is read, and what was lacking is fetched.
    fn follow_up(&mut self) {
        self.talk.watch();
        if let Some((conv, newest)) = self.drawn.filter(|_| self.focused && self.panel.is_empty()) {
            self.talk.connection.client_mut().mark_read(conv, newest);
        }
        if let Some((conv, from)) = self.lacks.filter(|_| self.loading.is_none()) {
            let client = self.talk.connection.client_mut();
            self.loading = Some(client.load_history(conv, from, Direction::Older, PAGE));
        }
    }

    fn focus(&mut self, focused: bool) {
        self.focused = focused;
        self.talk.connection.client_mut().set_foreground(focused);
    }

    fn note(&mut self, event: &ClientEvent) {
        if let ClientEvent::HistoryPage { request, .. }
        | ClientEvent::RequestRefused { request, .. } = event
            && Some(*request) == self.loading
        {
            self.loading = None;
        }
    }

    /// Whether the user leaves.
    fn key(&mut self, key: KeyEvent) -> bool {
        self.note.clear();
        self.panel.clear();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return true,
            KeyCode::Char('u') if control => self.input.clear(),
            KeyCode::Char(typed) if !control => self.typed(typed),
            KeyCode::Backspace => {
                self.input.pop();
            }
            KeyCode::Tab => self.turn_to_next(),
            KeyCode::Up => self.scroll += 1,
            KeyCode::Down => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageUp => self.scroll += 10,
            KeyCode::PageDown => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Enter => return self.enter(),
            _ => {}
        }
        false
    }

    fn typed(&mut self, typed: char) {
        self.input.push(typed);
        if let Some(peer) = self.talk.to.filter(|_| !self.input.starts_with('/')) {
            self.talk.connection.client_mut().typing(Conv::Direct(peer));
        }
    }

    fn enter(&mut self) -> bool {
        let typed = std::mem::take(&mut self.input);
        match self.talk.obey(Line::parse(&typed)) {
            Ok(Reply::Quit) => return true,
            Ok(Reply::LookAt(user)) => self.look_at(user),
            Ok(Reply::Numbers) => self.numbers = !self.numbers,
            Ok(Reply::Done) => self.scroll = 0,
            // It can be typed on.
            Err(problem) => (self.note, self.input) = (problem, typed),
        }
        false
    }

    fn look_at(&mut self, user: u64) {
        self.talk.to = Some(user);
        (self.scroll, self.drawn, self.lacks) = (0, None, None);
    }

    /// With whom there is anything, in the order of the list.
    pub fn peers(&self) -> Vec<u64> {
        let mut chats = self.talk.client().chats();
        chats.sort_by_key(|chat| chat.settings.archived);
        let mut peers: Vec<u64> = chats.iter().map(|chat| peer(chat.conv)).collect();
        peers.extend(self.talk.to.filter(|to| !peers.contains(to)));
        peers
    }

    fn turn_to_next(&mut self) {
        let peers = self.peers();
        let at = peers.iter().position(|&peer| Some(peer) == self.talk.to);
        let next = at.map_or(0, |at| (at + 1) % peers.len());
        if let Some(&next) = peers.get(next) {
            self.look_at(next);
        }
    }
}

fn peer(conv: Conv) -> u64 {
    let Conv::Direct(peer) = conv;
    peer
}
