//! Where and from what a result was measured.

use serde_json::{Value, json};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

/// (key, value) of everything that a reader needs to compare two results.
pub fn facts() -> Vec<(&'static str, Value)> {
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':')).map_or("unknown", |(_, name)| name);
    let memory = crate::process::memory_bytes().unwrap_or(0);
    // Not those that this thread may use: the load pins itself.
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    vec![
        ("cpu", json!(model.trim())),
        ("processors", json!(processors)),
        ("memory_mib", json!(memory >> 20)),
        ("kernel", json!(read("/proc/sys/kernel/osrelease").trim())),
        ("tcp_congestion", json!(read("/proc/sys/net/ipv4/tcp_congestion_control").trim())),
        ("commit", json!(commit().unwrap_or_else(|| "unknown".to_owned()))),
        ("date", json!(date(SystemTime::now()))),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("command", json!(env::args().skip(1).collect::<Vec<_>>().join(" "))),
    ]
}

/// The processors' time since boot, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    all: u64,
    /// In which a processor had work, and the host gave it to others.
    stolen: u64,
}

impl Ticks {
    /// Of all processors.
    pub fn now() -> io::Result<Ticks> {
        Ticks::parse(&fs::read_to_string("/proc/stat")?)
            .ok_or_else(|| crate::process::odd("/proc/stat"))
    }

    /// Line 1: user, nice, system, idle, iowait, irq, softirq, steal, and what counts twice.
    fn parse(stat: &str) -> Option<Ticks> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        Some(Ticks { all: ticks.iter().take(8).sum(), stolen: *ticks.get(7)? })
    }

    /// What the host took of the time since then, in percent.
    pub fn stolen_percent_since(&self, before: &Ticks) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        100.0 * self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The commit of the tree that this program stands in, `+` where files differ from it.
pub fn commit() -> Option<String> {
    let program = env::current_exe().ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(program.parent()?).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    // The build directory may lie outside of the tree; then the caller's directory counts.
    let here = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).ok())?
    };
    let head = git(&["rev-parse", "HEAD"]).or_else(|| here(&["rev-parse", "HEAD"]))?;
    let changes = ["status", "--porcelain", "--untracked-files=no"];
    let changed = git(&changes).or_else(|| here(&changes)).is_some_and(|text| !text.is_empty());
    Some(format!("{}{}", head.trim(), if changed { "+" } else { "" }))
}

/// UTC, as in 2026-01-31T23:59:59Z.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let by = |year: u64, years| year.is_multiple_of(years);
    let leap = |year| by(year, 4) && (!by(year, 100) || by(year, 400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stolen_time_is_a_part_of_all() {
        let before = Ticks::parse("cpu  10 0 20 60 0 0 5 5 7 0\ncpu0 1").unwrap();
        let after = Ticks::parse("cpu  20 0 40 120 0 5 5 10 9 0\ncpu0 1").unwrap();
        assert_eq!(after.stolen_percent_since(&before), 5.0);
        assert!(Ticks::parse("cpu  10 0 20").is_none());
    }

    #[test]
    fn dates_are_right_around_leap_days_and_year_ends() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(at(1_798_761_600), "2027-01-01T00:00:00Z");
    }
}
