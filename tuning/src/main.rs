//! The `ringmail-tuning` program.

use clap::{Parser, Subcommand};
use engine::{config::Config, probe};
use std::{fs, io::Write, process::ExitCode};
use tuning::{Profile, compare, sysctl_file};

/// Compares this host with what Ringmail wants of it; changes nothing.
#[derive(Parser)]
#[command(
    name = "ringmail-tuning",
    version,
    after_help = "Examples:
  ringmail-tuning check                       exit code 0 if the host will do, 1 if not
  ringmail-tuning check --profile million --json
  ringmail-tuning show --profile million > /etc/sysctl.d/90-ringmail.conf"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what is wrong, what that costs, and the command that sets it
    Check {
        /// What the host is for
        #[arg(long, value_enum, default_value_t = Profile::Server)]
        profile: Profile,
        /// Answer for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the profile as a file for /etc/sysctl.d
    Show {
        /// What the host is for
        #[arg(long, value_enum, default_value_t = Profile::Server)]
        profile: Profile,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { profile, json } => check(profile, json),
        Command::Show { profile } => {
            say(sysctl_file(profile).trim_end());
            ExitCode::SUCCESS
        }
    }
}

fn check(profile: Profile, json: bool) -> ExitCode {
    let rows = compare(profile, |path| fs::read_to_string(path).ok());
    // The server's own probe, with one core: these depend on the host alone.
    let config = Config { shards: 1, ..Config::default() };
    // Counts as a start counts it; where it fails, the findings tell.
    let _ = probe::raise_limits();
    let findings = [probe::kernel, probe::files, probe::rings].map(|check| check(&config));
    let ok = rows.iter().all(|row| row.ok) && findings.iter().all(|finding| finding.ok);
    if json {
        let profile = profile.to_string();
        let report = serde_json::json!({
            "ok": ok, "profile": profile, "settings": rows, "findings": findings,
        });
        say(&report.to_string());
    } else {
        for finding in &findings {
            say(&format!("{} {:<34} {}", mark(finding.ok), finding.name, finding.line()));
        }
        for row in &rows {
            let found = if row.found.is_empty() { "not on this host" } else { &row.found };
            say(&format!("{} {:<34} {found} (wanted: {})", mark(row.ok), row.name, row.wanted));
            if !row.ok {
                say(&format!("      costs: {}\n      run:   {}", row.cost, row.command));
            }
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mark(ok: bool) -> &'static str {
    if ok { "ok   " } else { "WRONG" }
}

/// A reader that went away (`| head`) is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
