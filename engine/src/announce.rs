//! What a started server says: for people, or one JSON line for programs.

use crate::{config::Config, ledger, say::say, server::Recovery};
use shards::{Claims, token};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a token of the announcement is valid.
const DAYS: u64 = 30;

/// A token for this device, valid for so many days from now.
pub fn mint(key: &token::Key, claims: Claims, days: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    token::mint(key, claims, now.saturating_add(days.saturating_mul(86_400)))
}

/// The server listens.
pub fn ready(config: &Config, key: &token::Key, recovery: &Recovery, json: bool) {
    let tokens: Vec<String> = [1, 2]
        .into_iter()
        .filter_map(|user| Claims::new(user, 1))
        .map(|claims| mint(key, claims, DAYS))
        .collect();
    let lines = ledger::lines(config);
    if json {
        let ready = serde_json::json!({
            "ready": true,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "listen": config.listen.to_string(),
            "data_dir": config.data_dir,
            "shards": config.shards,
            "ledger_bytes": ledger::total(&lines),
            "recovery": recovery,
            "tokens": tokens,
        });
        return say(&ready.to_string());
    }
    let Recovery { generation, logs, bytes, bytes_cut, ms, .. } = recovery;
    let shards = config.shards;
    say(&ledger::table(&lines));
    say(&format!("ringmail {}", env!("CARGO_PKG_VERSION")));
    say(&format!("  data      {}", config.data_dir.display()));
    say(&format!("  shards    {shards}{}", if config.pin { ", pinned" } else { "" }));
    say(&format!(
        "  recovery  generation {generation}, {logs} older logs, {bytes} bytes read, \
         {bytes_cut} cut, {ms} ms"
    ));
    say(&format!("  ready     listening on {}", config.listen));
    say("\nTo chat, paste each of these into a terminal of its own:\n");
    let chat = chat_command();
    for token in tokens {
        say(&format!("{chat} --server {} --token {token}\n", config.listen));
    }
}

/// The chat program that stands beside this one; where cargo runs this one, cargo builds it.
fn chat_command() -> String {
    let beside = std::env::current_exe().map(|path| path.with_file_name("ringmail-chat"));
    match beside {
        Ok(path) if path.is_file() && std::env::var_os("CARGO").is_none() => {
            path.display().to_string()
        }
        _ => "cargo run --release -p ringmail-client --bin ringmail-chat --".to_owned(),
    }
}
