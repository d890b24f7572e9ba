//! How the terminal looks: conversations on the left, one of them on the right, a line to type.

use client::{Chat, Conv, SendId, Seq, Tick};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

use crate::format::{DELIVERED, QUEUED, name, presence, printable, shown, unix_ms};
use crate::screen::Screen;

/// Columns of the list of conversations.
const LIST_COLUMNS: u16 = 26;

impl Screen {
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(2)])
                .areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Length(LIST_COLUMNS), Constraint::Min(10)])
                .areas(middle);
        let client = self.talk.client();
        let who = client.identity().map_or("ringmail".to_owned(), |(user, device)| {
            format!("user {}, device {}", user.get(), device.0)
        });
        let state = format!("{who} · {}", self.talk.state());
        let style = if client.is_attached() { Style::new() } else { Style::new().yellow() };
        frame.render_widget(Paragraph::new(state).style(style.reversed()), top);
        self.draw_list(frame, left);
        self.draw_conversation(frame, right);
        self.draw_input(frame, bottom);
        self.draw_panel(frame, right);
    }

    fn draw_input(&self, frame: &mut Frame<'_>, area: Rect) {
        let [line, note] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
        let prompt = format!("> {}", self.input);
        // The end of a long line is what is being typed.
        let width = usize::from(line.width).saturating_sub(1).max(1);
        let shown: Vec<char> = prompt.chars().collect();
        let shown: String = shown[shown.len().saturating_sub(width)..].iter().collect();
        let row = Row::from(shown);
        frame.set_cursor_position((line.x + row.width() as u16, line.y));
        frame.render_widget(row, line);
        let help = "Enter sends · Tab next · Up Down PgUp PgDn scroll · /to N /help /quit";
        let note_row = match self.note.is_empty() {
            true => Row::from(help).dim(),
            false => Row::from(self.note.as_str()).red(),
        };
        frame.render_widget(note_row, note);
    }

    fn draw_panel(&self, frame: &mut Frame<'_>, area: Rect) {
        if self.panel.is_empty() {
            return;
        }
        let height = (self.panel.len() as u16 + 2).min(area.height);
        let area = Rect { height, ..area };
        let rows: Vec<Row<'_>> = self.panel.iter().map(|line| Row::from(line.as_str())).collect();
        let block = Block::new().borders(Borders::ALL).title("any key closes this");
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(rows).block(block), area);
    }

    /// Two rows for each conversation: who, unread, when; and the newest message.
    fn draw_list(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns = usize::from(area.width).saturating_sub(1);
        let mut rows = Vec::new();
        for peer in self.peers() {
            let chat = self.talk.client().chat(Conv::Direct(peer));
            let head = self.list_head(peer, chat.as_ref(), columns);
            rows.push(if self.talk.to == Some(peer) { head.reversed() } else { head });
            let preview = chat.and_then(|chat| chat.preview);
            let preview = preview.map_or(String::new(), |(own, body)| {
                format!("  {}{}", if own { "you: " } else { "" }, printable(&body))
            });
            rows.push(Row::from(fit(&preview, columns)).dim());
        }
        let block = Block::new().borders(Borders::RIGHT);
        frame.render_widget(Paragraph::new(rows).block(block), area);
    }

    fn list_head(&self, peer: u64, chat: Option<&Chat>, columns: usize) -> Row<'static> {
        let client = self.talk.client();
        let there = match presence(client, peer, self.talk.zone).as_str() {
            "online" => "● ".green(),
            "typing …" => "✎ ".green(),
            _ => "  ".into(),
        };
        let settings = chat.map_or_else(Default::default, |chat| chat.settings);
        let mut marks = String::new();
        for (set, mark) in [
            (settings.pinned, " ▲"),
            (settings.archived, " ▽"),
            (settings.muted_until_ms > unix_ms(), " ✕"),
        ] {
            marks.push_str(if set { mark } else { "" });
        }
        let unread = chat.map_or(0, |chat| chat.unread);
        let count = if unread > 0 { format!(" ({unread})") } else { String::new() };
        let time = chat.map_or(0, |chat| chat.time_ms);
        let time = if time > 0 { self.talk.zone.clock(time) } else { String::new() };
        let tail = format!("{count}{marks}");
        let room = columns.saturating_sub(2 + width(&tail) + 1 + width(&time));
        let who = fit(&name(client, peer), room);
        let pad = " ".repeat(room.saturating_sub(width(&who)) + 1);
        let who = Span::from(format!("{who}{tail}{pad}{time}"));
        Row::from(vec![there, if unread > 0 { who.bold() } else { who }])
    }

    fn draw_conversation(&mut self, frame: &mut Frame<'_>, area: Rect) {
        (self.drawn, self.lacks) = (None, None);
        let Some(peer) = self.talk.to else {
            let hint = "Say with whom you talk: /to 2";
            frame.render_widget(Paragraph::new(hint), area);
            return;
        };
        let [title, area] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
        let client = self.talk.client();
        let there = presence(client, peer, self.talk.zone);
        let number =
            if name(client, peer) == peer.to_string() { "" } else { &format!(" ({peer})") };
        let who = format!("{}{number}", name(client, peer));
        let who = if there.is_empty() { who } else { format!("{who} · {there}") };
        frame.render_widget(Row::from(who).bold(), title);
        let rows = self.rows(Conv::Direct(peer), area);
        frame.render_widget(Paragraph::new(rows), area);
    }

    /// The rows to show, from the newest message up. Notes what was drawn and what is lacking.
    fn rows(&mut self, conv: Conv, area: Rect) -> Vec<Row<'static>> {
        let (columns, height) = (usize::from(area.width).max(1), usize::from(area.height));
        // Each with the place that it shows, the newest first.
        let mut rows: Vec<(Option<Seq>, Row<'static>)> = Vec::new();
        let client = self.talk.client();
        let wanted = height + self.scroll;
        let pending: Vec<_> = client.pending(conv).filter(|send| client.is_queued(send)).collect();
        for send in pending.into_iter().rev() {
            let id = SendId { conv, serial: send.serial };
            let given_up = if send.void { " (being given up)" } else { "" };
            let text = format!("{}{given_up}", self.talk.pending_text(id));
            let lead = format!("      {QUEUED} ");
            let block = hung(&lead, Style::new().dim(), &text, Style::new().dim(), columns);
            rows.extend(block.into_iter().rev().map(|row| (None, row)));
        }
        let chat = client.chat(conv);
        let hole = client.older_hole(conv, 0);
        let past = client.history(conv).rev().take_while(|&(seq, _)| hole.is_none_or(|h| seq > h));
        for (seq, message) in past {
            if rows.len() >= wanted {
                break;
            }
            let Some((mark, text)) = chat.as_ref().and_then(|chat| shown(chat, seq, message))
            else {
                continue;
            };
            let number = if self.numbers { format!("#{seq} ") } else { String::new() };
            let stamp = self.talk.zone.stamp(message.time_ms, unix_ms());
            let lead = format!("{stamp} {number}{mark} ");
            let read = chat.as_ref().is_some_and(|chat| chat.tick(seq) == Tick::Read);
            let style = match mark {
                DELIVERED if read => Style::new().cyan(),
                _ => Style::new(),
            };
            let faint = if message.deleted { Style::new().dim() } else { Style::new() };
            let block = hung(&lead, style, &text, faint, columns);
            rows.extend(block.into_iter().rev().map(|row| (Some(seq), row)));
        }
        let lacks = hole.filter(|_| rows.len() < wanted);
        if lacks.is_some() {
            rows.push((None, Row::from("      … earlier messages are coming").dim()));
        }
        self.scroll = self.scroll.min(rows.len().saturating_sub(height));
        let (skip, newest) = (self.scroll, |(seq, _): &(Option<Seq>, _)| *seq);
        let drawn = rows.iter().skip(skip).take(height).find_map(newest);
        (self.drawn, self.lacks) = (drawn.map(|seq| (conv, seq)), lacks.map(|seq| (conv, seq)));
        let shown = rows.into_iter().skip(skip).take(height).map(|(_, row)| row);
        let mut shown: Vec<Row<'static>> = shown.collect();
        shown.reverse();
        shown
    }
}

/// A text behind its lead, further rows below its start.
fn hung(
    lead: &str,
    lead_style: Style,
    text: &str,
    style: Style,
    columns: usize,
) -> Vec<Row<'static>> {
    let indent = width(lead).min(columns.saturating_sub(1));
    let pieces = wrap(text, columns - indent);
    let rows = pieces.into_iter().enumerate().map(|(index, piece)| {
        let lead = if index == 0 { lead.to_owned() } else { " ".repeat(indent) };
        Row::from(vec![Span::styled(lead, lead_style), Span::styled(piece, style)])
    });
    rows.collect()
}

/// Pieces of at most `columns` columns.
fn wrap(line: &str, columns: usize) -> Vec<String> {
    let (mut rows, mut used) = (vec![String::new()], 0);
    for c in line.chars() {
        let wide = width(&c.to_string());
        if used + wide > columns && used > 0 {
            rows.push(String::new());
            used = 0;
        }
        rows.last_mut().expect("starts with one").push(c);
        used += wide;
    }
    rows
}

/// The start of a text, in at most `columns` columns.
fn fit(text: &str, columns: usize) -> String {
    match width(text) <= columns {
        true => text.to_owned(),
        false => {
            let cut = wrap(text, columns.saturating_sub(1)).swap_remove(0);
            format!("{cut}…")
        }
    }
}

fn width(text: &str) -> usize {
    Row::from(text).width()
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
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abcd", 4), "abcd");
    }

    #[test]
    fn wrapped_rows_stand_below_their_text() {
        let rows = hung("12:00 < ", Style::new(), "abcdef", Style::new(), 11);
        let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        assert_eq!(rows, ["12:00 < abc", "        def"]);
    }
}
