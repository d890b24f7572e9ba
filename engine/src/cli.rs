//! The command line of `ringmail`.

use crate::{
    announce, cache,
    config::{self, Config, Loaded, Sources},
    config_keys::KEYS,
    data_dir::{self, DataDir},
    ledger, probe,
    say::say,
    server::{self, Options},
    store,
};
use clap::{Args, Parser, Subcommand};
use persistence::Removed;
use serde_json::json;
use shards::{Claims, token};
use std::{path::PathBuf, process::ExitCode};

const EXAMPLES: &str = "Examples:
  ringmail                                  start with defaults: 127.0.0.1:4848, ./ringmail-data
  ringmail --listen 0.0.0.0:4848 --shards 2
  ringmail --set limits.body_bytes_max=4096
  RINGMAIL_LIMITS__FLUSH_MS=200 ringmail run
  ringmail token --user 1 --device 1        a token for `ringmail-chat`
  ringmail check                            can a server start here?";

/// Ringmail, a messaging engine.
#[derive(Parser)]
#[command(name = "ringmail", version, after_help = EXAMPLES, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags of every command. Flags win over the environment, which wins over the file.
#[derive(Args)]
struct Flags {
    /// Configuration file; without it, ./ringmail.toml if that is there [env: RINGMAIL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect [key: listen]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Everything durable lives here [key: data_dir]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Cores; 0: as many as processors and memory allow [key: shards]
    #[arg(long, global = true, value_name = "N")]
    shards: Option<String>,
    /// Keep each core on one processor [key: pin]
    #[arg(long, global = true, value_name = "true|false")]
    pin: Option<String>,
    /// Set any key; may be given several times
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Answer for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default)
    Run {
        /// Write counters into this file, once a second, as JSON
        #[arg(long, value_name = "FILE")]
        stats_file: Option<PathBuf>,
    },
    /// Mint a development token from the data directory's key; the server may be running
    #[command(after_help = "Examples:
  ringmail token --user 1 --device 1
  ringmail token --user 1 --device 1 --count 100    one line for each of the users 1 to 100")]
    Token {
        /// Whose: any number but 0
        #[arg(long)]
        user: u64,
        /// Which device of the user
        #[arg(long, default_value_t = 1)]
        device: u32,
        /// How long it is valid
        #[arg(long, default_value_t = 30)]
        days: u64,
        /// So many users from this one on, a line each
        #[arg(long, default_value_t = 1)]
        count: u64,
    },
    /// Show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Validate configuration, host and data directory, without a start
    Check,
    /// Tell that the data directory was restored from a copy, so that every client notices
    #[command(
        after_help = "Run it once after each restore, before the server starts. Clients that \
        were further than the copy then take a fresh view instead of missing messages."
    )]
    Restored,
    /// The distributed store: its schema and how it is; the routes in Redis
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Act on a user, while no server runs
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Make the keyspace and tables, or bring them to this build's version; safe to repeat
    #[command(after_help = "Example, with `persistence/scylla/cassandra` running:
  ringmail store migrate --set store.kind=scylla --set store.replication=1")]
    Migrate,
    /// Version of the schema, replication, nodes, and how far each log is in the store
    #[command(after_help = "Example, beside a server that was started with --stats-file:
  ringmail store status --set store.kind=scylla --stats-file stats.json")]
    Status {
        /// Counters that a running server writes: tells how much it has yet to flush
        #[arg(long, value_name = "FILE")]
        stats_file: Option<PathBuf>,
    },
    /// Copy the data directory's messages into the store, compare, and change over to it
    #[command(after_help = "While no server runs. Cut anywhere, it goes on where it stopped when \
called again.
  ringmail store migrate --set store.kind=scylla
  ringmail store copy --set store.kind=scylla --data-dir ringmail-data")]
    Copy,
    /// Which node has which slots, as Redis knows it now, and how the nodes' windows do
    #[command(after_help = "Example, with redis-server running:
  ringmail store routes --set redis.address=127.0.0.1:6379")]
    Routes,
}

#[derive(Subcommand)]
enum UserCommand {
    /// Remove a user's devices, contacts and inbox, and the bodies of their messages
    #[command(
        after_help = "The places of the user's messages stay, and read as deleted. Other users' \
        messages and names for this user stay. Copies of the directory are not touched."
    )]
    Delete {
        /// Whose: any number but 0
        user: u64,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Every key with its value and where that came from
    Print,
}

impl Flags {
    fn load(&self) -> Result<Loaded, String> {
        let named = [
            ("listen", &self.listen),
            ("data_dir", &self.data_dir),
            ("shards", &self.shards),
            ("pin", &self.pin),
        ];
        let mut flags: Vec<(String, String)> = Vec::new();
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("--set {pair}: write --set KEY=VALUE"))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        for (key, value) in named {
            flags.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        }
        // Names and values that are no text cannot be meant for us.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let sources = Sources { file: self.config.clone(), env, flags };
        let automatic = |config: &Config| {
            ledger::automatic_shards(config, ledger::memory_bytes(), probe::lockable_shards())
        };
        config::load(&sources, automatic).map_err(|error| error.to_string())
    }
}

/// Runs the command. Whatever goes wrong is one line on standard error.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match command(cli) {
        Ok(code) => code,
        Err(line) => {
            eprintln!("ringmail: {line}");
            ExitCode::FAILURE
        }
    }
}

fn command(cli: Cli) -> Result<ExitCode, String> {
    let loaded = cli.flags.load()?;
    let (config, json) = (&loaded.config, cli.flags.json);
    match cli.command.unwrap_or(Command::Run { stats_file: None }) {
        Command::Run { stats_file } => {
            let options = Options { json, stats_file };
            server::serve(loaded.config, &options).map_err(|error| error.to_string())?;
        }
        Command::Token { user, device, days, count } => tokens(config, user, device, days, count)?,
        Command::Config { command: ConfigCommand::Print } => print_config(&loaded, json),
        Command::Check => return Ok(check(config, json)),
        Command::Restored => {
            let restores = DataDir::open(&config.data_dir, 0)
                .and_then(|dir| dir.raise_epoch())
                .map_err(|error| error.to_string())?;
            say(&format!("every inbox has a new epoch; restores so far: {restores}"));
        }
        Command::Store { command } => {
            let done = match command {
                StoreCommand::Migrate => store::migrate(config),
                StoreCommand::Status { stats_file } => store::status(config, stats_file.as_deref()),
                StoreCommand::Copy => store::copy(config),
                StoreCommand::Routes => cache::routes(config),
            };
            say(&done.map_err(|error| error.to_string())?);
        }
        Command::User { command: UserCommand::Delete { user } } => delete_user(config, user, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn delete_user(config: &Config, user: u64, json: bool) -> Result<(), String> {
    let id = persistence::UserId::new(user).ok_or("user 0: a user is any number but 0")?;
    let removed = crate::user::delete(config, id)?;
    let Removed { devices, contacts, entries, conversations, messages } = removed;
    if json {
        let removed = json!({
            "user": user, "devices": devices, "contacts": contacts, "inbox_entries": entries,
            "conversations": conversations, "messages": messages,
        });
        say(&removed.to_string());
    } else {
        say(&format!(
            "user {user}: removed {devices} devices, {contacts} contacts and blocks, {entries} \
             inbox entries, and {messages} messages in {conversations} conversations"
        ));
    }
    Ok(())
}

fn tokens(config: &Config, user: u64, device: u32, days: u64, count: u64) -> Result<(), String> {
    let key = data_dir::read_key(&config.data_dir).map_err(|error| error.to_string())?;
    let key = token::Key::new(key);
    for user in user..user.saturating_add(count) {
        let claims = Claims::new(user, device).ok_or("--user 0: a user is any number but 0")?;
        say(&announce::mint(&key, claims, days));
    }
    Ok(())
}

fn print_config(loaded: &Loaded, json: bool) {
    let rows = KEYS.iter().zip(&loaded.origins);
    if json {
        let keys: Vec<_> = rows
            .map(|(key, origin)| {
                json!({
                    "key": key.name, "value": loaded.value(key), "origin": origin.word(),
                    "from": origin.to_string(), "unit": key.unit, "env": config::env_name(key.name),
                    "default": (key.get)(&Config::default()), "meaning": key.meaning,
                    "cost": key.cost,
                })
            })
            .collect();
        return say(&serde_json::Value::from(keys).to_string());
    }
    say(&format!("{:<32} {:<22} {:<14} origin", "key", "value", "unit"));
    for (key, origin) in rows {
        let value = loaded.value(key);
        say(&format!("{:<32} {value:<22} {:<14} {origin}", key.name, key.unit));
        let default = (key.get)(&Config::default());
        say(&format!("    {} (default {default}); costs: {}", key.meaning, key.cost));
        say(&format!("    env {}", config::env_name(key.name)));
    }
}

fn check(config: &Config, json: bool) -> ExitCode {
    // As a start does it; where it fails, the findings tell.
    let _ = probe::raise_limits();
    let findings: Vec<_> = probe::CHECKS.iter().map(|check| check(config)).collect();
    let lines = ledger::lines(config);
    let ok = findings.iter().all(|finding| finding.ok);
    if json {
        let check = json!({
            "ok": ok,
            "findings": findings,
            "ledger": lines,
            "ledger_bytes": ledger::total(&lines),
            "memory_bytes": ledger::memory_bytes(),
        });
        say(&check.to_string());
    } else {
        for finding in &findings {
            say(&format!(
                "{:<5} {:<16} {}",
                if finding.ok { "ok" } else { "BAD" },
                finding.name,
                finding.line()
            ));
        }
        say(&ledger::table(&lines));
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
