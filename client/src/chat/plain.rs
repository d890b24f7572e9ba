//! Lines in, lines out: `○ 2: text` when queued, `✓ 2: text` when sent, `⊘ 2: text` when given up,
//! `< 2: text` for what user 2 sent, `= 2: …` for what another own device sent, `! …` for notes.
//! What was here before stands at the start, indented.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use client::blocking::Incoming;
use client::{ClientEvent, Conv, Kind, Seq};

use crate::format::{GIVEN_UP, QUEUED, SENT, printable, shown};
use crate::line::Line;
use crate::talk::{Reply, Talk};

/// Messages of the past that are shown for each conversation.
const HISTORY: usize = 20;

/// A line of the input; `None`: it ended.
pub type Input = Option<String>;

pub fn run(mut talk: Talk<Input>) -> Result<(), String> {
    show_history(&talk)?;
    let sender = talk.connection.sender();
    thread::spawn(move || read(&sender));
    let (mut ended, mut online, mut elsewhere) = (false, None, Vec::new());
    loop {
        let input = talk.turn(Duration::from_millis(500))?;
        // What comes because it is online stands behind that line; what came before it went
        // offline stands before that one.
        if talk.client().is_attached() {
            show_link(&talk, &mut online)?;
        }
        while let Some(event) = talk.event()? {
            show(&mut talk, &event)?;
            if let ClientEvent::Message { conv, conv_seq, kind, .. } = event {
                match kind {
                    Kind::Own => elsewhere.push((conv, conv_seq)),
                    _ => read_here(&mut talk, conv, conv_seq),
                }
            }
        }
        match input {
            Some(Some(line)) => match talk.obey(Line::parse(&line)) {
                Ok(Reply::Quit) => return talk.quit(),
                Ok(Reply::LookAt(user)) => talk.to = Some(user),
                Ok(Reply::Done | Reply::Numbers) => {}
                Err(problem) => say(&format!("! {problem}"))?,
            },
            Some(None) => ended = true,
            None => {}
        }
        for line in std::mem::take(&mut talk.said) {
            say(&format!("! {line}"))?;
        }
        written_elsewhere(&talk, &mut elsewhere)?;
        show_link(&talk, &mut online)?;
        let client = talk.client();
        if ended && !client.has_pending() && !client.has_unmarked_reads() {
            return talk.quit();
        }
    }
}

/// A message of the conversation that the user looks at was printed.
fn read_here(talk: &mut Talk<Input>, conv: Conv, conv_seq: Seq) {
    if talk.to == Some(peer(conv)) {
        talk.connection.client_mut().mark_read(conv, conv_seq);
    }
}

/// What other own devices sent is printed once its text is here.
fn written_elsewhere(talk: &Talk<Input>, places: &mut Vec<(Conv, Seq)>) -> Result<(), String> {
    while let Some(&(conv, conv_seq)) = places.first() {
        let mut history = talk.client().history(conv);
        let found = history.find(|&(seq, _)| seq == conv_seq).map(|(_, message)| message);
        let text = match found {
            Some(message) if message.kind == Kind::Own && !message.deleted => &message.body,
            _ => &Some(b"(deleted)".to_vec()),
        };
        let Some(text) = text else { return Ok(()) };
        say(&format!("= {}: {}", peer(conv), printable(text)))?;
        places.remove(0);
    }
    Ok(())
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

fn show(talk: &mut Talk<Input>, event: &ClientEvent) -> Result<(), String> {
    let line = match event {
        ClientEvent::Queued { id } => format!("{QUEUED} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::Sent { id, .. } => format!("{SENT} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::GivenUp { id } => format!("{GIVEN_UP} {}: {}", peer(id.conv), talk.text(*id)),
        ClientEvent::Message { conv, kind: Kind::Peer, body, .. } => {
            format!("< {}: {}", peer(*conv), printable(body.as_deref().unwrap_or_default()))
        }
        ClientEvent::Refused { id, code, .. } => {
            format!("! {}: the server does not take it now ({})", peer(id.conv), code.name())
        }
        _ => return Ok(()),
    };
    say(&line)
}

fn show_history(talk: &Talk<Input>) -> Result<(), String> {
    let client = talk.client();
    for conv in client.conversations() {
        let Some(chat) = client.chat(conv) else { continue };
        let newest = client.history(conv).rev();
        let lines = newest.filter_map(|(seq, message)| shown(&chat, seq, message));
        let lines = lines.map(|(mark, text)| format!("{mark} {text}"));
        let mut lines: Vec<_> = lines.take(HISTORY).collect();
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
