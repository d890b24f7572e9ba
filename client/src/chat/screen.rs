//! The whole terminal: conversations on the left, one of them on the right, a line to type.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use client::blocking::Incoming;
use client::{ClientEvent, Conv, Kind};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line as Row;
use ratatui::widgets::{Block, Borders, Paragraph};
use ratatui::{DefaultTerminal, Frame};

use crate::talk::{Line, QUEUED, Talk, history_line, printable};

/// The countdown to the next try moves this often at least.
const REDRAW: Duration = Duration::from_millis(250);

struct Screen {
    talk: Talk<Event>,
    /// What is being typed.
    input: String,
    /// What the program has to say about it.
    note: String,
    /// Messages that came to conversations that are not looked at.
    unread: BTreeMap<u64, usize>,
    /// Rows scrolled back.
    scroll: usize,
}

pub fn run(talk: Talk<Event>) -> Result<(), String> {
    let sender = talk.connection.sender();
    let mut terminal = ratatui::init();
    thread::spawn(move || read(&sender));
    let (input, note) = (String::new(), String::new());
    let mut screen = Screen { talk, input, note, unread: BTreeMap::new(), scroll: 0 };
    let ended = screen.run(&mut terminal);
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
        loop {
            let drawn = terminal.draw(|frame| self.draw(frame));
            drawn.map_err(|error| format!("the terminal is gone: {error}"))?;
            let input = self.talk.turn(REDRAW)?;
            while let Some(event) = self.talk.event()? {
                self.note(&event);
            }
            if let Some(Event::Key(key)) = input
                && key.kind != KeyEventKind::Release
                && self.key(key)
            {
                return Ok(());
            }
        }
    }

    fn note(&mut self, event: &ClientEvent) {
        if let ClientEvent::Message { conv: Conv::Direct(peer), kind: Kind::Peer, .. } = event
            && self.talk.to != Some(*peer)
        {
            *self.unread.entry(*peer).or_default() += 1;
        }
    }

    /// Whether the user leaves.
    fn key(&mut self, key: KeyEvent) -> bool {
        self.note.clear();
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return true,
            KeyCode::Char('u') if control => self.input.clear(),
            KeyCode::Char(typed) if !control => self.input.push(typed),
            KeyCode::Backspace => {
                self.input.pop();
            }
            KeyCode::Tab => self.turn_to_next(),
            KeyCode::PageUp => self.scroll += 10,
            KeyCode::PageDown => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Enter => return self.enter(),
            _ => {}
        }
        false
    }

    fn enter(&mut self) -> bool {
        self.scroll = 0;
        let typed = std::mem::take(&mut self.input);
        let done = match Line::parse(&typed) {
            Line::Quit => return true,
            Line::Say(text) => self.talk.say(&text),
            Line::GiveUp => self.talk.give_up(),
            Line::Wrong(problem) => Err(problem),
            Line::Nothing => Ok(()),
            Line::To(user) => {
                self.look_at(user);
                Ok(())
            }
        };
        if let Err(problem) = done {
            // It can be typed on.
            (self.note, self.input) = (problem, typed);
        }
        false
    }

    fn look_at(&mut self, user: u64) {
        self.talk.to = Some(user);
        self.unread.remove(&user);
        self.scroll = 0;
    }

    fn turn_to_next(&mut self) {
        let peers = self.peers();
        let next = peers.iter().find(|&&peer| Some(peer) > self.talk.to).or(peers.first());
        if let Some(&next) = next {
            self.look_at(next);
        }
    }

    fn peers(&self) -> Vec<u64> {
        let client = self.talk.connection.client();
        let mut peers: Vec<u64> =
            client.conversations().map(|Conv::Direct(peer)| peer).chain(self.talk.to).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(2)])
                .areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Length(16), Constraint::Min(10)]).areas(middle);
        let client = self.talk.connection.client();
        let who = client.identity().map_or("ringmail".to_owned(), |(user, device)| {
            format!("user {}, device {}", user.get(), device.0)
        });
        let state = format!("{who} · {}", self.talk.state());
        let style = if client.is_attached() { Style::new() } else { Style::new().yellow() };
        frame.render_widget(Paragraph::new(state).style(style.reversed()), top);
        self.draw_peers(frame, left);
        self.draw_conversation(frame, right);
        let [line, note] = Layout::vertical([Constraint::Length(1); 2]).areas(bottom);
        let prompt = format!("> {}", self.input);
        // The end of a long line is what is being typed.
        let width = usize::from(line.width).saturating_sub(1).max(1);
        let shown: Vec<char> = prompt.chars().collect();
        let shown: String = shown[shown.len().saturating_sub(width)..].iter().collect();
        let row = Row::from(shown);
        frame.set_cursor_position((line.x + row.width() as u16, line.y));
        frame.render_widget(row, line);
        let help = "Enter sends · Tab next · PgUp PgDn scroll · /to N /giveup /quit";
        let note_row = match self.note.is_empty() {
            true => Row::from(help).dim(),
            false => Row::from(self.note.as_str()).red(),
        };
        frame.render_widget(note_row, note);
    }

    fn draw_peers(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.peers().into_iter().map(|peer| {
            let unread =
                self.unread.get(&peer).map_or(String::new(), |count| format!(" ({count})"));
            let row = Row::from(format!("{peer}{unread}"));
            if self.talk.to == Some(peer) { row.reversed() } else { row }
        });
        let block = Block::new().borders(Borders::RIGHT).title("with");
        frame.render_widget(Paragraph::new(rows.collect::<Vec<_>>()).block(block), area);
    }

    fn draw_conversation(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(peer) = self.talk.to else {
            let hint = "Say with whom you talk: /to 2";
            frame.render_widget(Paragraph::new(hint), area);
            return;
        };
        let (conv, client) = (Conv::Direct(peer), self.talk.connection.client());
        let (width, height) = (usize::from(area.width).max(1), usize::from(area.height));
        // From the newest up, no more than is shown.
        let mut rows: Vec<Row<'_>> = Vec::new();
        let pending = client.pending(conv).filter(|send| client.is_queued(send));
        let pending: Vec<_> = pending.collect();
        let unsent = pending.iter().rev().map(|send| {
            let given_up = if send.void { " (being given up)" } else { "" };
            (format!("{QUEUED} {}{given_up}", printable(&send.body)), true)
        });
        let past = client.history(conv).rev().filter_map(|(_, message)| history_line(message));
        for (line, dim) in unsent.chain(past.map(|line| (line, false))) {
            if rows.len() >= height + self.scroll {
                break;
            }
            let wrapped = wrap(&line, width).into_iter().rev().map(Row::from);
            rows.extend(wrapped.map(|row| if dim { row.dim() } else { row }));
        }
        let skip = self.scroll.min(rows.len().saturating_sub(height));
        let mut shown: Vec<_> = rows.into_iter().skip(skip).take(height).collect();
        shown.reverse();
        frame.render_widget(Paragraph::new(shown), area);
    }
}

/// Pieces of at most `width` columns.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let (mut rows, mut used) = (vec![String::new()], 0);
    for c in line.chars() {
        let columns = Row::from(c.to_string()).width();
        if used + columns > width && used > 0 {
            rows.push(String::new());
            used = 0;
        }
        rows.last_mut().expect("starts with one").push(c);
        used += columns;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_wrap_by_columns() {
        assert_eq!(wrap("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("日", 1), ["日"]);
    }
}
