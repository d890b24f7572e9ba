//! `ringmail-chat`: a terminal program to talk with.

#![forbid(unsafe_code)]

mod draw;
mod format;
mod line;
mod plain;
mod screen;
mod talk;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;

use client::blocking::Connection;
use client::{Config, Device, body_hash};

use crate::talk::Talk;

/// Talk with other users of a Ringmail server.
///
/// A message shows ○ when it is safe on this device's disk, ✓ when it is safe at the server,
/// ✓✓ when it is on a device of the other side, and ✓✓ in colour when it was read there. What shows
/// ○ goes out by itself, now or when the server is back, also by the next start.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Commands while it runs:
  /to 2       talk with user 2
  /help       all the others
  /quit       leave; what is queued goes out with the next start"
)]
struct Args {
    /// The server.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// Proves who you are; `ringmail token` makes one.
    #[arg(long)]
    token: String,
    /// Where this device keeps its messages; by default a directory of your home for each server,
    /// user and device.
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// What your other devices call this one.
    #[arg(long, value_name = "NAME", default_value = "terminal")]
    name: String,
    /// Talk with this user first.
    #[arg(long, value_name = "USER")]
    to: Option<u64>,
    /// Lines in, lines out, for scripts: leaves once its input has ended and all is sent. Also
    /// without the flag when input or output is no terminal.
    #[arg(long)]
    plain: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ringmail-chat: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let directory = match &args.journal {
        Some(directory) => directory.clone(),
        None => default_directory(&args.server, &args.token)?,
    };
    let mut config = Config::new(args.token.trim().as_bytes().to_vec());
    config.device_name = args.name.clone();
    config.platform = format!("ringmail-chat {}", env!("CARGO_PKG_VERSION"));
    if config.device_name.len() > client::wire::NAME_BYTES_MAX {
        return Err(format!("--name is longer than {} bytes", client::wire::NAME_BYTES_MAX));
    }
    let device = Device::open(&directory, config).map_err(|error| error.to_string())?;
    if args.plain || !stdin().is_terminal() || !stdout().is_terminal() {
        plain::run(Talk::new(Connection::new(device, &args.server), args.to))
    } else {
        screen::run(Talk::new(Connection::new(device, &args.server), args.to))
    }
}

/// One directory for each server and device: numbers of one must never be used with another.
fn default_directory(server: &str, token: &str) -> Result<PathBuf, String> {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = data.filter(|path| path.is_absolute()).or_else(home);
    let data =
        data.ok_or("neither XDG_DATA_HOME nor HOME is set: name a directory by --journal")?;
    let server: String =
        server.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '_' }).collect();
    let device = device_name(token)
        .unwrap_or_else(|| format!("token-{:016x}", body_hash(token.as_bytes()).0));
    Ok(data.join("ringmail-chat").join(server).join(device))
}

/// User and device as the token claims them, to find the same directory with a newer token. The
/// server proves them; a journal of another device is refused then.
fn device_name(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let user: u64 = payload.get("sub")?.as_str()?.parse().ok()?;
    let device = payload.get("dev")?.as_u64()?;
    Some(format!("user-{user}-device-{device}"))
}
