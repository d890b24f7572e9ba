//! The command line of `ringmail-bench`.

use crate::{
    catch_up, churn, copy, floor, idle, kill9, kill9_args, recovery, steady, touch, wipes,
};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the `ringmail` server that stands beside this program.
///
/// Exits with 0 only when the run was valid, and nothing was lost, duplicated or reordered.
#[derive(Parser)]
#[command(name = "ringmail-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pairs of users chat: saturation, then latency at a part of it
    #[command(after_help = "Examples:
  ringmail-bench steady-chat --pairs 500 --depth 8 --floor --json chat.json --html chat.html
  ringmail-bench steady-chat --pairs 50 --depth 1 --seconds 20 --fraction 0.8
  ringmail-bench steady-chat --pairs 500 --depth 8 --shards 2")]
    SteadyChat(steady::SteadyArgs),
    /// The least that a durable chat server can do on this machine, under the same load
    #[command(after_help = "Examples:
  ringmail-bench chat-floor --pairs 50 --depth 1
  ringmail-bench chat-floor --pairs 4000 --depth 8 --seconds 10 --json floor.json")]
    ChatFloor(steady::ChatArgs),
    /// Kill the server again and again under load, then compare what was acked with what is there
    #[command(after_help = "Examples:
  ringmail-bench kill9 --kills 300 --shards 1 --json kill9.json
  ringmail-bench kill9 --kills 300 --shards 2 --vary-shards
  ringmail-bench kill9 --kills 30 --store scylla      a server built with --features scylla")]
    Kill9(kill9_args::Kill9Args),
    /// Wipe and kill Redis again and again under load: nothing is lost, and routes are back soon
    #[command(after_help = "Example, with a server built with --features redis:
  ringmail-bench redis-wipes --wipes 100 --json wipes.json")]
    RedisWipes(wipes::WipesArgs),
    /// Time from the start after a kill to a waiting client's SENT
    #[command(after_help = "Examples:
  ringmail-bench recovery --json recovery.json
  ringmail-bench recovery --tail-mib 128 --history-gib 4 --shards 2")]
    Recovery(recovery::RecoveryArgs),
    /// Touch many more users than may be in memory: it stays flat, and all is there
    #[command(after_help = "Example:
  ringmail-bench touch --users 100000 --json touch.json")]
    Touch(touch::TouchArgs),
    /// Devices read a long backlog while others chat
    #[command(after_help = "Example:
  ringmail-bench catch-up --messages 100000 --json catch-up.json")]
    CatchUp(catch_up::CatchUpArgs),
    /// Users watch each other and switch between foreground and background
    #[command(after_help = "Examples:
  ringmail-bench presence-churn --users 8000 --contacts 100 --json presence.json
  ringmail-bench presence-churn --users 1000 --contacts 20 --grace-ms 500")]
    PresenceChurn(churn::ChurnArgs),
    /// Memory of an attached connection without traffic
    #[command(after_help = "Example:
  ringmail-bench idle --connections 10000 --json idle.json")]
    Idle(idle::IdleArgs),
    /// Copy many messages from a data directory into a real Cassandra, with kills on the way
    #[command(after_help = "Example, with a server built with --features scylla:
  ringmail-bench copy --messages 1000000 --kills 3 --json copy.json")]
    Copy(copy::CopyArgs),
    /// The distributed store's writer beside a plain loop of its driver, over a real Cassandra
    #[cfg(feature = "scylla")]
    #[command(after_help = "Example, built with --features scylla:
  ringmail-bench store --messages 40000 --rounds 3 --json store.json")]
    Store(crate::store::StoreArgs),
    /// The floor's server, as `chat-floor` starts it
    #[command(hide = true)]
    FloorServer {
        /// Directory of its log
        #[arg(long)]
        dir: PathBuf,
        /// Most connections
        #[arg(long)]
        connections: u32,
    },
}

/// Runs the command. Whatever goes wrong is one line on standard error.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::SteadyChat(args) => steady::steady_chat(args),
        Command::ChatFloor(args) => steady::chat_floor(args),
        Command::Kill9(args) => kill9::kill9(args),
        Command::RedisWipes(args) => wipes::redis_wipes(args),
        Command::Recovery(args) => recovery::recovery(args),
        Command::Touch(args) => touch::touch(args),
        Command::CatchUp(args) => catch_up::catch_up(args),
        Command::PresenceChurn(args) => churn::churn(args),
        Command::Idle(args) => idle::idle(args),
        Command::Copy(args) => copy::copy(args),
        #[cfg(feature = "scylla")]
        Command::Store(args) => crate::store::store(args),
        Command::FloorServer { dir, connections } => {
            let served = floor::serve(&dir, connections);
            served.map(|()| ExitCode::SUCCESS).map_err(|error| format!("floor: {error}"))
        }
    };
    done.unwrap_or_else(|line| {
        eprintln!("ringmail-bench: {line}");
        ExitCode::FAILURE
    })
}
