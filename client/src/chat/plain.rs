//! Lines in, lines out: `○ 2: text` when queued, `✓ 2: text` when sent, `⊘ 2: text` when given up,
//! `< 2: text` for what user 2 sent, `= 2: …` for what another own device sent, `! …` for notes.
//! What was here before stands at the start, indented and with its time.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use client::blocking::Incoming;
use client::{ClientEvent, Conv, Kind};

use crate::talk::{GIVEN_UP, Line, QUEUED, SENT, Talk, history_line, printable};

/// Messages of the past that are shown for each conversation.
const HISTORY: usize = 20;

/// A line of the input; `None`: it ended.
pub type Input = Option<String>;

pub fn run(mut talk: Talk<Input>) -> Result<(), String> {
    show_history(&talk)?;
    let sender = talk.connection.sender();
    thread::spawn(move || read(&sender));
    let (mut ended, mut online) = (false, None);
    loop {
        let input = talk.turn(Duration::from_millis(500))?;
        // What comes because it is online stands behind that line; what came before it went
        // offline stands before that one.
        if talk.connection.client().is_attached() {
            show_link(&talk, &mut online)?;
        }
        while let Some(event) = talk.event()? {
            show(&mut talk, &event)?;
        }
        match input {
            Some(Some(line)) => match Line::parse(&line) {
                Line::Quit => return talk.quit(),
                line => obey(&mut talk, line)?,
            },
            Some(None) => ended = true,
            None => {}
        }
        show_link(&talk, &mut online)?;
        if ended && !talk.connection.client().has_pending() {
            return talk.quit();
        }
    }
}

/// Says once that the device is online or, with the first reason, that it is not: each try that
/// fails later would be a line more.
fn show_link(talk: &Talk<Input>, online: &mut Option<bool>) -> Result<(), String> {
    let attached = talk.connection.client().is_attached();
    if *online == Some(attached) {
        return Ok(());
    }
    let line = match (attached, talk.connection.trouble()) {
        (true, _) => "! online".to_owned(),
        (false, Some(trouble)) => format!("! offline ({trouble})"),
        // Nobody knows yet.
        (false, None) => return Ok(()),
    };
    *online = Some(attached);
    say(&line)
}

fn obey(talk: &mut Talk<Input>, line: Line) -> Result<(), String> {
    let done = match line {
        Line::Say(text) => talk.say(&text),
        Line::GiveUp => talk.give_up(),
        Line::Wrong(problem) => Err(problem),
        Line::To(user) => {
            talk.to = Some(user);
            Ok(())
        }
        Line::Quit | Line::Nothing => Ok(()),
    };
    done.or_else(|problem| say(&format!("! {problem}")))
}

fn show(talk: &mut Talk<Input>, event: &ClientEvent) -> Result<(), String> {
    let line = match event {
        ClientEvent::Queued { id } => format!("{QUEUED} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::Sent { id, .. } => format!("{SENT} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::GivenUp { id } => format!("{GIVEN_UP} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::Message { conv, kind: Kind::Peer, body, .. } => {
            format!("< {}: {}", peer(*conv), printable(body.as_deref().unwrap_or_default()))
        }
        ClientEvent::Message { conv, kind: Kind::Own, .. } => {
            format!("= {}: (sent from another device)", peer(*conv))
        }
        ClientEvent::Refused { id, code, .. } => {
            format!("! {}: the server does not take it now ({})", peer(id.conv), code.name())
        }
        _ => return Ok(()),
    };
    say(&line)
}

fn show_history(talk: &Talk<Input>) -> Result<(), String> {
    let client = talk.connection.client();
    for conv in client.conversations() {
        let mut lines: Vec<_> = client
            .history(conv)
            .rev()
            .filter_map(|(_, message)| history_line(message))
            .take(HISTORY)
            .collect();
        lines.reverse();
        lines
            .extend(client.pending(conv).map(|send| format!("{QUEUED} {}", printable(&send.body))));
        for line in lines {
            say(&format!("    {}: {line}", peer(conv)))?;
        }
    }
    Ok(())
}

fn peer(conv: Conv) -> u64 {
    let Conv::Direct(peer) = conv;
    peer
}

fn say(line: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| format!("the output is gone: {error}"))
}

fn read(sender: &Sender<Incoming<Input>>) {
    let lines = stdin().lock().lines().map_while(Result::ok).map(Some);
    for input in lines.chain([None]) {
        if sender.send(Incoming::Other(input)).is_err() {
            return;
        }
    }
}
